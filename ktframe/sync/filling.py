"""Fills views from a store: with the decoded rows that are kept beside it if these are what it holds, else row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import polars as pl

from ktframe.config.version import VERSION
from ktframe.errors import StoreCorruptError
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.view import View
from ktframe.store.protocol import DecodedRows, StateStore

_REVISION: Final = 1
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
        if kept is not None and view.restore(kept.frames, self.decoder.frame_schema(self.schema)):
            return kept.sees_deletes
        return self._decode(view, {}, rebuilt=False)

    def fill_again(self, view: View, positions: Mapping[int, int]) -> bool:
        """Fill a view with the rows of partitions that are being rebuilt, up to ``positions``; else as ``fill``."""
        return self._decode(view, positions, rebuilt=True)

    def _decode(self, view: View, positions: Mapping[int, int], *, rebuilt: bool) -> bool:
        sees_deletes, chunks = True, list[pl.DataFrame]()
        try:
            for rows in self.store.items(rebuilt=rebuilt):
                sees_deletes &= not self.decoder.is_keyless(rows)
                chunks.append(self.decoder.load(rows, self.schema))
        except ValueError as error:
            raise StoreCorruptError(self.name, f"a stored row can't be decoded: {error}") from error
        marks = self.decoder.load_marks(self.store.stale(rebuilt=rebuilt), self.schema)
        view.load(chunks, positions, self.decoder.frame_schema(self.schema), marks=marks)
        return sees_deletes

    def keep(self, view: View, *, sees_deletes: bool) -> None:
        """Keep the rows of a view that has what the store holds, as they are, for the next ``fill``."""
        self.store.keep_view(DecodedRows(view.frames(), _MADE_BY, sees_deletes=sees_deletes))
