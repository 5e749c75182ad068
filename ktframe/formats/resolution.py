"""Several schemas, one set of columns: what a column becomes, and how rows of one schema look in it.

Avro's rules of schema resolution, for every format: numbers widen as far as no digit is lost, a column that a schema
lacks shows its default, an alias is another name of the same column, and fields of structs follow the same rules.
What does not fit is a conflict, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from ktframe.formats.bodies import NO_DEFAULT, Column
from ktframe.formats.dtypes import LARGEST_EXACT, as_instance, common_dtype, short_name
from ktframe.formats.errors import ConflictError


def columns_of(schema: Mapping[str, pl.DataType], catalog: Iterable[Column] = ()) -> tuple[Column, ...]:
    """Return fields that are known by their types as columns, with what ``catalog`` tells of their names beside."""
    told = {column.name: column for column in catalog}
    return tuple(_column(name, as_instance(dtype), told.get(name)) for name, dtype in schema.items())


def _column(name: str, dtype: pl.DataType, told: Column | None) -> Column:
    fields = {field.name: field.dtype for field in _struct_fields(dtype)}
    inner = columns_of(fields, () if told is None else told.inner)
    return Column(name, dtype, inner=inner) if told is None else replace(told, dtype=dtype, inner=inner)


def _struct_fields(dtype: pl.DataType) -> Iterable[Any]:
    while isinstance(dtype, pl.List):
        dtype = dtype.inner  # type: ignore[assignment]  # an instance, where the column was made from one
    return dtype.fields if isinstance(dtype, pl.Struct) else ()


def joined(known: Iterable[Column], further: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns that rows of both fit in: the known ones first, in their order.

    ``further`` is the newer schema: where both have a default, its counts; where it names a known column as an alias,
    its name does.

    Raises
    ------
    ConflictError
        When a column can't be both.
    """
    result = {column.name: column for column in known}
    for column in further:
        old = next((name for name in (column.name, *column.aliases) if name in result), None)
        old = old or next((each.name for each in result.values() if column.name in each.aliases), None)
        if old is None:
            result[column.name] = column
            continue
        name = old if column.name in result[old].aliases else column.name
        both = replace(_widened(result[old], column), name=name)
        result = {
            each.name: each for each in (both if key == old else found for key, found in result.items())
        }
    return tuple(result.values())


def _widened(known: Column, further: Column) -> Column:
    try:
        inner = joined(known.inner, further.inner)
    except ConflictError as conflict:
        message = f"{further.name}.{conflict}"
        raise ConflictError(message) from None
    # Aliases match the fields of structs too, which ``common_dtype`` does not know.
    struct = pl.Struct({column.name: column.dtype for column in inner})
    dtype = common_dtype(known.dtype, further.dtype, struct=struct)
    if dtype is None:
        message = f"{further.name}: {short_name(further.dtype)} in a column of {short_name(known.dtype)}"
        raise ConflictError(message)
    return Column(
        further.name,
        dtype,
        known.default if further.default is NO_DEFAULT else further.default,
        tuple(dict.fromkeys((*known.aliases, *further.aliases))),
        inner,
    )


def counterpart(column: Column, found: Mapping[str, Column]) -> Column | None:
    """Return what another schema has for ``column``, under its name or an alias of either; None where nothing."""
    for name in (column.name, *column.aliases):
        if name in found:
            return found[name]
    return next((each for each in found.values() if column.name in each.aliases), None)


def changes_old_rows(before: Iterable[Column], after: Iterable[Column]) -> bool:
    """Say whether rows that were read as ``before`` read otherwise as ``after``: by a default, or by a new name."""
    known = {column.name: column for column in before}
    for column in after:
        old = counterpart(column, known)
        if _shown_default(column) != (None if old is None else _shown_default(old)):
            return True
        if old is not None and (old.name != column.name or changes_old_rows(old.inner, column.inner)):
            return True
    return False


def _shown_default(column: Column) -> Any:
    return None if column.default is NO_DEFAULT else column.default


def reading(have: Mapping[str, Column], want: Column) -> pl.Expr:
    """Return the column ``want`` of rows whose columns are ``have``."""
    found = counterpart(want, have)
    if found is None:
        return _default(want).alias(want.name)
    return _fitted(pl.col(found.name), found, want, found.dtype, want.dtype).alias(want.name)


def _default(column: Column) -> pl.Expr:
    if column.default is NO_DEFAULT or column.default is None:
        return pl.lit(None, dtype=column.dtype)
    return pl.lit(pl.Series([column.default], dtype=column.dtype)).first()


def _fitted(values: pl.Expr, have: Column, want: Column, old: pl.DataType, new: pl.DataType) -> pl.Expr:
    """Return ``values`` of type ``old`` as ``new``; the columns say what fields structs inside have."""
    if old == new and not changes_old_rows(have.inner, want.inner):
        return values
    if isinstance(old, pl.List) and isinstance(new, pl.List):
        item = _fitted(pl.element(), have, want, as_instance(old.inner), as_instance(new.inner))
        return values.list.eval(item)
    if isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        fields = {column.name: column for column in have.inner}
        inner = [_field(values, fields, column) for column in want.inner]
        made = pl.struct(inner) if inner else pl.lit({}, dtype=new)
        return pl.when(values.is_null()).then(pl.lit(None, dtype=new)).otherwise(made)
    return values.cast(new)


def _field(values: pl.Expr, have: Mapping[str, Column], want: Column) -> pl.Expr:
    found = counterpart(want, have)
    if found is None:
        return _default(want).alias(want.name)
    part = values.struct.field(found.name)
    return _fitted(part, found, want, found.dtype, want.dtype).alias(want.name)


def rounding(values: pl.Expr, old: pl.DataType, new: pl.DataType) -> pl.Expr | None:
    """Return where an integer among ``values`` has more digits than the float it becomes; None where none can."""
    if isinstance(old, pl.List) and isinstance(new, pl.List):
        item = rounding(pl.element(), as_instance(old.inner), as_instance(new.inner))
        return None if item is None else values.list.eval(item).list.any()
    if isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        wanted = {field.name: as_instance(field.dtype) for field in new.fields}
        parts = [
            rounding(values.struct.field(field.name), as_instance(field.dtype), wanted[field.name])
            for field in old.fields
            if field.name in wanted
        ]
        found = [part for part in parts if part is not None]
        return pl.any_horizontal(found) if found else None
    if old.is_integer() and new.is_float() and old in (pl.Int64(), pl.UInt64(), pl.Int128()):
        return ~values.is_between(-LARGEST_EXACT, LARGEST_EXACT)
    return None
