"""What identifies a row and what a tombstone removes, against an oracle that takes record by record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import example, given
from support.examples import examples

from ktframe.columns import DELETED_BY, HASH, IDENTITY, KEY, OFFSET, REMOVED, STORED, TIMESTAMP
from ktframe.fold.combined import combined, for_store
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.field_key import FieldKey
from ktframe.fold.identity import hash_identities
from ktframe.fold.identity_codec import decode_parts, encode_parts
from ktframe.fold.key_tombstones import resolve_tombstones
from ktframe.fold.record_key import RecordKey
from ktframe.fold.records import Changes, RecordBatch
from ktframe.fold.row_codec import record_key_of, unpack_rows
from ktframe.fold.stream_key import StreamKey
from ktframe.fold.view import View
from ktframe.fold.window_key import WindowKey
from ktframe.formats import key_format, value_format
from ktframe.store.memory import MemoryStore
from ktframe.windows.fixed import FixedWindows


@dataclass(frozen=True)
class Record:
    """One record; ``identity`` None is a tombstone."""

    partition: int
    key: bytes | None
    identity: str | None = None

    @property
    def value(self) -> bytes | None:
        """The payload."""
        return None if self.identity is None else json.dumps({"id": self.identity}).encode()


class Table:
    """A store and a view fed as the sync loop feeds them."""

    def __init__(self, decoder: TopicDecoder) -> None:
        self.decoder = decoder
        self.store = MemoryStore()
        self.schema = decoder.value_format.initial_schema
        self.view = View(decoder.identity.columns, decoder.frame_schema(self.schema))
        self.offsets: dict[int, int] = {}

    def apply(self, records: list[Record]) -> Changes:
        """Apply ``records`` as one batch."""
        offsets = []
        for record in records:
            offsets.append(self.offsets.get(record.partition, 0))
            self.offsets[record.partition] = offsets[-1] + 1
        batch = RecordBatch(
            partitions=[record.partition for record in records],
            offsets=offsets,
            timestamps=offsets,
            timestamp_types=[1] * len(offsets),
            keys=[record.key for record in records],
            values=[record.value for record in records],
            positions=dict(self.offsets),
        )
        changes = for_store(combined([self.decoder.decode(batch, self.schema)]))
        changes = resolve_tombstones(changes, self.store, self.decoder.identity.columns)
        self.store.apply(changes, batch.positions)
        self.schema = changes.schema
        self.view.apply(changes.frame, self.decoder.frame_schema(self.schema), batch.positions)
        return changes

    def rows(self) -> dict[tuple[int, Any], tuple[bytes | None, int]]:
        """Return (partition, identity) to (record key, offset), as the store has it."""
        return {
            (partition, decode_parts(identity)): (record_key_of(value), unpack_rows([value])[0][OFFSET][0])
            for chunk in self.store.items()
            for partition, identity, value in zip(
                chunk.partitions, chunk.identities, chunk.values, strict=True
            )
        }

    def shown(self) -> set[Any]:
        """Return the identities that the view shows."""
        return set(self.view.snapshot().rows.select(self.decoder.identity.columns).iter_rows())


def by_fields(*fields: str, declared: pl.Schema | None = None) -> Table:
    """Return a table keyed by value fields."""
    json_format = value_format("json", declared=declared, exact_fields=frozenset(fields))
    return Table(TopicDecoder(FieldKey(fields), json_format, key_format("bytes")))


def fold(records: list[Record]) -> dict[tuple[int, Any], tuple[bytes | None, int]]:
    """Return what remains of ``records``, taken one by one."""
    rows: dict[tuple[int, Any], tuple[bytes | None, int]] = {}
    offsets: dict[int, int] = {}
    for record in records:
        offset = offsets.get(record.partition, 0)
        offsets[record.partition] = offset + 1
        if record.identity is not None:
            rows[record.partition, (record.identity,)] = (record.key, offset)
        elif record.key is not None:
            gone = [at for at, (key, _) in rows.items() if at[0] == record.partition and key == record.key]
            for at in gone:
                del rows[at]
    return rows


def split(records: list[Record], sizes: list[int]) -> Iterator[list[Record]]:
    """Yield ``records`` in batches of the given sizes, the rest as one."""
    start = 0
    for size in sizes:
        yield records[start : start + size]
        start += size
    yield records[start:]


K, L = b"k", b"kk"
record = st.builds(
    Record,
    partition=st.sampled_from([0, 1]),
    key=st.sampled_from([K, L, L, None]),
    identity=st.sampled_from([None, None, "x", "y", "z"]),
)


@examples(2)
@given(st.lists(record, max_size=14), st.lists(st.integers(0, 4), max_size=8))
@example([Record(0, K, "x"), Record(0, K), Record(0, L, "x")], [])
@example([Record(0, K, "x"), Record(0, L, "x"), Record(0, K)], [2])
@example([Record(0, K, "x"), Record(1, K)], [1])
@example([Record(0, K)], [])
@example([Record(1, K, "x"), Record(1, L, "x"), Record(0, K, "x"), Record(1, K)], [1, 1, 1])
def test_a_tombstone_removes_the_rows_of_its_record_key(records: list[Record], sizes: list[int]) -> None:
    """However records fall into batches, store and view hold what a record-by-record fold leaves."""
    table = by_fields("id")
    for batch in split(records, sizes):
        table.apply(batch)
    expected = fold(records)
    assert table.rows() == expected
    assert table.shown() == {identity for _, identity in expected}


@pytest.mark.parametrize("boundary", range(4))
@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([Record(0, K, "x"), Record(0, K, "y"), Record(0, K)], set()),
        ([Record(0, K, "x"), Record(0, L, "y"), Record(0, K)], {"y"}),
        ([Record(0, K, "x"), Record(0, L, "x"), Record(0, K)], {"x"}),
        ([Record(0, L, "x"), Record(0, K, "x"), Record(0, K)], set()),
        ([Record(0, K, "x"), Record(0, K), Record(0, K, "x")], {"x"}),
        ([Record(0, K, "x"), Record(0, K), Record(0, L, "x")], {"x"}),
        ([Record(0, K, "x"), Record(1, K), Record(0, L)], {"x"}),
        ([Record(0, None, "x"), Record(0, None), Record(0, K)], {"x"}),
    ],
)
def test_orders_of_puts_and_tombstones(records: list[Record], expected: set[str], boundary: int) -> None:
    """Each order of two puts and a tombstone leaves the same rows wherever the batch ends."""
    table = by_fields("id")
    table.apply(records[:boundary])
    table.apply(records[boundary:])
    assert table.shown() == {(each,) for each in expected}


def test_a_value_never_removes_another_identity() -> None:
    """A topic keyed by customer, read by order, keeps every order of the customer."""
    table = by_fields("id")
    table.apply([Record(0, K, "order-1"), Record(0, K, "order-2")])
    table.apply([Record(0, K, "order-3")])
    assert table.shown() == {("order-1",), ("order-2",), ("order-3",)}


def test_a_removal_carries_what_removed_it() -> None:
    """A line made from a tombstone has its offset, its record key, the identity and its hash, and no value."""
    table = by_fields("id")
    table.apply([Record(0, K, "x")])
    changes = table.apply([Record(0, K)])
    identity = encode_parts(["x"])
    line = changes.lines.row(0, named=True)
    assert (line[IDENTITY], line[STORED], line[DELETED_BY]) == (identity, None, K)
    assert (line["id"], line[REMOVED], line[OFFSET], line[TIMESTAMP]) == ("x", True, 1, None)
    assert changes.frame[HASH].to_list() == hash_identities([identity]).to_list()
    assert changes.tombstones == ()


def test_a_tombstone_before_any_value_removes_nothing() -> None:
    """With no field known yet, a tombstone is applied without effect, for one key field and for several."""
    for fields in (("id",), ("region", "id")):
        table = by_fields(*fields)
        changes = table.apply([Record(0, K)])
        assert (len(changes), changes.tombstones) == (0, ())
        table.apply([Record(0, K, "x"), Record(0, K)])
        assert table.shown() == set()
        table.apply([Record(0, K, "x")])
        assert len(table.shown()) == 1


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (pl.Decimal(38, 2), "99999999999999999999999.25"),
        (pl.Enum(["b", "a"]), "a"),
        (pl.Categorical(), "a"),
        (pl.Date(), "2024-01-31"),
        (pl.Datetime("us", "UTC"), "2024-01-31T12:00:00.123456Z"),
        (pl.Time(), "12:34:56"),
        (pl.UInt64(), 2**64 - 1),
        (pl.Int8(), -1),
        (pl.Boolean(), False),
        (pl.String(), ""),
    ],
)
def test_keys_of_every_declared_type_can_be_removed(dtype: pl.DataType, value: object) -> None:
    """Identity, row and removal agree whatever dtype the key field has."""
    table = by_fields("id", declared=pl.Schema({"id": dtype}))
    put = RecordBatch([0], [0], [0], [1], [K], [json.dumps({"id": value}).encode()], positions={0: 1})
    changes = for_store(table.decoder.decode(put, table.schema))
    assert (len(changes), changes.refused) == (1, ())
    table.store.apply(changes, {0: 1})
    table.view.apply(changes.frame, table.decoder.frame_schema(table.schema), {0: 1})
    assert len(table.shown()) == 1
    table.offsets[0] = 1
    removal = table.apply([Record(0, K)])
    assert removal.lines[IDENTITY].to_list() == changes.lines[IDENTITY].to_list()
    assert removal.frame.schema["id"] == dtype
    assert table.shown() == set()


def test_the_record_key_is_the_identity() -> None:
    """A table by record key removes the row of the tombstone's key, and decodes keys from identities."""
    table = Table(TopicDecoder(RecordKey(), value_format("json"), key_format("string")))
    table.apply([Record(0, K, "x"), Record(0, L, "y")])
    table.apply([Record(0, K)])
    assert table.shown() == {("kk",)}
    encoded = [encode_parts([text]) for text in ("", "a\0b", "☃")]
    decoded = RecordKey().decode(encoded, pl.Schema({KEY: pl.String()}))
    assert decoded[KEY].to_list() == ["", "a\0b", "☃"]
    assert RecordKey().encode(decoded).to_list() == encoded


def test_retention_bounds_windows_and_offsets() -> None:
    """Retention cuts identities at a window's start or a partition's offset; those of a table begin anywhere."""
    windows = FixedWindows(300_000, 300_000)
    for key in (RecordKey(), FieldKey(("id",))):
        assert WindowKey(key, windows).lower_bound(3, 600_000) == encode_parts([600_000])
        assert key.lower_bound(3, 600_000) == b""
    assert StreamKey().lower_bound(3, 17) == encode_parts([3, 17])


def test_a_missing_identity_is_explained() -> None:
    """The reason names the key fields, or says what a null record key means."""
    assert RecordKey().null_key_reason == (
        "the record key is null: no row could ever be updated or deleted by it"
    )
    assert FieldKey(("id",)).null_key_reason == "no key: 'id' is missing or null"
    assert FieldKey(("a", "b")).null_key_reason == "no key: 'a', 'b' are all missing or null"
