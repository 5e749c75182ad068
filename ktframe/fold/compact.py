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
    ROW,
    SMALL_WINDOW,
    TIMESTAMP,
    WINDOW,
    WINDOW_END,
    own_name,
)
from ktframe.windows.base import Windows

_OTHER = {name: own_name("other") + name for name in (PARTITION, TIMESTAMP)}


def latest_rows(rows: pl.DataFrame, markers: pl.DataFrame, user_key: Sequence[str]) -> pl.DataFrame:
    """Return one row per ``user_key``: of the newest lines of its partitions, by offset, the newest by time.

    Of several partitions the line with the greatest (timestamp, partition) counts, a missing timestamp lowest; where that
    is a marker, there is no row. Where record keys are part of the identity, a marker removes the rows before it that
    carried its key.
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
    # Offsets differ in a partition. To sort all columns by them takes twice as long.
    newest = lines.filter(pl.col(OFFSET) == pl.col(OFFSET).max().over(PARTITION, *user_key))
    if markers.height and RECORD_KEY in newest.columns:
        newest = _without_deleted_by_key(newest.filter(~pl.col(REMOVED)), markers)
    if newest[PARTITION].n_unique() > 1:
        newest = newest.sort(TIMESTAMP, PARTITION, nulls_last=False).unique(user_key, keep="last")
    return newest.filter(~pl.col(REMOVED)).drop(REMOVED) if markers.height else newest


def _without_deleted_by_key(rows: pl.DataFrame, markers: pl.DataFrame) -> pl.DataFrame:
    """Drop the rows that a later marker of their window deletes by record key.

    In its own partition a marker is later by its offset, in others by its (timestamp, partition); of several markers of
    one partition the last one counts.
    """
    on = [PARTITION, WINDOW, RECORD_KEY]
    until = markers.group_by(on).agg(pl.col(OFFSET).max().alias(REMOVED_UNTIL))
    joined = rows.join(until, on=on, how="left")
    is_kept = pl.col(REMOVED_UNTIL).is_null() | (pl.col(OFFSET) > pl.col(REMOVED_UNTIL))
    kept = joined.filter(is_kept).drop(REMOVED_UNTIL)
    if pl.concat([kept[PARTITION], markers[PARTITION]]).n_unique() == 1:
        return kept
    # Of a partition's own markers the last one counts, whatever their times: its log is in order.
    others = markers.filter(pl.col(OFFSET) == pl.col(OFFSET).max().over(on)).select(
        WINDOW, RECORD_KEY, *(pl.col(name).alias(other) for name, other in _OTHER.items())
    )
    pairs = kept.with_row_index(ROW).join(others, on=[WINDOW, RECORD_KEY], how="inner")
    time, other_time = (pl.col(name).fill_null(-(2**63)) for name in (TIMESTAMP, _OTHER[TIMESTAMP]))
    partition, other = pl.col(PARTITION), pl.col(_OTHER[PARTITION])
    is_later = (other_time > time) | ((other_time == time) & (other > partition))
    deleted = pairs.filter((partition != other) & is_later)[ROW]
    return kept.with_row_index(ROW).filter(~pl.col(ROW).is_in(deleted.implode())).drop(ROW)


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
