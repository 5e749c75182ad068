"""Charts of an aggregate: a value over window start, a line per group.

Windows that may still change, and those that lack records, are drawn lighter and hollow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import date2num

from ktframe.columns import own_name
from ktframe.errors import ConfigurationError
from ktframe.widgets import markup
from ktframe.widgets.figure import INK, WIDTH, Chart, legend, look, style
from ktframe.widgets.panel import Panel
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import Aggregate, AggregateQuery, watch

_MOST_LINES: Final = 24
_HOLLOW: Final = own_name("hollow")


def window_chart(
    query: AggregateQuery, now: Aggregate, *, live: bool, ax: Axes | None
) -> Chart | Axes | Panel:
    """Return a chart of the one value of ``now``, the result of ``query``; with ``live`` a panel that computes it again.

    Raises
    ------
    ConfigurationError
        When there is not one numeric value, or both ``ax`` and ``live`` are given.
    """
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
    """Draws an aggregate as of now."""

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
        partial = int(aggregate.is_partial.sum())
        if partial:
            begin = (
                "begins before reading does, and lacks"
                if partial == 1
                else "begin before reading does, and lack"
            )
            summary += f"; {partial:,} {begin} records"
        warning, text = markup.incomplete(self._query.name, self._query.readiness())
        return Frame(
            markup.page(warning, markup.note(summary)),
            f"{text}{self._value} of {self._query.name}: {summary}",
            self._chart.png(),
            WIDTH,
        )


def draw_windows(ax: Axes, aggregate: Aggregate, value: str, title: str) -> None:
    """Draw a column of an aggregate, a point at the start of each window."""
    start = aggregate.frame.columns[0]
    # Floats, because matplotlib fails on a column of Decimal that has nulls. Years, because neither matplotlib nor
    # Python has other ones.
    frame = aggregate.frame.with_columns(
        (aggregate.is_open | aggregate.is_partial).alias(_HOLLOW), pl.col(value).cast(pl.Float64)
    )
    frame = frame.filter(pl.col(start).dt.year().is_between(1, 9999))
    beyond = aggregate.frame.height - frame.height
    lines = (
        frame.partition_by(aggregate.by, as_dict=True, maintain_order=True) if aggregate.by else {(): frame}
    )
    for number, (group, rows) in enumerate(list(lines.items())[:_MOST_LINES]):
        points = rows.sort(start)
        times, values, is_hollow = (points[name].to_list() for name in (start, value, _HOLLOW))
        label = ", ".join(map(str, group)) or value
        if label.startswith("_"):  # matplotlib would leave the line out of the legend
            label = f" {label}"
        ax.plot(
            times,
            _values_of(values, is_hollow, hollow_ones=False),
            marker="o",
            markersize=3,
            linewidth=1.6,
            label=label,
            **look(number),
        )
        ax.plot(
            times,
            _values_of(values, is_hollow, hollow_ones=True),
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
    if frame[start].n_unique() == 1:  # without limits the axis of a single point spans years
        first, end = frame.row(0)[:2]
        margin = (end - first) / 10
        ax.set_xlim(date2num(first - margin), date2num(max(end, first + margin)))
    style(ax, title=f"{title}: {value}{more}", ylabel=value)
    if not frame.height:
        ax.text(0.5, 0.5, "no windows yet", transform=ax.transAxes, color=INK, ha="center")
        ax.tick_params(labelbottom=False, labelleft=False)
        ax.xaxis.get_offset_text().set_visible(False)
    legend(ax)


def _values_of(
    values: Sequence[float | None], is_hollow: Sequence[bool], *, hollow_ones: bool
) -> list[float]:
    """Return the values of the hollow points, or of the others; NaN, a gap in the line, for the rest.

    With the hollow ones come those beside them, so that the two lines meet.
    """
    before = [False, *is_hollow[:-1]][: len(is_hollow)]
    after = [*is_hollow[1:], False][: len(is_hollow)]
    beside = zip(before, is_hollow, after, strict=True)
    wanted = [any(three) if hollow_ones else not three[1] for three in beside]
    return [
        value if is_wanted and value is not None else math.nan
        for value, is_wanted in zip(values, wanted, strict=True)
    ]


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
