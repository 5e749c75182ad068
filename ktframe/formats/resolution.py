"""Merges the columns of several schemas, and turns rows of one schema into rows of the merged columns.

These are Avro's rules of schema resolution, for every format: types widen by ``dtypes.common_dtype``, a column that a
schema lacks has its default, an alias is another name of the same column, and so in structs. All else is a conflict.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import polars as pl

from ktframe.formats.bodies import NO_DEFAULT, Column
from ktframe.formats.dtypes import LARGEST_EXACT, as_instance, common_dtype, short_name, struct_fields
from ktframe.formats.errors import ConflictError


def columns_of(schema: Mapping[str, pl.DataType], catalog: Iterable[Column] = ()) -> tuple[Column, ...]:
    """Return the fields of ``schema`` as columns, with the defaults and aliases that ``catalog`` has for them."""
    known = {column.name: column for column in catalog}
    return tuple(_column(name, as_instance(dtype), known.get(name)) for name, dtype in schema.items())


def _column(name: str, dtype: pl.DataType, known: Column | None) -> Column:
    inner = columns_of(_inner_fields(dtype), () if known is None else known.inner)
    return Column(name, dtype, inner=inner) if known is None else replace(known, dtype=dtype, inner=inner)


def _inner_fields(dtype: pl.DataType) -> Mapping[str, pl.DataType]:
    while isinstance(dtype, pl.List):
        dtype = as_instance(dtype.inner)
    return struct_fields(dtype) if isinstance(dtype, pl.Struct) else {}


def joined(known: Iterable[Column], further: Iterable[Column]) -> tuple[Column, ...]:
    """Return the columns that hold rows of both: the known ones first, in their order.

    ``further`` is the newer schema: its defaults win, and where it has a known column as an alias, so does its name.

    Raises
    ------
    ConflictError
        When a column has no type for the values of both.
    """
    result = {column.name: column for column in known}
    for column in further:
        old = next((name for name in (column.name, *column.aliases) if name in result), None)
        old = old or next((name for name, known in result.items() if column.name in known.aliases), None)
        if old is None:
            result[column.name] = column
            continue
        name = old if column.name in result[old].aliases else column.name
        both = replace(_widened(result[old], column), name=name)
        merged = [both if key == old else other for key, other in result.items()]
        result = {other.name: other for other in merged}
    return tuple(result.values())


def _widened(known: Column, further: Column) -> Column:
    try:
        inner = joined(known.inner, further.inner)
    except ConflictError as conflict:
        message = f"{further.name}.{conflict}"
        raise ConflictError(message, (further.name,)) from None
    # Aliases match the fields of structs too, which ``common_dtype`` does not know.
    struct = pl.Struct({column.name: column.dtype for column in inner})
    dtype = common_dtype(known.dtype, further.dtype, struct=struct)
    if dtype is None:
        message = f"{further.name}: {short_name(further.dtype)} in a column of {short_name(known.dtype)}"
        raise ConflictError(message, (further.name,))
    return Column(
        further.name,
        dtype,
        known.default if further.default is NO_DEFAULT else further.default,
        tuple(dict.fromkeys((*known.aliases, *further.aliases))),
        inner,
        tuple(dict.fromkeys((*known.hides, *further.hides))),
    )


def counterpart(column: Column, others: Mapping[str, Column]) -> Column | None:
    """Return the same column of another schema: one of this name, or one of the two has the other as an alias."""
    for name in (column.name, *column.aliases):
        if name in others:
            return others[name]
    return next((other for other in others.values() if column.name in other.aliases), None)


def changes_old_rows(before: Iterable[Column], after: Iterable[Column]) -> bool:
    """Say whether rows read with the columns ``before`` read differently with ``after``: other defaults or names."""
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
    """Return the column ``want`` of rows that have the columns ``have``."""
    source = counterpart(want, have)
    if source is None:
        return _absent(have, want).alias(want.name)
    return _fitted(pl.col(source.name), source, want, source.dtype, want.dtype).alias(want.name)


def _absent(have: Mapping[str, Column], column: Column) -> pl.Expr:
    """Return the default, or null where the rows do have a value, but an encrypted one."""
    is_hidden = any(column.name in other.hides for other in have.values())
    if is_hidden or column.default is NO_DEFAULT or column.default is None:
        return pl.lit(None, dtype=column.dtype)
    return pl.lit(pl.Series([column.default], dtype=column.dtype)).first()


def _fitted(values: pl.Expr, have: Column, want: Column, old: pl.DataType, new: pl.DataType) -> pl.Expr:
    """Return ``values`` of type ``old`` as ``new``; the columns have the fields of structs inside."""
    if old == new and not changes_old_rows(have.inner, want.inner):
        return values
    if isinstance(old, pl.List) and isinstance(new, pl.List):
        item = _fitted(pl.element(), have, want, as_instance(old.inner), as_instance(new.inner))
        return values.list.eval(item)
    if isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        fields = {column.name: column for column in have.inner}
        inner = [_field(values, fields, column) for column in want.inner]
        whole = pl.struct(inner) if inner else pl.lit({}, dtype=new)
        return pl.when(values.is_null()).then(pl.lit(None, dtype=new)).otherwise(whole)
    return values.cast(new)


def _field(values: pl.Expr, have: Mapping[str, Column], want: Column) -> pl.Expr:
    source = counterpart(want, have)
    if source is None:
        return _absent(have, want).alias(want.name)
    part = values.struct.field(source.name)
    return _fitted(part, source, want, source.dtype, want.dtype).alias(want.name)


def rounding(values: pl.Expr, old: pl.DataType, new: pl.DataType) -> pl.Expr | None:
    """Return where ``values`` hold an integer that the float would round; None where no value can be rounded."""
    if isinstance(old, pl.List) and isinstance(new, pl.List):
        item = rounding(pl.element(), as_instance(old.inner), as_instance(new.inner))
        return None if item is None else values.list.eval(item).list.any()
    if isinstance(old, pl.Struct) and isinstance(new, pl.Struct):
        wanted = struct_fields(new)
        fields = [
            rounding(values.struct.field(name), dtype, wanted[name])
            for name, dtype in struct_fields(old).items()
            if name in wanted
        ]
        rounded = [field for field in fields if field is not None]
        return pl.any_horizontal(rounded) if rounded else None
    if old.is_integer() and new.is_float() and old in (pl.Int64(), pl.UInt64(), pl.Int128()):
        return ~values.is_between(-LARGEST_EXACT, LARGEST_EXACT)
    return None
