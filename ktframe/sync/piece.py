"""What was read and decoded, and is not written yet: while a reader is far behind, several batches are written as one.

Of a topic whose keys come again and again most rows are overwritten before anybody can have asked for them.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Final

import polars as pl

from ktframe.clock import Clock
from ktframe.fold.combined import combined, for_store, newest_times
from ktframe.fold.records import Changes

logger = logging.getLogger("ktframe.sync")
_LOGGED_REFUSALS: Final = 3
_RECORD_BYTES: Final = 500
"""What a refused record takes beside its key and value."""
_SECONDS: Final = 5.0
"""For so long rows may wait: reads that don't wait for them find what was written."""
_BYTES: Final = 3 * 2**25
"""With so many it is looked which lines are overwritten; where more than half is left, that is written."""
_LINES: Final = 150_000
"""The same for the lines of one partition, of which three quarters may be left: they are written at once, under a lock."""


class Piece:
    """The changes of batches that follow each other, and the next offset of each partition after them.

    The binding's thread owns it. With ``takes_none`` no batch waits here for others.
    """

    def __init__(self, clock: Clock, *, takes_none: bool = False) -> None:
        self._takes_none = takes_none
        self.positions: dict[int, int] = {}
        self._clock = clock
        self._parts: list[Changes] = []
        self._began = 0.0
        self._bytes = 0
        self._lines = Counter[int]()

    def __bool__(self) -> bool:
        return bool(self._parts)

    def may_take(self, changes: Changes, schema: pl.Schema) -> bool:
        """Say whether ``changes`` may wait here, with the same outcome; ``schema`` are the fields of the rows so far."""
        # By wider types rows that are there may be refused: that is decided with all of them in the view.
        return not self._takes_none and changes.schema == schema

    def add(self, changes: Changes, positions: Mapping[int, int]) -> None:
        """Add what the next batch changes."""
        if not self._parts:
            self._began = self._clock.monotonic()
        self._parts.append(changes)
        self.positions |= positions
        self._count(changes)
        if self._is_larger_than(_BYTES, _LINES) and len(self._parts) > 1:
            self._parts = [combined(self._parts)]
            self._bytes, self._lines = 0, Counter()
            self._count(self._parts[0])

    def _count(self, changes: Changes) -> None:
        unread = (*changes.refused, *changes.late)
        self._bytes += int(changes.lines.estimated_size())
        self._bytes += sum(_RECORD_BYTES + len(r.key or b"") + len(r.value or b"") for r in unread)
        self._lines.update(dict(changes.partitions.value_counts().iter_rows()))

    def _is_larger_than(self, most_bytes: float, most_lines: float) -> bool:
        return self._bytes > most_bytes or max(self._lines.values(), default=0) > most_lines

    @property
    def is_full(self) -> bool:
        """Whether it is to be written, whatever follows."""
        is_old = self._clock.monotonic() - self._began >= _SECONDS
        return is_old or (len(self._parts) == 1 and self._is_larger_than(_BYTES / 2, 3 * _LINES / 4))

    @property
    def stream_times(self) -> dict[int, int]:
        """The greatest timestamp (ms) of each partition."""
        return newest_times(part.stream_times for part in self._parts)

    def take(self) -> Changes:
        """Return all changes as those of one batch, as they are written; nothing is left."""
        parts = self._parts
        self.clear()  # first: what can't be combined is not tried again, but read again
        return for_store(combined(parts))

    def clear(self) -> None:
        """Forget everything, for it to be read again."""
        self.positions, self._parts = {}, []
        self._bytes, self._lines = 0, Counter()


def log_refused(name: str, changes: Changes) -> None:
    """Log the first records of a batch that were refused."""
    for record in changes.refused[:_LOGGED_REFUSALS]:
        where = f"{name}[{record.partition}]@{record.offset}"
        logger.warning("%s was refused: %s", where, record.reason)
