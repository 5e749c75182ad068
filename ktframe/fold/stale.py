"""Stale rows: rows whose newest record was refused, so that they show an older one.

A refused record whose identity is known leaves a *mark*: a line with the identity, partition, offset and timestamp. It
counts until a later record or tombstone of that identity has come. Rows stay as they are: whoever shows them decides.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ktframe.columns import (
    BOOKKEEPING,
    HASH,
    IDENTITY,
    LINE,
    OFFSET,
    PARTITION,
    ROW,
    SMALL_WINDOW,
    STALE,
    TIMESTAMP,
    WINDOW,
    WINDOW_END,
    own_name,
)
from ktframe.fold.event_time import EventTime
from ktframe.fold.identity import Identity
from ktframe.fold.identity_codec import columns_of
from ktframe.fold.learning import Records
from ktframe.fold.records import RecordBatch, StaleMarks
from ktframe.fold.value_columns import ValueColumns
from ktframe.windows.base import Windows

NO_MARKS = pl.DataFrame()
NO_STALE = pl.DataFrame(
    schema={ROW: pl.UInt32(), **{name: BOOKKEEPING[name] for name in (PARTITION, OFFSET, TIMESTAMP)}}
)

_MARK = own_name("mark_")
_PLACE = (PARTITION, OFFSET, TIMESTAMP)


def stale_marks(lines: pl.DataFrame, row: Sequence[str]) -> pl.DataFrame:
    """Return the marks that ``lines`` leave: refused records with the columns ``row`` of their identity."""
    names = [*dict.fromkeys((HASH, IDENTITY, *_PLACE, *row))]
    return lines.select(names).unique([PARTITION, IDENTITY], keep="last", maintain_order=True)


def with_stale_lines(
    records: Records,
    batch: RecordBatch,
    *,
    fields: pl.Schema,
    values: ValueColumns,
    key_fields: Sequence[str],
    time: EventTime,
    times: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the rows, and the refused records of which the fields can be read that their identity needs.

    These are marked (``STALE``). They make the older rows of their identities stale, and are rows no longer then.
    ``times`` have the event time by ``LINE`` where a header says it.
    """
    lines = records.keyed.filter(pl.col(LINE).is_in([refusal.index for refusal in records.refused]))
    if not lines.height:
        return records.rows
    if key_fields:
        lines = values.read_some(batch, lines, key_fields, fields)
    if time.field is not None and time.field not in key_fields:
        # Also a record whose time can't be read is newer than the rows of its partition.
        read = values.read_some(batch, lines, [time.field], fields) if times is None else times
        timed = read.select(LINE, time.field)
        lines = lines.join(timed, on=LINE, how="left", maintain_order="left")
    lines = time.apply(lines).with_columns(pl.lit(value=True).alias(STALE))
    rows = pl.concat([records.rows, lines], how="diagonal_relaxed").sort(LINE)
    return rows.with_columns(pl.col(STALE).fill_null(value=False))


def without_outdated(marks: pl.DataFrame, lines: pl.DataFrame) -> pl.DataFrame:
    """Return the marks after which no line of ``lines``, a row or a removal, came for the same row in its partition."""
    if not marks.height or not lines.height:
        return marks
    if lines.height < marks.height and not marks[HASH].is_in(lines[HASH].implode()).any():
        return marks  # the same object: what was found out about it still holds
    return without_superseded(marks, lines.filter(pl.col(HASH).is_in(marks[HASH].implode())), [HASH])


def with_marks(
    frames: Sequence[pl.DataFrame], added: pl.DataFrame, row: Sequence[str]
) -> tuple[pl.DataFrame, ...]:
    """Return ``frames`` of marks and one more, in the order in which they came; small ones are merged.

    Each is more than twice as large as the next one, so that there are few, however many batches brought marks.
    """
    kept = [frame for frame in frames if frame.height]
    if not added.height:
        return tuple(kept)
    while kept and kept[-1].height <= 2 * added.height:
        added = newest_marks([kept.pop(), added], row)
    return (*kept, added)


def newest_marks(frames: Sequence[pl.DataFrame], row: Sequence[str]) -> pl.DataFrame:
    """Return the last mark of each row (columns ``row``), of marks in the order in which they came."""
    if not frames:
        return NO_MARKS
    marks = frames[0] if len(frames) == 1 else pl.concat(frames, how="diagonal_relaxed")
    return marks.unique(row, keep="last", maintain_order=True)


def marks_of(stored: StaleMarks, identity: Identity, dtypes: pl.Schema) -> pl.DataFrame:
    """Return stored marks as a frame; ``dtypes`` are those of the identity's columns."""
    frame = pl.DataFrame(
        {
            IDENTITY: pl.Series(stored.identities, dtype=pl.Binary),
            PARTITION: pl.Series(stored.partitions, dtype=pl.Int32),
            OFFSET: pl.Series(stored.offsets, dtype=pl.Int64),
            TIMESTAMP: pl.Series(stored.timestamps, dtype=pl.Int64),
            **columns_of(stored.identities, {name: dtypes[name] for name in identity.columns}),
        }
    )
    return frame.select(identity.hash(frame, frame[IDENTITY]), pl.all())


def in_windows(marks: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Return the marks of stored windows as those of the larger ``windows`` that are made of them."""
    if not marks.height:
        return marks
    renamed = marks.rename({WINDOW: SMALL_WINDOW})
    return windows.assign(renamed, SMALL_WINDOW).drop(SMALL_WINDOW, WINDOW_END)


def without_superseded(marks: pl.DataFrame, lines: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return the marks without those after which one of ``lines`` came in their partition for the same ``key``."""
    if not marks.height or not lines.height:
        return marks
    on = [PARTITION, *key]
    later = lines.group_by(on).agg(pl.col(OFFSET).max().alias(ROW))
    joined = marks.join(later, on=on, how="left", nulls_equal=True, maintain_order="left")
    return joined.filter(pl.col(ROW).is_null() | (pl.col(ROW) < pl.col(OFFSET))).drop(ROW)


def newer_marks(rows: pl.DataFrame, marks: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return the stale ones among ``rows`` by their number (``ROW``), each with the place of the newest refused record.

    A mark is newer than a row of its partition if its offset is greater, than one of another partition if its
    (timestamp, partition) is, as of rows in several partitions the newest is shown. ``rows`` have the columns ``key``, by
    which users tell them apart, partition, offset and timestamp.
    """
    has_hashes = HASH in rows.columns and HASH in marks.columns
    if has_hashes and rows.height < marks.height:
        marks = marks.filter(pl.col(HASH).is_in(rows[HASH].implode()))
    candidates = rows.select(pl.int_range(pl.len(), dtype=pl.UInt32).alias(ROW), *key, *_PLACE)
    if has_hashes:
        candidates = candidates.filter(rows[HASH].is_in(marks[HASH].implode()))
    # Of several marks of one partition the last counts: a larger window may hold those of several small ones.
    last = marks.sort(OFFSET).unique([PARTITION, *key], keep="last")
    places = last.select(*key, *(pl.col(name).alias(_MARK + name) for name in _PLACE))
    joined = candidates.join(places, on=list(key), how="inner", nulls_equal=True)
    partition, offset, timestamp = (pl.col(name) for name in _PLACE)
    of_mark, at_offset, at_time = (pl.col(_MARK + name) for name in _PLACE)
    least = pl.lit(-(2**63), dtype=pl.Int64)  # a missing timestamp counts as the lowest
    time, mark_time = timestamp.fill_null(least), at_time.fill_null(least)
    is_newer = (
        pl.when(partition == of_mark)
        .then(at_offset > offset)
        .otherwise((mark_time > time) | ((mark_time == time) & (of_mark > partition)))
    )
    newest = joined.filter(is_newer).sort(
        _MARK + TIMESTAMP, _MARK + PARTITION, _MARK + OFFSET, nulls_last=False
    )
    return newest.unique(ROW, keep="last", maintain_order=True).select(
        ROW, *(pl.col(_MARK + name).alias(name) for name in _PLACE)
    )


class LastStale:
    """The stale ones among the rows that were asked about last: they are asked about again and again."""

    def __init__(self, key: Sequence[str]) -> None:
        self._key = key
        self._last = (NO_MARKS, NO_MARKS, NO_STALE)

    def of(self, rows: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
        """Return what ``newer_marks`` does."""
        last_rows, last_marks, stale = self._last
        if rows is not last_rows or marks is not last_marks:
            stale = newer_marks(rows, marks, self._key)
            self._last = (rows, marks, stale)
        return stale
