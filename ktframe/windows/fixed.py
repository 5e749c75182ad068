"""Which windows a time falls into: tumbling and hopping ones, and how people ask for them.

Arithmetic only: nothing here knows rows, grace or stores. Windows of a wall clock are in ``calendars.py``.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, TypeAlias

import polars as pl

from ktframe.columns import WINDOW, WINDOW_END
from ktframe.config.durations import format_duration, parse_duration_ms
from ktframe.errors import ConfigurationError
from ktframe.windows.calendar import CalendarWindows

Minutes: TypeAlias = int | str | timedelta
"""Whole minutes as a number, a timedelta, or text such as ``"30s"``, ``"5m"``, ``"1h30m"``, ``"1d"``."""

_MINUTE_MS: Final = 60_000
_LONGEST_MS: Final = 36_525 * 86_400_000
_DATES: Final = re.compile(r"([1-9]\d{0,8})(w|mo|q|y)", re.ASCII)
_LONGEST: Final = {"w": 5_200, "mo": 1_200, "q": 400, "y": 100}
_REMEDY: Final = 'give minutes as a number, a timedelta, or text with a unit: 5, "5m", "1h30m", "1d".'


class Windows(Protocol):
    """What fixed and calendar windows have in common; times are ms since 1970, start inclusive, end exclusive."""

    @property
    def name(self) -> str:
        """Short text that only equal windows share."""

    @property
    def base_ms(self) -> int:
        """The size of epoch-aligned tumbling windows of which these are made."""

    @property
    def is_tumbling(self) -> bool:
        """Whether these are epoch-aligned tumbling windows themselves."""

    def starts_of(self, at_ms: int) -> list[int]:
        """Return the starts of all windows that hold a time, ascending."""

    def end_of(self, start_ms: int) -> int:
        """Return the end of the window that starts at ``start_ms``."""

    def starts_between(self, first_ms: int, last_ms: int) -> pl.Series:
        """Return the starts from ``first_ms`` to ``last_ms``, both inclusive (Int64)."""

    def assign(self, rows: pl.DataFrame, time: str) -> pl.DataFrame:
        """Return ``rows`` with ``WINDOW`` and ``WINDOW_END`` (Int64), a row once for each window that holds it."""


@dataclass(frozen=True, slots=True)
class FixedWindows:
    """Windows of one length, each ``every_ms`` after the one before; Kafka's TimeWindows where there is no offset.

    They start at the multiples of ``every_ms`` since 1970-01-01T00:00Z, plus ``offset_ms``; start inclusive, end
    exclusive. As with ``TimeWindows.windowsFor``, no window of a time from 1970 on starts before 1970, unless there is
    an offset: then Kafka has no rule, and each time is in all windows that hold it. Earlier times always are.

    Raises
    ------
    ConfigurationError
        Not ``0 < every_ms <= size_ms``.
    """

    size_ms: int
    every_ms: int
    offset_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.every_ms <= self.size_ms:
            size, every = format_duration(self.size_ms), format_duration(self.every_ms)
            message = f"every must be longer than zero and not longer than size, not {every} for {size}."
            raise ConfigurationError(
                message, 'windows that overlap hop by less than their size: "1h" every "5m".'
            )
        object.__setattr__(self, "offset_ms", self.offset_ms % self.every_ms)

    @property
    def name(self) -> str:
        """Size, hop and offset, such as ``5m``, ``1h/5m`` or ``7d+4d``; only equal windows have the same."""
        hop = "" if self.every_ms == self.size_ms else f"/{format_duration(self.every_ms)}"
        offset = f"+{format_duration(self.offset_ms)}" if self.offset_ms else ""
        return f"{format_duration(self.size_ms)}{hop}{offset}"

    @property
    def is_tumbling(self) -> bool:
        """Whether these are epoch-aligned tumbling windows themselves."""
        return self.every_ms == self.size_ms and not self.offset_ms

    @property
    def base_ms(self) -> int:
        """The greatest size of epoch-aligned tumbling windows of which these are made."""
        return math.gcd(self.size_ms, self.every_ms, self.offset_ms)

    def starts_of(self, at_ms: int) -> list[int]:
        """Return the starts of all windows that hold a time, ascending."""
        last = (at_ms - self.offset_ms) // self.every_ms
        first = (at_ms - self.offset_ms - self.size_ms) // self.every_ms + 1
        if self._is_kafkas and at_ms >= 0:
            first = max(first, 0)
        return [number * self.every_ms + self.offset_ms for number in range(first, last + 1)]

    def end_of(self, start_ms: int) -> int:
        """Return the end of the window that starts at ``start_ms``."""
        return start_ms + self.size_ms

    def starts_between(self, first_ms: int, last_ms: int) -> pl.Series:
        """Return the starts from ``first_ms`` to ``last_ms``, both inclusive (Int64)."""
        first_ms += (self.offset_ms - first_ms) % self.every_ms
        return pl.int_range(first_ms, max(first_ms, last_ms + 1), self.every_ms, eager=True)

    def assign(self, rows: pl.DataFrame, time: str) -> pl.DataFrame:
        """Return ``rows`` with their windows, a row once for each window that holds it, in row order.

        Parameters
        ----------
        rows
            Any columns; those of the windows are replaced.
        time
            The column of times: Int64, ms since 1970, without nulls.

        Returns
        -------
        pl.DataFrame
            ``rows`` and the columns ``WINDOW`` and ``WINDOW_END`` (Int64, ms since 1970).
        """
        at = pl.col(time) - self.offset_ms
        number = at // self.every_ms
        if self.every_ms < self.size_ms:
            first = (at - self.size_ms) // self.every_ms + 1
            if self._is_kafkas:
                first = pl.when(at >= 0).then(first.clip(lower_bound=0)).otherwise(first)
            number = pl.int_ranges(first, number + 1)
        numbered = rows.with_columns(number.alias(WINDOW))
        if self.every_ms < self.size_ms:
            numbered = numbered.explode(WINDOW)
        start = pl.col(WINDOW) * self.every_ms + self.offset_ms
        return numbered.with_columns(start, (start + self.size_ms).alias(WINDOW_END))

    @property
    def _is_kafkas(self) -> bool:
        return self.offset_ms == 0


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
        How far each window starts after the one before, if they overlap; spelt as ``size``.
    tz
        The name of a time zone.
    offset
        Moves all boundaries, also back (``"-1d"``: weeks from Sunday); spelt as ``size``.

    Raises
    ------
    ConfigurationError
        An argument is no duration, too long or not positive; ``every`` is longer than ``size`` or doesn't fit it; the
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
        ``value`` is no duration, negative, zero where that isn't allowed, or longer than 100 years.
    """
    length_ms = _parse_ms(name, value)
    if length_ms < 0 or (length_ms == 0 and not is_zero_allowed):
        must = "zero or longer" if is_zero_allowed else "longer than zero"
        message = f"{name} must be {must}, not {value!r}."
        raise ConfigurationError(message, _REMEDY)
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
        raise ConfigurationError(message, _REMEDY)
    try:
        length_ms = value * _MINUTE_MS if isinstance(value, int) else parse_duration_ms(value)
    except ConfigurationError as error:
        message = f"{name}: {error.message}"
        raise ConfigurationError(message, _REMEDY) from None
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
    return ConfigurationError(f"{name} must not be longer than 100 years.", _REMEDY)


def with_ends(rows: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Return ``rows`` with the end of each window (Int64, ms, exclusive)."""
    if isinstance(windows, FixedWindows):
        return rows.with_columns((pl.col(WINDOW) + windows.size_ms).alias(WINDOW_END))
    starts = rows[WINDOW].unique().to_list()
    ends = [windows.end_of(start) for start in starts]
    end = pl.col(WINDOW).replace_strict(starts, ends, return_dtype=pl.Int64) if starts else pl.col(WINDOW)
    return rows.with_columns(end.alias(WINDOW_END))
