"""A notebook that is not there, and a picture that a test draws: what panels are tested with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Thread, current_thread
from typing import Any

import pytest

from ktframe import ipython as notebook
from ktframe.widgets import panel
from ktframe.widgets.open_panels import Panels
from ktframe.widgets.panel import Panel
from ktframe.widgets.picture import Frame

PIXEL = b"\x89PNG not really"


@dataclass
class Page:
    """A notebook that remembers what it shows, by display id."""

    cell: str | None = "cell-1"
    shown: list[str] = field(default_factory=list)
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    before: list[Callable[[str | None], object]] = field(default_factory=list)
    after: list[Callable[[], object]] = field(default_factory=list)

    def show(self, bundle: dict[str, Any], display_id: str) -> None:
        """Put an output below the cell."""
        self.shown.append(display_id)
        self.replace(bundle, display_id)

    def replace(self, bundle: dict[str, Any], display_id: str) -> None:
        """Put it in the place of another."""
        self.outputs[display_id] = dict(bundle)

    def run_cell(self, cell: str | None, content: Callable[[], object] = lambda: None) -> None:
        """Run a cell."""
        self.cell = cell
        for callback in self.before:
            callback(cell)
        content()
        for ended in self.after:
            ended()

    def around_cells(self, before: Callable[[str | None], object], after: Callable[[], object]) -> None:
        """Remember who wants to know of cells."""
        self.before.append(before)
        self.after.append(after)

    def kept(self, shown: Panel) -> dict[str, Any]:
        """Return what a saved notebook has of a panel."""
        return self.outputs[shown._name]


def page_around(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Return a notebook around a test, with panels of its own."""
    page = Page()
    monkeypatch.setattr(notebook, "has_front_end", lambda: True)
    monkeypatch.setattr(notebook, "cell_id", lambda: page.cell)
    monkeypatch.setattr(notebook, "around_cells", page.around_cells)
    monkeypatch.setattr(notebook, "show", page.show)
    monkeypatch.setattr(notebook, "replace", page.replace)
    monkeypatch.setattr(panel, "PANELS", Panels())
    return page


class Drawing:
    """A picture that a test changes; it counts its draws."""

    def __init__(self) -> None:
        self.text = "one"
        self.png: bytes | None = None
        self.draws = 0
        self.threads: set[str] = set()
        self.wake: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self.is_last = False

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Remember who wants to be woken."""
        self.wake = wake
        return lambda: setattr(self, "wake", None)

    def frame(self) -> Frame:
        """Return the text."""
        self.draws += 1
        self.threads.add(current_thread().name)
        if self.error is not None:
            raise self.error
        return Frame(f"<b>{self.text}</b>", self.text, self.png, 100, is_last=self.is_last)

    def change(self, text: str) -> None:
        """Draw something else from now on, and say so."""
        self.text = text
        if self.wake is not None:
            self.wake()


def threads_of(found: Panel) -> list[Thread]:
    """Return the threads of a panel that run."""
    return [thread for thread in threading.enumerate() if thread.name == found._name]
