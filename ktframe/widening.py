"""One dtype for values of two: what a column became when a schema widened."""

from __future__ import annotations

import polars as pl

_TEXT = (pl.String, pl.Enum, pl.Categorical)
_FINEST_FIRST = ("ns", "us", "ms")


def common_dtype(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """Return the narrowest dtype for values of both, None where they are of different kinds."""
    if other in (one, pl.Null):
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() and other.is_numeric():
        empty = [pl.Series("", [], dtype=dtype).to_frame() for dtype in (one, other)]
        return pl.concat(empty, how="vertical_relaxed").to_series().dtype
    if isinstance(one, _TEXT) and isinstance(other, _TEXT):
        return pl.String()
    return _common_time(one, other) or _common_nested(one, other)


def _common_time(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone == other.time_zone:
        unit = min(one.time_unit, other.time_unit, key=_FINEST_FIRST.index)
        return pl.Datetime(unit, one.time_zone)
    if isinstance(one, pl.Duration) and isinstance(other, pl.Duration):
        return pl.Duration(min(one.time_unit, other.time_unit, key=_FINEST_FIRST.index))
    return None


def _common_nested(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if isinstance(one, pl.List) and isinstance(other, pl.List):
        inner = common_dtype(_inner(one), _inner(other))
        return None if inner is None else pl.List(inner)
    if isinstance(one, pl.Array) and isinstance(other, pl.Array) and one.size == other.size:
        inner = common_dtype(_inner(one), _inner(other))
        return None if inner is None else pl.Array(inner, one.size)
    if not (isinstance(one, pl.Struct) and isinstance(other, pl.Struct)):
        return None
    left, right = _fields(one), _fields(other)
    fields = {
        name: common_dtype(left.get(name, pl.Null()), right.get(name, pl.Null()))
        for name in {**left, **right}
    }
    known = {name: dtype for name, dtype in fields.items() if dtype is not None}
    return pl.Struct(known) if len(known) == len(fields) else None


def widened(values: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    """Return ``values`` of ``dtype`` as ``target``, which ``common_dtype`` made of it and another."""
    if dtype == target:
        return values
    if isinstance(dtype, pl.List) and isinstance(target, pl.List):
        return values.list.eval(widened(pl.element(), _inner(dtype), _inner(target)))
    if isinstance(dtype, pl.Array) and isinstance(target, pl.Array):
        return values.arr.eval(widened(pl.element(), _inner(dtype), _inner(target)))
    if not (isinstance(dtype, pl.Struct) and isinstance(target, pl.Struct)):
        return values.cast(target)
    # Not cast: it takes the fields of a struct in their order, or refuses.
    had = _fields(dtype)
    # Not a literal null: Polars 2.1 panics where one that is an array of times is spread over a struct.
    absent = pl.when(values.is_null()).then(None).otherwise(None)
    fields = [
        widened(values.struct.field(name), had[name], wanted).alias(name)
        if name in had
        else absent.cast(wanted).alias(name)
        for name, wanted in _fields(target).items()
    ]
    return pl.when(values.is_not_null()).then(pl.struct(fields))


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    return pl.Series(dtype=dtype.inner).dtype  # always an instance: Polars takes a class for one


def _fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    return {field.name: pl.Series(dtype=field.dtype).dtype for field in dtype.fields}
