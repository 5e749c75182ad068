"""Invalid Avro payloads: each is refused with its reason, alone or in a batch, and takes memory in proportion to its bytes."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from polars.testing import assert_frame_equal
from support.avro_bodies import MANY, field, number, read, reader, reason, record, values
from support.avro_made import Made, plain, schemas, written
from support.avro_made import values as made_values
from support.examples import examples

from ktframe.formats.avro import AvroReader

ARRAY = {"type": "array", "items": "int"}
MAP = {"type": "map", "values": "int"}
STATUS = {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID"]}
EMPTY_LIST = {"type": "array", "items": "null"}
LONGEST = b"\xff" * 9 + b"\x01"
"""The least number of 64 bits."""


def _fixed(size: int) -> dict[str, Any]:
    return {"type": "fixed", "name": "Fixed", "size": size}


def _logical(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, "logicalType": name}


@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ("boolean", b""),
        ("int", b""),
        ("int", b"\x80"),
        ("long", b"\xff" * 9),
        ("float", b"\0\0\0"),
        ("double", b"\0" * 7),
        ("bytes", b"\x04a"),
        ("string", b"\x04a"),
        ("string", number(2**62)),
        (_fixed(4), b"abc"),
        (STATUS, b""),
        (ARRAY, b""),
        (ARRAY, b"\x02"),
        (ARRAY, b"\x02\x02"),
        (ARRAY, number(2**60)),
        (ARRAY, number(-(2**60)) + b"\x02" + b"\0" * 100),
        (ARRAY, LONGEST + b"\x02"),
        (MAP, b"\x02\x02k"),
        (MAP, number(2**40) + b"\0" * 100),
        (["null", "int"], b""),
        (["null", "int"], b"\x02"),
        ({"type": "array", "items": "double"}, number(13) + b"\0" * 100),
        (_logical("long", "time-micros"), b"\x80"),
    ],
)
def test_bodies_that_end_too_soon_are_truncated(schema: Any, body: bytes) -> None:
    """A body that lacks bytes, or claims more items than it has bytes, is refused before anything is made of it."""
    assert reason(schema, body) == "truncated"


@pytest.mark.parametrize(
    ("schema", "body", "why"),
    [
        ("null", b"\0", "1 byte too many"),
        ("int", b"\x02\0\0", "2 bytes too many"),
        ("string", b"\x02a" + b"x" * 5_000, "5000 bytes too many"),
        (ARRAY, b"\0\0", "1 byte too many"),
        ("boolean", b"\x02", "0x02 is not a boolean"),
        ("boolean", b"\xff", "0xff is not a boolean"),
        ("int", number(2**31), "an integer of more than 32 bits"),
        ("int", number(-(2**31) - 1), "an integer of more than 32 bits"),
        ("int", LONGEST, "an integer of more than 32 bits"),
        ("long", b"\xff" * 9 + b"\x02", "an integer of more than 64 bits"),
        ("long", b"\xff" * 10 + b"\x01", "an integer of more than 64 bits"),
        ("long", b"\x80" * 10 + b"\0", "an integer of more than 64 bits"),
        ("bytes", b"\x01", "a negative length"),
        ("string", LONGEST, "a negative length"),
        (ARRAY, b"\x01\x01\x02\0", "a negative length"),
        ("string", b"\x04\xc0\xaf", "text that is not UTF-8"),
        ("string", b"\x06\xed\xa0\x80", "text that is not UTF-8"),
        ("string", b"\x02\xff", "text that is not UTF-8"),
        (MAP, b"\x02\x02\xff\x02\0", "text that is not UTF-8"),
        (STATUS, b"\x04", "not a value of enum Status"),
        (STATUS, b"\x01", "not a value of enum Status"),
        (STATUS, number(2**31), "an integer of more than 32 bits"),
        (_logical("int", "time-millis"), number(86_400_000), "a time of day beyond 24 hours"),
        (_logical("int", "time-millis"), b"\x01", "a time of day beyond 24 hours"),
        (_logical("long", "time-micros"), number(86_400_000_000), "a time of day beyond 24 hours"),
        (_logical("long", "time-micros"), LONGEST, "a time of day beyond 24 hours"),
    ],
)  # fmt: skip
def test_bytes_that_mean_nothing_are_refused(schema: Any, body: bytes, why: str) -> None:
    """Bytes too many, numbers too large, invalid text and times out of range are refused, each with its reason."""
    assert reason(schema, body) == why


@pytest.mark.parametrize(
    "schema",
    [["null", "int"], ["int", "null"], ["null", "int", "string"], ["int"], ["int", "string"], ["null"]],
)
@pytest.mark.parametrize("index", [3, -1, 127, 128, 256, 2**31, 2**32, 2**60 - 1, -(2**63), 2**63 - 1])
def test_indices_of_no_branch_are_refused(schema: list[str], index: int) -> None:
    """In any union, an index without a branch is refused: it is neither null nor another branch."""
    assert reason(schema, number(index) + b"\0") == f"no branch {index} in a union"
    among = {"type": "array", "items": schema}
    if schema != ["null"]:
        assert reason(among, b"\x02" + number(index) + b"\0\0") == f"no branch {index} in a union"


def test_numbers_may_be_longer_than_they_need() -> None:
    """A number may have leading zeros, up to ten bytes, as in other readers."""
    assert values("long", b"\x82\0", b"\x82" + b"\x80" * 8 + b"\0") == [1, 1]
    assert values(["null", "int"], b"\x82\0\x04", b"\x80\0") == [2, None]


def test_one_bad_body_takes_no_other_with_it() -> None:
    """Good bodies around bad ones keep their places, whether they are few or many."""
    schema = record(field("a", "int"), field("b", ["null", "string"]))
    good, bad = b"\x02\x02\x02x", b"\x02\x04\x02x"
    bodies = [good] * 5_000
    for at in (0, 1_234, 4_999):
        bodies[at] = bad
    found = reader(schema).read(bodies)
    assert found.refused == dict.fromkeys((0, 1_234, 4_999), "no branch 2 in a union")
    assert found.frame["b"].to_list() == ["x"] * 4_997
    none = reader(schema).read([bad] * 100)
    assert (none.frame.schema, len(none.refused)) == ({"a": pl.Int32(), "b": pl.String()}, 100)
    assert reader(schema).read([]).frame.schema == {"a": pl.Int32(), "b": pl.String()}


# ---------------------------------------------------------------------------------------------- memory


def test_items_without_bytes_are_counted() -> None:
    """A body may have ten thousand items without bytes, in one list or several, and no more."""
    why = "more than 10,000 items that take no bytes"
    twice = record(field("a", EMPTY_LIST), field("b", {"type": "array", "items": _fixed(0)}))
    assert values(EMPTY_LIST, number(10_000) + b"\0") == [[None] * 10_000]
    assert reason(EMPTY_LIST, number(10_001) + b"\0") == why
    assert reason(EMPTY_LIST, number(2**62) + b"\0") == why
    assert reason(EMPTY_LIST, LONGEST + b"\x02\0") == why
    assert reason(twice, number(6_000) + b"\0" + number(6_000) + b"\0") == why
    body = number(6_000) + b"\0" + number(4_000) + b"\0"
    assert read(twice, [body, body]).frame.shape == (2, 2)


WIDE = record(*(field(f"f{at}", "string") for at in range(100)), name="Wide")
CHEAP = ["null", WIDE]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("schema", "body"),
    [
        ({"type": "array", "items": CHEAP}, lambda count: number(count) + b"\0" * count + b"\0"),
        ({"type": "array", "items": {"type": "array", "items": CHEAP}}, lambda count: b"\x04" + number(count - 9) + b"\0" * (count - 9) + b"\0" + number(9) + b"\0" * 9 + b"\0\0"),
        (["null", "int", {"type": "array", "items": CHEAP}], lambda count: b"\x04" + number(count) + b"\0" * count + b"\0"),
        ({"type": "array", "items": ["null", record(field("x", "int"), field("y", {"type": "array", "items": CHEAP}), name="In")]}, lambda count: b"\x04\0\x02\x02" + number(count) + b"\0" * count + b"\0\0"),
        ({"type": "map", "values": {"type": "array", "items": CHEAP}}, lambda count: b"\x02\x02k" + number(count) + b"\0" * count + b"\0\0"),
        (record(field("a", ["null", {"type": "array", "items": CHEAP}]), field("b", {"type": "array", "items": ["null", "Wide"]})), lambda count: b"\x02" + number(count - 7) + b"\0" * (count - 7) + b"\0" + number(7) + b"\0" * 7 + b"\0"),
    ],
)  # fmt: skip
def test_items_that_are_wider_than_their_bytes_are_counted(schema: Any, body: Any) -> None:
    """Where a null of one byte is a hundred empty cells, both ways to read allow a body the same number of them."""
    counts = range(292, 302)
    found = read(schema, [body(count) for count in counts])
    most = next(count for count in counts if 100 * count > 20_000 + 32 * len(body(count)))
    assert list(found.refused) == [count - counts.start for count in counts if count >= most]
    assert set(found.refused.values()) == {"nearly empty items in more than 20,000 cells and 32 a byte"}


@examples(1)
@given(st.data(), schemas(), st.integers(0, 12))
def test_both_ways_count_the_same_cells(data: st.DataObject, made: Made, most: int) -> None:
    """For any schema, both ways to read agree on a body at the limit of cells, and on one with a cell more."""
    simple = plain(made.schema, made, set())
    bodies = [written(simple, data.draw(made_values(made.schema, made))) for _ in range(4)] * 8
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ktframe.formats.avro.bounds.CELLS_PER_BYTE", 0)
        patch.setattr("ktframe.formats.avro.bounds.MOST_CELLS", most)
        by = AvroReader(made.document)
        alone = by._read_one_by_one(bodies)
        whole = by.read(bodies)
        assert whole.refused == alone.refused
        assert_frame_equal(whole.frame, alone.frame, check_exact=True)
        for at in alone.refused:
            assert by._read_natively([bodies[at]]) is None
        kept = [body for at, body in enumerate(bodies) if at not in alone.refused]
        assert not kept or (by._read_natively(kept) is not None) == (by.note is None)


def test_a_megabyte_of_nulls_is_not_a_gigabyte() -> None:
    """A million nulls in place of a record of 300 fields are refused, and the other bodies are read."""
    wide = record(*(field(f"f{at}", "string") for at in range(300)), name="Wide")
    schema = {"type": "array", "items": ["null", wide]}
    bomb = number(10**6) + b"\0" * 10**6 + b"\0"
    found = reader(schema).read([b"\0"] * MANY + [bomb] * 3 + [b"\x02\0\0"] * MANY)
    assert list(found.refused) == [MANY, MANY + 1, MANY + 2]
    assert found.frame["value"].list.len().to_list() == [0] * MANY + [1] * MANY


def test_long_lists_of_narrow_items_are_read_whole() -> None:
    """A million bytes of nulls that stand for one cell each are a value like any other."""
    size = 1_000_000
    found = reader({"type": "array", "items": ["null", "int"]}).read([number(size) + b"\0" * size + b"\0"])
    assert found.frame["value"].list.len().to_list() == [size]


@pytest.mark.parametrize(
    "schema",
    [["null", _fixed(2**20)], ["int", _fixed(2**20)], ["null", record(field("x", _fixed(2**20)), name="In")]],
)
def test_long_fixed_values_take_their_bytes_only_where_they_are(schema: Any) -> None:
    """Ten thousand records without a fixed of a megabyte are not ten gigabytes."""
    bodies = [b"\0\0"[: 1 + (schema[0] == "int")]] * 10_000 + [b"\x02" + b"x" * 2**20]
    found = reader(schema).read(bodies)
    assert (found.frame.height, dict(found.refused)) == (10_001, {})
