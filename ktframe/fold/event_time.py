"""When a row happened: the record's timestamp, or the field that ``time=`` names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from ktframe.clock import EPOCH
from ktframe.columns import LINE, TIMESTAMP, TOMBSTONE
from ktframe.fold.refused import Step
from ktframe.formats.base import Fault, Refusal

_ZONED = (
    "%+",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
)

_ZONELESS = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M")
_PRODUCT_ERROR = 2.0**-51
_DAY_MS = 86_400_000

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
    """When records happened: at the time in ``field``, or where that is None at the record's own timestamp."""

    field: str | None

    def apply(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows``, which have ``TIMESTAMP`` and ``TOMBSTONE``, with the event time in ``TIMESTAMP``."""
        if self.field is None:
            return rows
        times = event_times(rows, self.field)
        # A tombstone has no field to take its time from: it happened when the record says.
        return rows.with_columns(pl.when(TOMBSTONE).then(TIMESTAMP).otherwise(times).alias(TIMESTAMP))


def event_times(rows: pl.DataFrame, field: str) -> pl.Series:
    """Return the event time of each row in ms since 1970 (Int64), null where it has no usable one.

    Integers are milliseconds, floats seconds (as Unix time is usually written), text ISO 8601 (UTC where no offset
    is given); dates and datetimes are themselves. What is finer than a millisecond is floored, before 1970 too.
    """
    column = rows[field] if field in rows.columns else pl.repeat(None, rows.height, eager=True)
    dtype = column.dtype
    if dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if dtype.is_float():
        milliseconds = column.cast(pl.Float64) * 1000
        # Up by the error of the product, or 1.001 would be 1000 ms: 1.001 * 1000 is below 1001.
        return (milliseconds + milliseconds.abs() * _PRODUCT_ERROR).floor().cast(pl.Int64, strict=False)
    if dtype == pl.String:
        column = _parse_iso(column)
    elif not isinstance(dtype, pl.Date | pl.Datetime):
        return pl.repeat(None, rows.height, dtype=pl.Int64, eager=True)
    return column.dt.epoch("ms")


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


def refuse_timeless(rows: pl.DataFrame, field: str | None) -> Step:
    """Return the rows that have an event time which can be shown."""
    source = "the record has no timestamp" if field is None else f"no usable time in {field!r}"
    is_usable = pl.col(TIMESTAMP).is_between(_FIRST_SHOWN_MS, _LAST_SHOWN_MS).fill_null(value=False)
    return _refuse(
        rows,
        ~is_usable,
        Fault.TIME,
        lambda at: source if at is None else f"timestamp {at} ms is outside the years -262143 to 262142",
    )


def refuse_skewed(rows: pl.DataFrame, now_ms: int, max_skew_ms: int | None) -> Step:
    """Return the rows that are not too far in the future."""
    if max_skew_ms is None:
        return Step(rows)
    is_skewed = (pl.col(TIMESTAMP) > now_ms + max_skew_ms).fill_null(value=False)

    def reason(at: int | None) -> str:
        ahead = ((at or 0) - now_ms) / _DAY_MS
        return (
            f"its time is {ahead:,.1f} days in the future; max_future_skew allows {max_skew_ms / _DAY_MS:g}"
        )

    return _refuse(rows, is_skewed, Fault.SKEW, reason)


def _refuse(
    rows: pl.DataFrame, condition: pl.Expr, fault: Fault, reason: Callable[[int | None], str]
) -> Step:
    is_refused = rows.select(condition).to_series()
    if not is_refused.any():
        return Step(rows)
    refused = rows.filter(is_refused).select(LINE, TIMESTAMP)
    return Step(
        rows.filter(~is_refused), [Refusal(line, reason(at), fault) for line, at in refused.iter_rows()]
    )
