"""Where the boundaries of a time zone's wall clock fall: hours, days, weeks and months as instants.

What clocks do comes from the IANA database (``zoneinfo``), exact to the second. Outside the years that Python has, a
clock keeps its last offset.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from ktframe.clock import EPOCH
from ktframe.config.durations import format_duration, parse_duration_ms
from ktframe.config.spelling import similar_names
from ktframe.errors import ConfigurationError, did_you_mean

DAY_MS: Final = 86_400_000
_SECOND_MS: Final = 1_000
_YEAR_MS: Final = 365 * DAY_MS
_MONDAY_MS: Final = 4 * DAY_MS  # 1970-01-05
_MEAN_MONTH_MS: Final = DAY_MS * 365.2425 / 12
_BASE_UNTIL_MS: Final = 4_102_444_800_000  # 2100: later years repeat the rules of earlier ones
_FIRST_CLOCK_MS: Final = -62_103_628_800_000  # 0002-01-01
_LAST_CLOCK_MS: Final = 253_370_764_800_000  # 9999-01-01

# No clock was ever moved further at once (Manila 1844, Juneau 1867, Apia 2011: one day, the date line).
_LONGEST_JUMP_MS: Final = 2 * DAY_MS
_MONTHS: Final = {"mo": 1, "q": 3, "y": 12}
_DATES: Final = re.compile(r"([1-9]\d{0,4})(mo|q|y|w)", re.ASCII)
_SIZES: Final = 'give "1d", "7d", "1w", "1mo", "1q" or "1y", or what divides a day: "15m", "1h", "6h".'


class Step(NamedTuple):
    """The distance of two boundaries on the wall clock: so many months, or so many ms from an anchor."""

    text: str
    months: int
    ms: int
    anchor_ms: int = 0

    @property
    def is_dates(self) -> bool:
        """Whether boundaries are dates: steps of a day or longer."""
        return self.months > 0 or self.ms >= DAY_MS

    @property
    def longest_ms(self) -> int:
        """The greatest distance of two boundaries on the wall clock."""
        return self.months * 31 * DAY_MS or self.ms

    def count_in(self, longer: Step) -> int:
        """Return how many of these make ``longer``, 0 where that is no whole number."""
        length, own = (longer.months, self.months) if self.months else (longer.ms, self.ms)
        return length // own if length % own == 0 else 0

    def walls(self, first_ms: int, end_ms: int) -> Sequence[int]:
        """Return the boundaries on the wall clock from ``first_ms`` up to, not including, ``end_ms``."""
        if not self.months:
            return range(first_ms + (self.anchor_ms - first_ms) % self.ms, end_ms, self.ms)
        low, high = (math.floor(ms / _MEAN_MONTH_MS / self.months) for ms in (first_ms, end_ms))
        starts = (_month_start_ms(number * self.months) for number in range(low, high + 2))
        return [start for start in starts if first_ms <= start < end_ms]


# Not Polars' ``dt.truncate``: where clocks change at midnight (America/Havana, America/St_Johns until 2011) it makes two
# days of one.
class Grid(NamedTuple):
    """All boundaries of a zone's clock: those of ``step``, moved by ``offset_ms`` on the wall clock."""

    tz: str
    step: Step
    offset_ms: int

    def boundaries(self, first_ms: int, end_ms: int) -> pl.Series:
        """Return the boundaries from ``first_ms`` up to, not including, ``end_ms``: instants, ascending (Int64)."""
        # What the clock did shortly before decides whether a boundary occurs for the first time.
        segments = self._segments(first_ms - _LONGEST_JUMP_MS, end_ms)
        pieces = [pl.Series(dtype=pl.Int64)]
        for segment in segments:
            opens_ms = segment.start_ms + segment.offset_ms
            if self._walls(segment.reached_ms, opens_ms):
                pieces.append(pl.Series([segment.start_ms], dtype=pl.Int64))
            if self.step.is_dates:
                opens_ms = max(opens_ms, segment.reached_ms)
            walls = self._walls(opens_ms, segment.end_ms + segment.offset_ms)
            pieces.append(pl.Series(walls, dtype=pl.Int64) + (self.offset_ms - segment.offset_ms))
        boundaries = pl.concat(pieces).unique().sort()
        return boundaries.filter(boundaries.is_between(first_ms, end_ms, closed="left"))

    def divisor_ms(self) -> int:
        """Return the greatest length of which every boundary from 1970 to 2100 is a multiple."""
        divisor = math.gcd(self.step.ms or DAY_MS, DAY_MS, self.offset_ms)
        for segment in self._segments(0, _BASE_UNTIL_MS):
            divisor = math.gcd(divisor, segment.offset_ms)
            if self._walls(segment.reached_ms, segment.start_ms + segment.offset_ms):
                divisor = math.gcd(divisor, segment.start_ms)
        return divisor

    def _walls(self, first_ms: int, end_ms: int) -> Sequence[int]:
        """Return the boundaries in this stretch of wall time, less ``offset_ms``."""
        return self.step.walls(first_ms - self.offset_ms, end_ms - self.offset_ms)

    def _segments(self, first_ms: int, end_ms: int) -> Iterator[_Segment]:
        offset_ms = _offset_ms(ZoneInfo(self.tz), first_ms)
        reached_ms = first_ms + offset_ms
        for change_ms, changed_offset_ms in (*_changes(self.tz, first_ms, end_ms), (end_ms, 0)):
            yield _Segment(first_ms, change_ms, offset_ms, reached_ms)
            # The next change is days away: what was passed before this one stays passed until then.
            reached_ms = change_ms + offset_ms
            first_ms, offset_ms = change_ms, changed_offset_ms


class _Segment(NamedTuple):
    """A stretch in which the clock runs evenly; boundaries below ``reached_ms`` were passed before it."""

    start_ms: int
    end_ms: int
    offset_ms: int
    reached_ms: int


@lru_cache
def parse_step(name: str, text: str) -> Step:
    """Return an interval such as ``"1mo"``, ``"1w"``, ``"7d"`` or ``"6h"`` as a step, its text made canonical.

    Raises
    ------
    ConfigurationError
        It is neither whole days, weeks, months, quarters or years nor a divisor of a day.
    """
    if match := _DATES.fullmatch(text):
        count, unit = int(match[1]), match[2]
        if unit == "w":
            return Step(text, 0, count * 7 * DAY_MS, _MONDAY_MS)
        months = count * _MONTHS[unit]
        unit = next(unit for unit in ("y", "q", "mo") if months % _MONTHS[unit] == 0)
        return Step(f"{months // _MONTHS[unit]}{unit}", months, 0)
    length_ms = parse_duration_ms(text)
    if length_ms <= 0 or (length_ms % DAY_MS and DAY_MS % length_ms):
        sizes = "whole days, weeks, months, quarters or years, or divide a day"
        message = f"{name} on a wall clock must be {sizes}, not {text!r}."
        raise ConfigurationError(message, _SIZES)
    return Step(format_duration(length_ms), 0, length_ms)


def require_zone(tz: object) -> None:
    """Raise a ConfigurationError unless ``tz`` is the name of a time zone."""
    if not isinstance(tz, str):
        message = f"tz must be the name of a time zone as text, not {tz!r}."
        raise ConfigurationError(message, 'give one such as "Europe/Berlin" or "UTC".')
    try:
        ZoneInfo(tz)
    except (KeyError, ValueError, OSError):  # OSError: the name of a directory, such as "Europe"
        message = f"tz: {tz!r} is not a time zone."
        raise ConfigurationError(message, _near_zones(tz)) from None


def _near_zones(tz: str) -> str:
    zones = {zone.lower(): zone for zone in sorted(available_timezones())}
    wanted = tz.lower().replace(" ", "_")
    near = [name for name in zones if name.rpartition("/")[2] == wanted]
    near = near or list(similar_names(wanted, zones, most=2))
    return did_you_mean([zones[name] for name in near[:2]]) or (
        'give the name of an IANA time zone, such as "Europe/Berlin" or "UTC".'
    )


def _month_start_ms(month: int) -> int:
    """Return the first of the month so many months after January 1970, in any year."""
    # Python has dates for the years 1 to 9999 only; the calendar repeats every 400 years, which have 146,097 days.
    cycles, month = divmod(month, 4_800)
    first = datetime(1970 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    return ((first - EPOCH).days + cycles * 146_097) * DAY_MS


def _changes(tz: str, first_ms: int, end_ms: int) -> list[tuple[int, int]]:
    """Return when the clock changes in between, and the offset from then on."""
    years = range(first_ms // _YEAR_MS, end_ms // _YEAR_MS + 1)
    return [change for year in years for change in _changes_in(tz, year) if first_ms < change[0] < end_ms]


@lru_cache(maxsize=4_096)
def _changes_in(tz: str, year: int) -> tuple[tuple[int, int], ...]:
    """Return the changes in one of the stretches of 365 days since 1970."""
    zone, first_ms = ZoneInfo(tz), year * _YEAR_MS
    if not _FIRST_CLOCK_MS <= first_ms <= _LAST_CLOCK_MS:
        return ()
    # No two changes were ever, or are planned, within less than four days.
    days = range(first_ms, first_ms + _YEAR_MS + 1, DAY_MS)
    offsets = [_offset_ms(zone, day) for day in days]
    return tuple(
        (_change_between(zone, days[number - 1], days[number]), offsets[number])
        for number in range(1, len(days))
        if offsets[number] != offsets[number - 1]
    )


def _change_between(zone: ZoneInfo, low_ms: int, high_ms: int) -> int:
    """Return the first instant with the later offset, which is a whole second."""
    before_ms = _offset_ms(zone, low_ms)
    while high_ms - low_ms > _SECOND_MS:
        middle_ms = (low_ms + high_ms) // 2 // _SECOND_MS * _SECOND_MS
        if _offset_ms(zone, middle_ms) == before_ms:
            low_ms = middle_ms
        else:
            high_ms = middle_ms
    return high_ms


def _offset_ms(zone: ZoneInfo, at_ms: int) -> int:
    at_ms = min(max(at_ms, _FIRST_CLOCK_MS), _LAST_CLOCK_MS)
    offset = (EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * _SECOND_MS)
