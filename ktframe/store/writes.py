"""What one ``apply`` puts into a batch, kind by kind; ``slots`` says where each partition lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ktframe.records import Changes, QuarantinedRecord
from ktframe.store import layout
from ktframe.store.engine import Batch


def put_metadata(batch: Batch, values: Mapping[str, bytes]) -> None:
    """Put names of slot 0."""
    for name, value in values.items():
        batch.put(layout.metadata_key(name), value)


def put_rows(batch: Batch, changes: Changes, slots: Mapping[int, int]) -> None:
    """Put or delete rows and, where the record key is not the identity, their index entries."""
    heads = {partition: layout.prefix(slot, layout.ROW) for partition, slot in slots.items()}
    put, delete = batch.put, batch.delete
    lines = zip(changes.partitions, changes.identities, changes.values, strict=True)
    for partition, identity, value in lines:
        if value is None:
            delete(heads[partition] + identity)
        else:
            put(heads[partition] + identity, value)
    if changes.record_keys is None:
        return
    keyed = zip(changes.partitions, changes.identities, changes.values, changes.record_keys, strict=True)
    for partition, identity, value, key in keyed:
        if key is not None:
            entry = layout.index_prefix(slots[partition], key) + identity
            if value is None:
                delete(entry)
            else:
                put(entry, b"")


def put_set_aside(
    batch: Batch,
    kind: int,
    records: Sequence[QuarantinedRecord],
    surplus: Sequence[tuple[int, int]],
    slots: Mapping[int, int],
) -> None:
    """Put late or quarantined records; delete those of ``surplus``, (partition, offset) pairs, that make room."""
    for record in records:
        key = layout.set_aside_key(slots[record.partition], kind, record.offset)
        batch.put(key, layout.pack_quarantined(record))
    for partition, offset in surplus:
        batch.delete(layout.set_aside_key(slots[partition], kind, offset))
