"""What panels need of an aggregate of windows; this floor does not know what makes it."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import polars as pl

from ktframe.events import Events
from ktframe.monitor import Readiness


class AggregateNow(Protocol):
    """An aggregate as of one moment: ``window_start``, ``window_end``, ``by``, values."""

    @property
    def frame(self) -> pl.DataFrame:
        """A row per window and group."""

    @property
    def is_open(self) -> pl.Series:
        """Whether the window of each row may still change."""

    @property
    def by(self) -> tuple[str, ...]:
        """The columns that it is grouped by within each window."""


@runtime_checkable
class Aggregate(Protocol):
    """A frame that can be made anew."""

    name: str
    events: Events
    closes: bool
    """Whether its windows ever close: those without grace do not."""

    @property
    def found(self) -> AggregateNow:
        """What it held when it was made."""

    def again(self) -> AggregateNow:
        """Return what it would hold now; does not wait."""

    def readiness(self) -> Readiness:
        """Return whether what it would hold now is complete; does not wait."""
