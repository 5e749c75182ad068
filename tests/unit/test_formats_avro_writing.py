"""Rows to Avro payloads: the bytes are those of fastavro, equal values of other types are taken, others are refused."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import polars as pl
import pytest
from support.avro_bodies import column, field, number, read, record, writer
from support.avro_made import written

from ktframe.errors import SchemaError

NOON = datetime(2024, 2, 29, 12, 30, 15, 123000, tzinfo=UTC)
ENUM = {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}
ID = "0b5a4f8e-0000-4000-8000-0123456789ab"


def _logical(kind: Any, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


def _fixed(size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": "Fixed", "size": size, **more}


DECIMAL = _logical("bytes", "decimal", precision=5, scale=2)
POINT = record(field("x", "int"), field("y", "float", default=1.5), field("z", ["null", "int"]), name="Point")


@pytest.mark.parametrize(
    ("schema", "given", "same"),
    [
        ("boolean", [True, False], None),
        ("int", [0, -1, 63, -64, 64, 8191, 8192, 2**31 - 1, -(2**31)], None),
        ("long", [2**63 - 1, -(2**63), 2**35], None),
        ("float", [0.5, -0.0, math.inf], None),
        ("double", [0.1, -math.inf], None),
        ("string", ["", "ü\0", "x" * 200], None),
        ("bytes", [b"", b"\xff" * 100], None),
        (_fixed(2), [b"ab"], None),
        (ENUM, ["NEW", "PAID"], None),
        ({"type": "array", "items": ["null", "int"]}, [[1, None], [], [5] * 100], None),
        ({"type": "map", "values": "int"}, [[{"key": "k", "value": 1}, {"key": "a", "value": 2}]], [{"k": 1, "a": 2}]),
        (["null", "string"], [None, "x"], None),
        (["string", "null"], [None, "x"], None),
        (["long", "null", "string"], [{"long": 1, "string": None}, {"long": None, "string": "x"}, None], [1, "x", None]),
        (_logical("int", "date"), [date(1969, 12, 31), date(9999, 12, 31)], None),
        (_logical("int", "time-millis"), [time(23, 59, 59, 999000)], None),
        (_logical("long", "time-micros"), [time(23, 59, 59, 999999)], None),
        (_logical("long", "timestamp-millis"), [NOON], None),
        (_logical("long", "timestamp-micros"), [NOON, datetime(1, 1, 1, tzinfo=UTC)], None),
        (_logical("long", "timestamp-nanos"), [NOON], [1709209815123000000]),
        (_logical("long", "local-timestamp-micros"), [NOON.replace(tzinfo=None)], None),
        (DECIMAL, [Decimal("999.99"), Decimal("-999.99"), Decimal("1.28"), Decimal("-1.29"), Decimal("1.27"), Decimal(0)], None),
        (_fixed(3, logicalType="decimal", precision=6), [Decimal(999999), Decimal(-1)], None),
        (_logical("string", "uuid"), [ID, ID.upper()], [UUID(ID), UUID(ID)]),
        (_fixed(16, logicalType="uuid"), [ID], [UUID(ID).bytes]),
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_bytes_are_those_that_fastavro_writes(schema: Any, given: list[Any], same: list[Any] | None) -> None:
    """Every type is written as fastavro writes the same values, and read back as it was."""
    bodies = column(schema, given)
    plain = {**schema, "logicalType": "none"} if schema == _fixed(16, logicalType="uuid") or "nanos" in str(schema) else schema  # fmt: skip
    assert bodies == [written(plain, value) for value in same or given]
    shown = read(schema, bodies).frame
    assert read(schema, writer(schema).write(shown)).frame.equals(shown)


@pytest.mark.parametrize(
    ("schema", "series", "body"),
    [
        ("int", pl.Series([5], dtype=pl.UInt8), b"\x0a"),
        ("long", pl.Series([5], dtype=pl.UInt64), b"\x0a"),
        ("int", pl.Series([-5], dtype=pl.Int64), b"\x09"),
        ("double", pl.Series([2**53], dtype=pl.Int64), b"\0\0\0\0\0\0\x40\x43"),
        ("float", pl.Series([0.1], dtype=pl.Float64), b"\xcd\xcc\xcc\x3d"),
        (ENUM, pl.Series(["PAID"], dtype=pl.Categorical), b"\x02"),
        (ENUM, pl.Series(["PAID"], dtype=pl.Enum(["PAID", "NEW"])), b"\x02"),
        (DECIMAL, pl.Series([12], dtype=pl.Int32), b"\x04\x04\xb0"),
        (DECIMAL, pl.Series([Decimal("1.500")], dtype=pl.Decimal(38, 3)), b"\x04\x00\x96"),
        (_logical("long", "timestamp-millis"), pl.Series([NOON]).dt.convert_time_zone("Asia/Tokyo"), number(1709209815123)),
        (_logical("long", "timestamp-nanos"), pl.Series([NOON]).dt.cast_time_unit("ms"), number(1709209815123000000)),
        (_logical("bytes", "decimal", precision=50, scale=2), pl.Series(["12.30"]), b"\x04\x04\xce"),
        (_logical("bytes", "decimal", precision=50, scale=2), pl.Series(["123E-1"]), b"\x04\x04\xce"),
        ({"type": "array", "items": "int"}, pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), b"\x04\x02\x04\0"),
        ("null", pl.Series([None], dtype=pl.String), b""),
        (POINT, pl.Series([{"z": 2, "x": 1}]), None),
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_what_means_the_same_is_taken(schema: Any, series: pl.Series, body: bytes | None) -> None:
    """Values of other widths, units, zones and categories are written if they mean the same."""
    if body is None:
        bodies = writer(record(field("value", schema))).write(pl.DataFrame({"value": series}))
        assert bodies == [b"\x02\0\0\xc0\x3f\x02\x04"]
    else:
        assert column(schema, series) == [body]


@pytest.mark.parametrize(
    ("schema", "value", "why"),
    [
        ("boolean", 1, "int64, but boolean is needed"),
        ("int", 2**31, "2147483648 is beyond an int"),
        ("int", -(2**31) - 1, "-2147483649 is beyond an int"),
        ("int", 1.0, "double, but int is needed"),
        ("int", True, "bool, but int is needed"),
        ("int", "1", ", but int is needed"),
        ("float", 1e39, "1e+39 is too large for a float"),
        ("float", 2**53 + 1, "9007199254740993 can't be held exactly by a float"),
        ("double", "1", ", but double is needed"),
        ("string", b"x", ", but string is needed"),
        ("string", 1, "int64, but string is needed"),
        ("bytes", "x", ", but bytes is needed"),
        (_fixed(2), b"abc", "3 bytes where 2 are fixed"),
        (_fixed(2), b"a", "1 bytes where 2 are fixed"),
        (ENUM, "SENT", "'SENT' is not a value of enum Status"),
        (ENUM, "S" * 1_000_000, "... is not a value of enum Status"),
        (ENUM, 1, "int64, but enum"),
        ({"type": "array", "items": "int"}, [1, None], "null, but int is needed"),
        ({"type": "array", "items": "int"}, [1, 2**31], "2147483648 is beyond an int"),
        ({"type": "array", "items": "int"}, ["x"], ", but int is needed"),
        ({"type": "array", "items": "int"}, 1, "int64, but array is needed"),
        ({"type": "map", "values": "int"}, [{"key": None, "value": 1}], "key: null, but string is needed"),
        ({"type": "map", "values": "int"}, [{"key": "k", "value": None}], "value: null, but int is needed"),
        (["int", "string"], {"int": 1, "string": "x"}, "2 of int, string are set, but exactly one must be"),
        (["int", "string"], 1, "int64, but union is needed"),
        (_logical("int", "date"), NOON, ", but date is needed"),
        (_logical("int", "time-millis"), time(0, 0, 0, 1), "a time of 1000 ns is not a whole time-millis within a day"),
        (_logical("long", "time-micros"), 5, "int64, but time-micros is needed"),
        (_logical("long", "timestamp-millis"), NOON + timedelta(microseconds=1), "not a whole number of ms"),
        (_logical("long", "timestamp-millis"), NOON.replace(tzinfo=None), "timestamp[us], but timestamp-millis is needed"),
        (_logical("long", "local-timestamp-millis"), NOON, ", but local-timestamp-millis is needed"),
        (_logical("long", "timestamp-micros"), 5, "int64, but timestamp-micros is needed"),
        (DECIMAL, Decimal("1000.00"), "1000.00 has more than 5 digits with a scale of 2"),
        (DECIMAL, Decimal("0.001"), "0.001 has more than 2 digits after the point"),
        (DECIMAL, 1.5, "double, but decimal is needed"),
        (DECIMAL, "1.5", ", but decimal is needed"),
        (_logical("bytes", "decimal", precision=50), "x" * 1_000_000, "... is not a decimal"),
        (_logical("bytes", "decimal", precision=50), "NaN", "NaN has more than 50 digits"),
        (_logical("bytes", "decimal", precision=50), "Infinity", "Infinity has more than 50 digits"),
        (_logical("bytes", "decimal", precision=50), "1e999999999", "has too many digits"),
        (_logical("bytes", "decimal", precision=50), "1e-999999999", "has too many digits"),
        (_logical("bytes", "decimal", precision=50), "1." + "0" * 4_500 + "1", "has too many digits"),
        (_logical("bytes", "decimal", precision=50), "9" * 51, "has more than 50 digits"),
        (_logical("string", "uuid"), "x", "not a UUID"),
        (_fixed(16, logicalType="uuid"), ID[:-1], "not a UUID"),
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_values_that_do_not_fit_name_their_column_and_row(schema: Any, value: Any, why: str) -> None:
    """Nothing is rounded, cut or guessed: a value that does not fit is refused with its column and row."""
    rows = pl.DataFrame({"good": [1, 2, 3], "value": [None, None, value]}, strict=False)
    branches = schema if isinstance(schema, list) else [schema]
    nullable = record(field("good", "int"), field("value", ["null", *branches]))
    with pytest.raises(SchemaError) as caught:
        writer(nullable).write(rows)
    assert caught.value.fact.startswith("column 'value', row 2: ")
    assert why in caught.value.fact


@pytest.mark.parametrize("schema", ["boolean", "int", "float", "double", "string", "bytes", _fixed(2), ENUM, DECIMAL, ["int", "string"], {"type": "array", "items": "int"}, POINT, _logical("int", "date"), _logical("int", "time-millis"), _logical("string", "uuid")])  # fmt: skip
def test_null_is_refused_where_it_may_not_be(schema: Any) -> None:
    """Null is refused under a type without null, whether all values are null or one is."""
    rows = pl.DataFrame({"good": [1], "value": [None]})
    with pytest.raises(SchemaError, match="column 'value', row 0: "):
        writer(record(field("good", "int"), field("value", schema))).write(rows)


def test_decimals_are_as_short_as_can_be() -> None:
    """-128 is one byte, as Java writes it, where fastavro writes two of the same value."""
    assert column(DECIMAL, [Decimal("-1.28")]) == [b"\x02\x80"]
    assert read(DECIMAL, [b"\x02\x80", b"\x04\xff\x80"]).frame["value"].to_list() == [Decimal("-1.28")] * 2


def test_only_null_is_null() -> None:
    """Where nothing but null may be, nothing else is written, and a union without null has one of its types."""
    with pytest.raises(SchemaError, match="row 1: none of int, string are set, but exactly one must be"):
        column(["int", "string"], [{"int": 1, "string": None}, {"int": None, "string": None}])
    with pytest.raises(SchemaError, match="column 'value', row 1: int64, but null is needed"):
        column("null", [None, 1])
    with pytest.raises(SchemaError, match="column 'value', row 1: "):
        column(["null"], [None, 1])


def test_columns_are_those_of_the_schema() -> None:
    """A column that the schema lacks, and a missing one that it needs, are refused by name; one with a default is not."""
    schema = record(
        field("a", "int"), field("b", ["null", "int"]), field("c", "int", default=7), field("n", "null")
    )
    assert writer(schema).write(pl.DataFrame({"c": [1], "a": [2]})) == [b"\x04\0\x02"]
    assert writer(schema).write(pl.DataFrame({"a": [2, 3]})) == [b"\x04\0\x0e", b"\x06\0\x0e"]
    with pytest.raises(SchemaError) as caught:
        writer(schema).write(pl.DataFrame({"a": [1], "x": [1], "y": [1]}))
    assert caught.value.fact == "the schema has no column 'x', 'y'."
    assert caught.value.hint == "it has 'a', 'b', 'c', 'n'."
    with pytest.raises(SchemaError, match="column 'a' is missing; the schema has no default for it"):
        writer(schema).write(pl.DataFrame({"b": [1]}))


def test_fields_of_structs_are_those_of_the_schema() -> None:
    """Unknown and missing fields are refused inside of structs, lists and maps too, with their path."""
    schema = record(field("p", ["null", POINT]), field("l", {"type": "array", "items": "Point"}, default=[]))
    assert writer(schema).write(pl.DataFrame({"p": [{"x": 1}, None]})) == [
        b"\x02\x02\0\0\xc0\x3f\0\0",
        b"\0\0",
    ]
    with pytest.raises(SchemaError, match="the schema has no field in 'l' called 'w'"):
        writer(schema).write(pl.DataFrame({"p": [None], "l": [[{"x": 1, "w": 1}]]}))
    with pytest.raises(SchemaError, match=r"column 'p\.x' is missing"):
        writer(schema).write(pl.DataFrame({"p": [{"z": 1}]}))
    with pytest.raises(SchemaError, match="column 'p', row 1: x: 2147483648 is beyond an int"):
        writer(schema).write(pl.DataFrame({"p": [{"x": 1}, {"x": 2**31}]}))
    with pytest.raises(SchemaError, match="the schema has no field in 'value' called 'double'"):
        column(["int", "string"], [{"double": 1.0}])


def test_parts_of_frames_are_written_as_they_are() -> None:
    """Rows from the middle of a frame are those rows, with their lists and structs."""
    rows = pl.DataFrame(
        {
            "value": [
                [{"key": str(at), "value": {"x": at, "y": 0.0, "z": None}}] if at % 3 else None
                for at in range(50)
            ]
        }
    )
    schema = ["null", {"type": "map", "values": POINT}]
    whole = writer(schema).write(rows)
    assert writer(schema).write(rows[20:30]) == whole[20:30]
    assert writer(schema).write(pl.concat([rows[:7], rows[40:]], rechunk=False)) == whole[:7] + whole[40:]
    assert writer(schema).write(rows[:0]) == []


def test_columns_that_nothing_can_be_made_of_are_refused() -> None:
    """A column of a type that Arrow lacks raises SchemaError, which names the column."""
    with pytest.raises(SchemaError, match="column 'value', row 0: "):
        column("string", pl.Series([object()], dtype=pl.Object))
    with pytest.raises(SchemaError, match="column 'value' of Int128 can't be written"):
        column("long", pl.Series([1], dtype=pl.Int128))


def test_rows_without_columns_are_bodies_without_bytes() -> None:
    """A record without fields is written as often as it was read."""
    frame = read(record(), [b"", b""]).frame
    assert writer(record()).write(frame) == [b"", b""]


def test_any_zone_is_an_instant() -> None:
    """A timestamp is an instant, in whichever zone a column shows it."""
    tokyo = NOON.astimezone(timezone(timedelta(hours=9)))
    assert column(_logical("long", "timestamp-micros"), [tokyo]) == column(
        _logical("long", "timestamp-micros"), [NOON]
    )
