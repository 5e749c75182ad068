"""The offsets that calls wait for: what was read is written as soon as it is what one of them waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock


class Goals:
    """The end offsets that calls wait for. Any thread adds one; the binding's thread asks which are reached."""

    def __init__(self) -> None:
        self._goals: tuple[Mapping[int, int], ...] = ()
        self._lock = Lock()

    @contextmanager
    def waiting_for(self, ends: Mapping[int, int]) -> Iterator[None]:
        """Have ``ends`` among the goals for the time of the block."""
        with self._lock:
            self._goals = (*self._goals, ends)
        try:
            yield
        finally:
            with self._lock:
                left = list(self._goals)
                left.remove(ends)
                self._goals = tuple(left)

    def are_reached(self, positions: Mapping[int, int]) -> bool:
        """Say whether a call has all that it waits for once everything before ``positions`` is written."""
        return any(all(positions.get(p, 0) >= end for p, end in ends.items()) for ends in self._goals)
