"""The decoded rows of all partitions at one moment, with nothing waiting to be merged: what the view is based on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import is_

import polars as pl

from ktframe.columns import HASH, RECORD_KEY, REMOVED
from ktframe.fold.compact import latest_rows
from ktframe.fold.hashes import contested_hashes, is_among, of_hashes
from ktframe.fold.rows import Rows, Spill
from ktframe.fold.stack import stack


def _none_contested() -> pl.Series:
    return pl.Series(HASH, [], dtype=pl.UInt64)


@dataclass(frozen=True, slots=True)
class Merged:
    """``rows``, the ``markers`` of tombstones, and the ``positions`` that they stand for; at most one line per identity."""

    rows: Rows
    markers: pl.DataFrame
    positions: Mapping[int, int]
    contested: pl.Series = field(default_factory=_none_contested)
    """Hashes of identities that have rows in more than one partition, or rows and markers."""

    @classmethod
    def empty(cls, schema: pl.Schema) -> Merged:
        """Return no rows, with the columns ``schema``."""
        return cls(Rows(pl.DataFrame(schema=schema)), pl.DataFrame(schema=schema), {})

    @classmethod
    def of(
        cls, chunks: Iterable[pl.DataFrame], schema: pl.Schema, positions: Mapping[int, int], spill: Spill
    ) -> Merged:
        """Return the rows in ``chunks``, and the markers, of which ``REMOVED`` says so; at most one line per identity."""
        empty = pl.DataFrame(schema=schema)
        rows, markers = Rows(empty), [empty]
        for chunk in chunks:
            living, removed = _parted(chunk) if REMOVED in chunk.columns else (chunk, empty)
            rows = rows.plus(stack([empty, living])).spilled(spill)
            if removed.height:
                markers.append(removed)
        all_markers = stack(markers).rechunk()
        rows = rows.rechunk()
        return cls(rows, all_markers, positions, contested_hashes(rows.hashes(), all_markers[HASH]))

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return all but the positions as frames by name."""
        return {**self.rows.frames(), "markers": self.markers, "contested": self.contested.to_frame()}

    @classmethod
    def of_frames(cls, frames: Mapping[str, pl.DataFrame], schema: pl.Schema) -> Merged | None:
        """Return what ``frames`` returned, of which empty ones may lack; None where there are others, or other columns."""
        left = dict(frames)
        markers = left.pop("markers", pl.DataFrame(schema=schema))
        contested = left.pop("contested", _none_contested().to_frame())[HASH]
        rows = Rows.of_frames(left, schema)
        return None if rows is None or markers.schema != schema else cls(rows, markers, {}, contested)

    def has_same_rows(self, other: Merged) -> bool:
        """Say whether the other one has the very same lines; only positions may differ."""
        mine, others = ((each.rows, each.markers, each.contested) for each in (self, other))
        return all(map(is_, mine, others))

    def with_schema(self, schema: pl.Schema, spill: Spill) -> Merged:
        """Return this with the columns ``schema``, which are those of before or wider ones."""
        if self.rows.schema == schema:
            return self
        markers = stack([pl.DataFrame(schema=schema), self.markers])
        return replace(self, rows=self.rows.with_schema(schema, spill), markers=markers)

    def where(self, condition: pl.Expr) -> Merged:
        """Return the lines that ``condition`` holds for."""
        rows, markers, contested = self.rows.where(condition), self.markers.filter(condition), self.contested
        if len(contested):
            hashes = (each.filter(each.is_in(contested.implode())) for each in (rows.hashes(), markers[HASH]))
            contested = contested_hashes(*hashes)
        return Merged(rows, markers, self.positions, contested)

    def of_hashes(self, wanted: pl.Series) -> Merged:
        """Return the lines with one of these hashes: with those of their identities nothing else has to do."""
        found, markers, contested = self.rows.of_hashes(wanted), self.markers, self.contested
        if markers.height:
            markers = of_hashes(markers, wanted)
        if len(contested):
            contested = contested.filter(is_among(contested, wanted))
        return Merged(Rows(found), markers, self.positions, contested)

    def plus(self, other: Merged) -> Merged:
        """Return this with the lines of other partitions."""
        rows = self.rows.plus(other.rows.memory).with_parts(other.rows.parts)
        markers = stack([self.markers, other.markers])
        positions = {**self.positions, **other.positions}
        return Merged(rows, markers, positions, contested_hashes(rows.hashes(), markers[HASH]))

    def folded(self, delta: pl.DataFrame, row: Sequence[str], *, keeps_markers: bool) -> Merged:
        """Return this with later lines folded in: at most one for each identity ``row``, with ``REMOVED``."""
        unhit, hits = self.rows.split(HASH, delta[HASH])
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
        return replace(self, rows=unhit.plus(outlived, living), markers=markers, contested=contested)

    def part(
        self,
        delta: pl.DataFrame | None,
        row: Sequence[str],
        columns: Sequence[str] | None,
        where: pl.Expr | None,
    ) -> pl.DataFrame | None:
        """Return ``columns`` (None: all) of the rows that ``where`` holds for with ``delta`` folded in, as ``folded`` does.

        None where rows turn out to be contested. There are no contested rows before, nor tombstones told apart by record key.
        """
        schema = self.rows.schema
        if delta is not None and where is not None:
            delta = delta.filter(where)
        if delta is None or not delta.height:
            return self.rows.select(columns, where)
        if RECORD_KEY in schema and delta[REMOVED].any():
            return None  # which rows a marker outdates follows from record keys, not from the hash
        names = schema.names() if columns is None else [*columns]
        judged = () if where is None else where.meta.root_names()
        rows = self.rows.of_columns([*dict.fromkeys((*names, *row, HASH, *judged))])
        unhit, hits = (rows if where is None else rows.where(where)).split(HASH, delta[HASH])
        outlived = hits.join(delta.select(row), on=row, how="anti", nulls_equal=True)
        living = delta.filter(~pl.col(REMOVED))
        if outlived.height or living[HASH].is_duplicated().any():
            return None
        deleted = pl.concat([self.markers[HASH], delta.filter(REMOVED)[HASH]])
        if len(deleted) and deleted.is_in(living[HASH].implode()).any():
            return None
        found = pl.concat([unhit.select(names), living.select(names)], rechunk=False)
        # In one piece, where that is cheap: grouping takes Polars longer on several.
        return found if rows.parts else found.rechunk()

    def one_per_key(self, user_key: Sequence[str]) -> Rows:
        """Return the rows with one line for each key that users know."""
        rows, markers, contested = self.rows, self.markers, self.contested
        deletes_by_key = markers.height > 0 and RECORD_KEY in rows.schema
        if not len(contested) and not deletes_by_key:
            return rows
        rows, hits = rows.split(HASH, contested)
        if deletes_by_key:
            rows, more = rows.split(RECORD_KEY, markers[RECORD_KEY].drop_nulls())
            hits = pl.concat([hits, more])
        else:
            markers = markers.filter(markers[HASH].is_in(contested.implode()))
        return rows.plus(latest_rows(hits, markers, user_key))


def _parted(lines: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the lines that are rows, and those of which ``REMOVED`` says that they are none."""
    is_removed, lines = lines[REMOVED], lines.drop(REMOVED)
    if not is_removed.any():
        return lines, lines.clear()
    return lines.filter(~is_removed), lines.filter(is_removed)
