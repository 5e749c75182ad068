"""Which panels are on the page: a cell that ran again has replaced its own, and a person at the notebook wakes them all."""

from __future__ import annotations

import atexit
import time
from collections.abc import Sequence
from threading import RLock
from typing import Final, Protocol

from ktframe import ipython as notebook

IDLE_AFTER_SECONDS: Final = 120.0
"""Without a cell run or a click for so long, nobody seems to watch: panels slow down."""

_MOST_PLACELESS: Final = 12
"""How many panels may live of which it is not known where they are: callbacks show a new one each time."""


class Shown(Protocol):
    """A panel as it is known here."""

    def hurry(self) -> None:
        """Draw soon: somebody is there."""

    def stop(self) -> None:
        """Stop drawing; does not wait."""

    def close(self) -> None:
        """Stop drawing, and wait until it has."""


class Panels:
    """The panels of this process by the cell that shows them. Any thread may ask."""

    def __init__(self) -> None:
        self.is_leaving = False
        """Whether the process is about to end."""
        self._lock = RLock()
        self._cells: dict[Shown, str | None] = {}
        self._old: list[Shown] = []
        """What the running cell has shown in an earlier run, and not yet in this one."""
        self._touched = time.monotonic()
        self._is_watching_cells = False

    def add(self, panel: Shown) -> None:
        """Note a panel that the running cell shows, perhaps again."""
        with self._lock:
            self._cells[panel] = notebook.cell_id()
            self._old = [each for each in self._old if each is not panel]
            placeless = [each for each, at in self._cells.items() if at is None]
            if not self._is_watching_cells:
                self._is_watching_cells = True
                notebook.around_cells(self._before_cell, self._after_cell)
                atexit.register(self._leave)
        for each in placeless[:-_MOST_PLACELESS]:
            each.stop()
        self.touch()

    def discard(self, panel: Shown) -> None:
        """Forget a panel that has ended."""
        with self._lock:
            self._cells.pop(panel, None)

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def is_watched(self) -> bool:
        """Whether somebody did something in the notebook not long ago."""
        return time.monotonic() - self._touched < IDLE_AFTER_SECONDS

    def touch(self) -> None:
        """Note that somebody did something."""
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
        # The kernel's sockets go away with it: nothing can be left behind.
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


def _close(panels: Sequence[Shown]) -> None:
    """Close panels at the same time: one that is slow keeps no other waiting."""
    for panel in panels:
        panel.stop()
    for panel in panels:
        panel.close()


PANELS: Final = Panels()
