"""A value over window start: one line for each group, windows that may still change drawn lighter."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import date2num

from ktframe.columns import OPEN
from ktframe.errors import ConfigurationError
from ktframe.widgets import markup as page
from ktframe.widgets.figure import INK, WIDTH, Chart, legend, look, style
from ktframe.widgets.panel import Panel
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import Aggregate, AggregateQuery, watch

_MOST_LINES: Final = 24


def window_chart(
    query: AggregateQuery, now: Aggregate, *, live: bool, ax: Axes | None
) -> Chart | Axes | Panel:
    """Draw the one value of an aggregate, which is ``now`` what ``query`` computes; see ``WindowedTopic.chart``."""
    value = _value_of(now)
    if live:
        if ax is not None:
            message = "live=True draws on a chart of its own, not on ax."
            raise ConfigurationError(message, "leave one of them out.")
        return Panel(WindowPicture(query, value), every=0.5)
    if ax is None:
        chart = Chart()
        draw_windows(chart.axes[0], now, value, query.name)
        return chart
    draw_windows(ax, now, value, query.name)
    return ax


class WindowPicture:
    """Draws an aggregate again and again."""

    def __init__(self, query: AggregateQuery, value: str) -> None:
        self._query = query
        self._value = value
        self._chart = Chart()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows change."""
        return watch(self._query.events, wake)

    def frame(self) -> Frame:
        """Return the chart as of now."""
        aggregate = self._query.compute()
        ax = self._chart.again()
        draw_windows(ax, aggregate, self._value, self._query.name)
        windows = aggregate.frame[aggregate.frame.columns[0]].n_unique()
        summary = f"{windows:,} {'window' if windows == 1 else 'windows'}, {int(aggregate.is_open.sum()):,} rows of {aggregate.frame.height:,} may still change"
        if not self._query.closes:
            summary += "; without grace, late records change the others too"
        warning, text = page.incomplete(self._query.name, self._query.readiness())
        return Frame(
            page.page(warning, page.note(summary)),
            f"{text}{self._value} of {self._query.name}: {summary}",
            self._chart.png(),
            WIDTH,
        )


def draw_windows(ax: Axes, aggregate: Aggregate, value: str, title: str) -> None:
    """Draw a column of an aggregate; each window stands from its start to its end."""
    start = aggregate.frame.columns[0]
    # Floats: matplotlib's own way with Decimal knows no None. Neither does it, nor Python, know other years.
    frame = aggregate.frame.with_columns(aggregate.is_open.alias(OPEN), pl.col(value).cast(pl.Float64))
    frame = frame.filter(pl.col(start).dt.year().is_between(1, 9999))
    beyond = aggregate.frame.height - frame.height
    lines = (
        frame.partition_by(aggregate.by, as_dict=True, maintain_order=True) if aggregate.by else {(): frame}
    )
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


def _value_of(aggregate: Aggregate) -> str:
    """Return the name of the one value, which must be a number."""
    dtypes = aggregate.frame.drop(aggregate.frame.columns[:2], *aggregate.by).schema
    names = ", ".join(dtypes)
    if len(dtypes) != 1:
        message = f"a chart shows one value, and these are {len(dtypes)}: {names}."
        raise ConfigurationError(message, "give it one expression.")
    if not dtypes[names].is_numeric():
        message = f"{names!r} is {dtypes[names]}: a chart shows numbers."
        raise ConfigurationError(
            message, 'give an expression that makes numbers, such as pl.col("amount").sum().'
        )
    return names
