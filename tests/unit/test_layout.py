"""The bytes on disk, pinned: what a store of today holds must be read by every later version."""

from __future__ import annotations

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import example, given

from ktframe.columns import KEY
from ktframe.fold.records import LastRecord, Position, RefusedRecord
from ktframe.store import layout

int64 = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 2**64 - 1)


NONE = f"80{'00' * 7}"


def _u64(number: int) -> str:
    return f"{number:016x}"


def test_the_format_version_is_pinned() -> None:
    """Any change of a literal in this file needs another version."""
    assert layout.FORMAT_VERSION == 7


def test_kinds_are_pinned() -> None:
    """The number of a kind is on disk."""
    kinds = (layout.METADATA, layout.POSITION, layout.ROW, layout.LATE, layout.REFUSED, layout.INDEX)
    assert (*kinds, layout.STALE, layout.CAUSE, layout.REBUILDING) == (0, 1, 2, 3, 4, 5, 6, 7, 8)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (layout.metadata_key("topic"), "00000000 00 746f706963"),
        (layout.partition_key(258), "00000000 01 00000102"),
        (layout.rebuilding_key(258), "00000000 08 00000102"),
        (layout.pack_rebuilding(258, "é"), "00000102 c3a9"),
        (layout.prefix(3, layout.POSITION), "00000003 01"),
        (layout.prefix(3, layout.ROW) + b"\x08a\0", "00000003 02 08 61 00"),
        (layout.prefix(3, layout.LATE), "00000003 03"),
        (layout.refused_key(3, layout.LATE, 258), "00000003 03 0000000000000102"),
        (layout.refused_key(3, layout.REFUSED, 258), "00000003 04 0000000000000102"),
        (layout.refused_key(3, layout.REFUSED, 258, 5), "00000003 04 0000000000000102 00000005"),
        (layout.index_prefix(0x01020304, b"key") + b"\x01", "01020304 05 00000003 6b6579 01"),
        (layout.index_prefix(1, b""), "00000001 05 00000000"),
        (layout.prefix_end(3, layout.INDEX), "00000003 06"),
        (layout.slot_range(3)[0], "00000003"),
        (layout.slot_range(3)[1], "00000004"),
    ],
)
def test_keys_are_pinned(key: bytes, expected: str) -> None:
    """Every kind of key has exactly these bytes."""
    assert key == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("position", "expected"),
    [
        (
            Position(0),
            f"{'00' * 8} 80{'00' * 7} {'00' * 24} 80{'00' * 7} {'00' * 8} 80{'00' * 7} {'00' * 24} {NONE} {NONE} {'00' * 16} {NONE}",
        ),
        (
            Position(258, -1, 3, 2, 4, -5, 6, -7, 8, 9, 1, 5, LastRecord(257, -2, 2**64 - 1, 3)),
            (
                f"{'00' * 6}0102 {'ff' * 8} {_u64(3)} {_u64(2)} {_u64(4)} {'ff' * 7}fb {_u64(6)} {'ff' * 7}f9 {_u64(8)} {_u64(9)} {_u64(1)} {_u64(5)}"
                f"{_u64(257)} {'ff' * 7}fe {'ff' * 8} {_u64(3)}"
            ),
        ),
        (
            Position(2**63 - 1, 1),
            f"7f{'ff' * 7} {_u64(1)} {'00' * 24} 80{'00' * 7} {'00' * 8} 80{'00' * 7} {'00' * 24} {NONE} {NONE} {'00' * 16} {NONE}",
        ),
    ],
)
def test_positions_are_pinned(position: Position, expected: str) -> None:
    """Next offset, stream time, refused, conflicts, late, horizon, dropped, cut, lost, records, accepted, present, and the last record: eight bytes each; the lowest time is none."""
    assert layout.pack_position(position) == bytes.fromhex(expected)
    assert layout.unpack_position(bytes.fromhex(expected)) == position


@pytest.mark.parametrize("epoch", [None, 0, 2**31 - 1])
def test_any_last_record_comes_back(epoch: int | None) -> None:
    """With or without a leader epoch, which is not part of what is compared."""
    last = LastRecord.of(7, -1, b"k", None, epoch)
    back = layout.unpack_position(layout.pack_position(Position(8, last=last))).last
    assert back is not None
    assert (back, back.epoch) == (last, epoch)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            RefusedRecord(0, 7, -2, b"k", b"{", "bad", is_conflict=True),
            "0f fffffffffffffffe 00000001 00000003 6b 626164 7b",
        ),
        (RefusedRecord(0, 7, None, None, None, "é"), "00 0000000000000000 00000000 00000002 c3a9"),
        (RefusedRecord(0, 7, 0, b"", b"", ""), "07 0000000000000000 00000000 00000000"),
        (
            RefusedRecord(0, 7, 0, None, b"{", "no", headers=[("n", b"x")]),
            "15 0000000000000000 00000000 00000002 6e6f 0000000a 00000001 6e 00000001 78 7b",
        ),
    ],
)
def test_refused_records_are_pinned(record: RefusedRecord, expected: str) -> None:
    """Flags tell null from empty; lengths come before the texts."""
    assert layout.pack_refused(record) == bytes.fromhex(expected)
    assert layout.unpack_refused(0, (7, None), bytes.fromhex(expected)) == record


def test_numbers_are_pinned() -> None:
    """Slots and partitions are four bytes big-endian, read from the end of a key or value."""
    assert layout.pack_u32(0x01020304) == b"\x01\x02\x03\x04"
    assert layout.unpack_u32(b"prefix\x01\x02\x03\x04") == 0x01020304


STORED_SCHEMA = bytes.fromhex(
    "ffffffffa80000001000000000000a000c000600050008000a000000000104000c000000080008000000040008000000"
    "04000000020000004400000004000000d4ffffff00000114100000001c0000000400000000000000040000006e616d65"
    "000000000400040004000000100014000800060007000c00000010001000000000000102100000001c00000004000000"
    "00000000020000006964000008000c0008000700080000000000000140000000"
)


@given(int64, st.none() | st.integers(-(2**63) + 1, 2**63 - 1), counts, counts)
def test_any_position_comes_back(offset: int, time: int | None, refused: int, conflicts: int) -> None:
    """Packing a position loses nothing over the full width of each number."""
    position = Position(offset, time, refused, conflicts)
    assert layout.unpack_position(layout.pack_position(position)) == position


records = st.builds(
    RefusedRecord,
    partition=st.just(3),
    offset=st.integers(0, 2**63 - 1),
    timestamp=st.none() | int64,
    key=st.none() | st.binary(),
    value=st.none() | st.binary(),
    reason=st.text(),
    is_conflict=st.booleans(),
    headers=st.none() | st.lists(st.tuples(st.text(), st.none() | st.binary()), min_size=1),
    index=st.none() | st.integers(0, 2**31 - 1),
)


@given(records)
def test_any_refused_record_comes_back(record: RefusedRecord) -> None:
    """Packing a refused record loses nothing, whatever bytes and text it has."""
    place = (record.offset, record.index)
    assert layout.refused_place(layout.refused_key(9, layout.LATE, *place)) == place
    assert layout.unpack_refused(3, place, layout.pack_refused(record)) == record


@given(st.tuples(st.integers(0, 2**32 - 2), st.binary()), st.tuples(st.integers(0, 2**32 - 2), st.binary()))
def test_index_prefixes_never_meet(one: tuple[int, bytes], other: tuple[int, bytes]) -> None:
    """No index key of one record key starts with the prefix of another."""
    if one != other:
        assert not layout.index_prefix(*one).startswith(layout.index_prefix(*other))


@given(st.integers(0, 2**32 - 2), st.integers(0, 4), st.binary())
def test_a_kind_lies_within_its_bounds(slot: int, kind: int, rest: bytes) -> None:
    """Every key of a kind is in ``prefix <= key < prefix_end`` and in the range of its slot."""
    key = layout.prefix(slot, kind) + rest
    assert layout.prefix(slot, kind) <= key < layout.prefix_end(slot, kind)
    first, behind = layout.slot_range(slot)
    assert first <= key < behind


ENUM = pl.Enum(["paid", "open", ""])
DTYPES = [
    *(pl.Null(), pl.Boolean(), pl.String(), pl.Binary(), pl.Date(), pl.Time(), pl.Categorical(), ENUM),
    *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()),
    *(pl.Float32(), pl.Float64(), pl.Decimal(10, 2), pl.Decimal(38, 0), pl.Decimal(38, 38)),
    *(pl.Datetime("ms"), pl.Datetime("us", "UTC"), pl.Datetime("ns", "Asia/Tokyo"), pl.Duration("ms")),
    *(pl.List(pl.Null()), pl.List(pl.List(ENUM)), pl.Array(pl.Int32(), 3), pl.Struct([]), pl.Enum([])),
    pl.Struct({"a b": pl.Null(), "": pl.List(pl.Struct({"at": pl.Datetime("ms", "UTC"), "kind": ENUM}))}),
]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_schema_comes_back(dtype: pl.DataType) -> None:
    """Every dtype that a format infers or a declaration may name survives storage, precisely."""
    schema = pl.Schema({"field": dtype, "": pl.Int64(), "é.☃": dtype})
    assert list(layout.unpack_schema(layout.pack_schema(schema)).items()) == list(schema.items())


@given(st.lists(st.text().filter(lambda name: "\0" not in name), unique=True, max_size=4))
@example(["", "a.b", " ", "é\n☃😀", "x" * 70_000])
def test_names_of_every_kind_come_back(names: list[str]) -> None:
    """A field may be called anything but what holds a NUL, at the top or in a struct."""
    fields = dict.fromkeys(names, pl.Int64())
    schema = pl.Schema({**fields, "struct": pl.Struct(fields)} if fields else {})
    assert layout.unpack_schema(layout.pack_schema(schema)) == schema


def test_an_empty_schema_comes_back() -> None:
    """No fields are a schema too."""
    assert layout.unpack_schema(layout.pack_schema(pl.Schema())) == pl.Schema()


STORED_KEYED_SCHEMA = bytes.fromhex(
    "ffffffff800100001000000000000a000c000600050008000a000000000104000c00000008000800000004000800"
    "00000400000003000000780000002c00000004000000f8feffff0000011410000000140000000400000000000000"
    "0100000061000000e4feffff1cffffff00000102100000001c000000040000000000000000000000000000000800"
    "0e00080007000800000000000001400000000000120018000800060007000c00000010001400120000000000010d"
    "1c0000005800000008000000180000000200000090000000480000000000000000000000010000000c0000000800"
    "0c00040008000800000018000000040000000a0000007265636f7264206b65790000070000006b746672616d6500"
    "94ffffffccffffff00000102100000001c0000000400000000000000020000006964000008000c00080007000800"
    "00000000000140000000100014000800060007000c00000010001000000000000114100000001c00000004000000"
    "0000000006000000726567696f6e00000400040004000000"
)


def test_a_stored_schema_is_read_for_ever() -> None:
    """The bytes of a schema written once are understood by any later Arrow."""
    expected = pl.Schema({"id": pl.Int64(), "name": pl.String()})
    assert layout.unpack_schema(STORED_SCHEMA) == expected
    key = pl.Struct({"region": pl.String(), "id": pl.Int64()})
    expected = pl.Schema({KEY: key, "": pl.Int64(), "a": pl.String()})
    assert layout.unpack_schema(STORED_KEYED_SCHEMA) == expected
