"""Windows of one length: tumbling and hopping ones, as Kafka has them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import polars as pl

from ktframe.columns import WINDOW, WINDOW_END
from ktframe.config.durations import format_duration
from ktframe.errors import ConfigurationError
from ktframe.windows.base import Windows


@dataclass(frozen=True, slots=True)
class FixedWindows(Windows):
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
        """Return ``rows`` with their windows, a row once for each window that holds it, in row order."""
        at = pl.col(time) - self.offset_ms
        number = at // self.every_ms
        if self.every_ms < self.size_ms:
            first = (at - self.size_ms) // self.every_ms + 1
            if self._is_kafkas:
                first = pl.when(at >= 0).then(first.clip(lower_bound=0)).otherwise(first)
            numbers = pl.int_ranges(first, number + 1)
            rows, number = rows.with_columns(numbers.alias(WINDOW)).explode(WINDOW), pl.col(WINDOW)
        start = number * self.every_ms + self.offset_ms
        return rows.with_columns(start.alias(WINDOW), (start + self.size_ms).alias(WINDOW_END))

    def with_ends(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows``, which have ``WINDOW``, with ``WINDOW_END``."""
        return rows.with_columns((pl.col(WINDOW) + self.size_ms).alias(WINDOW_END))

    @property
    def _is_kafkas(self) -> bool:
        return self.offset_ms == 0
