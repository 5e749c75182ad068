"""Avro payloads: what each type of a schema becomes, held against fastavro's reading of fastavro's own bytes."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID

import fastavro
import polars as pl
import pytest
from support.avro_bodies import field, number, read, reader, reason, record, values
from support.avro_made import written

LOW, HIGH = -(2**63), 2**63 - 1
NOON = datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=UTC)
ID = "0b5a4f8e-0000-4000-8000-0123456789ab"


def _logical(kind: Any, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def _fixed(size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": "Fixed", "size": size, **more}


STATUS = {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}
POINT = record(field("x", "int"), field("y", "float"), name="Point")
AS_FASTAVRO: list[tuple[Any, pl.DataType, list[Any]]] = [
    ("null", pl.Null(), [None, None]),
    ("boolean", pl.Boolean(), [True, False]),
    ("int", pl.Int32(), [0, -1, 63, -64, 64, 2**31 - 1, -(2**31)]),
    ("long", pl.Int64(), [0, 2**31, HIGH, LOW]),
    ("float", pl.Float32(), [0.5, -0.0, math.inf, -math.inf, 2.0**-149]),
    ("double", pl.Float64(), [0.1, -0.0, math.inf, 5e-324, 1.7976931348623157e308]),
    ("bytes", pl.Binary(), [b"", b"\0\xff", b"x" * 200]),
    ("string", pl.String(), ["", "grün\0", "x" * 200, "\U0001f600"]),
    (_fixed(3), pl.Binary(), [b"abc", b"\0\0\0"]),
    (STATUS, pl.String(), ["NEW", "PAID"]),
    ({"type": "array", "items": "long"}, pl.List(pl.Int64()), [[], [1, -1], [HIGH] * 100]),
    (["null", "string"], pl.String(), [None, "", "x"]),
    (["string", "null"], pl.String(), [None, "", "x"]),
    (["int"], pl.Int32(), [5]),
    (["null"], pl.Null(), [None, None]),
    (["null", STATUS], pl.String(), [None, "PAID"]),
    ({"type": "array", "items": ["null", POINT]}, pl.List(pl.Struct({"x": pl.Int32(), "y": pl.Float32()})), [[None, {"x": 1, "y": 2.0}], []]),
    ({"type": "array", "items": {"type": "array", "items": "string"}}, pl.List(pl.List(pl.String())), [[["a"], []], []]),
    (_logical("int", "date"), pl.Date(), [date(1970, 1, 1), date(1, 1, 1), date(9999, 12, 31)]),
    (_logical("int", "time-millis"), pl.Time(), [time(0), time(23, 59, 59, 999000)]),
    (_logical("long", "time-micros"), pl.Time(), [time(0), time(23, 59, 59, 999999)]),
    (_logical("long", "timestamp-millis"), pl.Datetime("ms", "UTC"), [NOON.replace(microsecond=123000), datetime(1, 1, 1, tzinfo=UTC)]),
    (_logical("long", "timestamp-micros"), pl.Datetime("us", "UTC"), [NOON, datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]),
    (_logical("long", "local-timestamp-millis"), pl.Datetime("ms"), [datetime(1969, 12, 31, 23, 59, 59, 1000)]),  # noqa: DTZ001 - local
    (_logical("long", "local-timestamp-micros"), pl.Datetime("us"), [NOON.replace(tzinfo=None)]),
    (_logical("bytes", "decimal", precision=5, scale=2), pl.Decimal(5, 2), [Decimal("999.99"), Decimal("-999.99"), Decimal("0.00"), Decimal("-0.01"), Decimal("1.28")]),
    (_logical("bytes", "decimal", precision=38, scale=38), pl.Decimal(38, 38), [Decimal("0." + "9" * 38), Decimal("-0." + "9" * 38)]),
    (_fixed(9, logicalType="decimal", precision=21), pl.Decimal(21, 0), [Decimal(10**21 - 1), Decimal(-5)]),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "dtype", "shown"), AS_FASTAVRO, ids=lambda each: str(each)[:40])
def test_values_are_shown_as_fastavro_reads_them(schema: Any, dtype: pl.DataType, shown: list[Any]) -> None:
    """What fastavro writes is shown as fastavro reads it, in the type that stands for the schema's."""
    bodies = [written(schema, value) for value in shown]
    parsed = fastavro.parse_schema(schema)
    assert [fastavro.schemaless_reader(BytesIO(body), parsed) for body in bodies] == shown
    assert values(schema, *bodies) == shown
    assert reader(schema).columns[0].dtype == dtype


@pytest.mark.parametrize("kind", ["float", "double"])
def test_nan_and_negative_zero_are_kept(kind: str) -> None:
    """NaN and the negative zero come back as they are."""
    nan, zero = values(kind, written(kind, math.nan), written(kind, -0.0))
    assert (math.isnan(nan), math.copysign(1, zero)) == (True, -1)


@pytest.mark.parametrize("prefix", ["", "local-"])
def test_nanoseconds_and_instants_beyond_python_are_kept(prefix: str) -> None:
    """A long of any size is an instant of its unit, also where Python has no datetime for it."""
    for unit in ("millis", "micros", "nanos"):
        found = read(
            _logical("long", f"{prefix}timestamp-{unit}"),
            [written("long", value) for value in (LOW, 1, HIGH)],
        )
        assert found.frame["value"].to_physical().to_list() == [LOW, 1, HIGH]
        assert found.frame["value"].dtype == pl.Datetime(
            {"millis": "ms", "micros": "us", "nanos": "ns"}[unit],  # type: ignore[arg-type]
            None if prefix else "UTC",
        )
    days = read(_logical("int", "date"), [written("int", value) for value in (-(2**31), 2**31 - 1)])
    assert days.frame["value"].to_physical().to_list() == [-(2**31), 2**31 - 1]


def test_uuids_are_text_in_their_usual_form() -> None:
    """A UUID is lower-case text, whether it is written as text or as 16 bytes; other text is refused."""
    text, fixed = _logical("string", "uuid"), _fixed(16, logicalType="uuid")
    assert values(text, written("string", ID), written("string", ID.upper())) == [ID, ID]
    assert values(fixed, UUID(ID).bytes) == [ID]
    for wrong in (ID[:-1], ID + "\n", "{" + ID[1:-1] + "}", ID.replace("-", ""), "urn:uuid:" + ID):
        assert reason(text, written("string", wrong)) == "not a UUID"


def test_wide_decimals_are_text_and_endless_ones_bytes() -> None:
    """Beyond 38 digits a decimal is its exact text; beyond 1,000, or with a scale that can't be, its bytes."""
    wide = _logical("bytes", "decimal", precision=50, scale=2)
    ends = [10**50 - 1, 1 - 10**50, 5]
    bodies = [written("bytes", value.to_bytes(22, "big", signed=True)) for value in ends]
    assert values(wide, *bodies) == ["9" * 48 + ".99", "-" + "9" * 48 + ".99", "0.05"]
    assert reader(wide).note == "a decimal of more than 38 digits: record by record"
    for odd in ({"precision": 1001}, {"precision": 0}, {"precision": 2, "scale": 3}, {"precision": "2"}, {}):
        assert values(_logical("bytes", "decimal", **odd), written("bytes", b"\x01")) == [b"\x01"]
    assert values(_fixed(1, logicalType="decimal", precision=3), b"\x05") == [b"\x05"]


@pytest.mark.parametrize(
    ("raw", "is_good"),
    [(b"", True), (b"\x03\xe7", True), (b"\0" * 30 + b"\x03\xe7", True), (b"\xff" * 30 + b"\xfc\x19", True), (b"\x03\xe8", False), (b"\xfc\x18", False), (b"\x7f" + b"\0" * 16, False), (b"\x80" + b"\0" * 15, False), (b"\x01" + b"\0" * 100_000, False)],
)  # fmt: skip
def test_decimals_keep_to_their_precision(raw: bytes, is_good: bool) -> None:  # noqa: FBT001 - given
    """A value of more digits than the schema allows is refused, however many bytes it has."""
    schema = _logical("bytes", "decimal", precision=3, scale=1)
    if is_good:
        assert values(schema, written("bytes", raw)) == [
            Decimal(int.from_bytes(raw, "big", signed=True)).scaleb(-1)
        ]
    else:
        assert reason(schema, written("bytes", raw)) == "a decimal of more than 3 digits"


def test_unknown_logical_types_show_what_they_are_stored_as() -> None:
    """A duration is its twelve bytes, and a logical type on the wrong type is as if it weren't there."""
    assert values(_fixed(12, logicalType="duration"), b"123456789abc") == [b"123456789abc"]
    assert values(_logical("string", "date"), b"\x02x") == ["x"]
    assert values(_logical("long", "date"), b"\x02") == [1]
    assert values(_logical("int", "timestamp-millis"), b"\x02") == [1]
    assert values(_fixed(15, logicalType="uuid"), b"x" * 15) == [b"x" * 15]
    assert values(_logical("int", "no-such-type"), b"\x02") == [1]
    assert values({"type": "int", "logicalType": 5}, b"\x02") == [1]


def test_maps_are_lists_of_entries_in_the_order_written() -> None:
    """Every entry is there, also one whose key comes twice."""
    schema = {"type": "map", "values": ["null", "int"]}
    body = written(schema, {"b": 1, "a": None})
    twice = b"\x02\x02b\x02\x02\x02\x02b\x00\x00"
    assert values(schema, body, twice, b"\0") == [
        [{"key": "b", "value": 1}, {"key": "a", "value": None}],
        [{"key": "b", "value": 1}, {"key": "b", "value": None}],
        [],
    ]


def test_blocks_may_tell_their_size() -> None:
    """A list in several blocks, some with a negative count and a size in bytes, is one list, as for fastavro."""
    schema = {"type": "array", "items": "int"}
    body = b"\x03\x04\x02\x04" + b"\x02\x06" + b"\x01\x02\x08" + b"\x00"
    parsed = fastavro.parse_schema(schema)
    assert fastavro.schemaless_reader(BytesIO(body), parsed) == [1, 2, 3, 4]
    assert values(schema, body) == [[1, 2, 3, 4]]


def test_unions_of_several_types_are_structs() -> None:
    """The branch that was taken has a value and the others have none, each under its type's name."""
    schema = ["long", "null", "string", POINT, _fixed(2), {"type": "array", "items": "int"}, {"type": "map", "values": "int"}]  # fmt: skip
    given = [7, None, "x", {"x": 1, "y": 2.0}, b"ab", [1], {"k": 2}]
    names = ["long", "string", "Point", "Fixed", "array", "map"]
    shown = values(schema, *(written(schema, value) for value in given))
    expected = [7, "x", {"x": 1, "y": 2.0}, b"ab", [1], [{"key": "k", "value": 2}]]
    assert shown[1] is None
    assert [each for each in shown if each is not None] == [
        {other: value if other == name else None for other in names}
        for name, value in zip(names, expected, strict=True)
    ]


def test_branches_of_one_short_name_are_told_apart() -> None:
    """Where two branches would share a name, the second has its namespace in it, or a number."""
    one, other = {**POINT, "name": "a.Point"}, {**POINT, "name": "b.Point"}
    named = record(field("x", "int"), name="a.long")
    (dtype,) = [each.dtype for each in reader([one, other, "long", named]).columns]
    assert isinstance(dtype, pl.Struct)
    assert [each.name for each in dtype.fields] == ["Point", "b.Point", "long", "a.long"]


def test_records_are_rows_and_other_schemas_one_column() -> None:
    """The fields of a record are the columns; any other schema has one column called ``value``."""
    schema = record(field("a", "int"), field("p", POINT), field("q", "Point"))
    bodies = [written(schema, {"a": 1, "p": {"x": 2, "y": 0.0}, "q": {"x": 3, "y": 1.5}})]
    assert read(schema, bodies).frame.to_dicts() == [
        {"a": 1, "p": {"x": 2, "y": 0.0}, "q": {"x": 3, "y": 1.5}}
    ]
    assert [each.name for each in reader("string").columns] == ["value"]


def test_a_record_without_fields_has_rows() -> None:
    """A record without fields gives a frame without columns and as many rows as bodies."""
    found = read(record(), [b""] * 2_500 + [b"\0"])
    assert (found.frame.shape, dict(found.refused)) == ((2_500, 0), {2_500: "1 byte too many"})
    assert reader(record()).note == "a record without fields: record by record"
    assert values({"type": "array", "items": record()}, b"\x04\x00", b"\x00") == [[{}, {}], []]


@pytest.mark.parametrize(
    ("schema", "note"),
    [
        (field("a", "int"), None),
        (field("a", ["null", _fixed(1024)]), None),
        (field("a", ["int", _fixed(1025)]), "a long fixed in a union in field 'a'"),
        (field("a", {"type": "array", "items": ["null", _fixed(65)]}), "a long fixed in a union, in a list in field 'a'"),
        (field("a", _fixed(0)), "a fixed without bytes in field 'a'"),
        (field("a", record(field("b", "null"), name="Inner")), "a value that is always null in field 'a'"),
        (field("a", {"type": "map", "values": "null"}), "a value that is always null in field 'a'"),
        (field("a", {"type": "array", "items": "null"}), "items without bytes in field 'a'"),
        (field("a", record(field("b", record(name="Empty")), name="Inner")), "a record without fields in field 'a.b'"),
        (field("a", ["null", "Row"]), "a Row inside of itself in field 'a'"),
        (field("a", [{"type": "enum", "name": f"E{at}", "symbols": ["X"]} for at in range(127)]), "a union of more than 126 types in field 'a'"),
    ],
)  # fmt: skip
def test_the_note_says_why_bodies_are_read_one_by_one(schema: Any, note: str | None) -> None:
    """The note names the reason and the field; there is no note where batches are read whole."""
    assert reader(record(schema)).note == (None if note is None else f"{note}: record by record")


def test_unions_may_have_many_types() -> None:
    """With the most branches that batches allow, the last one is not confused with the type added after it."""
    branches = [{"type": "enum", "name": f"E{at}", "symbols": ["X"]} for at in range(126)]
    assert values(branches, number(125) + b"\0", b"\0\0")[0]["E125"] == "X"
    assert reason(branches, number(126) + b"\0") == "no branch 126 in a union"
    assert values(["null", *branches[1:]], number(125) + b"\0", b"\0")[1] is None
