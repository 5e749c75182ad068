"""How users ask for windows: sizes as minutes, text or timedeltas, with or without a time zone."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, TypeAlias

from ktframe.config.durations import format_duration, parse_duration_ms
from ktframe.errors import ConfigurationError
from ktframe.windows.calendar import CalendarWindows
from ktframe.windows.fixed import FixedWindows

Minutes: TypeAlias = int | str | timedelta
"""Whole minutes as a number, a timedelta, or text such as ``"30s"``, ``"5m"``, ``"1h30m"``, ``"1d"``."""

_MINUTE_MS: Final = 60_000
_LONGEST_MS: Final = 36_525 * 86_400_000
_DATES: Final = re.compile(r"([1-9]\d{0,8})(w|mo|q|y)", re.ASCII)
_LONGEST: Final = {"w": 5_200, "mo": 1_200, "q": 400, "y": 100}
_HINT: Final = 'give minutes as a number, a timedelta, or text with a unit: 5, "5m", "1h30m", "1d".'


def parse_windows(
    size: Minutes, every: Minutes | None = None, *, tz: str | None = None, offset: Minutes | None = None
) -> FixedWindows | CalendarWindows:
    """Return the windows that a user asked for.

    Without ``tz`` they are fixed and count from 1970-01-01T00:00Z, as in Kafka: a ``"1w"`` starts on a Thursday.
    With ``tz``, also ``"UTC"``, they follow its wall clock: ``"1w"`` starts on Monday, while ``"7d"`` and
    ``timedelta(7)`` count from 1970-01-01; ``"24h"``, ``1440`` and ``timedelta(1)`` are ``"1d"``. Months, quarters
    and years (``"1mo"``, ``"3mo"``, ``"1q"``, ``"1y"``) always follow a wall clock, that of UTC unless said otherwise.

    Parameters
    ----------
    size
        Minutes as a number, text with a unit, or a timedelta.
    every
        How far each window starts after the one before, if they overlap; in the forms of ``size``.
    tz
        The name of a time zone.
    offset
        Moves all boundaries, also back (``"-1d"``: weeks from Sunday); in the forms of ``size``.

    Raises
    ------
    ConfigurationError
        An argument is not a duration, too long or not positive; ``every`` is longer than ``size`` or doesn't fit it; the
        zone is unknown; or the size has no place on a wall clock (``"36h"``).
    """
    every = size if every is None else every
    offset_ms = 0 if offset is None else _parse_ms("offset", offset)
    dates = _dates("size", size), _dates("every", every)
    if tz is None and not any(text and not text.endswith("w") for text in dates):
        return FixedWindows(parse_minutes("size", size), parse_minutes("every", every), offset_ms)
    size_text = dates[0] or format_duration(parse_minutes("size", size))
    every_text = dates[1] or format_duration(parse_minutes("every", every))
    return CalendarWindows(size_text, every_text, "UTC" if tz is None else tz, offset_ms)


def parse_minutes(name: str, value: Minutes, *, is_zero_allowed: bool = False) -> int:
    """Return the argument ``name`` in milliseconds; a bare number is minutes.

    Raises
    ------
    ConfigurationError
        ``value`` is not a duration, negative, zero where that isn't allowed, or longer than 100 years.
    """
    length_ms = _parse_ms(name, value)
    if length_ms < 0 or (length_ms == 0 and not is_zero_allowed):
        must = "zero or longer" if is_zero_allowed else "longer than zero"
        message = f"{name} must be {must}, not {value!r}."
        raise ConfigurationError(message, _HINT)
    return length_ms


def parse_grace(grace: Minutes | None) -> int | None:
    """Return how long windows stay open behind stream time, in milliseconds; None: they never close."""
    return None if grace is None else parse_minutes("grace", grace, is_zero_allowed=True)


def parse_skew(skew: Minutes | None) -> int | None:
    """Return how far ahead of the wall clock a time may be, in milliseconds; None: as far as it likes."""
    return None if skew is None else parse_minutes("max_future_skew", skew, is_zero_allowed=True)


def _parse_ms(name: str, value: object) -> int:
    # A float would be minutes here and seconds where durations are parsed: too easily mistaken. True is no minute.
    if isinstance(value, bool) or not isinstance(value, int | str | timedelta):
        message = f"{name} must be a duration, not {value!r}."
        raise ConfigurationError(message, _HINT)
    try:
        length_ms = value * _MINUTE_MS if isinstance(value, int) else parse_duration_ms(value)
    except ConfigurationError as error:
        message = f"{name}: {error.message}"
        raise ConfigurationError(message, _HINT) from None
    if abs(length_ms) > _LONGEST_MS:
        raise _too_long(name)
    return length_ms


def _dates(name: str, value: object) -> str | None:
    """Return a size in weeks, months, quarters or years as text, None for any other."""
    match = _DATES.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    if int(match[1]) > _LONGEST[match[2]]:
        raise _too_long(name)
    return match[0]


def _too_long(name: str) -> ConfigurationError:
    return ConfigurationError(f"{name} must not be longer than 100 years.", _HINT)
