"""The lines of a batch: one for each record, and of these the last one of each row."""

from __future__ import annotations

import polars as pl

from ktframe.columns import BOOKKEEPING, IDENTITY, LINE, OFFSET, PARTITION, TIMESTAMP, TOMBSTONE
from ktframe.fold.records import RecordBatch


def lines_of(batch: RecordBatch) -> pl.DataFrame:
    """Return the bookkeeping of all records of ``batch``."""
    return pl.DataFrame(
        [
            pl.Series(LINE, range(len(batch)), dtype=pl.UInt32),
            pl.Series(PARTITION, batch.partitions, dtype=BOOKKEEPING[PARTITION]),
            pl.Series(OFFSET, batch.offsets, dtype=BOOKKEEPING[OFFSET]),
            _record_times(batch),
            pl.Series(TOMBSTONE, [value is None for value in batch.values], dtype=pl.Boolean),
        ]
    )


def _record_times(batch: RecordBatch) -> pl.Series:
    times = pl.Series(TIMESTAMP, batch.timestamps, dtype=pl.Int64)
    if 0 not in batch.timestamp_types:
        return times
    return times.set(pl.Series(batch.timestamp_types, dtype=pl.UInt8) == 0, None)


def last_of_each(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the last line of each identity and partition, in their order.

    Sorted writes take RocksDB a fraction of the time of unsorted ones.
    """
    if rows.height <= 1:
        return rows
    rows = rows.sort(PARTITION, IDENTITY, maintain_order=True)
    is_outdated = _equals_next(rows[PARTITION]) & _equals_next(rows[IDENTITY])
    return rows.filter(~is_outdated) if is_outdated.any() else rows


def _equals_next(values: pl.Series) -> pl.Series:
    """Say of each value whether the one after it is the same."""
    return (values.head(len(values) - 1) == values.slice(1)).append(pl.Series([False]))
