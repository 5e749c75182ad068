"""The dashboard of a connection: one line for each table, stream and window that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from ktframe.events import BindingState, Events
from ktframe.sync.status import TableStatus
from ktframe.widgets import markup
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import Watched, label_of, preview_of, watch


@runtime_checkable
class Connection(Protocol):
    """A ``Context``."""

    @property
    def is_closed(self) -> bool:
        """Whether it was closed."""

    def materialized(self) -> Sequence[Watched]:
        """Return every table, stream and window that was asked for."""


class DashboardPicture:
    """Draws the tables, streams and windows of one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ends: dict[Events, Callable[[], None]] = {}
        self._wake: Callable[[], None] | None = None

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when any of them changes, also one that is asked for later."""
        self._wake = wake

        def end() -> None:
            self._wake = None
            for unsubscribe in self._ends.values():
                unsubscribe()

        return end

    def frame(self) -> Frame:
        """Return the dashboard as of now."""
        everything = list(self._connection.materialized())
        self._follow(everything)
        statuses = [replace(preview_of(watched, 0).status, name=label_of(watched)) for watched in everything]
        is_last = self._connection.is_closed
        if not statuses:
            text = "the connection is closed" if is_last else "nothing is followed yet: ask for a table"
            return Frame(markup.page(markup.note(text)), text, is_last=is_last)
        return Frame(
            markup.page(markup.lines(_HEADS, map(_line, statuses), numeric=_HEADS[2:8])),
            "\n\n".join(map(str, statuses)),
            is_last=is_last,
        )

    def _follow(self, everything: Sequence[Watched]) -> None:
        if self._wake is None:
            return
        for gone in self._ends.keys() - {watched.events for watched in everything}:
            self._ends.pop(gone)()
        for watched in everything:
            if watched.events not in self._ends:
                self._ends[watched.events] = watch(watched.events, self._wake)


_HEADS = ("state", "name", "rows", "to go", "time left", "newest record", "rate", "refused", "")


def _line(status: TableStatus) -> list[str]:
    readiness = status.readiness
    if readiness.state is BindingState.CREATED:
        return [markup.badge(readiness), markup.escape(status.name), *[""] * (len(_HEADS) - 2)]
    why = "" if readiness.is_complete else readiness.hint or readiness.detail
    age = readiness.data_age
    texts = (
        markup.count(status.rows),
        markup.count(readiness.total_lag),
        markup.duration(readiness.eta) if readiness.total_lag else "",
        "none" if age is None else f"{markup.duration(age)} ago",
        f"{readiness.rate:,.0f}/s" if readiness.rate else "",
        markup.count(status.refused),
        why,
    )
    return [
        markup.badge(readiness),
        *map(markup.escape, (status.name, *texts)),
    ]
