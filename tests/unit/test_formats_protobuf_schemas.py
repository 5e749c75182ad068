"""Protobuf schemas as registries keep them: source text or serialized, with imports, in every syntax there is."""

from __future__ import annotations

import base64
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from google.protobuf import descriptor_pb2, timestamp_pb2
from hypothesis import example, given

from ktframe.errors import SchemaError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.protobuf import ProtobufReader
from ktframe.formats.protobuf.proto_parser import parsed_source
from ktframe.formats.protobuf.proto_tokens import SourceError

FULL = r"""
// A file with everything in it that can be skipped.
syntax = "proto2"; /* and } more */
package shop.v1;
import public "google/protobuf/timestamp.proto";
import "google/protobuf/descriptor.proto";
option java_package = "com.shop"; option (custom).deep = { list: [1, 2], text: "}" inner < x: 1 > };
extend google.protobuf.FieldOptions { optional string unit = 50000; optional group Hidden = 50001 { optional int32 h = 1; } }
service Orders { rpc Get (Order) returns (stream Order) { option deprecated = true; } }
message Order {
  reserved 100, 200 to 300, 1000 to max; reserved "old", 'older'; extensions 500 to 600;
  option (custom_message) = -1.5e3;
  required int64 id = 0x1 [(unit) = "a" "b", deprecated = true];
  optional string text = 02 [default = "q\"\x41\102\n" '\u00e9', json_name = "TEXT"];
  repeated sint32 numbers = 3 [packed = true, ctype = CORD];
  optional .shop.v1.Order.Kind kind = 4 [default = B];
  map < string , Line > lines = 5;
  oneof choice { option (x) = 1; Line line = 6; group Pair = 7 { required double left = 1; }; }
  optional float limit = 8 [default = -inf]; optional bytes raw = 9 [default = "\000\xff"];
  optional double ratio = 10 [default = 1e3]; optional uint32 mask = 11 [default = 0xff];
  optional group Nested = 12 { optional Kind inner = 1; }
  message Line { optional google.protobuf.Timestamp at = 1; optional string message = 2; optional bool reserved = 3; };
  enum Kind { option allow_alias = true; reserved 7; A = 0; B = -5 [(unit) = "x"]; C = -5; option_ = 3; }
}
"""


def _reader(text: str, indexes: tuple[int, ...] = (0,), **references: str) -> ProtobufReader:
    known = tuple((f"{name}.proto", SchemaDocument("PROTOBUF", each)) for name, each in references.items())
    return ProtobufReader(SchemaDocument("PROTOBUF", text, known), indexes)


def _dtypes(reader: ProtobufReader) -> dict[str, pl.DataType]:
    return {column.name: column.dtype for column in reader.columns}


def _serialized(text: str, name: str = "any.proto") -> str:
    file = parsed_source(text)
    file.name = name
    return base64.b64encode(file.SerializeToString()).decode()


def test_everything_that_proto2_has_is_read() -> None:
    """Types, defaults, groups, maps and oneofs count; comments, options, extensions and services are skipped."""
    reader = _reader(FULL, (1,))
    line = pl.Struct({"at": pl.Datetime("ns", "UTC"), "message": pl.String(), "reserved": pl.Boolean()})
    assert _dtypes(reader) == {
        "id": pl.Int64(),
        "text": pl.String(),
        "numbers": pl.List(pl.Int32()),
        "kind": pl.String(),
        "lines": pl.List(pl.Struct({"key": pl.String(), "value": line})),
        "line": line,
        "pair": pl.Struct({"left": pl.Float64()}),
        "limit": pl.Float32(),
        "raw": pl.Binary(),
        "ratio": pl.Float64(),
        "mask": pl.UInt32(),
        "nested": pl.Struct({"inner": pl.String()}),
    }
    defaults = {column.name: column.default for column in reader.columns}
    assert defaults["text"] == 'q"AB\né'
    assert [defaults[name] for name in ("kind", "limit", "raw", "ratio", "mask")] == [
        "B", float("-inf"), b"\0\xff", 1000.0, 255
    ]  # fmt: skip
    assert list(_dtypes(_reader(FULL, (0,)))) == ["h"]  # the group among the extensions is a message as well


def test_the_description_is_that_of_protoc() -> None:
    """A file that Google ships as source and compiled is described alike."""
    text = """
        syntax = "proto3";
        package google.protobuf;
        option cc_enable_arenas = true; option go_package = "x"; option java_multiple_files = true;
        message Timestamp { int64 seconds = 1; int32 nanos = 2; }
    """
    expected = descriptor_pb2.FileDescriptorProto()
    timestamp_pb2.DESCRIPTOR.CopyToProto(expected)
    for field in ("name", "options"):
        expected.ClearField(field)
    for each in expected.message_type[0].field:
        each.ClearField("json_name")
    assert parsed_source(text) == expected


def test_editions_say_what_has_presence() -> None:
    """Features of an edition decide on presence, on closed enums and on how messages are encoded."""
    reader = _reader("""
        edition = "2023";
        option features.enum_type = CLOSED;
        message M {
          int32 a = 1; int32 b = 2 [features.field_presence = IMPLICIT]; Inner c = 3 [features.message_encoding = DELIMITED];
          E d = 4; message Inner { int32 x = 1; }
        }
        enum E { option features = { enum_type: OPEN }; ZERO = 0; }
    """)
    assert reader.read([b"\x1b\x08\x05\x1c\x20\x07"]).frame.to_dicts() == [
        {"a": None, "b": 0, "c": {"x": 5}, "d": "7"}
    ]


def test_explicit_map_entries_are_maps() -> None:
    """Registries write a map out as its entries, which protoc refuses, where the schema came to them serialized."""
    reader = _reader("""
        syntax = "proto3";
        message M {
          repeated CountsEntry counts = 1;
          message CountsEntry { option map_entry = true; string key = 1; int32 value = 2; }
          message Other { bool x = 1; }
        }
    """)
    twice = b"\x0a\x05\x0a\x01k\x10\x01\x0a\x05\x0a\x01k\x10\x02"
    assert reader.read([twice]).frame.to_dicts() == [{"counts": [{"key": "k", "value": 2}]}]


LIBRARY = 'syntax = "proto3"; package lib; import "deep.proto"; message Shared { Deep deep = 1; }'
DEEP = 'syntax = "proto2"; package lib; message Deep { optional int32 x = 1; }'
MAIN = 'syntax = "proto3"; import "lib.proto"; message Main { lib.Shared shared = 1; repeated lib.Shared more = 2; }'


@pytest.mark.parametrize("main", [MAIN, _serialized(MAIN)])
@pytest.mark.parametrize("library", [LIBRARY, _serialized(LIBRARY)])
def test_references_may_be_in_either_form(main: str, library: str) -> None:
    """Source may import what is serialized and the other way round; references of references are found."""
    deep = SchemaDocument("PROTOBUF", DEEP)
    shared = SchemaDocument("PROTOBUF", library, (("deep.proto", deep),))
    reader = ProtobufReader(SchemaDocument("PROTOBUF", main, (("lib.proto", shared),)), (0,))
    inner = pl.Struct({"deep": pl.Struct({"x": pl.Int32()})})
    assert _dtypes(reader) == {"shared": inner, "more": pl.List(inner)}


def test_what_google_and_confluent_ship_needs_no_reference() -> None:
    """Files of googleapis and of Confluent's registry are known; a registered copy of a standard file is harmless."""
    text = """
        syntax = "proto3";
        import "google/type/date.proto"; import "google/type/money.proto"; import "confluent/meta.proto";
        import "confluent/types/decimal.proto"; import "google/protobuf/timestamp.proto";
        message M {
          option (confluent.message_meta).doc = "x";
          google.type.Date a = 1; confluent.type.Decimal b = 2; google.protobuf.Timestamp c = 3; google.type.Money d = 4;
        }
    """
    copy = 'syntax = "proto3"; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }'
    document = SchemaDocument(
        "PROTOBUF", text, (("google/protobuf/timestamp.proto", SchemaDocument("PROTOBUF", copy)),)
    )
    dtypes = _dtypes(ProtobufReader(document, (0,)))
    assert dtypes["a"] == pl.Struct({"year": pl.Int32(), "month": pl.Int32(), "day": pl.Int32()})
    assert dtypes["b"] == pl.Struct({"value": pl.Binary(), "precision": pl.UInt32(), "scale": pl.Int32()})
    assert dtypes["c"] == pl.Datetime("ns", "UTC")


def test_an_import_of_options_alone_may_be_missing() -> None:
    """An import need not be found if no type of the schema needs it."""
    assert list(_dtypes(_reader('syntax = "proto3"; import "rules.proto"; message M { int32 a = 1; }'))) == [
        "a"
    ]


def _wide(levels: int) -> str:
    messages = [
        f"message M{at} {{ {' '.join(f'M{at + 1} f{n} = {n};' for n in range(1, 11))} }}"
        for at in range(levels)
    ]
    return f'syntax = "proto3"; {" ".join(messages)} message M{levels} {{ int32 a = 1; }}'


@pytest.mark.parametrize(
    ("text", "indexes", "reason"),
    [
        ("", (0,), "there is no message 0 in the schema: it has 0"),
        ("message M {}", (), "the list of message indexes is empty"),
        ("message M {}", (1,), "there is no message 1 in the schema: it has 1"),
        ("message M { message N {} }", (0, 1), "there is no message 1 in M: it has 1"),
        ("message M {}", (-1,), "there is no message -1"),
        ('{"type": "record"}', (0,), "the schema is not Protobuf: line 1: '{' where a definition should be"),
        ("message M {\n int32 a 1; }", (0,), "line 2: '1' where '=' should be"),
        ("message M { int32 a = 1;", (0,), "line 1: the end where"),
        ("message M { int32 a = 99999999999; }", (0,), "where an integer of 32 bits should be"),
        ("message M { Missing a = 1; }", (0,), "couldn't resolve name 'Missing'"),
        ('import "x.proto"; message M { x.X a = 1; }', (0,), "not found: 'x.proto'"),
        ("message M { int32 a = 1; int32 b = 1; }", (0,), "the Protobuf schema can't be used"),
        ("message M { int32 HasField = 1; }", (0,), "'HasField', which hides a method"),
        ('syntax = "proto4"; message M {}', (0,), "syntax 'proto4' is not known"),
        (_wide(6), (0,), "M0 has more than 10,000 fields"),
        ("message M {" * 200, (0,), "deeper than 100 levels"),
        ("message § {}", (0,), "line 1: '§' is not expected here"),
    ],
)
def test_what_is_no_usable_schema_says_why(text: str, indexes: tuple[int, ...], reason: str) -> None:
    """Invalid text, missing types and message indexes without a message raise when the reader is made."""
    with pytest.raises(SchemaError) as caught:
        _reader(text, indexes)
    assert reason in caught.value.fact


def test_a_bad_reference_is_named() -> None:
    """The error names the file that is not Protobuf."""
    with pytest.raises(SchemaError, match=r"'lib.proto' is not Protobuf: line 1"):
        _reader(MAIN, lib="nonsense")


PIECES = [
    *FULL.split(),
    "message",
    "enum",
    "{",
    "}",
    "[",
    "]",
    "=",
    ";",
    "map",
    "<",
    ">",
    '"x"',
    "1",
    "option",
    "-",
    ".",
]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map(" ".join) | st.text(max_size=30))
@example("message M { map<M, M> m = 1; }")
@example("message M { oneof a { } group G = 1 { } }")
@example("option features.x.y = { a: };")
def test_any_text_is_a_file_or_an_error_that_says_so(text: str) -> None:
    """No text makes the parser raise anything else, or a reader anything but SchemaError."""
    try:
        parsed: Any = parsed_source(text)
    except SourceError:
        parsed = None
    try:
        _reader(text)
    except SchemaError:
        return
    assert parsed is None or parsed.message_type
