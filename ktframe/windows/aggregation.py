"""Aggregates per window, in Polars' own expressions: what a user may pass, and what windows without rows get."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from ktframe.columns import OFFSET, PARTITION, TIMESTAMP, TOMBSTONE, WINDOW, WINDOW_END
from ktframe.errors import ConfigurationError, did_you_mean, similar_names
from ktframe.windows.base import Windows
from ktframe.windows.events import EventWindows

_MOST_FILLED = 10_000_000
_BOOKKEEPING = (PARTITION, OFFSET, TIMESTAMP, TOMBSTONE)


def expressions(exprs: Sequence[pl.Expr], named: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    """Return the expressions of an aggregate as one list, with their names.

    Raises
    ------
    ConfigurationError
        When there is none, or something is no Polars expression.
    """
    found: list[object] = [*exprs, *named.values()]
    odd = next((each for each in found if not isinstance(each, pl.Expr)), None)
    if odd is not None or not found:
        message = (
            "an aggregate needs a Polars expression."
            if odd is None
            else f"{odd!r} is not a Polars expression."
        )
        raise ConfigurationError(message, 'such as revenue=pl.col("amount").sum(), orders=pl.len().')
    return [*exprs, *(each.alias(name) for name, each in named.items())]


def groups(by: str | Sequence[str] | None, columns: Sequence[str]) -> list[str]:
    """Return the columns to group by beside the window.

    Raises
    ------
    ConfigurationError
        When there is no such column.
    """
    names: list[object] = [by] if by is None or isinstance(by, str | pl.Expr) else list(by)
    for name in names if by is not None else ():
        if not isinstance(name, str):
            message = f"by takes the names of columns, not {name}."
            raise ConfigurationError(message, "add it to the stream or frame as a column first.")
        if name not in columns:
            what = f"by={name!r}"
            raise _no_such(what, name, columns)
    return [] if by is None else list(dict.fromkeys(str(name) for name in names))


def require_named(exprs: Sequence[pl.Expr], by: Sequence[str], columns: Sequence[str]) -> None:
    """Raise a ConfigurationError where an expression names no column that there is, or two give one name."""
    for expr in exprs:
        for name in expr.meta.root_names():
            if name not in columns:
                raise _no_such(repr(name), name, columns)
    names = [expr.meta.output_name(raise_if_undetermined=False) for expr in exprs]
    twice = next((name for n, name in enumerate(names) if name and name in (*by, *names[:n])), None)
    if twice is not None:
        message = f"two columns of the aggregate are named {twice!r}."
        raise ConfigurationError(message, 'give one another name: total=pl.col("amount").sum().')


def _no_such(what: str, name: str, columns: Sequence[str]) -> ConfigurationError:
    suggestion = did_you_mean(similar_names(name, columns))
    hint = f"{suggestion} There are" if suggestion else "choose from"
    return ConfigurationError(f"{what}: there is no such column.", f"{hint} {', '.join(columns)}.")


@dataclass(frozen=True, slots=True)
class Columns:
    """What expressions can name; one that takes many columns (``pl.all()``) sees the ``usual`` ones."""

    all: Mapping[str, pl.Expr]
    usual: Collection[str]

    def needed(self, exprs: Sequence[pl.Expr], by: Sequence[str]) -> list[pl.Expr]:
        """Return those that the expressions and ``by`` name: no other has to be touched."""
        names = {*by, *(name for expr in exprs for name in expr.meta.root_names())}
        if any(expr.meta.has_multiple_outputs() for expr in exprs):
            names |= {*self.usual}
        return [each for name, each in self.all.items() if name in names]


def aggregate_rows(
    rows: pl.DataFrame,
    windows: Windows,
    columns: Columns,
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
) -> pl.DataFrame:
    """Return ``WINDOW, WINDOW_END``, ``by`` and the values, a row per window and group, of rows that have ``WINDOW``."""
    lines = rows.select(WINDOW, *columns.needed(exprs, by))
    found = lines.group_by(WINDOW, *by).agg(*exprs).sort(WINDOW, *by)
    values = found.columns[1 + len(by) :]
    return windows.with_ends(found).select(WINDOW, WINDOW_END, *by, *values)


def aggregate_events(
    rows: pl.DataFrame,
    windows: EventWindows,
    columns: Columns,
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
) -> pl.DataFrame:
    """Return ``WINDOW, WINDOW_END``, ``by`` and the values, a row per window and group, of the events of a stream."""
    events = rows.select(*_BOOKKEEPING, *columns.needed(exprs, by))
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
    gaps = windows.with_ends(absent).with_columns(nothing).select(found.columns)
    return pl.concat([found, gaps]).sort(WINDOW, *by)


def _of_no_rows(empty: pl.DataFrame, exprs: Sequence[pl.Expr], schema: pl.Schema) -> list[pl.Expr]:
    found: dict[str, pl.Series] = {}
    for expr in exprs:
        # Some refuse to be evaluated where there is no row, such as get(0): nothing is what they give.
        with suppress(pl.exceptions.PolarsError):
            found |= {each.name: each for each in empty.select(expr).iter_columns() if len(each) == 1}
    nothing = {
        name: pl.lit(found[name].cast(dtype)).first() if name in found else pl.lit(None, dtype=dtype)
        for name, dtype in schema.items()
    }
    return [value.alias(name) for name, value in nothing.items()]
