"""The record key as one column of the view: a plain value, or a struct of the fields that a key has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import polars as pl

from ktframe.formats.base import VALUE_COLUMN
from ktframe.records import KEY


def key_type(schema: pl.Schema) -> pl.DataType:
    """Return the type of a key whose format gives ``schema``; Null where that has no columns yet."""
    if not schema:
        return pl.Null()
    return schema[VALUE_COLUMN] if list(schema) == [VALUE_COLUMN] else pl.Struct(schema)


def key_columns(dtype: pl.DataType) -> pl.Schema:
    """Return the columns of which ``key_type`` made ``dtype``."""
    return struct_schema(dtype) if isinstance(dtype, pl.Struct) else pl.Schema({VALUE_COLUMN: dtype})


def as_key(decoded: pl.DataFrame) -> pl.Series:
    """Return decoded keys as the column ``KEY``."""
    if decoded.columns == [VALUE_COLUMN]:
        return decoded.to_series().alias(KEY)
    if not decoded.width:
        return pl.Series(KEY, [None] * decoded.height, dtype=pl.Null)
    return decoded.to_struct(KEY)


def part_types(dtypes: Iterable[pl.DataType]) -> list[pl.DataType]:
    """Return the types of the parts of a key: those of its fields where it has several."""
    return [part for dtype in dtypes for part in _parts(dtype)]


def struct_schema(dtype: pl.Struct) -> pl.Schema:
    """Return the fields of a struct."""
    return pl.Schema({field.name: cast("pl.DataType", field.dtype) for field in dtype.fields})


def _parts(dtype: pl.DataType) -> list[pl.DataType]:
    return list(struct_schema(dtype).values()) if isinstance(dtype, pl.Struct) else [dtype]
