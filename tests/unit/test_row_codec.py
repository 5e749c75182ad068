"""The bytes of a stored row, pinned, and that nothing of a record is lost in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeAlias

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.columns import OFFSET, STORED, TIMESTAMP, TOMBSTONE
from ktframe.fold.records import RecordBatch
from ktframe.fold.row_codec import (
    headers_of,
    is_marker,
    record_key_of,
    stored_sizes,
    unpack_rows,
    unpacked,
    with_packed_rows,
)

int64 = st.integers(-(2**63), 2**63 - 1)
timestamps = st.tuples(st.sampled_from([0, 1, 2]), int64)
offsets = st.integers(0, 2**63 - 1)


Row: TypeAlias = tuple[tuple[int, int], int, bytes | None, bytes | None]


def packed(rows: list[Row], *, with_keys: bool = False, with_tombstones: bool = False) -> list[Any]:
    """Return the stored bytes of records: ((type, timestamp), offset, key, value)."""
    batch = RecordBatch(
        [0] * len(rows),
        [offset for _, offset, _, _ in rows],
        [at for (_, at), *_ in rows],
        [kind for (kind, _), *_ in rows],
        [key for _, _, key, _ in rows],
        [value for *_, value in rows],
    )
    return stored_of(batch, with_keys=with_keys, with_tombstones=with_tombstones)


def stored_of(batch: RecordBatch, *, with_keys: bool, with_tombstones: bool) -> list[Any]:
    """Return the stored bytes of each record, packed as lines are."""
    parts = unpacked(batch, with_keys=with_keys, with_tombstones=with_tombstones)
    lines = pl.DataFrame([pl.Series(OFFSET, batch.offsets, dtype=pl.Int64), *parts])
    stored = with_packed_rows(lines)[STORED].to_list()
    assert stored_sizes(parts[-1]).to_list() == [len(row or b"") for row in stored]
    return stored


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
    assert packed([(timestamp, offset, None, value)]) == [bytes.fromhex(expected)]


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
    assert packed([((1, 1), 7, key, b"{}")], with_keys=True) == [bytes.fromhex(expected)]


@given(st.lists(st.tuples(timestamps, offsets, st.binary(), st.none() | st.binary(), st.booleans())))
def test_rows_come_back(rows: list[tuple[tuple[int, int], int, bytes, bytes | None, bool]]) -> None:
    """Timestamp (null where the type says none), offset, value and record key come back, whichever way packed."""
    stored = [
        packed([(time, offset, key, value)], with_keys=is_keyed)[0]
        for time, offset, value, key, is_keyed in rows
    ]
    columns, values = unpack_rows(stored)
    assert values == [value for _, _, value, _, _ in rows]
    assert [record_key_of(row) for row in stored] == [key if is_keyed else None for *_, key, is_keyed in rows]
    assert columns[TIMESTAMP].to_list() == [at if kind else None for (kind, at), *_ in rows]
    assert columns[OFFSET].to_list() == [offset for _, offset, *_ in rows]


@pytest.mark.parametrize("key", [None, b"", b"k"])
@pytest.mark.parametrize("with_keys", [False, True])
def test_headers_lie_between_key_and_value(key: bytes | None, with_keys: bool) -> None:  # noqa: FBT001 - a case of the test
    """A flag says that there are some; a record without any has the bytes that it would have otherwise."""
    headers = [("a", b"\0"), ("a", None)]
    batch = RecordBatch(
        [0] * 3, [7, 8, 9], [1] * 3, [1] * 3, [key] * 3, [b"{}", b"", b"{}"], [headers, None, []]
    )
    stored = stored_of(batch, with_keys=with_keys, with_tombstones=False)
    without = stored_of(replace(batch, headers=None), with_keys=with_keys, with_tombstones=False)
    assert stored[1:] == without[1:]
    assert [headers_of(row) for row in stored] == [headers, None, None]
    assert unpack_rows(stored)[1] == [b"{}", b"", b"{}"]
    assert [record_key_of(row) for row in stored] == [key if with_keys else None] * 3
    packed_headers = "00000013 00000001 61 00000001 00 00000001 61 ffffffff"
    if not with_keys:
        assert stored[0] == bytes.fromhex(f"12 0000000000000001 0000000000000007 {packed_headers} 7b7d")


def test_no_rows_have_the_same_columns() -> None:
    """An empty chunk has the dtypes of a full one."""
    columns, values = unpack_rows([])
    assert columns.schema == pl.Schema({TIMESTAMP: pl.Int64(), OFFSET: pl.Int64(), TOMBSTONE: pl.Boolean()})
    assert values == []


def test_many_rows_are_packed_in_order() -> None:
    """Each row gets its own timestamp, offset, key and value."""
    stored = packed([((1, 5), 1, b"k", b"x"), ((0, 6), 2, None, b"y")], with_keys=True)
    assert unpack_rows(stored)[0].rows() == [(5, 1, False), (None, 2, False)]
    assert unpack_rows(stored)[1] == [b"x", b"y"]
    assert list(map(record_key_of, stored)) == [b"k", None]


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_tombstone_is_a_marker_or_nothing(with_keys: bool) -> None:  # noqa: FBT001 - a case of the test
    """Where markers are stored it is one, with its record key where rows carry theirs; elsewhere there are no bytes."""
    rows = [((1, 5), 1, b"k", b""), ((1, 6), 2, b"k", None)]
    row, marker = packed(rows, with_keys=with_keys, with_tombstones=True)
    assert (is_marker(row), is_marker(marker)) == (False, True)
    assert record_key_of(marker) == (b"k" if with_keys else None)
    assert packed(rows, with_keys=with_keys) == [row, None]
