"""The rows of one file that is mapped, and which of them are gone: replaced or removed since the file was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from ktframe.columns import ROW, own_name
from ktframe.fold.chunks import parted

_COPIED_ROWS: Final = 1_024
"""So many rows are copied for one that is gone among them."""
_LIVES: Final = own_name("lives")
"""A column that says of each row whether it is not gone."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The rows of one file, and which of them are ``gone`` (Boolean; None: none are)."""

    lines: pl.DataFrame
    gone: pl.Series | None = None

    @property
    def height(self) -> int:
        """How many rows are not gone."""
        return self.lines.height - self._count_gone()

    @property
    def share_gone(self) -> float:
        """Which share of the rows is gone."""
        return self._count_gone() / self.lines.height

    def all_gone(self) -> pl.Series:
        """Return of each row whether it is gone."""
        if self.gone is not None:
            return self.gone
        return pl.repeat(value=False, n=self.lines.height, dtype=pl.Boolean, eager=True)

    def _count_gone(self) -> int:
        return 0 if self.gone is None else int(self.gone.sum())

    def living(self) -> pl.DataFrame:
        """Return the rows that are not gone; those near one that is gone are copied."""
        return self.lines if self.gone is None else parted(self.lines, self.gone, _COPIED_ROWS)[0]

    def copied_bytes(self) -> float:
        """Return how many bytes ``living`` copies, about."""
        if self.gone is None:
            return 0
        chunks = (self.gone.arg_true() // _COPIED_ROWS).n_unique()
        return self.lines.estimated_size() * min(1, chunks * _COPIED_ROWS / self.lines.height)

    def lazy(self) -> pl.LazyFrame:
        """Return the rows that are not gone as a LazyFrame."""
        if self.gone is None:
            return self.lines.lazy()
        return self.lines.hstack([(~self.gone).alias(_LIVES)]).lazy().filter(pl.col(_LIVES)).drop(_LIVES)

    def head(self, count: int) -> pl.DataFrame:
        """Return the first ``count`` rows that are not gone."""
        return (
            self.lines.head(count) if self.gone is None else self.lines[(~self.gone).arg_true().head(count)]
        )

    def top_k(self, count: int, by: Sequence[str]) -> pl.DataFrame:
        """Return the ``count`` rows that are not gone and have the greatest values in the columns ``by``."""
        lines = self.lines.select(by).with_row_index(ROW)
        if self.gone is not None:
            lines = lines.filter(~self.gone)
        return self.lines[lines.top_k(count, by=by)[ROW]]

    def without(self, hits: pl.Series) -> tuple[Part, pl.DataFrame]:
        """Return this with rows gone, and these rows, as far as they were not gone before."""
        if self.gone is not None:
            hits &= ~self.gone
        found = hits.arg_true()
        if not len(found):
            return self, self.lines.clear()
        gone = hits if self.gone is None else self.gone | hits
        return replace(self, gone=gone), self.lines[found]
