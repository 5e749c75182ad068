"""Changes as a store takes them, made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from ktframe.columns import DELETED_BY, IDENTITY, PARTITION, STORED
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
    """Return changes with nothing for the view: stores don't look at it."""
    names, lines = (PARTITION, IDENTITY, STORED), list(lines)
    dtypes = (pl.Int32(), pl.Binary(), pl.Binary())
    columns = list(zip(*lines, strict=True)) or [(), (), ()]
    frame = pl.DataFrame(
        [pl.Series(*column) for column in zip(names, columns, dtypes, strict=True)],
    )
    if record_keys is not None:
        frame = frame.hstack([pl.Series(DELETED_BY, list(record_keys), dtype=pl.Binary)])
    return Changes(
        frame,
        refused=tuple(refused),
        stream_times=stream_times or {},
        schema=schema or pl.Schema(),
    )


def refused_record(partition: int, offset: int, *, is_conflict: bool = False) -> RefusedRecord:
    """Return a refused record."""
    return RefusedRecord(partition, offset, 1_000 + offset, b"key", b"{", "not JSON", is_conflict)
