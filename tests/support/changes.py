"""Changes as a store takes them, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from ktframe.fold.records import Changes, RefusedRecord

Line = tuple[int, bytes, bytes | None]
"""Partition, identity, and the stored row or None to remove it."""


def changes_of(
    lines: Iterable[Line] = (),
    *,
    record_keys: Iterable[bytes | None] | None = None,
    refused: Iterable[RefusedRecord] = (),
    stream_times: Mapping[int, int] | None = None,
    schema: pl.Schema | None = None,
) -> Changes:
    """Return changes with no frame: stores don't look at it."""
    lines = list(lines)
    return Changes(
        partitions=[partition for partition, _, _ in lines],
        identities=[identity for _, identity, _ in lines],
        values=[value for _, _, value in lines],
        frame=pl.DataFrame(),
        record_keys=None if record_keys is None else list(record_keys),
        refused=tuple(refused),
        stream_times=stream_times or {},
        schema=schema or pl.Schema(),
    )


def refused_record(partition: int, offset: int, *, is_conflict: bool = False) -> RefusedRecord:
    """Return a refused record."""
    return RefusedRecord(partition, offset, 1_000 + offset, b"key", b"{", "not JSON", is_conflict)
