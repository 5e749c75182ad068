"""What panels need of a table, a stream or their windows; this floor knows none of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from ktframe.events import BindingStateChanged, Events, LagUpdated, ReadyChanged, RowsChanged
from ktframe.history import LagHistory
from ktframe.monitor import Readiness
from ktframe.status import Glance, Newest


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
