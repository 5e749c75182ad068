"""Changes as a store takes them, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from ktframe.fold.records import Changes, QuarantinedRecord

Line = tuple[int, bytes, bytes | None]
"""Partition, identity, and the stored row or None to remove it."""


def changes_of(
    lines: Iterable[Line] = (),
    *,
    record_keys: Iterable[bytes | None] | None = None,
    quarantined: Iterable[QuarantinedRecord] = (),
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
        quarantined=tuple(quarantined),
        stream_times=stream_times or {},
        schema=schema or pl.Schema(),
    )


def refused(partition: int, offset: int, *, is_conflict: bool = False) -> QuarantinedRecord:
    """Return a quarantined record."""
    return QuarantinedRecord(partition, offset, 1_000 + offset, b"key", b"{", "not JSON", is_conflict)
