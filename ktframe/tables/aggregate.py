"""Aggregates of windows as charts and live rows need them: computed again and again, with which windows are open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from ktframe.events import Events
from ktframe.sync.monitor import Readiness


@dataclass(frozen=True, slots=True)
class Aggregate:
    """Values per window and group as of one moment.

    ``is_open`` says of each row whether its window may still change, ``is_partial`` whether it lacks records before ``start=``.
    """

    frame: pl.DataFrame
    is_open: pl.Series
    is_partial: pl.Series
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AggregateQuery:
    """An aggregate that can be computed at any time, under the name of its windows."""

    name: str
    events: Events
    closes: bool
    """Whether windows close; without grace none does, and late records change any."""
    compute: Callable[[], Aggregate]
    """Aggregates the rows that are here now, without waiting."""
    readiness: Callable[[], Readiness]
    """Whether the rows that are here now are complete."""
