"""Live rows: which are shown and in which order, which have just changed, and which may still change."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from support.notebook_page import page_around, threads_of
from support.waiting import wait_until

from ktframe import widgets
from ktframe.config.settings import RetryPolicy
from ktframe.context.context import Context
from ktframe.errors import BrokerError
from ktframe.tables.aggregate import Aggregate
from ktframe.tables.windowed import WindowedTopic
from ktframe.testing import FakeBroker
from ktframe.widgets.live_rows import AggregateRows, LiveRowsPicture, TopicRows
from ktframe.widgets.panel import Panel

MINUTE = 60_000
BEYOND = 253_402_300_800_000 + 5
"""Five milliseconds into the year 10000."""


def at(minute: float) -> datetime:
    """Return the moment so many minutes after 1970 began."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker without topics."""
    return FakeBroker()


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as kt:
        yield kt


def passed(table: Any) -> None:
    """Wait until everything that is in the topic is in the rows."""
    table.to_polars()


def drawn(panel: Panel) -> LiveRowsPicture:
    """Return what a panel of live rows draws."""
    assert isinstance(panel._picture, LiveRowsPicture)
    return panel._picture


def aggregate_of(windows: WindowedTopic, **arguments: Any) -> Aggregate:
    """Return an aggregate with which of its windows are open, as live rows have it."""
    source = drawn(windows.live(**arguments))._source
    assert isinstance(source, AggregateRows)
    return source._query.compute()  # type: ignore[return-value]


# --- order ------------------------------------------------------------------------------------------------------------


def test_the_newest_rows_come_first(kt: Context, broker: FakeBroker) -> None:
    """Rows are in the order of an oracle: by timestamp, then by offset, and last those without a timestamp."""
    rng = random.Random(7)  # noqa: S311 - not cryptography
    broker.create_topic("orders", 2)
    for number in range(60):
        time = rng.choice([None, rng.randrange(20) * MINUTE])
        broker.produce("orders", f"k{number}", {"n": number}, partition=number % 2, timestamp=time)
    table = kt.table("orders")
    passed(table)
    everything = table.to_polars(metadata=True).rows(named=True)
    oldest = datetime.min.replace(tzinfo=UTC)
    order = sorted(everything, key=lambda row: (row["timestamp"] or oldest, row["offset"]), reverse=True)
    found = table._recent(25)
    assert [(row["timestamp"], row["offset"]) for row in order[:25]] == [
        (everything[row]["timestamp"], everything[row]["offset"])
        for row in ([each["n"] for each in everything].index(n) for n in found.rows["n"])
    ]
    assert found.total == 60
    assert table._recent(100).rows.height == 60
    assert table._recent(100).rows["n"].to_list()[-1] in {
        row["n"] for row in everything if not row["timestamp"]
    }


def test_rows_beyond_the_year_9999_are_shown(kt: Context, broker: FakeBroker) -> None:
    """Python has no datetime for them; the page has."""
    broker.produce("far", "a", {"n": 1}, timestamp=MINUTE)
    broker.produce("far", "b", {"n": 2}, timestamp=BEYOND)
    table = kt.table("far")
    passed(table)
    assert table._recent(2).rows["n"].to_list() == [2, 1]
    days = table.window("1d", max_future_skew=None)
    passed(days)
    html = LiveRowsPicture(TopicRows(days, 5)).frame().html
    assert "10000-01-01" in html
    assert "10000-01-01" in drawn(days.live(n=pl.len(), rows=5)).frame().html


def test_windows_are_shown_newest_first(kt: Context, broker: FakeBroker) -> None:
    """Rows are ordered by window, then by time within it."""
    for minute, key in [(12, "a"), (1, "a"), (13, "b"), (3, "b"), (7, "c")]:
        broker.produce("orders", key, {"n": minute}, timestamp=minute * MINUTE)
    windows = kt.table("orders").window(5)
    passed(windows)
    assert windows._recent(4).rows["n"].to_list() == [13, 12, 7, 3]
    assert windows._recent(4).total == 5


# --- changes ----------------------------------------------------------------------------------------------------------


def changed_keys(source: TopicRows) -> list[Any]:
    """Return the keys of the rows that have changed since the last call."""
    found = source.rows()
    return sorted(found.frame["key"].gather(sorted(found.changed)).to_list())


def test_what_came_since_the_last_frame_has_changed(kt: Context, broker: FakeBroker) -> None:
    """By offsets, the first frame has no changed row, a delete is none, and a new partition's rows are."""
    broker.create_topic("orders", 1)
    for key in "abc":
        broker.produce("orders", key, {"n": 1})
    table = kt.table("orders")
    passed(table)
    source = TopicRows(table, 10)
    assert changed_keys(source) == []
    assert changed_keys(source) == []
    broker.produce("orders", "b", {"n": 2})
    broker.produce("orders", "d", {"n": 1})
    passed(table)
    assert changed_keys(source) == ["b", "d"]
    broker.produce("orders", "a", None)
    passed(table)
    assert changed_keys(source) == []
    assert source.rows().total == 3


def test_rows_of_a_recreated_topic_have_changed(kt: Context, broker: FakeBroker) -> None:
    """Although their offsets are lower than those of the old one."""
    for key in "abc":
        broker.produce("orders", key, {"n": 1})
    table = kt.table("orders")
    passed(table)
    source = TopicRows(table, 10)
    source.rows()
    broker.delete_topic("orders")
    broker.produce("orders", "z", {"n": 1})
    passed(table)
    assert changed_keys(source) == ["z"]


def test_changed_values_of_an_aggregate_have_changed(kt: Context, broker: FakeBroker) -> None:
    """Changed values and new windows are marked, and rows that stayed as they were are not."""
    for minute in (1, 2, 7):
        broker.produce("orders", f"k{minute}", {"n": minute}, timestamp=minute * MINUTE)
    windows = kt.table("orders").window(5)
    source = drawn(windows.live(total=pl.col("n").sum()))._source
    assert source.rows().changed == set()
    broker.produce("orders", "k8", {"n": 8}, timestamp=8 * MINUTE)
    broker.produce("orders", "k21", {"n": 21}, timestamp=21 * MINUTE)
    passed(windows)
    found = source.rows()
    assert found.frame["total"].to_list() == [21, 15, 3]
    assert found.changed == {0, 1}
    assert source.rows().changed == set()


def test_a_changed_row_is_marked_by_more_than_colour(kt: Context, broker: FakeBroker) -> None:
    """The page says what a shaded row and a dashed edge mean; changed rows are marked once."""
    broker.produce("orders", "a", {"n": 1})
    table = kt.table("orders")
    passed(table)
    picture = LiveRowsPicture(TopicRows(table, 10))
    assert 'class="changed"' not in picture.frame().html
    broker.produce("orders", "b", {"n": 1})
    passed(table)
    frame = picture.frame()
    assert frame.html.count('<tr class="changed">') == 1
    assert "a shaded row has just changed" in frame.html
    assert 'class="changed"' not in picture.frame().html


# --- what may still change --------------------------------------------------------------------------------------------


@pytest.fixture
def events(broker: FakeBroker) -> FakeBroker:
    """Return the broker with the clicks of two users in one partition, the newest after 60 minutes."""
    rng = random.Random(3)  # noqa: S311 - not cryptography
    times = sorted(rng.sample(range(60), 25))
    for minute in [*times, 60]:
        user = rng.choice("ab")
        broker.produce("clicks", user, {"user": user, "n": minute}, timestamp=minute * MINUTE)
    return broker


@pytest.mark.parametrize("kind", ["table", "hopping", "stream", "session", "sliding"])
def test_windows_with_grace_are_provisional_until_they_are_final(
    kt: Context, events: FakeBroker, kind: str
) -> None:
    """Row by row the opposite of ``is_final``, in live rows and in aggregates."""
    stream = kt.stream("clicks")
    windows: Any = {
        "table": lambda: kt.table("clicks").window(5, grace=10),
        "hopping": lambda: kt.table("clicks").window(10, every=5, grace=10),
        "stream": lambda: stream.window(5, grace=10),
        "session": lambda: stream.session(2, grace=10, by="user"),
        "sliding": lambda: stream.sliding(5, grace=10, by="user"),
    }[kind]()
    told = windows.to_polars(is_final=True, metadata=["offset"])
    keys = ["window_start", "offset", "user"]
    final = {tuple(row[:-1]): row[-1] for row in told.select(*keys, "is_final").rows()}
    found = windows._recent(1_000)
    shown = zip(
        found.rows["window_start"], (offset for _, offset in found.places), found.rows["user"], strict=True
    )
    provisional = dict(zip(shown, found.provisional, strict=True))
    assert provisional == {key: not is_final for key, is_final in final.items()}
    assert set(provisional.values()) == {True, False}
    few = windows._recent(5)
    assert few.provisional == found.provisional[:5]
    aggregate = aggregate_of(windows, n=pl.len(), by=None if kind in ("session", "sliding") else "user")
    group = aggregate.frame.select("window_start", "user").rows()
    by_window = {(start, user): not is_final for (start, _, user), is_final in final.items()}
    assert dict(zip(group, aggregate.is_open, strict=True)) == by_window


@pytest.mark.parametrize("kind", ["table", "stream", "sliding"])
def test_windows_without_grace_are_provisional_while_time_is_in_them(
    kt: Context, events: FakeBroker, kind: str
) -> None:
    """They never close, but a window that time has passed is not marked for ever."""
    stream = kt.stream("clicks")
    windows: Any = {
        "table": lambda: kt.table("clicks").window(7),
        "stream": lambda: stream.window(7),
        "sliding": lambda: stream.sliding(7, by="user"),
    }[kind]()
    passed(windows)
    found = windows._recent(1_000)
    expected = [
        end > at(60) if kind != "sliding" else end >= at(60) for end in found.rows["window_end"].to_list()
    ]
    assert found.provisional == expected
    assert set(expected) == {True, False}


def test_rows_of_a_table_are_never_provisional(kt: Context, events: FakeBroker) -> None:
    """There is no window that could be open."""
    for each in (kt.table("clicks"), kt.stream("clicks")):
        passed(each)
        assert set(each._recent(10).provisional) == {False}


def test_open_windows_have_a_dashed_edge(kt: Context, events: FakeBroker) -> None:
    """The page of an aggregate marks its open windows as that of rows does."""
    windows = kt.table("clicks").window(5, grace=0)
    html = drawn(windows.live(n=pl.len(), rows=50)).frame().html
    assert html.count('<tr class="open">') == aggregate_of(windows, n=pl.len()).is_open.sum() == 1


# --- the panel --------------------------------------------------------------------------------------------------------


def test_pause_holds_the_rows_and_says_since_when(kt: Context, broker: FakeBroker) -> None:
    """What came meanwhile is marked when it goes on."""
    broker.produce("orders", "a", {"n": 1})
    table = kt.table("orders")
    passed(table)
    picture = LiveRowsPicture(TopicRows(table, 10))
    (button,) = picture.controls()
    picture.frame()
    button.value = True
    broker.produce("orders", "b", {"n": 1})
    passed(table)
    held = picture.frame()
    assert picture.frame() is held
    assert "paused: rows as of " in held.html
    assert "1 rows" in held.text
    button.value = False
    frame = picture.frame()
    assert "paused" not in frame.html
    assert frame.html.count('<tr class="changed">') == 1
    for part in (button.layout, button.style, button):
        part.close()


def test_rows_that_may_be_old_are_not_shown_as_live(broker: FakeBroker) -> None:
    """While the broker is away the state stands above them, and above a chart; afterwards it is gone."""
    retry = RetryPolicy(attempts=10_000, initial_delay=0.01, max_delay=0.05, jitter=0)
    with broker.connect(retry=retry) as kt:
        broker.produce("orders", "a", {"n": 1}, timestamp=MINUTE)
        table = kt.table("orders")
        windows = table.window(5)
        panels = windows.live(n=pl.len(), rows=5), windows.chart(n=pl.len(), live=True)
        for each in (table, windows):
            each.wait_until_ready(progress=False)
        shown = [
            LiveRowsPicture(TopicRows(table, 5)),
            *(panel._picture for panel in panels),
        ]
        assert ["ktf-badge" in each.frame().html.split("</style>")[1] for each in shown] == [False] * 3
        broker.go_down(BrokerError("fake:9092", "the plug was pulled"))
        for each in shown:
            wait_until(lambda picture=each: "recovering" in picture.frame().html, "the panel to tell")
            assert "the plug was pulled" in each.frame().text
        broker.come_back()
        for each in (table, windows):
            each.wait_until_ready(progress=False)
        assert ["ktf-badge" in each.frame().html.split("</style>")[1] for each in shown] == [False] * 3


def test_a_live_table_follows_its_topic(
    kt: Context, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the broker to the page, with a thread that ends."""
    page_around(monkeypatch)
    broker.produce("orders", "a", {"n": 1})
    table = kt.table("orders")
    passed(table)
    found = widgets.live(table, every="0.2s")
    found._ipython_display_()
    broker.produce("orders", "b", {"n": 12_345})
    wait_until(lambda: "12345" in repr(found), "the row to be shown")
    found.close()
    wait_until(lambda: not threads_of(found), "its thread to end")
