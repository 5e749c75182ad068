"""Aggregates of windows as charts and live rows need them: computed again and again, with which windows are open."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from ktframe.events import Events
from ktframe.sync.monitor import Readiness


@dataclass(frozen=True)
class Aggregate:
    """Values per window and group as of one moment.

    ``is_partial`` says of each row whether its window lacks records before ``start=``.
    """

    frame: pl.DataFrame
    find_open: Callable[[], pl.Series]
    is_partial: pl.Series
    by: tuple[str, ...]

    @cached_property
    def is_open(self) -> pl.Series:
        """Whether the window of each row may still change; found when it is first asked for, as of that one moment."""
        return self.find_open()


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
