"""Polars types as every format needs them: instances, leaves, what a float can hold exactly."""

from __future__ import annotations

from typing import Any

import polars as pl

LARGEST_EXACT = 2**53
"""Every integer from minus this to this is exact as a Float64."""


def as_instance(dtype: Any) -> pl.DataType:
    """Return ``dtype`` as an instance: inside lists and structs Polars also allows the bare class."""
    instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return instance


def leaf_types(dtype: pl.DataType) -> frozenset[type[pl.DataType]]:
    """Return the types inside ``dtype`` that hold no other type."""
    if isinstance(dtype, pl.List):
        return leaf_types(as_instance(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return frozenset().union(*(leaf_types(as_instance(field.dtype)) for field in dtype.fields))
    return frozenset({type(dtype)})


def instance(dtype: Any) -> pl.DataType:
    """Return a type that Polars may give as a class as an instance."""
    made: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return made
