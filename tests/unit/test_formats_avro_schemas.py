"""Avro schemas: which texts are refused, how names are resolved, and how defaults and aliases show rows of other schemas."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import polars as pl
import pytest
from support.avro_bodies import document, field, read, reader, record, writer
from support.avro_made import written

from ktframe.errors import SchemaError
from ktframe.formats.avro import AvroReader, AvroWriter
from ktframe.formats.bodies import NO_DEFAULT, SchemaDocument
from ktframe.formats.resolution import joined, reading

ENUM = {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}
FIXED = {"type": "fixed", "name": "Fixed", "size": 2}
POINT = record(field("x", "int"), field("y", "float", default=1.5), name="Point")
NODE = record(field("value", ["int", "string"]), field("next", ["null", "Node"], default=None), name="Node")


def _logical(kind: Any, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


# ---------------------------------------------------------------------------------------------- texts


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("{", "it is not JSON: "),
        ("", "it is not JSON: "),
        ("no-name", "it is not JSON: "),
        ("true", "'true' is not defined"),
        ("5", "5 is not a type"),
        ("Order", "'Order' is not defined"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ({}, "{} has no 'type'"),
        ({"type": 5}, "{'type': 5} has no 'type'"),
        ({"type": "Order"}, "'Order' is not defined"),
        ({"type": "array"}, "an array without 'items'"),
        ({"type": "map"}, "a map without 'values'"),
        ([], "a union of no type"),
        (["int", "int"], "a union of 'int' twice"),
        (["null", ["int"]], "a union of another union"),
        ([FIXED, "Fixed"], "a union of 'Fixed' twice"),
        ({"type": "record"}, "{'type': 'record'} has no name"),
        ({"type": "record", "name": "A"}, "'A' has no list of fields"),
        ({"type": "record", "name": "A" * 100}, "has no list of fields"),
        (record(name="9"), "'9', the last part of '9', is not a valid name"),
        (record(name="a."), "'', the last part of 'a.', is not a valid name"),
        (record(name=""), "'', the last part of '', is not a valid name"),
        ({**record(), "namespace": 5}, "'Row' has the namespace 5"),
        (record({"name": "a"}), "'Row' has a field {'name': 'a'}"),
        (record(field("a-b", "int")), "'a-b', a field of 'Row', is not a valid name"),
        (record({"type": "int"}), "None, a field of 'Row', is not a valid name"),
        (record(field("a", "int"), field("a", "long")), "'Row' has two fields of one name"),
        (record(field("a", "int", aliases="b")), "'a' has no list of aliases"),
        (record(field("a", "int", aliases=5)), "'a' has no list of aliases"),
        (record(field("a", "int", aliases=["b", 5])), "5, an alias in 'Row', is not a valid name"),
        (record(field("a", FIXED), field("b", {**FIXED, "size": 3})), "'Fixed' is defined twice"),
        ({"type": "enum", "name": "E"}, "'E' has no list of symbols"),
        ({"type": "enum", "name": "E", "symbols": ["A", "A"]}, "'E' has a symbol twice"),
        (
            {"type": "enum", "name": "E", "symbols": ["A", "b-c"]},
            "'b-c', a symbol of 'E', is not a valid name",
        ),
        ({"type": "enum", "name": "E", "symbols": [["A"]]}, "['A'], a symbol of 'E', is not a valid name"),
        ({"type": "fixed", "name": "F"}, "'F' has the size None"),
        ({"type": "fixed", "name": "F", "size": -1}, "'F' has the size -1"),
        ({"type": "fixed", "name": "F", "size": 2**40}, "'F' has the size 1099511627776"),
        ({"type": "fixed", "name": "F", "size": True}, "'F' has the size True"),
    ],
)
def test_texts_that_are_no_schema_are_refused(schema: Any, why: str) -> None:
    """Reader and writer both refuse the text, and the error says what is wrong with which part."""
    for make in (AvroReader, AvroWriter):
        with pytest.raises(SchemaError) as caught:
            make(document(schema))
        assert caught.value.fact.startswith("not a valid Avro schema: ")
        assert why in caught.value.fact


def test_a_name_that_is_not_defined_has_a_hint() -> None:
    """The error says that a registry has to be told where the name is defined."""
    with pytest.raises(SchemaError) as caught:
        reader(record(field("a", "shop.Point")))
    assert caught.value.hint == "register it with a reference to the schema that defines the name."


def test_other_kinds_of_schemas_are_refused() -> None:
    """A document of another format is not taken for Avro, whatever its text."""
    with pytest.raises(SchemaError, match="of the kind 'JSON' is not Avro"):
        AvroReader(SchemaDocument("JSON", '"int"'))


def test_schemas_have_a_size() -> None:
    """Types that are written out into too many, or too deep, are refused before they take long."""
    kind: Any = "int"
    for at in range(20):
        kind = record(field("a", kind), field("b", f"R{at - 1}" if at else "int"), name=f"R{at}")
    with pytest.raises(SchemaError, match="more than 20,000 types"):
        reader(kind)
    kind = "int"
    for _ in range(65):
        kind = {"type": "array", "items": kind}
    with pytest.raises(SchemaError, match="more than 64 levels"):
        reader(kind)
    assert read(kind["items"], [b"\x02" * 63 + b"\0" * 64]).frame.height == 1
    assert reader(kind["items"]).note == "types too deep inside of each other: record by record"
    assert read(kind["items"]["items"]["items"], [b"\0", b"\x02\0\0"]).frame.height == 2


@pytest.mark.parametrize("text", ["string", '"string"', " string\n", '{"type": "string"}', '{"type": {"type": "string"}}'])  # fmt: skip
def test_a_primitive_type_is_a_schema(text: str) -> None:
    """Registries keep a type of one word with or without its quotes."""
    assert AvroReader(SchemaDocument("AVRO", text)).columns[0].dtype == pl.String()
    assert AvroReader(SchemaDocument("AVRO", text.replace("string", "null"))).columns[0].dtype == pl.Null()


# ---------------------------------------------------------------------------------------------- names


def test_names_are_found_in_their_namespace() -> None:
    """A name without one is looked for in the namespace around it, then, as Avro's own library does, without any."""
    schema = {
        "type": "record", "name": "Order", "namespace": "shop",
        "fields": [
            field("a", {**FIXED, "name": "Id"}), field("b", "Id"), field("c", "shop.Id"),
            field("d", {**POINT, "name": "geo.Point"}), field("e", "geo.Point"),
            field("f", {**FIXED, "name": "Id", "namespace": "other", "size": 3}), field("g", "other.Id"),
            field("h", {"type": "record", "name": "In", "namespace": "", "fields": [field("i", {**FIXED, "name": "Top", "size": 1})]}),
            field("j", "Top"),
        ],
    }  # fmt: skip
    parts = [b"ab", b"cd", b"ef", b"\x02\0\0\0\0", b"\x04\0\0\0\0", b"ghi", b"jkl", b"m", b"n"]
    (row,) = read(schema, [b"".join(parts)]).frame.rows()
    assert row == (
        b"ab", b"cd", b"ef", {"x": 1, "y": 0.0}, {"x": 2, "y": 0.0}, b"ghi", b"jkl", {"i": b"m"}, b"n",
    )  # fmt: skip


@pytest.mark.parametrize("namespace", ["com.my-shop", "com.shop.Order$", "com.9", "", None])
def test_any_namespace_is_one(namespace: str | None) -> None:
    """Avro's own library has rules for names but none for namespaces, and so have registries."""
    inner = {**POINT, "namespace": namespace}
    full = f"{namespace}.Point" if namespace else "Point"
    schema = record(field("a", inner), field("b", full))
    assert [each.dtype for each in reader(schema).columns] == [
        pl.Struct({"x": pl.Int32(), "y": pl.Float32()})
    ] * 2


def test_references_are_schemas_of_their_own() -> None:
    """What a document refers to may itself refer to others, and the same one be referred to by two ways."""
    schema = record(field("a", "shop.Point"), field("b", "shop.Line"))
    point = json.dumps({**POINT, "namespace": "shop"})
    line = json.dumps({**record(field("p", "Point"), name="Line"), "namespace": "shop"})
    known = ("point", SchemaDocument("AVRO", point))
    by = AvroReader(
        SchemaDocument("AVRO", json.dumps(schema), (known, ("line", SchemaDocument("AVRO", line, (known,)))))
    )
    assert [each.dtype for each in by.columns] == [
        pl.Struct({"x": pl.Int32(), "y": pl.Float32()}),
        pl.Struct({"p": pl.Struct({"x": pl.Int32(), "y": pl.Float32()})}),
    ]
    with pytest.raises(SchemaError, match="it is not JSON"):
        AvroReader(SchemaDocument("AVRO", '"int"', (("broken", SchemaDocument("AVRO", "{")),)))


def test_errors_are_records() -> None:
    """The errors of a protocol are records of another name."""
    assert read({**POINT, "type": "error"}, [b"\x02\0\0\0\0"]).frame.to_dicts() == [{"x": 1, "y": 0.0}]


# ------------------------------------------------------------------------------------------- defaults

DEFAULTS: list[tuple[Any, Any, Any]] = [
    ("null", None, None),
    ("boolean", False, False),
    ("int", -5, -5),
    ("long", 2**63 - 1, 2**63 - 1),
    ("float", 0.5, 0.5),
    ("float", 1, 1.0),
    ("float", "Infinity", float("inf")),
    ("double", 0.1, 0.1),
    ("string", "ü", "ü"),
    ("bytes", "\0ÿ", b"\0\xff"),
    (FIXED, "\0ÿ", b"\0\xff"),
    (ENUM, "PAID", "PAID"),
    ({"type": "array", "items": "int"}, [1, 2], [1, 2]),
    ({"type": "map", "values": "int"}, {"k": 1}, [{"key": "k", "value": 1}]),
    (POINT, {"x": 1}, {"x": 1, "y": 1.5}),
    (["null", "int"], None, None),
    (["int", "null"], 5, 5),
    (["null", "int"], 5, 5),
    (["int", "string"], "x", {"int": None, "string": "x"}),
    (_logical("int", "date"), 1, date(1970, 1, 2)),
    (_logical("int", "time-millis"), 1_000, time(0, 0, 1)),
    (_logical("long", "time-micros"), 1, time(0, 0, 0, 1)),
    (_logical("long", "timestamp-millis"), 1, datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
    (_logical("long", "local-timestamp-micros"), -1, datetime(1969, 12, 31, 23, 59, 59, 999999)),  # noqa: DTZ001 - local
    (_logical("long", "timestamp-nanos"), 1, 1),
    ({"type": "array", "items": _logical("long", "local-timestamp-nanos")}, [2**63 - 1], [2**63 - 1]),
    (record(field("t", _logical("long", "timestamp-nanos")), name="T"), {"t": 7}, {"t": 7}),
    (_logical("bytes", "decimal", precision=4, scale=2), "\x04\xd2", Decimal("12.34")),
    (_logical("bytes", "decimal", precision=40, scale=2), "\x04\xd2", "12.34"),
    (_logical("string", "uuid"), "0B5A4F8E-0000-4000-8000-0123456789AB", "0b5a4f8e-0000-4000-8000-0123456789ab"),
    ({**FIXED, "size": 16, "logicalType": "uuid"}, "\0" * 16, "00000000-0000-0000-0000-000000000000"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "given", "shown"), DEFAULTS, ids=lambda each: str(each)[:30])
def test_a_default_is_shown_and_written_where_its_field_is_missing(kind: Any, given: Any, shown: Any) -> None:
    """A default is what rows of a schema without the field show, and what is written for frames without the column."""
    schema = record(field("a", "int"), field("b", kind, default=given))
    columns = reader(schema).columns
    assert columns[1].default == shown
    (body,) = writer(schema).write(pl.DataFrame({"a": [1]}))
    expected = read(schema, [body]).frame
    have = {"a": columns[0]}
    assert (
        pl.DataFrame({"a": [1]}, schema={"a": pl.Int32()})
        .select(reading(have, want) for want in columns)
        .equals(expected)
    )


@pytest.mark.parametrize(
    ("kind", "given"), [(kind, given) for kind, given, shown in DEFAULTS if given == shown]
)
def test_defaults_are_those_that_fastavro_resolves(kind: Any, given: Any) -> None:
    """Where fastavro reads a body under a schema with one field more, that field has what is written for it here."""
    less, more = record(field("a", "int")), record(field("a", "int"), field("b", kind, default=given))
    found = fastavro.schemaless_reader(
        BytesIO(b"\x02"), fastavro.parse_schema(less), fastavro.parse_schema(more)
    )
    assert isinstance(found, dict)
    assert writer(more).write(pl.DataFrame({"a": [1]})) == [written(more, found)]


@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        ("null", 0, "0 is not of type null"),
        ("boolean", 1, "1 is not of type boolean"),
        ("int", None, "None is not of type int"),
        ("int", 2**31, "2147483648 is not of type int"),
        ("int", 1.0, "1.0 is not of type int"),
        ("float", 1e300, "1e+300 is too large for a float"),
        ("double", 10**400, "is not of type double"),
        ("string", 5, "5 is not of type string"),
        ("string", "\ud800", "is not of type string"),
        ("bytes", "€", "'€' is not of type bytes"),
        (FIXED, "abc", "'abc' is not of type Fixed"),
        (ENUM, "SENT", "'SENT' is not of type Status"),
        ({"type": "array", "items": "int"}, ["x"], "'x' is not of type int"),
        (POINT, {}, "a Point without 'x'"),
        (POINT, {"x": 1, "z": 1}, "a Point with 'z'"),
        (POINT, [], "[] is not of type Point"),
        (["null", "int"], "x", "'x' is in no branch of its union"),
        (["int", "string"], None, "None is in no branch of its union"),
        (_logical("int", "time-millis"), -1, "is not of type int"),
        (_logical("bytes", "decimal", precision=2), "\x7f", "a decimal of more than 2 digits"),
        (_logical("string", "uuid"), "x", "not a UUID"),
    ],
)
def test_defaults_that_are_no_values_are_refused(kind: Any, given: Any, why: str) -> None:
    """A default that no body could have makes the schema unusable, and the error names its field."""
    with pytest.raises(SchemaError) as caught:
        reader(record(field("a", kind, default=given)))
    assert caught.value.fact.startswith("the default of field 'a' is not a value of its type: ")
    assert why in caught.value.fact


def test_a_default_of_a_record_inside_of_itself_is_text() -> None:
    """The default has the text that a body with it would have: with every field, and with its branches named."""
    schema = record(field("node", NODE), field("more", "Node", default={"value": 5}), name="Outer")
    assert reader(schema).columns[1].default == {"value": {"int": 5, "string": None}, "next": None}
    union = [{"type": "array", "items": "Node"}, {"type": "map", "values": "float"}, "null"]
    fields = [field("v", ["int", "string"]), field("u", union, default={"k": 0.1})]
    deep = {"v": "x", "u": [{"v": 2, "u": None, "d": None}, {"v": 3, "d": None}]}
    node = record(*fields, field("d", ["null", "Node"], default={**deep, "d": None}), name="Node")
    (default,) = [each.default for each in reader(node).columns if each.name == "d"]
    last = {"v": {"int": 3}, "u": {"map": {"k": 0.10000000149011612}}, "d": None}
    assert json.loads(default)["u"]["array"][0] == {"v": {"int": 2}, "u": None, "d": None}
    assert json.loads(default)["u"]["array"][1] == last


@pytest.mark.parametrize(
    "fields",
    [
        [field("a", ["Row", "null"], default={})],
        [field("a", ["Row", "null"], default={}), field("b", ["Row", "null"], default={})],
        [field("a", [record(field("c", ["Row", "In", "null"], default={}), name="In"), "Row", "null"], default={}), field("b", ["Row", "In", "null"], default={})],
    ],
)  # fmt: skip
def test_defaults_without_end_are_refused(fields: list[dict[str, Any]]) -> None:
    """A default whose missing fields have that default again ends at the limit of levels, not at that of memory."""
    with pytest.raises(SchemaError, match=r"nested deeper than 64 levels|more than 20,000 values"):
        reader(record(*fields))


def test_defaults_that_multiply_are_refused() -> None:
    """Sixty defaults each of which has the one before it twice are not a million million million values."""
    kind: Any = "null"
    for at in range(30):
        fields = [field("x", "null" if at == 0 else ["null", kind], default=None)]
        fields += [field(name, [f"R{at + 1}", "null"], default={}) for name in "ab"] if at < 29 else []
        kind = record(*fields, name=f"R{at}")
    with pytest.raises(SchemaError, match="more than 20,000 values"):
        reader(kind)


def test_fields_without_a_default_have_none() -> None:
    """No default is not a default of null, and a null default is one."""
    columns = reader(record(field("a", ["null", "int"]), field("b", ["null", "int"], default=None))).columns
    assert [each.default for each in columns] == [NO_DEFAULT, None]
    inner = reader(POINT).columns
    assert [each.default for each in inner] == [NO_DEFAULT, 1.5]


def test_an_alias_is_the_other_name_of_a_field() -> None:
    """Rows of an older schema show under the newer name, inside of structs and lists too."""
    old = reader(record(field("a", "int"), field("b", {"type": "array", "items": POINT})))
    new_point = record(field("z", "long", aliases=["x"]), field("y", "double"), name="Point")
    new = reader(
        record(
            field("c", "long", aliases=["a"]),
            field("b", {"type": "array", "items": new_point}),
            field("n", ["null", "int"], aliases=None),
        )
    )
    columns = joined(old.columns, new.columns)
    assert [each.name for each in columns] == ["c", "b", "n"]
    rows = old.read([b"\x02\x02\x04\0\0\0\x3f\0"]).frame
    have = {each.name: each for each in old.columns}
    assert rows.select(reading(have, want) for want in columns).to_dicts() == [
        {"c": 1, "b": [{"z": 2, "y": 0.5}], "n": None}
    ]
