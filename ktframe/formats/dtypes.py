"""Polars types: the one rule for what type holds the values of two, casts to it, and what a float holds exactly.

Nothing here reads payloads. JSON inference (``json.inference``) has no types yet, but values, and widens them within this rule.
"""

from __future__ import annotations

from typing import Any, Final

import polars as pl

LARGEST_EXACT: Final = 2**53
"""Every integer from minus this to this is exact as a Float64."""

_SIGNED = (pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.Int128())
_UNSIGNED = (pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64(), pl.UInt128())
_UNITS = ("ms", "us", "ns")
MOST_DIGITS: Final = 38
"""So many digits a Decimal has at most."""


def as_instance(dtype: Any) -> pl.DataType:
    """Return ``dtype`` as an instance: inside lists and structs Polars also allows the bare class."""
    instance: pl.DataType = dtype() if isinstance(dtype, type) else dtype
    return instance


def leaf_types(dtype: pl.DataType) -> frozenset[type[pl.DataType]]:
    """Return the types inside ``dtype`` that hold no other type."""
    if isinstance(dtype, pl.List | pl.Array):
        return leaf_types(as_instance(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return frozenset().union(*map(leaf_types, struct_fields(dtype).values()))
    return frozenset({type(dtype)})


def struct_fields(dtype: pl.Struct) -> dict[str, pl.DataType]:
    """Return the types of the fields of a struct by name, in order."""
    return {field.name: as_instance(field.dtype) for field in dtype.fields}


def short_name(dtype: pl.DataType) -> str:
    """Return ``dtype`` as text for errors, without the fields or categories inside."""
    return type(dtype).__name__ if isinstance(dtype, pl.List | pl.Struct | pl.Enum) else str(dtype)


def common_dtype(
    one: pl.DataType, other: pl.DataType, *, struct: pl.Struct | None = None
) -> pl.DataType | None:
    """Return the type that holds the values of both, None where they are of different kinds.

    Integers widen to the narrowest integer that holds both, integers and floats to Float64 (see ``rounding`` in
    ``resolution`` for those beyond 2**53), decimals by their digits, times to the finer unit. Lists and structs widen
    inside. ``struct`` is what two structs become where their fields are not matched by name.
    """
    if pl.Null in (one, other):
        return one if other == pl.Null else other
    if isinstance(one, pl.List | pl.Array) and isinstance(other, pl.List | pl.Array):
        return _common_list(one, other, struct)
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        return struct or _common_struct(one, other)
    return one if one == other else _common_number(one, other) or _common_time(one, other)


def _common_list(
    one: pl.List | pl.Array, other: pl.List | pl.Array, struct: pl.Struct | None
) -> pl.DataType | None:
    item = common_dtype(as_instance(one.inner), as_instance(other.inner), struct=struct)
    if item is None:
        return None
    if isinstance(one, pl.Array) and isinstance(other, pl.Array):
        return pl.Array(item, one.size) if one.size == other.size else None
    return pl.List(item) if isinstance(one, pl.List) and isinstance(other, pl.List) else None


def _common_struct(one: pl.Struct, other: pl.Struct) -> pl.Struct | None:
    fields = struct_fields(one)
    for name, dtype in struct_fields(other).items():
        both = common_dtype(fields.get(name, pl.Null()), dtype)
        if both is None:
            return None
        fields[name] = both
    return pl.Struct(fields)


def _common_number(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if not (one.is_numeric() and other.is_numeric()):
        return None
    if isinstance(one, pl.Decimal) and isinstance(other, pl.Decimal):
        scale = max(one.scale, other.scale)
        digits = max(one.precision - one.scale, other.precision - other.scale) + scale
        return pl.Decimal(digits, scale) if digits <= MOST_DIGITS else None
    if isinstance(one, pl.Decimal) or isinstance(other, pl.Decimal):
        return None
    if one.is_float() or other.is_float():
        return pl.Float64()
    for family in (_SIGNED, _UNSIGNED):
        if one in family and other in family:
            return max(one, other, key=family.index)
    signed, unsigned = (one, other) if one in _SIGNED else (other, one)
    width = max(_SIGNED.index(signed), _UNSIGNED.index(unsigned) + 1)
    return _SIGNED[width] if width < len(_SIGNED) else None


def _common_time(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    if isinstance(one, pl.Datetime) and isinstance(other, pl.Datetime) and one.time_zone == other.time_zone:
        return pl.Datetime(max(one.time_unit, other.time_unit, key=_UNITS.index), one.time_zone)
    if isinstance(one, pl.Duration) and isinstance(other, pl.Duration):
        return pl.Duration(max(one.time_unit, other.time_unit, key=_UNITS.index))
    return None


def widened(values: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    """Return ``values`` of ``dtype`` as ``target``, which ``common_dtype`` returned for it and another."""
    if dtype == target:
        return values
    if isinstance(dtype, pl.List) and isinstance(target, pl.List):
        item = widened(pl.element(), as_instance(dtype.inner), as_instance(target.inner))
        return values.list.eval(item)
    if isinstance(dtype, pl.Array) and isinstance(target, pl.Array):
        item = widened(pl.element(), as_instance(dtype.inner), as_instance(target.inner))
        return values.arr.eval(item)
    if not (isinstance(dtype, pl.Struct) and isinstance(target, pl.Struct)):
        return values.cast(target)
    # Not by cast, which takes the fields of a struct by their order, or refuses them.
    fields = struct_fields(dtype)
    # Not pl.lit(None): Polars 2.1 panics when such a null, cast to an array of times, becomes a field of a struct.
    absent = pl.when(values.is_null()).then(None).otherwise(None)
    wanted = [
        widened(values.struct.field(name), fields[name], inner).alias(name)
        if name in fields
        else absent.cast(inner).alias(name)
        for name, inner in struct_fields(target).items()
    ]
    return pl.when(values.is_not_null()).then(pl.struct(wanted))
