"""Which windows of a windowed table or stream are asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import polars as pl

from ktframe.errors import ConfigurationError
from ktframe.eventtime import as_datetime
from ktframe.moments import Moment, parse_moment
from ktframe.records import WINDOW


@dataclass(frozen=True, slots=True)
class Selection:
    """Windows with ``start <= window start < end`` (ms since 1970; None: open); ``only_final``: those that have closed."""

    start: int | None = None
    end: int | None = None
    only_final: bool = False

    def __str__(self) -> str:
        said = ["final"] if self.only_final else []
        said += [] if self.start is None else [f"from {as_datetime(self.start):%Y-%m-%d %H:%M:%S}"]
        said += [] if self.end is None else [f"before {as_datetime(self.end):%Y-%m-%d %H:%M:%S}"]
        return "".join(f", {each}" for each in said)

    def between(self, start: Moment | None, end: Moment | None, *, tz: str, now_ms: int) -> Selection:
        """Return the part of these windows whose start lies in a range; None leaves a side as it is."""
        first = None if start is None else parse_moment("start", start, tz=tz, now_ms=now_ms)
        behind = None if end is None else parse_moment("end", end, tz=tz, now_ms=now_ms)
        firsts = [at for at in (self.start, first) if at is not None]
        ends = [at for at in (self.end, behind) if at is not None]
        return replace(self, start=max(firsts, default=None), end=min(ends, default=None))

    def after(self, start: int) -> Selection:
        """Return the part of these windows that starts at ``start`` or later."""
        return replace(self, start=start if self.start is None else max(start, self.start))

    def closed(self, name: str, grace_ms: int | None) -> Selection:
        """Return the part of these windows, called ``name``, that has closed.

        Raises
        ------
        ConfigurationError
            When there is no grace: windows never close.
        """
        if grace_ms is None:
            message = f"windows ({name}) without grace never close."
            raise ConfigurationError(message, 'ask for them with grace="1m".')
        return replace(self, only_final=True)

    @property
    def condition(self) -> pl.Expr | None:
        """What holds for the rows, which have ``WINDOW``, that lie in the range; None: anything does."""
        conditions = [] if self.start is None else [pl.col(WINDOW) >= self.start]
        conditions += [] if self.end is None else [pl.col(WINDOW) < self.end]
        return pl.all_horizontal(conditions) if conditions else None

    def of(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows that lie in the range."""
        condition = self.condition
        return rows if condition is None else rows.filter(condition)
