"""Panels and charts for notebooks, which stay up to date below their cell. Imported only where one is shown.

>>> import ktframe
>>> with ktframe.demo(rate=0) as kt:
...     panel = ktframe.widgets.status(kt.table("orders"))
...     kt.table("orders").wait_until_ready().is_ready
True
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import polars as pl
from matplotlib.axes import Axes

from ktframe.config.durations import Duration, parse_seconds
from ktframe.current import CURRENT
from ktframe.errors import ConfigurationError
from ktframe.widgets.dashboard import Connection, DashboardPicture
from ktframe.widgets.figure import Chart
from ktframe.widgets.lag_chart import LagPicture, draw_lag
from ktframe.widgets.live_rows import AggregateRows, LiveRowsPicture, RowSource, TopicRows
from ktframe.widgets.panel import Panel
from ktframe.widgets.protocols import AggregateQuery, Watched, label_of
from ktframe.widgets.status_panel import StatusPicture

__all__ = ["Chart", "Panel", "dashboard", "lag_chart", "live", "status"]
_EVERY_SECONDS: Final = 0.5
_TABLES: Final = "a table, a stream or their windows"
_MOST_ROWS: Final = 200


def __dir__() -> list[str]:
    # What a Tab after ``ktframe.widgets.`` offers: neither modules nor functions that only tables call.
    return __all__


def status(watched: Watched) -> Panel:
    """Return a live panel with the status of a table, a stream or their windows: state, lag, counts, the first rows.

    Reading starts when the panel is made. A cell that ends with the table itself shows the same panel, without starting
    to read.
    """
    _require(watched, Watched, "status", _TABLES)
    watched.readiness()
    return panel_of(watched)


def panel_of(watched: Watched) -> Panel:
    """Return the panel of ``status`` without starting to read."""
    return Panel(StatusPicture(watched))


def lag_chart(watched: Watched, window: Duration = "10m") -> Panel:
    """Return a live chart of how many records were still to be read, per partition and in total.

    Times when the rows were complete are shaded green, others orange and hatched; failures and rebuilds are marked.

    Parameters
    ----------
    watched
        A table, a stream or their windows. Reading starts when the panel is made.
    window
        How far back it shows (``"10m"``, seconds, a timedelta).

    Raises
    ------
    ConfigurationError
        When ``window`` is not a duration.
    """
    _require(watched, Watched, "lag_chart", _TABLES)
    length = timedelta(seconds=parse_seconds("window", window))
    watched.readiness()
    return Panel(LagPicture(watched, length), every=_EVERY_SECONDS)


def live(shown: Watched, every: Duration = "1s", *, rows: int = 10) -> Panel:
    """Return the newest rows of a table, a stream or their windows as they change.

    Changed rows are highlighted, rows of windows that are still open have a dashed edge; a button pauses the panel.
    Windows show an aggregate in the same way: ``window.live(revenue=pl.col("amount").sum(), by="region")``.

    Parameters
    ----------
    shown
        ``ktframe.table(...)``, ``.window(...)``, ``ktframe.stream(...)``.
    every
        The least time between one frame and the next (``"1s"``, seconds, a timedelta).
    rows
        How many rows to show, at most 200.

    Raises
    ------
    ConfigurationError
        When ``every`` is not a duration, or ``rows`` out of range.
    """
    _require(shown, Watched, "live", _TABLES)
    return _live(TopicRows(shown, _checked(rows)), every)


def live_aggregate(query: AggregateQuery, every: Duration, *, rows: int) -> Panel:
    """Return the newest rows of an aggregate as they change; see ``WindowedTopic.live``."""
    return _live(AggregateRows(query, _checked(rows)), every)


def _live(source: RowSource, every: Duration) -> Panel:
    picture = LiveRowsPicture(source)
    return Panel(picture, every=parse_seconds("every", every), controls=picture.controls)


def _checked(rows: int) -> int:
    if type(rows) is not int or not 1 <= rows <= _MOST_ROWS:
        message = f"rows={rows} can't be shown."
        raise ConfigurationError(message, f"give 1 to {_MOST_ROWS}.")
    return rows


def dashboard(connection: Connection | None = None) -> Panel:
    """Return a live overview of all tables, streams and windows of a ``Context``; None: of the default one.

    Raises
    ------
    NotConnectedError
        When there is none.
    """
    if connection is not None:
        _require(connection, Connection, "dashboard", "a Context")
    return Panel(DashboardPicture(connection or CURRENT.required()), every=_EVERY_SECONDS)


def _require(shown: object, kinds: Any, function: str, wanted: str) -> None:
    if not isinstance(shown, kinds):
        message = f"{function}() shows {wanted}, not a {type(shown).__name__}."
        hint = (
            'ask windows for it: window.live(revenue=pl.col("amount").sum()).'
            if isinstance(shown, pl.DataFrame)
            else 'such as ktframe.table("orders").'
        )
        raise ConfigurationError(message, hint)


def plot_lag(watched: Watched, ax: Axes | None = None) -> Chart | Axes:
    """Draw the lag since reading began; see ``MaterializedTopic.plot_lag``."""
    until = datetime.now(UTC)
    if ax is not None:
        draw_lag(ax, watched.history, label_of(watched), None, until)
        return ax
    chart = Chart()
    draw_lag(chart.axes[0], watched.history, label_of(watched), None, until)
    return chart
