"""Windows and streams as an analyst meets them: what a wrong argument says, what a frame looks like, what closing does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest

import ktframe
from ktframe.config.settings import Settings, StoreOptions, TableDeclaration
from ktframe.context.context import Context
from ktframe.errors import ConfigurationError, ContextClosedError, UnknownTopicError
from ktframe.testing import FakeBroker

MINUTE = 60_000
MOMENT = pl.Datetime("ms", "UTC")


def at(minute: float) -> datetime:
    """Return the moment so many minutes after 1970 began."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with a few ``orders`` in two partitions, and ``clicks`` of two users."""
    broker = FakeBroker()
    broker.create_topic("orders", 2)
    for minute, key, region, amount in [(1, "a", "EU", 5.0), (2, "b", "US", 7.0), (7, "a", "EU", 6.0)]:
        value = {"region": region, "amount": amount, "order_id": f"o-{key}"}
        broker.produce("orders", key, value, timestamp=minute * MINUTE)
    value = {"region": "EU", "amount": 1.0, "order_id": "o-c"}
    broker.produce("orders", "c", value, timestamp=21 * MINUTE, partition=1)
    for minute, user in [(1, "u1"), (2, "u1"), (50, "u2")]:
        broker.produce("clicks", user, {"user_id": user, "page": "/"}, timestamp=minute * MINUTE)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as kt:
        yield kt


# --- wrong arguments --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"size": 0}, "size must be longer than zero, not 0"),
        ({"size": "5 apples"}, "size: '5 apples' is not a duration"),
        ({"size": 5, "every": 10}, "not longer than size, not 10m for 5m"),
        ({"size": 5, "grace": -1}, "grace must be zero or longer, not -1"),
        ({"size": 5, "idle_after": 0}, "idle_after must be longer than zero"),
        ({"size": 5, "max_future_skew": "x"}, "max_future_skew: 'x' is not a duration"),
        ({"size": "1d", "tz": "Berlin"}, "'Berlin' is not a time zone.*Hint: did you mean 'Europe/Berlin'"),
        ({"size": "1d", "tz": "new york"}, "did you mean 'America/New_York'"),
        ({"size": "2h30m", "tz": "Europe/Berlin"}, "or divide a day, not '2h30m'"),
        ({"size": "1mo", "every": "1w"}, "a whole multiple of every, not 1mo every 1w"),
    ],
)
def test_what_makes_no_windows_is_refused_at_once(kt: Context, arguments: dict[str, Any], said: str) -> None:
    """The error names the argument and what was given, and nothing was started."""
    orders = kt.table("orders")
    with pytest.raises(ConfigurationError, match=f"(?s){said}"):
        orders.window(**arguments)
    assert repr(orders) == "KTable('orders', not started)"


@pytest.mark.parametrize("moment", [5, "2h", "+2h", "yesterday", "now", "5 apples", None])
def test_what_is_no_moment_is_refused(kt: Context, moment: Any) -> None:
    """Numbers, durations without a minus and words are no start; the hint shows how a moment is written."""
    clicks = kt.stream("clicks")
    with pytest.raises(ConfigurationError, match=r"(?s)since=.* is not a moment\..*Hint: give a datetime"):
        clicks.since(moment)
    if moment is not None:
        with pytest.raises(
            ConfigurationError, match=r"(?s)start=.* is not a moment\..*Hint: give a datetime"
        ):
            kt.stream("clicks", start=moment)
        with pytest.raises(ConfigurationError, match=r"(?s)end=.* is not a moment\..*Hint: give a datetime"):
            kt.table("orders").window(5).between(None, moment)


@pytest.mark.parametrize("moment", [timedelta(hours=2), timedelta(0)])
def test_a_moment_in_the_future_is_refused(kt: Context, moment: timedelta) -> None:
    """Reading can't begin in two hours."""
    with pytest.raises(ConfigurationError, match="lies in the future"):
        kt.stream("clicks", start=moment)


@pytest.mark.parametrize("moment", ["2026-10-25 02:30", datetime(2026, 10, 25, 2, 30)])  # noqa: DTZ001 - the point
def test_a_wall_clock_time_that_occurs_twice_needs_an_offset(kt: Context, moment: Any) -> None:
    """In Berlin's 25-hour day half past two says too little; with an offset it is a moment, in UTC it always was."""
    days = kt.table("orders").window("1d", tz="Europe/Berlin")
    with pytest.raises(ConfigurationError, match=r'occurs twice(?s:.*)"2026-10-25T02:30:00\+02:00"'):
        days.between(moment)
    assert days.between("2026-10-25T02:30+01:00").to_polars().height == 0
    assert kt.table("orders").window("1d").between(moment).to_polars().height == 0


def test_a_wall_clock_time_that_is_skipped_is_refused(kt: Context) -> None:
    """There is no half past two on the day that has 23 hours."""
    with pytest.raises(ConfigurationError, match="does not exist in Europe/Berlin"):
        kt.table("orders").window("1d", tz="Europe/Berlin").between("2026-03-29 02:30")


@pytest.mark.parametrize("retention", [0, -5, True, "0d", "-2h", "5 apples", "7 d", "forever", "5"])
def test_a_retention_that_keeps_nothing_or_is_none_is_refused(kt: Context, retention: Any) -> None:
    """A retention of zero, below zero, or that is neither a duration nor bytes raises."""
    with pytest.raises(ConfigurationError, match=r"is neither a duration nor a size"):
        kt.stream("clicks", retention=retention)


@pytest.mark.parametrize("length", ["0s", "-1h", timedelta(0)])
def test_last_must_be_longer_than_zero(kt: Context, length: Any) -> None:
    """``last`` of windows and of events refuses a length that is not positive."""
    for last in (kt.table("orders").window(5).last, kt.stream("clicks").last):
        with pytest.raises(ConfigurationError, match="must be longer than zero"):
            last(length)


def test_final_needs_grace(kt: Context) -> None:
    """Windows without grace never close, whatever kind they are; the hint says what to give."""
    clicks = kt.stream("clicks")
    for windows in (kt.table("orders").window(5), clicks.window(5), clicks.session(5), clicks.sliding(5)):
        with pytest.raises(ConfigurationError, match=r"(?s)without grace never close.*grace="):
            windows.final()


def test_late_without_grace_is_empty_with_its_columns(kt: Context) -> None:
    """Nothing is late where nothing closes."""
    windows = kt.table("orders").window(5)
    assert windows.late().schema == windows.to_polars(metadata=True).schema
    assert windows.late().height == kt.stream("clicks").window(5).late().height == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (((), {}), "an aggregate needs a Polars expression"),
        (((), {"by": "region"}), "an aggregate needs a Polars expression"),
        ((("amount",), {}), "'amount' is not a Polars expression"),
        (((), {"n": "amount"}), "'amount' is not a Polars expression"),
        (((), {"n": 5}), "5 is not a Polars expression"),
        ((([pl.len()],), {}), r"\[.*\] is not a Polars expression"),
        (((), {"n": pl.len(), "by": "regoin"}), "'regoin': there is no such column.*region"),
    ],
)
def test_what_agg_cannot_do_is_refused(kt: Context, arguments: Any, said: str) -> None:
    """Strings, numbers, lists, nothing at all, and a misspelt column."""
    positional, named = arguments
    with pytest.raises(ConfigurationError, match=f"(?s){said}"):
        kt.table("orders").window(5).agg(*positional, **named)


def test_sessions_take_their_groups_when_they_are_made(kt: Context) -> None:
    """agg(by=) and fill=True make no sense there, and the error says where the groups go."""
    sessions = kt.stream("clicks").session("30m", by="user_id")
    with pytest.raises(
        ConfigurationError, match=r"(?s)have their groups already.*by='page' where they are made"
    ):
        sessions.agg(n=pl.len(), by="page")
    with pytest.raises(ConfigurationError, match="exist only where events are"):
        sessions.agg(n=pl.len(), fill=True)


def test_unknown_metadata_is_refused_with_what_there_is(kt: Context) -> None:
    """A windowed table has three such columns; a stream has the key among them as well."""
    with pytest.raises(ConfigurationError, match="choose from partition, offset, timestamp, or True"):
        kt.table("orders").window(5).to_polars(metadata="offsets")
    with pytest.raises(ConfigurationError, match="timestamp, key, is_tombstone, or True"):
        kt.stream("clicks").to_polars(metadata=["timestamp", "kye"])


def test_unknown_topics_are_suggested(kt: Context) -> None:
    """A misspelt topic is found out at the first read, of windows and streams as well."""
    with pytest.raises(UnknownTopicError, match="did you mean 'clicks'"):
        kt.stream("clikcs").window(5).to_polars()
    with pytest.raises(UnknownTopicError, match="did you mean 'orders'"):
        kt.table("ordres").window(5).to_polars()


# --- asking again -----------------------------------------------------------------------------------------------------


def test_a_cell_that_runs_again_gets_the_same_object(kt: Context) -> None:
    """The same windows give the same object, in whichever units they are asked for."""
    window = kt.table("orders").window(5)
    assert kt.table("orders").window("5m") is kt.table("orders").window(timedelta(minutes=5)) is window
    assert kt.table("orders").window("24h", tz="Asia/Tokyo") is kt.table("orders").window(
        "1d", tz="Asia/Tokyo"
    )
    assert kt.stream("clicks", start="-2h") is kt.stream("clicks", start="-120m")
    assert kt.stream("clicks", start="1970-01-01") is kt.stream("clicks", start=date(1970, 1, 1))
    assert kt.stream("clicks", start="-3h", retention="7d") is kt.stream(
        "clicks", start="-3h", retention=timedelta(7)
    )


def test_asking_otherwise_is_refused(kt: Context) -> None:
    """What decides no row can't differ between two of one kind; the error names it."""
    kt.table("orders")
    kt.stream("clicks")
    with pytest.raises(ConfigurationError, match="stream 'clicks' is already there with retention"):
        kt.stream("clicks", retention="7d")
    with pytest.raises(ConfigurationError, match="key_name='key', not 'order'"):
        kt.table("orders", key_name="order")


def test_representations_wait_for_nothing_and_start_nothing(kt: Context, broker: FakeBroker) -> None:
    """In a notebook a fresh object shows what it is; after a read its HTML has rows."""
    window, clicks = kt.table("orders").window("1h", every=5), kt.stream("clicks")
    shown = [repr(window), repr(clicks), repr(clicks.window(5)), repr(clicks.session("30m", by="user_id"))]
    assert shown == [
        "WindowedKTable('orders', '1h/5m', not started)",
        "KStream('clicks', not started)",
        "WindowedKStream('clicks', '5m', not started)",
        "WindowedKStream('clicks', 'session 30m', not started)",
    ]
    assert broker.assigned == []
    assert (window.to_polars().height, len(clicks)) == (8, 3)
    assert repr(window) == "WindowedKTable('orders', '1h/5m', ready, 8 rows; values: json)"
    for each, columns in ((window, ["window_start", "window_end", "key"]), (clicks, ["user_id", "page"])):
        assert all(f"<th>{name}</th>" in each._repr_html_() for name in columns)


# --- closing ----------------------------------------------------------------------------------------------------------


def test_a_window_that_shares_a_store_outlives_the_other(kt: Context) -> None:
    """Quarter hours that are made of five minutes go on when the five minutes are closed, and the other way round."""
    five = kt.table("orders").window(5)
    quarters = kt.table("orders").window(15)
    assert (len(five), len(quarters)) == (4, 3)
    five.close()
    assert len(quarters) == 3
    again = kt.table("orders").window(5)
    quarters.close()
    quarters.close()
    assert len(again) == 4


def test_windows_end_with_their_table_and_can_be_asked_for_again(kt: Context) -> None:
    """A closed table takes its windows with it; the next ``table`` call starts afresh."""
    orders = kt.table("orders")
    windows = [orders.window(5), orders.window(5, grace="1m"), orders.window("1d", tz="Asia/Tokyo")]
    assert [len(each) for each in windows] == [4, 4, 3]
    orders.close()
    for each in windows:
        assert repr(each).endswith("closed)")
        with pytest.raises(ContextClosedError):
            each.to_polars()
    with pytest.raises(ContextClosedError):
        orders.window(5)
    assert len(kt.table("orders").window(5)) == 4


def test_a_window_can_be_closed_without_its_table(kt: Context) -> None:
    """The table, which has a store of its own, goes on."""
    orders = kt.table("orders")
    assert (len(orders), len(orders.window(5))) == (3, 4)
    orders.window(5).close()
    assert (len(orders), len(orders.window(5))) == (3, 4)


def test_windows_of_a_stream_end_with_it(kt: Context) -> None:
    """They read from its store; the stream can be asked for again."""
    clicks = kt.stream("clicks")
    window, narrowed = clicks.window(5), clicks.since("1970-01-01")
    assert (window.to_polars().height, len(narrowed)) == (3, 3)
    clicks.close()
    for each in (clicks, window, narrowed):
        with pytest.raises(ContextClosedError):
            each.to_polars()
    assert len(kt.stream("clicks")) == 3


def test_a_closed_connection_is_named_in_the_error(kt: Context) -> None:
    """Whoever still holds windows of it learns what to do."""
    orders, clicks = kt.table("orders"), kt.stream("clicks")
    windows = [orders.window(5), clicks.session(5)]
    kt.close()
    for each in windows:
        with pytest.raises(ContextClosedError, match=r"open it again"):
            each.to_polars()
    with pytest.raises(ContextClosedError):
        orders.window(5)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_columns_and_dtypes_of_windows(kt: Context) -> None:
    """The window, the key, the fields, the metadata, and whether the window is final, in this order."""
    window = kt.table("orders").window(5)
    fields = {"region": pl.String(), "amount": pl.Float64(), "order_id": pl.String()}
    bounds = {"window_start": MOMENT, "window_end": MOMENT}
    record = {"partition": pl.Int32(), "offset": pl.Int64(), "timestamp": MOMENT}
    frame = window.to_polars(metadata=True, is_final=True)
    expected = pl.Schema({**bounds, "key": pl.String(), **fields, **record, "is_final": pl.Boolean()})
    assert (frame.schema, window.to_polars(metadata="timestamp").columns[-1]) == (expected, "timestamp")
    assert window.schema == window.to_polars().schema == window.get("nobody").schema
    clicks = kt.stream("clicks")
    assert clicks.session(5).to_polars(metadata=True, is_final=True).columns == [
        *bounds, "user_id", "page", *record, "key", "is_tombstone", "is_final"
    ]  # fmt: skip


def test_windows_stay_in_utc_whatever_their_zone(kt: Context) -> None:
    """A day in Tokyo begins at 15:00 UTC, and has UTC columns."""
    frame = kt.table("orders").window("1d", tz="Asia/Tokyo").to_polars()
    assert frame.schema["window_start"] == MOMENT
    assert frame.select("window_start", "window_end").unique().rows() == [(at(-540), at(900))]


def test_a_day_of_25_hours_is_one_window(kt: Context, broker: FakeBroker) -> None:
    """A local day of 25 hours is one window, and each of its two hours after two o'clock is a window of its own."""
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    for key, moment in (("a", second - timedelta(hours=1)), ("b", second)):
        broker.produce("dst", key, {"x": 1}, timestamp=round(moment.timestamp() * 1000))
    days = kt.table("dst").window("1d", tz="Europe/Berlin")
    (day,) = days.agg(n=pl.len()).rows()
    assert day == (datetime(2026, 10, 24, 22, tzinfo=UTC), datetime(2026, 10, 25, 23, tzinfo=UTC), 2)
    hours = kt.table("dst").window("1h", tz="Europe/Berlin")
    assert hours.agg(n=pl.len())["n"].to_list() == [1, 1]
    assert len(list(hours.items("2026-10-25", "2026-10-26"))) == 2


def test_moments_of_any_kind_narrow_alike(kt: Context) -> None:
    """Text, a date, a datetime and a value out of a frame; both sides, one or none; reversed gives no rows."""
    window = kt.table("orders").window(5)
    starts = window.to_polars()["window_start"].sort()
    for start in ("1970-01-01", date(1970, 1, 1), at(0), None):
        assert len(window.between(start, "1970-01-01T00:05Z")) == 2
    assert len(window.between(starts[0], starts[2])) == 2
    assert len(window.between(starts[2], starts[0])) == 0
    assert len(window.between("1970-01-01T00:05").between(None, "1970-01-01T00:10")) == 1


def test_get_and_items_of_windows(kt: Context) -> None:
    """The rows of one key in order of windows; pairs in order of windows, then keys; a range of moments."""
    window = kt.table("orders").window(5)
    assert window.get("a").select("window_start", "amount").rows() == [(at(0), 5.0), (at(5), 6.0)]
    assert [name for name, _ in window.items()] == [(at(0), "a"), (at(0), "b"), (at(5), "a"), (at(20), "c")]
    assert [row["amount"] for _, row in window.items("1970-01-01T00:05", key="a")] == [6.0]


def test_a_filled_aggregate_has_every_window_for_every_group(kt: Context) -> None:
    """Counts and sums are 0 where nothing happened, other values null; a list is missing, not empty."""
    found = kt.table("orders").window(5).agg(
        n=pl.len(), total=pl.col("amount").sum(), mean=pl.col("amount").mean(), by="region", fill=True
    )  # fmt: skip
    assert found.columns == ["window_start", "window_end", "region", "n", "total", "mean"]
    assert found["window_start"].to_list() == [at(minute) for minute in (0, 5, 10, 15, 20) for _ in range(2)]
    assert found.filter(pl.col("n") == 0).select("total", "mean").unique().rows() == [(0.0, None)]
    assert found.schema["n"] == pl.UInt32


def test_the_key_and_the_metadata_can_be_aggregated(kt: Context) -> None:
    """An expression may name them; a stream knows its tombstones."""
    window = kt.table("orders").window("1d")
    found = window.agg(
        keys=pl.col("key").n_unique(), newest=pl.col("timestamp").max(), last=pl.col("offset").max()
    )
    assert found.select("keys", "newest", "last").rows() == [(3, at(21), 2)]
    counted = kt.stream("orders").window("1d").agg(deleted=pl.col("is_tombstone").sum(), n=pl.len(), by="key")
    assert counted.select("key", "deleted", "n").rows() == [("a", 0, 2), ("b", 0, 1), ("c", 0, 1)]


def test_windows_of_fields_keys_classes_and_plain_values(kt: Context, broker: FakeBroker) -> None:
    """Windows follow the table that they are made of: its key, its schema, its column ``value``."""

    @ktframe.entity(topic="orders", key="order_id")
    @dataclass
    class Order:
        order_id: str
        amount: float

    keyed = kt.table("orders", key=["region", "order_id"]).window(5)
    assert keyed.to_polars().columns == ["window_start", "window_end", "region", "amount", "order_id"]
    assert (keyed.get(("EU", "o-a")).height, keyed.get("EU").height) == (2, 0)
    assert kt.table(Order).window(15).get("o-a")["amount"].to_list() == [6.0]
    assert kt.stream(Order).session("1h").agg(total=pl.col("amount").sum())["total"].to_list() == [19.0]
    broker.produce("words", "k", "hello", timestamp=MINUTE)
    words = kt.table("words", value="string").window(5)
    assert words.to_polars().rows() == [(at(0), at(5), "k", "hello")]
    assert words.agg(pl.col("value").first()).rows() == [(at(0), at(5), "hello")]


def test_a_hidden_key_hides_in_windows_too(kt: Context) -> None:
    """``get`` still takes it; a difference can't be told, and says so."""
    window = kt.table("orders", key_name=None).window(5)
    assert window.to_polars().columns == ["window_start", "window_end", "region", "amount", "order_id"]
    assert window.get("a").height == 2
    with pytest.raises(ConfigurationError, match="key_name=None hides the key"):
        window.diff(since=window.to_polars())


def test_fields_named_like_ours_keep_their_names(kt: Context, broker: FakeBroker) -> None:
    """Our columns step aside, in frames, in late rows, in items and in streams."""
    value = {"window_start": 1, "key": "k", "timestamp": "noon"}
    broker.produce("odd", "a", value, timestamp=MINUTE)
    window = kt.table("odd").window(5, grace="1m")
    expected = [
        "record_window_start", "window_end", "record_key", "window_start", "key", "timestamp",
        "partition", "offset", "record_timestamp",
    ]  # fmt: skip
    assert window.to_polars(metadata=True).columns == window.late().columns == expected
    assert [row["window_start"] for _, row in window.items()] == [1]
    assert window.agg(n=pl.len(), by="record_key").select("record_key", "n").rows() == [("a", 1)]
    sessions = kt.stream("odd").session(5, by="record_key")
    assert sessions.agg(pl.col("key").first(), pl.col("record_timestamp").first()).select(
        "record_key", "key", "record_timestamp"
    ).rows() == [("a", "k", at(1))]


def test_an_empty_topic_has_windows_before_its_first_record(kt: Context, broker: FakeBroker) -> None:
    """Everything answers with no rows and the columns that are known; the first record brings its fields."""
    broker.create_topic("new")
    window, stream = kt.table("new").window(5, grace=0), kt.stream("new")
    before = window.to_polars()
    assert (before.columns, before.height) == (["window_start", "window_end", "key"], 0)
    bounds = ["window_start", "window_end"]
    empty = [
        window.agg(n=pl.len(), fill=True),
        *(each.agg(n=pl.len()) for each in (stream.window(5), stream.session(5), stream.sliding(5))),
    ]
    assert [(each.columns, each.height) for each in empty] == [([*bounds, "n"], 0)] * 4
    assert (window.final().to_polars(is_final=True).height, window.late().height) == (0, 0)
    broker.produce("new", "a", {"x": 1}, timestamp=MINUTE)
    assert window.to_polars().rows() == [(at(0), at(5), "a", 1)]
    assert stream.window(5).to_polars().rows() == [(at(0), at(5), 1)]
    assert window.diff(since=before).select("change", "key", "new").rows() == [("inserted", "a", {"x": 1})]


def test_a_difference_takes_any_earlier_frame_of_the_windows(kt: Context, broker: FakeBroker) -> None:
    """Metadata in the old frame does not matter; a frame of something else is refused."""
    orders = kt.table("orders")
    window = orders.window(5)
    before = window.to_polars(metadata=True, is_final=True)
    assert window.diff(since=before).height == 0
    broker.produce("orders", "a", {"region": "EU", "amount": 9.0, "order_id": "o-a"}, timestamp=8 * MINUTE)
    broker.produce("orders", "b", None, timestamp=3 * MINUTE)
    assert sorted(window.diff(since=before).select("change", "window_start", "key").rows()) == [
        ("deleted", at(0), "b"),
        ("updated", at(5), "a"),
    ]
    with pytest.raises(ConfigurationError, match="the old frame has no column 'window_start', 'window_end'"):
        window.diff(since=orders.to_polars())
    with pytest.raises(ConfigurationError, match="the old frame has no column 'key'"):
        window.diff(since=window.agg(n=pl.len()))


def test_late_rows_are_in_late_and_nowhere_else(kt: Context, broker: FakeBroker) -> None:
    """A grace of one minute: what comes after that is counted, shown with its window, and changes no row."""
    broker.create_topic("one")
    for minute, amount in [(1, 1), (20, 2), (2, 3)]:
        broker.produce("one", f"k-{amount}", {"amount": amount}, timestamp=minute * MINUTE)
    window = kt.table("one").window(5, grace="1m")
    assert sorted(window.to_polars(is_final=True).select("amount", "is_final").rows()) == [
        (1, True),
        (2, False),
    ]
    assert window.final().to_polars()["amount"].to_list() == [1]
    assert window.final().agg(total=pl.col("amount").sum())["total"].to_list() == [1]
    assert window.late().select("window_start", "amount", "timestamp").rows() == [(at(0), 3, at(2))]
    assert "late()" in str(window.status())
    events = kt.stream("one").window(5, grace="1m")
    assert sorted(events.to_polars(is_final=True).select("amount", "is_final").rows()) == [
        (1, True),
        (2, False),
    ]
    assert events.late()["amount"].to_list() == [3]


def test_other_tools_read_windows_and_streams(kt: Context) -> None:
    """DuckDB (once rows were read), pyarrow, pandas and Polars take them as they are; async and lazy reads agree."""
    five, clicks = kt.table("orders").window(5), kt.stream("clicks")
    rows = five.to_polars()
    assert len(clicks) == 3
    assert duckdb.sql("select max(window_end) as latest from five").pl().rows() == [(at(25),)]
    assert duckdb.sql("select count(distinct user_id) from clicks").fetchall() == [(2,)]
    assert (pa.table(clicks).num_rows, pl.DataFrame(five).schema) == (3, rows.schema)
    assert pa.table(clicks).to_pandas().columns.to_list() == ["user_id", "page"]
    assert five.lazy().select("key").collect().height == asyncio.run(five.to_polars_async()).height == 4
    assert clicks.session(5).lazy(metadata="key").collect().columns[-1] == "key"


# --- declared ---------------------------------------------------------------------------------------------------------


def test_declared_windows_are_there_after_initialize(broker: FakeBroker, tmp_path: Path) -> None:
    """Windows that a table declares are followed from the start; asking for one gives it, with rows at once."""
    declared = TableDeclaration("shop", topic="orders", key="order_id", windows=(5, "1h", "1d"))
    options = {"tables": {"shop": declared}, "store": StoreOptions()}
    with broker.connect(tmp_path, **options) as kt:
        (shop,) = kt.initialize()
        assert kt.table("shop") is shop
        shop.window("1h").wait_until_ready(progress=False)
        assert shop.window("1h").to_polars(fresh=False).height == 3
        assert repr(shop.window("1d")) == "WindowedKTable('orders', '1d', ready, 3 rows; values: json)"
        assert len(broker.assigned) == 2
    with broker.connect(tmp_path, **options) as kt:
        assert kt.table("shop").window(5).to_polars(fresh=False).height == 4


@pytest.mark.parametrize("windows", [(5.0,), ({"size": 5},), 1.5])
def test_a_declared_window_must_be_minutes_or_text(windows: Any) -> None:
    """The error names the table and shows the spelling."""
    with pytest.raises(ConfigurationError, match=r"(?s)are not windows of table 'shop'.*windows = \[5, "):
        TableDeclaration("shop", windows=windows)


def test_one_declared_window_may_stand_alone() -> None:
    """``windows = 5`` and ``windows = "1h"`` are what they look like."""
    given = [TableDeclaration("shop", windows=each).windows for each in (5, "1h", [5, "1h"])]  # type: ignore[arg-type]
    assert given == [(5,), ("1h",), (5, "1h")]
    assert (
        Settings("fake:9092", tables={"shop": TableDeclaration("shop", windows=(5,))}).tables["shop"].windows
    )


def test_a_session_out_of_sight_can_still_join_one_that_is_shown(kt: Context, broker: FakeBroker) -> None:
    """Whether a session is final is judged among all sessions, not among those that a range leaves."""
    for minute, user in [(1, "a"), (4, "a"), (8.5, "z")]:
        broker.produce("visits", user, {"user_id": user}, timestamp=round(minute * MINUTE))
    visits = kt.stream("visits").session(2, by="user_id", grace=3).between(None, at(3))
    assert visits.to_polars(is_final=True)["is_final"].to_list() == [False]
    chart = visits.chart(n=pl.len(), live=True)._picture  # type: ignore[union-attr]
    assert chart._query.compute().is_open.to_list() == [True]  # type: ignore[union-attr]
    assert visits._recent().provisional == [True]
    assert visits.final().to_polars().height == 0
    broker.produce("visits", "a", {"user_id": "a"}, timestamp=round(2.5 * MINUTE))
    assert visits.agg(n=pl.len())["n"].to_list() == [3]
