"""A value over window start: one line for each group, windows that may still change drawn lighter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import date2num

from ktframe.columns import OPEN
from ktframe.errors import ConfigurationError
from ktframe.widgets import markup as page
from ktframe.widgets.figure import INK, WIDTH, Chart, legend, look, style
from ktframe.widgets.panel import Panel
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import Aggregate, AggregateNow, watch

_MOST_LINES: Final = 24


class WindowPlot:
    """What ``agg(...).plot`` is: call it. ``plot.line`` and so on are Polars' own, which need Altair."""

    def __init__(self, aggregate: Aggregate) -> None:
        self._aggregate = aggregate

    def __call__(
        self, value: str | None = None, *, ax: Axes | None = None, live: bool = False
    ) -> Chart | Axes | Panel:
        """Draw ``value`` over window start, one line for each value of what ``agg`` was told to group by.

        Parameters
        ----------
        value
            A numeric column; None: the first.
        ax
            Where to draw; None: a new chart, which a notebook shows.
        live
            Return a panel that is drawn again when rows change.

        Returns
        -------
        Chart, matplotlib.axes.Axes or Panel
            A ``Figure`` that shows itself; ``ax`` where it was given; a panel with ``live``.

        Raises
        ------
        ConfigurationError
            When there is no such column, it is not numeric, or both ``ax`` and ``live`` are given.
        """
        name = _value_of(self._aggregate.found, value)
        if live:
            if ax is not None:
                message = "live=True draws on a chart of its own, not on ax."
                raise ConfigurationError(message, "leave one of them out.")
            return Panel(WindowPicture(self._aggregate, name), every=0.5)
        if ax is None:
            chart = Chart()
            draw_windows(chart.axes[0], self._aggregate.found, name, self._aggregate.name)
            return chart
        draw_windows(ax, self._aggregate.found, name, self._aggregate.name)
        return ax

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aggregate.found.frame.plot, name)


class WindowPicture:
    """Draws an aggregate again and again."""

    def __init__(self, aggregate: Aggregate, value: str) -> None:
        self._aggregate = aggregate
        self._value = value
        self._chart = Chart()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows change."""
        return watch(self._aggregate.events, wake)

    def frame(self) -> Frame:
        """Return the chart as of now."""
        found = self._aggregate.again()
        ax = self._chart.again()
        draw_windows(ax, found, self._value, self._aggregate.name)
        windows = found.frame[found.frame.columns[0]].n_unique()
        said = f"{windows:,} {'window' if windows == 1 else 'windows'}, {int(found.is_open.sum()):,} rows of {found.frame.height:,} may still change"
        if not self._aggregate.closes:
            said += "; without grace, late records change the others too"
        warning, text = page.incomplete(self._aggregate.name, self._aggregate.readiness())
        return Frame(
            page.page(warning, page.note(said)),
            f"{text}{self._value} of {self._aggregate.name}: {said}",
            self._chart.png(),
            WIDTH,
        )


def draw_windows(ax: Axes, found: AggregateNow, value: str, title: str) -> None:
    """Draw a column of an aggregate; each window stands from its start to its end."""
    start = found.frame.columns[0]
    # Floats: matplotlib's own way with Decimal knows no None. Neither does it, nor Python, know other years.
    frame = found.frame.with_columns(found.is_open.alias(OPEN), pl.col(value).cast(pl.Float64))
    frame = frame.filter(pl.col(start).dt.year().is_between(1, 9999))
    beyond = found.frame.height - frame.height
    lines = frame.partition_by(found.by, as_dict=True, maintain_order=True) if found.by else {(): frame}
    for number, (group, rows) in enumerate(list(lines.items())[:_MOST_LINES]):
        points = rows.sort(start)
        times, values, is_open = points[start].to_list(), points[value].to_list(), points[OPEN].to_list()
        label = ", ".join(map(str, group)) or value
        if label.startswith("_"):  # matplotlib leaves such a line out of the legend
            label = f" {label}"
        ax.plot(
            times,
            _where(values, is_open, keep=False),
            marker="o",
            markersize=3,
            linewidth=1.6,
            label=label,
            **look(number),
        )
        ax.plot(
            times,
            _where(values, is_open, keep=True),
            marker="o",
            markersize=4,
            markerfacecolor="none",
            linewidth=1.2,
            alpha=0.45,
            **look(number),
        )
    left_out = len(lines) - _MOST_LINES
    more = f" (and {left_out:,} more groups)" if left_out > 0 else ""
    more += f" (without {beyond:,} rows beyond the year 9999)" if beyond else ""
    if frame[start].n_unique() == 1:  # else the axis spans years
        first, end = frame.row(0)[:2]
        margin = (end - first) / 10
        ax.set_xlim(date2num(first - margin), date2num(max(end, first + margin)))
    style(ax, title=f"{title}: {value}{more}", ylabel=value)
    if not frame.height:
        ax.text(0.5, 0.5, "no windows yet", transform=ax.transAxes, color=INK, ha="center")
        ax.tick_params(labelbottom=False, labelleft=False)
        ax.xaxis.get_offset_text().set_visible(False)
    legend(ax)


def _where(values: Sequence[float | None], is_open: Sequence[bool], *, keep: bool) -> list[float]:
    """Return the values of closed windows, or of open ones with the closed one before, to which their line leads.

    The others are NaN: a gap in the line.
    """
    following = [*is_open[1:], False][: len(is_open)]
    taken = [opened or (keep and after) for opened, after in zip(is_open, following, strict=True)]
    return [math.nan if taken[at] != keep or value is None else value for at, value in enumerate(values)]


def _value_of(found: AggregateNow, value: str | None) -> str:
    numeric = [
        name
        for name in found.frame.columns[2:]
        if name not in found.by and found.frame.schema[name].is_numeric()
    ]
    if value is None and numeric:
        return numeric[0]
    if value in numeric:
        return value
    message = "there is no numeric column to plot." if value is None else f"{value!r} can't be plotted."
    hint = (
        f"numeric columns: {', '.join(numeric)}."
        if numeric
        else "give agg() an expression that makes numbers."
    )
    raise ConfigurationError(message, hint)
