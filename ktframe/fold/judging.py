"""Judges records by a condition, each by itself: with the kinds that its own values have.

So neither other records nor the types of columns, which are learned of what passes, decide what passes. Where a value is of
a kind that a part of the condition can't take, that part may be true, false or null; only where that leaves open whether
the whole is true is a record not judged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import reduce
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import polars as pl

from ktframe.fold.condition import (
    Atom,
    Condition,
    Joined,
    Part,
    Usage,
    assignments,
    dtype_within,
    result,
    value_at,
)
from ktframe.formats.compact_json import compact_json
from ktframe.formats.dtypes import struct_fields

PASSES: Final = True
LEFT_OUT: Final = False

_INT64 = 2**63
_NO_TYPES: Final[Mapping[str, pl.DataType]] = MappingProxyType({})
_DIGITS = 10**38


class Odd(NamedTuple):
    """A value that can't be read as it was declared, or is not known yet."""


ODD: Final = Odd()


class _Possible(NamedTuple):
    """What a part of a condition may be for each record: true, false, null."""

    true: pl.Series
    false: pl.Series
    null: pl.Series

    def negated(self) -> _Possible:
        return _Possible(self.false, self.true, self.null)

    def joined(self, other: _Possible, how: str) -> _Possible:
        if how == "or":
            return self.negated().joined(other.negated(), "and").negated()
        null = (self.null & (other.null | other.true)) | (other.null & (self.null | self.true))
        return _Possible(self.true & other.true, self.false | other.false, null)


def judged(
    condition: Condition, records: Sequence[Mapping[str, Any]], dtypes: Mapping[str, pl.DataType] = _NO_TYPES
) -> list[bool | None]:
    """Say of each record whether it passes; None where a value has a kind that leaves that open.

    ``dtypes`` are the types of fields whose values are not those of JSON.
    """
    if condition.equal is not None:
        return [_are_equal(record, condition.equal, dtypes) for record in records]
    if condition.part is None or not records:
        return [PASSES] * len(records)
    possible = _possible(condition.part, records, dtypes)
    is_certain = ~(possible.false | possible.null)
    return pl.select(pl.when(is_certain).then(True).when(~possible.true).then(False)).to_series().to_list()


def _are_equal(
    record: Mapping[str, Any], wanted: Mapping[str, Any], dtypes: Mapping[str, pl.DataType]
) -> bool | None:
    verdict: bool | None = PASSES
    for name, value in wanted.items():
        found = value_at(record, name)
        if found is ODD:
            verdict = None
        elif not _equals(found, value) or (name in dtypes and dtypes[name].is_temporal()):
            return LEFT_OUT
    return verdict


def _equals(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(value, bool):
        return type(value) is type(wanted) and value == wanted
    if isinstance(wanted, str):
        return isinstance(value, str) and value == wanted
    return isinstance(value, int | float | Decimal) and value == wanted


def _possible(
    part: Part, records: Sequence[Mapping[str, Any]], dtypes: Mapping[str, pl.DataType]
) -> _Possible:
    if isinstance(part, Joined):
        found = [_possible(inner, records, dtypes) for inner in part.parts]
        if part.how == "not":
            return found[0].negated()
        return reduce(lambda one, other: one.joined(other, part.how), found)
    outcomes = _outcomes(part, records, dtypes)
    true, false, null = (pl.Series([kind in each for each in outcomes], dtype=pl.Boolean) for kind in "TFN")
    return _Possible(true, false, null)


_OUTCOMES: Final[dict[bool | None, str]] = {True: "T", False: "F", None: "N"}
_ANY: Final = "TFN"


def _outcomes(
    atom: Atom, records: Sequence[Mapping[str, Any]], dtypes: Mapping[str, pl.DataType]
) -> list[str]:
    """Return what an atom may be for each record, a letter for each."""
    names = [*atom.usage]
    groups: dict[tuple[pl.DataType | None, ...], list[int]] = {}
    rows = []
    for line, record in enumerate(records):
        values = [
            value_at(record, name) if name in dtypes else _taken(value_at(record, name), atom.usage[name])
            for name in names
        ]
        rows.append(values)
        kinds = tuple(
            dtypes[name] if name in dtypes and value is not ODD else dtype_of(value, atom.usage[name])
            for name, value in zip(names, values, strict=True)
        )
        groups.setdefault(kinds, []).append(line)
    outcomes = [_ANY] * len(records)
    for kinds, lines in groups.items():
        found = _of_group(atom, dict(zip(names, kinds, strict=True)), [rows[line] for line in lines])
        for line, outcome in zip(lines, found, strict=True):
            outcomes[line] = outcome
    return outcomes


def _of_group(
    atom: Atom, kinds: Mapping[str, pl.DataType | None], rows: Sequence[Sequence[Any]]
) -> list[str]:
    """Return the outcomes of records whose values have the same kinds."""
    schema = _fitting(atom.expr, kinds)
    return [_ANY] * len(rows) if schema is None else _evaluated(atom.expr, schema, rows)


def _fitting(expr: pl.Expr, kinds: Mapping[str, pl.DataType | None]) -> pl.Schema | None:
    """Return types with which an expression is true or false, those of nulls chosen so; None where there are none."""
    known = {name: kind for name, kind in kinds.items() if kind is not None}
    if len(known) < len(kinds):
        return None
    open_names = [name for name, kind in known.items() if _has_null(kind)]
    for chosen in assignments(open_names) if open_names else ({},):
        schema = pl.Schema({name: _filled(kind, chosen.get(name)) for name, kind in known.items()})
        if result(expr, schema) in (pl.Boolean(), pl.Null()):
            return schema
    return None


def _evaluated(expr: pl.Expr, schema: pl.Schema, rows: Sequence[Sequence[Any]]) -> list[str]:
    """Return the outcomes of records; one whose value is the trouble, such as a text that is no number, is alone in that."""
    columns = zip(*rows, strict=True)
    try:
        frame = pl.DataFrame(
            [
                pl.Series(name, list(column), dtype=dtype, strict=False)
                for (name, dtype), column in zip(schema.items(), columns, strict=True)
            ]
        )
        found = frame.select(expr).to_series()
    except (pl.exceptions.PolarsError, TypeError, ValueError, OverflowError):
        if len(rows) == 1:
            return [_ANY]
        middle = len(rows) // 2
        return [*_evaluated(expr, schema, rows[:middle]), *_evaluated(expr, schema, rows[middle:])]
    if len(found) not in (1, len(rows)):  # not by rows: no answer for any of them
        return [_ANY] * len(rows)
    values = found.to_list()
    return [_OUTCOMES[value] for value in (values if len(values) == len(rows) else values * len(rows))]


def values_of(column: pl.Series) -> list[Any]:
    """Return the values of a column, of which a column of its type can be made again, exactly.

    Python has no nanoseconds: of these it is the numbers.
    """
    is_finer = isinstance(column.dtype, pl.Datetime) and column.dtype.time_unit == "ns"
    return (column.to_physical() if is_finer else column).to_list()


# --- values, and the kinds that they have ------------------------------------------------------------------------------


def _taken(value: Any, usage: Usage) -> Any:
    """Return what is looked at of a value: of an object the fields that ``usage`` names, all of them if there are none."""
    if usage and isinstance(value, Mapping):
        return {name: _taken(value.get(name), inner) for name, inner in usage.items()}
    if isinstance(value, list) and dtype_of(value) == pl.List(pl.String):
        return [item if item is None or isinstance(item, str) else compact_json(item) for item in value]
    return value


def dtype_of(value: Any, usage: Usage | None = None) -> pl.DataType | None:
    """Return the type of a JSON value by itself; None of one that can't be read."""
    simple = _SCALARS.get(type(value))
    if simple is not None:
        return simple
    if value is ODD:
        return None
    if value is None:
        return dtype_within(usage or {}, pl.Null())
    if isinstance(value, Mapping):
        fields = {
            name: dtype_of(inner, (usage or {}).get(name)) or pl.Null() for name, inner in value.items()
        }
        return pl.Struct(fields)
    if isinstance(value, list):
        nothing: pl.DataType = pl.Null()
        return pl.List(reduce(_common, (dtype_of(item) or nothing for item in value), nothing))
    return _integer(value) if isinstance(value, int) else None


_SCALARS: Final[dict[type, pl.DataType]] = {bool: pl.Boolean(), str: pl.String(), float: pl.Float64()}


_INTEGER: Final = pl.Int64()


def _integer(value: int) -> pl.DataType:
    if -_INT64 <= value < _INT64:
        return _INTEGER
    if 0 <= value < 2 * _INT64:
        return pl.UInt64()
    return pl.Decimal(38, 0) if -_DIGITS < value < _DIGITS else pl.Float64()


def _common(one: pl.DataType, other: pl.DataType) -> pl.DataType:
    """Return the type of the items of a list: JSON text where they have several kinds."""
    if other in (one, pl.Null):
        return one
    if one == pl.Null:
        return other
    if one.is_numeric() and other.is_numeric():
        return pl.Float64()
    if isinstance(one, pl.Struct) and isinstance(other, pl.Struct):
        left, right = struct_fields(one), struct_fields(other)
        names = [*dict.fromkeys((*left, *right))]
        return pl.Struct(
            {name: _common(left.get(name, pl.Null()), right.get(name, pl.Null())) for name in names}
        )
    return pl.String()


def _has_null(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(map(_has_null, struct_fields(dtype).values()))
    return _has_null(dtype.inner) if isinstance(dtype, pl.List) else dtype == pl.Null  # type: ignore[arg-type]


def _filled(dtype: pl.DataType, leaf: pl.DataType | None) -> pl.DataType:
    """Return a type with ``leaf`` wherever nothing is known."""
    if leaf is None:
        return dtype
    if isinstance(dtype, pl.Struct):
        return pl.Struct({name: _filled(inner, leaf) for name, inner in struct_fields(dtype).items()})
    if isinstance(dtype, pl.List):
        return pl.List(_filled(dtype.inner, leaf))  # type: ignore[arg-type]
    return leaf if dtype == pl.Null else dtype
