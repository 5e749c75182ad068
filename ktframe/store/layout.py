"""The on-disk format: keys and values of a store, in one column family. Tests pin the exact bytes.

A key is a slot (u32, big-endian), a kind (1 byte), and what the kind adds::

    slot 0   metadata      a name                     the value of that name
    slot 0   position      partition (u32)            the slot of that partition (u32)
    slot 0   rebuilding    partition (u32)            the slot that it is read into again (u32), and why
    slot 0   changed       number of a write (u64)    the rows that the batch after it changed, see ``change_log``
    slot n   position      nothing                    offset i64, stream time i64, refused u64, conflicts u64,
                                                      late u64, horizon i64, dropped u64, cut i64, lost u64,
                                                      records u64, accepted u64, present i64; of the
                                                      last record: offset i64, timestamp i64,
                                                      digest u64, leader epoch i64; and left out
                                                      u64, where that is not 0
    slot n   row           identity                   see row_codec.py
    slot n   late          offset (u64)               see pack_refused; the reason holds the windows
    slot n   refused       offset (u64), and where each object of a record is a row its number there (u32)
                                                      see pack_refused
    slot n   index         length u32, record key, identity     nothing
    slot n   stale         identity                   offset i64, timestamp i64 of the refused record
    slot n   cause         what its reasons have in common      JSON, see pack_cause

A partition's rows live in its slot; while it is rebuilt, those that were read again live in a second one, which becomes its
slot in one write batch. Widths are fixed and numbers big-endian, so that keys sort as numbers do. A stream time, horizon, cut, present, last offset or leader epoch of
-2**63 means none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from struct import Struct
from typing import TypeAlias

import orjson
import polars as pl
import pyarrow as pa

from ktframe.columns import IDENTITY, KEY, OFFSET, PARTITION, TIMESTAMP
from ktframe.fold.header_codec import headers_end, pack_headers, unpack_headers
from ktframe.fold.records import Cause, Changes, LastRecord, Position, RefusedRecord
from ktframe.formats.base import Fault
from ktframe.store.engine import Batch
from ktframe.store.protocol import stored_lines

FORMAT_VERSION = 7
_ROW_KEYS_SINCE = 2
"""The first version whose keys of partitions and rows are those of today."""
METADATA, POSITION, ROW, LATE, REFUSED, INDEX, STALE, CAUSE, REBUILDING, CHANGED = range(10)
_PREFIX = Struct(">IB")
_U32 = Struct(">I")
_U64 = Struct(">Q")
_POSITION = Struct(">qqQQQqQqQQQqqqQq")
_STALE = Struct(">qq")
_REFUSED = Struct(">BqI")
_NONE = -(1 << 63)
RefusedPlace: TypeAlias = tuple[int, int | None]
"""The offset of a late or refused record, and the number of what was refused in it, None for all of it."""
_IS_KEY = {b"ktframe": b"record key"}
_HAS_TIME, _HAS_KEY, _HAS_VALUE, _IS_CONFLICT, _HAS_HEADERS = 1, 2, 4, 8, 16


def has_same_row_keys(version: str) -> bool:
    """Say whether rows of a store of this format version can be counted by their keys."""
    return version.isdecimal() and _ROW_KEYS_SINCE <= int(version) <= FORMAT_VERSION


def prefix(slot: int, kind: int) -> bytes:
    """Return what every key of ``kind`` in ``slot`` starts with."""
    return _PREFIX.pack(slot, kind)


def prefix_end(slot: int, kind: int) -> bytes:
    """Return the first key after those of ``kind`` in ``slot``."""
    return _PREFIX.pack(slot, kind + 1)


CHANGED_RANGE = (prefix(0, CHANGED), prefix_end(0, CHANGED))
"""The keys of all changed rows."""


def slot_range(slot: int) -> tuple[bytes, bytes]:
    """Return the first key of ``slot`` and the first one after it."""
    return _U32.pack(slot), _U32.pack(slot + 1)


def metadata_key(name: str) -> bytes:
    """Return the key of a metadata name."""
    return prefix(0, METADATA) + name.encode()


def metadata_name(key: bytes) -> str:
    """Return the metadata name in a key."""
    return key[_PREFIX.size :].decode()


def partition_key(partition: int) -> bytes:
    """Return the key in slot 0 that holds the slot of ``partition``."""
    return prefix(0, POSITION) + _U32.pack(partition)


def rebuilding_key(partition: int) -> bytes:
    """Return the key in slot 0 that holds the slot into which ``partition`` is read again."""
    return prefix(0, REBUILDING) + _U32.pack(partition)


def changed_key(after: int) -> bytes:
    """Return the key in slot 0 of the rows that the batch behind this write has changed; see ``change_log``."""
    return prefix(0, CHANGED) + _U64.pack(after)


def changed_after(key: bytes) -> int:
    """Return the write that ``changed_key`` was given."""
    return int(_U64.unpack(key[-_U64.size :])[0])


def pack_rebuilding(slot: int, why: str) -> bytes:
    """Return a slot (u32) and why a partition is read again into it."""
    return _U32.pack(slot) + why.encode()


def unpack_rebuilding(raw: bytes) -> tuple[int, str]:
    """Return what ``pack_rebuilding`` was given."""
    return int(_U32.unpack_from(raw)[0]), raw[_U32.size :].decode()


def pack_u32(value: int) -> bytes:
    """Return ``value`` as four bytes, big-endian."""
    return _U32.pack(value)


def unpack_u32(raw: bytes) -> int:
    """Return the number in the last four bytes of ``raw``."""
    return int(_U32.unpack(raw[-4:])[0])


def pack_position(position: Position) -> bytes:
    """Return the stored bytes of ``position``."""
    time = _NONE if position.stream_time is None else position.stream_time
    horizon = _NONE if position.horizon is None else position.horizon
    cut = _NONE if position.cut is None else position.cut
    counts = (position.refused, position.conflicts, position.late)
    tail = (position.lost, position.records, position.accepted)
    present = _NONE if position.present is None else position.present
    last = position.last or LastRecord(_NONE, 0, 0)
    epoch = _NONE if last.epoch is None else last.epoch
    remembered = (last.offset, last.timestamp, last.digest, epoch)
    left_out = _U64.pack(position.left_out) if position.left_out else b""
    packed = _POSITION.pack(
        position.offset, time, *counts, horizon, position.dropped, cut, *tail, present, *remembered
    )
    return packed + left_out


def unpack_position(raw: bytes) -> Position:
    """Return the position that ``pack_position`` was given."""
    offset, time, refused, conflicts, late, horizon, dropped, cut, lost, records, accepted, present, *last = (
        _POSITION.unpack(raw[: _POSITION.size])
    )
    at, timestamp, digest, epoch = last
    return Position(
        offset,
        None if time == _NONE else time,
        refused,
        conflicts,
        late,
        None if horizon == _NONE else horizon,
        dropped,
        None if cut == _NONE else cut,
        lost,
        records,
        accepted,
        None if present == _NONE else present,
        None if at == _NONE else LastRecord(at, timestamp, digest, None if epoch == _NONE else epoch),
        int.from_bytes(raw[_POSITION.size :]),
    )


def index_prefix(slot: int, record_key: bytes) -> bytes:
    """Return the prefix of the index keys of ``record_key``; its length comes first, so that no key is another's prefix."""
    return prefix(slot, INDEX) + _U32.pack(len(record_key)) + record_key


def refused_key(slot: int, kind: int, offset: int, index: int | None = None) -> bytes:
    """Return the key of the late or refused record at ``offset``, or of what has the number ``index`` in it."""
    return prefix(slot, kind) + _U64.pack(offset) + (b"" if index is None else _U32.pack(index))


def refused_place(key: bytes) -> RefusedPlace:
    """Return the offset in the key of a late or refused record, and the number of what was refused, None for all of it."""
    end = _PREFIX.size + _U64.size
    (offset,) = _U64.unpack(key[_PREFIX.size : end])
    return int(offset), unpack_u32(key) if len(key) > end else None


def pack_refused(record: RefusedRecord) -> bytes:
    """Return flags u8, timestamp i64, key length u32, reason length u32, key, reason, headers, value.

    Headers are those that ``header_codec`` packs, where the flags say that there are some.
    """
    flags = (
        _HAS_TIME * (record.timestamp is not None)
        | _HAS_KEY * (record.key is not None)
        | _HAS_VALUE * (record.value is not None)
        | _IS_CONFLICT * record.is_conflict
        | _HAS_HEADERS * bool(record.headers)
    )
    key, reason = record.key or b"", record.reason.encode()
    head = _REFUSED.pack(flags, record.timestamp or 0, len(key)) + _U32.pack(len(reason))
    return head + key + reason + pack_headers(record.headers) + (record.value or b"")


def unpack_refused(partition: int, place: RefusedPlace, raw: bytes) -> RefusedRecord:
    """Return the record that ``pack_refused`` was given."""
    offset, index = place
    flags, timestamp, key_length = _REFUSED.unpack_from(raw)
    start = _REFUSED.size + _U32.size
    (reason_length,) = _U32.unpack_from(raw, _REFUSED.size)
    reason_at = start + key_length
    reason_end = reason_at + reason_length
    has_headers = flags & _HAS_HEADERS
    value_at = headers_end(raw, reason_end) if has_headers else reason_end
    return RefusedRecord(
        partition=partition,
        offset=offset,
        timestamp=timestamp if flags & _HAS_TIME else None,
        key=raw[start:reason_at] if flags & _HAS_KEY else None,
        value=raw[value_at:] if flags & _HAS_VALUE else None,
        reason=raw[reason_at:reason_end].decode(),
        is_conflict=bool(flags & _IS_CONFLICT),
        headers=unpack_headers(raw, reason_end) if has_headers else None,
        index=index,
    )


def pack_stale(offset: int, timestamp: int | None) -> bytes:
    """Return the stored bytes of the place of a refused record whose identity is known."""
    return _STALE.pack(offset, _NONE if timestamp is None else timestamp)


def unpack_stale(raw: bytes) -> tuple[int, int | None]:
    """Return what ``pack_stale`` was given."""
    offset, timestamp = _STALE.unpack(raw)
    return offset, None if timestamp == _NONE else timestamp


def pack_cause(cause: Cause) -> bytes:
    """Return the stored bytes of a cause: a JSON object of its attributes."""
    return orjson.dumps(cause)


def unpack_cause(raw: bytes) -> Cause:
    """Return the cause that ``pack_cause`` was given."""
    values = orjson.loads(raw)
    places = {name: tuple(values[name]) for name in ("fields", "first", "last")}
    return Cause(**{**values, **places, "fault": Fault(values["fault"])})


def pack_schema(schema: pl.Schema) -> bytes:
    """Return the fields as an Arrow IPC schema message; the record key, if it is among them, is marked and first."""
    fields = list(pl.DataFrame(schema=schema).to_arrow().schema)
    # On disk the key column has a mark instead of its name: the names of our own columns may change.
    keys = [field.with_name("").with_metadata(_IS_KEY) for field in fields if field.name == KEY]
    return bytes(pa.schema([*keys, *(field for field in fields if field.name != KEY)]).serialize())


def unpack_schema(raw: bytes) -> pl.Schema:
    """Return the fields that ``pack_schema`` was given."""
    fields = pa.ipc.read_schema(pa.py_buffer(raw))
    return pl.Schema(
        pa.schema([field.with_name(KEY) if field.metadata == _IS_KEY else field for field in fields])
    )


def put_metadata(batch: Batch, values: Mapping[str, bytes]) -> None:
    """Put names and values of slot 0."""
    for name, value in values.items():
        batch.put(metadata_key(name), value)


def put_rows(batch: Batch, changes: Changes, slots: Mapping[int, int]) -> None:
    """Put or delete rows and, where the record key is not the identity, their index entries."""
    heads = {partition: prefix(slot, ROW) for partition, slot in slots.items()}
    put, delete = batch.put, batch.delete
    for partition, identity, value, key in stored_lines(changes):
        if value is None:
            delete(heads[partition] + identity)
        else:
            put(heads[partition] + identity, value)
        if key is not None:
            entry = index_prefix(slots[partition], key) + identity
            if value is None:
                delete(entry)
            else:
                put(entry, b"")


def put_stale(batch: Batch, changes: Changes, slots: Mapping[int, int], marked: Collection[int]) -> None:
    """Put the marks of refused records; delete those of removed rows, in the partitions that have marks (``marked``)."""
    if marked:
        for partition, identity, value, _ in stored_lines(changes):
            if value is None and partition in marked:
                batch.delete(prefix(slots[partition], STALE) + identity)
    if changes.stale.height:
        for partition, identity, *place in changes.stale.select(
            PARTITION, IDENTITY, OFFSET, TIMESTAMP
        ).iter_rows():
            batch.put(prefix(slots[partition], STALE) + identity, pack_stale(*place))


def put_refused(batch: Batch, kind: int, records: Sequence[RefusedRecord], slots: Mapping[int, int]) -> None:
    """Put late or refused records."""
    for record in records:
        key = refused_key(slots[record.partition], kind, record.offset, record.index)
        batch.put(key, pack_refused(record))


def delete_refused(batch: Batch, slot: int, places: Mapping[int, Sequence[RefusedPlace]]) -> None:
    """Delete the late and refused records at ``places``, by kind, to make room."""
    for kind, surplus in places.items():
        for offset, index in surplus:
            batch.delete(refused_key(slot, kind, offset, index))
