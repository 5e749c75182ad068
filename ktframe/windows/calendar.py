"""Windows made of the boundaries of a wall clock, hours to years. ``wall_clock`` finds them, in days of 23 hours too."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import polars as pl

from ktframe.columns import WINDOW, WINDOW_END
from ktframe.config.durations import format_duration
from ktframe.errors import ConfigurationError
from ktframe.windows.base import Windows
from ktframe.windows.wall_clock import DAY_MS, Grid, parse_step, require_zone

_LONGEST_BLOCK_MS: Final = 365 * DAY_MS
_SHORTEST_BLOCK_MS: Final = 7 * DAY_MS
_BLOCK_STEPS: Final = 10_000

# A date that the clocks skip makes a window a day longer on the wall than its steps are.
_MARGIN_MS: Final = 3 * DAY_MS
_SHORTEST_MONTH_MS: Final = 28 * DAY_MS


@dataclass(frozen=True, slots=True)
class CalendarWindows(Windows):
    """Windows of the wall clock of an IANA zone: start inclusive, end exclusive, in ms since 1970 (UTC).

    Boundaries are the multiples of ``every`` on the wall clock, moved by ``offset_ms`` on the wall clock. Days, also
    ``"7d"``, count from 1970-01-01, weeks (``"1w"``) from a Monday, months, quarters and years from January 1970;
    what is shorter than a day divides it and starts anew at midnight. A window of ``n`` times ``every`` spans ``n``
    consecutive boundaries, so a day has 23 or 25 hours where the clocks change. (``"1d"`` every ``"1h"`` is always 24
    windows of ``"1h"``: then ``every`` decides.)

    Where ``every`` is a day or longer, a boundary is the first instant at which the wall clock has reached it: the end
    of a gap that skips it, the first of two occurrences. Boundaries that fall together are one, so a date that was
    skipped (Pacific/Apia, 2011-12-30) has no window. Where ``every`` is shorter than a day, both occurrences are
    boundaries (the 25-hour day has 25 windows of ``"1h"``), and a skipped one is the end of the gap.

    Parameters
    ----------
    size, every
        Intervals as text: ``"1d"``, ``"7d"``, ``"1w"``, ``"1mo"``, ``"1q"``, ``"1y"``, ``"6h"``, ``"30m"``; equal
        unless windows hop.
    tz
        The zone's name, such as ``"Europe/Berlin"``.
    offset_ms
        Moves the boundaries: a day back for weeks from Sunday, six hours on for shifts from 06:00. Kept modulo
        ``every`` where that isn't months.

    Raises
    ------
    ConfigurationError
        A size that is neither whole days nor divides a day, or is no whole multiple of ``every``; an unknown zone; an
        offset as long as a month or longer where ``every`` is months.
    """

    size: str
    every: str
    tz: str
    offset_ms: int = 0

    def __post_init__(self) -> None:
        require_zone(self.tz)
        size, every = parse_step("size", self.size), parse_step("every", self.every)
        if not every.count_in(size):
            message = f"size must be a whole multiple of every, not {size.text} every {every.text}."
            hint = 'days and weeks don\'t add up to months: give "1w" every "1d", "1y" every "1mo", "1d" every "6h".'
            raise ConfigurationError(message, hint)
        if abs(self.offset_ms) >= (every.months * _SHORTEST_MONTH_MS or float("inf")):
            message = (
                f"offset must be shorter than every, not {format_duration(self.offset_ms)} for {every.text}."
            )
            raise ConfigurationError(
                message, 'give the distance from the first of the month: "14d", "-1d", "6h".'
            )
        # Equal windows compare equal and share a store, however they were written.
        object.__setattr__(self, "size", size.text)
        object.__setattr__(self, "every", every.text)
        object.__setattr__(self, "offset_ms", self.offset_ms if every.months else self.offset_ms % every.ms)

    @property
    def name(self) -> str:
        """Size, hop, offset and zone, such as ``1w/1d+6h@Europe/Berlin``; only equal windows have the same."""
        hop = "" if self.every == self.size else f"/{self.every}"
        plus = "+" if self.offset_ms > 0 else ""
        offset = f"{plus}{format_duration(self.offset_ms)}" if self.offset_ms else ""
        return f"{self.size}{hop}{offset}@{self.tz}"

    @property
    def is_tumbling(self) -> bool:
        """Never: a store holds windows of ``base_ms`` instead, of which these are made."""
        return False

    @property
    def base_ms(self) -> int:
        """The greatest size of epoch-aligned windows of which these are made, from 1970 on.

        Boundaries before 1970 may lie inside of one: many zones had odd offsets then.
        """
        return _base_ms(self._grid)

    def starts_of(self, at_ms: int) -> list[int]:
        """Return the starts of all windows that hold a time, ascending."""
        boundaries, count = self._boundaries_near(at_ms), self._count
        end = int(boundaries.search_sorted(at_ms, side="right"))
        return boundaries.slice(end - count, count).to_list()

    def end_of(self, start_ms: int) -> int:
        """Return the end of the window that starts at ``start_ms``."""
        boundaries = self._boundaries_near(start_ms)
        return int(boundaries[int(boundaries.search_sorted(start_ms, side="right")) - 1 + self._count])

    def starts_between(self, first_ms: int, last_ms: int) -> pl.Series:
        """Return the starts from ``first_ms`` to ``last_ms``, both inclusive (Int64)."""
        return self._grid.boundaries(first_ms, last_ms + 1)

    def assign(self, rows: pl.DataFrame, time: str) -> pl.DataFrame:
        """Return ``rows`` with their windows, a row once for each window that holds it, in row order."""
        times, count = rows[time], self._count
        boundaries = self._boundaries_near(*(times // self._block_ms).unique().sort() * self._block_ms)
        last = boundaries.search_sorted(times, side="right").cast(pl.Int64) - 1
        indexed = rows.with_columns(last.alias(WINDOW))
        if count > 1:
            indices = pl.int_ranges(pl.col(WINDOW) - (count - 1), pl.col(WINDOW) + 1)
            indexed = indexed.with_columns(indices.alias(WINDOW)).explode(WINDOW)
        first = indexed[WINDOW]
        return indexed.with_columns(
            boundaries.gather(first).alias(WINDOW), boundaries.gather(first + count).alias(WINDOW_END)
        )

    @property
    def _grid(self) -> Grid:
        return Grid(self.tz, parse_step("every", self.every), self.offset_ms)

    @property
    def _count(self) -> int:
        return parse_step("every", self.every).count_in(parse_step("size", self.size))

    @property
    def _block_ms(self) -> int:
        # A year has too many minutes; a single time should not cost more than a week of them.
        length_ms = _BLOCK_STEPS * parse_step("every", self.every).longest_ms
        return min(_LONGEST_BLOCK_MS, max(_SHORTEST_BLOCK_MS, length_ms))

    def _boundaries_near(self, *times_ms: int) -> pl.Series:
        """Return all boundaries of the windows that hold a time in the blocks of ``times_ms``, and some more."""
        grid, length_ms = self._grid, self._block_ms
        # By blocks: one record with a time in 1970 or in the year 40000 must not cost all the hours until then.
        blocks = [_block(grid, self._count, ms // length_ms, length_ms) for ms in times_ms]
        return pl.concat([pl.Series(dtype=pl.Int64), *blocks]).unique().sort()


@lru_cache(maxsize=32)
def _block(grid: Grid, count: int, number: int, length_ms: int) -> pl.Series:
    first_ms, margin_ms = number * length_ms, count * grid.step.longest_ms + _MARGIN_MS
    return grid.boundaries(first_ms - margin_ms, first_ms + length_ms + margin_ms)


@lru_cache(maxsize=256)
def _base_ms(grid: Grid) -> int:
    return grid.divisor_ms()
