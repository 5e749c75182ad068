"""The status panel of a table, a stream or windows: state, progress, counts, last error and the first rows."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from ktframe.events import BindingState
from ktframe.sync.status import TableStatus
from ktframe.widgets import markup
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import Watched, label_of, preview_of, watch

_LOADING = (BindingState.RESTORING, BindingState.LAGGING, BindingState.BACKING_OFF)


class StatusPicture:
    """Draws the status of one table."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows, state or lag change."""
        return watch(self._watched.events, wake)

    def frame(self) -> Frame:
        """Return the status as of now."""
        preview = preview_of(self._watched)
        status = preview.status
        state = status.readiness.state
        parts = [
            markup.headline(label_of(self._watched), status.readiness),
            _bar(status),
            markup.facts(_facts(status)),
        ]
        parts += [markup.note(_notes(status))]
        if status.health.last_error and not status.readiness.is_ready:
            parts.append(markup.bad(f"last error: {status.health.last_error}"))
        if status.readiness.hint:
            parts.append(markup.bad(f"Hint: {status.readiness.hint}"))
        parts.append(_rows(preview.head, status.rows))
        return Frame(markup.page(*parts), str(status), is_last=state is BindingState.STOPPED)


def _bar(status: TableStatus) -> str:
    readiness = status.readiness
    if readiness.is_ready or readiness.state not in _LOADING:
        return ""
    share = "" if readiness.progress is None else f" {readiness.progress:.0%}"
    return f"<div>{markup.bar(readiness.progress)}{share}</div>"


def _facts(status: TableStatus) -> list[tuple[str, str]]:
    readiness = status.readiness
    if readiness.state is BindingState.CREATED:
        return []
    pairs = [("rows", markup.count(status.rows)), ("records to go", markup.count(readiness.total_lag))]
    if readiness.total_lag:
        pairs.append(("time left", markup.duration(readiness.eta)))
    pairs.append(("rate", f"{readiness.rate:,.0f}/s" if readiness.rate else "none"))
    pairs.append(
        (
            "newest record",
            "none" if readiness.data_age is None else f"{markup.duration(readiness.data_age)} ago",
        )
    )
    pairs.append(("refused", markup.count(status.refused)))
    if status.stale:
        pairs.append(("stale", markup.count(status.stale)))
    return pairs


def _notes(status: TableStatus) -> str:
    """Return the lines of the status below its first, without those that the panel shows elsewhere."""
    return "\n".join(
        line for line in str(status).splitlines()[1:] if not line.startswith(("last error: ", "Hint: "))
    )


def _rows(head: pl.DataFrame, total: int) -> str:
    if not head.width:
        return ""
    more = f"the first {head.height:,} of {total:,} rows" if total > head.height else ""
    return markup.table(head) + markup.note(more)
