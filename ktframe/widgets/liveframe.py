"""Rows as they change: the newest first, changed ones highlighted, windows that are still open marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import ipywidgets
import polars as pl

from ktframe.events import Events
from ktframe.widgets import page
from ktframe.widgets.aggregate import Aggregate
from ktframe.widgets.frame import Frame
from ktframe.widgets.watched import Watched, watch

_KEY: Final = "a shaded row has just changed; a dashed edge marks a window that is still open"


@dataclass(frozen=True, slots=True)
class Rows:
    """What is to be shown: some of ``total`` rows, by their numbers the changed and the provisional ones."""

    frame: pl.DataFrame
    total: int
    changed: set[int] = field(default_factory=set)
    provisional: set[int] = field(default_factory=set)


class RowSource(Protocol):
    """Where rows come from; it remembers what it gave last."""

    events: Events
    name: str

    def rows(self) -> Rows:
        """Return the rows as of now, with what has changed since the last call."""


class TopicRows:
    """The rows of a table, a stream or their windows that changed last."""

    def __init__(self, watched: Watched, count: int) -> None:
        self.events, self.name = watched.events, watched.label
        self._watched = watched
        self._count = count
        self._positions: dict[int, int] | None = None

    def rows(self) -> Rows:
        """Return the rows; changed are those whose record was not there the last time."""
        found = self._watched.newest(self._count)
        before, self._positions = self._positions, found.positions
        changed = {
            number
            for number, (partition, offset) in enumerate(found.places)
            if before is not None and offset >= before.get(partition, 0)
        }
        provisional = {number for number, is_open in enumerate(found.provisional) if is_open}
        return Rows(found.rows, found.total, changed, provisional)


class AggregateRows:
    """The newest windows of an aggregate."""

    def __init__(self, aggregate: Aggregate, count: int) -> None:
        self.events, self.name = aggregate.events, aggregate.name
        self._aggregate = aggregate
        self._count = count
        self._before: set[tuple[Any, ...]] | None = None

    def rows(self) -> Rows:
        """Return the rows; changed are those that were not there, or not with these values, the last time."""
        found = self._aggregate.again()
        order = [found.frame.columns[0], *found.by]
        marked = found.frame.with_row_index("\0row")
        top = marked.sort(order, descending=[True, *([False] * len(found.by))]).head(self._count)
        is_open = found.is_open.gather(top["\0row"])
        shown = top.drop("\0row")
        texts = page.texts(shown)
        before, self._before = self._before, set(texts)
        changed = {number for number, row in enumerate(texts) if before is not None and row not in before}
        return Rows(shown, found.frame.height, changed, set(is_open.arg_true()))


class LiveFrame:
    """Draws rows until it is paused."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._pause = ipywidgets.ToggleButton(description="Pause", tooltip="Hold the rows as they are")
        self._held: Frame | None = None

    @property
    def controls(self) -> tuple[ipywidgets.DOMWidget, ...]:
        """The button that holds the rows."""
        return (self._pause,)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows change."""
        return watch(self._source.events, wake)

    def frame(self) -> Frame:
        """Return the rows as of now; while paused, as they were."""
        if not self._pause.value or self._held is None:
            self._held = self._drawn()
        return self._held

    def _drawn(self) -> Frame:
        found = self._source.rows()
        shown = found.frame.height
        said = f"{self._source.name}: {found.total:,} rows" + (
            f", the newest {shown:,}" if shown < found.total else ""
        )
        grid = page.table(found.frame, changed=found.changed, provisional=found.provisional)
        return Frame(page.page(page.note(said), grid, page.note(_KEY)), f"{said}\n{found.frame}")
