"""The decoded rows of a store at one moment: most of a large table in files that are mapped, the others in memory.

A row in a file stays where it is: one that was replaced or removed is marked as gone. Once half of a part is gone, the rest of
it is written to another one. Rows in memory are copied instead, chunk by chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from typing import Final, TypeAlias

import polars as pl

from ktframe.columns import HASH
from ktframe.fold.chunks import in_few_chunks, parted
from ktframe.fold.hashes import is_among, of_hashes
from ktframe.fold.part import Part
from ktframe.fold.stack import stack

SPILL_BYTES: Final = 64 << 20
"""How many bytes of rows lie in memory before they are put into a file, and about how many a file has."""

_COPIED: Final = 4
"""So many times as many are copied for a frame of all rows before parts are written anew."""
_FIRST: Final = 2
"""So many times as many may they be where no rows lie in files yet: there a change costs less."""

Spill: TypeAlias = Callable[[pl.DataFrame], pl.DataFrame | None]
"""Writes rows to a file and returns them as they lie there; None where that can't be: they stay in memory."""


def in_memory(_: pl.DataFrame) -> None:
    """Keep the rows in memory, for a view that has no files."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Rows in ``parts`` and those in memory, which are the later ones; all have the columns of these."""

    memory: pl.DataFrame
    parts: tuple[Part, ...] = ()

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return all that is in it as frames by name."""
        parts = {f"part-{number}": part.lines for number, part in enumerate(self.parts)}
        if not self.has_gone:
            return {"rows": self.memory, **parts}
        return {
            "rows": self.memory,
            **parts,
            "gone": pl.concat([part.all_gone() for part in self.parts]).to_frame(),
        }

    @classmethod
    def of_frames(cls, frames: Mapping[str, pl.DataFrame], schema: pl.Schema) -> Rows | None:
        """Return what ``frames`` returned, None where it has other columns; empty frames may lack."""
        memory = frames.get("rows", pl.DataFrame(schema=schema))
        numbers = takewhile(lambda number: f"part-{number}" in frames, count())
        all_lines = [frames[f"part-{number}"] for number in numbers]
        if len(frames.keys() - {"rows", "gone"}) != len(all_lines):
            return None  # of another version
        if any(frame.schema != schema for frame in (memory, *all_lines)):
            return None
        parts = tuple(map(Part, all_lines))
        if "gone" in frames:
            gone = frames["gone"].to_series()
            parts = tuple(part.without(hits)[0] for part, hits in _cut(parts, gone))
        return cls(memory, parts)

    @property
    def schema(self) -> pl.Schema:
        """The columns."""
        return self.memory.schema

    @property
    def height(self) -> int:
        """How many rows there are."""
        return self.memory.height + sum(part.height for part in self.parts)

    @property
    def has_gone(self) -> bool:
        """Whether files hold rows that are gone."""
        return any(part.gone is not None for part in self.parts)

    def frame(self) -> pl.DataFrame:
        """Return all rows as one frame; of those in files only some are copied, near rows that are gone."""
        if not self.parts:
            return self.memory
        return pl.concat([*self._living(), self.memory], rechunk=False)

    def _living(self) -> Iterator[pl.DataFrame]:
        return (part.living() for part in self.parts)

    def lazy(self) -> pl.LazyFrame:
        """Return all rows as a LazyFrame: none is copied."""
        if not self.parts:
            return self.memory.lazy()
        return pl.concat([*(part.lazy() for part in self.parts), self.memory.lazy()])

    def head(self, count: int) -> pl.DataFrame:
        """Return ``count`` rows."""
        found, missing = list[pl.DataFrame](), count
        for part in self.parts:
            if missing > 0:
                found.append(part.head(missing))
                missing -= found[-1].height
        return pl.concat([*found, self.memory.head(missing)], rechunk=False)

    def top_k(self, count: int, by: Sequence[str]) -> pl.DataFrame:
        """Return the ``count`` rows that have the greatest values in the columns ``by``."""
        found = [part.top_k(count, by) for part in self.parts]
        return pl.concat([*found, self.memory], rechunk=False).top_k(count, by=by)

    def each(self, change: Callable[[pl.DataFrame], pl.DataFrame]) -> Rows:
        """Return this with ``change`` made to all lines; it leaves as many, in the same order."""
        parts = tuple(replace(part, lines=change(part.lines)) for part in self.parts)
        return Rows(change(self.memory), parts)

    def of_columns(self, columns: Sequence[str]) -> Rows:
        """Return the rows with these columns only, without copying them."""
        names = [*columns]
        return self.each(lambda lines: lines.select(names))

    def select(self, columns: Sequence[str] | None, where: pl.Expr | None = None) -> pl.DataFrame:
        """Return ``columns`` (None: all) of the rows that ``where`` holds for; other columns are not touched."""
        names = self.schema.names() if columns is None else [*columns]
        if where is None:
            return self.of_columns(names).frame()
        needed = dict.fromkeys((*names, *where.meta.root_names()))
        return self.of_columns([*needed]).where(where).frame().select(names)

    def hashes(self) -> pl.Series:
        """Return the hash of each row."""
        return self.select([HASH]).to_series()

    def of_hashes(self, wanted: pl.Series) -> pl.DataFrame:
        """Return the rows whose hash is among ``wanted``."""
        found = of_hashes(self.memory, wanted)
        if not self.parts:
            return found
        return pl.concat([replace(self, memory=self.memory.clear()).split(HASH, wanted)[1], found])

    def split(self, column: str, wanted: pl.Series) -> tuple[Rows, pl.DataFrame]:
        """Return the rows whose ``column`` is not among ``wanted``, and those where it is."""
        memory, found = parted(self.memory, _are_among(self.memory[column], wanted))
        if not self.parts:
            return Rows(memory), found
        # All parts at once: what is wanted is hashed once.
        are_hits = _are_among(pl.concat([part.lines[column] for part in self.parts], rechunk=False), wanted)
        cut = [part.without(hits) for part, hits in _cut(self.parts, are_hits)]
        hits = [*(hits for _, hits in cut if hits.height), found]
        return Rows(memory, tuple(part for part, _ in cut)), pl.concat(hits, rechunk=False)

    def where(self, condition: pl.Expr) -> Rows:
        """Return the rows that ``condition`` holds for."""
        parts = (part.without(~_holds(part.lines, condition))[0] for part in self.parts)
        return Rows(self.memory.filter(condition), tuple(part for part in parts if part.height))

    def with_parts(self, parts: tuple[Part, ...]) -> Rows:
        """Return this with the rows of more files."""
        return replace(self, parts=(*self.parts, *parts))

    def plus(self, *frames: pl.DataFrame) -> Rows:
        """Return this with rows of the same columns added, in memory."""
        added = [frame for frame in frames if frame.height]
        if not added:
            return self
        return replace(self, memory=in_few_chunks(pl.concat([self.memory, *added], rechunk=False)))

    @property
    def has_too_many(self) -> bool:
        """Whether more rows are in memory than are to be there."""
        return self.memory.estimated_size() > SPILL_BYTES * (1 if self.parts else _FIRST)

    def rechunk(self) -> Rows:
        """Return this with the rows in memory in one piece."""
        return replace(self, memory=self.memory.rechunk())

    def spilled(self, spill: Spill) -> Rows:
        """Return this with the rows in memory put into files, if they are too many bytes."""
        if not self.has_too_many:
            return self
        step = max(1, self.memory.height * SPILL_BYTES // int(self.memory.estimated_size()))
        parts = list[Part]()
        for piece in self.memory.iter_slices(step):
            lines = spill(piece)
            if lines is None:
                return self
            parts.append(Part(lines))
        return Rows(self.memory.clear(), (*self.parts, *parts))

    def compacted(self, spill: Spill, share: float = 0.5) -> Rows:
        """Return the same rows, with no part of which more than this ``share`` is gone."""
        if not any(part.share_gone > share for part in self.parts):
            return self
        rows = replace(self, parts=tuple(part for part in self.parts if part.share_gone <= share))
        for part in self.parts:
            if part.share_gone > share:
                rows = rows.plus(part.living()).spilled(spill)
                if rows.has_too_many:
                    return self  # the disk refuses them, and they may be more than memory has room for
        return rows

    def cheap_to_copy(self, spill: Spill) -> Rows:
        """Return the same rows, with no part of which any is gone where ``frame`` would copy more than may lie in memory."""
        copied = sum(part.copied_bytes() for part in self.parts)
        return self if copied <= _COPIED * SPILL_BYTES else self.compacted(spill, 0)

    def with_schema(self, schema: pl.Schema, spill: Spill) -> Rows:
        """Return this with the columns ``schema``, which are those of before or wider ones: all parts are written anew."""
        empty = pl.DataFrame(schema=schema)
        rows = Rows(stack([empty, self.memory]))
        for part in self._living():
            rows = rows.plus(stack([empty, part])).spilled(spill)
        return rows


def _cut(parts: Sequence[Part], values: pl.Series) -> Iterator[tuple[Part, pl.Series]]:
    """Yield each part, and those of ``values``, which are of all parts, that are of its lines."""
    start = 0
    for part in parts:
        yield part, values.slice(start, part.lines.height)
        start += part.lines.height


def _are_among(values: pl.Series, wanted: pl.Series) -> pl.Series:
    return is_among(values, wanted).fill_null(value=False)


def _holds(lines: pl.DataFrame, condition: pl.Expr) -> pl.Series:
    found = lines.select(condition.fill_null(value=False)).to_series()
    return found if len(found) == lines.height else found.new_from_index(0, lines.height)  # a literal
