"""Cells and dtypes of a frame as Polars prints them: the only place that uses private members of Polars."""

from __future__ import annotations

from typing import Final

import polars as pl

# Polars 2.1 has no public way to either text. str(dtype) gives "Datetime(time_unit='ms', time_zone='UTC')" for a
# column's head, and casting to String refuses lists and bytes, and panics on years beyond 9999.

MOST_CHARACTERS: Final = 200


def dtype_texts(frame: pl.DataFrame) -> list[str]:
    """Return the dtype of each column, such as ``i64`` or ``datetime[ms, UTC]``."""
    texts: list[str] = frame._df.dtype_strings()  # noqa: SLF001 - see above
    return texts


def cell_texts(frame: pl.DataFrame) -> list[tuple[str, ...]]:
    """Return the cells of each row, cut after 200 characters."""
    columns = [[_cell_text(column, row) for row in range(frame.height)] for column in frame.iter_columns()]
    return list(zip(*columns, strict=True)) if columns else []


def _cell_text(column: pl.Series, row: int) -> str:
    if column.dtype == pl.String:
        value = column[row]
        text = "null" if value is None else str(value)
    else:
        # Not through Python, which has no datetime beyond the year 9999.
        text = column.slice(row, 1)._s.get_fmt(0, MOST_CHARACTERS)  # noqa: SLF001 - see above
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"
