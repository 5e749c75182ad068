"""When a binding last had records, and whether it is at work on some now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from ktframe.clock import Clock


class Activity:
    """Written by the thread of one binding; any thread may ask."""

    def __init__(self, clock: Clock) -> None:
        self.is_working = False
        """Whether rows that have arrived are being applied, or stored ones loaded."""
        self.newest: int | None = None
        """The greatest timestamp (ms since 1970) of the records that were applied."""
        self._clock = clock
        self._last: dict[int, float] = {}

    @contextmanager
    def working(self) -> Iterator[None]:
        """Let those who wait know that what takes time is not Kafka."""
        was_working, self.is_working = self.is_working, True
        try:
            yield
        finally:
            self.is_working = was_working

    def begin(self, partitions: Iterable[int], *, anew: Collection[int]) -> None:
        """Record that reading begins of ``partitions``, of some of them ``anew``."""
        # A partition that has nothing new is as idle as it was before its connection was made again.
        now, known = self._clock.monotonic(), self._last
        self._last = {p: now if p in anew else known.get(p, now) for p in partitions}

    def heard(self, partitions: Iterable[int]) -> None:
        """Record that records of ``partitions`` have arrived."""
        self._last |= dict.fromkeys(set(partitions), self._clock.monotonic())

    def applied(self, times: Iterable[int | None]) -> None:
        """Record the greatest timestamps of records that were applied; None where there is none."""
        self.newest = max((time for time in (self.newest, *times) if time is not None), default=None)

    def quiet(self) -> dict[int, float]:
        """Return for how many seconds each partition has had no record, counted from when reading began at most."""
        now = self._clock.monotonic()
        return {partition: now - at for partition, at in self._last.copy().items()}
