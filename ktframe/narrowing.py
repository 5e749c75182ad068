"""What windowed tables and windowed streams have in common: a selection of windows, and how far these have closed."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol, Self

from ktframe.aggregates import Aggregated, WindowAggregate
from ktframe.durations import format_duration
from ktframe.finality import watermark
from ktframe.materialized import MaterializedTopic
from ktframe.moments import Moment
from ktframe.selection import Selection
from ktframe.sync.materializer import Materializer


class Reading(Protocol):
    """What both kinds of windows say of how they are read."""

    @property
    def tz(self) -> str:
        """The zone of wall-clock times."""

    @property
    def grace_ms(self) -> int | None:
        """How long windows take records after their end; None: for ever."""

    @property
    def idle_after(self) -> float:
        """After how many seconds without records a partition does not count."""


class WindowedTopic(MaterializedTopic):
    """Rows in windows, of which some may be asked for. A narrowed one reads from the same store."""

    _selection = Selection()

    @property
    @abstractmethod
    def _reading(self) -> Reading:
        """How the windows are read."""

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Self:
        """Return the windows with ``start <= window_start < end``; None leaves a side open.

        Moments are datetimes, ISO 8601 text (without an offset: wall-clock time of the windows' zone, else UTC), or
        ``"-2h"`` before this call.
        """
        tz, now_ms = self._reading.tz, self._source.now_ms()
        return self._selecting(self._selection.between(start, end, tz=tz, now_ms=now_ms))

    def _selecting(self, selection: Selection) -> Self:
        narrowed = copy.copy(self)
        narrowed._selection = selection  # noqa: SLF001 - another of this class
        return narrowed

    def _aggregate(self, take: Callable[[Materializer], Aggregated], *, fresh: bool) -> WindowAggregate:
        return WindowAggregate.of(
            self._source.read(take, fresh=fresh),
            again=lambda: self._source.read(take, fresh=False),
            readiness=self._source.binding.readiness,
            events=self.events,
            name=self.label,
            closes=self._reading.grace_ms is not None,
        )

    def _named(self, windows: str) -> str:
        """Return the topic, its ``windows``, their grace and the selection, as a repr shows them."""
        grace_ms = self._reading.grace_ms
        grace = "" if grace_ms is None else f", grace {format_duration(grace_ms)!r}"
        return f"{self.topic!r}, {windows!r}{grace}{self._selection}"

    def _watermark(self) -> int | None:
        return watermark(self._source, self._reading.idle_after)
