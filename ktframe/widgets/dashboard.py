"""The dashboard: everything that a connection follows, one line each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from ktframe.events import BindingState, Events
from ktframe.sync.status import TableStatus
from ktframe.widgets import markup as page
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


class Overview:
    """Draws all that one connection follows."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ends: dict[Events, Callable[[], None]] = {}
        self._wake: Callable[[], None] | None = None

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when anything changes, also of what is asked for later."""
        self._wake = wake

        def end() -> None:
            self._wake = None
            for each in self._ends.values():
                each()

        return end

    def frame(self) -> Frame:
        """Return the overview as of now."""
        everything = list(self._connection.materialized())
        self._follow(everything)
        statuses = [replace(preview_of(watched, 0).status, name=label_of(watched)) for watched in everything]
        is_last = self._connection.is_closed
        if not statuses:
            said = "the connection is closed" if is_last else "nothing is followed yet: ask for a table"
            return Frame(page.page(page.note(said)), said, is_last=is_last)
        return Frame(
            page.page(page.lines(_HEADS, map(_line, statuses), numeric=_HEADS[2:8])),
            "\n\n".join(map(str, statuses)),
            is_last=is_last,
        )

    def _follow(self, everything: Sequence[Watched]) -> None:
        if self._wake is None:
            return
        for gone in self._ends.keys() - {each.events for each in everything}:
            self._ends.pop(gone)()
        for each in everything:
            if each.events not in self._ends:
                self._ends[each.events] = watch(each.events, self._wake)


_HEADS = ("state", "name", "rows", "to go", "time left", "newest record", "rate", "refused", "")


def _line(status: TableStatus) -> list[str]:
    readiness = status.readiness
    if readiness.state is BindingState.CREATED:
        return [page.badge(readiness.state), page.escape(status.name), *[""] * (len(_HEADS) - 2)]
    why = "" if readiness.is_ready else readiness.hint or readiness.detail
    age = readiness.data_age
    texts = (
        page.count(status.rows),
        page.count(readiness.total_lag),
        page.duration(readiness.eta) if readiness.total_lag else "",
        "none" if age is None else f"{page.duration(age)} ago",
        f"{readiness.rate:,.0f}/s" if readiness.rate else "",
        page.count(status.refused),
        why,
    )
    return [
        page.badge(readiness.state, is_ready=readiness.is_ready),
        *map(page.escape, (status.name, *texts)),
    ]
