"""Tells reads that rows went, or were exchanged for those of another log, while they looked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from threading import Event
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Switched(NamedTuple):
    """Why which partitions were rebuilt, and how many rows may be others now."""

    reasons: dict[int, str]
    rows: int


class Exchange:
    """Counts such changes of one table. The binding's thread makes them; any thread may read."""

    def __init__(self) -> None:
        self.generation = 0
        """Raised before rows are removed or positions go back: a read during which it changes must be repeated."""
        self._is_over = Event()
        self._is_over.set()
        self._untold: Switched | None = None

    def lose_rows(self) -> None:
        """Have reads repeated that are under way."""
        self.generation += 1

    @contextmanager
    def exchanging(self, switched: Switched) -> Iterator[None]:
        """Let ``read`` wait for the block: in it rows, positions and stream times are not those of one log."""
        self._untold = switched
        self.generation += 1
        self._is_over.clear()
        try:
            yield
        finally:
            self.generation += 1
            self._is_over.set()

    def read(self, take: Callable[[], T]) -> T:
        """Return what ``take`` makes of rows none of which were exchanged meanwhile."""
        while True:
            generation = self.generation
            self._is_over.wait()
            result = take()
            if self.generation == generation:
                return result

    def untold(self, rebuilding: Collection[int]) -> Switched | None:
        """Return, once, what was exchanged, also where an error came after it; ``rebuilding`` are those that were not yet."""
        switched = self._untold
        if switched is None or any(partition in rebuilding for partition in switched.reasons):
            return None
        self._untold = None
        return switched
