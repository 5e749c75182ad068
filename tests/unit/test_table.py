"""What a KTable shows: columns, dtypes, rows, keys, errors, condition."""

from __future__ import annotations

import asyncio
import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from support.waiting import wait_until

import ktframe
from ktframe import Context, StoreOptions
from ktframe.clock import SystemClock
from ktframe.columns import KEY
from ktframe.fold.identity_codec import encode_parts
from ktframe.sync import upkeep
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with an empty topic ``t`` of two partitions."""
    broker = FakeBroker()
    broker.create_topic("t", 2)
    return broker


def test_the_record_key_is_the_first_column_then_the_fields(broker: FakeBroker) -> None:
    """Columns come in schema order behind ``key``."""
    broker.produce("t", "a", {"x": 1, "y": "u"})
    with broker.connect() as kt:
        assert kt.table("t").to_polars().to_dict(as_series=False) == {"key": ["a"], "x": [1], "y": ["u"]}


def test_key_name_renames_or_hides_the_record_key(broker: FakeBroker) -> None:
    """``key_name`` is the column's name, and None leaves the column out; get still takes the key."""
    broker.produce("t", "a", {"x": 1})
    with broker.connect() as kt:
        table = kt.table("t", key_name="id")
        assert table.to_polars().columns == ["id", "x"]
        table.close()
        hidden = kt.table("t", key_name=None)
        assert (hidden.to_polars().columns, hidden["a"], hidden.keys()) == (["x"], {"x": 1}, ["a"])


def test_fields_named_like_our_columns_keep_their_names(broker: FakeBroker) -> None:
    """A field ``key`` makes the record key ``record_key``; metadata steps aside in the same way."""
    broker.produce("t", "a", {"key": 1, "timestamp": "now"}, timestamp=5)
    with broker.connect() as kt:
        frame = kt.table("t").to_polars(metadata=True)
    assert frame.to_dicts() == [
        {
            "record_key": "a",
            "key": 1,
            "timestamp": "now",
            "partition": 0,
            "offset": 0,
            "record_timestamp": datetime(1970, 1, 1, 0, 0, 0, 5000, tzinfo=UTC),
        }
    ]


def test_a_field_whose_name_is_empty_is_one_like_others(broker: FakeBroker, tmp_path: Path) -> None:
    """It keeps its name in frames and rows, in small batches and from the local store."""
    broker.produce("t", "a", {"x": 1, "": "u"})
    expected = {"key": "a", "x": 2, "": "v"}
    with broker.connect(tmp_path) as kt:
        assert kt.table("t").to_polars().columns == ["key", "x", ""]
        broker.produce("t", "a", {"x": 2, "": "v"})
        assert kt.table("t").to_polars().to_dicts() == [expected]
        assert kt.table("t")["a"] == expected
    with broker.connect(tmp_path) as kt:
        assert kt.table("t").to_polars().to_dicts() == [expected]


def test_metadata_columns_have_their_types_whatever_the_rows(broker: FakeBroker) -> None:
    """Partition is Int32, offset Int64, timestamp Datetime(ms, UTC) and null where the record has none."""
    broker.produce("t", "a", {"x": 1}, timestamp=None, partition=1)
    expected = {"partition": pl.Int32, "offset": pl.Int64, "timestamp": pl.Datetime("ms", "UTC")}
    with broker.connect() as kt:
        frame = kt.table("t").to_polars(metadata=True)
        assert {name: frame.schema[name] for name in expected} == expected
        assert frame.select(expected.keys()).rows() == [(1, 0, None)]


def test_an_empty_table_has_its_declared_schema(broker: FakeBroker) -> None:
    """Dtypes do not depend on how many rows there are."""
    with broker.connect() as kt:
        table = kt.table("t", schema={"x": pl.Int16, "y": "String", "z": float})
        expected = pl.Schema({"key": pl.String(), "x": pl.Int16(), "y": pl.String(), "z": pl.Float64()})
        assert (table.to_polars().schema, table.schema, len(table)) == (expected, expected, 0)


def test_an_emptied_table_keeps_its_inferred_schema(broker: FakeBroker) -> None:
    """After the last row is deleted, the columns are still there."""
    broker.produce("t", "a", {"x": 1})
    broker.produce("t", "a", None)
    with broker.connect() as kt:
        assert kt.table("t").to_polars().schema == pl.Schema({"key": pl.String(), "x": pl.Int64()})


@pytest.mark.parametrize(
    ("value", "payload", "expected"),
    [
        ("string", b"\xc3\xa9", "é"),
        ("int", b"\xff\xff\xff\xfe", -2),
        ("long", b"\x00\x00\x00\x00\x00\x00\x01\x00", 256),
        ("bytes", b"\xff\x00", b"\xff\x00"),
        ("bytes", b"", b""),
    ],
)
def test_a_plain_value_is_one_column(
    broker: FakeBroker, value: str, payload: bytes, expected: object
) -> None:
    """string, int, long and bytes values are one column ``value``; an empty value is no tombstone."""
    broker.produce("t", "a", payload)
    with broker.connect() as kt:
        assert kt.table("t", value=value).to_polars().to_dicts() == [{"key": "a", "value": expected}]


@pytest.mark.parametrize(
    ("key_format", "payload", "key"),
    [
        ("int", b"\x00\x00\x00\x07", 7),
        ("long", b"\xff" * 8, -1),
        ("bytes", b"\x00\xff", b"\x00\xff"),
        ("string", b"", ""),
    ],
)
def test_keys_of_every_format_are_found(
    broker: FakeBroker, key_format: str, payload: bytes, key: object
) -> None:
    """Get takes the decoded key, and keys() gives it back."""
    broker.produce("t", payload, {"x": 1})
    with broker.connect() as kt:
        table = kt.table("t", key_format=key_format)
        assert (table[key], table.keys()) == ({"key": key, "x": 1}, [key])


def test_a_missing_key_is_a_default_or_a_key_error(broker: FakeBroker) -> None:
    """Get answers the default, [] raises KeyError, in says no; also for keys of another type."""
    broker.produce("t", "a", {"x": 1})
    with broker.connect() as kt:
        table = kt.table("t")
        assert (table.get("b"), table.get("b", 5), 7 in table, ("a", "b") in table, 1.5 in table) == (
            None,
            5,
            False,
            False,
            False,
        )
        assert table.get_many(["b", "a", "a"]) == [None, {"key": "a", "x": 1}, {"key": "a", "x": 1}]
        with pytest.raises(KeyError, match="'b'"):
            table["b"]


def test_items_yield_a_key_range_in_order(broker: FakeBroker) -> None:
    """``start`` is inclusive, ``end`` exclusive, partitions are merged."""
    for number, key in enumerate("dbac"):
        broker.produce("t", key, {"x": number}, partition=number % 2)
    with broker.connect() as kt:
        table = kt.table("t")
        assert [key for key, _ in table.items()] == ["a", "b", "c", "d"]
        assert list(table.items("b", "d")) == [("b", {"key": "b", "x": 1}), ("c", {"key": "c", "x": 3})]


def test_items_of_a_composite_key_compare_part_by_part(broker: FakeBroker) -> None:
    """A tuple bounds a composite key; a shorter one bounds its first parts."""
    for r, i in [("a", 2), ("b", 1), ("a", 1), ("b", 2)]:
        broker.produce("t", None, {"r": r, "i": i})
    with broker.connect() as kt:
        table = kt.table("t", key=["r", "i"])
        assert [key for key, _ in table.items(("a", 2), ("b", 2))] == [("a", 2), ("b", 1)]
        assert [key for key, _ in table.items("b")] == [("b", 1), ("b", 2)]
        assert table["a", 1] == {"r": "a", "i": 1}


def test_refused_records_keep_their_bytes(broker: FakeBroker) -> None:
    """errors() shows partition, offset, time, key, value and reason, and the older good row stays."""
    broker.produce("t", "a", {"x": 1}, timestamp=1000)
    broker.produce("t", "a", b"{oops", timestamp=2000)
    with broker.connect() as kt:
        table = kt.table("t", stale="show")
        frame = table.errors()
        assert frame.schema["timestamp"] == pl.Datetime("ms", "UTC")
        (row,) = frame.to_dicts()
        assert (row["partition"], row["offset"], row["key"], row["value"]) == (0, 1, b"a", b"{oops")
        assert row["reason"].startswith("not JSON")
        assert table["a"]["x"] == 1
        assert table.status().refused == 1
        assert "1 of 2 records was refused" in str(table.status())


def test_one_key_in_two_partitions_shows_the_newest_row(broker: FakeBroker) -> None:
    """The greatest (timestamp, partition) wins, also where it is a tombstone, and status counts the key."""
    broker.produce("t", "a", {"x": 1}, partition=0, timestamp=20)
    broker.produce("t", "a", {"x": 2}, partition=1, timestamp=10)
    with broker.connect() as kt:
        table = kt.table("t")
        assert (table.to_polars()["x"].to_list(), table["a"]["x"], table.status().contested) == ([1], 1, 1)
        broker.produce("t", "a", None, partition=0, timestamp=9)
        assert (table.to_polars()["x"].to_list(), table["a"]["x"], len(table)) == ([2], 2, 1)
        broker.produce("t", "a", None, partition=0, timestamp=30)
        assert (table.to_polars().height, "a" in table, len(table), table.status().contested) == (
            0,
            False,
            0,
            1,
        )


@pytest.mark.parametrize("is_stored", [False, True])
def test_a_delete_in_another_partition_hides_older_rows(
    broker: FakeBroker, tmp_path: Path, *, is_stored: bool
) -> None:
    """Whichever comes first, the row or the tombstone, and whether the table was opened again in between."""
    broker.create_topic("keys", 3)
    records: list[tuple[str, Any, int, int]] = [
        ("a", {"x": 1}, 0, 10),
        ("b", None, 1, 20),
        ("c", {"x": 2}, 0, 30),
        ("d", {"x": 3}, 0, 5),
        ("a", None, 2, 11),
        ("b", {"x": 4}, 0, 19),  # older than its delete, which was read before
        ("c", None, 1, 29),  # older than its row
        ("d", None, 1, 6),
        ("d", {"x": 5}, 2, 7),
    ]
    place = tmp_path if is_stored else None
    with broker.connect(place) as context:
        for key, value, partition, timestamp in records:
            broker.produce("keys", key, value, partition=partition, timestamp=timestamp)
            with broker.connect(place) if is_stored else nullcontext(context) as kt:
                kt.table("keys").to_polars()
        if not is_stored:
            check_contested_keys(context)
    with broker.connect(place) as context:
        check_contested_keys(context)


def check_contested_keys(context: Context) -> None:
    """Compare every way to read with the two rows that no tombstone hides."""
    table = context.table("keys")
    assert dict(table.to_polars().sort("key").rows()) == {"c": 2, "d": 5}
    assert dict(table.items()) == {"c": {"key": "c", "x": 2}, "d": {"key": "d", "x": 5}}
    rows = table.get_many(["a", "b", "c", "d"])
    assert [row and row["x"] for row in rows] == [None, None, 2, 5]
    assert [key in table for key in "abcd"] == [False, False, True, True]
    windows = table.window("1s").to_polars()
    assert dict(windows.select("key", "x").rows()) == {"c": 2, "d": 5}


def test_an_aggregate_sees_deletes_of_other_partitions_that_wait(broker: FakeBroker) -> None:
    """A row and its tombstone that are not merged yet, in two partitions, are none."""
    for number in range(200):
        broker.produce("t", f"k{number}", {"n": number}, timestamp=1000)
    with broker.connect() as kt:
        window = kt.table("t").window(5)
        assert window.to_polars().height == 200
        window._reader.started().view._next_merge = float("inf")
        broker.produce("t", "new", {"n": 1}, timestamp=5000, partition=0)
        broker.produce("t", "new", None, timestamp=6000, partition=1)
        assert window.agg(n=pl.len())["n"].to_list() == [200]
        assert window.to_polars().height == 200


def test_tombstones_that_delete_by_record_key_in_one_partition_are_said(broker: FakeBroker) -> None:
    """With ``key=`` a tombstone deletes rows of its own partition only: it may have to hide others."""
    broker.produce("t", "a", {"id": 1}, partition=0, timestamp=1)
    broker.produce("t", "a", None, partition=1, timestamp=2)
    with broker.connect() as kt:
        table = kt.table("t", key="id")
        assert table.to_polars().height == 1
        (notice,) = table.position().notices
        assert (
            notice
            == "tombstones deleted rows of their own partition only (1 so far): no field is the record key"
        )


def test_tombstones_are_kept_no_longer_than_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day after they came they go from view and store, but those that hide a row."""
    monkeypatch.setattr(upkeep, "_TIDY_SECONDS", 0.0)
    broker = FakeBroker()
    broker.create_topic("one", cleanup_policy="compact", delete_retention_ms=10 * 86_400_000)
    broker.create_topic("two", 2, cleanup_policy="compact", delete_retention_ms=10 * 86_400_000)
    broker.create_topic("kept", 2)
    for topic, partition in (("one", 0), ("two", 1), ("kept", 1)):
        broker.produce(topic, "gone", {"x": 1}, partition=partition, timestamp=5)
        broker.produce(topic, "hidden", {"x": 2}, partition=0, timestamp=6)
        broker.produce(topic, "gone", None, partition=partition, timestamp=7)
        broker.produce(topic, "hidden", None, partition=partition, timestamp=8)
    days = 0.0
    now = SystemClock.now
    monkeypatch.setattr(SystemClock, "now", lambda clock: now(clock) + timedelta(days=days))
    with broker.connect(tmp_path, store=StoreOptions(flush_interval=0.01)) as kt:
        assert [kt.table(topic).to_polars().height for topic in ("one", "two", "kept")] == [0, 0, 0]
        # Backdated as they are, they have just come: an older row may follow, as in a backfill.
        assert stored(kt.table("one")) == {"gone": [0], "hidden": [0]}
        assert stored(kt.table("two")) == stored(kt.table("kept")) == {"gone": [1], "hidden": [0, 1]}
        broker.produce("two", "gone", {"x": 0}, partition=0, timestamp=4)
        assert kt.table("two").to_polars().height == 0
        broker.produce("two", "gone", None, partition=0, timestamp=9)
        assert kt.table("two").to_polars().height == 0
    days = 11.0
    with broker.connect(tmp_path, store=StoreOptions(flush_interval=0.01)) as kt:
        table, only = kt.table("two"), kt.table("one")
        assert (table.to_polars().height, kt.table("kept").to_polars().height, len(only)) == (0, 0, 0)
        wait_until(lambda: stored(only) == {}, "tombstones that hide nothing to go")
        wait_until(lambda: stored(table) == {"hidden": [0, 1]}, "old tombstones to go")
        assert table._reader.started().view.lines()[1][KEY].to_list() == ["hidden"]
        assert stored(kt.table("kept")) == {"gone": [1], "hidden": [0, 1]}
        assert "hidden" not in table
    broker.delete_records("kept", 2, partition=1)
    with broker.connect(tmp_path) as kt:
        assert kt.table("kept").to_polars().height == 0
        assert stored(kt.table("kept")) == {"hidden": [0, 1]}


def stored(table: ktframe.KTable) -> dict[str, list[int]]:
    """Return the partitions in which the store has a row or a tombstone of three keys."""
    names = ("fresh", "gone", "hidden")
    places = table._reader.started().store.get_many([encode_parts([name]) for name in names])
    return {name: [p for p, _ in rows] for name, rows in zip(names, places, strict=True) if rows}


def test_rows_without_record_key_are_reported(broker: FakeBroker) -> None:
    """With null record keys, status says that deletes can't be seen."""
    broker.produce("t", None, {"id": 1})
    with broker.connect() as kt:
        table = kt.table("t", key="id")
        assert (len(table), table.status().sees_deletes) == (1, False)
        assert "some rows have no record key: no tombstone can delete them" in str(table.status())


def test_event_time_comes_from_the_named_field(broker: FakeBroker) -> None:
    """``time=`` makes the field the timestamp of the row and the stream time; garbage is null."""
    broker.produce("t", "a", {"at": "2026-01-01T00:00:00Z"}, timestamp=5)
    broker.produce("t", "b", {"at": "soon"}, timestamp=5)
    with broker.connect() as kt:
        table = kt.table("t", time="at")
        times = dict(table.to_polars(metadata=True).select("key", "timestamp").rows())
        assert times == {"a": datetime(2026, 1, 1, tzinfo=UTC), "b": None}
        assert table.position().stream_time == datetime(2026, 1, 1, tzinfo=UTC)


def test_mixed_shapes_unite_their_columns(broker: FakeBroker) -> None:
    """Fields of any record become columns, whenever they appear; nothing vanishes."""
    broker.produce("t", "a", {"x": 1})
    with broker.connect() as kt:
        table = kt.table("t")
        assert table.to_polars().columns == ["key", "x"]
        broker.produce("t", "b", {"y": {"z": [1]}})
        broker.produce("t", "c", {"x": 1.5, "y": {"w": None}})
        assert table.to_polars().sort("key").to_dicts() == [
            {"key": "a", "x": 1.0, "y": None},
            {"key": "b", "x": None, "y": {"z": [1], "w": None}},
            {"key": "c", "x": 1.5, "y": {"z": None, "w": None}},
        ]
        assert table["a"] == {"key": "a", "x": 1.0, "y": None}


def test_a_float_never_costs_an_older_integer_its_digits(broker: FakeBroker) -> None:
    """A column that holds an integer beyond 2**53 does not widen to floats: the float is refused."""
    broker.produce("t", "a", {"n": 2**53 + 1})
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        broker.produce("t", "b", {"n": 0.5})
        assert (table.to_polars().rows(), table.errors()["key"].to_list()) == ([("a", 2**53 + 1)], [b"b"])


def test_arrow_tools_read_a_fresh_frame_each_time(broker: FakeBroker) -> None:
    """pyarrow, Polars and DuckDB read the table itself, as of their call."""
    broker.produce("t", "a", {"x": 1})
    with broker.connect() as kt:
        orders = table = kt.table("t")
        assert pa.table(table).to_pydict() == {"key": ["a"], "x": [1]}
        broker.produce("t", "b", {"x": 2})
        assert pl.DataFrame(table).height == 2
        assert duckdb.sql("select sum(x) from orders").fetchall() == [(3,)]
        assert pa.schema(orders).names == ["key", "x"]


def test_the_async_twin_leaves_the_loop_free(broker: FakeBroker) -> None:
    """While to_polars_async waits for a held reader, other tasks run."""
    broker.produce("t", "a", {"x": 1})
    broker.hold()

    async def both(table: ktframe.KTable) -> pl.DataFrame:
        waiting = asyncio.ensure_future(table.to_polars_async())
        await asyncio.sleep(0)
        assert not waiting.done()
        broker.release()
        await table.ready(10)
        return await waiting

    with broker.connect() as kt:
        assert asyncio.run(both(kt.table("t"))).height == 1


def test_a_held_reader_makes_a_fresh_read_wait_then_raise(broker: FakeBroker) -> None:
    """The call never answers without the record: it names partition and reason, and answers once released."""
    with broker.connect(stall_timeout=0.3) as kt:
        table = kt.table("t")
        assert table.to_polars().height == 0
        broker.hold()
        broker.produce("t", "a", {"x": 1}, partition=1)
        with pytest.raises(
            ktframe.NotReadyError, match=r"STALLED \(partitions 1\): no progress for 0.3 s"
        ) as caught:
            table.to_polars()
        assert caught.value.partitions == (1,)
        assert table.to_polars(fresh=False).height == 0
        broker.release()
        assert table.to_polars().height == 1


def test_on_change_tells_rows_and_position(broker: FakeBroker) -> None:
    """A callback gets the number of changed rows; after unsubscribing it gets nothing; its errors hurt nobody."""
    with broker.connect() as kt:
        table = kt.table("t")
        seen: list[ktframe.RowsChanged] = []
        table.on_change(lambda _: 1 / 0)
        unsubscribe = table.on_change(seen.append)
        broker.produce("t", "a", {"x": 1})
        assert len(table) == 1
        wait_until(lambda: len(seen) == 1, "the event")
        assert (seen[0].rows, seen[0].position) == (1, {0: 1, 1: 0})
        unsubscribe()
        broker.produce("t", "b", {"x": 1})
        assert (len(table), len(seen)) == (2, 1)


def test_readers_and_the_writer_do_not_disturb_each_other(broker: FakeBroker) -> None:
    """Four threads read while a fifth produces: no frame ever has fewer rows than had been produced before."""
    failures: list[str] = []
    produced = [0]

    def read(table: ktframe.KTable) -> None:
        for _ in range(30):
            before = produced[0]
            height = table.to_polars().height
            if height < before:
                failures.append(f"{height} < {before}")

    with broker.connect() as kt:
        table = kt.table("t")
        threads = [threading.Thread(target=read, args=(table,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(300):
            broker.produce("t", str(number), {"x": number}, partition=number % 2)
            produced[0] = number + 1
        for thread in threads:
            thread.join()
        assert (failures, len(table)) == ([], 300)


def test_the_repr_says_state_rows_and_lag(broker: FakeBroker) -> None:
    """One line, never a wait; the HTML twin escapes what comes from Kafka."""
    broker.produce("t", "<script>", {"x": "<img onerror>"})
    with broker.connect() as kt:
        table = kt.table("t")
        table.to_polars()
        assert repr(table) == "KTable('t', ready, 1 row; values: json)"
        page = table._repr_html_()
        assert ("<script>" in page, "<img" in page, "&lt;script&gt;" in page) == (False, False, True)


def test_a_table_is_true_without_asking_how_long_it_is(broker: FakeBroker) -> None:
    """``if table:`` must not wait for a topic."""
    broker.hold()
    broker.produce("t", "a", {"x": 1})
    with broker.connect() as kt:
        assert bool(kt.table("t")) is True
