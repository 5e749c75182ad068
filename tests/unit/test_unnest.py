"""``unnest=``: the fields of structs as columns, what names mean then, and what is an error."""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import few_examples

import ktframe
from ktframe.config.settings import TableDeclaration
from ktframe.context.topic_spec import topic_spec
from ktframe.errors import ConfigurationError, NotReadyError, SchemaError
from ktframe.testing import FakeBroker, FakeRegistry

EVENTS: list[Any] = [
    {"id": "e1", "time": "2026-01-01T00:00:00Z", "data": {"oid": "o1", "n": 1, "in": {"x": 1}}},
    {"id": "e2", "time": "2026-01-01T00:00:00Z", "data": None},
    {"id": "e3", "time": "2026-01-01T00:01:00Z"},
    {"id": "e4", "time": "2026-01-01T00:01:00Z", "data": {"oid": "o4", "n": 1.5}},
]


def broker_of(*values: Any) -> FakeBroker:
    """Return a broker whose topic ``t`` has one record per value."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value)
    return broker


def test_fields_are_columns_in_the_place_of_their_struct() -> None:
    """Null structs, and absent ones, give nulls; fields that come later are further columns."""
    broker = broker_of(*EVENTS)
    with broker.connect() as kt:
        table = kt.table("t", unnest="data")
        frame = table.to_polars().sort("key")
        assert frame.columns == ["key", "id", "time", "oid", "n", "in"]
        assert frame["oid"].to_list() == ["o1", None, None, "o4"]
        assert frame["n"].to_list() == [1.0, None, None, 1.5]
        assert table["k0"]["oid"] == "o1"
        assert table.filter(pl.col("n") > 1).to_polars()["id"].to_list() == ["e4"]
        broker.produce("t", "k4", {"data": {"late": True}})
        broker.produce("t", "k0", None)
        frame = table.to_polars()
        assert frame.columns[3:] == ["oid", "n", "in", "late"]
        assert frame.height == 4


def test_several_and_those_inside_of_others() -> None:
    """One after the other: a later name may be a column that an earlier one has given; prefixes where said."""
    with broker_of(*EVENTS).connect() as kt:
        assert kt.table("t", unnest=["data", "in"]).to_polars().columns == [
            "key",
            "id",
            "time",
            "oid",
            "n",
            "x",
        ]
        prefixed = kt.table("t", unnest={"data": "data_", "data_in": ""})
        assert prefixed.to_polars().columns == ["key", "id", "time", "data_oid", "data_n", "x"]


def test_arguments_name_fields_of_records_and_rows_have_columns() -> None:
    """``data.oid`` is a key, a time or a condition as without it; windows and streams show the columns."""
    with broker_of(*EVENTS).connect() as kt:
        keyed = kt.table("t", "data.oid", unnest="data", where=pl.col("data").struct.field("n") > 1)
        assert keyed.to_polars().columns == ["data.oid", "id", "time", "oid", "n"]
        assert keyed["o4"]["n"] == 1.5
        windows = kt.table("t", time="time", unnest="data").window("1d")
        sums = windows.agg(n=pl.col("n").sum(), by="oid").sort("oid", nulls_last=True)
        assert sums.select("oid", "n").rows() == [("o1", 1.0), ("o4", 1.5), (None, 0.0)]
        assert kt.stream("t", unnest="data").to_polars()["oid"].to_list() == ["o1", None, None, "o4"]
        with pytest.raises(SchemaError, match="the key is the field 'oid'") as raised:
            kt.table("t", "oid", unnest="data", on_refused="ignore").to_polars()
        assert "key='data.oid'" in str(raised.value.hint)


def test_late_records_have_the_columns_of_the_windows() -> None:
    """What came after its window had closed is shown alike."""
    broker = FakeBroker()
    for at, n in [(600_000, 1), (0, 2)]:
        broker.produce("t", "k", {"data": {"n": n}}, timestamp=at)
    with broker.connect() as kt:
        windows = kt.table("t", unnest="data").window("1m", grace="1m")
        assert windows.to_polars().columns[-2:] == ["key", "n"]
        assert windows.late(metadata=False)["n"].to_list() == [2]


def test_two_columns_of_one_name_are_an_error_that_says_the_prefix() -> None:
    """Also where the second one comes later, and where it is the field of a key that no record has at the top."""
    broker = broker_of({"id": 1, "data": {"x": 1}})
    with broker.connect() as kt:
        table = kt.table("t", unnest="data")
        assert table.to_polars().columns == ["key", "id", "x"]
        broker.produce("t", "k1", {"id": 2, "data": {"id": 5}})
        with pytest.raises((NotReadyError, SchemaError), match="would be the column 'id'"):
            table.to_polars()
        assert kt.table("t", unnest={"data": "data_"}).to_polars().columns == [
            "key",
            "id",
            "data_x",
            "data_id",
        ]
    with broker_of({"x": 1, "data": {"id": 5}}).connect() as kt:
        keyed = kt.table("t", ["x", "id"], unnest="data")
        with pytest.raises((NotReadyError, SchemaError), match="the key is the field 'id'"):
            keyed.to_polars()


def test_what_has_no_fields() -> None:
    """A name that no record has, a text, and what is declared."""
    with broker_of({"data": {"x": 1}, "id": "e"}).connect() as kt:
        with pytest.raises(SchemaError, match="no record") as raised:
            kt.table("t", unnest="dat").to_polars()
        assert "'data'" in str(raised.value.hint)
        with pytest.raises((NotReadyError, SchemaError), match="'id' is String"):
            kt.table("t", unnest="id").to_polars()
        with pytest.raises(SchemaError, match="'data' is String"):
            kt.table("t", unnest="data", schema={"data": ktframe.Json})
        declared = kt.table("t", unnest="data", schema={"data": pl.Struct({"x": pl.Int64, "y": pl.String})})
        assert declared.to_polars().columns == ["key", "x", "y", "id"]


def test_objects_stay_objects() -> None:
    """A struct that is lifted is neither JSON text where kinds compete, nor a map; the others are refused."""
    values = [{"data": {f"f{n}": n}} for n in range(70)]
    with broker_of(*values, *({"data": "text"} for _ in range(5))).connect() as kt:
        table = kt.table("t", unnest="data", on_refused="ignore")
        assert table.to_polars().shape == (70, 71)
        assert table.status().refused == 5


def test_always_null_is_no_column() -> None:
    """Of a field that was null so far no column is known; it is there when its fields are."""
    broker = broker_of({"id": 1, "data": None})
    with broker.connect() as kt:
        table = kt.table("t", unnest="data")
        assert table.to_polars().columns == ["key", "id"]
        broker.produce("t", "k1", {"id": 2, "data": {"x": 1}})
        assert table.to_polars().columns == ["key", "id", "x"]


def test_a_field_that_is_called_as_its_struct() -> None:
    """It takes the place of that."""
    with broker_of({"data": {"data": {"x": 1}}}).connect() as kt:
        assert kt.table("t", unnest="data").to_polars()["data"].to_list() == [{"x": 1}]


def test_avro_is_shown_alike() -> None:
    """Fields of a registered schema, a nullable record among them."""
    inner = {"type": "record", "name": "D", "fields": [{"name": "x", "type": "int"}]}
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "id", "type": "int"}, {"name": "data", "type": ["null", inner]}],
    }
    broker, registry = FakeBroker(), FakeRegistry()
    schema_id = registry.register("t-value", json.dumps(schema))
    for number, data in enumerate([{"x": 5}, None]):
        body = io.BytesIO()
        fastavro.schemaless_writer(body, fastavro.parse_schema(schema), {"id": number, "data": data})
        broker.produce("t", f"k{number}", b"\0" + schema_id.to_bytes(4, "big") + body.getvalue())
    with broker.connect(registry=registry) as kt:
        frame = kt.table("t", unnest="data").to_polars().sort("key")
        assert frame.rows() == [("k0", 0, 5), ("k1", 1, None)]


def test_rows_are_not_written() -> None:
    """Neither by put nor upsert; deletes have no columns."""
    with broker_of(*EVENTS).connect(writable=True) as kt:
        table = kt.table("t", unnest="data")
        for write in (lambda: table.put({"key": "z", "oid": "q"}), lambda: table.upsert(table.to_polars())):
            with pytest.raises(SchemaError, match="unnest='data'"):
                write()
        table.delete("k0")
        assert len(table) == 3


def test_the_argument_is_part_of_the_store(tmp_path: Path) -> None:
    """Tables with and without it are two, also when they are opened again; a store from before is found as it was."""
    plain = topic_spec("t").settings()
    assert topic_spec("t", unnest="data").settings() == {**plain, "unnest": "(('data', ''),)"}
    broker = broker_of(*EVENTS)
    for _ in range(2):
        with broker.connect(state_dir=tmp_path) as kt:
            assert kt.table("t", unnest="data").to_polars().columns == ["key", "id", "time", "oid", "n", "in"]
            assert kt.table("t").to_polars().columns == ["key", "id", "time", "data"]


def test_entities_and_files_take_it(tmp_path: Path) -> None:
    """A class and a table of ktframe.toml say it once; bytes have no fields, whatever was declared."""

    @ktframe.entity(topic="t", unnest="data")
    @dataclasses.dataclass
    class Event:
        id: str

    declared = TableDeclaration(name="events", topic="t", unnest=["data"])
    with broker_of(*EVENTS).connect(tables={"events": declared}, state_dir=tmp_path) as kt:
        for table in (kt.table(Event), kt.table("events")):
            assert "oid" in table.to_polars().columns
        assert kt.table("events", value="bytes").to_polars().columns == ["key", "value"]


@pytest.mark.parametrize("unnest", [5, [], ["a", "a"], {"a": 1}, [1], b"a", True])
def test_what_it_can_not_be(unnest: Any) -> None:
    """Something else than names, or names with prefixes."""
    with pytest.raises((ConfigurationError, SchemaError), match="unnest"):
        topic_spec("t", unnest=unnest)


VALUES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.integers(0, 3),
        "data": st.none()
        | st.fixed_dictionaries(
            {}, optional={"n": st.integers(0, 3) | st.just(0.5), "t": st.just("x"), "o": st.just({"p": 1})}
        ),
    },
)


@few_examples()
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.none() | VALUES) | st.sampled_from(["read", "reopen"]),
        max_size=12,
    )
)
def test_rows_are_those_that_polars_makes_of_the_struct(steps: list[Any]) -> None:
    """Whenever it is read, and opened again: what ``DataFrame.unnest`` gives of the rows without it."""
    broker = FakeBroker()
    broker.produce("t", "first", {"id": 1, "data": {"n": 1}})
    with tempfile.TemporaryDirectory() as place:
        kt = broker.connect(place)
        for step in [*steps, "read", "reopen", "read"]:
            if step == "reopen":
                kt.close()
                kt = broker.connect(place)
            elif step == "read":
                expected = kt.table("t").to_polars().unnest("data").sort("key")
                assert kt.table("t", unnest="data").to_polars().sort("key").equals(expected)
            else:
                broker.produce("t", *step)
        kt.close()
