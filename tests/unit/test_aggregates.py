"""Aggregates of windows: plain frames; charts of them, still and live."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from polars.testing import assert_frame_equal
from support.notebook_page import page_around, threads_of
from support.waiting import wait_until

from ktframe import widgets
from ktframe.context.context import Context
from ktframe.errors import ConfigurationError, ContextClosedError
from ktframe.events import Events
from ktframe.tables.aggregate import Aggregate, AggregateQuery
from ktframe.testing import FakeBroker
from ktframe.widgets.figure import Chart
from ktframe.widgets.panel import Panel
from ktframe.widgets.window_chart import WindowPicture, draw_windows, window_chart

MINUTE = 60_000
BEYOND = 253_402_300_800_000


def at(minute: float) -> datetime:
    """Return the moment so many minutes after 1970 began."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with ``orders`` of two regions, the newest after 21 minutes."""
    broker = FakeBroker()
    for minute, region, amount in [(1, "EU", 5.0), (2, "US", 7.0), (7, "EU", 6.0), (21, "EU", 1.0)]:
        value = {"region": region, "amount": amount}
        broker.produce("orders", f"k{minute}", value, timestamp=minute * MINUTE)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as kt:
        yield kt


def aggregate_of(
    frame: pl.DataFrame, by: tuple[str, ...] = (), is_open: list[bool] | None = None
) -> Aggregate:
    """Return an aggregate of which some windows are open."""
    return Aggregate(
        frame,
        lambda: pl.Series(is_open or [False] * frame.height, dtype=pl.Boolean),
        pl.repeat(value=False, n=frame.height, eager=True),
        by,
    )


def charted(aggregate: Aggregate) -> Chart:
    """Return the chart of an aggregate that stays as it is."""
    query = AggregateQuery(
        name="orders, '5m'",
        events=Events(),
        closes=True,
        compute=lambda: aggregate,
        readiness=lambda: None,  # type: ignore[arg-type, return-value]
    )
    chart = window_chart(query, aggregate, live=False, ax=None)
    assert isinstance(chart, Chart)
    return chart


def queried(panel: object) -> AggregateQuery:
    """Return what a live chart draws."""
    assert isinstance(panel, Panel)
    assert isinstance(panel._picture, WindowPicture)
    return panel._picture._query  # type: ignore[return-value]


def windows(**columns: Any) -> pl.DataFrame:
    """Return a row per five minutes with these columns."""
    count = len(next(iter(columns.values())))
    starts = [at(5 * number) for number in range(count)]
    bounds = {"window_start": starts, "window_end": [start + timedelta(minutes=5) for start in starts]}
    return pl.DataFrame(
        {**bounds, **columns}, schema_overrides=dict.fromkeys(bounds, pl.Datetime("ms", "UTC"))
    )


# --- a frame ----------------------------------------------------------------------------------------------------------


def test_it_is_a_plain_frame_with_the_values_that_polars_gives(kt: Context) -> None:
    """Grouped by hand from the rows, it is the same; also with every window there is."""
    window = kt.table("orders").window(5)
    found = window.agg(total=pl.col("amount").sum(), n=pl.len(), by="region")
    assert type(found) is pl.DataFrame
    assert set(vars(found)) == set(vars(pl.DataFrame()))
    rows = window.to_polars().group_by("window_start", "window_end", "region")
    by_hand = rows.agg(total=pl.col("amount").sum(), n=pl.len()).sort("window_start", "region")
    assert_frame_equal(found, by_hand)
    full = window.agg(n=pl.len(), fill=True)
    assert full["n"].to_list() == [2, 1, 0, 0, 1]
    assert queried(window.chart(n=pl.len(), fill=True, live=True)).compute().is_open.len() == 5
    assert type(kt.stream("orders").window(5).agg(n=pl.len())) is pl.DataFrame


def test_a_frame_stays_and_what_is_drawn_is_what_is_there_now(kt: Context, broker: FakeBroker) -> None:
    """After the table is closed there is no more to be had."""
    window = kt.table("orders").window(5)
    found, query = window.agg(n=pl.len()), queried(window.chart(n=pl.len(), live=True))
    broker.produce("orders", "new", {"region": "EU", "amount": 1.0}, timestamp=22 * MINUTE)
    window.wait_until_ready(progress=False)
    assert window.agg(n=pl.len())["n"].to_list() == [2, 1, 2]
    assert query.compute().frame["n"].to_list() == [2, 1, 2]
    assert found["n"].to_list() == [2, 1, 1]
    kt.close()
    with pytest.raises(ContextClosedError):
        query.compute()


@pytest.mark.parametrize("grace", [None, 0, 4, 20])
def test_open_windows_are_those_that_time_has_not_passed(kt: Context, grace: int | None) -> None:
    """A window is open until the newest record is past its end and its grace."""
    window = kt.table("orders").window(5, grace=grace)
    aggregate = queried(window.chart(n=pl.len(), by="region", live=True)).compute()
    assert_frame_equal(aggregate.frame, window.agg(n=pl.len(), by="region"))
    expected = [end > at(21 - (grace or 0)) for end in aggregate.frame["window_end"].to_list()]
    assert aggregate.is_open.to_list() == expected


# --- what can be plotted ----------------------------------------------------------------------------------------------


def lines_of(drawn: object) -> dict[str, list[float]]:
    """Return the values of the named lines of a chart."""
    assert isinstance(drawn, Figure)
    lines = drawn.axes[0].get_lines()
    return {
        str(line.get_label()): [float(y) for y in line.get_ydata()]
        for line in lines
        if not str(line.get_label()).startswith("_")
    }


def test_one_value_is_drawn_with_a_line_for_each_group(kt: Context) -> None:
    """Numbers may be the groups, too: these are no values."""
    window = kt.table("orders").window(5)
    for chart in (
        window.chart(total=pl.col("amount").sum(), by="amount"),
        window.chart(pl.col("amount").sum().alias("total"), by="amount", fresh=False),
        kt.stream("orders").session(5, by="amount").chart(total=pl.col("amount").sum()),
    ):
        assert isinstance(chart, Chart)
        assert chart.axes[0].get_ylabel() == "total"
        assert sorted(lines_of(chart)) == ["1.0", "5.0", "6.0", "7.0"]
    filled = window.chart(n=pl.len(), fill=True)
    assert len(lines_of(filled)["n"]) == len(window.agg(n=pl.len(), fill=True)) == 5


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"words": pl.col("region").first()},
            r"'words' is String: a chart shows numbers(?s:.*)Hint: give an",
        ),
        (
            {"total": pl.col("amount").sum(), "n": pl.len()},
            r"one value, and these are 2: total, n\.(?s:.*)Hint:",
        ),
        ({"total": pl.col("amonut").sum()}, r"no such column(?s:.*)did you mean 'amount'"),
        ({"total": "amount"}, r"'amount' is not a Polars expression"),
        ({}, "an aggregate needs a Polars expression"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(
    kt: Context, values: dict[str, Any], said: str, *, live: bool
) -> None:
    """A live chart says so before it is shown, too."""
    with pytest.raises(ConfigurationError, match=said):
        kt.table("orders").window(5).chart(**values, by="amount", live=live)


def test_axes_of_the_user_are_drawn_on(kt: Context) -> None:
    """They are returned; a live chart has its own."""
    window = kt.table("orders").window(5)
    figure = Figure()
    FigureCanvasAgg(figure)
    ax: Axes = figure.add_subplot()
    assert window.chart(n=pl.len(), ax=ax) is ax
    assert len(ax.get_lines()) == 2
    with pytest.raises(ConfigurationError, match="leave one of them out"):
        window.chart(n=pl.len(), ax=ax, live=True)


@pytest.mark.parametrize("grace", [None, 0])
def test_without_grace_a_live_chart_calls_no_window_final(kt: Context, grace: int | None) -> None:
    """A late record may change any of them, whatever time it is."""
    orders, clicks = kt.table("orders"), kt.stream("orders")
    for window in (
        orders.window(5, grace=grace),
        clicks.window(5, grace=grace),
        clicks.session(5, grace=grace),
    ):
        shown = repr(window.chart(n=pl.len(), live=True))
        assert ("late records change the others too" in shown) == (grace is None)


# --- how it is drawn --------------------------------------------------------------------------------------------------


def test_open_windows_are_drawn_lighter() -> None:
    """Their line begins at the last closed one; no point is drawn as closed that is not."""
    found = aggregate_of(windows(n=[1, 2, 3, 4]), is_open=[False, False, True, True])
    closed, still_open = charted(found).axes[0].get_lines()
    assert [str(y) for y in closed.get_ydata()] == ["1.0", "2.0", "nan", "nan"]
    assert [str(y) for y in still_open.get_ydata()] == ["nan", "2.0", "3.0", "4.0"]
    assert still_open.get_alpha() < 1


def test_partial_windows_are_drawn_hollow() -> None:
    """They are joined to the first whole one, and a live chart says why."""
    found = aggregate_of(windows(n=[1, 2, 3, 4]), is_open=[False, False, False, True])
    found = replace(found, is_partial=pl.Series([True, False, False, False]))
    whole, hollow = charted(found).axes[0].get_lines()
    assert [str(y) for y in whole.get_ydata()] == ["nan", "2.0", "3.0", "nan"]
    assert [str(y) for y in hollow.get_ydata()] == ["1.0", "2.0", "3.0", "4.0"]
    broker = FakeBroker()
    for minute in (3, 7, 12):
        broker.produce("t", "a", {"n": minute}, timestamp=minute * 60_000)
    with broker.connect() as kt:
        start = datetime.fromtimestamp(6 * 60, UTC)
        shown = repr(kt.table("t", start=start).window(5).chart(n=pl.len(), live=True))
    assert "1 begins before reading does, and lacks records" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([Decimal("1.10"), None, Decimal("3.30")], pl.Decimal(10, 2)),
        ([1.5, float("nan"), None], pl.Float64),
        ([float("inf"), 1.0, -1.0], pl.Float64),
        ([None, None, None], pl.Int64),
        ([2**63 - 1, -(2**63), 0], pl.Int64),
    ],
)
def test_any_numbers_can_be_drawn(values: list[Any], dtype: pl.DataType) -> None:
    """Decimals, nulls, NaN, infinities and the greatest integers; drawn twice, as a live chart is."""
    found = aggregate_of(windows(n=pl.Series(values, dtype=dtype)), is_open=[False, True, True])
    chart = Chart()
    for _ in range(2):
        draw_windows(chart.again(), found, "n", "orders")
        assert chart.png().startswith(b"\x89PNG")
    expected = pl.Series(values, dtype=dtype).cast(pl.Float64).to_list()
    assert str(chart.axes[0].get_lines()[0].get_ydata()[0]) in (str(expected[0]), "nan")


def test_no_windows_are_an_empty_chart() -> None:
    """An aggregate without rows is drawn without lines, with and without groups."""
    empty = windows(region=["x"], n=[1]).clear()
    assert charted(aggregate_of(empty.drop("region"))).png().startswith(b"\x89PNG")
    assert lines_of(charted(aggregate_of(empty, ("region",)))) == {}


def test_more_than_24_groups_are_counted() -> None:
    """The title says how many are left out."""
    frame = pl.concat([windows(region=[f"r{number}"] * 3, n=[1, 2, 3]) for number in range(30)])
    chart = charted(aggregate_of(frame, ("region",)))
    assert len(lines_of(chart)) == 24
    assert chart.axes[0].get_title(loc="left") == "orders, '5m': n (and 6 more groups)"
    assert chart.png().startswith(b"\x89PNG")


def test_groups_are_named_as_they_are() -> None:
    """Null, several columns, names that begin with an underscore, and dollars, which are no mathematics."""
    names = ["_hidden", "$a$ and $b$", None]
    frame = pl.concat(
        [
            windows(region=pl.Series([name], dtype=pl.String), size=[number], n=[1])
            for number, name in enumerate(names)
        ]
    )
    chart = charted(aggregate_of(frame, ("region", "size")))
    legend = chart.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [" _hidden, 0", "$a$ and $b$, 1", "None, 2"]
    assert chart.png().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a" * 100, "日本語の名前" * 9, "EU, WEST, RETAIL, ONLINE"])
@pytest.mark.parametrize("groups", [2, 7, 24])
@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_long_names_leave_room_for_the_lines(name: str, groups: int) -> None:
    """They are cut where there are many; the chart keeps its size frame after frame."""
    frame = pl.concat([windows(region=[f"{number}{name}"], n=[1]) for number in range(groups)])
    found, chart = aggregate_of(frame, ("region",)), Chart()
    for _ in range(3):
        ax = chart.again()
        draw_windows(ax, found, "n", "orders")
        chart.png()
    assert ax.get_position().width > 0.7
    assert ax.get_position().height > 0.4


def test_windows_beyond_the_year_9999_are_left_out_and_counted(kt: Context, broker: FakeBroker) -> None:
    """Neither Python nor matplotlib has such times."""
    broker.produce("far", "a", {"x": 1}, timestamp=MINUTE)
    broker.produce("far", "b", {"x": 1}, timestamp=BEYOND)
    window = kt.table("far").window(5, max_future_skew=None)
    assert window.agg(n=pl.len()).height == 2
    chart = window.chart(n=pl.len())
    assert isinstance(chart, Chart)
    assert lines_of(chart) == {"n": [1.0]}
    assert chart.axes[0].get_title(loc="left").endswith("n (without 1 rows beyond the year 9999)")


# --- live -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_live_chart_is_drawn_again_when_rows_change(
    kt: Context, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how many windows there are and how many may still change, and ends with its table."""
    page = page_around(monkeypatch)
    shown = kt.table("orders").window(5, grace=0).chart(n=pl.len(), live=True)
    assert isinstance(shown, Panel)
    shown._ipython_display_()
    assert "3 windows, 1 rows of 3 may still change" in page.kept(shown)["text/plain"]
    assert page.kept(shown)["image/png"]
    broker.produce("orders", "new", {"region": "EU", "amount": 1.0}, timestamp=31 * MINUTE)
    wait_until(lambda: "4 windows, 1 rows of 4" in repr(shown), "the new window to be drawn")
    kt.close()
    wait_until(lambda: not threads_of(shown), "its thread to end")


def test_the_chart_of_one_window_spans_that_window() -> None:
    """The first window of a topic is not a dot on an axis of years."""
    ax = charted(aggregate_of(windows(n=[1]))).axes[0]
    first, last = ax.get_xlim()
    assert last - first < 1 / 24
    empty = charted(aggregate_of(windows(n=[1]).clear())).axes[0]
    assert [text.get_text() for text in empty.texts] == ["no windows yet"]


def test_glyphs_that_a_font_has_not_are_no_warning() -> None:
    """Names in any script are labels: a box stands for what can't be drawn."""
    plotted = charted(aggregate_of(windows(city=["東京", "서울"], n=[1, 2]), ("city",)))
    assert plotted.png().startswith(b"\x89PNG")


def test_gaps_of_lists_are_empty_lists() -> None:
    """fill=True gives what the expression gives for no rows, a list too."""
    broker = FakeBroker()
    for minute in (1, 16):
        broker.produce("t", "a", {"n": 1.5}, timestamp=minute * 60_000)
    with broker.connect() as kt:
        found = kt.table("t").window(5).agg(x=pl.col("n").implode(), n=pl.len(), fill=True)
    assert found["x"].to_list() == [[1.5], [], [], [1.5]]
    assert found["n"].to_list() == [1, 0, 0, 1]


def test_live_rows_of_an_aggregate_are_asked_of_its_windows(kt: Context) -> None:
    """A frame says where; all arguments are looked at before anything is shown."""
    window = kt.table("orders").window(5)
    panel = window.live(total=pl.col("amount").sum(), by="region", every="2s", rows=2)
    assert isinstance(panel, Panel)
    assert panel._every == 2.0
    assert "4 rows, the newest 2" in repr(window.live(n=pl.len(), by="amount", rows=2))
    assert "5 rows" in repr(window.live(n=pl.len(), fill=True))
    with pytest.raises(
        ConfigurationError, match=r"(?s)shows a table.*Hint: ask windows for it: window\.live\("
    ):
        widgets.live(window.agg(n=pl.len()))  # type: ignore[arg-type]
    for wrong in ({"rows": 0}, {"rows": 201}, {"every": "soon"}, {"by": "regoin"}):
        with pytest.raises(ConfigurationError):
            window.live(n=pl.len(), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("odd", ["orders", 5, pl.DataFrame({"a": [1]}), None])
def test_panels_say_what_they_show(odd: object) -> None:
    """What is no table is refused at once, and what would help is said."""
    for function in (widgets.status, widgets.lag_chart, widgets.live):
        with pytest.raises(ConfigurationError, match="shows a table"):
            function(odd)  # type: ignore[arg-type]
    if odd is not None:
        with pytest.raises(ConfigurationError, match="shows a Context"):
            widgets.dashboard(odd)  # type: ignore[arg-type]
