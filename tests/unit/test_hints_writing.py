"""Hints of what is not written, each followed: the rows are written, and read back as they were."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted
from support.hints import Hint

import ktframe
from ktframe import Context
from ktframe.kafka.outgoing import OutgoingRecords
from ktframe.testing import FakeBroker, FakeRegistry

AVRO = json.dumps(
    {
        "type": "record",
        "name": "R",
        "fields": [{"name": "id", "type": "string"}, {"name": "n", "type": "long"}],
    }
)
ORDERS = ({"id": "o-1", "region": "EU", "n": 1}, {"id": "o-2", "region": "US", "n": 2})


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with two orders, and an empty topic."""
    broker = FakeBroker()
    for order in ORDERS:
        broker.produce("orders", order["id"], order)  # type: ignore[arg-type]
    broker.create_topic("empty")
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection that writes."""
    with broker.connect(writable=True) as context:
        yield context


def _order(**changed: Any) -> dict[str, Any]:
    return {"key": "o-3", **ORDERS[0], "id": "o-3", **changed}


# --- rows of a table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hint", "wrong", "right"),
    [
        (
            Hint("tables/write_checks.py", "table.schema has the columns and their types."),
            {"n": "5"},
            lambda table: {"n": pl.Series(["5"]).cast(table.schema["n"])[0]},
        ),
        (
            Hint("tables/write_checks.py", "table.schema has the columns and their types."),
            {"n": 0.5},
            lambda table: {"n": pl.Series([0.5]).cast(table.schema["n"])[0]},
        ),
    ],
)
def test_a_value_of_the_type_that_the_schema_has_is_put(
    kt: Context, hint: Hint, wrong: dict[str, Any], right: Callable[[Any], dict[str, Any]]
) -> None:
    """What the table's schema says is taken."""
    table = kt.table("orders")
    with hinted(hint):
        table.put(_order(**wrong))
    table.put(_order(**right(table)))
    assert table.to_polars().height == 3


def test_rows_that_would_be_refused_have_the_columns_of_the_schema(kt: Context) -> None:
    """Rows of the table's schema are written."""
    table = kt.table("orders", key="id")
    frame = pl.DataFrame([_order()]).drop("key")
    hint = Hint(
        "tables/write_checks.py", "nothing was written; table.schema has the columns and their types."
    )
    with hinted(hint):
        table.upsert(frame.with_columns(id=pl.lit(None, pl.String)), record_key="region")
    table.upsert(frame.cast({name: table.schema[name] for name in frame.columns}), record_key="region")
    assert table.to_polars().height == 3


def test_a_column_is_dropped_renamed_or_first_written_by_publish(kt: Context) -> None:
    """Without it, under a name that there is, and by the call of the hint the row is written."""
    hint = Hint(
        "tables/write_checks.py",
        "rename or drop the column; a new field is first written by ktframe.publish().",
    )
    table = kt.table("orders")
    frame = pl.DataFrame([_order()]).rename({"region": "regoin"})
    with hinted(hint) as found:
        table.upsert(frame)
    table.upsert(frame.drop("regoin"))
    table.upsert(frame.rename({"regoin": "region"}))
    call = found.calls[0].replace("()", '("orders", frame, key="key")')
    evaluated(call, ktframe=kt, frame=frame)
    table.upsert(frame)
    assert table.get("o-3") == {
        "key": "o-3",
        "id": "o-3",
        "n": 1,
        "region": None,
        "regoin": "EU",
    } | table.get("o-3")


@pytest.mark.parametrize("column", [pl.Series("n", [0.5]), pl.Series("n", [1.0])])
def test_a_column_that_is_cast_is_written(kt: Context, column: pl.Series) -> None:
    """Cast to the type that the table has it is written."""
    table = kt.table("orders")
    frame = pl.DataFrame([_order()]).with_columns(column + 0.25)
    hint = Hint("tables/write_checks.py", "nothing was written; cast the column to its type in table.schema.")
    with hinted(hint):
        table.upsert(frame)
    table.upsert(frame.cast({"n": table.schema["n"]}))
    assert table.to_polars().height == 3


@pytest.mark.parametrize(("name", "read"), [("n", 0), ("l", [])])
def test_what_a_schema_can_hold_is_written(broker: FakeBroker, name: str, read: Any) -> None:
    """The value that would be read is written."""
    registry = FakeRegistry()
    registry.register(
        "empty-value", 'syntax="proto3"; message M { int32 n = 1; repeated int32 l = 2; }', "PROTOBUF"
    )
    hint = Hint(
        "tables/write_checks.py",
        "nothing was written; write what would be read, or a value that the schema of the topic can hold.",
    )
    schema: dict[str, Any] = {"key": pl.String, "n": pl.Int32, "l": pl.List(pl.Int32)}
    row = {"key": "a", "n": 1, "l": [1]}
    with broker.connect(writable=True, registry=registry) as context:
        table = context.table("empty", value="protobuf")
        with hinted(hint):
            table.upsert(pl.DataFrame([{**row, name: None}], schema=schema))
        table.upsert(pl.DataFrame([{**row, name: read}], schema=schema))
        assert table.get("a") == {**row, name: read}


def test_rows_that_share_a_record_key_are_deleted_in_one_call(broker: FakeBroker, kt: Context) -> None:
    """With all their keys they are deleted; a row can be overwritten alone."""
    hint = Hint(
        "tables/write_checks.py", "give all their keys in one call, or write rows that say they are gone."
    )
    for number in (1, 2):
        broker.produce("shared", "customer", {"id": f"o-{number}", "is_gone": False})
    table = kt.table("shared", key="id")
    with hinted(hint):
        table.delete("o-1")
    gone = pl.DataFrame([{"id": "o-1", "is_gone": True}])
    table.upsert(gone)
    assert table.get("o-1")["is_gone"]
    table.delete(["o-1", "o-2"])
    assert table.to_polars().height == 0


def test_a_new_row_has_the_record_key_of_the_hint(kt: Context) -> None:
    """The argument of the hint names its column, and the column that is missed can be added."""
    row = _order()
    del row["key"]
    table = kt.table("orders", key=["region", "id"])
    with hinted(Hint("tables/table_writer.py", "record_key= names the column whose value it is.")):
        table.upsert(pl.DataFrame([row]))
    table.upsert(pl.DataFrame([row]), record_key="id")
    assert len(table) == 3
    by_key = kt.table("orders")
    with hinted(Hint("tables/table_writer.py", "add it to the frame: it holds the key of each row.")):
        by_key.upsert(pl.DataFrame([{**row, "n": 9}]))
    by_key.upsert(pl.DataFrame([{**row, "n": 9}]).with_columns(key=pl.lit("o-3")))
    assert by_key.get("o-3")["n"] == 9


def test_keys_to_delete_are_as_keys_gives_them(kt: Context) -> None:
    """Those, and several in a list, are deleted."""
    hint = Hint("tables/table_writer.py", "keys are as keys() returns them; several are given as a list.")
    table = kt.table("orders")
    with hinted(hint) as found:
        table.delete(5)
    keys = evaluated(f"table.{found.calls[0]}", table=table)
    table.delete(keys[0])
    table.delete(keys[1:])
    assert len(table) == 0


# --- rows of any topic --------------------------------------------------------------------------------------------


def test_rows_are_given_as_the_hint_says(kt: Context) -> None:
    """A frame and a list of dicts are written."""
    with hinted(Hint("tables/topic_writer.py", "give a DataFrame, or a list of dicts.")):
        kt.publish("empty", "rows")
    for rows in (pl.DataFrame([{"n": 1}]), [{"n": 2}]):
        kt.publish("empty", rows)
    assert kt.stream("empty").to_polars()["n"].to_list() == [1, 2]


def test_the_key_is_a_column_of_the_rows(kt: Context) -> None:
    """With the argument of the hint its value is the record key."""
    rows = pl.DataFrame([{"id": "a", "n": 1}])
    with hinted(Hint("tables/topic_writer.py", "key= names the columns that make the record key.")):
        kt.publish("empty", rows, key="key")
    kt.publish("empty", rows, key="id")
    assert kt.table("empty").keys() == ["a"]


@pytest.mark.parametrize("argument", ["value", "key_format"])
def test_a_format_to_write_is_one_of_the_hint(kt: Context, argument: str) -> None:
    """Each of the list is known; those that need a schema say so."""
    rows = pl.DataFrame({"key": ["a"], "value": [b"x"]})
    wrong: dict[str, Any] = {"value": "bytes", argument: "jsno"}
    with hinted(Hint("formats/writers.py", "the formats are {}.")) as found:
        kt.publish("empty", rows, key="key", **wrong)
    assert len(found.names) == 8
    for name in found.names:
        right: dict[str, Any] = {"value": "bytes", argument: name}
        try:
            kt.publish("empty", rows, key="key", **right)
        except ktframe.SchemaError as error:
            assert "no format" not in str(error)  # noqa: PT017 - some need other columns


@pytest.mark.parametrize(
    ("hint", "value", "mended"),
    [
        (Hint("formats/json/writer.py", "cast it to text or a number first."), b"\xff", "ff"),
        (Hint("formats/json/writer.py", "make it null, or text, first."), math.nan, None),
        (Hint("formats/json/writer.py", "make it null, or text, first."), math.inf, "inf"),
    ],
)
def test_a_value_that_json_can_hold_is_written(kt: Context, hint: Hint, value: Any, mended: Any) -> None:
    """As the hint says it is written."""
    with hinted(hint):
        kt.publish("empty", pl.DataFrame({"v": [value]}))
    kt.publish("empty", pl.DataFrame({"v": [mended]}, schema={"v": pl.String}))
    assert kt.stream("empty").to_polars().height == 1


def test_json_text_is_made_as_the_hint_says(broker: FakeBroker, kt: Context) -> None:
    """What the call of the hint gives is written."""
    broker.produce("texts", "a", {"v": 1})
    table = kt.table("texts", schema={"v": ktframe.Json})
    with hinted(Hint("formats/json/writer.py", "json.dumps(value) is the JSON text of a value.")) as found:
        table.put({"key": "b", "v": "{x"})
    text = evaluated(found.calls[0], json=json, value={"x": [1]})
    table.put({"key": "b", "v": text})
    assert table.get("b")["v"] == '{"x": [1]}'


def test_timestamps_are_as_the_hint_says() -> None:
    """From 1 on they are taken."""
    with hinted(Hint("kafka/outgoing.py", "timestamps are milliseconds since 1970, from 1 on.")) as found:
        OutgoingRecords([None], [None], timestamps=[0])
    first = int(found.text.split("from ")[1].split()[0])
    assert len(OutgoingRecords([None], [None], timestamps=[first])) == 1


# --- under a schema -----------------------------------------------------------------------------------------------


def _writing(broker: FakeBroker, registry: FakeRegistry | None, write: Callable[[Context], Any]) -> Any:
    with broker.connect(writable=True, registry=registry) as context:
        return write(context)


def test_a_schema_is_registered_first_where_the_connection_looks(broker: FakeBroker) -> None:
    """With one there the row is written."""
    registry = FakeRegistry()
    hint = Hint(
        "tables/topic_writer.py", "register one first; connect(..., schema_registry=...) says where to look."
    )
    rows = pl.DataFrame([{"id": "a", "n": 1}])
    for known in (None, registry):
        with hinted(hint):
            _writing(broker, known, lambda kt: kt.publish("empty", rows, value="avro"))
    registry.register("empty-value", AVRO)
    _writing(broker, registry, lambda kt: kt.publish("empty", rows, value="avro"))
    assert _writing(broker, registry, lambda kt: kt.stream("empty").to_polars().height) == 1


def test_json_is_not_written_beside_records_with_a_schema(broker: FakeBroker) -> None:
    """With the registry that has the schema the row is written under it."""
    registry = FakeRegistry()
    number = registry.register("avro-value", AVRO)
    broker.produce("avro", "a", registry.prefix(number) + b"\x02a\x02")
    hint = Hint("tables/write_checks.py", "connect(..., schema_registry=...) tells where the schema is.")

    def put(context: Context) -> Any:
        table = context.table("avro", on_refused="ignore")
        table.put({"key": "b", "id": "b", "n": 2})
        return table.to_polars().height

    with hinted(hint):
        _writing(broker, None, put)
    assert _writing(broker, registry, put) == 2


def test_columns_are_those_of_the_avro_schema(broker: FakeBroker) -> None:
    """A column that is missing is added, or has a default in the schema; one that it lacks goes."""
    registry = FakeRegistry()
    registry.register("empty-value", AVRO)
    known = Hint("formats/avro/values.py", "it has {}.")
    missing = Hint(
        "formats/avro/values.py", "add it to the frame, or write under a schema that has a default for it."
    )

    def publish(rows: dict[str, list[Any]]) -> Any:
        return _writing(broker, registry, lambda kt: kt.publish("empty", pl.DataFrame(rows)))

    rows: dict[str, list[Any]] = {"id": ["a"], "n": [1], "x": [1]}
    with hinted(known) as found:
        publish(rows)
    assert found.names == ["id", "n"]
    publish({name: rows[name] for name in found.names})
    with hinted(missing):
        publish({"id": ["b"]})
    publish({"id": ["b"], "n": [2]})
    registry.register("empty-value", AVRO.replace('"type": "long"', '"type": "long", "default": 7'))
    publish({"id": ["c"]})
    written = _writing(broker, registry, lambda kt: kt.stream("empty").to_polars())
    assert written["n"].to_list() == [1, 2, 7]


def test_a_schema_is_registered_with_what_it_refers_to(broker: FakeBroker) -> None:
    """With a reference to the schema that defines the name, rows are written."""
    registry = FakeRegistry()
    text = json.dumps({"type": "record", "name": "Outer", "fields": [{"name": "r", "type": "R"}]})
    registry.register("empty-value", text)
    rows = pl.DataFrame([{"r": {"id": "a", "n": 1}}])
    hint = Hint("formats/avro/schema.py", "register it with a reference to the schema that defines the name.")
    with hinted(hint):
        _writing(broker, registry, lambda kt: kt.publish("empty", rows))
    number = registry.register("R", AVRO)
    registry.register("empty-value", text, R=number)
    _writing(broker, registry, lambda kt: kt.publish("empty", rows))
    assert _writing(broker, registry, lambda kt: kt.stream("empty").to_polars()["r"].to_list()) == [
        {"id": "a", "n": 1}
    ]


def test_under_a_schema_without_encryption_rows_are_written(broker: FakeBroker) -> None:
    """Without the rule they are."""
    registry = FakeRegistry()
    text = AVRO.replace('"type": "string"', '"type": "string", "confluent:tags": ["PII"]')
    rule = {"name": "encrypt", "kind": "TRANSFORM", "type": "ENCRYPT", "mode": "WRITEREAD", "tags": ["PII"]}
    registry.register("empty-value", text, rule_set={"domainRules": [rule]})
    rows = pl.DataFrame([{"id": "a", "n": 1}])
    hint = Hint(
        "formats/writers.py",
        "write with a client that has the keys, such as Confluent's serializers, or under a schema without the rule.",
    )
    with hinted(hint):
        _writing(broker, registry, lambda kt: kt.publish("empty", rows))
    registry.register("empty-value", text)
    _writing(broker, registry, lambda kt: kt.publish("empty", rows))
    assert _writing(broker, registry, lambda kt: kt.stream("empty").to_polars()["id"].to_list()) == ["a"]


def test_a_map_is_written_as_the_hint_says() -> None:
    """Entries as the hint has them are an object."""
    broker = FakeBroker()
    broker.produce("t", "a", b'{"v":{"x":1}}')
    hint = Hint("formats/json/writer.py", 'each key is a text, once: [{"key": "a", "value": 1}].')
    with broker.connect(writable=True) as context:
        table = context.table("t", schema={"v": ktframe.Map(pl.Int64)})
        with hinted(hint) as found:
            table.put({"key": "a", "v": [{"key": "x", "value": 1}] * 2})
        entries = evaluated(found.text.partition(": ")[2].removesuffix("."))
        assert table.put({"key": "a", "v": entries})["value"].to_list() == [b'{"v":{"a":1}}']
