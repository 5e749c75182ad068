"""Reads the next batch while the one before is parsed, and the first batches of a topic as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from ktframe.clock import Clock
from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.kafka.reader import Reader

FULL_BATCH: Final = 5_000
"""Behind a batch of so many records more are waiting."""
_FIRST_BATCH_SECONDS: Final = 1.0
_FIRST_BATCH_RECORDS: Final = 10_000


class ReadAhead:
    """A ``Reader`` that reads one batch further than it was asked.

    ``begin`` returns a batch on which work has begun, and for which one may wait while more is read; all others as they are.
    ``cut`` returns a batch in the parts in which it is decoded.
    """

    def __init__(
        self,
        reader: Reader,
        begin: Callable[[RecordBatch], RecordBatch],
        cut: Callable[[RecordBatch], list[RecordBatch]] = lambda batch: [batch],
    ) -> None:
        self._reader = reader
        self._begin = begin
        self._cut = cut
        self._parts: list[RecordBatch] = []
        self._next: RecordBatch | None = None
        self._failure: Exception | None = None

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, instead of those assigned before."""
        self._next = self._failure = None
        self._parts = []
        self._reader.assign(positions)

    def first_records(
        self, offsets: Mapping[int, int], is_over: Callable[[], bool]
    ) -> Mapping[int, LastRecord | None]:
        """Return the first record from each offset on, None where there is none."""
        return self._reader.first_records(offsets, is_over)

    def poll(self) -> RecordBatch | None:
        """Return what arrived, None when nothing did for a tenth of a second."""
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        batch, self._next = self._next, None
        if batch is None:
            batch = self._read()
        if batch is None or len(batch) < FULL_BATCH:
            return batch
        begun = self._begin(batch)
        if begun is not batch:
            try:
                self._next = self._read()
            except Exception as error:  # noqa: BLE001 - raised by the next call: this one has a batch to return
                self._failure = error
        return begun

    def _read(self) -> RecordBatch | None:
        if not self._parts:
            batch = self._reader.poll()
            self._parts = [] if batch is None else self._cut(batch)
        return self._parts.pop(0) if self._parts else None

    def close(self) -> None:
        """Stop reading."""
        self._reader.close()


def first_batch(
    reader: Reader, clock: Clock, needs_more: Callable[[RecordBatch], bool]
) -> RecordBatch | None:
    """Return what arrived, and what follows within a moment, while that is not enough to decide the columns."""
    # A first batch with many of the records that decide them hardly ever has to be read again.
    batch = reader.poll()
    if batch is None:
        return None
    deadline = clock.monotonic() + _FIRST_BATCH_SECONDS
    while len(batch) < _FIRST_BATCH_RECORDS and needs_more(batch):
        more = reader.poll()
        if more is None or clock.monotonic() > deadline:
            return batch if more is None else batch + more
        batch += more
    return batch
