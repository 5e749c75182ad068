"""The open panels of this process, by the cell that shows them.

Panels of a cell that has run again are closed, and a person at the notebook wakes all that have slowed down.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Sequence
from threading import RLock
from typing import Final, Protocol

from ktframe import ipython as notebook
from ktframe.process.forks import in_child

# Panels slow down after so long without a cell run or a click. With no browser connected, messages would pile up.
IDLE_AFTER_SECONDS: Final = 120.0

# How many panels may be open without a known cell. A callback that shows a panel shows a new one at each click.
_MOST_WITHOUT_CELL: Final = 12


class OpenPanel(Protocol):
    """A panel as this module sees it."""

    def hurry(self) -> None:
        """Draw soon, because a person is at the notebook."""

    def stop(self) -> None:
        """Stop drawing; does not wait."""

    def close(self) -> None:
        """Stop drawing, and wait until it has."""


class Panels:
    """The open panels, by the id of their cell. Any thread may call it."""

    def __init__(self) -> None:
        self.is_leaving = False
        """Whether the process is about to end: nothing can be shown any more."""
        self._lock = RLock()
        self._cells: dict[OpenPanel, str | None] = {}
        self._old: list[OpenPanel] = []
        """Panels that the running cell showed in an earlier run, and has not shown in this one."""
        self._touched = time.monotonic()
        self._is_watching_cells = False
        in_child(self._forked)

    def _forked(self) -> None:
        """Let go of the panels: their threads are not in a forked process, and one of them may have held the lock."""
        self._lock, self._cells, self._old = RLock(), {}, []

    def add(self, panel: OpenPanel) -> None:
        """Note a panel that the running cell shows, perhaps again."""
        with self._lock:
            self._cells[panel] = notebook.cell_id()
            self._old = [old for old in self._old if old is not panel]
            without_cell = [open_panel for open_panel, cell in self._cells.items() if cell is None]
            if not self._is_watching_cells:
                self._is_watching_cells = True
                notebook.around_cells(self._before_cell, self._after_cell)
                atexit.register(self._leave)
        for oldest in without_cell[:-_MOST_WITHOUT_CELL]:
            oldest.stop()
        self.touch()

    def discard(self, panel: OpenPanel) -> None:
        """Forget a panel that has ended."""
        with self._lock:
            self._cells.pop(panel, None)

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def is_watched(self) -> bool:
        """Whether a person ran a cell or clicked in the last two minutes."""
        return time.monotonic() - self._touched < IDLE_AFTER_SECONDS

    def touch(self) -> None:
        """Note that a person ran a cell or clicked."""
        was_watched, self._touched = self.is_watched, time.monotonic()
        if not was_watched:
            with self._lock:
                panels = list(self._cells)
            for panel in panels:
                panel.hurry()

    def close(self) -> None:
        """Close every panel."""
        with self._lock:
            panels = list(self._cells)
        _close(panels)

    def _leave(self) -> None:
        # The kernel's sockets are gone by now: the last frames can't be saved.
        self.is_leaving = True
        self.close()

    def _before_cell(self, cell: str | None) -> None:
        self.touch()
        with self._lock:
            self._old = [panel for panel, at in self._cells.items() if cell is not None and at == cell]

    def _after_cell(self) -> None:
        with self._lock:
            old, self._old = self._old, []
        _close(old)


def _close(panels: Sequence[OpenPanel]) -> None:
    """Close panels at the same time, so that a slow one delays no other."""
    for panel in panels:
        panel.stop()
    for panel in panels:
        panel.close()


PANELS: Final = Panels()
