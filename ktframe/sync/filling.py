"""Fills views from a store: with the decoded rows that are kept beside it and those written since, else row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import polars as pl

from ktframe.columns import IDENTITY, REMOVED
from ktframe.config.version import VERSION
from ktframe.errors import StoreCorruptError
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import StaleMarks, StoredRows
from ktframe.fold.view import View
from ktframe.store.protocol import CHUNK_ROWS, DecodedRows, StateStore

_REVISION: Final = 2
"""To be raised when this version of ktframe makes other rows, or hashes, of the same stored bytes than before."""
_MADE_BY: Final = f"ktframe {VERSION}.{_REVISION}, Polars {pl.__version__}"


@dataclass(frozen=True, slots=True)
class Filling:
    """Where rows come from, and what decodes them: ``schema`` are the fields known so far."""

    name: str
    store: StateStore
    decoder: TopicDecoder
    schema: pl.Schema

    def fill(self, view: View) -> bool:
        """Fill a view with the rows that reads find; return whether every row can be deleted by a tombstone.

        Raises
        ------
        StoreCorruptError
            When a row can't be read.
        """
        kept = self.store.kept_view(_MADE_BY)
        sees_deletes = None if kept is None else self._restore(view, kept)
        return self._decode(view, {}, rebuilt=False) if sees_deletes is None else sees_deletes

    def fill_again(self, view: View, positions: Mapping[int, int]) -> bool:
        """Fill a view with the rows of partitions that are being rebuilt, up to ``positions``; else as ``fill``."""
        return self._decode(view, positions, rebuilt=True)

    def _decode(self, view: View, positions: Mapping[int, int], *, rebuilt: bool) -> bool:
        are_keyed = True

        def chunks() -> Iterator[pl.DataFrame]:
            nonlocal are_keyed
            for rows in self.store.items(rebuilt=rebuilt):
                are_keyed &= not self.decoder.is_keyless(rows)
                yield self.decoder.load(rows, self.schema)

        marks = self.decoder.load_marks(self.store.stale(rebuilt=rebuilt), self.schema)
        with self._readable():
            view.load(chunks(), positions, self._columns, marks=marks)
        return are_keyed

    def _restore(self, view: View, kept: DecodedRows) -> bool | None:
        """Fill a view with rows that were kept and those written since; return as ``fill`` does, None where that can't be."""
        if kept.changed is None:
            return kept.sees_deletes if view.restore(kept.frames, self._columns) else None
        sees_deletes, frames = kept.sees_deletes, dict(kept.frames)
        with self._readable():
            lines = list[pl.DataFrame]()
            for partition, identities in kept.changed.items():
                for start in range(0, len(identities), CHUNK_ROWS):
                    found, gone = self._stored(partition, identities[start : start + CHUNK_ROWS])
                    if gone and self.decoder.keeps_markers:
                        return None  # to remove a line here would leave a marker
                    sees_deletes &= not self.decoder.is_keyless(found)
                    lines += [self._rows(found), self._removals(partition, gone)]
        marks = self.decoder.load_marks(self.store.stale(), self.schema)
        if not view.restore(frames | {"marks": marks}, self._columns):
            return None
        for some in lines:
            view.apply(some, self._columns, {})
        return sees_deletes

    def _stored(self, partition: int, identities: Sequence[bytes]) -> tuple[StoredRows, list[bytes]]:
        """Return the rows of these identities, and the identities that have none."""
        pairs = list(zip(identities, self.store.get_of(partition, identities), strict=True))
        found = [(identity, row) for identity, row in pairs if row is not None]
        rows = StoredRows([partition] * len(found), [each for each, _ in found], [row for _, row in found])
        return rows, [identity for identity, row in pairs if row is None]

    def _rows(self, rows: StoredRows) -> pl.DataFrame:
        """Return stored rows as lines that a view applies."""
        lines = self.decoder.load(rows, self.schema)
        return lines if REMOVED in lines.columns else lines.with_columns(pl.lit(value=False).alias(REMOVED))

    def _removals(self, partition: int, identities: Sequence[bytes]) -> pl.DataFrame:
        """Return lines by which a view removes these rows."""
        count = len(identities)
        # Marks have the columns of an identity, which is all that a removal needs; offset and time mean nothing in it.
        places = StaleMarks([partition] * count, identities, [-1] * count, [None] * count)
        lines = self.decoder.load_marks(places, self.schema).drop(IDENTITY)
        return lines.with_columns(pl.lit(value=True).alias(REMOVED))

    @property
    def _columns(self) -> pl.Schema:
        return self.decoder.frame_schema(self.schema)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            raise StoreCorruptError(self.name, f"a stored row can't be decoded: {error}") from error

    def keep(self, view: View, *, sees_deletes: bool) -> None:
        """Keep the rows of a view that has what the store holds, as they are, for the next ``fill``."""
        self.store.keep_view(DecodedRows(view.frames(), _MADE_BY, sees_deletes=sees_deletes))
