"""Events of a stream as the windows of events take them, windows of fixed place, and results to compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ktframe.columns import OFFSET, PARTITION, TIMESTAMP, TOMBSTONE, WINDOW, WINDOW_END

SCHEMA = pl.Schema(
    {
        PARTITION: pl.Int32(),
        OFFSET: pl.Int64(),
        TIMESTAMP: pl.Int64(),
        TOMBSTONE: pl.Boolean(),
        "key": pl.String(),
        "value": pl.Int64(),
    },
)
MEMBERS = pl.col("value").sort().alias("members")


def stream(*events: tuple[str | None, int, int | None], partition: int = 0) -> pl.DataFrame:
    """Return the events (key, value, time) of one partition, in the order in which they arrived."""
    rows = [(partition, offset, time, False, key, value) for offset, (key, value, time) in enumerate(events)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


@dataclass(frozen=True, slots=True)
class Hopping:
    """Windows of ``size`` ms that begin every ``every`` ms since 1970."""

    size: int
    every: int

    def assign(self, rows: pl.DataFrame, time: str) -> pl.DataFrame:
        """Return ``rows`` once per window that holds their time."""
        first = ((pl.col(time) - self.size) // self.every + 1) * self.every
        starts = pl.int_ranges(first, pl.col(time) + 1, self.every)
        end = pl.col(WINDOW) + self.size
        return rows.with_columns(starts.alias(WINDOW)).explode(WINDOW).with_columns(end.alias(WINDOW_END))


def contents(result: pl.DataFrame, by: Sequence[str] = ("key",)) -> dict[tuple[Any, ...], list[int]]:
    """Return the ``members`` of each (start, end, *by) of an aggregate."""
    rows = result.select(WINDOW, WINDOW_END, *by, "members").rows()
    assert len(rows) == len({row[:-1] for row in rows})
    return {row[:-1]: row[-1] for row in rows}


def pairs(result: pl.DataFrame) -> list[tuple[int, int, int]]:
    """Return the (value, start, end) of each row that was assigned to a window or late for it, sorted."""
    return sorted(result.select("value", WINDOW, WINDOW_END).rows())


def windows(rows: Iterable[tuple[int, Sequence[int]]], width: int, key: str = "A") -> dict[Any, list[int]]:
    """Return what ``contents`` has for windows of one width and key, given as (start, members)."""
    return {(start, start + width, key): sorted(members) for start, members in rows}
