"""The lines of a batch: one for each record, and of these the last one of each row."""

from __future__ import annotations

import polars as pl

from ktframe.columns import (
    BOOKKEEPING,
    EXTRA_COLUMNS,
    IDENTITY,
    ITEM,
    LINE,
    OFFSET,
    PARTITION,
    ROW,
    TIMESTAMP,
    TOMBSTONE,
)
from ktframe.fold.records import RecordBatch


def lines_of(batch: RecordBatch) -> pl.DataFrame:
    """Return the bookkeeping of all records of ``batch``."""
    columns = [
        pl.Series(LINE, range(len(batch)), dtype=pl.UInt32),
        pl.Series(PARTITION, batch.partitions, dtype=BOOKKEEPING[PARTITION]),
        pl.Series(OFFSET, batch.offsets, dtype=BOOKKEEPING[OFFSET]),
        _record_times(batch),
        _are_tombstones(batch),
    ]
    if batch.indices is not None:
        columns.append(pl.Series(ITEM, batch.indices, dtype=EXTRA_COLUMNS[ITEM]))
    return pl.DataFrame(columns)


def _are_tombstones(batch: RecordBatch) -> pl.Series:
    if None not in batch.values:
        # pl.repeat() takes ten times as long.
        return pl.Series(TOMBSTONE, [False]).new_from_index(0, len(batch))
    return pl.Series(TOMBSTONE, [value is None for value in batch.values], dtype=pl.Boolean)


def _record_times(batch: RecordBatch) -> pl.Series:
    times = pl.Series(TIMESTAMP, batch.timestamps, dtype=pl.Int64)
    if 0 not in batch.timestamp_types:
        return times
    return times.set(pl.Series(batch.timestamp_types, dtype=pl.UInt8) == 0, None)


def last_of_each(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the last line of each identity and partition."""
    if rows.height <= 1:
        return rows
    # By partition: to compare two columns, or both as one, takes Polars twice as long.
    is_last = rows.select(pl.col(IDENTITY).is_last_distinct().over(PARTITION)).to_series()
    return rows if is_last.all() else rows.filter(is_last)


def in_key_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the lines of each partition together, by identity.

    Writes in the order of its keys take RocksDB a fraction of the time of others.
    """
    if rows.height <= 1:
        return rows
    by_identity = pl.col(ROW).sort_by(IDENTITY).over(PARTITION, mapping_strategy="explode")
    return rows[rows.select(PARTITION, IDENTITY).with_row_index(ROW).select(by_identity).to_series()]


def at(lines: pl.Series, column: pl.Series) -> pl.Series:
    """Return what ``column``, which has a value for each record, has at ``lines``: all of it, mostly."""
    is_whole = len(lines) == len(column) and (lines == pl.int_range(len(column), eager=True)).all()
    return column if is_whole else column.gather(lines)
