"""The rows of a store as they are written, beside the view of them that is read.

The two differ in partitions that are being rebuilt: reads find the rows from before, until those that are read again are
all there and take their place at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import polars as pl

from ktframe.columns import PARTITION
from ktframe.fold.stack import stack
from ktframe.fold.stale import NO_MARKS
from ktframe.fold.view import View

T = TypeVar("T")


class WrittenRows:
    """A view, and one of the rows that are read again. Only the binding's thread calls it."""

    def __init__(self, new_view: Callable[[], View]) -> None:
        self.shown = new_view()
        self.again = new_view()
        """Its positions are those of the partitions that are being rebuilt, and of no others."""

    def positions(self) -> dict[int, int]:
        """Return the next offset of each partition: all before it is written."""
        return self.shown.positions() | self.again.positions()

    def apply(
        self,
        changes: pl.DataFrame,
        schema: pl.Schema,
        positions: Mapping[int, int],
        marks: pl.DataFrame = NO_MARKS,
    ) -> None:
        """Append a folded batch and advance the positions, as ``View.apply`` does."""
        if not self.again.positions():
            self.shown.apply(changes, schema, positions, marks)
            return
        here, again = self._by_partition(positions)
        rows_here, rows_again = self._parts(changes)
        marks_here, marks_again = self._parts(marks)
        self.shown.apply(rows_here, schema, here, marks_here)
        self.again.apply(rows_again, schema, again, marks_again)

    def merge_when_idle(self) -> None:
        """Merge appended rows, as ``View.merge_when_idle`` does."""
        self.shown.merge_when_idle()
        self.again.merge_when_idle()

    def count_shown(self, changes: pl.DataFrame) -> int:
        """Return how many lines of a folded batch are shown once they are applied."""
        return self._parts(changes)[0].height

    def inexact(self, wider: pl.Schema) -> frozenset[str]:
        """Return the fields whose integers would lose digits as floats, were ``wider`` to become the schema."""
        again = list(self.again.positions())
        if not again:
            return self.shown.inexact(wider)
        return self.shown.inexact(wider, but=again) | self.again.inexact(wider)

    def has_outdated(self, wider: pl.Schema) -> bool:
        """Say whether rows from before a rebuild would lose digits, were ``wider`` to become the schema."""
        return bool(self.again.positions()) and bool(self.shown.inexact(wider))

    def lines(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the rows and the tombstones' markers, as ``View.lines`` does."""
        shown = self.shown.lines()
        if not self.again.positions():
            return shown
        rows, markers = (
            stack([self._parts(part)[0], more]) for part, more in zip(shown, self.again.lines(), strict=True)
        )
        return rows, markers

    def below(self, column: str, horizons: Mapping[int, int]) -> dict[int, tuple[int, int | None]]:
        """Return how many rows are below the horizons, as ``View.below`` does."""
        here, again = self._by_partition(horizons)
        return self.shown.below(column, here) | self.again.below(column, again)

    def drop(self, column: str, horizons: Mapping[int, int]) -> None:
        """Forget the rows below the horizons."""
        here, again = self._by_partition(horizons)
        self.shown.drop(column, here)
        self.again.drop(column, again)

    def idle_markers(self, before: Mapping[int, int]) -> pl.DataFrame:
        """Return the markers before these offsets of whose key there is no row; none of what is read again."""
        return self.shown.idle_markers(self._by_partition(before)[0])

    def clear(self, partitions: Iterable[int] | None, schema: pl.Schema) -> None:
        """Forget the rows and positions of ``partitions`` (None: of all), rebuilt or not."""
        gone = None if partitions is None else list(partitions)
        self.shown.clear(gone, schema)
        self.again.clear(gone, schema)

    def rebuild(self, positions: Mapping[int, int], schema: pl.Schema) -> None:
        """Begin to read partitions again, from these positions on."""
        self.shown.unplace(positions)
        self.again.clear(positions, schema)
        self.again.apply(pl.DataFrame(), schema, positions)

    def switch(self, schema: pl.Schema) -> dict[int, int]:
        """Show what was read again; return its positions, which are those of the rows that are shown once they are applied."""
        positions = self.again.positions()
        self.shown.adopt(self.again)
        self.again.clear(None, schema)
        return positions

    def exchanged(self) -> int:
        """Return how many rows a switch would remove, or add, whichever is more."""
        removed = self._parts(self.shown.partitions())[1].height
        return max(removed, self.again.partitions().height)

    def _by_partition(self, values: Mapping[int, T]) -> tuple[dict[int, T], dict[int, T]]:
        """Return the values of the partitions of each view."""
        again = self.again.positions()
        return (
            {p: value for p, value in values.items() if p not in again},
            {p: value for p, value in values.items() if p in again},
        )

    def _parts(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return which of ``rows`` are written to each view."""
        again = list(self.again.positions())
        if not again or not rows.height:
            return rows, rows.clear()
        is_again = rows[PARTITION].is_in(again)
        return rows.filter(~is_again), rows.filter(is_again)
