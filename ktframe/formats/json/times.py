"""Converts ISO 8601 text and numbers to counted units, exactly, for Date, Datetime and Time fields.

Python's own ``datetime`` stops at microseconds, so fractions are counted here.
"""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal

import polars as pl

from ktframe.formats.dtypes import LARGEST_EXACT
from ktframe.formats.json.kinds import FAR, FINE, TIMELESS

_DATE = r"(\d{4})-(\d\d)-(\d\d)"
_CLOCK = r"([01]\d|2[0-3])(?::([0-5]\d)(?::([0-5]\d)(?:\.(\d+))?)?)?"
_OFFSET = r"(?:([Zz])|([+-])([01]\d|2[0-3])(?::?([0-5]\d))?)"
_DATE_PATTERN = re.compile(_DATE, re.ASCII)
_TIME_PATTERN = re.compile(_CLOCK, re.ASCII)
_DATETIME_PATTERN = re.compile(f"{_DATE}(?:[Tt ]{_CLOCK}{_OFFSET}?)?", re.ASCII)
_DIGITS = {"ms": 3, "us": 6, "ns": 9}
UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_MOST_NANOSECONDS = (2**63 - 1) // 1_000
"""So many microseconds since 1970 a column of nanoseconds can hold."""
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY_SECONDS = 86_400

FIRST_SECOND = (date.min.toordinal() - _EPOCH_DAY) * _DAY_SECONDS
"""The start of year 1, in seconds since 1970; Python has no earlier dates."""

END_SECOND = (date.max.toordinal() + 1 - _EPOCH_DAY) * _DAY_SECONDS
"""The end of year 9999."""


def days_of(text: str) -> int:
    """Return the days since 1970 of a date such as ``2024-01-31``; ValueError says why there are none."""
    match = _DATE_PATTERN.fullmatch(text)
    if match is None:
        message = "not a date such as 2024-01-31"
        raise ValueError(message)
    return _days(*match.groups())


def nanoseconds_of(text: str) -> int:
    """Return the nanoseconds since midnight of a time such as ``12:34:56.789``."""
    match = _TIME_PATTERN.fullmatch(text)
    if match is None or match[2] is None:
        message = "not a time such as 12:34:56"
        raise ValueError(message)
    return _seconds(*match.groups()[:3]) * 10**9 + _fraction(match[4], "ns")


def units_of(text: str, unit: str, *, is_aware: bool) -> int:
    """Return the time units since 1970 UTC of a time such as ``2024-01-31T12:34:56.789Z``.

    Text for a column with a time zone needs an offset, and other text must have none: neither is ever guessed. A
    fraction finer than ``unit`` is a ValueError, never cut. A date alone is its midnight, if no offset is needed.
    """
    match = _DATETIME_PATTERN.fullmatch(text)
    if match is None:
        message = "not an ISO 8601 time such as 2024-01-31T12:34:56Z"
        raise ValueError(message)
    year, month, day, hour, minute, second, fraction, zulu, sign, offset_hours, offset_minutes = (
        match.groups()
    )
    has_offset = zulu is not None or sign is not None
    if is_aware and not has_offset:
        message = "a time without an offset: declare the field without a time zone"
        raise ValueError(message)
    if has_offset and not is_aware:
        message = "a time with an offset: declare the field with a time zone, such as 'UTC'"
        raise ValueError(message)
    seconds = _days(year, month, day) * _DAY_SECONDS + _seconds(hour, minute, second)
    offset = _seconds(offset_hours, offset_minutes, None)
    seconds += offset if sign == "-" else -offset
    return checked_units(seconds * UNITS_PER_SECOND[unit] + _fraction(fraction, unit), unit)


def is_zoneless(text: str) -> bool:
    """Say whether text is a time without an offset, or a date."""
    match = _DATETIME_PATTERN.fullmatch(text)
    return match is not None and match[8] is None and match[9] is None


def time_kinds(text: str) -> tuple[str, ...]:
    """Return what is special about text as a time with an offset: ``FINE``, ``FAR``, or ``TIMELESS`` where it is none."""
    try:
        return (FINE,) if units_of(text, "ns", is_aware=True) % 1_000 else ()
    except ValueError:
        pass
    try:
        units_of(text, "us", is_aware=True)
    except ValueError:
        return (TIMELESS,)
    return (FAR,)


def time_kinds_of(values: pl.Series) -> set[str]:
    """Return what is special about the values of a column of inferred type, text or times."""
    if isinstance(values.dtype, pl.Datetime):
        units = values.to_physical()
        if values.dtype.time_unit == "ns":
            return {FINE} if (units % 1_000 != 0).any() else set()
        return {FAR} if not units.is_between(-_MOST_NANOSECONDS, _MOST_NANOSECONDS).all() else set()
    kinds: set[str] = set()
    for text in values:
        kinds.update(time_kinds(text))
        if TIMELESS in kinds:
            break  # a single one makes the column text
    return kinds


def checked_units(units: int, unit: str) -> int:
    """Return the time units since 1970, if they are within the years 1 to 9999 and a column can hold them."""
    seconds = units // UNITS_PER_SECOND[unit]
    if not (FIRST_SECOND <= seconds < END_SECOND and -(2**63) < units < 2**63):
        message = f"a time that a column in {unit} can't hold"
        raise ValueError(message)
    return units


def checked_days(days: int) -> int:
    """Return the days since 1970, if they are within the years 1 to 9999."""
    if not FIRST_SECOND <= days * _DAY_SECONDS < END_SECOND:
        message = f"{days} days since 1970 are outside the years 1 to 9999"
        raise ValueError(message)
    return days


def whole_of(number: float | Decimal) -> int:
    """Return a number of units, or of days, as an integer; a part of one is a ValueError, never cut."""
    if isinstance(number, float) and not -LARGEST_EXACT < number < LARGEST_EXACT:
        message = "a float beyond 2**53, of which the last digits may be lost"
        raise ValueError(message)
    if number % 1:
        message = "a number with a fraction: finer than its column"
        raise ValueError(message)
    return int(number)


def _days(year: str, month: str, day: str) -> int:
    try:
        return date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        message = f"no such day: {year}-{month}-{day}"
        raise ValueError(message) from None


def _seconds(hours: str | None, minutes: str | None, seconds: str | None) -> int:
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)


def _fraction(digits: str | None, unit: str) -> int:
    digits = (digits or "").rstrip("0")
    width = _DIGITS[unit]
    if len(digits) > width:
        message = f"finer than {unit}"
        raise ValueError(message)
    return int(digits.ljust(width, "0") or 0)
