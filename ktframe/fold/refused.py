"""Records that become no rows, with their bytes: refused ones, late ones, and tombstones that delete by record key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from ktframe.columns import LINE, WINDOW
from ktframe.fold.records import KeyTombstone, RecordBatch, RefusedRecord
from ktframe.formats.base import Refusal


class Step(NamedTuple):
    """What a step of decoding returns: the rows that go on to the next one, and why the other records don't."""

    rows: pl.DataFrame
    refused: Sequence[Refusal] = ()


def refused_record(batch: RecordBatch, refusal: Refusal) -> RefusedRecord:
    """Return the record that ``refusal`` is about, with its bytes."""
    line = refusal.index
    return RefusedRecord(
        partition=batch.partitions[line],
        offset=batch.offsets[line],
        timestamp=batch.timestamps[line] if batch.timestamp_types[line] else None,
        key=batch.keys[line],
        value=batch.values[line],
        reason=refusal.reason,
        is_conflict=refusal.is_conflict,
        fault=refusal.fault,
        fields=refusal.fields,
    )


def refused_records(batch: RecordBatch, refused: Sequence[Refusal]) -> tuple[RefusedRecord, ...]:
    """Return the refused records, in the order of the batch."""
    return tuple(
        refused_record(batch, refusal) for refusal in sorted(refused, key=lambda refusal: refusal.index)
    )


def late_records(batch: RecordBatch, late: pl.DataFrame) -> tuple[RefusedRecord, ...]:
    """Return the late records; the reason of each names the windows (starts in ms) that had closed."""
    by_line = late.group_by(LINE, maintain_order=True).agg(pl.col(WINDOW).cast(pl.String)).iter_rows()
    return tuple(refused_record(batch, Refusal(line, " ".join(windows))) for line, windows in by_line)


def key_tombstones(batch: RecordBatch, lines: pl.Series) -> tuple[KeyTombstone, ...]:
    """Return the tombstones at ``lines``: each deletes rows by its record key."""
    return tuple(
        KeyTombstone(batch.partitions[line], batch.offsets[line], key)
        for line in lines
        if (key := batch.keys[line]) is not None
    )
