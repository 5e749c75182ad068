"""``ktframe.Json`` and declared ``pl.String``: fields of several kinds, kept as the text that was sent."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import few_examples

import ktframe
from ktframe.config.sources import resolve_settings
from ktframe.context.schema import as_schema, json_fields
from ktframe.context.topic_spec import topic_spec
from ktframe.formats import JsonFormat, value_format
from ktframe.formats.json import format as json_format
from ktframe.formats.schemas import TopicSchemas
from ktframe.testing import FakeBroker
from ktframe.testing.registry import FakeRegistry

KINDS = [
    b"12",
    b"1.10",
    b'"N/A"',
    b"true",
    b"null",
    b'{"code": 5,  "a": [1.0]}',
    b"[ ]",
    b"18446744073709551616",
]
TEXTS = [None if kind == b"null" else kind.decode() for kind in KINDS]
STRINGS = ["N/A" if text == '"N/A"' else text for text in TEXTS]


@pytest.fixture
def broker() -> FakeBroker:
    """Return a cluster with a topic whose field ``v`` has all kinds."""
    broker = FakeBroker()
    for number, kind in enumerate(KINDS):
        broker.produce("t", f"k{number}", b'{"n":%d, "v": %s}' % (number, kind))
    return broker


def _column(broker: FakeBroker, place: str | Path | None = None, **arguments: Any) -> list[Any]:
    with broker.connect(place) as context:
        table = context.table("t", **arguments)
        frame = table.to_polars().sort("n")
        assert table.errors().height == 0
        assert frame.schema["v"] == pl.String()
        return frame["v"].to_list()


def test_a_json_column_has_all_kinds_as_they_were_sent(broker: FakeBroker) -> None:
    """Digits, spaces and quotes stay; null is null; the other columns are as ever."""
    assert _column(broker, schema={"v": ktframe.Json}) == TEXTS


def test_a_declared_string_has_all_kinds_as_text(broker: FakeBroker) -> None:
    """Text has no quotes, all else is its JSON text."""
    assert _column(broker, schema={"v": pl.String}) == STRINGS
    assert _column(broker, schema={"v": str}) == STRINGS


def test_polars_reads_the_text_of_a_json_column(broker: FakeBroker) -> None:
    """``json_path_match`` and ``json_decode`` work on it."""
    with broker.connect() as context:
        frame = context.table("t", schema={"v": ktframe.Json}).to_polars().sort("n")
    codes = frame.select(pl.col("v").str.json_path_match("$.code"))
    assert codes.to_series().to_list() == [None, None, None, None, None, "5", None, None]
    objects = frame.filter(pl.col("v").str.starts_with("{"))
    decoded = objects.select(pl.col("v").str.json_decode(pl.Struct({"code": pl.Int64})))
    assert decoded.to_dicts() == [{"v": {"code": 5}}]


@few_examples()
@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(KINDS)), max_size=12), st.integers(0, 12))
def test_a_store_that_is_opened_again_has_the_same_text(records: list[tuple[str, bytes]], cut: int) -> None:
    """A table read from its store, and from there on from the topic, equals one that is read at once."""
    broker = FakeBroker()
    broker.create_topic("t")
    schema = {"v": ktframe.Json, "s": pl.String}
    with tempfile.TemporaryDirectory() as place:
        for some in (records[:cut], records[cut:], []):
            for key, kind in some:
                broker.produce("t", key, b'{"v":%s,"s":%s}' % (kind, kind))
            with broker.connect(place) as context:
                stored = context.table("t", schema=schema).to_polars()
    with broker.connect() as context:
        fresh = context.table("t", schema=schema).to_polars()
    assert stored.sort("key").equals(fresh.sort("key"))
    newest = {key: kind.decode() for key, kind in records}
    assert dict(stored.select("key", "v").iter_rows()) == {
        key: None if text == "null" else text for key, text in newest.items()
    }


def test_windows_and_streams_have_the_text_too(broker: FakeBroker) -> None:
    """The declaration is the topic's: whatever reads it has the same column."""
    with broker.connect() as context:
        stream = context.stream("t", schema={"v": ktframe.Json}).to_polars()
        windows = context.table("t", schema={"v": ktframe.Json}).window("1h").to_polars()
    assert stream.sort("n")["v"].to_list() == windows.sort("n")["v"].to_list() == TEXTS


# ------------------------------------------------------------------------------------------ declarations


@dataclass
class _Event:
    n: int
    v: ktframe.Json
    w: ktframe.Json | None


def test_json_is_declared_in_any_way_that_a_type_is() -> None:
    """In a mapping, by its name and in a dataclass, optional or not; its column is a String."""
    for schema in ({"n": pl.Int64, "v": ktframe.Json, "w": "Json"}, _Event):
        assert as_schema(schema) == {"n": pl.Int64(), "v": pl.String(), "w": pl.String()}
        assert json_fields(schema) == {"v", "w"}
    assert json_fields({"v": pl.String, "w": "String"}) == frozenset()


def test_json_and_string_are_two_tables(broker: FakeBroker, tmp_path: Path) -> None:
    """Specs, and with them the stores on disk, differ by it, however they are spelt."""
    one, other = (topic_spec("t", schema={"v": kind}) for kind in (ktframe.Json, pl.String))
    again = topic_spec("t", schema={"v": "Json"})
    assert one != other
    assert one.settings() != other.settings()
    assert (one, hash(one), one.settings()) == (again, hash(again), again.settings())
    assert _column(broker, tmp_path, schema={"v": ktframe.Json}) == TEXTS
    assert _column(broker, tmp_path, schema={"v": pl.String}) == STRINGS
    assert _column(broker, tmp_path, schema={"v": ktframe.Json}) == TEXTS


def test_an_entity_may_have_json(broker: FakeBroker) -> None:
    """As the type of a field under ``@ktframe.entity``."""

    @ktframe.entity(topic="t")
    @dataclass
    class Event:
        n: int
        v: ktframe.Json

    with broker.connect() as context:
        assert context.table(Event).to_polars().sort("n")["v"].to_list() == TEXTS


def test_a_configuration_file_may_have_json(tmp_path: Path) -> None:
    """``schema = {v = "Json"}`` in the table of a configuration file."""
    (tmp_path / "ktframe.toml").write_text('[tables.t]\nschema = {v = "Json", n = "Int64"}\n')
    table = resolve_settings("h:1", environ={}, cwd=tmp_path).tables["t"]
    assert json_fields(table.schema) == {"v"}


@dataclass
class _Inner:
    text: ktframe.Json


@pytest.mark.parametrize("kind", [_Inner, list[ktframe.Json], list[_Inner], _Inner | None])
def test_json_inside_of_a_type_is_refused(kind: Any) -> None:
    """Only a whole field can be JSON text; a string inside takes other kinds, as the hint says."""
    with pytest.raises(ktframe.SchemaError, match=r"(?s)field 'x.*only a field of the record.*Hint: use str"):
        as_schema({"x": kind})
    decoder = JsonFormat(as_schema({"x": list[str]}))
    assert decoder.decode([b'{"x":[1.0,"a"]}'], pl.Schema()).frame.to_dicts() == [{"x": ["1.0", "a"]}]


def test_json_may_be_the_key() -> None:
    """The JSON text of a key field identifies the row."""
    broker = FakeBroker()
    for kind in (b"1", b'"1"', b'{"a":1}', b"1", b"1.0"):
        broker.produce("t", None, b'{"id":%s}' % kind)
    with broker.connect() as context:
        table = context.table("t", key="id", schema={"id": ktframe.Json})
        assert sorted(table.keys()) == ['"1"', "1", "1.0", '{"a":1}']
        assert table.get('{"a":1}') == {"id": '{"a":1}'}


def test_a_refused_record_is_newer_than_the_row_of_its_json_key() -> None:
    """The key of a record that is refused for another field is its JSON text as well."""
    broker = FakeBroker()
    for number in (b"1", b'"x"'):
        broker.produce("t", None, b'{"id":{"a":1},"n":%s}' % number)
    with broker.connect() as context:
        arguments: dict[str, Any] = {"key": "id", "schema": {"id": ktframe.Json, "n": pl.Int64}}
        table = context.table("t", **arguments, on_refused="ignore")
        assert table.errors(stale=True)["id"].to_list() == ['{"a":1}']
        assert '{"a":1}' not in table


def test_json_can_not_be_the_time() -> None:
    """The error says which types a time may have; following it gives the times."""
    with pytest.raises(ktframe.SchemaError, match=r"(?s)time='at'.*Hint: .*pl.String.*pl.Int64"):
        topic_spec("t", time="at", schema={"at": ktframe.Json})
    for kind, dtype in ((b'"1970-01-01T00:00:01Z"', pl.String), (b"1000", pl.Int64)):
        broker = FakeBroker()
        broker.produce("t", "a", b'{"at":%s}' % kind)
        with broker.connect() as context:
            frame = context.table("t", time="at", schema={"at": dtype}).to_polars(metadata=True)
        assert frame["timestamp"].dt.epoch("ms").to_list() == [1000]


# ------------------------------------------------------------------------------------------------ speed


@pytest.mark.usefixtures("few_as_many")
def test_declared_strings_that_hold_text_are_read_by_arrow_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing looks at the records one by one where no value has to be put into quotes."""
    monkeypatch.setattr(json_format, "quoted", lambda *_: pytest.fail("looked at the records one by one"))
    decoder = JsonFormat(pl.Schema({"a": pl.String(), "b": pl.List(pl.String()), "n": pl.Int64()}))
    decoded = decoder.decode([b'{"a":"x","b":["y",null],"n":1}', b'{"a":null}'], pl.Schema())
    assert decoded.frame.rows() == [("x", ["y", None], 1), (None, None, None)]


# ------------------------------------------------------------------------------------- malformed records


@pytest.mark.parametrize(
    "payload",
    [
        b'{"v":-NaN}',
        b'{"v":[NaN,]}',
        b'{"v":1Infinity}',
        b'{"v":01}',
        b'{"v":[1,]}',
        b'{"v":"\\ud800"}',
        b'{"v":"\\x"}',
        b'{"v":["\xff"]}',
        b'{"w":"\xff","w":1,"v":1}',
        b'{"v":{"a\\u0000":1}}',
        b'{"\\u0001v":1,"v":1}',
        b'{"v":' + b"[" * 64 + b"]" * 64 + b"}",
        b'{"v":' + b"[" * 4000 + b"]" * 4000 + b"}",
        b'{"v":1} {"v":2}',
        b"[1]",
        b"",
    ],
)
def test_what_is_malformed_is_refused_for_the_same_reason(payload: bytes) -> None:
    """A declaration of JSON text opens no way around what JSON is, and what names and depths are taken."""
    declared = pl.Schema({"v": pl.String()})
    batch = [b'{"v":1}', payload, b'{"v":2}']
    (reason,) = (refusal.reason for refusal in JsonFormat().decode(batch, pl.Schema()).refused)
    for decoder in (JsonFormat(declared), JsonFormat(declared, json_fields=frozenset({"v"}))):
        decoded = decoder.decode(batch, pl.Schema())
        assert [(refusal.index, refusal.reason) for refusal in decoded.refused] == [(1, reason)]
        assert decoded.frame["v"].to_list() == ["1", "2"]


def test_numbers_beyond_every_column_are_kept_as_text() -> None:
    """JSON has no largest number; only columns of numbers have."""
    decoder = JsonFormat(pl.Schema({"v": pl.String()}), json_fields=frozenset({"v"}))
    texts = ["1e400", "9" * 5000, f"[{'9' * 5000}, 1e400]"]
    decoded = decoder.decode([f'{{"v":{text}}}'.encode() for text in texts], pl.Schema())
    assert decoded.frame["v"].to_list() == texts


def test_of_equal_names_the_last_counts() -> None:
    """As everywhere in JSON values, escaped names included."""
    decoder = JsonFormat(pl.Schema({"v": pl.String()}), json_fields=frozenset({"v"}))
    assert decoder.decode([b'{"v":1,"a":2,"\\u0076":3}'], pl.Schema()).frame.to_dicts() == [
        {"v": "3", "a": 2}
    ]


# -------------------------------------------------------------------------------------------- registries


def test_what_is_declared_wins_over_a_json_schema() -> None:
    """A JSON Schema says what producers meant to write; a declared field has its own type."""
    registry = FakeRegistry()
    properties = {"v": {"type": "integer"}, "w": {"type": "integer"}, "n": {"type": "number"}}
    number = registry.register("t-value", json.dumps({"type": "object", "properties": properties}), "JSON")
    broker = FakeBroker()
    body = b'{"v":{"a": 1},"w":1.5,"n":1}'
    broker.produce("t", "a", FakeRegistry.prefix(number) + body)
    broker.produce("t", "b", body)
    with broker.connect(registry=registry) as context:
        table = context.table("t", schema={"v": ktframe.Json, "w": pl.String}, key_format="string")
        assert table.errors().height == 0
        rows = table.to_polars().select("v", "w", "n").rows()
    assert rows == [('{"a": 1}', "1.5", 1.0)] * 2


def test_a_record_that_is_not_json_is_refused_where_json_is_declared() -> None:
    """A string of Avro is never shown as if it were JSON text."""
    registry = FakeRegistry()
    schema = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "string"}]}
    number = registry.register("t-value", json.dumps(schema))
    schemas = TopicSchemas(registry.fetch)
    declared = pl.Schema({"v": pl.String()})
    format_ = value_format("auto", declared=declared, json_fields=frozenset({"v"}), schemas=schemas)
    decoded = format_.decode([FakeRegistry.prefix(number) + b"\x02a", b'{"v":1}'], pl.Schema())
    assert decoded.frame["v"].to_list() == ["1"]
    (refusal,) = decoded.refused
    assert (refusal.index, refusal.fields, refusal.is_conflict) == (0, ("v",), True)
    assert refusal.reason == "v: in a column of ktframe.Json, but the record is not JSON"


# ----------------------------------------------------------------------------------------------- writing


@pytest.fixture
def writable(broker: FakeBroker) -> Any:
    """Yield a table with a column of JSON text, of a connection that may write."""
    with broker.connect(writable=True) as context:
        yield context.table("t", schema={"v": ktframe.Json})


def test_json_text_is_written_as_the_json_that_it_is(writable: Any) -> None:
    """Every row goes back as it came, digit by digit; no text gets a second pair of quotes."""
    written = writable.upsert(writable.to_polars().sort("n"))
    values = {
        key: json.loads(value, parse_float=str) for key, value in written.select("key", "value").iter_rows()
    }
    assert values == {
        f"k{number}".encode(): {"n": number, "v": json.loads(kind, parse_float=str)}
        for number, kind in enumerate(KINDS)
    }
    assert writable.to_polars().sort("n")["v"].to_list() == TEXTS
    sent = writable.put({"key": "new", "n": 9, "v": '{"a": 1.10}'})
    assert sent["value"].to_list() == [b'{"n":9,"v":{"a": 1.10}}']
    assert writable["new"]["v"] == '{"a": 1.10}'


@pytest.mark.parametrize("value", ["N/A", "", "{", "NaN", "{'a': 1}", " 1", "1 ", '"\\ud800"', "1 2", "null"])
def test_text_that_is_not_json_is_not_written(writable: Any, value: str) -> None:
    """Neither what is no JSON text, nor what would be read back otherwise; nothing is sent."""
    before = writable.to_polars().sort("n")
    with pytest.raises(ktframe.SchemaError, match="'v'"):
        writable.upsert(pl.DataFrame({"key": ["a"], "v": pl.Series([value], dtype=pl.String)}))
    assert writable.to_polars().sort("n").equals(before)


def test_the_hint_for_other_kinds_can_be_followed(writable: Any) -> None:
    """A column of JSON text takes no other kinds; ``json.dumps`` makes text of them."""
    for value in (5, 1.5, True, [1], {"a": 1}):
        with pytest.raises(ktframe.SchemaError, match=r"(?s)'v'.*Hint: json\.dumps"):
            writable.upsert([{"key": "a", "v": value}])
        writable.upsert([{"key": "a", "v": json.dumps(value)}])
        assert writable["a"]["v"] == json.dumps(value)


def test_json_text_is_written_under_a_json_schema_too() -> None:
    """The schema judges the JSON that the text is, not a string."""
    registry = FakeRegistry()
    properties = {"n": {"type": "integer"}, "v": {"type": ["object", "number"]}}
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": properties,
    }
    prefix = FakeRegistry.prefix(registry.register("t-value", json.dumps(schema), "JSON"))
    broker = FakeBroker()
    broker.produce("t", "a", prefix + b'{"n":1,"v":{"x": 1}}')
    with broker.connect(registry=registry, writable=True) as context:
        table = context.table("t", schema={"v": ktframe.Json}, key_format="string")
        sent = table.put({**table["a"], "v": "1.10"})
        assert sent["value"].to_list() == [prefix + b'{"v":1.10,"n":1}']
        assert table["a"]["v"] == "1.10"
        with pytest.raises(ktframe.SchemaError, match=r"row 0 does not fit the JSON Schema: \$\.v"):
            table.put({**table["a"], "v": '"text"'})


def test_json_text_is_not_written_as_avro() -> None:
    """The schema of the topic's records has a string there, which would not be JSON."""
    registry = FakeRegistry()
    schema = {"type": "record", "name": "R", "fields": [{"name": "v", "type": "string"}]}
    prefix = FakeRegistry.prefix(registry.register("t-value", json.dumps(schema)))
    broker = FakeBroker()
    broker.produce("t", "a", prefix + b"\x02a")
    with broker.connect(registry=registry, writable=True) as context:
        arguments: dict[str, Any] = {"schema": {"v": ktframe.Json}, "key_format": "string"}
        table = context.table("t", **arguments, on_refused="ignore")
        with pytest.raises(
            ktframe.SchemaError, match=r"row 0 would be refused: v: in a column of ktframe\.Json"
        ):
            table.put({"key": "a", "v": "2"})
