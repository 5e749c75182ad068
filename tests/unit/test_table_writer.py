"""Writing through a table: what is sent, what is refused, and that the table has it when the call returns."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import ktframe
from ktframe.context.context import Context
from ktframe.testing import FakeBroker

TOPIC = "orders"


@pytest.fixture
def broker() -> FakeBroker:
    """Return a cluster with a topic of three partitions and two orders."""
    broker = FakeBroker()
    broker.create_topic(TOPIC, partitions=3)
    broker.produce(TOPIC, "o-1", {"region": "EU", "amount": 5}, partition=0)
    broker.produce(TOPIC, "o-2", {"region": "US", "amount": 7}, partition=2)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection that may write."""
    with broker.connect(writable=True) as context:
        yield context


def sent(records: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Return (key, value as an object, partition) of each record."""
    return [
        (key, None if value is None else orjson.loads(value), partition)
        for key, value, partition, *_ in records.rows()
    ]


def test_a_row_that_is_put_is_in_the_table(kt: Context) -> None:
    """A known key goes to its partition, and the call returns when the row is there."""
    orders = kt.table(TOPIC)
    records = orders.put({"key": "o-2", "region": "US", "amount": 8})
    assert sent(records) == [(b"o-2", {"region": "US", "amount": 8}, 2)]
    assert orders.get("o-2", fresh=False) == {"key": "o-2", "region": "US", "amount": 8}
    assert orders.to_polars(fresh=False).height == 2


def test_a_row_may_be_made_of_the_one_that_is_there(kt: Context) -> None:
    """What ``[]`` gives is what ``put`` takes."""
    orders = kt.table(TOPIC)
    orders.put({**orders["o-1"], "amount": 6})
    assert orders["o-1"] == {"key": "o-1", "region": "EU", "amount": 6}


def test_a_frame_goes_back_as_it_came(kt: Context) -> None:
    """An upsert of what the table shows changes nothing."""
    orders = kt.table(TOPIC)
    before = orders.to_polars().sort("key")
    records = orders.upsert(before.lazy())
    assert records["offset"].to_list() == [1, 1]
    assert_frame_equal(orders.to_polars().sort("key"), before)
    assert orders.status().contested == 0


def test_new_keys_go_where_the_partitioner_puts_them(kt: Context, broker: FakeBroker) -> None:
    """A new key has no partition before it is sent, and one afterwards."""
    orders = kt.table(TOPIC)
    draft = orders.put({"key": "new", "region": "EU", "amount": 1}, dry_run=True)
    assert sent(draft) == [(b"new", {"region": "EU", "amount": 1}, None)]
    assert draft["offset"].to_list() == [None]
    assert "new" not in orders
    assert sum(broker.end_offsets(TOPIC, range(3)).values()) == 2
    written = orders.put({"key": "new", "region": "EU", "amount": 1})
    assert written["partition"].to_list() != [None]
    assert "new" in orders


def test_a_key_with_rows_in_several_partitions_is_written_to_all(kt: Context, broker: FakeBroker) -> None:
    """A contested key shows what was put, whichever of its rows had won before."""
    broker.produce(TOPIC, "o-1", {"region": "old", "amount": 0}, partition=1, timestamp=2**41)
    orders = kt.table(TOPIC)
    assert orders["o-1"]["region"] == "old"
    records = orders.put({"key": "o-1", "region": "new", "amount": 1})
    assert sorted(records["partition"]) == [0, 1]
    assert orders["o-1"]["region"] == "new"
    assert sorted(orders.delete("o-1")["partition"]) == [0, 1]
    assert "o-1" not in orders


def test_deleted_keys_are_gone(kt: Context) -> None:
    """Tombstones go where the rows are; a key without a row has nothing written."""
    orders = kt.table(TOPIC)
    assert sent(orders.delete(["o-1", "nobody", "o-2", "o-1"], dry_run=True)) == [
        (b"o-1", None, 0),
        (b"o-2", None, 2),
    ]
    assert len(orders) == 2
    orders.delete("o-1")
    assert orders.keys(fresh=False) == ["o-2"]
    assert orders.delete("nobody").rows() == []


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"key": "o-1", "region": "EU", "amount": 1.5}, "column 'amount': 1.5 is not Int64"),
        ({"key": "o-1", "region": 5, "amount": 1}, "column 'region': 5 is not String"),
        ({"key": "o-1", "region": "EU", "amuont": 1}, "no field 'amuont': there are region, amount"),
        ({"region": "EU", "amount": 1}, "no column 'key'"),
        ({"key": 5, "region": "EU", "amount": 1}, "column 'key': 5 is not String"),
        ({"key": "o-1", "region": "EU", "amount": True}, "column 'amount': True is not Int64"),
        ({"key": None, "region": "EU", "amount": 1}, "'value', row 0: None cannot be written as String"),
        ({"key": "o-1", "region": b"x", "amount": 1}, "column 'region': b'x' is not String"),
    ],
)
def test_what_does_not_fit_is_refused(
    kt: Context, broker: FakeBroker, row: dict[str, Any], says: str
) -> None:
    """Nothing is sent, and the error names the column."""
    with pytest.raises(ktframe.SchemaError) as caught:
        kt.table(TOPIC).put(row)
    assert says in str(caught.value)
    assert sum(broker.end_offsets(TOPIC, range(3)).values()) == 2


def test_one_row_that_does_not_fit_has_the_whole_frame_refused(kt: Context, broker: FakeBroker) -> None:
    """The error names the row, and no other one was sent."""
    rows = pl.DataFrame({"key": ["a", "b", "c"], "region": ["x", "y", "z"], "amount": [1.0, 2.0, 2.5]})
    with pytest.raises(ktframe.SchemaError, match=r"'amount', row 2: 2\.5 is not Int64"):
        kt.table(TOPIC).upsert(rows)
    assert sum(broker.end_offsets(TOPIC, range(3)).values()) == 2


def test_values_that_json_can_not_hold_are_refused(kt: Context, broker: FakeBroker) -> None:
    """Not a number, bytes, an hour of time: each names its column; a null is written as null."""
    broker.create_topic("t")
    table = kt.table("t")
    for value in (
        float("nan"),
        float("inf"),
        b"x",
        datetime(2026, 1, 1, tzinfo=UTC) - datetime(2025, 1, 1, tzinfo=UTC),
    ):
        with pytest.raises(ktframe.SchemaError, match="column 'x', row 1"):
            table.upsert(pl.DataFrame({"key": ["a", "b"], "x": [None, value]}))
    records = table.upsert(pl.DataFrame({"key": ["a"], "x": [None], "y": [Decimal("1.50")]}))
    assert records["value"].to_list() == [b'{"x":null,"y":1.50}']


def test_times_are_written_as_they_are_read(kt: Context, broker: FakeBroker) -> None:
    """A declared time comes back digit by digit, with its zone."""
    broker.create_topic("t")
    schema = {"at": pl.Datetime("us", "UTC"), "day": pl.Date(), "cost": pl.Decimal(12, 2)}
    table = kt.table("t", schema=schema)
    moment = datetime(2026, 11, 24, 9, 30, 0, 250, tzinfo=UTC)
    row = {"key": "a", "at": moment, "day": moment.date(), "cost": Decimal("3.10")}
    table.put(row)
    assert table["a"] == row


def test_keys_of_numbers_are_written_as_such(kt: Context, broker: FakeBroker) -> None:
    """A key is written in the format that the table reads it in."""
    broker.create_topic("t")
    table = kt.table("t", key_format="long")
    table.put({"key": 17, "x": 1})
    assert table.upsert(pl.DataFrame({"key": [17, 18], "x": [2, 3]}))["key"].to_list() == [
        b"\0\0\0\0\0\0\0\x11",
        b"\0\0\0\0\0\0\0\x12",
    ]
    assert table[17] == {"key": 17, "x": 2}
    table.delete(17)
    assert table.keys() == [18]


def test_a_plain_value_is_one_column(kt: Context, broker: FakeBroker) -> None:
    """Texts are written as bytes without quotes."""
    broker.create_topic("t")
    table = kt.table("t", value="string")
    assert table.put({"key": "a", "value": "x"})["value"].to_list() == [b"x"]
    assert table["a"] == {"key": "a", "value": "x"}
    with pytest.raises(ktframe.SchemaError, match="row 0"):
        table.upsert(
            pl.DataFrame({"key": ["a"], "value": [None]}, schema={"key": pl.String, "value": pl.String})
        )


def test_a_table_by_fields_keeps_record_keys(kt: Context, broker: FakeBroker) -> None:
    """A row that is there keeps its record key, a new one gets the field, or the column that is named."""
    broker.create_topic("t")
    broker.produce("t", "customer-1", {"order_id": "a", "customer": "customer-1"})
    table = kt.table("t", key="order_id")
    rows = pl.DataFrame({"order_id": ["a", "b"], "customer": ["customer-1", "customer-2"]})
    assert table.upsert(rows, dry_run=True)["key"].to_list() == [b"customer-1", b"b"]
    assert table.upsert(rows, record_key="customer")["key"].to_list() == [b"customer-1", b"customer-2"]
    assert len(table) == 2
    with pytest.raises(ktframe.SchemaError, match="several fields"):
        kt.table("t", key=["order_id", "customer"]).upsert(rows.with_columns(order_id=pl.lit("c")))


def test_a_tombstone_that_would_delete_others_is_refused(kt: Context, broker: FakeBroker) -> None:
    """Rows that share a record key are deleted together or not at all."""
    broker.create_topic("t")
    for order in ("a", "b"):
        broker.produce("t", "customer-1", {"order_id": order})
    broker.produce("t", "customer-2", {"order_id": "c"})
    table = kt.table("t", key="order_id")
    with pytest.raises(ktframe.SchemaError, match="would delete 1 other rows"):
        table.delete("a")
    table.delete(["a", "b"])
    assert table.keys() == ["c"]
    table.delete("c")
    assert len(table) == 0


def test_a_connection_only_reads_unless_told_otherwise(broker: FakeBroker) -> None:
    """No public call writes, whatever it is given, and each says what would help."""
    rows = pl.DataFrame({"key": ["a"], "x": [1]})
    with broker.connect() as kt:
        table = kt.table(TOPIC)
        for write in (
            lambda: table.put({"key": "a"}),
            lambda: table.upsert(rows),
            lambda: table.delete("o-1"),
            lambda: table.delete("o-1", dry_run=True),
            lambda: kt.publish(TOPIC, rows),
        ):
            with pytest.raises(ktframe.NotWritableError, match="writable=True"):
                write()
    assert sum(broker.end_offsets(TOPIC, range(3)).values()) == 2


def test_publish_writes_records_in_order(kt: Context, broker: FakeBroker) -> None:
    """The key column becomes the record key; only one that is called key leaves the value."""
    broker.create_topic("t")
    rows = pl.DataFrame({"id": [1, 2], "x": ["a", "b"]})
    draft = kt.publish("t", rows, key="id", key_format="long", dry_run=True)
    assert sent(draft)[0] == (b"\0\0\0\0\0\0\0\x01", {"id": 1, "x": "a"}, None)
    kt.publish("t", rows.with_columns(key=pl.lit("k")), key="key")
    kt.publish("t", rows)
    kt.publish("t", rows, key=["id", "x"], key_format="json")
    batch = kt.stream("t").to_polars(metadata=True)
    assert batch["id"].to_list() == [1, 2, 1, 2, 1, 2]
    assert batch["key"].to_list() == ["k", "k", None, None, '{"id":1,"x":"a"}', '{"id":2,"x":"b"}']
    with pytest.raises(ktframe.SchemaError, match="no column 'nobody'"):
        kt.publish("t", rows, key="nobody")
    with pytest.raises(ktframe.UnknownTopicError):
        kt.publish("nowhere", rows)


def test_json_keys_are_structs(kt: Context, broker: FakeBroker) -> None:
    """A key that is an object is one column; ``get`` takes its fields as a tuple, and deletes spell it as it was."""
    broker.create_topic("t")
    broker.produce("t", b'{"region": "EU", "id": 1}', {"x": 1})
    broker.produce("t", b'{"id": 2, "region": "US"}', {"x": 2})
    table = kt.table("t", key_format="json")
    assert table.to_polars().schema["key"] == pl.Struct({"region": pl.String, "id": pl.Int64})
    assert table["EU", 1] == {"key": {"region": "EU", "id": 1}, "x": 1}
    assert table.keys() == [("EU", 1), ("US", 2)]
    assert [key for key, _ in table.items(("US",))] == [("US", 2)]
    assert table.delete(("US", 2))["key"].to_list() == [b'{"id": 2, "region": "US"}']
    table.put({"key": {"region": "EU", "id": 1}, "x": 5})
    assert table.to_polars().to_dicts() == [{"key": {"region": "EU", "id": 1}, "x": 5}]
