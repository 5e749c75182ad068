"""Protobuf payloads: what each kind of field becomes, what is refused with which reason, and what is written."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from google.protobuf import struct_pb2
from hypothesis import given
from polars.testing import assert_frame_equal

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.bodies import NO_DEFAULT, SchemaDocument
from ktframe.formats.protobuf import ProtobufReader, ProtobufWriter
from ktframe.formats.wire import pack_indexes, parse_indexes

STANDARD = "".join(
    f'import "google/protobuf/{name}.proto";'
    for name in ("timestamp", "duration", "wrappers", "struct", "field_mask", "any", "empty")
)
NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


def _document(body: str, syntax: str = "proto3") -> SchemaDocument:
    return SchemaDocument("PROTOBUF", f'syntax = "{syntax}"; package shop; {STANDARD} {body}')


def _reader(fields: str, syntax: str = "proto3") -> ProtobufReader:
    return ProtobufReader(_document(f"message Order {{ {fields} }}", syntax), (0,))


def _writer(fields: str, syntax: str = "proto3") -> ProtobufWriter:
    return ProtobufWriter(_document(f"message Order {{ {fields} }}", syntax), (0,))


def _rows(reader: ProtobufReader, *bodies: bytes) -> list[dict[str, Any]]:
    read = reader.read(bodies)
    assert read.refused == {}
    return read.frame.to_dicts()


def _reasons(reader: ProtobufReader, *bodies: bytes) -> dict[int, str]:
    read = reader.read(bodies)
    assert read.frame.height == len(bodies) - len(read.refused)
    return dict(read.refused)


# --------------------------------------------------------------------------------------------- indexes


@pytest.mark.parametrize(
    ("packed", "indexes"),
    [
        (b"\0", (0,)),
        (b"\x02\x00", (0,)),
        (b"\x02\x02", (1,)),
        (b"\x04\x02\x00", (1, 0)),
        (b"\x06\x00\x02\x80\x01", (0, 1, 64)),
    ],
)
def test_indexes_are_zigzag_varints(packed: bytes, indexes: tuple[int, ...]) -> None:
    """A list is its count and each index; a single zero stands for the first message."""
    assert parse_indexes(packed + b"rest") == (indexes, b"rest")


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5))
def test_indexes_round_trip_as_confluent_writes_them(indexes: list[int]) -> None:
    """Every list comes back, and its bytes are those of Confluent's serializer."""
    buffer = io.BytesIO()
    if indexes == [0]:
        buffer.write(b"\0")
    else:
        ProtobufSerializer._encode_varints(buffer, indexes)
    assert pack_indexes(indexes) == buffer.getvalue()
    assert parse_indexes(pack_indexes(indexes) + b"\0x") == (tuple(indexes), b"\0x")


@pytest.mark.parametrize(
    "body",
    [b"", b"\x02", b"\x01", b"\x02\x01", b"\x80", b"\x80" * 9, b"\xff" * 12, b"\xfe\xff\xff\xff\x0f", b"\x04\x02", b"\xff" * 4 + b"\x1f"],
)  # fmt: skip
def test_malformed_indexes_are_refused(body: bytes) -> None:
    """Lists that are cut off, negative, too long for their bytes or for 32 bits name no message."""
    with pytest.raises(ValueError, match="message ind"):
        parse_indexes(body)


@given(st.binary(max_size=12))
def test_indexes_of_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Whatever the bytes are, there is a list of indexes that can be written again, or ValueError."""
    try:
        indexes, rest = parse_indexes(body)
    except ValueError:
        return
    assert parse_indexes(pack_indexes(indexes) + rest) == (indexes, rest)


@pytest.mark.parametrize("indexes", [(), (-1,), (2**31,)])
def test_indexes_that_name_nothing_are_not_written(indexes: tuple[int, ...]) -> None:
    """No index, a negative one and one beyond 32 bits are refused."""
    with pytest.raises(ValueError, match="message indexes"):
        pack_indexes(indexes)


def test_indexes_count_map_entries_as_descriptors_do() -> None:
    """The messages inside of a message are numbered with the entries of its maps, in the order of the file."""
    text = "message A { int32 a = 1; } message B { map<string, int32> m = 1; message C { bool c = 1; } }"
    assert [column.name for column in ProtobufReader(_document(text), (1, 1)).columns] == ["c"]


# --------------------------------------------------------------------------------------------- reading


def test_every_kind_of_field_has_its_type() -> None:
    """Numbers keep their width and sign, times their nanoseconds; maps are lists of entries."""
    reader = _reader("""
        sint32 a = 1; fixed64 b = 2; float c = 3; bytes d = 4; repeated uint32 e = 5;
        map<int64, Item> f = 6; google.protobuf.Timestamp g = 7; google.protobuf.Duration h = 8;
        google.protobuf.UInt32Value i = 9; google.protobuf.Struct j = 10; google.protobuf.FieldMask k = 11;
        google.protobuf.Any l = 12; google.protobuf.Empty m = 13; Order n = 14;
        message Item { string sku = 1; }
    """)
    item = pl.Struct({"sku": pl.String()})
    assert {column.name: column.dtype for column in reader.columns} == {
        "a": pl.Int32(),
        "b": pl.UInt64(),
        "c": pl.Float32(),
        "d": pl.Binary(),
        "e": pl.List(pl.UInt32()),
        "f": pl.List(pl.Struct({"key": pl.Int64(), "value": item})),
        "g": pl.Datetime("ns", "UTC"),
        "h": pl.Duration("ns"),
        "i": pl.UInt32(),
        "j": pl.String(),
        "k": pl.String(),
        "l": pl.Struct({"type_url": pl.String(), "value": pl.Binary()}),
        "m": pl.Struct([]),
        "n": pl.String(),
    }
    assert reader.note == (
        "google.protobuf.Struct in field 'j': value by value; shop.Order in field 'n': value by value"
    )
    assert [field.name for field in reader.columns[5].inner] == ["key", "value"]
    empty = reader.read([])
    assert (empty.frame.height, empty.frame.columns) == (0, [column.name for column in reader.columns])


def test_what_is_absent_shows_its_default_or_null() -> None:
    """Without presence a field shows the default of its type; with it, null; lists and maps are empty."""
    reader = _reader("""
        int32 a = 1; optional int32 b = 2; repeated int32 c = 3; map<string, string> d = 4; E e = 5;
        Item f = 6; oneof choice { string g = 7; bool h = 8; } google.protobuf.StringValue i = 9;
        enum E { NONE = 0; } message Item { int32 x = 1; }
    """)
    row = _rows(reader, b"")[0]
    assert row == {"a": 0, "b": None, "c": [], "d": [], "e": "NONE", **dict.fromkeys("fghi")}
    defaults = {column.name: column.default for column in reader.columns}
    assert defaults == {
        "a": 0,
        "b": NO_DEFAULT,
        "c": [],
        "d": [],
        "e": "NONE",
        **dict.fromkeys("fghi", NO_DEFAULT),
    }
    assert _rows(reader, b"\x10\x00\x32\x00\x40\x00\x4a\x00")[0] == {
        **row, "b": 0, "f": {"x": 0}, "h": False, "i": ""
    }  # fmt: skip


def test_declared_defaults_are_shown_outside_of_oneofs() -> None:
    """A field of proto2 without a value shows the default that its schema declares; one of a oneof shows null."""
    reader = _reader(
        """
        optional int32 a = 1 [default = -7]; optional bytes b = 2 [default = "\\001x"]; optional E c = 3 [default = Y];
        optional float d = 4 [default = inf]; optional string e = 5; oneof choice { int32 f = 6 [default = 3]; }
        enum E { X = 0; Y = 4; }
        """,
        "proto2",
    )
    row = {"a": -7, "b": b"\x01x", "c": "Y", "d": float("inf"), "e": None, "f": None}
    assert _rows(reader, b"") == [row]
    assert {column.name: column.default for column in reader.columns} == {
        **row,
        "e": NO_DEFAULT,
        "f": NO_DEFAULT,
    }


def test_unknown_numbers_of_enums_are_not_lost() -> None:
    """An open enum shows them as text; a closed one counts them as a field nobody knows; aliases as the first."""
    enum = "enum E { option allow_alias = true; NONE = 0; ONE = 1; UNO = 1; }"
    bodies = [b"\x08\x01\x10\x07\x10\x01", b"\x08\xf7\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
    assert _rows(_reader(f"optional E a = 1; repeated E b = 2; {enum}"), *bodies) == [
        {"a": "ONE", "b": ["7", "ONE"]},
        {"a": "-9", "b": []},
    ]
    assert _rows(_reader(f"optional E a = 1; repeated E b = 2; {enum}", "proto2"), *bodies) == [
        {"a": "ONE", "b": ["ONE"]},
        {"a": None, "b": []},
    ]


def test_repeated_occurrences_are_merged() -> None:
    """Messages are merged, lists joined whether packed or not, scalars and oneofs the last; unknown fields skipped."""
    reader = _reader("""
        Item a = 1; repeated int32 b = 2; int32 c = 3; oneof choice { Item d = 4; int32 e = 5; }
        map<string, int32> f = 6; message Item { int32 x = 1; repeated int32 y = 2; }
    """)
    body = (
        b"\x0a\x04\x08\x01\x10\x02\x0a\x02\x10\x03" b"\x10\x04\x12\x02\x05\x06" b"\x18\x07\x18\x08"
        b"\x22\x02\x08\x01\x28\x09" b"\x32\x05\x0a\x01k\x10\x01\x32\x05\x0a\x01a\x10\x02\x32\x05\x0a\x01k\x10\x03"
        b"\xa3\x06\x08\x01\xa4\x06" b"\xa0\x06\x01"
    )  # fmt: skip
    assert _rows(reader, body) == [
        {
            "a": {"x": 1, "y": [2, 3]},
            "b": [4, 5, 6],
            "c": 8,
            "d": None,
            "e": 9,
            "f": [{"key": "a", "value": 2}, {"key": "k", "value": 3}],
        }
    ]


def test_times_are_exact_or_refused() -> None:
    """Every instant of 64 bits of nanoseconds is shown to the nanosecond; one beyond, or none, refuses its record."""
    reader = _reader("google.protobuf.Timestamp t = 1; google.protobuf.Duration d = 2;")
    ends = pl.DataFrame(
        {"t": [2**63 - 1, -(2**63), 1], "d": [-(2**63), 2**63 - 1, -1]},
        schema={column.name: pl.Int64() for column in reader.columns},
    ).cast({column.name: column.dtype for column in reader.columns})
    bodies = _writer("google.protobuf.Timestamp t = 1; google.protobuf.Duration d = 2;").write(ends)
    assert_frame_equal(reader.read(bodies).frame, ends)
    year_one = b"\x0a\x0b\x08\x80\x92\xb8\xc3\x98\xfe\xff\xff\xff\x01"
    assert _reasons(reader, bodies[0], year_one, b"\x0a\x06\x10\x80\x94\xeb\xdc\x03", b"\x12\x0d\x08\x01\x10" + b"\xff" * 9 + b"\x01") == {
        1: "t: -62135596800 seconds and 0 nanoseconds are more nanoseconds than 64 bits hold",
        2: "t: 0 seconds and 1000000000 nanoseconds are not a Timestamp",
        3: "d: 1 seconds and -1 nanoseconds are not a Duration",
    }  # fmt: skip


def test_json_stands_for_what_has_no_columns() -> None:
    """Struct, Value and messages that contain themselves are JSON text with the names of the schema."""
    reader = _reader(
        "google.protobuf.Value v = 1; repeated Order sub_orders = 2; optional int32 number_of = 3;"
    )
    value = struct_pb2.Value(list_value=struct_pb2.ListValue(values=[struct_pb2.Value(string_value="é")]))
    text = value.SerializeToString()
    nan = struct_pb2.Value(number_value=float("nan")).SerializeToString()
    bodies = [
        b"\x0a" + bytes([len(text)]) + text + b"\x12\x02\x18\x05\x12\x00",
        b"\x0a" + bytes([len(nan)]) + nan,
    ]
    read = reader.read(bodies)
    assert read.frame.to_dicts() == [
        {"v": '["é"]', "sub_orders": ['{"number_of": 5}', "{}"], "number_of": None}
    ]
    assert read.refused[1].startswith("google.protobuf.Value that can't be shown as JSON: ")


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x02x", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", b"\x0b", b"\xff" * 11, b"\0", b"\x0c"])  # fmt: skip
def test_damaged_bodies_alone_are_refused(body: bytes) -> None:
    """Bodies that are cut off, have lengths beyond them, groups without an end or a field zero are refused, no others."""
    reader = _reader("string a = 1; int32 b = 2;")
    bodies = [b"\x10\x01"] * 2000 + [body] + [b"\x10\x02"] * 2000
    read = reader.read(bodies)
    assert read.refused == {2000: "not a message of type shop.Order: truncated or corrupt"}
    assert read.frame["b"].to_list() == [1] * 2000 + [2] * 2000


def test_the_reason_says_what_is_wrong() -> None:
    """Text that is not UTF-8, nesting that is too deep and required fields that are missing are told apart."""
    assert _reasons(_reader("string a = 1;"), b"\x0a\x02\xc0\xaf", b"\x0a\x01x") == {
        0: "not a message of type shop.Order: a string that is not UTF-8"
    }
    assert _reasons(_reader("optional string a = 1; required int32 b = 2;", "proto2"), b"\x0a\x01\xff\x10\x01", b"") == {
        0: "invalid UTF-8 in field 'a'",
        1: "not a message of type shop.Order: required and missing: b",
    }  # fmt: skip
    deep = b""
    for _ in range(101):
        length = len(deep)
        deep = (
            b"\x0a" + (bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])) + deep
        )
    assert _reasons(_reader("Order a = 1;"), deep, deep[3:]) == {
        0: "not a message of type shop.Order: nested deeper than 100 levels"
    }


def test_groups_and_large_numbers_are_read_record_by_record() -> None:
    """What ptars can't read, or not in bounded memory, the note says, and Google's library reads."""
    group = _reader("optional group Item = 1 { optional int32 x = 1; } optional int32 b = 2;", "proto2")
    assert group.note == "group in field 'item': record by record"
    assert _rows(group, b"\x0b\x08\x05\x0c\x10\x01") == [{"item": {"x": 5}, "b": 1}]
    large = _reader("int32 a = 536870911;")
    assert large.note == "large field numbers: record by record"
    assert _rows(large, b"\xf8\xff\xff\xff\x0f\x07") == [{"a": 7}]
    assert _reader("int32 a = 1;").note is None


def test_required_fields_count_at_any_depth() -> None:
    """A field that must be set is missed in lists and in what becomes JSON text too, in batches as in single records."""
    reader = _reader(
        "optional int32 a = 1; repeated Order b = 2; repeated Item c = 3; message Item { required int32 x = 1; }",
        "proto2",
    )
    bodies = [b"\x08\x01"] * 100 + [b"\x1a\x00", b"\x12\x02\x1a\x00", b"\x1a\x02\x08\x05"]
    assert _reasons(reader, *bodies) == {
        100: "not a message of type shop.Order: required and missing: c[0].x",
        101: "not a message of type shop.Order: required and missing: b[0].c[0].x",
    }


def test_heavy_batches_are_read_in_light_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a batch is cut, rows and refusals keep their places."""
    monkeypatch.setattr("ktframe.formats.protobuf.reader._MOST_BYTES", 50)
    monkeypatch.setattr("ktframe.formats.protobuf.reader._MOST_ROWS", 30)
    bodies = [b"\x0a" + bytes([size]) + b"x" * size for size in range(100)]
    read = _reader("string a = 1;").read([*bodies[:60], b"\x0a", *bodies[60:]])
    assert read.frame["a"].str.len_bytes().to_list() == list(range(100))
    assert list(read.refused) == [60]


def test_messages_without_fields_are_counted() -> None:
    """A message that has no fields has no columns, and its rows are as many as its bodies."""
    read = _reader("").read([b"", b"\x08\x01", b"\x08"])
    assert (read.frame.shape, list(read.refused)) == ((2, 0), [2])
    assert _writer("").write(read.frame) == [b"", b""]


def test_large_values_are_read_whole() -> None:
    """Ten million bytes, or as many numbers in one list, are a value like any other."""
    size = 10_000_000
    length = b"\x80\xad\xe2\x04"
    bodies = [b"\x0a" + length + b"x" * size, b"\x12" + length + b"\x01" * size]
    frame = _reader("bytes a = 1; repeated int32 b = 2;").read(bodies).frame
    assert frame.select(pl.col("a").bin.size(), pl.col("b").list.sum()).rows() == [(size, 0), (0, size)]


# --------------------------------------------------------------------------------------------- writing

ALL = """
    int32 a = 1; optional uint64 b = 2; string c = 3; bytes d = 4; float e = 5; bool f = 6; E g = 7; repeated E h = 8;
    map<string, int32> i = 9; google.protobuf.Timestamp j = 10; google.protobuf.Duration k = 11; Item l = 12;
    oneof choice { int32 m = 13; string n = 14; } google.protobuf.Int64Value o = 15; google.protobuf.Struct p = 16;
    google.protobuf.FieldMask q = 17; double r = 18; map<int32, Item> s = 19;
    enum E { NONE = 0; ONE = 1; } message Item { string sku = 1; optional int32 count = 2; }
"""


def test_rows_are_written_by_the_names_of_their_columns() -> None:
    """Columns may come in any order, be missing or null; enums are names or numbers; any unit and zone is an instant."""
    rows = pl.DataFrame(
        {
            "j": pl.Series([NOON, None]).dt.cast_time_unit("ms").dt.convert_time_zone("Asia/Tokyo"),
            "k": pl.Series([timedelta(microseconds=-1_500_000), None]),
            "g": pl.Series(["ONE", "7"], dtype=pl.Categorical()),
            "a": [None, 5],
            "i": [[{"key": "x", "value": 1}], None],
            "l": [{"count": None, "sku": "s"}, None],
            "p": ['{"x": [1, null]}', None],
            "s": [None, [{"key": 1, "value": {"sku": "t"}}]],
        }
    )
    shown = _reader(ALL).read(_writer(ALL).write(rows)).frame
    assert shown.select("a", "g", "i", "j", "k", "l", "p", "s", "b").to_dicts() == [
        {
            "a": 0,
            "g": "ONE",
            "i": [{"key": "x", "value": 1}],
            "j": NOON,
            "k": timedelta(microseconds=-1_500_000),
            "l": {"sku": "s", "count": None},
            "p": '{"x": [1.0, null]}',
            "s": [],
            "b": None,
        },
        {
            "a": 5,
            "g": "7",
            "i": [],
            **dict.fromkeys("jklp"),
            "s": [{"key": 1, "value": {"sku": "t", "count": None}}],
            "b": None,
        },
    ]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("x", 1, "shop.Order has no field for column 'x'"),
        ("a", 2**31, "column 'a', row 2: 2147483648 is not between"),
        ("a", 1.0, "a float, but an integer is needed"),
        ("a", True, "a bool, but an integer is needed"),
        ("b", -1, "-1 is not between 0 and"),
        ("c", 1, "a int, but String is needed"),
        ("c", b"x", "a bytes, but String is needed"),
        ("d", "x", "a str, but Binary is needed"),
        ("e", 0.1, "0.1 has more digits than a float: cast the column to pl.Float32"),
        ("e", 1e300, "has more digits than a float"),
        ("f", 1, "a int, but Boolean is needed"),
        ("g", "TWO", "'TWO' is not a value of shop.Order.E"),
        ("g", "07", "'07' is not a value of shop.Order.E"),
        ("h", ["ONE", None], "column 'h', row 2: null in a list or map"),
        ("h", "ONE", "column 'h': String, but a List is needed"),
        ("i", [{"key": "x", "value": 1}, {"key": "x", "value": 2}], "the key 'x' twice in one map"),
        ("i", [{"key": "x", "value": None}], "null in a list or map"),
        ("j", NOON.replace(tzinfo=None), "but a Timestamp is a Datetime with a time zone"),
        ("j", date(2024, 1, 1), "but a Timestamp is a Datetime with a time zone"),
        ("k", 5, "column 'k': Int64, but Duration is needed"),
        ("l", {"sku": "x", "colour": 1}, "shop.Order.Item has no field 'colour'"),
        ("l", {"count": 2**31}, "column 'l', row 2: 2147483648 is not between"),
        ("l", "x", "column 'l': String, but a Struct is needed"),
        ("o", "x", "a str, but an integer is needed"),
        ("p", "{", "not the JSON text of a google.protobuf.Struct"),
        ("r", 2**53 + 1, "has more digits than a double"),
        ("s", [{"key": 2**31, "value": {"sku": "x"}}], "2147483648 is not between"),
    ],
)
def test_what_does_not_fit_is_refused(column: str, value: Any, reason: str) -> None:
    """A value of the wrong kind, or one that would be changed, names its column and row."""
    with pytest.raises(SchemaError) as caught:
        _writer(ALL).write(pl.DataFrame({column: [None, None, value]}))
    assert reason in caught.value.fact
    assert repr(column) in caught.value.fact


@pytest.mark.parametrize("kind", ["map<string, int32>", "map<int32, L>", "repeated L", "repeated int32"])
def test_lists_of_nothing_fit_every_list(kind: str) -> None:
    """Rows whose lists and maps are all empty, which have no type of their own, are written; null inside is refused."""
    writer = _writer(f"{kind} a = 1; message L {{ int32 b = 1; }}")
    assert writer.write(pl.DataFrame({"a": [[], None]})) == [b"", b""]
    with pytest.raises(SchemaError, match="'a', row 0: null in a list"):
        writer.write(pl.DataFrame({"a": [[None]]}))


def test_fields_that_exclude_or_need_each_other_are_refused() -> None:
    """Two fields of one oneof, a required field that is null, and an unknown number of a closed enum fit no message."""
    with pytest.raises(SchemaError, match="row 1: 'm' and 'n' are set"):
        _writer(ALL).write(pl.DataFrame({"m": [None, 1], "n": ["x", "y"]}))
    with pytest.raises(SchemaError, match="row 0: required and missing: a"):
        _writer("required int32 a = 1;", "proto2").write(pl.DataFrame({"a": [None]}))
    with pytest.raises(SchemaError, match="'7' is not a value"):
        _writer("optional E a = 1; enum E { X = 0; }", "proto2").write(pl.DataFrame({"a": ["7"]}))


def test_no_rows_make_no_bodies() -> None:
    """An empty frame is written as nothing."""
    assert _writer(ALL).write(pl.DataFrame(schema={"a": pl.Int32()})) == []


# ------------------------------------------------------------------------------------ optional packages


@pytest.mark.parametrize("package", ["google.protobuf", "ptars"])
def test_a_missing_package_is_named_with_a_hint(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    """Without an optional package making a reader says what to install."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError) as caught:
        _reader("int32 a = 1;")
    assert caught.value.hint == "pip install 'ktframe[protobuf]'"


def test_the_module_is_imported_without_the_packages() -> None:
    """Importing the reader needs neither of the optional packages, and imports neither."""
    program = """if True:
        import sys
        sys.modules["google.protobuf"] = sys.modules["ptars"] = None
        import ktframe.formats.protobuf
        from ktframe.formats.wire import parse_indexes
        assert parse_indexes(b"\\0x") == ((0,), b"x")
    """
    subprocess.run([sys.executable, "-c", program], check=True, timeout=180)
