"""Tombstones that delete by record key, where fields of the value are the identity: which rows each one removes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import polars as pl

from ktframe.columns import BOOKKEEPING, DELETED_BY, HASH, IDENTITY, OFFSET, PARTITION, REMOVED, STORED
from ktframe.fold.identity import hash_identities
from ktframe.fold.identity_codec import columns_of
from ktframe.fold.records import Changes, KeyTombstone
from ktframe.fold.row_codec import record_key_of

_LINE = (PARTITION, IDENTITY, DELETED_BY, OFFSET)


class RowLookup(Protocol):
    """What is asked of a store."""

    def get_of(self, partition: int, identities: Sequence[bytes]) -> list[bytes | None]:
        """Return the stored row of each of ``identities`` in ``partition``."""

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows that ever carried ``record_key`` in ``partition``."""


def resolve_tombstones(changes: Changes, rows: RowLookup, columns: Sequence[str]) -> Changes:
    """Turn each tombstone that deletes by record key into removals of rows with the identity ``columns``.

    It removes the rows of its partition whose newest record carried its record key. ``changes`` is folded, so a line
    of the batch is the newest state of its identity: one with a greater offset than the tombstone outlives it, one
    with a smaller offset is removed by it.
    """
    if not changes.tombstones:
        return changes
    batch = _BatchIndex(changes)
    to_delete: dict[tuple[int, bytes], KeyTombstone] = {}
    for tombstone in changes.tombstones:
        in_batch = batch.identities_before(tombstone)
        for identity in (*in_batch, *_in_store(tombstone, rows, batch)):
            # The first one: after it there is no row that a later one could remove, and what came between is no older.
            to_delete.setdefault((tombstone.partition, identity), tombstone)
    return _with_removals(changes, to_delete, columns) if to_delete else replace(changes, tombstones=())


def _in_store(tombstone: KeyTombstone, rows: RowLookup, batch: _BatchIndex) -> Iterator[bytes]:
    partition, key = tombstone.partition, tombstone.key
    candidates = [i for i in rows.identities_of(partition, key) if (partition, i) not in batch]
    for identity, row in zip(candidates, rows.get_of(partition, candidates), strict=True):
        if row is not None and record_key_of(row) == key:
            yield identity


class _BatchIndex:
    """The lines of one batch by (partition, identity) and by (partition, record key)."""

    def __init__(self, changes: Changes) -> None:
        self._lines: set[tuple[int, bytes]] = set()
        self._by_key: dict[tuple[int, bytes | None], list[tuple[int, bytes]]] = {}
        for partition, identity, key, offset in changes.lines.select(_LINE).iter_rows():
            self._lines.add((partition, identity))
            self._by_key.setdefault((partition, key), []).append((offset, identity))

    def __contains__(self, line: tuple[int, bytes]) -> bool:
        return line in self._lines

    def identities_before(self, tombstone: KeyTombstone) -> list[bytes]:
        """Return the identities of the lines that carry the tombstone's record key and came before it."""
        lines = self._by_key.get((tombstone.partition, tombstone.key), ())
        return [identity for offset, identity in lines if offset < tombstone.offset]


def _with_removals(
    changes: Changes, to_delete: dict[tuple[int, bytes], KeyTombstone], columns: Sequence[str]
) -> Changes:
    """Return ``changes`` with the lines of ``to_delete`` turned into removals, and removals of the rows in the store."""
    lines = changes.lines
    pairs = lines.select(PARTITION, IDENTITY).iter_rows()
    is_kept = pl.Series([pair not in to_delete for pair in pairs], dtype=pl.Boolean)
    identities = [identity for _, identity in to_delete]
    removals = pl.DataFrame(
        {
            PARTITION: pl.Series([partition for partition, _ in to_delete], dtype=BOOKKEEPING[PARTITION]),
            OFFSET: pl.Series([tomb.offset for tomb in to_delete.values()], dtype=BOOKKEEPING[OFFSET]),
            HASH: hash_identities(identities),
            REMOVED: pl.Series([True] * len(to_delete), dtype=pl.Boolean),
            **columns_of(identities, {name: lines.schema[name] for name in columns}),
            IDENTITY: pl.Series(identities, dtype=pl.Binary),
            STORED: pl.Series([None] * len(to_delete), dtype=pl.Binary),
            DELETED_BY: pl.Series([tomb.key for tomb in to_delete.values()], dtype=pl.Binary),
        },
    )
    both = pl.concat([lines.filter(is_kept), removals], how="diagonal_relaxed")
    return replace(changes, lines=both, tombstones=())
