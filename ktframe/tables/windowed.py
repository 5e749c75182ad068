"""What windowed tables and windowed streams have in common: a selection of windows, and how far these have closed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import polars as pl

from ktframe.columns import WINDOW
from ktframe.config.durations import format_duration
from ktframe.config.moments import Moment, parse_moment
from ktframe.errors import ConfigurationError
from ktframe.fold.event_time import as_datetime
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.tables.aggregate import Aggregated, WindowAggregate
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.window_spec import AnyWindowSpec


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


def watermark(reader: BindingReader, idle_after: float) -> int | None:
    """Return the least stream time (ms) of the partitions that count; None while one has none.

    An idle partition (see ``BindingReader.idle_partitions``) does not count; if all are idle, the furthest one does.
    """
    times = reader.started().stream_times
    idle = reader.idle_partitions(idle_after)
    active = [times.get(partition) for partition in reader.binding.heard if partition not in idle]
    if None in active:
        return None
    return min((at for at in active if at is not None), default=max(times.values(), default=None))


class WindowedTopic(MaterializedTopic):
    """Rows in windows, of which some may be asked for. A narrowed one reads from the same store."""

    _selection = Selection()
    _spec: AnyWindowSpec

    def _name(self) -> str:
        """Return the topic, its windows, their grace and the selection, as a repr shows them."""
        grace_ms = self._spec.grace_ms
        grace = "" if grace_ms is None else f", grace {format_duration(grace_ms)!r}"
        return f"{self.topic!r}, {self._spec.name!r}{grace}{self._selection}"

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Self:
        """Return the windows with ``start <= window_start < end``; None leaves a side open.

        Moments are datetimes, ISO 8601 text (without an offset: wall-clock time of the windows' zone, else UTC), or
        ``"-2h"`` before this call.
        """
        tz, now_ms = self._spec.tz, self._reader.now_ms()
        return self._selecting(self._selection.between(start, end, tz=tz, now_ms=now_ms))

    def _selecting(self, selection: Selection) -> Self:
        narrowed = copy.copy(self)
        narrowed._selection = selection  # noqa: SLF001 - another of this class
        return narrowed

    def _aggregate(self, take: Callable[[Materializer], Aggregated], *, fresh: bool) -> WindowAggregate:
        return WindowAggregate.of(
            self._reader.read(take, fresh=fresh),
            again=lambda: self._reader.read(take, fresh=False),
            readiness=self._reader.binding.readiness,
            events=self.events,
            name=self.label,
            closes=self._spec.grace_ms is not None,
        )

    def _watermark(self) -> int | None:
        return watermark(self._reader, self._spec.idle_after)
