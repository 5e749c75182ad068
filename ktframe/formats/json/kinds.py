"""The kinds of JSON values, and which of them a value or the values of a column have."""

from __future__ import annotations

from typing import Any, Final

import polars as pl

from ktframe.formats.dtypes import LARGEST_EXACT, MOST_DIGITS

INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
NUMBER: Final = "number"
INTEGER: Final = "integer"
NEGATIVE: Final = "negative"
"""An integer below 0."""
WIDE: Final = "wide"
"""An integer beyond 2**53."""
UNSIGNED: Final = "unsigned"
"""An integer that only a UInt64 holds."""
HUGE: Final = "huge"
"""An integer that only a Decimal holds."""
ENDLESS: Final = "endless"
"""A whole number that no column of integers holds: it is in no count of these."""
REAL: Final = "real"
UNSURE: Final = "unsure"
"""A whole number in a column of floats, which may have been sent as an integer."""
BOOLEAN: Final = "boolean"
STRING: Final = "string"
LIST: Final = "list"
TIMELESS: Final = "timeless"
"""Text that is no ISO 8601 time with an offset; these three are only counted where ``times=`` asks for times."""
FINE: Final = "fine"
"""A time that only a column of nanoseconds holds."""
FAR: Final = "far"
"""A time that no column of nanoseconds holds."""
FILLED: Final = "filled"
"""A list with items: one without may stand for an object, as PHP writes it."""
STRUCT: Final = "struct"
NULL: Final = "null"
"""Not counted; only its place is kept."""
RECORD: Final = "record"
"""An object that is a record itself: it has columns, and is no value in one."""

VALUE_KINDS: Final = frozenset({NUMBER, BOOLEAN, STRING, LIST, STRUCT})
"""The kinds of which each value that is not null has one."""

KIND_OF: Final = {bool: BOOLEAN, str: STRING, list: LIST, dict: STRUCT}
KIND_OF_TYPE: Final = {
    pl.Boolean: BOOLEAN,
    pl.String: STRING,
    pl.Datetime: STRING,
    pl.List: LIST,
    pl.Struct: STRUCT,
}


def size_beyond_int64(value: int) -> str:
    """Return which kind an integer is that no Int64 holds."""
    if 0 <= value <= UINT64_MAX:
        return UNSIGNED
    return HUGE if abs(value) < 10**MOST_DIGITS else ENDLESS


def integer_masks(values: pl.Series) -> dict[str, pl.Series]:
    """Return where a column of integers, an Int64, UInt64 or Decimal, has those of each special kind that it has."""
    low: Any = values.min()
    high: Any = values.max()
    if low is None:
        return {}
    masks = {}
    # A UInt64 can't be compared with what is below 0: only where there is something to find.
    if low < 0:
        masks[NEGATIVE] = values < 0
    if high > LARGEST_EXACT:
        masks[WIDE] = values > LARGEST_EXACT
    if low < -LARGEST_EXACT:
        is_low = values < -LARGEST_EXACT
        masks[WIDE] = masks[WIDE] | is_low if WIDE in masks else is_low
    if high > INT64_MAX:
        masks[UNSIGNED] = values > INT64_MAX
    if high > UINT64_MAX:
        masks[HUGE] = values > UINT64_MAX
        masks[UNSIGNED] &= ~masks[HUGE]
    if low < INT64_MIN:
        is_low = values < INT64_MIN
        masks[HUGE] = masks[HUGE] | is_low if HUGE in masks else is_low
    return masks


def items_of(records: pl.Series, lists: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the items of ``lists``, and for each the record that it is from."""
    items = pl.DataFrame({"r": records, "v": lists}).filter(pl.col("v").list.len() > 0).explode("v")
    return items["r"], items["v"]


def is_empty(objects: pl.Series) -> pl.Series:
    """Return which of ``objects`` are there, and have no field that is."""
    mask = objects.is_not_null()
    for column in objects.struct.unnest():
        if not mask.any():
            break
        mask &= column.is_null()
    return mask


def distinct(values: pl.Series, records: pl.Series | None, mask: pl.Series | None = None) -> int:
    """Return how many records the values of a column are from, or those of them where ``mask`` says so."""
    if records is None:
        return len(values) if mask is None else int(mask.sum())
    return records.n_unique() if mask is None else records.filter(mask).n_unique()
