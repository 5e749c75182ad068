"""Folded batches that wait to be merged into the rows of a view."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

_ABOVE_ROWS = 100_000
_AT_MOST_ROWS = 250_000
_AT_MOST_BYTES = 64 << 20
_ABOVE_BATCHES = 1_000
_FRACTION = 4
_FEW_BATCHES = 100
_FEW_SHARE = 16


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """The ``batches`` in the order in which they came, and how many ``rows`` and bytes they have."""

    batches: tuple[pl.DataFrame, ...] = ()
    rows: int = 0
    size: float = 0.0

    def plus(self, batch: pl.DataFrame) -> Waiting:
        """Return this with a later batch."""
        if not batch.height:
            return self
        return Waiting((*self.batches, batch), self.rows + batch.height, self.size + batch.estimated_size())

    def since(self, before: Waiting) -> Waiting:
        """Return what came after ``before``."""
        later = Waiting()
        for batch in self.batches[len(before.batches) :]:
            later = later.plus(batch)
        return later

    def is_due(self, height: int) -> bool:
        """Say whether there is so much that it is to be merged into ``height`` rows: of large ones a share of them, if it fits."""
        most = min(max(_ABOVE_ROWS, height // _FRACTION), _AT_MOST_ROWS)
        return self.rows > most or self.size > _AT_MOST_BYTES or len(self.batches) > _ABOVE_BATCHES

    @property
    def is_short(self) -> bool:
        """Whether these are few batches."""
        return len(self.batches) <= _FEW_BATCHES

    def is_small(self, height: int) -> bool:
        """Say whether these are few rows beside ``height`` others."""
        return self.is_short and self.rows * _FEW_SHARE <= height
