"""The bytes of a stored row, pinned, and that nothing of a record is lost in them."""

from __future__ import annotations

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.columns import OFFSET, TIMESTAMP, TOMBSTONE
from ktframe.fold.row_codec import pack_keyed_rows, pack_rows, record_key_of, unpack_rows

int64 = st.integers(-(2**63), 2**63 - 1)
timestamps = st.tuples(st.sampled_from([0, 1, 2]), int64)
offsets = st.integers(0, 2**63 - 1)


@pytest.mark.parametrize(
    ("timestamp", "offset", "value", "expected"),
    [
        ((0, -1), 0, b"", "00 0000000000000000 0000000000000000"),
        ((1, 258), 7, b"{}", "02 0000000000000102 0000000000000007 7b7d"),
        ((2, -1), 2**63 - 1, b"\0", "04 ffffffffffffffff 7fffffffffffffff 00"),
    ],
)
def test_rows_are_pinned(timestamp: tuple[int, int], offset: int, value: bytes, expected: str) -> None:
    """Flags, timestamp, offset, value: exactly these bytes, the timestamp zero where there is none."""
    assert pack_rows([timestamp], [offset], [value]) == [bytes.fromhex(expected)]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (b"ab", "0a 0000000000000001 0000000000000007 00000002 6162 7b7d"),
        (b"", "0a 0000000000000001 0000000000000007 00000000 7b7d"),
        (None, "0a 0000000000000001 0000000000000007 ffffffff 7b7d"),
    ],
)
def test_keyed_rows_are_pinned(key: bytes | None, expected: str) -> None:
    """A record key comes before the value with its length, and null is not empty."""
    assert pack_keyed_rows([(1, 1)], [7], [b"{}"], [key]) == [bytes.fromhex(expected)]


@given(st.lists(st.tuples(timestamps, offsets, st.binary(), st.none() | st.binary(), st.booleans())))
def test_rows_come_back(rows: list[tuple[tuple[int, int], int, bytes, bytes | None, bool]]) -> None:
    """Timestamp (null where the type says none), offset, value and record key come back, whichever way packed."""
    stored = [
        (
            pack_keyed_rows([time], [offset], [value], [key])
            if is_keyed
            else pack_rows([time], [offset], [value])
        )[0]
        for time, offset, value, key, is_keyed in rows
    ]
    columns, values = unpack_rows(stored)
    assert values == [value for _, _, value, _, _ in rows]
    assert [record_key_of(row) for row in stored] == [key if is_keyed else None for *_, key, is_keyed in rows]
    assert columns[TIMESTAMP].to_list() == [at if kind else None for (kind, at), *_ in rows]
    assert columns[OFFSET].to_list() == [offset for _, offset, *_ in rows]


def test_no_rows_have_the_same_columns() -> None:
    """An empty chunk has the dtypes of a full one."""
    columns, values = unpack_rows([])
    assert columns.schema == pl.Schema({TIMESTAMP: pl.Int64(), OFFSET: pl.Int64(), TOMBSTONE: pl.Boolean()})
    assert values == []


def test_many_rows_are_packed_in_order() -> None:
    """Each row gets its own timestamp, offset and value."""
    stored = pack_rows([(1, 5), (0, 6)], [1, 2], [b"x", b"y"])
    assert unpack_rows(stored)[0].rows() == [(5, 1, False), (None, 2, False)]
    with pytest.raises(ValueError, match="longer"):
        pack_rows([(1, 5)], [1, 2], [b"x", b"y"])
