"""The decoded rows of all partitions at one moment, with nothing waiting to be merged: what the view is based on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from ktframe.columns import HASH, RECORD_KEY, REMOVED
from ktframe.fold.chunks import in_few_chunks, parted
from ktframe.fold.compact import latest_rows
from ktframe.fold.hashes import contested_hashes, is_among, of_hashes
from ktframe.fold.stack import stack


def _none_contested() -> pl.Series:
    return pl.Series(HASH, [], dtype=pl.UInt64)


@dataclass(frozen=True, slots=True)
class Merged:
    """``rows``, the ``markers`` of tombstones, and the ``positions`` that they stand for; at most one line per identity."""

    rows: pl.DataFrame
    markers: pl.DataFrame
    positions: Mapping[int, int]
    contested: pl.Series = field(default_factory=_none_contested)
    """Hashes of identities that have rows in more than one partition, or rows and markers."""

    @classmethod
    def empty(cls, schema: pl.Schema) -> Merged:
        """Return no rows, with the columns ``schema``."""
        return cls(pl.DataFrame(schema=schema), pl.DataFrame(schema=schema), {})

    @classmethod
    def of(cls, lines: pl.DataFrame, positions: Mapping[int, int]) -> Merged:
        """Return the rows among ``lines``, and the markers, of which ``REMOVED`` says so."""
        rows, markers = _parted(lines) if REMOVED in lines.columns else (lines, lines.clear())
        return cls(rows, markers.select(rows.columns), positions, contested_hashes(rows[HASH], markers[HASH]))

    def with_schema(self, schema: pl.Schema) -> Merged:
        """Return this with the columns ``schema``, which are those of before or wider ones."""
        if self.rows.schema == schema:
            return self
        rows, markers = (stack([pl.DataFrame(schema=schema), part]) for part in (self.rows, self.markers))
        return replace(self, rows=rows, markers=markers)

    def where(self, condition: pl.Expr) -> Merged:
        """Return the lines that ``condition`` holds for."""
        rows, markers, contested = (
            self.rows.filter(condition),
            self.markers.filter(condition),
            self.contested,
        )
        if len(contested):
            hashes = (lines[HASH].filter(lines[HASH].is_in(contested.implode())) for lines in (rows, markers))
            contested = contested_hashes(*hashes)
        return Merged(rows, markers, self.positions, contested)

    def of_hashes(self, wanted: pl.Series) -> Merged:
        """Return the lines with one of these hashes: with those of their identities nothing else has to do."""
        rows, markers, contested = of_hashes(self.rows, wanted), self.markers, self.contested
        if markers.height:
            markers = of_hashes(markers, wanted)
        if len(contested):
            contested = contested.filter(is_among(contested, wanted))
        return Merged(rows, markers, self.positions, contested)

    def plus(self, other: Merged) -> Merged:
        """Return this with the lines of other partitions."""
        rows, markers = stack([self.rows, other.rows]), stack([self.markers, other.markers])
        positions = {**self.positions, **other.positions}
        return Merged(rows.rechunk(), markers, positions, contested_hashes(rows[HASH], markers[HASH]))

    def folded(self, delta: pl.DataFrame, row: Sequence[str], *, keeps_markers: bool) -> Merged:
        """Return this with later lines folded in: at most one for each identity ``row``, with ``REMOVED``."""
        unhit, hits = parted(self.rows, is_among(self.rows[HASH], delta[HASH]))
        outlived = hits.join(delta.select(row), on=row, how="anti", nulls_equal=True)
        living, removed = _parted(delta)
        markers = self.markers
        if keeps_markers and (markers.height or removed.height):
            outlasting = markers.join(delta.select(row), on=row, how="anti", nulls_equal=True)
            markers = pl.concat([outlasting, removed])
        # Of hashes that changed, these are all the rows.
        contested = contested_hashes(pl.concat([outlived[HASH], living[HASH]]), markers[HASH])
        if len(self.contested):
            unchanged = self.contested.filter(~self.contested.is_in(delta[HASH].implode()))
            contested = pl.concat([unchanged, contested])
        added = [part for part in (outlived, living) if part.height]
        rows = pl.concat([unhit, *added], rechunk=False)
        return replace(self, rows=in_few_chunks(rows), markers=markers, contested=contested)

    def one_per_key(self, user_key: Sequence[str]) -> pl.DataFrame:
        """Return the rows with one line for each key that users know."""
        rows, markers, contested = self.rows, self.markers, self.contested
        deletes_by_key = markers.height > 0 and RECORD_KEY in rows.columns
        if not len(contested) and not deletes_by_key:
            return rows
        is_hit = rows[HASH].is_in(contested.implode())
        if deletes_by_key:
            is_hit |= rows[RECORD_KEY].is_in(markers[RECORD_KEY].implode()).fill_null(value=False)
        else:
            markers = markers.filter(markers[HASH].is_in(contested.implode()))
        return pl.concat([rows.filter(~is_hit), latest_rows(rows.filter(is_hit), markers, user_key)])


def _parted(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the lines that are rows, and those of which ``REMOVED`` says that they are none."""
    is_removed, lines = lines[REMOVED], lines.drop(REMOVED)
    if not is_removed.any():
        return lines, lines.clear()
    return lines.filter(~is_removed), lines.filter(is_removed)
