"""Aggregates per window, in Polars' own expressions: what a user may pass, and what windows without rows get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from ktframe.errors import ConfigurationError
from ktframe.eventwindows import EventWindows
from ktframe.records import OFFSET, PARTITION, TIMESTAMP, TOMBSTONE, WINDOW, WINDOW_END
from ktframe.rollup import with_ends
from ktframe.windows import Windows

_MOST_FILLED = 10_000_000
_BOOKKEEPING = (PARTITION, OFFSET, TIMESTAMP, TOMBSTONE)


def expressions(exprs: Sequence[pl.Expr], named: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    """Return what ``agg`` was given as one list.

    Raises
    ------
    ConfigurationError
        When there is none, or something is no Polars expression.
    """
    found: list[object] = [*exprs, *named.values()]
    odd = next((each for each in found if not isinstance(each, pl.Expr)), None)
    if odd is not None or not found:
        message = "agg() needs a Polars expression." if odd is None else f"agg() takes no {odd!r}."
        raise ConfigurationError(message, 'such as agg(revenue=pl.col("amount").sum(), orders=pl.len()).')
    return [*exprs, *(each.alias(name) for name, each in named.items())]


def groups(by: str | Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    """Return the columns to group by beside the window.

    Raises
    ------
    ConfigurationError
        When there is no such column.
    """
    names = [] if by is None else [by] if isinstance(by, str) else list(by)
    for name in names:
        if name not in columns:
            message = f"by={name!r}: there is no such column."
            raise ConfigurationError(message, f"choose from {', '.join(columns)}.")
    return names


def needed(columns: Mapping[str, pl.Expr], exprs: Sequence[pl.Expr], by: Sequence[str]) -> list[pl.Expr]:
    """Return, of ``columns``, those that the expressions and ``by`` name: no other has to be touched."""
    if any(expr.meta.has_multiple_outputs() for expr in exprs):
        return list(columns.values())
    names = {*by, *(name for expr in exprs for name in expr.meta.root_names())}
    return [each for name, each in columns.items() if name in names]


def aggregate_rows(
    rows: pl.DataFrame,
    windows: Windows,
    columns: Mapping[str, pl.Expr],
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
) -> pl.DataFrame:
    """Return ``WINDOW, WINDOW_END``, ``by`` and the values, a row per window and group, of rows that have ``WINDOW``."""
    lines = rows.lazy().select(WINDOW, *needed(columns, exprs, by))
    found = lines.group_by(WINDOW, *by).agg(*exprs).sort(WINDOW, *by).collect()
    values = found.columns[1 + len(by) :]
    return with_ends(found, windows).select(WINDOW, WINDOW_END, *by, *values)


def aggregate_events(
    rows: pl.DataFrame,
    windows: EventWindows,
    columns: Mapping[str, pl.Expr],
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
) -> pl.DataFrame:
    """Return ``WINDOW, WINDOW_END``, ``by`` and the values, a row per window and group, of the events of a stream."""
    events = rows.select(*_BOOKKEEPING, *needed(columns, exprs, by))
    return windows.aggregate(events, by, exprs)


def filled(
    found: pl.DataFrame,
    windows: Windows,
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
    empty: pl.DataFrame,
) -> pl.DataFrame:
    """Return ``found`` with a row for each window between the first and the last, for each group that there is.

    The values of a window without rows are what the expressions give for no rows: 0 for a sum or a count, else null.

    Raises
    ------
    ConfigurationError
        When that makes more than ten million rows.
    """
    if not found.height:
        return found
    first, last = found[WINDOW].min(), found[WINDOW].max()
    assert isinstance(first, int)  # noqa: S101 - WINDOW is Int64 without nulls
    assert isinstance(last, int)  # noqa: S101 - likewise
    starts = windows.starts_between(first, last).alias(WINDOW).to_frame()
    every = starts.join(found.select(by).unique(), how="cross") if by else starts
    if every.height > _MOST_FILLED:
        message = f"fill=True makes {every.height:,} rows."
        raise ConfigurationError(message, "narrow the range by between() or last(), or take larger windows.")
    absent = every.join(found, on=[WINDOW, *by], how="anti", nulls_equal=True)
    values = [name for name in found.columns if name not in (WINDOW, WINDOW_END, *by)]
    nothing = _of_no_rows(empty, exprs, found.select(values).schema)
    gaps = with_ends(absent, windows).with_columns(nothing).select(found.columns)
    return pl.concat([found, gaps]).sort(WINDOW, *by)


def _of_no_rows(empty: pl.DataFrame, exprs: Sequence[pl.Expr], schema: pl.Schema) -> list[pl.Expr]:
    made = [column for expr in exprs for column in empty.select(expr).iter_columns()]
    return [
        pl.lit(column.item() if len(column) == 1 else None, dtype=schema[column.name]).alias(column.name)
        for column in made
    ]
