"""Avro records that contain themselves: they are read and written as JSON text, up to a depth."""

from __future__ import annotations

import json
import math
import struct
from io import BytesIO
from typing import Any

import fastavro
import polars as pl
import pytest
from support.avro_bodies import field, number, read, reader, record, writer
from support.avro_made import written

from ktframe.errors import SchemaError

NODE = record(field("value", "int"), field("next", ["null", "Node"]), name="Node")
TREE = record(field("name", "string"), field("below", {"type": "array", "items": "Tree"}), name="Tree")
LEVELS = 63
"""Records that may be inside of each other in one text, each of which has a field on the level below its own."""


def _chain(length: int) -> bytes:
    """Return the body of a node with so many after it."""
    return b"\x02\x02" * length + b"\x02\0"


def test_the_column_is_text_and_the_note_says_so() -> None:
    """A record inside of itself is a column of text, and the note says that such bodies are read one by one."""
    by = reader(NODE)
    assert {column.name: column.dtype for column in by.columns} == {"value": pl.Int32(), "next": pl.String()}
    assert by.note == "a Node inside of itself in field 'next': record by record"
    outer = reader(record(field("tree", TREE), field("other", "Tree")))
    assert [column.dtype for column in outer.columns] == [
        pl.Struct({"name": pl.String(), "below": pl.List(pl.String())})
    ] * 2
    assert outer.note == "a Tree inside of itself in field 'tree.below': record by record"


def test_text_is_what_fastavro_reads() -> None:
    """The text of lists and trees has the values that fastavro reads."""
    chain = {"value": 1, "next": {"value": -2, "next": {"value": 3, "next": None}}}
    tree = {
        "name": "a",
        "below": [{"name": "b", "below": []}, {"name": "ü", "below": [{"name": "", "below": []}]}],
    }
    for schema, value, name in ((NODE, chain, "next"), (TREE, tree, "below")):
        body = written(schema, value)
        assert fastavro.schemaless_reader(BytesIO(body), fastavro.parse_schema(schema)) == value
        (shown,) = read(schema, [body]).frame[name].to_list()
        found = json.loads(shown) if isinstance(shown, str) else [json.loads(each) for each in shown]
        assert found == value[name]
        assert writer(schema).write(read(schema, [body]).frame) == [body]
    assert read(NODE, [_chain(0), _chain(1)]).frame["next"].to_list() == [None, '{"value":1,"next":null}']
    assert read(TREE, [written(TREE, tree)]).frame["below"].to_list() == [
        ['{"name":"b","below":[]}', '{"name":"ü","below":[{"name":"","below":[]}]}']
    ]


def test_records_may_be_inside_of_each_other() -> None:
    """Two records that have each other are text below the first one's second occurrence."""
    inner = record(field("back", ["null", "A"]), name="B")
    schema = record(field("b", inner), name="A")
    body = b"\x02\x02\0"
    assert read(schema, [body, b"\0"]).frame.to_dicts() == [
        {"b": {"back": '{"b":{"back":{"b":{"back":null}}}}'}},
        {"b": {"back": None}},
    ]


EVERY = record(
    field("z", "null"), field("b", "boolean"), field("i", "int"), field("l", "long"), field("f", "float"),
    field("d", "double"), field("s", "string"), field("y", "bytes"),
    field("x", {"type": "fixed", "name": "Fixed", "size": 2}),
    field("e", {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}),
    field("a", {"type": "array", "items": "long"}), field("m", {"type": "map", "values": "int"}),
    field("u", ["null", "int", "string"]), field("n", ["null", "int"]), field("one", ["int"]),
    field("t", {"type": "int", "logicalType": "time-millis"}),
    field("c", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}),
    field("q", {"type": "string", "logicalType": "uuid"}),
    field("next", ["null", "Row"]),
)  # fmt: skip
VALUE: dict[str, Any] = {
    "z": None, "b": True, "i": -1, "l": 2**62, "f": 0.5, "d": 0.1, "s": 'ü"\n', "y": "\0ÿ", "x": "ab", "e": "PAID",
    "a": [1, 2], "m": {"k": 1, "": 2}, "u": {"string": "x"}, "n": 7, "one": 3, "t": 1_000, "c": "\x01",
    "q": "0b5a4f8e-0000-4000-8000-0123456789ab", "next": None,
}  # fmt: skip
WITH_DEFAULTS = {
    **EVERY,
    "fields": [
        each if each["name"] == "next" else {**each, "default": (VALUE | {"u": "x"})[each["name"]]}
        for each in EVERY["fields"]
    ],
}  # fmt: skip
"""The same, of which a frame may lack all columns but the last."""


def test_every_type_has_its_text() -> None:
    """Bytes are characters below 256, logical types are shown as stored, and branches of a union are named."""
    bodies = writer(WITH_DEFAULTS).write(pl.DataFrame({"next": [json.dumps(VALUE)]}))
    frame = read(EVERY, bodies).frame
    assert list(json.loads(frame["next"][0]).items()) == list(VALUE.items())
    assert writer(EVERY).write(frame) == bodies


@pytest.mark.parametrize(
    ("value", "text"), [(math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_what_json_has_no_number_for_is_text(value: float, text: str) -> None:
    """NaN and the infinities are text, as in defaults of a schema, and are taken back."""
    schema = record(field("f", "float"), field("d", "double"), field("next", ["null", "Row"]))
    body = struct.pack("<fd", 0, 0) + b"\x02" + struct.pack("<fd", value, value) + b"\0"
    frame = read(schema, [body]).frame
    assert json.loads(frame["next"][0]) == {"f": text, "d": text, "next": None}
    assert writer(schema).write(frame) == [body]


def test_text_has_a_limit_of_depth() -> None:
    """Sixty-four levels are read and written back, one more is refused, and a million do no harm."""
    found = read(NODE, [_chain(LEVELS), _chain(LEVELS + 1), _chain(10**6)])
    assert dict(found.refused) == dict.fromkeys((1, 2), "nested deeper than 64 levels")
    assert writer(NODE).write(found.frame) == [_chain(LEVELS)]
    text = '{"value":1,"next":' * (LEVELS + 1) + "null" + "}" * (LEVELS + 1)
    with pytest.raises(SchemaError, match="nested deeper than 64 levels"):
        writer(NODE).write(pl.DataFrame({"value": [1], "next": [text]}))
    with pytest.raises(SchemaError, match="text that is not JSON"):
        writer(NODE).write(pl.DataFrame({"value": [1], "next": ['{"next":' * 10**6]}))


@pytest.mark.parametrize(
    ("schema", "body", "why"),
    [
        (NODE, b"\x02\x02", "truncated"),
        (NODE, b"\x02\x02\x02", "truncated"),
        (NODE, b"\x02\x04", "no branch 2 in a union"),
        (NODE, b"\x02\x02\x02\x04", "no branch 2 in a union"),
        (NODE, b"\x02\x02\x02\x01", "no branch -1 in a union"),
        (NODE, _chain(1) + b"\0", "1 byte too many"),
        (TREE, b"\0" + b"\x02\0" + number(2**40), "truncated"),
        (TREE, b"\0" + b"\x02\x02\xff\0\0", "text that is not UTF-8"),
    ],
)
def test_damaged_bodies_are_refused(schema: Any, body: bytes, why: str) -> None:
    """A damaged record inside of a text is refused for the same reasons as elsewhere."""
    assert dict(read(schema, [body]).refused) == {0: why}


def _nested(name: str, kind: Any, value: bytes) -> tuple[Any, bytes]:
    """Return the schema of a record with such a field inside of itself, and a body with ``value`` inside."""
    empty = {"map": b"\0", "array": b"\0", "enum": b"\0", "double": b"\0" * 8, "fixed": b"\0" * 2}
    outer = empty.get(kind["type"] if isinstance(kind, dict) else kind, b"\0")
    return record(field(name, kind), field("next", ["null", "Row"])), outer + b"\x02" + value + b"\0"


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        ({"type": "map", "values": "int"}, b"\x04\x02k\x02\x02k\x04\0", "a map with the key 'k' twice"),
        ({"type": "enum", "name": "Status", "symbols": ["NEW"]}, b"\x02", "not a value of enum Status"),
        ({"type": "fixed", "name": "Fixed", "size": 2}, b"", "truncated"),
        ("double", b"\0", "truncated"),
        (
            {"type": "array", "items": "null"},
            number(10_001) + b"\0",
            "more than 10,000 items that take no bytes",
        ),
    ],
)
def test_values_inside_of_text_are_checked(kind: Any, value: bytes, why: str) -> None:
    """A map with a key twice is refused, as JSON would lose one; indices, lengths and items are checked as elsewhere."""
    schema, body = _nested("v", kind, value)
    assert dict(read(schema, [body]).refused) == {0: why}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("{", "text that is not JSON"),
        ("[]", "[] is not of type Row"),
        ("null", "None is not of type Row"),
        ({"b": 1}, "1 is not of type boolean"),
        ({"b": None}, "None is not of type boolean"),
        ({"z": False}, "False is not of type null"),
        ({"i": 2**31}, "2147483648 is not of type int"),
        ({"i": 1.0}, "1.0 is not of type int"),
        ({"i": True}, "True is not of type int"),
        ({"l": 2**63}, "9223372036854775808 is not of type long"),
        ({"f": "1"}, "'1' is not of type float"),
        ({"f": 1e39}, "f: 1e+39 is too large for a float"),
        ({"d": 10**400}, "is not of type double"),
        ({"s": 1}, "1 is not of type string"),
        ({"s": "\ud800"}, r"'\ud800' is not of type string"),
        ({"y": "€"}, "'€' is not of type bytes"),
        ({"x": "abc"}, "'abc' is not of type Fixed"),
        ({"e": "SENT"}, "'SENT' is not of type Status"),
        ({"a": [1, "x"]}, "'x' is not of type long"),
        ({"m": []}, "[] is not of type map"),
        ({"m": {"\udfff": 1}}, r"'\udfff' is not of type string"),
        ({"u": "x"}, "not one of int, string with its name"),
        ({"u": {"int": 1, "string": "x"}}, "not one of int, string with its name"),
        ({"u": {"long": 1}}, "not one of int, string with its name"),
        ({"one": None}, "None is not of type int"),
        ({"t": 86_400_000}, "86400000 is not of type int"),
        ({"c": "\x7f\xff"}, "a decimal of more than 4 digits"),
        ({"q": "x"}, "not a UUID"),
        ({"more": 1}, "a Row with 'more'"),
        ({"next": {"z": None}}, "a Row without 'next'"),
    ],
)
def test_text_that_is_no_such_record_is_refused(change: Any, why: str) -> None:
    """Text that Avro has no bytes for names its column and row."""
    text = change if isinstance(change, str) else json.dumps(VALUE | change)
    with pytest.raises(SchemaError) as caught:
        writer(WITH_DEFAULTS).write(pl.DataFrame({"next": [None, text]}))
    assert why in caught.value.fact
    assert caught.value.fact.startswith("column 'next', row 1: ")


def test_text_may_lack_what_has_a_default() -> None:
    """A field that the text lacks is written as its default, also where that is a record inside of itself."""
    schema = record(field("v", "int", default=7), field("u", ["int", "string"], default="x"), field("next", ["null", "Row"], default=None))  # fmt: skip
    (body,) = writer(schema).write(pl.DataFrame({"next": ["{}"]}))
    assert body == b"\x0e\x02\x02x" + b"\x02" + b"\x0e\x02\x02x" + b"\0"
    assert json.loads(read(schema, [body]).frame["next"][0]) == {"v": 7, "u": {"string": "x"}, "next": None}
