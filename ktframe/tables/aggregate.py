"""What ``agg`` of windows gives: a frame like any other, which can also be plotted and made anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import polars as pl

from ktframe.events import Events
from ktframe.sync.monitor import Readiness

if TYPE_CHECKING:  # matplotlib and ipywidgets are imported where they are used
    from ktframe.widgets.window_chart import WindowPlot


@dataclass(frozen=True, slots=True)
class Aggregated:
    """An aggregate as of one moment; ``is_open`` says of each row whether its window may still change."""

    frame: pl.DataFrame
    is_open: pl.Series
    by: tuple[str, ...]


class WindowAggregate(pl.DataFrame):
    """Values per window, as of the call. A ``polars.DataFrame``; whatever is made of it is a plain one.

    ``plot("revenue")`` draws a value over window start; ``ktframe.widgets.live`` shows the rows as they change.
    """

    found: Aggregated
    again: Callable[[], Aggregated]
    """Aggregates what is there now, without waiting."""
    readiness: Callable[[], Readiness]
    """Whether what is there now is complete."""
    events: Events
    name: str
    closes: bool
    """Whether windows close; without grace none does, and late records change any."""

    @classmethod
    def of(
        cls,
        found: Aggregated,
        *,
        again: Callable[[], Aggregated],
        readiness: Callable[[], Readiness],
        events: Events,
        name: str,
        closes: bool,
    ) -> Self:
        """Return an aggregate with what it takes to make it anew."""
        made = cls(found.frame)
        made.found, made.again, made.readiness = found, again, readiness
        made.events, made.name, made.closes = events, name, closes
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        # In another process there is nothing to make it anew from: it arrives as a plain frame.
        return _frame_of, (self.get_columns(),)

    @classmethod
    def _from_pydf(cls, py_df: Any) -> pl.DataFrame:
        # What Polars makes of this frame is another frame: it has no windows of its own to be made anew from.
        return pl.DataFrame._from_pydf(py_df)  # noqa: SLF001 - the hook that Polars has for subclasses

    @property
    def plot(self) -> WindowPlot:  # type: ignore[override]
        """Draw values over window start: ``plot("revenue")``; see ``ktframe.widgets.window_chart.WindowPlot``."""
        from ktframe.widgets.window_chart import WindowPlot  # noqa: PLC0415 - slow to import

        return WindowPlot(self)


def _frame_of(columns: list[pl.Series]) -> pl.DataFrame:
    return pl.DataFrame(columns)
