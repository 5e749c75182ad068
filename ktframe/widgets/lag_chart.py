"""The lag of a table over time, per partition and in total, with shaded ready times and marked incidents."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

import polars as pl
from matplotlib.axes import Axes
from matplotlib.dates import date2num

from ktframe.sync.history import LagHistory, ReadySpan
from ktframe.widgets import markup
from ktframe.widgets.figure import INK, PALETTE, WIDTH, Chart, legend, look, style
from ktframe.widgets.picture import Frame
from ktframe.widgets.protocols import Watched, label_of, watch

_MOST_LINES: Final = 6  # partitions with a line of their own: those that were furthest behind

# As many as the width has room for: a table that falters for hours must not be slow to draw.
_MOST_MARKS: Final = 25
_MOST_SHADES: Final = 100

_SHORTEST: Final = timedelta(seconds=10)
_READY, _NOT_READY = "#009E73", "#D55E00"
_MARKS: Final = {"backing_off": "recovering", "failed": "failed", "rebuilt": "rebuilt"}


class LagPicture:
    """Draws the lag of one table in the last ``window`` of time."""

    def __init__(self, watched: Watched, window: timedelta) -> None:
        self._watched = watched
        self._window = window
        self._chart = Chart()

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when the lag or the state changes."""
        return watch(self._watched.events, wake)

    def frame(self) -> Frame:
        """Return the chart as of now."""
        label, readiness = label_of(self._watched), self._watched.readiness()
        now = datetime.now(UTC)
        ax = self._chart.again()
        drawn = draw_lag(ax, self._watched.history, label, now - self._window, now)
        caption = summary(drawn)
        head = markup.headline(label, readiness)
        text = f"lag of {label}: {caption}"
        return Frame(markup.page(head, markup.note(caption)), text, self._chart.png(), WIDTH)


def draw_lag(
    ax: Axes, history: LagHistory, title: str, since: datetime | None, until: datetime
) -> pl.DataFrame:
    """Draw the measured lag, and return its total as ``at`` (Datetime("ms", "UTC")) and ``lag`` (Int64)."""
    measured = history.frame(since=since)
    total = measured.group_by("at", maintain_order=True).agg(pl.col("lag").sum())
    ax.step(
        total["at"].to_list(), total["lag"].to_list(), where="post", color=INK, linewidth=1.8, label="total"
    )
    most = (
        measured.group_by("partition")
        .agg(pl.col("lag").max())
        .sort("lag", "partition", descending=[True, False])
    )
    shown = sorted(most["partition"].head(_MOST_LINES).to_list()) if most.height > 1 else []
    for number, partition in enumerate(shown):
        line = measured.filter(pl.col("partition") == partition)
        ax.step(
            line["at"].to_list(),
            line["lag"].to_list(),
            where="post",
            linewidth=1.1,
            label=f"partition {partition}",
            **look(number),
        )
    first = _first(history, since, until)
    _shade(ax, history, first, until)
    style(ax, title=f"{title}: records to go", ylabel="records")
    ax.set_ylim(bottom=0, top=max(ax.get_ylim()[1], 1))
    ax.set_xlim(date2num(first), date2num(until))
    legend(ax)
    return total


def _first(history: LagHistory, since: datetime | None, until: datetime) -> datetime:
    """Return where the time axis begins: at ``since``, or later, where measuring began."""
    began = min((span.start for span in history.spans()), default=until)
    return min(max(began, since or began), until - _SHORTEST)


def _shade(ax: Axes, history: LagHistory, first: datetime, until: datetime) -> None:
    for start, end, is_ready in _shades(history.spans(), first, until):
        colour = _READY if is_ready else _NOT_READY
        ax.axvspan(
            date2num(start),
            date2num(end),
            facecolor=colour,
            alpha=0.12,
            hatch="" if is_ready else "///",
            edgecolor=colour,
            linewidth=0,
        )
    shown: dict[str, datetime] = {}
    gap = (until - first) / _MOST_MARKS
    for incident in history.incidents():
        last = shown.get(incident.kind)
        if first <= incident.at <= until and (last is None or incident.at - last >= gap):
            shown[incident.kind] = incident.at
            ax.axvline(date2num(incident.at), color=PALETTE[3], linewidth=1, linestyle=":")
            ax.annotate(
                _MARKS[incident.kind],
                (incident.at, 1),
                xycoords=("data", "axes fraction"),
                rotation=90,
                fontsize=7,
                color=INK,
                ha="right",
                va="top",
            )


def _shades(
    spans: Iterable[ReadySpan], first: datetime, until: datetime
) -> list[tuple[datetime, datetime, bool]]:
    """Return the spans to shade, as start, end and whether the table was ready.

    A ready span too short to be seen is merged with the spans around it that were not ready.
    """
    least, shades = (until - first) / _MOST_SHADES, list[tuple[datetime, datetime, bool]]()
    for span in spans:
        start, end = max(span.start, first), min(span.end or until, until)
        if start >= end:
            continue
        is_ready = span.is_ready and end - start >= least
        if shades and not (shades[-1][2] or is_ready):
            start = shades.pop()[0]
        shades.append((start, end, is_ready))
    return shades


def summary(total: pl.DataFrame) -> str:
    """Return what the chart shows in words, for people who can't see it."""
    if not total.height:
        return "nothing was measured in this time"
    greatest = total.row(total["lag"].arg_max() or 0, named=True)
    now = total["lag"][-1]
    return (
        f"{now:,} to go at the last of {total.height:,} measurements, "
        f"at most {greatest['lag']:,} ({greatest['at']:%H:%M:%S} UTC)"
    )
