"""Counts the values of records for the sample of a partition: one by one, or column by column those that were decoded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

from ktframe.columns import LINE
from ktframe.fold.records import RecordBatch
from ktframe.formats import JsonFormat
from ktframe.formats.json.sightings import Sightings, kept_below, unseen

BOUND: Final = 2
"""So many times more names than become columns are counted before it is looked with which record they became too many."""


def count_values(
    seen: Sightings,
    format_: JsonFormat,
    batch: RecordBatch,
    lines: Iterable[int],
    *,
    with_nulls: bool = False,
    only: frozenset[str] | None = None,
    is_bounded: bool = False,
) -> None:
    """Count the values of ``lines``; if ``is_bounded``, not all of them where names are far too many to be columns."""
    for line in lines:
        if is_bounded and format_.has_many(seen, BOUND):
            return
        value = batch.values[line]
        record = None if value is None else format_.parse(value)
        if record is not None:
            times = format_.reads_times
            seen.add_record(record, *batch.place(line), with_nulls=with_nulls, with_times=times, only=only)


def count_columns(
    seen: Sightings, known: Sightings, fields: pl.Schema, rows: pl.DataFrame, *, with_times: bool
) -> set[int]:
    """Count ``rows`` column by column; return the lines of those that have to be counted one by one instead.

    ``known`` is what was seen before them, ``seen`` included.
    """
    firsts: set[int] = set()
    for name in fields:
        firsts |= unseen(rows[name], rows[LINE], known.fields.get(name, Sightings()))
    rows = rows.filter(~pl.col(LINE).is_in(list(firsts))) if firsts else rows
    counted = Sightings()
    counted.add_records(rows.height)
    for name in fields:
        column = Sightings(kept_below(seen.kept, name))
        column.add_column(rows[name], with_times=with_times)
        if column.kinds:
            counted.fields[name] = column
    both = seen.plus(counted)
    seen.fields, seen.kinds = both.fields, both.kinds
    return firsts
