"""Compaction of lines, as Kafka compacts a log: the latest row of each key, and larger windows made of smaller ones.

A line is a row or a tombstone's marker. The view compacts the few rows that are contested, a roll-up all rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ktframe.columns import (
    OFFSET,
    PARTITION,
    RECORD_KEY,
    REMOVED,
    REMOVED_UNTIL,
    SMALL_WINDOW,
    TIMESTAMP,
    WINDOW,
    WINDOW_END,
)
from ktframe.windows.base import Windows


def latest_rows(rows: pl.DataFrame, markers: pl.DataFrame, user_key: Sequence[str]) -> pl.DataFrame:
    """Return one row per ``user_key``: in each partition the newest by offset, of those the newest by time.

    Each partition folds alone: a marker removes older rows of its own partition only. Where record keys are part
    of the identity, a marker removes the newest row too if that carried its key. Of rows of several partitions the one
    with the greatest (timestamp, partition) stays, a missing timestamp lowest.
    """
    lines = rows
    if markers.height:
        columns = [*rows.columns, REMOVED]
        lines = pl.concat(
            [
                rows.with_columns(pl.lit(value=False).alias(REMOVED)),
                markers.with_columns(pl.lit(value=True).alias(REMOVED)).select(columns),
            ],
        )
    newest = lines.sort(OFFSET).unique([PARTITION, *user_key], keep="last")
    if markers.height:
        newest = newest.filter(~pl.col(REMOVED)).drop(REMOVED)
        if RECORD_KEY in newest.columns:
            newest = _without_deleted_by_key(newest, markers)
    if newest[PARTITION].n_unique() > 1:
        newest = newest.sort(TIMESTAMP, PARTITION, nulls_last=False).unique(user_key, keep="last")
    return newest


def _without_deleted_by_key(rows: pl.DataFrame, markers: pl.DataFrame) -> pl.DataFrame:
    """Drop the rows that a later marker of their partition and window deletes by record key."""
    on = [PARTITION, WINDOW, RECORD_KEY]
    until = markers.group_by(on).agg(pl.col(OFFSET).max().alias(REMOVED_UNTIL))
    joined = rows.join(until, on=on, how="left")
    is_kept = pl.col(REMOVED_UNTIL).is_null() | (pl.col(OFFSET) > pl.col(REMOVED_UNTIL))
    return joined.filter(is_kept).drop(REMOVED_UNTIL)


def roll_up(
    rows: pl.DataFrame, markers: pl.DataFrame, windows: Windows, user_key: Sequence[str]
) -> pl.DataFrame:
    """Return one row per window of ``windows`` and key, as a fold of the topic by these windows would leave it.

    Parameters
    ----------
    rows, markers
        Rows and tombstones' markers of tumbling windows without grace that divide every boundary of ``windows``.
    user_key
        ``WINDOW`` and the key's columns.
    """
    assigned = _assign(rows, windows)
    return latest_rows(assigned, _assign(markers, windows).select(assigned.columns), user_key)


def _assign(lines: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    return windows.assign(lines.rename({WINDOW: SMALL_WINDOW}), SMALL_WINDOW).drop(SMALL_WINDOW, WINDOW_END)
