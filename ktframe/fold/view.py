"""The columnar view of one store: a base of decoded rows, and the changes appended since.

The binding's thread appends; any thread reads. A reader takes immutable references under a short lock and works
outside it, so that readers never stop the writer. Reading merges what was appended into the base: the next read
starts there.

Every row carries a 64-bit hash of its identity. Folding the changes in means: drop the base rows whose hash is among
those of the changes (the few hits are compared exactly), then add the surviving changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import is_
from threading import Lock
from time import perf_counter

import polars as pl

from ktframe.columns import HASH, OFFSET, PARTITION, RECORD_KEY, REMOVED, TIMESTAMP
from ktframe.fold.hashes import of_hashes
from ktframe.fold.merged import Merged
from ktframe.fold.rows import Rows, Spill, in_memory
from ktframe.fold.stack import stack
from ktframe.fold.stale import (
    NO_MARKS,
    NO_STALE,
    LastStale,
    newer_marks,
    newest_marks,
    with_marks,
    without_outdated,
)
from ktframe.fold.waiting import Waiting
from ktframe.formats.resolution import rounding

_IDLE_FACTOR = 9


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All rows at one moment: ``rows`` with bookkeeping, and the positions that they stand for."""

    rows: pl.DataFrame
    positions: Mapping[int, int]


class View:
    """The rows of one store, decoded.

    ``identity`` names the columns that make a row's identity, ``user_key`` those by which users tell rows apart: the hash
    is over these. If it ``keeps_markers`` a tombstone leaves a marker, which is kept apart from the rows. ``spill`` puts rows
    into files, of tables that are large.
    """

    def __init__(
        self,
        identity: Sequence[str],
        schema: pl.Schema,
        *,
        user_key: Sequence[str] | None = None,
        keeps_markers: bool = False,
        spill: Spill = in_memory,
    ) -> None:
        self._spill = spill
        self._row = list(dict.fromkeys([PARTITION, *identity]))
        self._user_key = list(user_key or identity)
        self._keeps_markers = keeps_markers
        self._lock = Lock()
        """Held for assignments only."""
        self._merging = Lock()
        """Held while the rows of the base are being replaced."""
        self._schema = schema
        self._base = Merged.empty(schema)
        self._waiting = Waiting()
        self._marks: tuple[pl.DataFrame, ...] = ()
        """The marks of refused records, in the order in which they came; see ``stale.py``."""
        self._last_stale = LastStale(self._user_key)
        self._last_rows: tuple[Merged | None, pl.DataFrame] = (None, pl.DataFrame())
        """The base of the last snapshot, and its rows."""
        self._positions: dict[int, int] = {}
        self._next_merge = 0.0

    def load(
        self,
        chunks: Iterable[pl.DataFrame],
        positions: Mapping[int, int],
        schema: pl.Schema | None = None,
        *,
        marks: pl.DataFrame = NO_MARKS,
    ) -> None:
        """Take the rows of a store that was just opened, its positions, and the marks of refused records.

        ``schema`` are the columns from now on.
        """
        self._begin(Merged.of(chunks, schema or self._schema, positions, self._spill), marks)

    def _begin(self, base: Merged, marks: pl.DataFrame) -> None:
        if marks.height:
            for lines in (base.rows.select([HASH, PARTITION, OFFSET]), base.markers):
                marks = without_outdated(marks, lines)
        with self._merging, self._lock:
            self._base, self._schema = base, base.rows.schema
            self._waiting = Waiting()
            self._positions = dict(base.positions)
            self._marks = (marks,) if marks.height else ()

    def frames(self) -> dict[str, pl.DataFrame]:
        """Return all that is in the view but its positions, as frames by name."""
        return {**self._merge().frames(), "marks": self.marks()}

    def restore(self, frames: Mapping[str, pl.DataFrame], schema: pl.Schema) -> bool:
        """Take what ``frames`` returned, without copying it; empty frames may lack. Returns whether it has this schema."""
        base = Merged.of_frames({name: frame for name, frame in frames.items() if name != "marks"}, schema)
        if base is None:
            return False
        self._begin(base, frames.get("marks", NO_MARKS))
        return True

    def apply(
        self,
        changes: pl.DataFrame,
        schema: pl.Schema,
        positions: Mapping[int, int],
        marks: pl.DataFrame = NO_MARKS,
    ) -> None:
        """Append a folded batch and the marks of refused records, and advance the positions.

        ``schema`` are the columns known after it.
        """
        with self._lock:
            if self._marks and changes.height:
                self._marks = tuple(without_outdated(some, changes) for some in self._marks)
            self._marks = with_marks(self._marks, marks, self._row)
            self._waiting = self._waiting.plus(changes)
            self._schema = schema
            self._positions |= positions
            is_due = self._waiting.is_due(self._base.rows.height)
        # Without waiting: a reader that holds the lock merges anyway.
        if is_due and self._merging.acquire(blocking=False):
            try:
                self._merge_held()
            finally:
                self._merging.release()

    def merge_when_idle(self) -> None:
        """Merge appended rows in the background, spending at most a tenth of this thread's time."""
        now = perf_counter()
        if not self._waiting.rows or now < self._next_merge or not self._merging.acquire(blocking=False):
            return
        try:
            merged = self._merge_held()
        finally:
            self._merging.release()
        # In one piece, which is grouped fastest, and keeps nothing alive that was replaced. No read waits for that: where one
        # has merged more meanwhile, its rows count.
        in_one_piece = replace(merged, rows=merged.rows.rechunk())
        with self._lock:
            if self._base is merged:
                self._base = in_one_piece
        done = perf_counter()
        self._next_merge = done + (done - now) * _IDLE_FACTOR

    def clear(self, partitions: Iterable[int] | None, schema: pl.Schema) -> None:
        """Forget the rows and positions of ``partitions`` (None: of all); ``schema`` are the columns that remain."""
        with self._merging:
            if partitions is None:
                with self._lock:
                    self._base, self._schema = Merged.empty(schema), schema
                    self._waiting = Waiting()
                    self._marks = ()
                    self._positions = {}
                return
            gone = list(partitions)
            self._keep_held(~pl.col(PARTITION).is_in(gone))
            with self._lock:
                self._schema = schema
                self._positions = {p: offset for p, offset in self._positions.items() if p not in gone}

    def below(self, column: str, horizons: Mapping[int, int]) -> dict[int, tuple[int, int | None]]:
        """Return how many rows of each partition have a ``column`` below its horizon, and their greatest timestamp."""
        gone = self._merge().rows.select([PARTITION, TIMESTAMP], ~_is_above(column, horizons))
        counts = gone.group_by(PARTITION).agg(pl.len(), pl.col(TIMESTAMP).max())
        return {partition: (count, newest) for partition, count, newest in counts.iter_rows()}

    def drop(self, column: str, horizons: Mapping[int, int]) -> None:
        """Forget the rows of each partition whose ``column`` is below its horizon."""
        with self._merging:
            self._keep_held(_is_above(column, horizons))

    def _keep_held(self, condition: pl.Expr) -> None:
        """Keep the rows and markers that ``condition`` holds for."""
        kept = self._merge_held().where(condition)
        with self._lock:
            self._base = kept
            self._marks = tuple(some.filter(condition) for some in self._marks)

    def unplace(self, partitions: Iterable[int]) -> None:
        """Forget the positions of partitions, whose rows stay: nobody who waits for later ones finds that they are there."""
        with self._lock:
            self._positions = {p: offset for p, offset in self._positions.items() if p not in set(partitions)}

    def adopt(self, other: View) -> None:
        """Put the rows and marks of another view in the place of those of its partitions, in one step; not its positions."""
        added, marks = other._merge(), other.marks()
        with self._merging:
            is_kept = ~pl.col(PARTITION).is_in(list(added.positions))
            base = self._merge_held().where(is_kept).plus(added)
            with self._lock:
                kept = (some.filter(is_kept) for some in self._marks)
                self._base, self._schema = base, base.rows.schema
                self._marks = with_marks(tuple(some for some in kept if some.height), marks, self._row)

    def idle_markers(self, before: Mapping[int, int]) -> pl.DataFrame:
        """Return the markers of tombstones before these offsets, by partition, of whose key there is no row."""
        if not self._keeps_markers:
            return self._base.markers.clear()
        merged = self._merge()
        old = merged.markers.filter(~_is_above(OFFSET, before))
        return old.filter(~old[HASH].is_in(merged.rows.hashes().implode())) if old.height else old

    def forget_markers(self, markers: pl.DataFrame) -> None:
        """Forget markers that ``idle_markers`` returned."""
        with self._merging:
            merged = self._merge_held()
            kept = merged.markers.join(markers, on=[*self._row, OFFSET], how="anti", nulls_equal=True)
            with self._lock:
                self._base = replace(merged, markers=kept)

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition: all before it is in the view."""
        with self._lock:
            return dict(self._positions)

    @property
    def schema(self) -> pl.Schema:
        """Columns of the view as known now."""
        return self._schema

    @property
    def lies_in_files(self) -> bool:
        """Whether most rows lie in files."""
        return bool(self._base.rows.parts)

    @property
    def contested(self) -> int:
        """How many identities had rows in more than one partition when the view was last read."""
        return len(self._base.contested)

    def marks(self) -> pl.DataFrame:
        """Return the marks of refused records, the last one of each row."""
        with self._lock:
            frames = self._marks
        if len(frames) < 2:  # noqa: PLR2004 - one frame has the last ones only
            return frames[0] if frames else NO_MARKS
        newest = newest_marks(frames, self._row)
        with self._lock:
            if len(self._marks) >= len(frames) and all(map(is_, self._marks, frames)):
                self._marks = (newest, *self._marks[len(frames) :])
        return newest

    def stale(self, rows: pl.DataFrame, marks: pl.DataFrame) -> pl.DataFrame:
        """Return which of ``rows`` are stale: their numbers, and the place of the record that was refused.

        ``marks`` are those from before the rows were read; see ``stale.newer_marks``.
        """
        if not marks.height:
            return NO_STALE
        if 2 * rows.height < self._base.rows.height:
            return newer_marks(rows, marks, self._user_key)  # those of some keys: not asked about again
        return self._last_stale.of(rows, marks)

    def rows(self) -> Rows:
        """Return the rows as of now, one per identity, as they lie in files and in memory."""
        return self._merge().one_per_key(self._user_key)

    def snapshot(self) -> Snapshot:
        """Return the rows as of now, one per identity, in one frame."""
        merged = self._whole()
        last, rows = self._last_rows
        if last is None or not merged.has_same_rows(last):
            rows = merged.one_per_key(self._user_key).cheap_to_copy(self._spill).frame()
            self._last_rows = (merged, rows)
        return Snapshot(rows, merged.positions)

    def rows_of(self, hashes: pl.Series) -> pl.DataFrame:
        """Return the rows as of now, one per identity, whose hash is among ``hashes``: another identity may have it, too.

        While few changes wait they are not merged into the base. Not for identities of whose rows tombstones are told apart by
        ``RECORD_KEY``.
        """
        with self._lock:
            merged, waiting, schema = self._base, self._waiting, self._schema
        if not waiting.is_short:
            merged, waiting = self._merge(), Waiting()
        found = merged.of_hashes(hashes).with_schema(schema, in_memory)
        later = [some for batch in waiting.batches if (some := of_hashes(batch, hashes)).height]
        if later:
            delta = self._stacked(schema, later)
            found = found.folded(delta, self._row, keeps_markers=self._keeps_markers)
        return found.one_per_key(self._user_key).frame()

    def part(self, columns: Sequence[str] | None = None, where: pl.Expr | None = None) -> pl.DataFrame:
        """Return ``columns`` (None: all) of the rows as of now that ``where`` holds for; it names identity columns only.

        While few changes wait they are not merged into the base, and only the wanted columns are read. Otherwise, and
        where rows are contested, this takes the rows of ``snapshot``.
        """
        with self._lock:
            base, waiting, is_current = self._base, self._waiting, self._base.rows.schema == self._schema
        deletes_by_key = base.markers.height > 0 and RECORD_KEY in base.rows.schema
        is_plain = (
            waiting.is_small(base.rows.height)
            and is_current
            and not deletes_by_key
            and not len(base.contested)
        )
        if is_plain:
            delta = self._stacked(base.rows.schema, waiting.batches) if waiting.rows else None
            part = base.part(delta, self._row, columns, where)
            if part is not None:
                return part
        rows = self.snapshot().rows
        rows = rows if where is None else rows.filter(where)
        return rows if columns is None else rows.select(columns)

    def lines(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows of all partitions, contested and outdated ones too, and the tombstones' markers.

        Larger windows are made of these: a row that is not shown in its own window can be the newest of a larger one.
        """
        merged = self._whole()
        return merged.rows.frame(), merged.markers

    def partitions(self) -> pl.DataFrame:
        """Return the partition of each row, as ``lines`` has them."""
        return self._merge().rows.select([PARTITION])

    def inexact(self, wider: pl.Schema, *, but: Sequence[int] = ()) -> frozenset[str]:
        """Return the fields whose integers would lose digits as floats, were ``wider`` to become the schema.

        Rows of the partitions ``but`` don't count.
        """
        changed = [name for name, dtype in wider.items() if self._schema.get(name, dtype) != dtype]
        if not changed:
            return frozenset()
        base = self._merge().rows.select([PARTITION, *(name for name in changed if name != PARTITION)])
        if but:
            base = base.filter(~pl.col(PARTITION).is_in(but))
        rounded = {name: rounding(pl.col(name), base.schema[name], wider[name]) for name in changed}
        is_rounded = base.select(expr.any().alias(name) for name, expr in rounded.items() if expr is not None)
        return frozenset(column.name for column in is_rounded if column.any())

    def _merge(self) -> Merged:
        with self._merging:
            return self._merge_held()

    def _whole(self) -> Merged:
        """Return what the view is now; where many rows in files are gone, the others are written anew."""
        with self._merging:
            merged = self._merge_held()
            rows = merged.rows.cheap_to_copy(self._spill)
            if rows is not merged.rows:
                merged = replace(merged, rows=rows)
                with self._lock:
                    self._base = merged
            return merged

    def _merge_held(self) -> Merged:
        """Fold the deltas into the base; return what the view is then."""
        with self._lock:
            base, waiting, schema, positions = self._base, self._waiting, self._schema, dict(self._positions)
        merged = replace(base.with_schema(schema, self._spill), positions=positions)
        if waiting.rows:
            delta = self._stacked(schema, waiting.batches)
            merged = merged.folded(delta, self._row, keeps_markers=self._keeps_markers)
            merged = replace(merged, rows=merged.rows.spilled(self._spill).compacted(self._spill))
        with self._lock:
            if merged.rows is not base.rows:
                self._last_rows = (None, pl.DataFrame())  # it keeps what was replaced alive
            self._base = merged
            self._waiting = self._waiting.since(waiting)
        return merged

    def _stacked(self, schema: pl.Schema, batches: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Return ``batches`` as one, with the columns ``schema`` and the last line of each identity."""
        delta = stack([pl.DataFrame(schema={**schema, REMOVED: pl.Boolean()}), *batches])
        # Hashes first: to compare what makes the rows takes Polars ten times as long.
        if len(batches) == 1 or not delta[HASH].is_duplicated().any():
            return delta
        return delta.unique(self._row, keep="last", maintain_order=True)


def _is_above(column: str, horizons: Mapping[int, int]) -> pl.Expr:
    horizon = pl.col(PARTITION).replace_strict(dict(horizons), default=None, return_dtype=pl.Int64)
    return (pl.col(column) >= horizon).fill_null(value=True)
