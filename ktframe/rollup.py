"""Windows from windows: rows of larger or shifted windows out of those of a store, without reading the topic again."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ktframe.records import WINDOW, WINDOW_END
from ktframe.settling import settle
from ktframe.windows import FixedWindows, Windows

_SMALL = "\0small"


def roll_up(
    rows: pl.DataFrame, markers: pl.DataFrame, windows: Windows, shown: Sequence[str]
) -> pl.DataFrame:
    """Return one row per window of ``windows`` and key, as a fold of the topic by these windows would leave it.

    Parameters
    ----------
    rows, markers
        Rows and tombstones' markers of tumbling windows without grace that divide every boundary of ``windows``.
    shown
        ``WINDOW`` and the key's columns.
    """
    assigned = _assign(rows, windows)
    return settle(assigned, _assign(markers, windows).select(assigned.columns), shown)


def _assign(lines: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    return windows.assign(lines.rename({WINDOW: _SMALL}), _SMALL).drop(_SMALL, WINDOW_END)


def with_ends(rows: pl.DataFrame, windows: Windows) -> pl.DataFrame:
    """Return ``rows`` with the end of each window (Int64, ms, exclusive)."""
    if isinstance(windows, FixedWindows):
        return rows.with_columns((pl.col(WINDOW) + windows.size_ms).alias(WINDOW_END))
    starts = rows[WINDOW].unique().to_list()
    ends = [windows.end_of(start) for start in starts]
    end = pl.col(WINDOW).replace_strict(starts, ends, return_dtype=pl.Int64) if starts else pl.col(WINDOW)
    return rows.with_columns(end.alias(WINDOW_END))
