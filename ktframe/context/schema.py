"""Schemas as users write them (dataclasses, mappings, Python types) to Polars' schemas."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, Union

import polars as pl

from ktframe.columns import is_field
from ktframe.errors import SchemaError
from ktframe.formats import map_dtype

SchemaLike: TypeAlias = Mapping[str, Any] | pl.Schema | type
"""A Polars schema, a mapping of field to dtype (a Polars one, its name, or a Python type), or a dataclass."""


class Json:
    """The type of a column that holds a field's JSON text, exactly as it was sent and whatever its kind.

    It is declared like any other type: ``schema={"v": ktframe.Json}``, as the type of a dataclass' field, or as ``"Json"``
    in a configuration file. The column is a ``pl.String``: ``1.10`` stays ``1.10``, and a string has its quotes. A field
    that is null or absent is null. Written back, the text is the field's JSON again.

    Examples
    --------
    >>> import ktframe
    >>> import polars as pl
    >>> from ktframe.testing import FakeBroker
    >>> broker = FakeBroker()
    >>> for key, value in (("a", b'{"v": {"code": 5}}'), ("b", b'{"v": "N/A"}')):
    ...     offset = broker.produce("events", key, value)
    >>> with broker.connect() as kt:
    ...     events = kt.table("events", schema={"v": ktframe.Json}).to_polars()
    >>> events.sort("key").select("v", code=pl.col("v").str.json_path_match("$.code")).rows()
    [('{"code": 5}', '5'), ('"N/A"', None)]
    """


@dataclass(frozen=True, slots=True)
class Map:
    """The type of a column that holds the entries of a field that is an object whose names are data.

    It is declared like any other type: ``schema={"attributes": ktframe.Map(pl.Int64)}``, as the type of a dataclass' field,
    or, in a configuration file, as ``"Map"`` for values of any kind. The column is a list of structs of ``key``, a String,
    and ``value``, of the type that is given; without one it is a String that has text as it is, and the JSON text of other
    kinds. Of equal names in an object the last counts. Written back, the entries are an object again.

    Examples
    --------
    >>> import ktframe
    >>> import polars as pl
    >>> from ktframe.testing import FakeBroker
    >>> broker = FakeBroker()
    >>> offset = broker.produce("orders", "a", b'{"quantity": {"SKU-1": 2, "SKU-7": 1}}')
    >>> with broker.connect() as kt:
    ...     orders = kt.table("orders", schema={"quantity": ktframe.Map(pl.Int64)}).to_polars()
    >>> orders.explode("quantity").unnest("quantity", separator=".").rows()  # key, quantity.key, quantity.value
    [('a', 'SKU-1', 2), ('a', 'SKU-7', 1)]
    """

    value: Any = str


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
    """Return ``schema`` in Polars' terms; a field of ``Json`` is a String, one of ``Map`` a list of structs."""
    fields = pl.Schema(
        {name: _column_dtype(annotation, name) for name, annotation in _annotations(schema).items()}
    )
    for name, dtype in fields.items():
        check_field_name(name)
        _check_inner_names(name, dtype)
    return fields


def json_fields(schema: SchemaLike) -> frozenset[str]:
    """Return the fields that are declared as ``Json``."""
    return frozenset(name for name, annotation in _annotations(schema).items() if _is_json(annotation))


def map_fields(schema: SchemaLike) -> frozenset[str]:
    """Return the fields that are declared as ``Map``."""
    return frozenset(name for name, annotation in _annotations(schema).items() if _map_of(annotation))


def _column_dtype(annotation: Any, name: str) -> pl.DataType:
    if _is_json(annotation):
        return pl.String()
    entries = _map_of(annotation)
    return _dtype(annotation, name) if entries is None else map_dtype(_dtype(entries.value, f"{name}.value"))


def _map_of(annotation: Any) -> Map | None:
    kinds = _kinds(annotation)
    if len(kinds) != 1:
        return None
    is_bare = kinds[0] is Map or (isinstance(kinds[0], str) and kinds[0] == Map.__name__)
    return Map() if is_bare else kinds[0] if isinstance(kinds[0], Map) else None


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


def _annotations(schema: SchemaLike) -> Mapping[str, Any]:
    return _annotations_of(schema) if isinstance(schema, type) else schema


def _annotations_of(cls: type) -> dict[str, Any]:
    if not dataclasses.is_dataclass(cls):
        message = f"schema={cls.__name__} is not a dataclass."
        raise SchemaError(message, "pass a dataclass, or a mapping of field name to dtype.")
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _is_json(annotation: Any) -> bool:
    kinds = _kinds(annotation)
    return len(kinds) == 1 and (kinds[0] is Json or (isinstance(kinds[0], str) and kinds[0] == Json.__name__))


def _kinds(annotation: Any) -> list[Any]:
    """Return the types of an annotation other than None: every column holds nulls, so ``X | None`` is an X."""
    if typing.get_origin(annotation) not in (Union, types.UnionType):
        return [annotation]
    return [argument for argument in typing.get_args(annotation) if argument is not type(None)]


def _dtype(annotation: Any, name: str) -> pl.DataType:
    if _is_json(annotation):
        message = (
            f"field {name!r}: only a field of the record can be ktframe.Json, not what is inside of one."
        )
        raise SchemaError(message, "use str there: it takes other kinds as their JSON text.")
    if _map_of(annotation) is not None:
        message = (
            f"field {name!r}: only a field of the record can be a ktframe.Map, not what is inside of one."
        )
        raise SchemaError(message, "declare the field of the record as ktframe.Map or ktframe.Json.")
    dtype = _scalar(annotation) or _compound(annotation, name)
    if dtype is None:
        message = f"field {name!r}: {annotation!r} can't be the type of a column."
        hint = (
            "use str, int, float, bool, date, datetime, Decimal, list[...], a dataclass, ktframe.Json, "
            "ktframe.Map, or a Polars dtype."
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
        fields = _annotations_of(annotation).items()
        return pl.Struct({inner: _dtype(kind, f"{name}.{inner}") for inner, kind in fields})
    if origin in (Union, types.UnionType):
        kinds = _kinds(annotation)
        return _dtype(kinds[0], name) if len(kinds) == 1 else None
    if origin is Literal and all(isinstance(argument, str) for argument in arguments):
        return pl.Enum(list(arguments))
    if origin in (list, Sequence):
        return pl.List(_dtype(arguments[0], f"{name}[]"))
    return None
