"""Tells a log that went back and grew again from the one that was read: another record is where the last one was.

After an unclean leader election, or when a broker's disk was restored from a copy, the stored position may lie inside a log
that is not the one it was taken from. Offsets don't show that. One record per partition is read again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from ktframe.fold.records import LastRecord, Position, RecordBatch

FirstRecords: TypeAlias = Callable[[Mapping[int, int]], Mapping[int, LastRecord]]
"""Returns, by partition, the first record from an offset on, where there is one; see ``Reader.first_records``."""


def replaced(applied: Mapping[int, LastRecord], first_records: FirstRecords) -> dict[int, str]:
    """Return the partitions in whose log another record is where the last applied one was, with the reason.

    A record that is gone by compaction or retention is no difference: the next one has another offset.
    """
    if not applied:
        return {}
    found = first_records({partition: record.offset for partition, record in applied.items()})
    return {
        partition: f"the log went back: another record is at offset {record.offset}"
        for partition, record in found.items()
        if record.offset == applied[partition].offset and record != applied[partition]
    }


class LeaderEpochs:
    """Notices that a partition has had another leader since its log was compared: librdkafka goes on without a word.

    The binding's thread compares, and asks for each batch; any thread may ask ``are_newer``.
    """

    def __init__(self) -> None:
        self._leaders: Mapping[int, int] = {}
        self._newest: dict[int, int] = {}
        self._compared: Mapping[int, int] = {}

    def compared(
        self, positions: Mapping[int, Position], ends: Mapping[int, int], leaders: Mapping[int, int]
    ) -> None:
        """Record that the logs were compared; before that they had these ends (exclusive) and epochs of their leaders."""
        self._leaders, self._compared = dict(leaders), dict(ends)
        epochs = {p: at.last.epoch for p, at in positions.items() if at.last is not None}
        known = {p: epoch for p, epoch in epochs.items() if epoch is not None}
        self._newest = known | {p: max(epoch, known.get(p, epoch)) for p, epoch in leaders.items()}

    def are_newer(self, leaders: Mapping[int, int]) -> bool:
        """Say whether a partition has another leader than when its log was compared."""
        compared = self._leaders
        return any(epoch > compared.get(partition, epoch) for partition, epoch in leaders.items())

    def have_risen(self, batch: RecordBatch) -> bool:
        """Say whether a record of ``batch`` comes from a leader that was not there yet when its log was compared."""
        has_risen = False
        for partition, record in batch.last.items():
            if record.epoch is None:
                continue
            before = self._newest.get(partition, record.epoch)
            if record.epoch > before and record.offset >= self._compared.get(partition, 0):
                has_risen = True
            self._newest[partition] = max(before, record.epoch)
        return has_risen
