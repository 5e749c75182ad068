"""Schemas as users write them (dataclasses, mappings, Python types) to Polars' schemas."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, Union

import polars as pl

from ktframe.columns import is_field
from ktframe.errors import SchemaError

SchemaLike: TypeAlias = Mapping[str, Any] | pl.Schema | type
"""A Polars schema, a mapping of field to dtype (a Polars one, its name, or a Python type), or a dataclass."""

_SCALARS: dict[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    date: pl.Date(),
    datetime: pl.Datetime("ms", "UTC"),
    Decimal: pl.Decimal(38, 9),
}


def as_schema(schema: SchemaLike) -> pl.Schema:
    """Return ``schema`` in Polars' terms."""
    if isinstance(schema, type):
        fields = pl.Schema(_fields_of(schema))
    else:
        fields = pl.Schema({name: _dtype(annotation, name) for name, annotation in schema.items()})
    for name, dtype in fields.items():
        check_field_name(name)
        _check_inner_names(name, dtype)
    return fields


def check_field_name(name: str) -> None:
    """Raise a SchemaError for a name that no field of a table can have."""
    if not is_field(name):
        raise _unusable_name(name, "it starts with U+0001, as the names of ktframe's own columns do")
    _check_inner_names(name)


def _check_inner_names(name: str, dtype: Any = None) -> None:
    # Polars can't hand a name with a NUL over to Arrow.
    if "\0" in name:
        raise _unusable_name(name, "it holds a NUL character")
    if isinstance(dtype, pl.Struct):
        for inner in dtype.fields:
            _check_inner_names(inner.name, inner.dtype)
    elif isinstance(dtype, pl.List | pl.Array):
        _check_inner_names(name, dtype.inner)


def _unusable_name(name: str, reason: str) -> SchemaError:
    message = f"{name!r} can't be the name of a field: {reason}."
    return SchemaError(message, "records with such a field are refused; give it another name upstream.")


def _fields_of(cls: type) -> dict[str, pl.DataType]:
    if not dataclasses.is_dataclass(cls):
        message = f"schema={cls.__name__} is not a dataclass."
        raise SchemaError(message, "pass a dataclass, or a mapping of field name to dtype.")
    hints = typing.get_type_hints(cls)
    return {field.name: _dtype(hints[field.name], field.name) for field in dataclasses.fields(cls)}


def _dtype(annotation: Any, name: str) -> pl.DataType:
    dtype = _scalar(annotation) or _compound(annotation, name)
    if dtype is None:
        message = f"field {name!r}: {annotation!r} can't be the type of a column."
        hint = (
            "use str, int, float, bool, date, datetime, Decimal, list[...], a dataclass, or a Polars dtype."
        )
        raise SchemaError(message, hint)
    return dtype


def _scalar(annotation: Any) -> pl.DataType | None:
    if isinstance(annotation, str):
        annotation = getattr(pl, annotation, annotation)
    if isinstance(annotation, pl.DataType):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, pl.DataType):
        return annotation()
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return pl.Enum([str(member.value) for member in annotation])
    return _SCALARS.get(annotation)


def _compound(annotation: Any, name: str) -> pl.DataType | None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return pl.Struct(_fields_of(annotation))
    if origin in (Union, types.UnionType):
        # Every column holds nulls: ``X | None`` is an X.
        kinds = [argument for argument in arguments if argument is not type(None)]
        return _dtype(kinds[0], name) if len(kinds) == 1 else None
    if origin is Literal and all(isinstance(argument, str) for argument in arguments):
        return pl.Enum(list(arguments))
    if origin in (list, Sequence):
        return pl.List(_dtype(arguments[0], name))
    return None
