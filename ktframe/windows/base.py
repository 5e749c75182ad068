"""Windows whose bounds don't depend on records: what fixed and calendar windows have in common.

Arithmetic only: nothing here knows grace, keys or stores.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import polars as pl

from ktframe.columns import WINDOW, WINDOW_END


class Windows(ABC):
    """Windows of time; all times are ms since 1970, a start is inclusive, an end exclusive."""

    __slots__ = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """Short text that only equal windows share."""

    @property
    @abstractmethod
    def base_ms(self) -> int:
        """The greatest size of epoch-aligned tumbling windows of which these are made."""

    @property
    @abstractmethod
    def is_tumbling(self) -> bool:
        """Whether these are epoch-aligned tumbling windows themselves."""

    @abstractmethod
    def starts_of(self, at_ms: int) -> list[int]:
        """Return the starts of all windows that hold a time, ascending."""

    @abstractmethod
    def end_of(self, start_ms: int) -> int:
        """Return the end of the window that starts at ``start_ms``."""

    @abstractmethod
    def starts_between(self, first_ms: int, last_ms: int) -> pl.Series:
        """Return the starts from ``first_ms`` to ``last_ms``, both inclusive (Int64)."""

    @abstractmethod
    def assign(self, rows: pl.DataFrame, time: str) -> pl.DataFrame:
        """Return ``rows`` with their windows, a row once for each window that holds it, in row order.

        Parameters
        ----------
        rows
            Any columns; those of the windows are replaced.
        time
            The column of times: Int64, ms since 1970, without nulls.

        Returns
        -------
        pl.DataFrame
            ``rows`` and the columns ``WINDOW`` and ``WINDOW_END`` (Int64, ms since 1970).
        """

    def with_ends(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows``, which have ``WINDOW``, with ``WINDOW_END``."""
        starts = rows[WINDOW].unique().to_list()
        ends = [self.end_of(start) for start in starts]
        end = pl.col(WINDOW).replace_strict(starts, ends, return_dtype=pl.Int64) if starts else pl.col(WINDOW)
        return rows.with_columns(end.alias(WINDOW_END))
