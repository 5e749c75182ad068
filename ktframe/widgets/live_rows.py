"""Rows as they change: the newest first, changed ones highlighted, windows that are still open marked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import ipywidgets
import polars as pl

from ktframe.columns import ROW
from ktframe.events import Events
from ktframe.sync.monitor import Readiness
from ktframe.widgets import markup as page
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import AggregateQuery, Watched, label_of, recent_rows_of, watch

_KEY: Final = "a shaded row has just changed"
_OPEN_KEY: Final = f"{_KEY}; a dashed edge marks a window that is still open"


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

    def readiness(self) -> Readiness:
        """Return whether the rows are complete."""


class TopicRows:
    """The rows of a table, a stream or their windows that changed last."""

    def __init__(self, watched: Watched, count: int) -> None:
        self.events, self.name = watched.events, label_of(watched)
        self.readiness = watched.readiness
        self._watched = watched
        self._count = count
        self._positions: dict[int, int] | None = None

    def rows(self) -> Rows:
        """Return the rows; changed are those whose record was not there the last time."""
        recent = recent_rows_of(self._watched, self._count)
        before, self._positions = self._positions, recent.positions
        # A partition that stands before where it stood is read anew: of another topic of that name.
        passed = {p: at for p, at in (before or {}).items() if at <= recent.positions.get(p, 0)}
        changed = {
            number
            for number, (partition, offset) in enumerate(recent.places)
            if before is not None and offset >= passed.get(partition, 0)
        }
        provisional = {number for number, is_open in enumerate(recent.provisional) if is_open}
        return Rows(recent.rows, recent.total, changed, provisional)


class AggregateRows:
    """The newest windows of an aggregate."""

    def __init__(self, query: AggregateQuery, count: int) -> None:
        self.events, self.name = query.events, query.name
        self.readiness = query.readiness
        self._query = query
        self._count = count
        self._before: set[tuple[Any, ...]] | None = None

    def rows(self) -> Rows:
        """Return the rows; changed are those that were not there, or not with these values, the last time."""
        aggregate = self._query.compute()
        order = [aggregate.frame.columns[0], *aggregate.by]
        marked = aggregate.frame.with_row_index(ROW)
        top = marked.sort(order, descending=[True, *([False] * len(aggregate.by))]).head(self._count)
        is_open = aggregate.is_open.gather(top[ROW])
        shown = top.drop(ROW)
        texts = page.texts(shown)
        before, self._before = self._before, set(texts)
        changed = {number for number, row in enumerate(texts) if before is not None and row not in before}
        return Rows(shown, aggregate.frame.height, changed, set(is_open.arg_true()))


class LiveFrame:
    """Draws rows until it is paused."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._pause: ipywidgets.ToggleButton | None = None
        self._held: Frame | None = None
        self._is_held = False
        self._drawn_at = datetime.now(UTC)

    def controls(self) -> tuple[ipywidgets.DOMWidget, ...]:
        """Return the button that holds the rows; it is made where it is to be shown."""
        if self._pause is None:
            self._pause = ipywidgets.ToggleButton(description="Pause", tooltip="Hold the rows as they are")
        return (self._pause,)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows change."""
        return watch(self._source.events, wake)

    def frame(self) -> Frame:
        """Return the rows as of now; while paused, as they were, and since when."""
        was_held, self._is_held = self._is_held, self._pause is not None and bool(self._pause.value)
        if not self._is_held or self._held is None:
            self._held = self._drawn()
        elif not was_held:
            self._held = self._held.noted(f"paused: rows as of {self._drawn_at:%H:%M:%S} UTC")
        return self._held

    def _drawn(self) -> Frame:
        self._drawn_at = datetime.now(UTC)
        found = self._source.rows()
        shown = found.frame.height
        said = f"{self._source.name}: {found.total:,} rows" + (
            f", the newest {shown:,}" if shown < found.total else ""
        )
        grid = page.table(found.frame, changed=found.changed, provisional=found.provisional)
        warning, text = page.incomplete(self._source.name, self._source.readiness())
        body = page.page(warning, page.note(said), grid, page.note(_OPEN_KEY if found.provisional else _KEY))
        return Frame(body, f"{text}{said}\n{found.frame}")
