"""The protocols through which panels read tables, streams, windows and aggregates, without importing them.

The members of ``Watched`` that start with an underscore exist for panels only, so that they are not in a user's Tab
list. Only the functions in this module call them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import polars as pl

from ktframe.events import BindingStateChanged, Events, LagUpdated, ReadyChanged, RowsChanged
from ktframe.sync.history import LagHistory
from ktframe.sync.monitor import Readiness
from ktframe.sync.status import Preview, RecentRows


@runtime_checkable
class Watched(Protocol):
    """A table, a stream, or windows of one."""

    events: Events

    @property
    def history(self) -> LagHistory:
        """How far behind it was, and what happened to it."""

    def readiness(self) -> Readiness:
        """Return whether the rows are complete; starts reading."""

    @property
    def _label(self) -> str: ...

    def _preview(self, rows: int) -> Preview: ...

    def _recent(self, rows: int) -> RecentRows: ...


def label_of(watched: Watched) -> str:
    """Return the topic and which windows of it, for titles."""
    return watched._label  # noqa: SLF001 - see above


def preview_of(watched: Watched, rows: int = 8) -> Preview:
    """Return the status and the first rows as they are now; starts nothing, waits for nothing."""
    return watched._preview(rows)  # noqa: SLF001 - see above


def recent_rows_of(watched: Watched, rows: int) -> RecentRows:
    """Return the rows that changed last as they are now; waits for nothing."""
    return watched._recent(rows)  # noqa: SLF001 - see above


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
        for unsubscribe in ends:
            unsubscribe()

    return end


class Aggregate(Protocol):
    """Values per window and group as of one moment."""

    @property
    def frame(self) -> pl.DataFrame:
        """``window_start``, ``window_end``, the columns of ``by``, then values."""

    @property
    def is_open(self) -> pl.Series:
        """Whether the window of each row may still change."""

    @property
    def is_partial(self) -> pl.Series:
        """Whether the window of each row lacks records, because reading began later."""

    @property
    def by(self) -> tuple[str, ...]:
        """The columns that it is grouped by within each window."""


class AggregateQuery(Protocol):
    """An aggregate that can be computed at any time."""

    @property
    def name(self) -> str:
        """The topic and its windows, for titles."""

    @property
    def events(self) -> Events:
        """What tells that rows have changed."""

    @property
    def closes(self) -> bool:
        """Whether its windows ever close: those without grace do not."""

    def compute(self) -> Aggregate:
        """Return the values as of now; does not wait."""

    def readiness(self) -> Readiness:
        """Return whether the values as of now are complete; does not wait."""
