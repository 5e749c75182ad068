"""The bytes of one stored row: a head, the record key where it is not the identity, wanted headers, the raw value.

======  =====================================================================================
bytes   meaning
======  =====================================================================================
1       flags: bit 0 tombstone marker, bits 1-2 Kafka's timestamp type, bit 3 a record key follows,
        bit 4 headers follow
8       timestamp, ms since 1970, signed big-endian (0 where the type is 0)
8       offset, big-endian
4 + n   only with bit 3: length and bytes of the record key; length 2**32 - 1 stands for null
4 + n   only with bit 4: length and bytes of the record's headers; see ``header_codec.py``
rest    the value exactly as the producer sent it
======  =====================================================================================

Raw bytes are kept so that a schema can widen later and the row be decoded again. Pinned by golden-bytes tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

import polars as pl
import pyarrow as pa

from ktframe.columns import BODY, FLAGS, OFFSET, SENT_AT, STORED, TIMESTAMP, TOMBSTONE, UNPACKED
from ktframe.fold.header_codec import headers_end, pack_headers, unpack_headers
from ktframe.fold.identity_codec import big_endian
from ktframe.fold.records import RecordBatch
from ktframe.formats.base import Headers

_HEAD = Struct(">Bqq")
_LENGTH = Struct(">I")
_NULL_KEY = _LENGTH.pack(0xFFFF_FFFF)
_IS_TOMBSTONE = 0b1
_TYPE_SHIFT = 1
_TYPE_MASK = 0b11
_HAS_KEY = 0b1000
_HAS_HEADERS = 0b1_0000


def unpacked(batch: RecordBatch, *, with_keys: bool, with_tombstones: bool) -> list[pl.Series]:
    """Return the columns ``UNPACKED`` of each record of ``batch``, with its record key or without, and with its headers.

    A tombstone becomes a marker, or nothing (``BODY`` is null) where none is stored.
    """
    types = pl.Series(batch.timestamp_types, dtype=pl.UInt8)
    times = pl.Series(SENT_AT, batch.timestamps, dtype=pl.Int64)
    values = pl.Series(batch.values, dtype=pl.Binary)
    flags = (types * (1 << _TYPE_SHIFT)) | values.is_null().cast(pl.UInt8) | (_HAS_KEY * with_keys)
    headers = None if batch.headers is None else pl.Series(map(pack_headers, batch.headers), dtype=pl.Binary)
    if headers is not None:
        flags |= (headers.bin.size() > 0).cast(pl.UInt8) * _HAS_HEADERS
    is_timeless = types == 0
    if is_timeless.any():
        times = times.set(is_timeless, 0)
    body = values.fill_null(b"") if with_tombstones else values
    if headers is not None:
        body = headers + body
    if with_keys:
        length = _LENGTH.pack
        keys = [_NULL_KEY if key is None else length(len(key)) + key for key in batch.keys]
        body = pl.Series(keys, dtype=pl.Binary) + body
    return [flags.alias(FLAGS), times, body.alias(BODY)]


def stored_sizes(body: pl.Series) -> pl.Series:
    """Return the bytes of each stored row, 0 where none is stored."""
    return (body.bin.size() + _HEAD.size).fill_null(0)


def with_packed_rows(lines: pl.DataFrame) -> pl.DataFrame:
    """Return ``lines`` with the stored bytes of each row (``STORED``) in the place of ``UNPACKED``."""
    if BODY not in lines.columns:
        return lines
    flags, times, body = lines[[*UNPACKED]]
    stored = _heads(flags, times, lines[OFFSET]) + body
    return lines.drop(UNPACKED).hstack([stored.alias(STORED)])


def _heads(flags: pl.Series, times: pl.Series, offsets: pl.Series) -> pl.Series:
    """Return the head of each row: what ``_HEAD`` packs, for whole columns."""
    size, raw = _HEAD.size, bytearray(_HEAD.size * len(flags))
    first = flags.rechunk().to_arrow()
    raw[::size] = memoryview(first.buffers()[1])[first.offset :][: len(first)]
    for start, column in ((1, times), (9, offsets)):
        numbers = big_endian(column)
        for byte in range(8):
            raw[start + byte :: size] = numbers[byte::8]
    return pl.Series(pa.Array.from_buffers(pa.binary(size), len(flags), [None, pa.py_buffer(raw)]))


def is_marker(stored: bytes) -> bool:
    """Say whether a stored row is the marker of a tombstone."""
    return bool(stored[0] & _IS_TOMBSTONE)


def record_key_of(stored: bytes) -> bytes | None:
    """Return the record key that a stored row carries, None where it is null or not carried."""
    if not stored[0] & _HAS_KEY:
        return None
    start = _HEAD.size + _LENGTH.size
    (length,) = _LENGTH.unpack_from(stored, _HEAD.size)
    return None if stored[_HEAD.size : start] == _NULL_KEY else stored[start : start + length]


def headers_of(stored: bytes) -> Headers:
    """Return the headers that a stored row carries, None where there are none."""
    return unpack_headers(stored, _key_end(stored)) if stored[0] & _HAS_HEADERS else None


def unpack_rows(stored: Sequence[bytes]) -> tuple[pl.DataFrame, list[bytes]]:
    """Return (columns ``TIMESTAMP`` and ``OFFSET``, both Int64, and ``TOMBSTONE``; the raw values)."""
    unpack, start = _HEAD.unpack_from, _HEAD.size
    timestamps: list[int | None] = []
    offsets: list[int] = []
    markers: list[bool] = []
    values: list[bytes] = []
    for row in stored:
        flags, at, offset = unpack(row)
        timestamps.append(at if flags >> _TYPE_SHIFT & _TYPE_MASK else None)
        offsets.append(offset)
        markers.append(flags & _IS_TOMBSTONE == 1)
        values.append(row[_value_start(row) if flags & (_HAS_KEY | _HAS_HEADERS) else start :])
    columns = pl.DataFrame(
        [
            pl.Series(TIMESTAMP, timestamps, dtype=pl.Int64),
            pl.Series(OFFSET, offsets, dtype=pl.Int64),
            pl.Series(TOMBSTONE, markers, dtype=pl.Boolean),
        ]
    )
    return columns, values


def _value_start(row: bytes) -> int:
    """Return where the value begins behind a record key and headers."""
    end = _key_end(row)
    return headers_end(row, end) if row[0] & _HAS_HEADERS else end


def _key_end(row: bytes) -> int:
    """Return where the record key ends, if a row carries one: there its headers or its value begin."""
    if not row[0] & _HAS_KEY:
        return _HEAD.size
    start = _HEAD.size + _LENGTH.size
    (length,) = _LENGTH.unpack_from(row, _HEAD.size)
    return start if row[_HEAD.size : start] == _NULL_KEY else start + int(length)
