"""Fields inside of structs: their types, their values, and structs of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import polars as pl

from ktframe.formats.dtypes import struct_fields
from ktframe.formats.field_names import FieldPath, field_name


def nested_dtype(fields: pl.Schema, path: FieldPath) -> pl.DataType | None:
    """Return the type of the field at ``path``; None where there is none."""
    dtype = fields.get(path[0])
    for name in path[1:]:
        dtype = struct_fields(dtype).get(name) if isinstance(dtype, pl.Struct) else None
    return dtype


def nested_value(path: FieldPath) -> pl.Expr:
    """Return the expression of a field that there is; null where a struct around it is null."""
    value = pl.col(path[0])
    for name in path[1:]:
        value = value.struct.field(name)
    return value


def field_names(fields: pl.Schema, outer: FieldPath = ()) -> Iterator[str]:
    """Yield the names of all fields that are no structs, also of those inside of structs."""
    for name, dtype in fields.items():
        path = (*outer, name)
        if isinstance(dtype, pl.Struct):
            yield from field_names(pl.Schema(struct_fields(dtype)), path)
        else:
            yield field_name(path)


def only(fields: pl.Schema, paths: Iterable[FieldPath]) -> pl.Schema:
    """Return the types of the fields at ``paths``, and of the structs around them with nothing else in them.

    A field that there is not has the type Null.
    """
    tree: dict[str, list[FieldPath]] = {}
    for path in paths:
        tree.setdefault(path[0], []).append(path[1:])
    return pl.Schema({name: _pruned(fields.get(name, pl.Null()), inner) for name, inner in tree.items()})


def _pruned(dtype: pl.DataType, paths: list[FieldPath]) -> pl.DataType:
    if () in paths:
        return dtype
    known = struct_fields(dtype) if isinstance(dtype, pl.Struct) else {}
    return pl.Struct(dict(only(pl.Schema(known), paths)))


def within(values: pl.Expr, dtype: pl.DataType, wanted: pl.DataType) -> pl.Expr:
    """Return structs with the fields of ``wanted`` alone, which ``dtype`` has; other values cast to it."""
    if not (isinstance(dtype, pl.Struct) and isinstance(wanted, pl.Struct)):
        return values.cast(wanted)
    have = struct_fields(dtype)
    inner = [
        within(values.struct.field(name), have[name], kind).alias(name)
        for name, kind in struct_fields(wanted).items()
    ]
    return pl.when(values.is_not_null()).then(pl.struct(inner))
