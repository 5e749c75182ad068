"""Fields inside of objects as key, time and group: names, types, what is refused, what is stale, and what is written."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hinted import hinted
from support.hints import Hint

import ktframe
from ktframe.config.spelling import similar_fields
from ktframe.errors import SchemaError
from ktframe.formats.field_names import column_name, field_name, field_path
from ktframe.testing import FakeBroker, FakeRegistry

AT = 1_711_848_600_000  # 2024-03-31 01:30 UTC


def _broker(*values: Any) -> FakeBroker:
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value, timestamp=AT)
    return broker


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("id", ("id",)),
        ("after.id", ("after", "id")),
        ("a.b.c", ("a", "b", "c")),
        (r"a\.b", ("a.b",)),
        (r"a\.b.c", ("a.b", "c")),
        (r"a\\.b", ("a\\", "b")),
        (r"a\b", (r"a\b",)),
        ("a\\", ("a\\",)),
        ("", ("",)),
        (".", ("", "")),
        ("a\nb.c", ("a\nb", "c")),
    ],
)
def test_a_dot_leads_into_a_field(name: str, path: tuple[str, ...]) -> None:
    """Unless a backslash is before it."""
    assert field_path(name) == path


@given(st.lists(st.text(alphabet="ab.\\", max_size=5), min_size=2, max_size=4))
def test_every_path_has_a_name(names: list[str]) -> None:
    """What names a nested field is read as its path again."""
    assert field_path(field_name(tuple(names))) == tuple(names)


@given(st.text(alphabet="ab.\\", max_size=6))
def test_a_field_of_the_top_is_named_by_its_own_name(name: str) -> None:
    """Or by one with backslashes: its column is the field."""
    assert column_name(field_name((name,))) == name


def test_similar_fields_are_found_wherever_they_are() -> None:
    """A field of the same name elsewhere comes before one that looks alike."""
    names = ["id_", "after.id", "before.id", "x"]
    assert similar_fields("id", names) == ("after.id", "before.id")
    assert similar_fields("after.di", names) == ("after.id",)
    assert similar_fields("zzzzz", names) == ()


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_nested_key_is_a_column_and_what_get_takes() -> None:
    """Its column comes first, under the name that was given; the object stays as it is."""
    broker = _broker(
        {"after": {"id": 1, "v": "x"}}, {"after": {"id": 2, "v": "y"}}, {"after": {"id": 1, "v": "z"}}
    )
    with broker.connect() as kt:
        table = kt.table("t", key="after.id")
        assert table.to_polars().columns == ["after.id", "after"]
        assert table.get(1) == {"after.id": 1, "after": {"id": 1, "v": "z"}}
        assert sorted(table.keys()) == [1, 2]
        assert [key for key, _ in table.items(2)] == [2]
        pair = kt.table("t", key=["after.id", "after.v"])
        assert pair.get((2, "y"))["after"] == {"id": 2, "v": "y"}


@pytest.mark.parametrize("value", [None, {}, {"after": None}, {"after": {}}, {"after": {"id": None}}])
def test_a_record_without_the_field_is_refused(value: Any) -> None:
    """Whatever is missing on the way; a tombstone is none."""
    with _broker({"after": {"id": 1}}, value).connect() as kt:
        table = kt.table("t", key="after.id", on_refused="ignore")
        assert table.to_polars().height == 1
        reasons = [] if value is None else ["no key: 'after.id' is missing or null"]
        assert table.errors()["reason"].to_list() == reasons


@pytest.mark.parametrize("odd", [1.5, [1], {"x": 1}, "x"])
def test_a_value_that_is_no_key_is_refused(odd: Any) -> None:
    """The type of a nested key is decided as that of a key at the top: no float, no list, no object."""
    with _broker(
        {"after": {"id": 1}}, {"after": {"id": odd}}, {"after": {"id": 2, "n": 1.5}}
    ).connect() as kt:
        table = kt.table("t", key="after.id", on_refused="ignore")
        assert sorted(table.keys()) == [1, 2]
        (reason,) = table.errors()["reason"]
        assert reason.startswith("field 'after.id': wanted Int64")
        assert "ktframe.Json" not in reason  # in text there is no field


def test_a_field_of_the_top_that_is_called_so_comes_first() -> None:
    """Record by record; with a backslash it is the only one."""
    broker = _broker(
        {"a": {"b": 1}, "n": 1},
        {"a.b": 2, "n": 2},
        {"a.b": 3, "a": {"b": 1}, "n": 3},
        {"a.b": None, "a": {"b": 4}, "n": 4},
    )
    with broker.connect() as kt:
        both = kt.table("t", key="a.b")
        assert {key: row["n"] for key, row in both.items()} == {1: 1, 2: 2, 3: 3, 4: 4}
        top = kt.table("t", key=r"a\.b", on_refused="ignore")
        assert {key: row["n"] for key, row in top.items()} == {2: 2, 3: 3}
        declared = kt.table("t", key="a.b", schema={"a.b": pl.Int64}, on_refused="ignore")
        assert {key: row["n"] for key, row in declared.items()} == {2: 2, 3: 3}
        assert both.to_polars().columns.count("a.b") == 1


def test_a_refused_record_makes_its_row_stale_though_the_object_around_its_key_is_odd() -> None:
    """The key is read out of an object of which another field can't be."""
    values = [{"a": {"id": 1, "v": 1}}, {"a": {"id": 2, "v": 1}}, {"a": {"id": 1, "v": "x"}}]
    with _broker(*values).connect() as kt:
        table = kt.table("t", key="a.id", on_refused="ignore")
        assert table.keys() == [2]
        assert table.errors(stale=True)["a.id"].to_list() == [1]


def test_rows_are_found_again(tmp_path: Path) -> None:
    """Key and time are read out of the stored rows, too; without nested names stores are those from before."""
    broker = _broker({"a": {"id": "x", "at": AT}, "n": 1})
    for _ in range(2):
        with broker.connect(state_dir=tmp_path) as kt:
            table = kt.table("t", key="a.id", time="a.at")
            assert table.get("x") == {"a.id": "x", "a": {"id": "x", "at": AT}, "n": 1}
            starts = table.window("1d").to_polars()["window_start"].dt.epoch("ms").to_list()
            assert starts == [AT - AT % 86_400_000]
            assert kt.table("t", key="n").get(1)["a"]["id"] == "x"


def test_tombstones_delete_the_rows_of_their_record_key() -> None:
    """As with a key at the top."""
    broker = _broker({"a": {"id": 1}}, {"a": {"id": 2}})
    broker.produce("t", "k0", None)
    with broker.connect() as kt:
        assert kt.table("t", key="a.id").keys() == [2]


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (AT, None),
        (AT / 1_000, None),
        ("2024-03-31T01:30:00Z", None),
        (AT // 1_000, "s"),
        (AT * 1_000, "us"),
        (19_813, "d"),
    ],
)
def test_a_nested_time_is_read_in_every_form(value: Any, unit: Any) -> None:
    """In windows, in streams and in the windows of these."""
    with _broker({"payload": {"source": {"ts": value}}}).connect() as kt:
        given = {"time": "payload.source.ts", "time_unit": unit}
        day = [AT - AT % 86_400_000]
        for windows in (kt.table("t", **given).window("1d"), kt.stream("t", **given).window("1d")):
            assert windows.to_polars()["window_start"].dt.epoch("ms").to_list() == day
        assert kt.table("t", **given).to_polars().columns == ["key", "payload"]


def test_a_nested_time_in_a_wrong_unit_is_said() -> None:
    """As one of the top is, with the unit that is likely; a datetime inside of a declared object is taken as it is."""
    with _broker({"p": {"at": AT // 1_000}}).connect() as kt:
        windows = kt.table("t", time="p.at").window("1d")
        with pytest.warns(ktframe.KtframeWarning, match="time_unit=\"s\" reads numbers in 'p.at' as seconds"):
            windows.to_polars()
        declared = {"p": pl.Struct({"at": pl.Datetime("ms")})}
        assert kt.table("t", time="p.at", schema=declared).window("1d").to_polars().height == 1


def test_a_part_of_a_key_that_is_always_null_is_not_called_absent() -> None:
    """Where records have the nested field, though with null; where none has it, it is said."""
    with _broker({"p": {"a": 1, "b": None}}).connect() as kt:
        assert kt.table("t", key=["p.a", "p.b"]).to_polars().height == 1
        with pytest.warns(ktframe.KtframeWarning, match=r"no row of 't' has the field 'p\.zzzzzz'"):
            kt.table("t", key=["p.a", "p.zzzzzz"]).to_polars()


def test_integers_of_a_nested_time_stay_integers_and_their_neighbours_do_not() -> None:
    """Without a unit an integer is no float; other numbers of the object widen as ever."""
    values = [{"a": {"at": AT, "n": 1}}, {"a": {"at": AT / 1_000 + 0.5, "n": 1}}, {"a": {"at": AT, "n": 1.5}}]
    with _broker(*values).connect() as kt:
        table = kt.table("t", time="a.at", on_refused="ignore")
        assert table.to_polars()["a"].struct.field("n").to_list() == [1.0, 1.5]
        assert table.errors().height == 1
        assert kt.table("t", time="a.at", time_unit="ms").to_polars().height == 3


# --- groups -----------------------------------------------------------------------------------------------------------


def test_groups_are_nested_fields() -> None:
    """Of windows of tables and streams, and of sessions; the column has the name that was given."""
    values = [{"p": {"region": region}, "n": n} for n, region in enumerate(["EU", "US", "EU"])]
    with _broker(*values).connect() as kt:
        stream = kt.stream("t")
        for windows in (kt.table("t").window("1d"), stream.window("1d")):
            found = windows.agg(n=pl.col("n").sum(), by="p.region")
            assert dict(found.select("p.region", "n").rows()) == {"EU": 2, "US": 1}
            assert windows.agg(n=pl.col("n").sum(), by=["p.region"], fill=True).height == 2
        for grouped in (stream.session("1h", by="p.region"), stream.sliding("1h", by=["p.region"])):
            assert set(grouped.agg(n=pl.len()).select("p.region", "n").rows()) == {("EU", 2), ("US", 1)}
            assert grouped.to_polars().height == 3


def test_a_wrong_group_names_the_nearest_field() -> None:
    """Wherever it is; what is suggested groups."""
    with _broker({"p": {"region": "EU"}}).connect() as kt:
        windows = kt.table("t").window("1d")
        for wrong in ("region", "p.regoin"):
            with hinted(Hint("windows/aggregation.py", "{} There are {}.")) as found:
                windows.agg(n=pl.len(), by=wrong)
            assert found.quoted[0] == "p.region"
        assert windows.agg(n=pl.len(), by=found.quoted[0]).height == 1


# --- declarations and other formats -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Place:
    """What is inside of a shop."""

    city: str
    since: int


@dataclasses.dataclass
class Shop:
    """An entity."""

    place: Place


def test_an_entity_may_name_what_is_inside_of_another() -> None:
    """Its fields are the schema; a name that is in none of them is refused at once."""
    ktframe.entity(topic="t", key="place.city", time="place.since")(Shop)
    with _broker({"place": {"city": "Bonn", "since": AT}}).connect() as kt:
        assert kt.table(Shop).get("Bonn")["place"] == {"city": "Bonn", "since": AT}
    with pytest.raises(SchemaError, match=r"'place\.street'.* no such field"):
        ktframe.entity(topic="t", key="place.street")(Shop)


def test_a_declared_key_is_exact() -> None:
    """No float, list or struct can be a key, wherever it is."""
    with (
        _broker({"a": {"id": 1}}).connect() as kt,
        pytest.raises(SchemaError, match=r"'a\.id' is part of the key"),
    ):
        kt.table("t", key="a.id", schema={"a": pl.Struct({"id": pl.Float64})})


def _avro(id_type: str) -> dict[str, Any]:
    """Return the schema of an envelope, as Debezium writes it."""
    time = {"type": "long", "logicalType": "timestamp-micros"}
    fields = [{"name": "id", "type": id_type}, {"name": "at", "type": time}, {"name": "n", "type": "double"}]
    row = {"type": "record", "name": "Row", "fields": fields}
    return {
        "type": "record",
        "name": "Envelope",
        "fields": [
            {"name": "after", "type": ["null", row], "default": None},
            {"name": "op", "type": "string"},
        ],
    }


def test_avro_has_nested_keys_and_times() -> None:
    """Of several schemas; one in which the key is a float is refused, and makes no row stale that it does not name."""
    registry, broker = FakeRegistry(), FakeBroker()
    for number, (id_type, key) in enumerate([("int", 1), ("long", 2), ("int", 1), ("double", 3.5)]):
        schema = _avro(id_type)
        out = io.BytesIO()
        value = {"after": {"id": key, "at": AT * 1_000 + number, "n": 0.5}, "op": "c"}
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
        prefix = registry.prefix(registry.register("t-value", json.dumps(schema)))
        broker.produce("t", f"k{number}", prefix + out.getvalue(), timestamp=0)
    with broker.connect(registry=registry) as kt:
        table = kt.table("t", key="after.id", time="after.at", on_refused="ignore")
        assert sorted(table.keys()) == [1, 2]
        assert "'after.id' is part of the key but Float64" in table.errors()["reason"].item()
        windows = table.window("1d").to_polars()
        assert windows["window_start"].dt.epoch("ms").unique().to_list() == [AT - AT % 86_400_000]
        assert windows.height == 2


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_row_is_written_without_the_column_of_its_key() -> None:
    """It is in the object already; where the two differ nothing is written."""
    with _broker({"a": {"id": 1}, "n": 1}).connect(writable=True) as kt:
        table = kt.table("t", key="a.id")
        table.put({**table[1], "n": 2})
        assert table[1] == {"a.id": 1, "a": {"id": 1}, "n": 2}
        table.upsert(table.to_polars().drop("a.id").with_columns(n=3))
        assert table[1]["n"] == 3
        with pytest.raises(SchemaError, match=r"column 'a\.id', row 0: 7 would be read as 1"):
            table.put({**table[1], "a.id": 7})
        table.delete(1)
        assert table.keys() == []


def test_differences_have_the_nested_key() -> None:
    """As the frames that are compared."""
    broker = _broker({"a": {"id": 1}, "n": 1})
    with broker.connect() as kt:
        table = kt.table("t", key="a.id")
        before = table.to_polars()
        broker.produce("t", "x", {"a": {"id": 1}, "n": 2})
        changed = table.diff(since=before)
        assert changed["a.id"].to_list() == [1]


@pytest.mark.parametrize("name", ["key", "time"])
@pytest.mark.parametrize("shape", ["map", "kinds"])
def test_an_object_that_holds_a_key_or_a_time_stays_one(name: str, shape: str) -> None:
    """Where it would be a map, or text, by its other names and the kinds of its values: what is named is inside."""
    values: list[Any] = []
    for number in range(200):
        names = {f"n{number}-{other}": 1 for other in range(3)} if shape == "map" else {}
        values.append({"before": 1, "after": {"id": f"k{number}", "at": AT + number, **names}})
    if shape == "kinds":
        values[::20] = [{"before": 1, "after": "none"}] * 10
    with _broker(*values).connect() as kt:
        field = {"key": "after.id", "time": "after.at"}[name]
        table = kt.table("t", on_refused="ignore", **{name: field})
        rows = table.to_polars() if name == "key" else table.window(5).to_polars()
        assert isinstance(rows.schema["after"], pl.Struct)
        assert rows.height == (200 if shape == "map" else 190)
        plain = kt.stream("t").to_polars()
        assert isinstance(plain.schema["after"], pl.List if shape == "map" else pl.String)


@pytest.mark.parametrize("odd", ["none", [1], []])
def test_an_object_that_is_rare_is_one_all_the_same(odd: Any) -> None:
    """Most records have something else in its place: they are refused, not those with the key."""
    with _broker({"p": odd}, {"p": odd}, {"p": odd}, {"p": {"id": 1}}).connect() as kt:
        table = kt.table("t", key="p.id", on_refused="ignore")
        assert table.to_polars()["p.id"].to_list() == [1]
        assert table.errors().height == 3
