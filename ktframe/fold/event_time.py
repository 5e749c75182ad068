"""When a row happened: the record's timestamp, or the field that ``time=`` names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, Final, NamedTuple

import polars as pl

from ktframe.clock import EPOCH
from ktframe.columns import LINE, TIMESTAMP, TOMBSTONE
from ktframe.config.settings import TimeUnit
from ktframe.fold.epoch import epoch_ms, likely_unit, unit_of
from ktframe.fold.refused import Step
from ktframe.formats.base import Fault, Refusal
from ktframe.formats.dtypes import short_name

_ZONED = (
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
)

_ZONELESS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_DAY_MS = 86_400_000
_WHOLE = r"^[+-]?\d+$"
_FRACTION = r"^[+-]?\d+\.\d+$"

SHOWN_TIME = pl.Datetime("ms", "UTC")
"""The dtype in which users see a time."""

# The years -262143 to 262142. Polars holds any Int64, but panics when it prints one outside (chrono's NaiveDate).
_FIRST_SHOWN_MS, _LAST_SHOWN_MS = -8_334_601_228_800_000, 8_210_266_876_799_999


def as_datetime(ms: int | None) -> datetime | None:
    """Return the moment ``ms`` milliseconds after 1970 in UTC; None for None, and outside the years 1 to 9999."""
    try:
        return None if ms is None else EPOCH + timedelta(milliseconds=ms)
    except OverflowError:
        return None


def as_shown_times(ms: pl.Expr) -> pl.Expr:
    """Return milliseconds since 1970 as ``SHOWN_TIME``, null outside the years -262143 to 262142.

    A value outside the years 1 to 9999 is in the column, but Python has no datetime for it: ``to_list()`` raises.
    """
    return pl.when(ms.is_between(_FIRST_SHOWN_MS, _LAST_SHOWN_MS)).then(ms).cast(SHOWN_TIME)


@dataclass(frozen=True, slots=True)
class EventTime:
    """When records happened: at the time in ``field``, or where that is None at the record's own timestamp.

    Numbers in the field count ``unit`` since 1970, also where they are sent as text. Where it is None integers are
    milliseconds, floats seconds (as Unix time is usually written), and text is no number.
    """

    field: str | None = None
    unit: TimeUnit | None = None

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows``, which have ``TIMESTAMP`` and ``TOMBSTONE``, with the event time in ``TIMESTAMP``."""
        if self.field is None:
            return rows
        times = event_times(rows, self.field, self.unit)
        # A tombstone has no field to take its time from: it happened when the record says.
        return rows.with_columns(pl.when(TOMBSTONE).then(TIMESTAMP).otherwise(times).alias(TIMESTAMP))

    def unit_of(self, dtype: pl.DataType) -> TimeUnit | None:
        """Return the unit in which a column of ``dtype`` is read; None where it is not one of numbers."""
        if dtype.is_integer() or (dtype == pl.String and self.unit is not None):
            return self.unit or "ms"
        return self.unit or "s" if dtype.is_float() else None

    def likely(self, at_ms: int, dtype: pl.DataType) -> str:
        """Return what to say of a time that is none in the unit of its column, but is one in another; mostly nothing."""
        unit = self.unit_of(dtype)
        likely = None if unit is None else likely_unit(at_ms, unit)
        return "" if likely is None else f'; time_unit="{likely[0]}" reads {self.field!r} as {likely[1]}'


RECORD_TIME: Final = EventTime()
"""The record's own timestamp."""


def event_times(rows: pl.DataFrame, field: str, unit: TimeUnit | None = None) -> pl.Series:
    """Return the event time of each row in ms since 1970 (Int64), null where it has no usable one.

    Numbers are read as ``EventTime`` says, text as ISO 8601 (UTC where no offset is given); dates and datetimes are
    themselves. What is finer than a millisecond is floored, before 1970 too.
    """
    column = rows[field] if field in rows.columns else pl.repeat(None, rows.height, eager=True)
    dtype = column.dtype
    if dtype.is_integer() or dtype.is_float():
        return epoch_ms(column, unit or ("s" if dtype.is_float() else "ms"))
    if dtype == pl.String:
        numbers = None if unit is None else _number_times(column, unit)
        times = _parse_iso(column if numbers is None else column.set(numbers.is_not_null(), None))
        return times.dt.epoch("ms") if numbers is None else times.dt.epoch("ms").fill_null(numbers)
    if not isinstance(dtype, pl.Date | pl.Datetime):
        return pl.repeat(None, rows.height, dtype=pl.Int64, eager=True)
    return column.dt.epoch("ms")


def _number_times(column: pl.Series, unit: TimeUnit) -> pl.Series:
    """Return the times of text that is a number, null for other text."""
    is_whole = column.str.contains(_WHOLE)
    times = epoch_ms(column.set(~is_whole, None).cast(pl.Int64, strict=False), unit)
    fractions = column.set(~column.str.contains(_FRACTION), None).cast(pl.Float64, strict=False)
    return times.fill_null(epoch_ms(fractions, unit))


def _parse_iso(column: pl.Series) -> pl.Series:
    """Parse ISO 8601 in the forms that JSON writers produce, the commonest first, until all text is read."""
    times = pl.repeat(None, len(column), dtype=pl.Datetime("us", "UTC"), eager=True)
    for form in (*_ZONED, *_ZONELESS, "%Y-%m-%d"):
        unread = times.is_null() & column.is_not_null()
        if not unread.any():
            break
        text = column.set(~unread, None).str
        if form in _ZONED:
            parsed = text.to_datetime(form, time_unit="us", time_zone="UTC", strict=False)
        elif form in _ZONELESS:
            parsed = text.to_datetime(form, time_unit="us", strict=False).dt.replace_time_zone("UTC")
        else:
            parsed = text.to_date(form, strict=False).cast(times.dtype)
        times = times.fill_null(parsed)
    return times


def refuse_timeless(rows: pl.DataFrame, time: EventTime) -> Step:
    """Return the rows that have an event time which can be shown."""
    is_usable = pl.col(TIMESTAMP).is_between(_FIRST_SHOWN_MS, _LAST_SHOWN_MS).fill_null(value=False)

    def reason(record: _Record) -> str:
        dtype = rows.schema.get(time.field or TIMESTAMP, pl.Null())
        if record.at is not None:
            likely = time.likely(record.at, dtype) if record.has_field else ""
            return f"timestamp {record.at} ms is outside the years -262143 to 262142{likely}"
        if not record.has_field:
            return "the record has no timestamp"
        return f"no usable time in {time.field!r}: {_why(record.value, dtype, time)}"

    return _refuse(rows, ~is_usable, Fault.TIME, reason, time)


def _why(value: Any, dtype: pl.DataType, time: EventTime) -> str:
    """Return why ``value`` (text as it is, True for all else) of a column of ``dtype`` is no time."""
    if value is None:
        return "it is missing or null"
    is_number = isinstance(value, str) and (re.search(_WHOLE, value) or re.search(_FRACTION, value))
    if is_number and time.unit is None:
        unit = unit_of([Fraction(value)])
        reading = "time_unit= reads it" if unit is None else f'time_unit="{unit}" reads it'
        return f"text that is a number; {reading}"
    if is_number or dtype.is_integer() or dtype.is_float():
        return "a number that no time has"
    if dtype == pl.String:
        return "text that is no ISO 8601 time, such as 2024-01-31T12:34:56Z"
    return f"a {short_name(dtype)} is no time"


def refuse_skewed(rows: pl.DataFrame, now_ms: int, max_skew_ms: int | None, time: EventTime) -> Step:
    """Return the rows that are not too far in the future."""
    if max_skew_ms is None:
        return Step(rows)
    is_skewed = (pl.col(TIMESTAMP) > now_ms + max_skew_ms).fill_null(value=False)

    def reason(record: _Record) -> str:
        dtype = rows.schema.get(time.field or TIMESTAMP, pl.Null())
        at = record.at or 0
        likely = time.likely(at, dtype) if record.has_field else ""
        allowed = f"max_future_skew allows {max_skew_ms / _DAY_MS:g}"
        return f"its time is {(at - now_ms) / _DAY_MS:,.1f} days in the future; {allowed}{likely}"

    return _refuse(rows, is_skewed, Fault.SKEW, reason, time)


class _Record(NamedTuple):
    """A record that is refused for its time ``at``; whether that came from a field, and what is there."""

    at: int | None
    has_field: bool
    value: Any


def _refuse(
    rows: pl.DataFrame, condition: pl.Expr, fault: Fault, reason: Callable[[_Record], str], time: EventTime
) -> Step:
    is_refused = rows.select(condition).to_series()
    if not is_refused.any():
        return Step(rows)
    refused = rows.filter(is_refused)
    # A tombstone has no field: its time is that of the record.
    has_field = pl.lit(value=False) if time.field is None else ~pl.col(TOMBSTONE)
    value = pl.lit(None)
    if time.field in rows.columns:
        # Not what is no text: Python has no datetime beyond the year 9999.
        column = pl.col(time.field)
        value = column if rows.schema[time.field] == pl.String else pl.when(column.is_not_null()).then(True)
    told = refused.select(LINE, TIMESTAMP, has_field.alias("has_field"), value.alias("value"))
    refusals = [Refusal(line, reason(_Record(*record)), fault) for line, *record in told.iter_rows()]
    return Step(rows.filter(~is_refused), refusals)
