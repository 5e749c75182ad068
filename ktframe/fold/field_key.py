"""Fields of the value as the identity: a table with ``key=``, whose tombstones still come by record key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ktframe.columns import BOOKKEEPING, HASH, LINE, OFFSET, PARTITION, REMOVED, TOMBSTONE
from ktframe.fold.identity import Assigned, KeyUse, RowLookup, Tombstone, hash_identities, stream_times
from ktframe.fold.identity_codec import column_of, decode_parts, encode_columns
from ktframe.fold.records import BatchContext, Changes, KeyTombstone
from ktframe.fold.row_codec import record_key_of
from ktframe.windows.retention import Retention


@dataclass(frozen=True, slots=True)
class FieldKey:
    """Fields of the value are the identity; the record key is kept beside the row.

    A tombstone removes the rows of its partition whose newest record carried its record key. A value never removes
    another identity's row.
    """

    fields: tuple[str, ...]
    kind: str = "table"
    extra_columns: tuple[str, ...] = ()
    key_use: KeyUse = KeyUse.DELETES_BY
    tombstone: Tombstone = Tombstone.REMOVES
    keeps_history: bool = False
    retention: Retention | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The key fields, in the order they were named."""
        return self.fields

    @property
    def user_key_columns(self) -> tuple[str, ...]:
        """The key fields."""
        return self.fields

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:  # noqa: ARG002 - the protocol's signature
        """Refuse the records that have none of the fields; add the fields that no record has shown yet."""
        absent = [pl.lit(None).alias(name) for name in self.fields if name not in rows.columns]
        rows = rows.with_columns(absent)
        is_missing = pl.all_horizontal(pl.col(self.fields).is_null()) & ~pl.col(TOMBSTONE)
        reason = self.null_key_reason()
        refused = [(line, reason) for line in rows.filter(is_missing)[LINE]]
        assigned = rows.filter(~is_missing) if refused else rows
        return Assigned(assigned, refused, stream_times=stream_times(assigned))

    def encode(self, rows: pl.DataFrame) -> pl.Series:
        """Return the canonical bytes of the key fields of each row."""
        return encode_columns(rows.select(self.fields))

    def hash(self, rows: pl.DataFrame, identities: Sequence[bytes] | pl.Series) -> pl.Series:  # noqa: ARG002
        """Return the hash of the key fields."""
        return hash_identities(identities)

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:  # noqa: ARG002
        """Return no column: the value holds them all."""
        return pl.DataFrame(height=len(identities))

    def lower_bound(self, partition: int, horizon: int) -> bytes:
        """Never asked: a key stays until a tombstone."""
        raise NotImplementedError

    def null_key_reason(self) -> str:
        """Name the key fields."""
        names = ", ".join(map(repr, self.fields))
        return f"no key: {names} {'is' if len(self.fields) == 1 else 'are all'} missing or null"

    def resolve(self, changes: Changes, rows: RowLookup) -> Changes:
        """Turn each record-key tombstone into removals.

        ``changes`` is folded, so a line of the batch is the newest state of its identity: one with a greater offset
        than the tombstone outlives it, one with a smaller offset is what the tombstone finds.
        """
        if not changes.tombstones:
            return changes
        assert changes.record_keys is not None  # noqa: S101 - an invariant of TopicDecoder.decode
        batch = _BatchIndex(changes)
        doomed: dict[tuple[int, bytes], KeyTombstone] = {}
        for tombstone in changes.tombstones:
            found = batch.lines_of(tombstone.partition, tombstone.key, before=tombstone.offset)
            for identity in (*found, *self._stored(tombstone, rows, batch)):
                doomed[tombstone.partition, identity] = tombstone
        return _with_removals(changes, doomed, self.fields) if doomed else replace(changes, tombstones=())

    @staticmethod
    def _stored(tombstone: KeyTombstone, rows: RowLookup, batch: _BatchIndex) -> Iterator[bytes]:
        partition, key = tombstone.partition, tombstone.key
        candidates = [i for i in rows.identities_of(partition, key) if (partition, i) not in batch]
        for identity, found in zip(candidates, rows.get_many(candidates), strict=True):
            if any(at == partition and record_key_of(row) == key for at, row in found):
                yield identity


class _BatchIndex:
    """The lines of one batch by (partition, identity) and by (partition, record key)."""

    def __init__(self, changes: Changes) -> None:
        self._lines: set[tuple[int, bytes]] = set()
        self._by_key: dict[tuple[int, bytes | None], list[tuple[int, bytes]]] = {}
        offsets = changes.frame[OFFSET].to_list()
        lines = zip(changes.partitions, changes.identities, changes.record_keys or (), offsets, strict=True)
        for partition, identity, key, offset in lines:
            self._lines.add((partition, identity))
            self._by_key.setdefault((partition, key), []).append((offset, identity))

    def __contains__(self, line: tuple[int, bytes]) -> bool:
        return line in self._lines

    def lines_of(self, partition: int, key: bytes, *, before: int) -> list[bytes]:
        return [identity for offset, identity in self._by_key.get((partition, key), ()) if offset < before]


def _with_removals(
    changes: Changes, doomed: dict[tuple[int, bytes], KeyTombstone], columns: tuple[str, ...]
) -> Changes:
    """Return ``changes`` with the lines of ``doomed`` turned into, or joined by, removals."""
    lines = list(zip(changes.partitions, changes.identities, strict=True))
    kept = [index for index, line in enumerate(lines) if line not in doomed]
    partitions = [partition for partition, _ in doomed]
    identities = [identity for _, identity in doomed]
    parts = [decode_parts(identity) for identity in identities]
    removals = pl.DataFrame(
        {
            PARTITION: pl.Series(partitions, dtype=BOOKKEEPING[PARTITION]),
            OFFSET: pl.Series([tombstone.offset for tombstone in doomed.values()], dtype=BOOKKEEPING[OFFSET]),
            HASH: hash_identities(identities),
            REMOVED: pl.Series([True] * len(doomed), dtype=pl.Boolean),
            **{
                name: column_of([part[at] for part in parts], changes.frame.schema[name])
                for at, name in enumerate(columns)
            },
        },
    )
    keys = changes.record_keys or ()
    return replace(
        changes,
        partitions=[*(changes.partitions[index] for index in kept), *partitions],
        identities=[*(changes.identities[index] for index in kept), *identities],
        values=[*(changes.values[index] for index in kept), *([None] * len(doomed))],
        record_keys=[*(keys[index] for index in kept), *(tombstone.key for tombstone in doomed.values())],
        frame=pl.concat([changes.frame[kept], removals], how="diagonal_relaxed"),
        tombstones=(),
    )
