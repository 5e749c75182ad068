"""Records that become no rows, with their bytes: refused ones, late ones, and tombstones that delete by record key."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import polars as pl

from ktframe.columns import LINE, WINDOW
from ktframe.fold.records import Cause, KeyTombstone, RecordBatch, RefusedRecord, first_fields
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
        headers=None if batch.headers is None else batch.headers[line] or None,
        index=None if batch.indices is None else batch.indices[line],
    )


def refused_records(batch: RecordBatch, refused: Sequence[Refusal]) -> tuple[RefusedRecord, ...]:
    """Return the refused records, in the order of the batch."""
    return tuple(
        refused_record(batch, refusal) for refusal in sorted(refused, key=lambda refusal: refusal.index)
    )


def accepted(records: Counter[int], batch: RecordBatch, refused: Sequence[Refusal]) -> Counter[int]:
    """Return how many records of each partition have a value and were not refused."""
    found = records.copy()
    if None in batch.values:
        found.subtract(p for p, value in zip(batch.partitions, batch.values, strict=True) if value is None)
    found.subtract(
        batch.partitions[refusal.index] for refusal in refused if batch.values[refusal.index] is not None
    )
    return found


_MOST_CAUSES = 100
_NUMBER = re.compile(r"(?<![\w'\"])(?<!id )(?:0x[0-9a-f]+|\d[\d,.]*)(?![\w'\"])")
_NAMES = re.compile(r"^field .+(?= is one of too many names)", re.DOTALL)
_OTHER = "other reasons"


def with_causes(known: Mapping[str, Cause], records: Iterable[RefusedRecord]) -> dict[str, Cause]:
    """Return the causes of one partition after ``records`` were refused too.

    Reasons that differ in numbers only (a position, a size), or in which of too many names they are about, are one cause.
    There are at most 100, and one for the rest.
    """
    causes = dict(known)
    for record in records:
        name = cause_name(record.reason)
        if name not in causes and len(causes) >= _MOST_CAUSES:
            name = _OTHER
        cause = causes.get(name)
        place = (record.partition, record.offset)
        if cause is None:
            reason = _OTHER if name == _OTHER else record.reason
            times = (record.timestamp, record.timestamp)
            causes[name] = Cause(reason, record.fault, record.fields, 1, place, place, *times)
        else:
            causes[name] = replace(
                cause,
                fields=first_fields(cause.fields, record.fields),
                records=cause.records + 1,
                last=place,
                last_time=record.timestamp,
            )
    return causes


def all_causes(by_partition: Iterable[Mapping[str, Cause]]) -> list[Cause]:
    """Return the causes of all partitions together, the commonest first, then that of the rest."""
    causes: dict[str, Cause] = {}
    for some in by_partition:
        for name, cause in some.items():
            causes[name] = causes[name] + cause if name in causes else cause
    return sorted(causes.values(), key=lambda cause: (cause.reason == _OTHER, -cause.records, cause.first))


def cause_name(reason: str) -> str:
    """Return what ``reason`` has in common with others of its cause."""
    return _NUMBER.sub("#", _NAMES.sub("field #", reason))


def late_records(batch: RecordBatch, late: pl.DataFrame) -> tuple[RefusedRecord, ...]:
    """Return the late records; the reason of each names the windows (starts in ms) that had closed."""
    if not late.height:
        return ()
    by_line = late.group_by(LINE, maintain_order=True).agg(pl.col(WINDOW).cast(pl.String)).iter_rows()
    return tuple(refused_record(batch, Refusal(line, " ".join(windows))) for line, windows in by_line)


def key_tombstones(batch: RecordBatch, lines: pl.Series) -> tuple[KeyTombstone, ...]:
    """Return the tombstones at ``lines``: each deletes rows by its record key."""
    return tuple(
        KeyTombstone(batch.partitions[line], batch.offsets[line], key)
        for line in lines
        if (key := batch.keys[line]) is not None
    )
