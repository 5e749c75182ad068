"""Tells a log that went back and grew again from the one that was read: another record is where the last one was.

After an unclean leader election, or when a broker's disk was restored from a copy, the stored position may lie inside a log
that is not the one it was taken from. Offsets don't show that. One record per partition is read again and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import polars as pl

from ktframe.fold.records import Changes, LastRecord, Position, RecordBatch
from ktframe.kafka.protocol import Cluster
from ktframe.store.protocol import StateStore, written_positions

FirstRecords: TypeAlias = Callable[[Mapping[int, int]], Mapping[int, LastRecord | None]]
"""Returns, by partition, the first record from an offset on; see ``Reader.first_records``."""


def replaced(applied: Mapping[int, LastRecord], found: Mapping[int, LastRecord | None]) -> dict[int, str]:
    """Return the partitions in whose log another record is where the last applied one was, with the reason.

    ``found`` are the first records from there on. One that is gone is no difference here: see ``removed``.
    """
    return {
        partition: f"the log went back: another record is at offset {record.offset}"
        for partition, record in found.items()
        if record is not None
        and record.offset == applied[partition].offset
        and record.is_another(applied[partition])
    }


def removed(
    applied: Mapping[int, LastRecord],
    found: Mapping[int, LastRecord | None],
    first_records: FirstRecords,
    cluster: Cluster,
    topic: str,
) -> dict[int, str]:
    """Return the partitions of a topic without compaction in whose log nothing is where the last applied record was.

    Only retention removes records there, from the start on. Else a transaction's marker, or an aborted record, has taken
    the offset. Where what is committed ends before it, for whatever reason, nothing is known.
    """
    gone = {p: applied[p].offset for p, record in found.items() if _is_past(record, applied[p])}
    # In this order: what is committed before the records are looked for must be found, unless retention removes it meanwhile.
    ends = cluster.end_offsets(topic, gone) if gone else {}
    gone = {p: offset for p, offset in gone.items() if offset < ends[p]}
    again = first_records(gone) if gone else {}
    gone = {p: gone[p] for p, record in again.items() if _is_past(record, applied[p])}
    starts = cluster.start_offsets(topic, gone) if gone else {}
    return {
        partition: f"the log went back: there is no record at offset {offset} any more"
        for partition, offset in gone.items()
        if offset >= starts[partition]
    }


def remember(
    store: StateStore,
    schema: pl.Schema,
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    find: FirstRecords,
) -> None:
    """Write the last record of each partition that begins at the end of its log, so that the log is known again.

    Of the others a record is applied soon.
    """
    before = {
        partition: position.offset - 1
        for partition, position in written_positions(store).items()
        if position.last is None and starts.get(partition, 0) < position.offset == ends.get(partition)
    }
    found = find(before) if before else {}
    last = {p: record for p, record in found.items() if record is not None and record.offset == before[p]}
    if last:
        nothing = Changes(pl.DataFrame(), schema=schema, last=last)
        store.apply(nothing, {partition: before[partition] + 1 for partition in last})


def _is_past(record: LastRecord | None, applied: LastRecord) -> bool:
    return record is None or record.offset > applied.offset


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
