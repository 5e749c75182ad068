"""``explode=True``: each object of a value that holds several is an event."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import ktframe
from ktframe.columns import ITEM
from ktframe.config.settings import StoreOptions, TableDeclaration
from ktframe.context.topic_spec import topic_spec
from ktframe.errors import ConfigurationError, IncompleteError, SchemaError
from ktframe.fold.exploded import exploded
from ktframe.fold.identity_codec import encode_parts
from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.fold.stream_key import ItemKey
from ktframe.formats import JsonFormat
from ktframe.formats.json.several import several
from ktframe.sync.binding import TopicBinding
from ktframe.testing import FakeBroker, FakeRegistry

MINUTE = 60_000
LIST = b'[{"id": 1, "n": 1}, {"id": 2, "n": 2}]'
LINES = b'{"id": 3, "n": 3}\n{"id": 4, "n": 4}\n'
ROW = b'{"id": 5, "n": 5}{"id": 6, "n": 6}'
SINGLE = b'{"id": 7, "n": 7}'


def broker_of(*values: bytes | None, step: int = MINUTE) -> FakeBroker:
    """Return a broker whose topic ``t`` has these values, a ``step`` (ms) after each other."""
    broker = FakeBroker()
    broker.create_topic("t")
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value, timestamp=number * step)
    return broker


# --- what a value holds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (LIST, [b'{"id": 1, "n": 1}', b'{"id": 2, "n": 2}']),
        (LINES, [b'{"id": 3, "n": 3}', b'{"id": 4, "n": 4}']),
        (ROW, [b'{"id": 5, "n": 5}', b'{"id": 6, "n": 6}']),
        (b' \r\n[ {"a": {"b": [{}, {}]}} ]\t', [b'{"a": {"b": [{}, {}]}}']),
        (b'{\n  "a": 1\n}\n\n{\n  "a": 2\n}', [b'{\n  "a": 1\n}', b'{\n  "a": 2\n}']),
        (b'[{"a": 1}, 5, null, [], "x"]', [b'{"a": 1}', b"5", b"null", b"[]", b'"x"']),
        (b'{"a": 1}\n5\n{"a": 2}', [b'{"a": 1}', b"5", b'{"a": 2}']),
        (
            b'[{"a": NaN}, {"a": "NaN"}, {"a": -Infinity}]',
            [b'{"a": NaN}', b'{"a": "NaN"}', b'{"a": -Infinity}'],
        ),
        (b'{"a": NaN}{"a": 1}', [b'{"a": NaN}', b'{"a": 1}']),
        (b'[{"a": 1e400}, {"a": "\xff"}]', [b'{"a": 1e400}', b'{"a": "\xff"}']),
        (b"[]", []),
        (b"[ \n]", []),
    ],
)
def test_a_value_of_several_objects_is_taken_apart(value: bytes, parts: list[bytes]) -> None:
    """Each part has the bytes that were sent."""
    assert several(value) == parts


@pytest.mark.parametrize(
    "value",
    [
        SINGLE,
        b'{"a": "} {", "b": [{}, {}]}',
        b'{"a": "}\\n{"}',
        b"",
        b" ",
        b"5",
        b'"[]"',
        b'5 {"a": 1}',
        b'{"a": 1},{"a": 2}',
        b'{"a": 1}{"a": 2',
        b'{"a": 1}\n{"a": }\n{"a": 3}',
        b'[{"a": 1}, {"a": }]',
        b'[{"a": 1}',
        b'[{"a": 1}] [{"a": 2}]',
        b'{"x": [\n{"a": 1}\n{"a": 2}\n]}',
        gzip.compress(LIST, mtime=0),
        b"\xef\xbb\xbf" + LIST,
        b"[INFO] started",
    ],
)
def test_any_other_value_stays_as_it_is(value: bytes) -> None:
    """One object, and what is not JSON as a whole: no part of it passes for an object that was sent."""
    assert several(value) is None


def test_what_is_packed_is_taken_apart_by_what_is_inside() -> None:
    """One object stays packed."""
    assert several(gzip.compress(LIST), unpacks=True) == several(LIST)
    assert several(b"\xef\xbb\xbf" + LINES, unpacks=True) == several(LINES)
    assert several(gzip.compress(SINGLE), unpacks=True) is None


def test_a_batch_gets_a_line_for_each_object() -> None:
    """All else of a record is that of each of its lines; an empty list is counted."""
    batch = RecordBatch(
        partitions=[0, 1, 0, 0],
        offsets=[7, 3, 8, 9],
        timestamps=[10, 20, 30, 40],
        timestamp_types=[1, 1, 0, 1],
        keys=[b"a", b"b", None, b"d"],
        values=[LIST, None, SINGLE, b"[]"],
        headers=[[("h", b"1")], None, [], None],
        positions={0: 10, 1: 4},
    )
    (lines,) = exploded(batch, JsonFormat())
    assert (lines.partitions, lines.offsets, lines.indices) == ([0, 0, 1, 0], [7, 7, 3, 8], [0, 1, 0, 0])
    assert (lines.keys, lines.timestamp_types) == ([b"a", b"a", b"b", None], [1, 1, 1, 0])
    assert lines.values == [*(several(LIST) or ()), None, SINGLE]
    assert lines.headers == [[("h", b"1")], [("h", b"1")], None, []]
    assert (lines.positions, lines.last, lines.empty) == (batch.positions, batch.last, {0: 1})


def test_a_large_batch_comes_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whole records, each with the positions behind them; empty lists are counted where they are."""
    monkeypatch.setattr("ktframe.fold.exploded.MOST_LINES", 2)
    values = [LIST, b"[]", SINGLE, LINES, b"[]", ROW, b"[]"]
    count = len(values)
    last = {0: LastRecord(12, 0, 1), 1: LastRecord(9, 0, 2)}
    batch = RecordBatch(
        [0, 0, 1, 0, 1, 0, 0], [7, 8, 3, 9, 4, 11, 12], [0] * count, [1] * count, [None] * count, values
    )
    parts = [*exploded(replace(batch, positions={0: 13, 1: 9}, last=last), JsonFormat())]
    assert [part.offsets for part in parts] == [[7, 7], [3, 9, 9], [11, 11], []]
    assert [part.positions for part in parts] == [{0: 8}, {0: 10, 1: 4}, {0: 12, 1: 5}, {0: 13, 1: 9}]
    assert [part.empty for part in parts] == [{}, {0: 1}, {1: 1}, {0: 1}]
    assert [part.last for part in parts] == [{}, {}, {}, last]
    assert all(parts)


def test_identities_are_pinned() -> None:
    """Partition, offset and index, in this order; retention cuts at offsets."""
    identity = ItemKey()
    rows = pl.DataFrame({ITEM: [2]}, schema={ITEM: pl.Int32})
    assert identity.columns[-1] == ITEM
    encoded = encode_parts([1, 258, 2])
    assert encoded.hex() == "058000000000000001" + "058000000000000102" + "058000000000000002"
    assert identity.decode([encoded], pl.Schema({ITEM: pl.Int32})).equals(rows)
    assert identity.lower_bound(1, 258) == encode_parts([1, 258]) < encode_parts([1, 258, 0])


# --- streams ----------------------------------------------------------------------------------------------------------


def test_each_object_is_an_event(tmp_path: Path) -> None:
    """With its number in the record, the key and the time of the record; also when it is opened again."""
    for _ in range(2):
        with broker_of(LIST, LINES, ROW, SINGLE, None, b"[]").connect(tmp_path) as kt:
            events = kt.stream("t", explode=True)
            assert events.to_polars()["id"].to_list() == [1, 2, 3, 4, 5, 6, 7, None]
            frame = events.to_polars(metadata=True)
            assert frame.columns == [
                *("id", "n", "partition", "offset", "index", "timestamp", "key", "is_tombstone")
            ]
            assert frame.schema["index"] == pl.Int32
            assert frame["index"].to_list() == [0, 1, 0, 1, 0, 1, 0, 0]
            assert frame["offset"].to_list() == [0, 0, 1, 1, 2, 2, 3, 4]
            assert frame["key"].to_list() == ["k0", "k0", "k1", "k1", "k2", "k2", "k3", "k4"]
            assert frame["timestamp"].dt.epoch("ms").to_list()[:3] == [0, 0, MINUTE]
            assert frame["is_tombstone"].to_list() == [False] * 7 + [True]
            assert events.to_polars(metadata="index").columns == ["id", "n", "index"]
            status = events.status()
            assert (status.rows, status.records, status.refused) == (8, 9, 0)
            assert dict(events.position().offsets) == {0: 6}


def test_a_field_called_index_keeps_its_name() -> None:
    """The number is then ``record_index``, as other columns about the record."""
    with broker_of(b'[{"index": "a"}, {"index": "b"}]').connect() as kt:
        frame = kt.stream("t", explode=True).to_polars(metadata="index")
        assert frame.to_dict(as_series=False) == {"index": ["a", "b"], "record_index": [0, 1]}


def test_without_it_nothing_changes(tmp_path: Path) -> None:
    """Such values are refused, there is no index, and stores are found by the settings that they had."""
    plain = topic_spec("t").settings()
    assert topic_spec("t", explode=True).settings() == {**plain, "explode": "True"}
    assert topic_spec("t", explode=False).settings() == plain
    with broker_of(LIST, SINGLE).connect(tmp_path) as kt:
        stream = kt.stream("t", on_refused="ignore")
        assert stream.to_polars(metadata=True).columns == [
            *("id", "n", "partition", "offset", "timestamp", "key", "is_tombstone")
        ]
        assert stream.status().refused == 1
        assert "index" not in stream.errors().columns
        with pytest.raises(ConfigurationError, match="a record has no 'index'"):
            stream.to_polars(metadata="index")
        assert kt.stream("t", explode=True).to_polars().height == 3
        assert len(list(tmp_path.rglob("store.json"))) == 2


def test_what_is_no_object_is_refused_alone(tmp_path: Path) -> None:
    """By its own reason, bytes and number; the objects beside it are events. What is not JSON is refused as it came."""
    broken = b'{"id": 1}\n{"id": '
    for _ in range(2):
        with broker_of(b'[{"id": 1}, 5, null, [{"id": 2}], {"id": "\xff"}]', broken, SINGLE).connect(
            tmp_path
        ) as kt:
            events = kt.stream("t", explode=True, on_refused="ignore")
            assert events.to_polars()["id"].to_list() == [1, 7]
            errors = events.errors()
            assert errors.columns[:3] == ["partition", "offset", "index"]
            assert errors.schema["index"] == pl.Int32
            assert errors["index"].to_list() == [1, 2, 3, 4, 0]
            assert errors["value"].to_list() == [b"5", b"null", b'[{"id": 2}]', b'{"id": "\xff"}', broken]
            reasons = [reason.split(";")[0] for reason in errors["reason"]]
            assert reasons[:3] == [
                "a JSON number, not an object",
                "a JSON null, not an object",
                "a JSON list of 1 objects, not an object",
            ]
            assert reasons[3].startswith("not UTF-8 text")
            assert reasons[4].startswith("not JSON: ")
            assert (events.status().records, events.status().refused) == (7, 5)
            assert events.errors(by="reason")["records"].sum() == 5


def test_refused_parts_make_room_for_newer_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of one record have places of their own, by which they are kept, and removed."""
    monkeypatch.setattr("ktframe.store.slots.REFUSED_KEPT", 3)
    broker = broker_of(b"[1, 2]")
    for value in (b"[3]", b"[4, 5]"):
        with broker.connect(tmp_path) as kt:
            broker.produce("t", None, value)
            kt.stream("t", explode=True, on_refused="ignore").to_polars()
    with broker.connect(tmp_path) as kt:
        events = kt.stream("t", explode=True, on_refused="ignore")
        events.to_polars()
        assert events.errors()["value"].to_list() == [b"3", b"4", b"5"]
        assert events.errors().select("offset", "index").rows() == [(1, 0), (2, 0), (2, 1)]
        assert events.status().refused == 5


def test_a_topic_of_empty_lists_lacks_nothing() -> None:
    """Each is counted as a record that was accepted: no error, no event."""
    with broker_of(b"[]", b" [ ]\n").connect() as kt:
        events = kt.stream("t", explode=True)
        assert events.to_polars().height == 0
        assert (events.status().records, events.status().refused) == (2, 0)
    warned = pytest.warns(ktframe.KtframeWarning, match="1 of 2 records")
    with broker_of(b"[]", b"[1]").connect() as kt, warned:
        assert kt.stream("t", explode=True).to_polars().height == 0
    with broker_of(b"[1]", b"x").connect() as kt, pytest.raises(IncompleteError):
        kt.stream("t", explode=True, on_refused="raise").to_polars()


def test_names_of_fields_are_judged_by_objects() -> None:
    """Where there are only empty lists nobody knows whether a name is wrong; where there are objects, it is an error."""
    broker = broker_of(b"[]")
    with broker.connect() as kt:
        for wrong in ({"time": "at"}, {"where": {"typ": "a"}}, {"time": "at", "schema": {"n": pl.Int64}}):
            assert kt.stream("t", explode=True, **wrong).to_polars().height == 0
        broker.produce("t", "k", b'[{"type": "a"}]')
        for wrong in ({"time": "typ"}, {"where": {"typ": "a"}}):
            with pytest.raises(SchemaError, match="'typ'"):
                kt.stream("t", explode=True, **wrong).to_polars()


def test_other_arguments_are_about_each_object(tmp_path: Path) -> None:
    """Conditions, times, structs, headers, packed values: as if each were a record."""
    objects = [{"type": "ab"[n % 2], "data": {"id": n, "at": f"2026-01-01T00:0{n}:00Z"}} for n in range(4)]
    broker = FakeBroker()
    for value in (objects[:3], objects[3:]):
        packed = gzip.compress(json.dumps(value).encode())
        broker.produce("t", "k", packed, headers=[("kind", b"x")])
    wanted: dict[str, Any] = {"where": {"type": "a"}, "headers": {"kind": pl.String}}
    wanted |= {"unpack": True, "unnest": "data", "times": "auto", "time": "data.at"}
    for _ in range(2):
        with broker.connect(tmp_path) as kt:
            events = kt.stream("t", explode=True, **wanted)
            frame = events.to_polars(metadata=["index", "timestamp"])
            assert frame["id"].to_list() == [0, 2]
            assert frame.schema["at"] == pl.Datetime("us", "UTC")
            assert (frame["at"] == frame["timestamp"]).all()
            assert frame["kind"].to_list() == ["x", "x"]
            assert frame["index"].to_list() == [0, 2]
            assert events.status().left_out == 2
            assert events.window(1).agg(n=pl.len())["n"].to_list() == [1, 1]


def test_a_value_that_names_a_schema_is_one_event() -> None:
    """It is what the schema in the registry describes."""
    registry = FakeRegistry()
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
    prefix = registry.prefix(registry.register("t-value", json.dumps(schema), "JSON"))
    with broker_of(prefix + b'{"id": 1}', prefix + b'[{"id": 2}]', LIST).connect(registry=registry) as kt:
        events = kt.stream("t", explode=True, on_refused="ignore")
        assert sorted(events.to_polars()["id"]) == [1, 1, 2]
        assert events.errors()["value"].to_list() == [prefix + b'[{"id": 2}]']


def test_one_record_may_be_late_in_part() -> None:
    """Stream time runs through the objects of a record in their order."""
    value = json.dumps([{"at": at} for at in (0, 70_000, 1, 200_000, 60_001)]).encode()
    with broker_of(value).connect() as kt:
        events = kt.stream("t", explode=True, time="at")
        windows = events.window(1, grace=0)
        assert windows.to_polars(metadata="index")["index"].to_list() == [0, 1, 3]
        assert windows.late()["index"].to_list() == [2, 4]
        assert windows.agg(n=pl.len())["n"].to_list() == [1, 1, 1]
        assert sorted(events.session("10s", grace=0).late()["index"]) == [2, 4]
        assert sorted(events.sliding("10s", grace=0).late(metadata="index")["index"].unique()) == [2, 4]
        assert events.window("1d", tz="Europe/Berlin").agg(n=pl.len())["n"].to_list() == [5]


def test_events_without_a_time_are_named_by_windows() -> None:
    """Each with its bytes and number."""
    with broker_of(b'[{"at": 1}, {"at": null}, {}]').connect() as kt:
        windows = kt.stream("t", explode=True, time="at", on_refused="ignore").window(1)
        assert windows.to_polars().height == 1
        assert windows.errors().select("offset", "index", "value").rows() == [
            (0, 1, b'{"at": null}'),
            (0, 2, b"{}"),
        ]


@pytest.mark.parametrize("retention", ["10m", 700])
def test_retention_drops_whole_records(tmp_path: Path, retention: Any) -> None:
    """What is kept begins with the first object of a record; the rest is as it was, opened again too."""
    values = [json.dumps([{"id": 10 * n + i} for i in range(3)]).encode() for n in range(40)]
    with broker_of(*values).connect(tmp_path) as kt:
        events = kt.stream("t", explode=True, retention=retention)
        kept = events.to_polars(metadata=True).select("id", "offset", "index").rows()
    with broker_of(*values).connect(tmp_path) as kt:
        assert (
            kt.stream("t", explode=True, retention=retention)
            .to_polars(metadata=True)
            .select("id", "offset", "index")
            .rows()
            == kept
        )
    if retention == "10m":
        assert 3 * 10 <= len(kept) < 120
    assert kept == [(10 * n + i, n, i) for n in range(kept[0][1], 40) for i in range(3)]


def test_rows_are_kept_decoded_and_removed_by_start(tmp_path: Path) -> None:
    """A later ``start=`` drops records with all of their objects."""
    broker = broker_of(LIST, LINES, ROW)
    options = StoreOptions()
    with broker.connect(tmp_path) as kt:
        assert len(kt.stream("t", explode=True, store=options)) == 6
    assert list(tmp_path.rglob("view/*"))
    with broker.connect(tmp_path) as kt:
        assert kt.stream("t", explode=True, store=options).to_polars()["id"].to_list() == [1, 2, 3, 4, 5, 6]


def test_behind_a_part_that_has_all_read_again_nothing_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash would leave a position behind records that have no rows."""
    taken, take_part = [], TopicBinding._take_part

    def note(binding: TopicBinding, part: RecordBatch) -> None:
        taken.append([*part.offsets])
        if len(taken) == 1:
            binding._read_again()
        else:
            take_part(binding, part)

    monkeypatch.setattr("ktframe.fold.exploded.MOST_LINES", 1)
    monkeypatch.setattr(TopicBinding, "_take_part", note)
    with broker_of(LIST, SINGLE, ROW).connect() as kt:
        assert kt.stream("t", explode=True).to_polars()["id"].to_list() == [1, 2, 7, 5, 6]
    assert taken == [[0, 0], [0, 0], [1], [2, 2]]


def test_a_topic_that_was_made_anew_is_read_anew() -> None:
    """Nothing of the old one is left, whatever the numbers of its objects."""
    broker = broker_of(LIST, LINES)
    with broker.connect() as kt:
        events = kt.stream("t", explode=True)
        assert len(events) == 4
        broker.create_topic("t")
        broker.produce("t", "k", SINGLE)
        assert events.to_polars()["id"].to_list() == [7]


# --- declared, and tables ---------------------------------------------------------------------------------------------


def test_it_can_be_declared() -> None:
    """By a class and by the configuration; a table of such a topic says that it is a stream."""

    @ktframe.entity(topic="t", explode=True)
    class Item:
        id: int
        n: int

    declared = {"items": TableDeclaration("items", topic="t", explode=True)}
    with broker_of(LIST, SINGLE).connect(tables=declared) as kt:
        for topic in ("items", Item):
            assert kt.stream(topic).to_polars()["id"].to_list() == [1, 2, 7]
            with pytest.raises(ConfigurationError, match="declared with explode=True"):
                kt.table(topic)
            assert kt.stream(topic, value="bytes").to_polars().height == 2
        assert kt.initialize() == []
        assert kt.stream("items", explode=False, on_refused="ignore").to_polars().height == 1


def test_equal_arguments_give_the_same_stream() -> None:
    """And others another one."""
    with broker_of(LIST).connect() as kt:
        assert kt.stream("t", explode=True) is kt.stream("t", explode=True)
        assert kt.stream("t") is not kt.stream("t", explode=True)


def reads(values: Sequence[bytes]) -> list[str]:
    """Return what ``inspect`` proposes of these values."""
    with broker_of(*values).connect() as kt:
        return kt.inspect("t").suggestions


def test_inspect_proposes_it() -> None:
    """With the columns of the objects; where most values are one object, a table and the stream of all."""
    with broker_of(LIST, LINES, SINGLE).connect() as kt:
        seen = kt.inspect("t")
        assert seen.suggestion == 'ktframe.stream("t", explode=True)'
        assert seen.columns["column"].to_list() == ["id", "n"]
        assert "values hold several objects, in a list or in a row: each of them is an event" in repr(seen)
    assert reads([gzip.compress(LIST)]) == ['ktframe.stream("t", unpack=True, explode=True)']
    assert reads([SINGLE] * 9 + [LIST]) == ['ktframe.table("t")', 'ktframe.stream("t", explode=True)']
    assert reads([b"[1, 2]", b"[]"]) == [
        'ktframe.table("t", value="string")',
        'ktframe.stream("t", value="string")',
    ]
