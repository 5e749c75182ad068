"""The columnar view of one store: a base of decoded rows, and the changes that came after it.

The binding's thread appends; any thread reads. A reader takes an immutable reference under a short lock and works
outside it: readers never stop the writer, the writer never waits for readers. Reading merges what was appended into
the base, so the next read starts there.

Every row carries a 64-bit hash of its identity. Folding the changes in means: drop the base rows whose hash is among
those of the changes (the few hits are compared exactly), then add the surviving changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock

import polars as pl

from ktframe.records import HASH, OFFSET, PARTITION, REMOVED, TIMESTAMP

_MERGE_ABOVE_ROWS = 100_000
_MERGE_FRACTION = 4
_MAX_CHUNKS = 16
_EXACT_LIMIT = 1 << 53


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rows at one moment: ``rows`` with bookkeeping, and the positions that they stand for."""

    rows: pl.DataFrame
    positions: Mapping[int, int]


class View:
    """The rows of one store, decoded. ``identity`` names the columns that make a row's identity."""

    def __init__(self, identity: tuple[str, ...], schema: pl.Schema) -> None:
        self._identity = identity
        self._lock = Lock()
        self._merging = Lock()
        self._schema = schema
        self._base = pl.DataFrame(schema=schema)
        self._deltas: tuple[pl.DataFrame, ...] = ()
        self._positions: dict[int, int] = {}
        self._contested = pl.Series(HASH, [], dtype=pl.UInt64)
        """Hashes of identities that were seen in more than one partition."""

    def load(self, chunks: Iterable[pl.DataFrame], positions: Mapping[int, int]) -> None:
        """Take the rows of a store that was just opened, and its positions."""
        frames = list(chunks)
        base = _stack([pl.DataFrame(schema=self._schema), *frames]).rechunk() if frames else self._base
        twice = base[HASH].filter(base[HASH].is_duplicated()).unique() if base.height else self._contested
        with self._lock:
            self._base, self._schema = base, base.schema
            self._deltas = ()
            self._positions = dict(positions)
            self._contested = twice

    def apply(self, changes: pl.DataFrame, schema: pl.Schema, positions: Mapping[int, int]) -> None:
        """Append a folded batch and advance the positions; ``schema`` are the columns known after it."""
        with self._lock:
            if changes.height:
                self._deltas = (*self._deltas, changes)
            self._schema = schema
            self._positions |= positions
            waiting = sum(delta.height for delta in self._deltas)
            is_due = waiting > max(_MERGE_ABOVE_ROWS, self._base.height // _MERGE_FRACTION)
        if is_due:
            self._merge()

    def clear(self, partitions: Iterable[int] | None, schema: pl.Schema) -> None:
        """Forget the rows and positions of ``partitions`` (None: of all); ``schema`` are the columns that remain."""
        with self._merging:
            base, _ = self._merge_held()
            with self._lock:
                gone = list(self._positions if partitions is None else partitions)
                if partitions is None:
                    self._base, self._schema = pl.DataFrame(schema=schema), schema
                else:
                    self._base = base.filter(~pl.col(PARTITION).is_in(gone))
                for partition in gone:
                    self._positions.pop(partition, None)

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition: all before it is in the view."""
        with self._lock:
            return dict(self._positions)

    @property
    def schema(self) -> pl.Schema:
        """Columns of the view as known now."""
        return self._schema

    @property
    def contested(self) -> int:
        """How many identities were seen in more than one partition."""
        return len(self._contested)

    def snapshot(self) -> Snapshot:
        """Return the rows as of now, one per identity."""
        base, positions = self._merge()
        if len(self._contested):
            base = self._settle(base)
        return Snapshot(base, positions)

    def inexact(self, wider: pl.Schema) -> frozenset[str]:
        """Return the fields whose integers would lose digits as floats, were ``wider`` to become the schema."""
        turned = [name for name, dtype in wider.items() if name in self._schema and self._schema[name] != dtype]
        if not turned:
            return frozenset()
        base, _ = self._merge()
        return frozenset(name for name in turned if name in base.columns and _loses(base[name], wider[name]))

    def _merge(self) -> tuple[pl.DataFrame, dict[int, int]]:
        """Fold the deltas into the base; return the base and the positions it stands for."""
        with self._merging:
            return self._merge_held()

    def _merge_held(self) -> tuple[pl.DataFrame, dict[int, int]]:
        with self._lock:
            base, deltas, schema = self._base, self._deltas, self._schema
            positions, contested = dict(self._positions), self._contested
        if deltas or base.schema != schema:
            base, found = self._folded(base, deltas, schema)
            if len(found):
                contested = pl.concat([contested, found]).unique()
            with self._lock:
                self._base, self._contested = base, contested
                self._deltas = self._deltas[len(deltas) :]
        return base, positions

    def _folded(
        self, base: pl.DataFrame, deltas: tuple[pl.DataFrame, ...], schema: pl.Schema
    ) -> tuple[pl.DataFrame, pl.Series]:
        row = [PARTITION, *self._identity]
        base = base if base.schema == schema else _stack([pl.DataFrame(schema=schema), base])
        delta = _stack([pl.DataFrame(schema={**schema, REMOVED: pl.Boolean()}), *deltas])
        if len(deltas) > 1:
            delta = delta.unique(row, keep="last", maintain_order=True)
        hit = base[HASH].is_in(delta[HASH].implode())
        suspects = base.filter(hit)
        outlived = suspects.join(delta.select(row), on=row, how="anti", nulls_equal=True)
        living = delta.filter(~pl.col(REMOVED)).drop(REMOVED)
        merged = pl.concat([base.filter(~hit), outlived, living], rechunk=False)
        if merged.n_chunks() > _MAX_CHUNKS:
            merged = merged.rechunk()
        # An identity is contested when living rows of it are in two partitions: only hits and changes can be.
        both = pl.concat([outlived[HASH], living[HASH]])
        return merged, both.filter(both.is_duplicated()).unique()

    def _settle(self, base: pl.DataFrame) -> pl.DataFrame:
        """Keep, of rows with one identity in several partitions, the one with the greatest (timestamp, partition)."""
        hit = base[HASH].is_in(self._contested.implode())
        rivals = base.filter(hit).sort(TIMESTAMP, PARTITION, nulls_last=False)
        return pl.concat([base.filter(~hit), rivals.unique(self._identity, keep="last")])


def _stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Put frames under each other; columns and struct fields that one lacks are null there, integers widen."""
    return pl.concat(frames, how="diagonal_relaxed", rechunk=False)


def _loses(column: pl.Series, wider: pl.DataType) -> bool:
    """Say whether an integer in ``column`` has more digits than the float it becomes in ``wider`` can hold."""
    if column.dtype.is_integer():
        return wider.is_float() and bool((column.abs() > _EXACT_LIMIT).any())
    if isinstance(column.dtype, pl.List) and isinstance(wider, pl.List):
        return _loses(column.explode(), wider.inner)  # type: ignore[arg-type] - an instance, not a class
    if isinstance(column.dtype, pl.Struct) and isinstance(wider, pl.Struct):
        fields = {field.name: field.dtype for field in wider.fields}
        return any(_loses(part, fields[part.name]) for part in column.struct.unnest().iter_columns())  # type: ignore[arg-type]
    return False
