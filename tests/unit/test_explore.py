"""Looking at a cluster and at a topic: what the frames hold, and what is said of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import ktframe
from ktframe.context.context import Context
from ktframe.errors import (
    AuthorizationError,
    BrokerError,
    ConfigurationError,
    ContextClosedError,
    NotConnectedError,
    UnknownTopicError,
)
from ktframe.explore.topics import inspect_topic, topics_frame
from ktframe.kafka.sampler import RangesByTopic, Sample
from ktframe.testing import FakeBroker

NOW_MS = 1_790_000_000_000


class Refusing:
    """A sampler that may not read anything."""

    def __init__(self, error: BrokerError) -> None:
        self.error = error
        self.is_closed = False

    def read(self, ranges_by_topic: RangesByTopic, seconds: float) -> dict[str, Sample]:
        """Read nothing, and say why."""
        del seconds
        return {topic: Sample(failure=self.error) for topic in ranges_by_topic}

    def close(self) -> None:
        """Note it."""
        self.is_closed = True


class Silent(FakeBroker):
    """A cluster that tells nothing of its topics but their names."""

    def extents(self, topics: Any) -> dict[str, dict[int, range]]:
        """Leave all out."""
        del topics
        return {}

    def cleanup_policies(self, topics: Any) -> dict[str, str | None]:
        """Tell none."""
        return dict.fromkeys(topics)

    def last_timestamps(self, topics: Any) -> dict[str, int | None]:
        """Tell none."""
        return dict.fromkeys(topics)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with JSON orders in two partitions, an empty topic and an internal one."""
    broker = FakeBroker()
    broker.create_topic("orders", 2)
    for number in range(10):
        value = {"order_id": f"o-{number}", "amount": number / 2, "coupon": "x" if number == 9 else None}
        broker.produce("orders", f"o-{number}", value, partition=number % 2, timestamp=NOW_MS + number)
    broker.produce("orders", "o-0", None, timestamp=NOW_MS + 20)
    broker.create_topic("empty", 3, cleanup_policy="compact")
    broker.create_topic("__consumer_offsets", 50)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to it."""
    with broker.connect() as kt:
        yield kt


# --- topics -------------------------------------------------------------------------------------------------------


def test_topics_has_one_row_per_topic(kt: Context) -> None:
    """Sorted by name, without internal ones, in fixed dtypes."""
    found = kt.topics()
    assert found.schema == {
        "topic": pl.String,
        "partitions": pl.Int32,
        "records": pl.Int64,
        "bytes": pl.Int64,
        "cleanup_policy": pl.String,
        "last_timestamp": pl.Datetime("ms", "UTC"),
    }
    assert found["topic"].to_list() == ["empty", "orders"]
    empty, orders = found.drop("bytes").rows()
    assert empty == ("empty", 3, 0, "compact", None)
    assert orders[:4] == ("orders", 2, 11, "delete")
    assert orders[4].timestamp() * 1_000 == pytest.approx(NOW_MS + 20)
    assert found["bytes"][0] == 0
    assert 400 < found["bytes"][1] < 800


def test_sizes_come_from_the_newest_records() -> None:
    """The bytes of a topic are estimated from its last 25 records per partition, and not from older ones."""
    broker = FakeBroker()
    for number in range(60):
        broker.produce("events", "k", "x" * (9 if number < 35 else 99), timestamp=NOW_MS + number)
    with broker.connect() as kt:
        assert kt.topics()["bytes"].to_list() == [60 * 100]


def test_topics_of_an_empty_cluster_has_its_columns() -> None:
    """No topics: no rows, the same dtypes, and no sampler is opened."""
    found = topics_frame(FakeBroker(), lambda: pytest.fail("nothing to sample"))
    assert (found.height, found.width) == (0, 6)


def test_a_topic_that_may_not_be_read_keeps_its_row(broker: FakeBroker) -> None:
    """What is known stays, sizes in bytes are null, the sampler is closed."""
    sampler = Refusing(AuthorizationError("fake", "no"))
    found = topics_frame(broker, lambda: sampler)
    assert found.select("topic", "records", "bytes").rows() == [("empty", 0, 0), ("orders", 11, None)]
    assert sampler.is_closed


def test_a_topic_of_which_nothing_is_told_keeps_its_row() -> None:
    """A topic whose facts are all unknown has a row of nulls."""
    broker = Silent()
    broker.create_topic("orders", 2)
    assert topics_frame(broker, lambda: pytest.fail("nothing to sample")).rows() == [
        ("orders", 2, *[None] * 4)
    ]


def test_a_sampler_that_can_not_be_opened_costs_the_bytes_alone(broker: FakeBroker) -> None:
    """Without samples the survey lacks sizes, and nothing else."""
    refusal = BrokerError("fake", "no consumers today")

    def refuse() -> Refusing:
        raise refusal

    assert topics_frame(broker, refuse)["bytes"].to_list() == [0, None]


def test_the_last_timestamp_comes_of_the_sample_where_the_cluster_does_not_tell(broker: FakeBroker) -> None:
    """A cluster may not know the last timestamp, as librdkafka's mock cluster does not."""
    broker.last_timestamps = dict.fromkeys  # type: ignore[method-assign, assignment]
    with broker.connect() as kt:
        assert kt.topics()["last_timestamp"].dt.epoch("ms").to_list() == [None, NOW_MS + 20]


def test_topics_of_a_cluster_that_is_down_raises(broker: FakeBroker, kt: Context) -> None:
    """Without an answer from the cluster there is an error and no frame."""
    broker.go_down()
    with pytest.raises(BrokerError, match="down"):
        kt.topics()


def test_a_closed_connection_looks_at_nothing(broker: FakeBroker) -> None:
    """Both calls raise after the connection was closed."""
    kt = broker.connect()
    kt.close()
    for look in (kt.topics, lambda: kt.inspect("orders")):
        with pytest.raises(ContextClosedError):
            look()


def test_the_functions_of_the_package_need_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a connection both functions raise, and name connect and demo."""
    monkeypatch.setattr("ktframe.current.CURRENT.connection", None)
    for look in (ktframe.topics, lambda: ktframe.inspect("orders")):
        with pytest.raises(NotConnectedError):
            look()


# --- inspect ------------------------------------------------------------------------------------------------------


def test_inspect_sums_a_topic_up(kt: Context) -> None:
    """Size, policy, times, formats and shares, in one row of fixed dtypes."""
    found = kt.inspect("orders").summary
    assert found.schema == {
        "topic": pl.String,
        "partitions": pl.Int32,
        "records": pl.Int64,
        "bytes": pl.Int64,
        "cleanup_policy": pl.String,
        "first_timestamp": pl.Datetime("ms", "UTC"),
        "last_timestamp": pl.Datetime("ms", "UTC"),
        "key_format": pl.String,
        "value_format": pl.String,
        "tombstones": pl.Float64,
        "null_keys": pl.Float64,
        "load_seconds": pl.Float64,
    }
    row = found.row(0, named=True)
    assert (row["topic"], row["partitions"], row["records"], row["cleanup_policy"]) == (
        "orders",
        2,
        11,
        "delete",
    )
    assert (row["key_format"], row["value_format"], row["null_keys"]) == ("string", "json", 0.0)
    assert row["tombstones"] == pytest.approx(1 / 11)
    assert found["first_timestamp"].dt.epoch("ms").item() == NOW_MS
    assert found["last_timestamp"].dt.epoch("ms").item() == NOW_MS + 20
    assert 0 <= row["load_seconds"] < 60


def test_inspect_shows_the_newest_records_first(kt: Context) -> None:
    """The samples are as many as were asked for, and readable."""
    found = kt.inspect("orders", sample=3).samples
    assert found.schema == {
        "partition": pl.Int32,
        "offset": pl.Int64,
        "timestamp": pl.Datetime("ms", "UTC"),
        "key": pl.String,
        "value": pl.String,
        "size_bytes": pl.Int64,
        "headers": pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
    }
    last = '{"order_id": "o-9", "amount": 4.5, "coupon": "x"}'
    assert found.drop("timestamp", "headers").rows()[:2] == [
        (0, 5, "o-0", None, 3),
        (1, 4, "o-9", last, 3 + len(last)),
    ]
    assert found.height == 3


def test_inspect_infers_columns_and_lists_partitions(kt: Context) -> None:
    """The columns are those a table would have; the partitions add up."""
    found = kt.inspect("orders")
    assert found.columns.rows() == [
        ("order_id", "String", 0.0, []),
        ("amount", "Float64", 0.0, []),
        ("coupon", "String", 0.9, []),
    ]
    assert found.partitions.rows() == [(0, 0, 6, 6), (1, 0, 5, 5)]
    assert found.partitions.schema == {
        "partition": pl.Int32,
        "start": pl.Int64,
        "end": pl.Int64,
        "records": pl.Int64,
    }


def test_inspect_of_an_empty_topic_has_the_same_columns(kt: Context) -> None:
    """An empty topic has no samples and null formats, in frames of the same dtypes."""
    empty, orders = kt.inspect("empty"), kt.inspect("orders")
    for name in ("summary", "samples", "columns", "partitions"):
        assert getattr(empty, name).schema == getattr(orders, name).schema
    assert (empty.samples.height, empty.columns.height, empty.partitions.height) == (0, 0, 3)
    row = empty.summary.row(0, named=True)
    assert (row["records"], row["bytes"], row["load_seconds"]) == (0, 0, 0.0)
    assert [row[name] for name in ("key_format", "value_format", "tombstones", "first_timestamp")] == [
        None
    ] * 4
    assert repr(empty).splitlines()[:2] == ['ktframe.table("empty")  # no records yet', "3 partitions"]


def test_the_repr_suggests_the_call(kt: Context) -> None:
    """The first line can be run; the rest says what to expect."""
    lines = repr(kt.inspect("orders")).splitlines()
    assert lines[0].startswith(
        'ktframe.table("orders")  # json values, string keys, about 11 records, under 1 s'
    )
    assert lines[1].startswith("2 partitions, about ")
    assert lines[1].endswith(", 9 % tombstones")
    assert re.match(r"cleanup policy delete: .* a table may be partial; oldest record \d+ d", lines[2])
    assert "columns: order_id, amount, coupon" in lines


@pytest.mark.parametrize(
    ("key", "value", "call"),
    [
        (b"k", b"text", 'ktframe.table("t", value="string")'),
        (b"\x00" * 7 + b"\x05", {"a": 1}, 'ktframe.table("t", key_format="long")'),
        (b"\x00" * 3 + b"\x05", b"\x00" * 8, 'ktframe.table("t", value="long", key_format="int")'),
        (b"\xfe\xff", b"\x00\x00\x00\x00\x07\x0ax", 'ktframe.table("t", key_format="bytes")'),
        ({"id": 1}, {"a": 1}, 'ktframe.table("t", key_format="json")'),
        (None, {"a": 1}, 'ktframe.stream("t")'),
        (b"k", None, 'ktframe.table("t")'),
    ],
)
def test_the_suggestion_follows_what_is_in_the_topic(key: Any, value: Any, call: str) -> None:
    """Only what differs from the defaults is said."""
    broker = FakeBroker()
    broker.produce("t", key, value, timestamp=NOW_MS)
    with broker.connect() as kt:
        found = kt.inspect("t")
    assert found.suggestion == call
    assert repr(found).startswith(call)


def test_schema_ids_are_told() -> None:
    """Values that begin with one are hardly readable otherwise."""
    broker = FakeBroker()
    for number in (7, 7, 8):
        broker.produce("t", "k", b"\x00" + number.to_bytes(4, "big") + b"\x0avalue", timestamp=NOW_MS)
    with broker.connect() as kt:
        found = kt.inspect("t")
    assert found.schema_ids == (7, 8)
    assert "values name schema id 7, 8" in repr(found)
    assert found.columns.is_empty()


def test_a_compacted_topic_says_what_may_be_gone() -> None:
    """It says that the last record of each key stays."""
    broker = FakeBroker()
    broker.create_topic("t", cleanup_policy="compact")
    broker.produce("t", "k", {"a": 1}, timestamp=NOW_MS)
    with broker.connect() as kt:
        assert "cleanup policy compact: the last record of each key stays, older ones may be gone" in repr(
            kt.inspect("t")
        )


def test_the_html_shows_the_frames_escaped() -> None:
    """What is in a topic is text, not markup."""
    broker = FakeBroker()
    broker.produce("a&b", "<b>k</b>", {"<i>": "<script>alert(1)</script>"}, timestamp=NOW_MS)
    with broker.connect() as kt:
        shown = kt.inspect("a&b")._repr_html_()
    assert "<script>" not in shown
    assert "<b>k" not in shown
    assert "<i>" not in shown
    assert "a&amp;b" in shown
    assert "&lt;script&gt;alert(1)" in shown


def test_timestamps_beyond_python_are_shown_as_they_can_be() -> None:
    """A record of the year 200,000, one before 1970, one without a time: no error, no nonsense."""
    broker = FakeBroker()
    for at in (6_248_000_000_000_000, -5, None):
        broker.produce("t", "k", {"a": 1}, timestamp=at)
    with broker.connect() as kt:
        found = kt.inspect("t")
        assert found.samples["timestamp"].dt.epoch("ms").to_list() == [6_248_000_000_000_000, -5, None]
        assert "in the future" in repr(found)
        assert "in the future" in found._repr_html_()
        assert kt.topics()["last_timestamp"].dt.epoch("ms").item() == 6_248_000_000_000_000


def test_ages_are_told_in_one_unit() -> None:
    """A record that is three days old is said to be three days old."""
    broker = FakeBroker()
    broker.produce(
        "t", "k", {"a": 1}, timestamp=int((datetime.now(UTC) - timedelta(days=3)).timestamp() * 1_000)
    )
    with broker.connect() as kt:
        assert "oldest record 3 d ago" in repr(kt.inspect("t"))


def test_a_tail_of_holes_is_read_from_the_start() -> None:
    """Markers and compaction may leave nothing near the end."""
    broker = FakeBroker()
    broker.produce("t", "k", {"a": 1}, timestamp=NOW_MS)
    broker.skip("t", 5_000)
    with broker.connect() as kt:
        found = kt.inspect("t")
    assert found.samples["key"].to_list() == ["k"]
    assert found.summary["records"].item() == 5_001


def test_a_topic_without_a_readable_record_has_unknown_facts() -> None:
    """Only holes, or nothing in time: null, not zero."""
    broker = FakeBroker()
    broker.create_topic("t")
    broker.skip("t", 3)
    with broker.connect() as kt:
        found = kt.inspect("t")
    row = found.summary.row(0, named=True)
    assert (row["records"], row["bytes"], row["value_format"], row["load_seconds"]) == (3, None, None, None)
    assert "none could be read in time" in repr(found)


def test_an_unknown_topic_suggests_names(kt: Context) -> None:
    """The error suggests similar names, as that of a table does."""
    with pytest.raises(UnknownTopicError, match="did you mean 'orders'"):
        kt.inspect("order")


def test_a_topic_that_may_not_be_read_is_refused(broker: FakeBroker) -> None:
    """The reason is that of the sample; the sampler is closed all the same."""
    sampler = Refusing(AuthorizationError("fake", "no", resource="topic 'orders'"))
    with pytest.raises(AuthorizationError, match="topic 'orders'"):
        inspect_topic(broker, lambda: sampler, "orders")
    assert sampler.is_closed


@pytest.mark.parametrize("sample", [0, -1, 10_001])
def test_a_sample_has_a_size(kt: Context, sample: int) -> None:
    """A sample of less than one record or more than ten thousand is refused."""
    with pytest.raises(ConfigurationError, match="between 1 and 10,000"):
        kt.inspect("orders", sample=sample)


@pytest.mark.slow
def test_the_demo_can_be_looked_at() -> None:
    """``ktframe.demo(); ktframe.topics()``: the embedded broker tells less, and what it tells is right."""
    with ktframe.demo(rate=0):
        found = ktframe.topics()
        orders = ktframe.inspect("orders", sample=50)
    assert found.select("topic", "partitions", "records").rows() == [
        ("clicks", 4, 21_363),
        ("customers", 4, 1_942),
        ("orders", 4, 20_858),
    ]
    assert found["bytes"].null_count() == found["last_timestamp"].null_count() == 0
    assert (orders.samples.height, orders.summary["value_format"].item()) == (50, "json")
    assert {"order_id", "amount", "items"} <= set(orders.columns["column"])
    assert repr(orders).startswith(
        'ktframe.table("orders")  # json values, string keys, about 20,858 records'
    )


# --- the fake broker ----------------------------------------------------------------------------------------------


def test_the_fake_broker_looks_offsets_up_by_time(broker: FakeBroker) -> None:
    """The first record from then on; the end where there is none, the start of times before 1970."""
    broker.delete_records("orders", 1)
    assert broker.offsets_at("orders", [0, 1], NOW_MS + 3) == {0: 2, 1: 1}
    assert broker.offsets_at("orders", [0, 1], NOW_MS + 100) == {0: 6, 1: 5}
    assert broker.offsets_at("orders", [0, 1], -1) == {0: 1, 1: 0}
    assert broker.cleanup_policy("empty") == "compact"


def test_a_call_for_a_type_with_odd_characters_is_python() -> None:
    """Line breaks, quotes, backslashes and others: pasted it gives the records of that type."""
    broker = FakeBroker()
    odd = ["ü\n", "\"'\\", "\x00\x7f\u2028"]
    for number, name in enumerate(odd * 8):
        broker.produce("t", f"k{number}", {"type": name, f"of{odd.index(name)}": number})
    with broker.connect() as kt:
        calls = kt.inspect("t").suggestions
        assert len(calls) == 4
        for call in calls[:3]:
            table = eval(call, {"ktframe": kt})  # noqa: S307 - the call that was proposed
            assert table.to_polars().height == 8
            table.close()
