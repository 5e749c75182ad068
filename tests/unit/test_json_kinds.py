"""Fields of several kinds and objects used as maps: what becomes of them by inference, and what a declaration makes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

import ktframe
from ktframe.context.schema import as_schema, map_fields
from ktframe.context.topic_spec import topic_spec
from ktframe.errors import SchemaError
from ktframe.fold import learning
from ktframe.formats import NO_FORMS, JsonFormat, map_dtype
from ktframe.formats.json import inference, sightings
from ktframe.formats.json.forms import MAP, TEXT
from ktframe.formats.json.inference import MOST_NEW
from ktframe.formats.json.sightings import MOST_NAMES, Sightings
from ktframe.testing import FakeBroker, FakeRegistry

MAP_OF_INTEGERS = map_dtype(pl.Int64())


def topic(*values: str) -> FakeBroker:
    """Return a topic whose records have these JSON texts in the field ``v``."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number:05}", f'{{"n":{number},"v":{value}}}'.encode())
    return broker


def column(
    broker: FakeBroker, place: Path | None = None, **arguments: Any
) -> tuple[pl.DataType, list[Any], int]:
    """Return type and values of ``v``, and how many records were refused."""
    with broker.connect(place) as context:
        table = context.table("t", on_refused="ignore", **arguments)
        frame = table.to_polars().sort("n")
        return frame.schema["v"], frame["v"].to_list(), table.errors().height


# ---------------------------------------------------------------------------------------------- several kinds


@pytest.mark.parametrize(
    "values",
    [
        ["12", '"12"', '"N/A"', "13.50"],
        ['"web"', '["web","app"]', '"web"', '["app"]'],
        ['"boom"', '{"code": 5}', '"boom"', '{"code": 6}'],
        ["true", "1", "false", "2"],
        ["[1]", '{"a":1}', "[2]", '{"b":1}'],
        ['[1,"x"]', "[2]", '["y"]', "[3,true]"],
        ['[[1],["x"]]', "[[2]]", '[["y"]]'],
        ["0.5", "9007199254740993", "1.5", "9007199254740995"],
        ["1", "9" * 40, "2", "8" * 41],
        ["NaN", '"x"', "Infinity", '"y"'],
    ],
    ids=str,
)
@pytest.mark.parametrize("many", [1, 60])
def test_a_field_whose_kinds_compete_is_json_text(values: list[str], many: int, tmp_path: Path) -> None:
    """No record is refused, and each value is the text that was sent; also when the store is opened again."""
    broker = topic(*values * many)
    for _ in range(2):
        assert column(broker, tmp_path) == (pl.String(), values * many, 0)


def test_odd_records_do_not_make_json_of_a_field() -> None:
    """One record never does, nor do fewer than one in a hundred: they are refused, with a hint that works."""
    assert column(topic("1", "2", '"x"'))[0::2] == (pl.Int64(), 1)
    few = topic(*["1"] * 500, '"x"', '"y"')
    with few.connect() as context:
        reasons = context.table("t", on_refused="ignore").errors()["reason"].unique().to_list()
    assert reasons == ["field 'v': wanted Int64, found String; schema= can declare 'v' as ktframe.Json"]
    assert column(few, schema={"v": ktframe.Json})[2] == 0
    assert column(topic(*["1"] * 198, '"x"', '"y"'))[0::2] == (pl.String(), 0)


def test_only_the_place_where_kinds_compete_is_text() -> None:
    """What is around it keeps its structure; lists of mixed kinds are text as a whole."""
    broker = topic(
        *['{"a":1,"b":[{"c":1}]}', '{"a":"x","b":[{"c":"y"}],"d":[1,"z"]}'] * 2, '{"d":[2]}', '{"d":["w"]}'
    )
    dtype, values, refused = column(broker)
    inner = pl.Struct({"c": pl.String()})
    assert dtype == pl.Struct({"a": pl.String(), "b": pl.List(inner), "d": pl.String()})
    assert values[1] == {"a": '"x"', "b": [{"c": '"y"'}], "d": '[1,"z"]'}
    assert refused == 0


def test_what_disagrees_later_is_refused_and_seen() -> None:
    """The type stays what the first records have decided; warning, status and hint say what helps."""
    broker = topic(*["1"] * 150)
    with pytest.MonkeyPatch.context() as patched, broker.connect() as context:
        patched.setattr(learning, "SAMPLE_RECORDS", 100)
        table = context.table("t")
        table.to_polars()
        for number in range(50):
            broker.produce("t", f"late{number}", b'{"v":"x"}')
        with pytest.warns(
            ktframe.KtframeWarning, match=r"(?s)50 of 200 records.*Hint: schema=\{'v': ktframe\.Json\}"
        ):
            assert table.to_polars().schema["v"] == pl.Int64
        assert table.readiness().condition == "incomplete"
        assert context.table("t", schema={"v": ktframe.Json}).to_polars().height == 200


def test_an_empty_list_is_an_object_without_fields() -> None:
    """Where objects are usual, as PHP writes them; where lists are, it is one."""
    for many in (1, 50):
        dtype, values, refused = column(topic(*['{"a":1}', "[]", "null"] * many))
        assert (dtype, refused) == (pl.Struct({"a": pl.Int64()}), 0)
        assert values == [{"a": 1}, {"a": None}, None] * many
        assert column(topic(*["[1]", "[]"] * many)) == (pl.List(pl.Int64()), [[1], []] * many, 0)
    assert column(topic("[]", '{"a":1}'), schema={"v": pl.Struct({"a": pl.Int64})})[2] == 0


def test_key_and_time_are_never_text() -> None:
    """A key identifies rows by its value, and a time is read from it: other kinds are refused as ever."""
    broker = FakeBroker()
    for number, value in enumerate([1, "x", 2, "y", 3]):
        broker.produce("t", None, {"id": value, "at": 1000 + number if number % 2 else f"{number}"})
    with broker.connect() as context:
        assert context.table("t", key="id", on_refused="ignore").to_polars().schema["id"] == pl.Int64
        frame = context.stream("t", time="at", on_refused="ignore").to_polars()
        assert frame.schema["at"] == pl.String
        assert frame.schema["id"] == pl.String


def test_a_row_with_text_goes_back_as_it_came() -> None:
    """Inferred text is JSON, and maps are objects, for who writes a row as well; what is neither is refused."""
    values = ['{"a":1.10,"m":"x"}', '{"a":"x","m":[1]}'] * 2
    with topic(*values).connect(writable=True) as context:
        table = context.table("t")
        sent = table.upsert(table.to_polars().sort("n"), dry_run=True)["value"].to_list()
        assert sent == [f'{{"n":{number},"v":{value}}}'.encode() for number, value in enumerate(values)]
        with pytest.raises(SchemaError, match=r"(?s)'v', row 0: 'no' is not JSON text.*Hint: json\.dumps"):
            table.upsert([{"key": "new", "n": 1, "v": {"a": "no", "m": "1"}}])


def test_records_under_a_schema_beside_json_text() -> None:
    """Once a payload has named a schema, the rows so far keep their text; a text of Avro is none, and refused."""
    registry = FakeRegistry()
    avro = '{"type":"record","name":"R","fields":[{"name":"v","type":"string"}]}'
    prefix = FakeRegistry.prefix(registry.register("t-value", avro))
    broker = topic("1", '"x"', "2", '"y"')
    with broker.connect(registry=registry) as context:
        table = context.table("t", key_format="string", on_refused="ignore")
        assert table.to_polars().height == 4
        broker.produce("t", "avro", prefix + b"\x02a")
        broker.produce("t", "json", b'{"n":4,"v":{"a":1}}')
        assert table.to_polars().sort("n")["v"].to_list() == ["1", '"x"', "2", '"y"', '{"a":1}']
        assert "in a column of ktframe.Json, but the record is not JSON" in table.errors()["reason"].item()


# ------------------------------------------------------------------------------------------------------- maps


def test_names_that_do_not_settle_are_entries_of_a_map(tmp_path: Path) -> None:
    """Each object is a list of its entries; also where the store is opened again, and inside of other objects."""
    broker = topic(
        *(f'{{"SKU-{number}":{number},"T":{{"m":{{"U{number}":[{number}]}}}}}}' for number in range(300))
    )
    dtype = map_dtype(pl.String())
    for _ in range(2):
        found, values, refused = column(broker, tmp_path)
        assert (found, refused) == (dtype, 0)
        assert values[7] == [{"key": "SKU-7", "value": "7"}, {"key": "T", "value": '{"m":{"U7":[7]}}'}]
    broker = topic(*(f'{{"a":1,"m":{{"U{number}":[{number}]}}}}' for number in range(300)))
    found, values, refused = column(broker, tmp_path / "other")
    assert (found, refused) == (pl.Struct({"a": pl.Int64(), "m": map_dtype(pl.List(pl.Int64()))}), 0)
    assert values[7] == {"a": 1, "m": [{"key": "U7", "value": [7]}]}


def test_an_object_of_many_fields_is_no_map() -> None:
    """Neither where all records have all of 300 fields, nor where each has a tenth of them."""
    wide = "{" + ",".join(f'"f{at}":{at}' for at in range(300)) + "}"
    dtype, values, refused = column(topic(*[wide] * 200))
    assert isinstance(dtype, pl.Struct)
    assert (len(dtype.fields), refused) == (300, 0)
    assert values[0] == {f"f{at}": at for at in range(300)}
    tenths = ["{" + ",".join(f'"f{at}":1' for at in range(part, 300, 10)) + "}" for part in range(10)]
    assert isinstance(column(topic(*tenths * 20))[0], pl.Struct)


def test_memory_of_counts_is_bounded() -> None:
    """The values of an object with thousands of names are counted together, in whatever order the records come."""
    records = [{"m": {f"k{number}-{at}": at for at in range(7)}} for number in range(MOST_NAMES // 3)]

    def counted(numbers: range) -> Sightings:
        seen = Sightings()
        for number in numbers:
            seen.add_record(records[number], 0, number)
        return seen

    whole, middle = counted(range(len(records))), len(records) // 4
    assert not whole.fields["m"].fields
    for cut in (1, middle, len(records) - 1):
        parts = counted(range(cut)), counted(range(cut, len(records)))
        assert parts[0].plus(parts[1]).as_json() == whole.as_json() == parts[1].plus(parts[0]).as_json()
    assert Sightings.from_json(whole.as_json()).as_json() == whole.as_json()


@pytest.mark.parametrize(
    ("given", "inside"),
    [
        ({"key": "v.id"}, "id"),
        ({"time": "v.at"}, "at"),
        ({"key": "v.id", "time": "v.at"}, "id"),
        ({"unnest": "v"}, ""),
    ],
)
def test_an_object_of_thousands_of_names_keeps_what_is_named_inside(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], inside: str
) -> None:
    """What holds a key or a time, or is lifted, is no map: its first names are columns, and records with others refused."""
    monkeypatch.setattr(sightings, "MOST_NAMES", 300)
    monkeypatch.setattr(inference, "MOST_NAMES", 300)
    sent = [{"id": n % 7, "at": n, f"name {n}": n} for n in range(350)]
    broker = topic(*map(json.dumps, sent))
    with broker.connect() as context:
        table = context.table("t", **given, on_refused="ignore", stale="show")
        frame = table.to_polars()
        rows = 298
        assert frame.height == (7 if "key" in given else rows)
        assert table.errors().height == len(sent) - rows
        assert (
            table.errors()["reason"].to_list()[-1] == f"field 'v.name {len(sent) - 1}' is not in the schema"
        )
        if inside:
            assert {"id", "at"} <= {each.name for each in frame.schema["v"].fields}  # type: ignore[attr-defined]
            assert not frame["v"].struct.field(inside).null_count()


def test_an_object_in_the_place_of_a_time_may_be_a_map() -> None:
    """It is no time either way, and its values are there."""
    sent = [{f"name {n}": n} for n in range(MOST_NAMES + 50)]
    broker = topic(*map(json.dumps, sent))
    dtype, values, refused = column(broker, time="v")
    assert (dtype, refused) == (MAP_OF_INTEGERS, 0)
    assert values[-1] == [{"key": f"name {len(sent) - 1}", "value": len(sent) - 1}]


@pytest.mark.parametrize("cuts", [[], [50, 150, 300]], ids=["one batch", "several"])
def test_names_beyond_the_first_records_are_columns(cuts: list[int]) -> None:
    """All records that decide do so, not only those that are looked at first, however they are cut into batches."""
    few, many = [{f"n{at}": 1 for at in range(40)}] * 100, [{f"n{at}": 1 for at in range(40, 400)}] * 300
    broker = FakeBroker()
    with broker.connect() as context:
        table = context.table("t", on_refused="raise")
        for number, value in enumerate([*few, *many]):
            broker.produce("t", f"k{number}", {"v": value})
            if number in cuts:
                table.to_polars()
        frame = table.to_polars()
        assert frame.height == 400
        assert len(frame.schema["v"].fields) == 400  # type: ignore[attr-defined]


def test_a_refused_record_is_told_what_the_column_is() -> None:
    """Not what it was thought to be before the records that came with it were counted."""
    later = ['{"a":1}'] * 3
    broker = topic(*["null"] * 150, '[0,""]', *later)
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore", stale="show")
        assert table.to_polars().schema["v"] == pl.Struct({"a": pl.Int64})
        (reason,) = table.errors()["reason"]
        assert reason.startswith("field 'v': wanted Struct, found List")


def test_a_deep_list_in_the_place_of_a_map_is_refused_for_what_it_is() -> None:
    """Not for its depth, which is as deep as a record may be."""
    broker = topic(*(f'{{"U{number}":[]}}' for number in range(300)), "[" * 63 + "1" + "]" * 63)
    with broker.connect() as context:
        (reason,) = context.table("t", on_refused="ignore").errors()["reason"]
    assert reason.startswith("field 'v[]': wanted Struct, found List")


def test_what_is_kept_apart_comes_back_from_the_store() -> None:
    """Counts that were stored keep an object whole, added to each other and to others."""
    halves = []
    for start in (0, MOST_NAMES // 2 + 1):
        seen = Sightings(frozenset({("user",)}))
        for number in range(start, start + MOST_NAMES // 2 + 1):
            seen.add_record({"user": {"id": 1, f"n{number}": 1}, "map": {f"n{number}": 1}}, 0, number)
        halves.append(Sightings.from_json(orjson.loads(orjson.dumps(seen.as_json()))))
    for both in (halves[0].plus(halves[1]), Sightings().plus(halves[1]).plus(halves[0])):
        assert len(both.fields["user"].fields) == MOST_NAMES + 3
        assert both.fields["user"].entries is None
        assert both.fields["map"].entries is not None


def test_names_without_end_after_the_first_records_are_refused() -> None:
    """An object that was settled gets so many further names and no more; the hint keeps all."""
    late = [f'{{"a":1,"late{number}":1}}' for number in range(MOST_NEW + 50)]
    broker = topic(*['{"a":1}'] * 20, *late)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(learning, "SAMPLE_RECORDS", 20)
        dtype, _, refused = column(broker)
        assert isinstance(dtype, pl.Struct)
        assert (len(dtype.fields), refused) == (1 + MOST_NEW, 50)
        with broker.connect() as context:
            reason = context.table("t", on_refused="ignore").errors()["reason"][0]
    assert reason.endswith(
        "is not in the schema; schema= can declare it, or for all values 'v' as ktframe.Json"
    )
    assert column(broker, schema={"v": ktframe.Map(pl.Int64)})[2] == 0
    assert column(broker, schema={"v": ktframe.Json})[2] == 0


@dataclass
class _Order:
    n: int
    v: ktframe.Map(pl.Int64)  # type: ignore[valid-type]


@pytest.mark.parametrize("schema", [{"v": ktframe.Map(pl.Int64)}, {"v": ktframe.Map(int)}, _Order], ids=str)
@pytest.mark.parametrize("many", [1, 60])
def test_a_map_is_declared(schema: Any, many: int) -> None:
    """Entries in the order of the object; null, absent and empty stay apart; the last of equal names counts."""
    values = ['{"x":1,"y":null}', "null", "{}", "[]", '{"a":1,"a":2}']
    dtype, found, refused = column(topic(*values * many), schema=schema)
    assert (dtype, refused) == (MAP_OF_INTEGERS, 0)
    entries = [{"key": "x", "value": 1}, {"key": "y", "value": None}]
    assert found == [entries, None, [], [], [{"key": "a", "value": 2}]] * many


@pytest.mark.parametrize("kind", [ktframe.Map, "Map", ktframe.Map()], ids=str)
def test_a_map_of_all_kinds(kind: Any) -> None:
    """Without a type of values these are text, and the JSON text of other kinds."""
    dtype, values, refused = column(topic('{"a":"x","b":1.50,"c":[1]}'), schema={"v": kind})
    assert (dtype, refused) == (map_dtype(pl.String()), 0)
    assert [entry["value"] for entry in values[0]] == ["x", "1.50", "[1]"]


def test_what_no_map_is_is_refused() -> None:
    """With the hint of the field: other kinds of values, and lists, also those that look like entries."""
    odd = ['"x"', '{"a":"x"}', "[1]", "[[]]", '[{"key":"a","value":1}]', "5"]
    for many in (1, 30):
        broker = topic(*odd * many, '{"a":1}')
        dtype, values, refused = column(broker, schema={"v": ktframe.Map(pl.Int64)})
        assert (dtype, values, refused) == (MAP_OF_INTEGERS, [[{"key": "a", "value": 1}]], len(odd) * many)


def test_a_map_is_another_table_than_a_list() -> None:
    """Specs, and with them the stores on disk, differ by it."""
    one, other = (topic_spec("t", schema={"v": kind}) for kind in (ktframe.Map(pl.Int64), MAP_OF_INTEGERS))
    assert one.schema == other.schema
    assert one != other
    assert one.settings() != other.settings()
    assert map_fields({"v": ktframe.Map, "w": "Map", "x": pl.Int64}) == {"v", "w"}


@pytest.mark.parametrize("kind", [list[ktframe.Map], ktframe.Map(ktframe.Map), ktframe.Map(ktframe.Json)])
def test_a_map_inside_of_a_type_is_refused(kind: Any) -> None:
    """Only a whole field can be one; the hint's types keep its values."""
    with pytest.raises(SchemaError, match=r"only a field of the record"):
        as_schema({"v": kind})
    for works in (ktframe.Map, ktframe.Json):
        assert column(topic('{"a":{"b":1}}'), schema={"v": works})[2] == 0


def test_a_map_is_written_as_an_object() -> None:
    """Entries go back in their order; what is no map is refused, as the hint says it should be written."""
    with topic('{"b":1,"a":2}').connect(writable=True) as context:
        table = context.table("t", schema={"v": ktframe.Map(pl.Int64)})
        assert table.upsert(table.to_polars(), dry_run=True)["value"].to_list() == [
            b'{"v":{"b":1,"a":2},"n":0}'
        ]
        twice = [{"key": "a", "value": 1}, {"key": "a", "value": 2}]
        with pytest.raises(SchemaError, match=r"(?s)is no map.*Hint: each key is a text, once"):
            table.put({"key": "k", "n": 1, "v": twice})
        assert table.put({"key": "k", "n": 1, "v": [{"key": "a", "value": 1}]})["value"].to_list() == [
            b'{"n":1,"v":{"a":1}}'
        ]


# ---------------------------------------------------------------------------------------------- the mechanism


def test_forms_of_a_format_are_those_declared_and_those_learned() -> None:
    """Who reads rows or writes them goes by both."""
    decoder = JsonFormat(
        pl.Schema({"j": pl.String(), "m": MAP_OF_INTEGERS}),
        json_fields=frozenset("j"),
        map_fields=frozenset("m"),
    )
    declared = {(("j",), TEXT), (("m",), MAP)}
    assert decoder.all_forms == declared
    assert decoder.with_forms(frozenset({(("x",), TEXT)})).all_forms == declared | {(("x",), TEXT)}
    assert JsonFormat().all_forms == NO_FORMS


SHAPES: dict[str, Callable[[int], str]] = {
    "kinds": lambda at: str(at) if at % 2 else f'"{at}"',
    "map": lambda at: f'{{"k{at}":{at}}}',
    "nested": lambda at: f'{{"m":{{"k{at}":{at}}},"v":{at if at % 2 else "true"}}}',
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("cut", [1, 2, 30, 99, 101])
def test_batches_and_live_reads_decide_the_same(shape: str, cut: int) -> None:
    """What is decided early is decided anew, and the rows are those of a load."""
    values = [SHAPES[shape](at) for at in range(200)]
    loaded = column(topic(*values))
    broker = topic(*values[:cut])
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore")
        table.to_polars()
        for at, value in enumerate(values[cut:], cut):
            broker.produce("t", f"k{at:05}", f'{{"n":{at},"v":{value}}}'.encode())
            if at % 50 == 0:
                table.to_polars()
        frame = table.to_polars().sort("n")
        assert (frame.schema["v"], frame["v"].to_list(), table.errors().height) == loaded
    assert loaded[2] == 0
