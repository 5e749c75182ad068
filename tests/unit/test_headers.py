"""Headers of records as columns of tables, streams and windows: which are read, what they are, and what refuses a record."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import polars as pl
import pytest

import ktframe
from ktframe import Context
from ktframe.config.settings import TableDeclaration
from ktframe.errors import ConfigurationError, SchemaError
from ktframe.fold.header_codec import headers_end, pack_headers, unpack_headers
from ktframe.formats.base import Headers
from ktframe.testing import FakeBroker, FakeRegistry

MINUTE = 60_000
ORDER = {"type": "record", "name": "Order", "fields": [{"name": "x", "type": "long"}]}


def _broker(*records: tuple[Any, Any, Headers]) -> FakeBroker:
    broker = FakeBroker()
    broker.create_topic("t")
    for minute, (key, value, headers) in enumerate(records):
        payload = value if value is None or isinstance(value, bytes) else json.dumps(value).encode()
        broker.produce("t", key, payload, headers=headers, timestamp=minute * MINUTE)
    return broker


def _avro(value: Any) -> bytes:
    out = BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(ORDER), value)
    return FakeRegistry.prefix(1) + out.getvalue()


def _shown(*headers: tuple[str, bytes | None]) -> list[dict[str, Any]]:
    return [{"key": key, "value": value} for key, value in headers]


TWICE: Headers = [("et", b"A"), ("trace", b"\xff\0"), ("et", b"B"), ("none", None)]


# --- all headers ------------------------------------------------------------------------------------------------------


def test_all_headers_are_a_column_in_their_order() -> None:
    """Duplicates and null values stay; a record without headers has an empty list."""
    with _broker(("a", {"x": 1}, TWICE), ("b", {"x": 2}, None), ("c", {"x": 3}, [])).connect() as kt:
        frame = kt.table("t", metadata="headers").to_polars().sort("key")
        assert frame.columns == ["key", "x", "headers"]
        assert frame.schema["headers"] == pl.List(pl.Struct({"key": pl.String, "value": pl.Binary}))
        assert frame["headers"].to_list() == [_shown(*TWICE), [], []]
        assert kt.stream("t", metadata="headers").to_polars()["headers"].to_list() == [_shown(*TWICE), [], []]


def test_an_empty_table_has_the_columns_too() -> None:
    """Dtypes never depend on how many rows there are."""
    with _broker().connect() as kt:
        frame = kt.table("t", metadata="headers", headers={"n": pl.Int8}).to_polars()
        assert frame.schema["n"] == pl.Int8
        assert frame.schema["headers"] == pl.List(pl.Struct({"key": pl.String, "value": pl.Binary}))


def test_what_metadata_a_table_was_asked_for_with_is_what_its_frames_have() -> None:
    """Unless a read asks for other; ``get`` and ``items`` give the row alone, as it can be written back."""
    with _broker(("a", {"x": 1}, TWICE)).connect() as kt:
        table = kt.table("t", metadata=["offset", "headers"])
        assert table.to_polars().columns == ["key", "x", "offset", "headers"]
        assert list(table.schema) == ["key", "x", "offset", "headers"]
        assert table.to_polars(metadata=False).columns == ["key", "x"]
        assert table.to_polars(metadata="timestamp").columns == ["key", "x", "timestamp"]
        every = ["key", "x", "partition", "offset", "timestamp", "headers"]
        assert table.to_polars(metadata=True).columns == every
        assert kt.stream("t", metadata=True).to_polars().columns == [
            "x",
            *every[2:5],
            "key",
            "is_tombstone",
            "headers",
        ]
        assert table["a"] == {"key": "a", "x": 1}
        assert list(table.items()) == [("a", {"key": "a", "x": 1})]
        assert table.window(5).get("a").columns[2:] == ["key", "x", "offset", "headers"]
        assert kt.table("t").to_polars(metadata=True).columns == every[:-1]


def test_a_change_of_metadata_is_no_difference() -> None:
    """``diff`` compares fields and headers that are columns, not where the records are."""
    broker = _broker(("a", {"x": 1}, [("et", b"A")]), ("b", {"x": 1}, [("et", b"A")]))
    with broker.connect() as kt:
        table = kt.table("t", metadata=["offset", "headers"], headers={"et": str})
        before = table.to_polars()
        broker.produce("t", "a", {"x": 1}, headers=[("et", b"A"), ("other", b"")])
        broker.produce("t", "b", {"x": 1}, headers=[("et", b"B")])
        found = table.diff(since=before)
        assert found.select("change", "key").rows() == [("updated", "b")]
        assert found["new"].to_list() == [{"x": 1, "et": "B"}]


def test_nothing_is_read_that_nobody_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader without headers, unless one may name the schema of a value or key; and with some no others are kept."""
    asked: list[bool] = []
    opened = FakeBroker._open_reader

    def _open(broker: FakeBroker, topic: str, *, with_headers: bool) -> Any:
        asked.append(with_headers)
        return opened(broker, topic, with_headers=with_headers)

    monkeypatch.setattr(FakeBroker, "_open_reader", _open)
    with _broker(("a", {"x": 1}, TWICE)).connect() as kt:
        plain = kt.table("t", value="string", key_format="bytes")
        plain.to_polars()
        some = kt.table("t", value="string", key_format="bytes", headers={"none": str, "et": str})
        some.to_polars()
        kt.table("t", value="string", key_format="bytes", metadata="headers").to_polars()
        assert asked == [False, True, True]
        sizes = [table._reader.started().store.items() for table in (plain, some)]
        without, with_some = (next(rows).values[0] for rows in sizes)
        assert len(with_some) - len(without) == len(pack_headers([("none", None), ("et", b"B")]))


# --- columns ----------------------------------------------------------------------------------------------------------


def test_a_column_has_the_last_header_of_its_name() -> None:
    """Kafka's ``lastHeader``: null where there is none, and where the last one is null."""
    records = [
        ("a", {"x": 1}, TWICE),
        ("b", {"x": 2}, [("et", b"A"), ("et", None)]),
        ("c", {"x": 3}, [("ET", b"A")]),
        ("d", {"x": 4}, [("et", b"")]),
    ]
    with _broker(*records).connect() as kt:
        frame = kt.table("t", headers={"et": pl.String}).to_polars().sort("key")
        assert frame.columns == ["key", "x", "et"]
        assert frame["et"].to_list() == ["B", None, None, ""]


def test_columns_of_headers_are_columns_like_others() -> None:
    """In ``get``, ``filter``, aggregates and groups, of a dotted name too."""
    records = [
        (k, {"x": n}, [("ce.type", t), ("n", b"%d" % n)])
        for n, (k, t) in enumerate(zip("abc", [b"A", b"B", b"A"], strict=True))
    ]
    with _broker(*records).connect() as kt:
        table = kt.table("t", headers={"ce.type": "String", "n": int})
        assert table["c"] == {"key": "c", "x": 2, "ce.type": "A", "n": 2}
        assert table.filter(pl.col("ce.type") == "A").to_polars()["key"].sort().to_list() == ["a", "c"]
        by_type = table.window("1h").agg(n=pl.col("n").sum(), by="ce.type").sort("ce.type")
        assert by_type.select("ce.type", "n").rows() == [("A", 2), ("B", 1)]


@pytest.mark.parametrize("name", ["key", "window_start", "offset", "value", "record_key", "headers"])
def test_a_header_may_have_the_name_of_one_of_our_columns(name: str) -> None:
    """It is a field's name, and ours gives way."""
    with _broker(("a", {"x": 1}, [(name, b"h")])).connect() as kt:
        windowed = kt.table("t", headers={name: str}, metadata=True).window(5).to_polars()
        assert windowed[name].to_list() == ["h"]
        assert len(windowed.columns) == 9


def test_a_value_that_cannot_be_read_refuses_its_record() -> None:
    """With the header in the reason and in ``errors()``; the older row of its key is stale; a tombstone needs no headers."""
    records = [
        ("a", {"x": 1}, [("n", b"1")]),
        ("b", {"x": 1}, [("n", b"1")]),
        ("a", {"x": 2}, [("n", b"many"), ("et", b"\xff")]),
        ("b", None, [("n", b"many")]),
    ]
    broker = _broker(*records)
    for _ in range(2):
        with broker.connect() as kt:
            types = {"n": pl.Int64, "et": pl.String}
            table = kt.table("t", headers=types, on_refused="ignore")
            assert table.to_polars().height == 0
            errors = table.errors()
            assert errors["reason"].to_list() == [
                "header 'n': 'many' is no Int64: not the digits of a whole number"
            ]
            assert errors["headers"].to_list() == [_shown(("n", b"many"), ("et", b"\xff"))]
            assert errors["value"].to_list() == [b'{"x": 2}']
            shown = kt.table("t", headers=types, stale="show", on_refused="ignore").to_polars()
            assert shown.rows() == [("a", 1, 1, None)]
            assert "headers" not in kt.table("t").errors().columns
            stream = kt.stream("t", headers=types, on_refused="ignore")
            assert stream.to_polars()["n"].to_list() == [1, 1]
            assert stream.errors()["offset"].to_list() == [2, 3]


def test_a_record_that_is_right_again_ends_the_stale_row() -> None:
    """As with values."""
    broker = _broker(("a", {"x": 1}, [("n", b"1")]), ("a", {"x": 2}, [("n", b"?")]))
    with broker.connect() as kt:
        table = kt.table("t", headers={"n": int}, on_refused="ignore")
        assert table.to_polars().height == 0
        broker.produce("t", "a", {"x": 3}, headers=[("n", b"3")])
        assert table.to_polars().rows() == [("a", 3, 3)]


def test_a_tombstone_removes_the_row_and_its_headers() -> None:
    """In a stream it is a row, with its headers."""
    with _broker(("a", {"x": 1}, TWICE), ("a", None, [("et", b"Gone")])).connect() as kt:
        given: dict[str, Any] = {"headers": {"et": str}, "metadata": "headers"}
        assert kt.table("t", **given).to_polars().height == 0
        assert kt.table("t", **given).window("1h").to_polars().height == 0
        frame = kt.stream("t", **given).to_polars()
        assert frame["et"].to_list() == ["B", "Gone"]
        assert frame["headers"].to_list() == [_shown(*TWICE), _shown(("et", b"Gone"))]


# --- stores -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_kept", [True, False])
def test_headers_are_there_after_a_restart(tmp_path: Path, is_kept: bool) -> None:  # noqa: FBT001 - a parameter
    """Out of the decoded rows that are kept, and out of the stored ones; records that came since have theirs."""
    broker = _broker(("a", {"x": 1}, TWICE), ("b", {"x": 2}, None), ("s", None, [("et", b"T")]))

    def rows(kt: Context) -> list[Any]:
        given: dict[str, Any] = {"headers": {"et": str}, "metadata": "headers"}
        table = kt.table("t", **given)
        frames = [
            table,
            table.window(5),
            table.window(15),
            kt.table("t", key="x", **given),
            kt.stream("t", **given),
        ]
        return [frame.to_polars().sort("x").rows() for frame in frames]

    with broker.connect(tmp_path) as kt:
        before = rows(kt)
    assigned = len(broker.assigned)
    if not is_kept:
        for kept in tmp_path.rglob("view"):
            for file in kept.iterdir():
                file.unlink()
    with broker.connect(tmp_path) as kt:
        assert rows(kt) == before
        assert all(each == {0: 3} for each in broker.assigned[assigned:])
        broker.produce("t", "b", {"x": 2}, headers=[("et", b"new")])
        assert [each[2] for each in rows(kt)[0]] == ["B", "new"]


def test_asked_for_later_headers_are_those_of_all_records(tmp_path: Path) -> None:
    """Another declaration is another store, for which the topic is read again; the first one stays as it was."""
    broker = _broker(("a", {"x": 1}, TWICE), ("b", {"x": 2}, [("et", b"5")]))
    with broker.connect(tmp_path) as kt:
        assert kt.table("t").to_polars().columns == ["key", "x"]
    with broker.connect(tmp_path) as kt:
        assert kt.table("t", headers={"et": str}).to_polars().sort("x")["et"].to_list() == ["B", "5"]
        assert kt.table("t", headers={"et": pl.Binary}).to_polars().sort("x")["et"].to_list() == [b"B", b"5"]
        both = kt.table("t", headers={"et": str}, metadata="headers").to_polars().sort("x")
        assert both["headers"].to_list() == [_shown(*TWICE), _shown(("et", b"5"))]
        assert kt.table("t").to_polars().columns == ["key", "x"]
        assert kt.table("t", headers={"et": str}) is kt.table("t", headers={"et": pl.String})


def test_the_bytes_of_headers_are_pinned() -> None:
    """Lengths and bytes, a null value as the greatest length, the length of all before them."""
    headers = [("a", b"xy"), ("é", None), ("", b"")]
    packed = pack_headers(headers)
    expected = "00000020 00000001 61 00000002 7879 00000002 c3a9 ffffffff 00000000 00000000"
    assert packed[4:] == bytes.fromhex(expected)[4:]
    assert int.from_bytes(packed[:4]) == len(packed) - 4
    assert unpack_headers(b"head" + packed + b"value", 4) == headers
    assert headers_end(b"head" + packed + b"value", 4) == 4 + len(packed)
    assert (pack_headers(None), pack_headers([])) == (b"", b"")


def test_a_topic_made_anew_has_its_own_headers(tmp_path: Path) -> None:
    """Nothing of the old one stays."""
    broker = _broker(("a", {"x": 1}, TWICE))
    with broker.connect(tmp_path) as kt:
        table = kt.table("t", headers={"et": str})
        assert table.to_polars()["et"].to_list() == ["B"]
        broker.create_topic("t")
        broker.produce("t", "a", {"x": 1})
        assert table.to_polars()["et"].to_list() == [None]


# --- conditions -------------------------------------------------------------------------------------------------------

PLACED, GONE = [("et", b"Placed")], [("et", b"Gone")]


@pytest.mark.parametrize(
    "where", [{"et": "Placed"}, pl.col("et") == "Placed", pl.col("et").is_in(["Placed"])]
)
def test_what_headers_leave_out_need_not_be_readable(where: Any) -> None:
    """No value of theirs is read, so that none is refused or decides a column; tombstones act."""
    records = [
        ("a", {"x": 1}, PLACED),
        ("b", b"\xff no JSON", [("et", b"Other")]),
        ("c", {"x": "text", "more": 1}, None),
        ("d", {"x": 4}, PLACED),
        ("d", None, None),
    ]
    with _broker(*records).connect() as kt:
        table = kt.table("t", headers={"et": str}, where=where)
        assert table.to_polars().rows() == [("a", 1, "Placed")]
        assert (table.status().left_out, table.status().refused) == (2, 0)
        stream = kt.stream("t", headers={"et": str}, where=where)
        assert stream.to_polars()["x"].to_list() == [1, 4, None]
        assert stream.status().left_out == 2


@pytest.mark.parametrize("value", ["string", "bytes", "long"])
def test_values_without_fields_are_chosen_by_headers(value: str) -> None:
    """They have nothing else to be chosen by."""
    broker = FakeBroker()
    broker.produce("t", "a", (5).to_bytes(8), headers=PLACED)
    broker.produce("t", "b", b"\xff\xff", headers=GONE)
    with broker.connect() as kt:
        table = kt.table("t", value=value, headers={"et": str}, where={"et": "Placed"})
        assert table.to_polars().select("key", "et").rows() == [("a", "Placed")]
        assert table.status().left_out == 1


@pytest.mark.parametrize("is_avro", [False, True])
def test_an_unreadable_header_refuses_where_it_makes_a_difference(is_avro: bool) -> None:  # noqa: FBT001 - a parameter
    """In all formats alike: what the value leaves out is left out, whatever its headers are."""
    broker, registry = FakeBroker(), FakeRegistry()
    registry.register("t-value", json.dumps(ORDER))
    for key, x in (("a", 1), ("b", 5)):
        payload = _avro({"x": x}) if is_avro else json.dumps({"x": x}).encode()
        broker.produce("t", key, payload, headers=[("n", b"many")])
    with broker.connect(registry=registry) as kt:
        given: dict[str, Any] = {"headers": {"n": int}, "on_refused": "ignore"}
        for where, left_out in (
            ({"n": 1, "x": 1}, 1),
            ({"n": 1}, 0),
            ((pl.col("n") > 1) & (pl.col("x") > 2), 1),
            ((pl.col("n") > 1) | (pl.col("x") > 2), 0),
            (pl.col("x") > 2, 1),
        ):
            table = kt.table("t", where=where, **given)
            table.to_polars()
            assert (table.status().left_out, table.status().refused) == (left_out, 2 - left_out), where
            assert set(table.errors()["reason"]) == {
                "header 'n': 'many' is no Int64: not the digits of a whole number"
            }


@pytest.mark.parametrize("is_avro", [False, True])
def test_headers_delete_rows(is_avro: bool) -> None:  # noqa: FBT001 - a parameter
    """Also with a value that can't be read; by the field of the key where there is one; ``where`` comes first."""
    broker, registry = FakeBroker(), FakeRegistry()
    registry.register("t-value", json.dumps(ORDER))

    def produce(key: str, x: int | None, headers: Headers) -> None:
        payload = b"" if x is None else _avro({"x": x}) if is_avro else json.dumps({"x": x}).encode()
        broker.produce("t", key, payload, headers=headers)

    for x, key in enumerate("abcd"):
        produce(key, x, PLACED)
    produce("a", None, GONE)  # an empty value
    produce("b", 1, GONE)
    produce("other", 2, GONE)  # deletes by x
    produce("d", 3, [*GONE, ("keep", b"")])
    with broker.connect(registry=registry) as kt:
        given: dict[str, Any] = {"headers": {"et": str, "keep": pl.Binary}, "deletes": {"et": "Gone"}}
        table = kt.table("t", **given)
        assert table.to_polars()["key"].sort().to_list() == ["c"]
        assert table.status().refused == 0
        assert kt.table("t", key="x", **given).to_polars().height == 0
        kept = kt.table("t", where=pl.col("keep").is_null(), **given)
        assert kept.to_polars()["key"].sort().to_list() == ["c", "d"]
        assert kept.status().left_out == 1


def test_times_in_headers_can_be_compared() -> None:
    """CloudEvents' binary mode: attributes are headers, times ISO 8601."""
    records = [
        ("a", {"x": 1}, [("ce_type", b"order"), ("ce_time", b"2024-03-31T01:30:00Z")]),
        ("b", {"x": 2}, [("ce_type", b"order"), ("ce_time", b"2024-03-31T03:30:00+02:00")]),
        ("c", {"x": 3}, [("ce_type", b"order"), ("ce_time", b"2024-04-01T00:00:00.5Z")]),
        ("d", {"x": 4}, [("ce_type", b"click")]),
    ]
    with _broker(*records).connect() as kt:
        types = {"ce_type": pl.String, "ce_time": pl.Datetime("ms", "UTC")}
        later = pl.col("ce_time") > datetime(2024, 3, 31, 12, tzinfo=UTC)
        table = kt.table("t", headers=types, where=(pl.col("ce_type") == "order") & later)
        assert table.to_polars()["x"].to_list() == [3]
        frame = kt.table("t", headers=types).to_polars().sort("x")
        assert frame["ce_time"][0] == frame["ce_time"][1] == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("is_avro", [False, True])
def test_nanoseconds_are_compared_as_such(is_avro: bool) -> None:  # noqa: FBT001 - a parameter
    """Python has none: what is compared is not cut to its microseconds, of headers and of fields."""
    broker, registry = FakeBroker(), FakeRegistry()
    registry.register("t-value", json.dumps(ORDER))
    for x in (0, 1):
        payload = (
            _avro({"x": x})
            if is_avro
            else json.dumps({"x": x, "at": f"2024-01-01T00:00:00.00000000{x}"}).encode()
        )
        broker.produce("t", str(x), payload, headers=[("time", b"2024-01-01T00:00:00.00000000%dZ" % x)])
    with broker.connect(registry=registry) as kt:
        midnight = pl.lit(datetime(2024, 1, 1), dtype=pl.Datetime("ns"))  # noqa: DTZ001 - a column without a zone
        given: dict[str, Any] = {"headers": {"time": pl.Datetime("ns", "UTC")}}
        conditions = [pl.col("time").dt.replace_time_zone(None) > midnight]
        conditions.append(conditions[0] & (pl.col("x") >= 0))
        conditions += [] if is_avro else [pl.col("at") > midnight]
        for where in conditions:
            given |= {} if is_avro else {"schema": {"at": pl.Datetime("ns")}}
            assert kt.table("t", where=where, **given).to_polars()["x"].to_list() == [1], where


# --- windows ----------------------------------------------------------------------------------------------------------


def test_windows_have_the_headers_of_their_rows() -> None:
    """Of tables, rolled up ones, and streams; late records too."""
    broker = FakeBroker()
    for minute, header in ((0, b"A"), (3, b"B"), (7, b"C"), (61, b"D"), (1, b"late")):
        broker.produce("t", "a", {"x": minute}, timestamp=minute * MINUTE, headers=[("et", header)])
    with broker.connect() as kt:
        given: dict[str, Any] = {"headers": {"et": str}, "metadata": "headers"}
        table = kt.table("t", **given)
        assert table.window(5).to_polars().sort("window_start")["et"].to_list() == ["late", "C", "D"]
        rolled = table.window(10).to_polars().sort("window_start")
        assert rolled["headers"].to_list() == [_shown(("et", b"late")), _shown(("et", b"D"))]
        graceful = table.window(5, grace="1m")
        assert graceful.to_polars().sort("window_start")["et"].to_list() == ["B", "C", "D"]
        late = graceful.late(metadata="headers")
        assert late.select("x", "et", "headers").rows() == [(1, "late", _shown(("et", b"late")))]
        stream = kt.stream("t", **given)
        sessions = stream.session("10m", by="et").agg(n=pl.len())
        assert sorted(sessions["et"]) == ["A", "B", "C", "D", "late"]
        in_windows = stream.window("1h").to_polars()
        assert in_windows["et"].to_list() == [row[0]["value"].decode() for row in in_windows["headers"]]


def test_an_event_without_a_time_is_told_with_its_headers() -> None:
    """It is in no window."""
    broker = FakeBroker()
    broker.produce("t", "a", {"x": 1}, timestamp=None, headers=TWICE)
    with broker.connect() as kt:
        windowed = kt.stream("t", metadata="headers", on_refused="ignore").window(5)
        assert windowed.errors()["headers"].to_list() == [_shown(*TWICE)]
        assert windowed.errors()["value"].to_list() == [b'{"x": 1}']


# --- event time -------------------------------------------------------------------------------------------------------

TIMES: list[tuple[Any, dict[str, Any], list[bytes]]] = [
    (pl.Datetime("us", "UTC"), {}, [b"1970-01-01T00:01:00Z", b"1970-01-01T01:07:00+01:00"]),
    (pl.Int64, {}, [b"60000", b"420000"]),
    (pl.Int64, {"time_unit": "s"}, [b"60", b"420"]),
    (pl.String, {}, [b"1970-01-01T00:01:00Z", b"1970-01-01 00:07"]),
    (pl.String, {"time_unit": "us"}, [b"60000000", b"420000000"]),
]


@pytest.mark.parametrize("is_avro", [False, True])
@pytest.mark.parametrize(("dtype", "unit", "texts"), TIMES, ids=str)
def test_a_header_is_the_event_time(
    tmp_path: Path,
    dtype: Any,
    unit: dict[str, Any],
    texts: list[bytes],
    is_avro: bool,  # noqa: FBT001 - a parameter
) -> None:
    """In windows, in streams and after a restart; a tombstone has its own time, and one without the header none."""
    registry = FakeRegistry()
    registry.register("t-value", json.dumps(ORDER))
    given: dict[str, Any] = {"headers": {"ce.time": dtype}, "time": "ce.time", **unit}
    at = [datetime(1970, 1, 1, 0, minute, tzinfo=UTC) for minute in (1, 7)]
    values = [_avro({"x": n}) if is_avro else {"x": n} for n in (1, 2, 3)]
    broker = _broker(
        ("a", values[0], [("ce.time", texts[0])]),
        ("a", values[1], [("ce.time", texts[1])]),
        ("b", values[2], [("ce.time", None)]),
    )
    for _ in range(2):
        with broker.connect(state_dir=tmp_path, registry=registry) as kt:
            windowed = kt.table("t", **given, on_refused="ignore").window(5, max_future_skew=None)
            rows = windowed.to_polars().sort("window_start").select("window_start", "x").rows()
            assert rows == [(at[0].replace(minute=0), 1), (at[1].replace(minute=5), 2)]
            reason = windowed.errors()["reason"].item()
            assert reason == "no usable time in 'ce.time': it is missing or null"
            events = kt.stream("t", **given, metadata="timestamp", max_future_skew=None)
            assert events.to_polars()["timestamp"].to_list() == [*at, None]
            table = kt.table("t", **given)
            assert table.to_polars(metadata="timestamp").sort("key")["timestamp"].to_list() == [at[1], None]
    broker.produce("t", "a", None, timestamp=8 * MINUTE, headers=[("ce.time", texts[0])])
    with broker.connect(state_dir=tmp_path, registry=registry) as kt:
        windowed = kt.table("t", **given, on_refused="ignore").window(5, max_future_skew=None)
        assert windowed.to_polars()["x"].to_list() == [1]


def test_a_refused_record_is_as_new_as_its_header_says() -> None:
    """Its row in another partition is stale only if that is older."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    for number in range(3):
        broker.produce("t", f"k{number}", {"x": 1}, partition=0, timestamp=0, headers=[("at", b"100")])
    broker.produce("t", "k0", {"x": "odd"}, partition=1, timestamp=0, headers=[("at", b"50")])
    broker.produce("t", "k1", {"x": "odd"}, partition=1, timestamp=0, headers=[("at", b"150")])
    with broker.connect() as kt:
        table = kt.table("t", headers={"at": pl.Int64}, time="at", schema={"x": int}, on_refused="ignore")
        assert sorted(table.to_polars()["key"]) == ["k0", "k2"]


def test_a_field_with_the_name_of_a_header_refuses_its_record(tmp_path: Path) -> None:
    """The others are rows, read at once as well as while they came; null is no field."""
    sent: list[tuple[str, Any]] = [
        ("a", {"x": 1}),
        ("b", {"x": 2, "et": None}),
        ("c", {"x": 3, "et": "field"}),
        ("a", {"x": "odd", "et": 5}),
        ("d", {"x": 4}),
    ]
    broker = _broker()
    with broker.connect() as kt:
        live = kt.table("t", headers={"et": str}, on_refused="ignore")
        for key, value in sent:
            broker.produce("t", key, value, headers=[("et", key.encode())])
            live.to_polars()
        with broker.connect(state_dir=tmp_path) as other:
            loaded = other.table("t", headers={"et": str}, on_refused="ignore")
            for table in (live, loaded):
                rows = table.to_polars().sort("key").select("key", "x", "et").rows()
                assert rows == [("b", 2, "b"), ("d", 4, "d")]  # the newest record of a was refused
                reasons = table.errors().sort("offset")["reason"].to_list()
                assert reasons == ["field 'et' has the name of the column of a header"] * 2


# --- writing ----------------------------------------------------------------------------------------------------------


def test_a_row_is_written_with_its_headers() -> None:
    """As text, from which they are read back; null is no header."""
    broker = _broker(("a", {"x": 1}, [("et", b"A"), ("lost", b"")]))
    types = {"et": str, "n": pl.UInt8, "at": pl.Datetime("us", "UTC"), "local": pl.Datetime("ns"), "ok": bool}
    types |= {"f": float, "raw": pl.Binary, "d": pl.Date}
    row = {
        "key": "a",
        "x": 1,
        "et": "A",
        "n": 255,
        "at": datetime(2024, 3, 31, 1, 30, 0, 5, tzinfo=UTC),
        "local": datetime(1960, 1, 1, 12, 0, 1),  # noqa: DTZ001 - a column without a zone
        "ok": False,
        "f": float("-inf"),
        "raw": b"\xff",
        "d": datetime(2024, 2, 29, tzinfo=UTC).date(),
    }
    with broker.connect(writable=True) as kt:
        table = kt.table("t", headers=types, on_refused="ignore")
        table.put(row)
        assert table["a"] == row
        table.put({**row, "et": None, "key": "b"})
        assert table["b"]["et"] is None
        frame = table.to_polars()
        table.upsert(frame.with_columns(pl.lit("C").alias("et")))
        assert set(table.to_polars()["et"]) == {"C"}
        headers = kt.table("t", metadata="headers").to_polars()["headers"].to_list()[0]
        assert {each["key"]: each["value"] for each in headers} == {
            "et": b"C",
            "n": b"255",
            "at": b"2024-03-31T01:30:00.000005Z",
            "local": b"1960-01-01T12:00:01.000000000",
            "ok": b"false",
            "f": b"-Infinity",
            "raw": b"\xff",
            "d": b"2024-02-29",
        }


def test_columns_of_a_frame_are_published_as_headers() -> None:
    """They are no part of the value; a null is no header; the key may be one too."""
    broker = _broker()
    frame = pl.DataFrame(
        {"id": ["a", "b"], "x": [1, 2], "et": ["A", None], "n": [1.5, 2.0], "no": [None, None]}
    )
    with broker.connect(writable=True) as kt:
        sent = kt.publish("t", frame, key="id", headers=["et", "id", "n", "no"])
        assert sent["value"].to_list() == [b'{"x":1}', b'{"x":2}']
        found = kt.table("t", metadata="headers").to_polars().sort("key")
        assert found["headers"].to_list() == [
            _shown(("et", b"A"), ("id", b"a"), ("n", b"1.5")),
            _shown(("id", b"b"), ("n", b"2.0")),
        ]
        kt.publish(
            "t", frame.select("x", "et").with_columns(key=pl.lit("c")), key="key", headers="et", atomic=True
        )
        assert len(kt.table("t", headers={"et": str})) == 3


def test_a_row_that_is_written_back_has_the_headers_that_are_columns_alone() -> None:
    """The others say where the record that is replaced came from; what is to be written shows its headers."""
    broker = _broker(("a", {"x": 1}, [("et", b"A"), ("trace", b"1")]))
    with broker.connect(writable=True) as kt:
        table = kt.table("t", headers={"et": str}, metadata="headers")
        draft = table.put(table["a"], dry_run=True)
        assert draft.columns == ["key", "value", "partition", "offset", "headers"]
        assert draft["headers"].to_list() == [_shown(("et", b"A"))]
        table.upsert(table.to_polars(metadata=False))
        assert table.to_polars()["headers"].to_list() == [_shown(("et", b"A"))]
        assert kt.table("t").put({"key": "b", "x": 2})["headers"].to_list() == [[]]
        frame = pl.DataFrame({"id": ["a"], "x": [1], "et": ["A"]})
        shown = kt.publish("t", frame, key="id", headers="et", dry_run=True)
        assert shown["headers"].to_list() == [_shown(("et", b"A"))]
        assert kt.publish("t", frame, dry_run=True)["headers"].to_list() == [[]]
        assert shown.schema == draft.schema == kt.publish("t", frame).schema


def test_where_looks_at_the_headers_of_what_is_written() -> None:
    """A row that would be left out is not written."""
    with _broker(("a", {"x": 1}, PLACED)).connect(writable=True) as kt:
        table = kt.table("t", headers={"et": str}, where={"et": "Placed"})
        table.put({**table["a"], "x": 2})
        assert table["a"]["x"] == 2
        with pytest.raises(SchemaError, match="left out"):
            table.put({**table["a"], "et": "Gone"})


# --- declarations -----------------------------------------------------------------------------------------------------


def test_configuration_declares_headers() -> None:
    """By the names of types; the call wins."""
    tables = {
        "orders": {
            "topic": "t",
            "headers": {"et": "String"},
            "metadata": "headers",
            "where": {"et": "Placed"},
        }
    }
    broker = _broker(("a", {"x": 1}, PLACED), ("b", {"x": 2}, GONE))
    declared = {name: TableDeclaration(name, **table) for name, table in tables.items()}
    with broker.connect(tables=declared) as kt:
        frame = kt.table("orders").to_polars()
        assert frame.rows() == [("a", 1, "Placed", _shown(("et", b"Placed")))]
        stream = kt.stream("orders", where={"et": "Gone"}, metadata=False)
        assert stream.to_polars().rows() == [(2, "Gone")]


def test_a_class_declares_headers_and_conditions() -> None:
    """As the arguments of a call; the call wins, and bytes keep the headers."""

    @ktframe.entity(
        topic="t",
        headers={"et": str, "at": pl.Int64},
        time="at",
        where=pl.col("et") == "Placed",
        deletes={"x": 0},
    )
    @dataclass
    class Order:
        x: int

    placed = [*PLACED, ("at", b"60000")]
    broker = _broker(
        ("a", {"x": 1}, placed), ("b", {"x": 2}, GONE), ("c", {"x": 3}, placed), ("c", {"x": 0}, placed)
    )
    with broker.connect() as kt:
        frame = kt.table(Order).to_polars(metadata="timestamp")
        assert frame.rows() == [("a", 1, "Placed", 60_000, datetime(1970, 1, 1, 0, 1, tzinfo=UTC))]
        assert kt.table(Order, where={"et": "Gone"}, time="x").to_polars()["x"].to_list() == [2]
        assert kt.stream(Order, value="bytes", where={"et": "Gone"}).to_polars()["et"].to_list() == ["Gone"]


def test_equal_declarations_are_one_table() -> None:
    """Other metadata of the same rows is an error that names it."""
    with _broker(("a", {"x": 1}, PLACED)).connect() as kt:
        assert kt.table("t", metadata=["headers"]) is kt.table("t", metadata="headers")
        with pytest.raises(ConfigurationError, match="already there with metadata"):
            kt.table("t", metadata=["headers", "offset"])


def test_a_column_about_the_record_that_is_named_twice_is_there_once() -> None:
    """As with fields of the key."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    with broker.connect() as kt:
        assert kt.table("t").to_polars(metadata=["offset", "offset"]).columns == ["key", "n", "offset"]
