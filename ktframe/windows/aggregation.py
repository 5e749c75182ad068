"""Aggregates per window by Polars expressions: checks what a user passes, and fills in windows without rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import polars as pl

from ktframe.columns import ITEM, OFFSET, PARTITION, TIMESTAMP, TOMBSTONE, WINDOW, WINDOW_END
from ktframe.config.spelling import similar_fields
from ktframe.errors import ConfigurationError, did_you_mean
from ktframe.windows.base import Windows
from ktframe.windows.events import EventWindows

_MOST_FILLED = 10_000_000
_BOOKKEEPING = (PARTITION, OFFSET, ITEM, TIMESTAMP, TOMBSTONE)


def expressions(exprs: Sequence[pl.Expr], named: Mapping[str, pl.Expr]) -> list[pl.Expr]:
    """Return the expressions of an aggregate as one list, with their names.

    Raises
    ------
    ConfigurationError
        When there is none, or something is no Polars expression.
    """
    values: list[object] = [*exprs, *named.values()]
    odd = next((value for value in values if not isinstance(value, pl.Expr)), None)
    if odd is not None or not values:
        message = (
            "an aggregate needs a Polars expression."
            if odd is None
            else f"{odd!r} is not a Polars expression."
        )
        raise ConfigurationError(message, 'such as revenue=pl.col("amount").sum(), orders=pl.len().')
    return [*exprs, *(expr.alias(name) for name, expr in named.items())]


def groups(by: str | Sequence[str] | None, columns: Sequence[str], nested: Sequence[str] = ()) -> list[str]:
    """Return the columns to group by within each window; ``nested`` are fields inside of others, for messages.

    Raises
    ------
    ConfigurationError
        When there is no such column.
    """
    names: list[object] = [by] if by is None or isinstance(by, str | pl.Expr) else list(by)
    for name in names if by is not None else ():
        if not isinstance(name, str):
            message = f"by takes the names of columns, not {name}."
            raise ConfigurationError(
                message, 'name a column; to_polars().group_by("window_start", ...) takes expressions.'
            )
        if name not in columns:
            what = f"by={name!r}"
            raise _no_such(what, name, columns, nested)
    return [] if by is None else list(dict.fromkeys(str(name) for name in names))


def require_known(exprs: Sequence[pl.Expr], columns: Sequence[str]) -> None:
    """Raise a ConfigurationError where an expression names no column that there is."""
    for expr in exprs:
        for name in expr.meta.root_names():
            if name not in columns:
                raise _no_such(repr(name), name, columns)


def require_named(exprs: Sequence[pl.Expr], by: Sequence[str], columns: Sequence[str]) -> None:
    """Raise a ConfigurationError where an expression names no column that there is, or two give one name."""
    require_known(exprs, columns)
    names = [expr.meta.output_name(raise_if_undetermined=False) for expr in exprs]
    twice = next((name for n, name in enumerate(names) if name and name in (*by, *names[:n])), None)
    if twice is not None:
        message = f"two columns of the aggregate are named {twice!r}."
        raise ConfigurationError(message, 'give one another name: total=pl.col("amount").sum().')


def _no_such(what: str, name: str, columns: Sequence[str], nested: Sequence[str] = ()) -> ConfigurationError:
    suggestion = did_you_mean(similar_fields(name, dict.fromkeys((*columns, *nested))))
    hint = f"{suggestion} There are" if suggestion else "choose from"
    return ConfigurationError(f"{what}: there is no such column.", f"{hint} {', '.join(columns)}.")


@dataclass(frozen=True, slots=True)
class Columns:
    """What expressions can name; one that takes many columns (``pl.all()``) sees the ``usual`` ones."""

    all: Mapping[str, pl.Expr]
    usual: Collection[str]

    def needed(self, exprs: Sequence[pl.Expr], by: Sequence[str] = ()) -> list[pl.Expr]:
        """Return the columns that the expressions and ``by`` name, which are all that have to be read."""
        names = {*by, *(name for expr in exprs for name in expr.meta.root_names())}
        if any(expr.meta.has_multiple_outputs() for expr in exprs):
            names |= {*self.usual}
        return [column for name, column in self.all.items() if name in names]


def aggregate_rows(
    rows: pl.DataFrame,
    windows: Windows,
    columns: Columns,
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
) -> pl.DataFrame:
    """Return ``WINDOW, WINDOW_END``, ``by`` and the values, a row per window and group, of rows that have ``WINDOW``."""
    lines = rows.select(WINDOW, *columns.needed(exprs, by))
    grouped = lines.group_by(WINDOW, *by).agg(*exprs).sort(WINDOW, *by)
    values = grouped.columns[1 + len(by) :]
    return windows.with_ends(grouped).select(WINDOW, WINDOW_END, *by, *values)


def aggregate_events(
    rows: pl.DataFrame,
    windows: EventWindows,
    columns: Columns,
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
) -> pl.DataFrame:
    """Return ``WINDOW, WINDOW_END``, ``by`` and the values, a row per window and group, of the events of a stream."""
    own = [name for name in _BOOKKEEPING if name in rows.columns]
    events = rows.select(*own, *columns.needed(exprs, by))
    return windows.aggregate(events, by, exprs)


def filled(
    aggregated: pl.DataFrame,
    windows: Windows,
    exprs: Sequence[pl.Expr],
    by: Sequence[str],
    empty: pl.DataFrame,
) -> pl.DataFrame:
    """Return ``aggregated`` with a row for each window between the first and the last, for each group that there is.

    The values of a window without rows are what the expressions give for no rows: 0 for a sum or a count, else null.

    Raises
    ------
    ConfigurationError
        When that makes more than ten million rows.
    """
    if not aggregated.height:
        return aggregated
    first, last = aggregated[WINDOW].min(), aggregated[WINDOW].max()
    assert isinstance(first, int)  # noqa: S101 - WINDOW is Int64 without nulls
    assert isinstance(last, int)  # noqa: S101 - likewise
    starts = windows.starts_between(first, last).alias(WINDOW).to_frame()
    every = starts.join(aggregated.select(by).unique(), how="cross") if by else starts
    if every.height > _MOST_FILLED:
        message = f"fill=True makes {every.height:,} rows."
        raise ConfigurationError(message, "narrow the range by between() or last(), or take larger windows.")
    absent = every.join(aggregated, on=[WINDOW, *by], how="anti", nulls_equal=True)
    values = [name for name in aggregated.columns if name not in (WINDOW, WINDOW_END, *by)]
    fills = _fill_values(empty, exprs, aggregated.select(values).schema)
    gaps = windows.with_ends(absent).with_columns(fills).select(aggregated.columns)
    return pl.concat([aggregated, gaps]).sort(WINDOW, *by)


def _fill_values(empty: pl.DataFrame, exprs: Sequence[pl.Expr], schema: pl.Schema) -> list[pl.Expr]:
    """Return the values of a window without rows."""
    values: dict[str, pl.Series] = {}
    for expr in exprs:
        # Expressions such as get(0) raise on an empty frame; their fill value is null.
        with suppress(pl.exceptions.PolarsError):
            columns = empty.select(expr).iter_columns()
            values |= {column.name: column for column in columns if len(column) == 1}
    fills = {
        name: pl.lit(values[name].cast(dtype)).first() if name in values else pl.lit(None, dtype=dtype)
        for name, dtype in schema.items()
    }
    return [fill.alias(name) for name, fill in fills.items()]
