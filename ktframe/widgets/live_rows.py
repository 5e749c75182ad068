"""Live rows: the newest first, changed ones highlighted, rows of windows that are still open marked."""

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
from ktframe.widgets import markup
from ktframe.widgets.picture import Frame
from ktframe.widgets.polars_text import cell_texts
from ktframe.widgets.protocols import AggregateQuery, Watched, label_of, recent_rows_of, watch

_KEY: Final = "a shaded row has just changed"
_OPEN_KEY: Final = f"{_KEY}; a dashed edge marks a window that is still open"


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows to show, out of ``total``; ``changed`` and ``provisional`` are numbers of rows of the frame."""

    frame: pl.DataFrame
    total: int
    changed: set[int] = field(default_factory=set)
    provisional: set[int] = field(default_factory=set)


class RowSource(Protocol):
    """Where rows come from; it remembers the rows of the last call, to find those that have changed."""

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
        """Return the rows; a row has changed when its record was not there at the last call."""
        recent = recent_rows_of(self._watched, self._count)
        before, self._positions = self._positions, recent.positions
        # A partition whose position went back is being read again: the topic was deleted and created anew.
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
        """Return the rows; a row has changed when it was not there with these values at the last call."""
        aggregate = self._query.compute()
        order = [aggregate.frame.columns[0], *aggregate.by]
        marked = aggregate.frame.with_row_index(ROW)
        top = marked.sort(order, descending=[True, *([False] * len(aggregate.by))]).head(self._count)
        is_open = aggregate.is_open.gather(top[ROW])
        shown = top.drop(ROW)
        texts = cell_texts(shown)
        before, self._before = self._before, set(texts)
        changed = {number for number, row in enumerate(texts) if before is not None and row not in before}
        return Rows(shown, aggregate.frame.height, changed, set(is_open.arg_true()))


class LiveRowsPicture:
    """Draws the newest rows, unless they are paused."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._button: ipywidgets.ToggleButton | None = None
        self._frame_shown: Frame | None = None
        self._is_paused = False
        self._drawn_at = datetime.now(UTC)

    def controls(self) -> tuple[ipywidgets.DOMWidget, ...]:
        """Return the button that pauses the rows."""
        # Made when it is first shown, because a widget takes memory in the kernel.
        if self._button is None:
            self._button = ipywidgets.ToggleButton(description="Pause", tooltip="Hold the rows as they are")
        return (self._button,)

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows change."""
        return watch(self._source.events, wake)

    def frame(self) -> Frame:
        """Return the rows as of now; while paused, the rows as of then, with a remark."""
        was_paused, self._is_paused = self._is_paused, self._button is not None and bool(self._button.value)
        if not self._is_paused or self._frame_shown is None:
            self._frame_shown = self._drawn()
        elif not was_paused:
            self._frame_shown = self._frame_shown.noted(f"paused: rows as of {self._drawn_at:%H:%M:%S} UTC")
        return self._frame_shown

    def _drawn(self) -> Frame:
        self._drawn_at = datetime.now(UTC)
        rows = self._source.rows()
        shown = rows.frame.height
        caption = f"{self._source.name}: {rows.total:,} rows" + (
            f", the newest {shown:,}" if shown < rows.total else ""
        )
        grid = markup.table(rows.frame, changed=rows.changed, provisional=rows.provisional)
        warning, text = markup.incomplete(self._source.name, self._source.readiness())
        body = markup.page(
            warning, markup.note(caption), grid, markup.note(_OPEN_KEY if rows.provisional else _KEY)
        )
        return Frame(body, f"{text}{caption}\n{rows.frame}")
