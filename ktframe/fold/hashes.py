"""The hashes by which the view finds rows: which of them are among others, and which are those of several lines."""

from __future__ import annotations

import polars as pl

from ktframe.columns import HASH


def is_among(values: pl.Series, wanted: pl.Series) -> pl.Series:
    """Say of each value, a hash or another, whether it is among ``wanted``; of null, nothing."""
    if len(wanted) == 1:
        return values == wanted
    return values.is_in(wanted.implode())


def of_hashes(lines: pl.DataFrame, wanted: pl.Series) -> pl.DataFrame:
    """Return the lines whose hash is among ``wanted``."""
    is_wanted = is_among(lines[HASH], wanted)
    if len(wanted) != 1 or is_wanted.sum() > 1:
        return lines.filter(is_wanted)
    # One line, mostly: to filter all columns for it takes as long as to look at all hashes.
    return lines.slice(is_wanted.arg_max() or 0, 1) if is_wanted.any() else lines.clear()


def contested_hashes(rows: pl.Series, markers: pl.Series) -> pl.Series:
    """Return the hashes that several of ``rows`` have, or one of them and one of ``markers``, in another partition."""
    twice = repeated(rows)
    if not len(markers):
        return twice
    return pl.concat([twice, rows.filter(rows.is_in(markers.implode()))]).unique()


def repeated(hashes: pl.Series) -> pl.Series:
    """Return those that are there more than once, each once."""
    return hashes.filter(hashes.is_duplicated()).unique()
