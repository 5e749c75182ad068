"""What panels need of a table, a stream or their windows; this floor knows none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import polars as pl

from ktframe.events import BindingStateChanged, Events, LagUpdated, ReadyChanged, RowsChanged
from ktframe.sync.history import LagHistory
from ktframe.sync.monitor import Readiness
from ktframe.sync.status import Glance, Newest


@runtime_checkable
class Watched(Protocol):
    """A materialized topic."""

    events: Events

    @property
    def label(self) -> str:
        """What it is, in a few words."""

    @property
    def history(self) -> LagHistory:
        """How far behind it was, and what happened to it."""

    def readiness(self) -> Readiness:
        """Return whether the rows are complete; starts reading."""

    def glance(self, rows: int = 8) -> Glance:
        """Return condition and first rows as they are now; starts nothing, waits for nothing."""

    def newest(self, rows: int) -> Newest:
        """Return the rows that changed last as they are now; waits for nothing."""


def watch(events: Events, wake: Callable[[], None]) -> Callable[[], None]:
    """Call ``wake`` when rows, states or the lag change; return what ends that."""

    def on_lag(event: LagUpdated) -> None:
        if event.total != event.previous:
            wake()

    ends = [
        events.subscribe(RowsChanged, lambda _: wake()),
        events.subscribe(ReadyChanged, lambda _: wake()),
        events.subscribe(BindingStateChanged, lambda _: wake()),
        events.subscribe(LagUpdated, on_lag),
    ]

    def end() -> None:
        for each in ends:
            each()

    return end


class AggregateNow(Protocol):
    """An aggregate as of one moment: ``window_start``, ``window_end``, ``by``, values."""

    @property
    def frame(self) -> pl.DataFrame:
        """A row per window and group."""

    @property
    def is_open(self) -> pl.Series:
        """Whether the window of each row may still change."""

    @property
    def by(self) -> tuple[str, ...]:
        """The columns that it is grouped by within each window."""


@runtime_checkable
class Aggregate(Protocol):
    """A frame that can be made anew."""

    name: str
    events: Events
    closes: bool
    """Whether its windows ever close: those without grace do not."""

    @property
    def found(self) -> AggregateNow:
        """What it held when it was made."""

    def again(self) -> AggregateNow:
        """Return what it would hold now; does not wait."""

    def readiness(self) -> Readiness:
        """Return whether what it would hold now is complete; does not wait."""
