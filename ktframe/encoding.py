"""Canonical bytes of an identity: injective, order-preserving, one value after the other.

=====  =======  ======================================================================
tag    kind     body
=====  =======  ======================================================================
01     null     nothing
02     false    nothing
03     true     nothing
04     integer  8 bytes big-endian, sign bit flipped
05     bytes    the bytes, 00 written as 00 FF, then 00
06     string   UTF-8, 00 written as 00 FF, then 00
=====  =======  ======================================================================

No value's bytes are a prefix of another's, so composite keys can't collide, and bytes compare as the values do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import polars as pl

Part: TypeAlias = bool | int | bytes | str | None

_NULL, _FALSE, _TRUE, _INTEGER, _BYTES, _STRING = (bytes([tag]) for tag in range(1, 7))
_SIGN = 1 << 63
_INTEGER_LENGTH = 9


def encode_part(value: Part) -> bytes:
    """Return the canonical bytes of one value.

    Raises
    ------
    TypeError
        For a value that can't be part of an identity (a float, a list, a struct).
    OverflowError
        For an integer outside Int64.
    """
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int):
        return _INTEGER + (value + _SIGN).to_bytes(8, "big")
    if isinstance(value, bytes):
        return _BYTES + value.replace(b"\0", b"\0\xff") + b"\0"
    if isinstance(value, str):
        return _STRING + value.encode().replace(b"\0", b"\0\xff") + b"\0"
    message = f"a {type(value).__name__} can't be part of a key"
    raise TypeError(message)


def encode_parts(values: Iterable[Part]) -> bytes:
    """Return the canonical bytes of a composite value."""
    return b"".join(map(encode_part, values))


def encode_columns(frame: pl.DataFrame) -> pl.Series:
    """Return the canonical bytes (Binary, no nulls) of each row of ``frame``."""
    first, *others = [_encode_column(column) for column in frame.iter_columns()]
    for other in others:
        first = first + other
    return first


def _encode_column(column: pl.Series) -> pl.Series:
    if column.dtype in (pl.String, pl.Binary) and column.null_count() == 0:
        raw = column.cast(pl.Binary)
        if not raw.bin.contains(b"\0").any():
            tag = _STRING if column.dtype == pl.String else _BYTES
            return pl.select(pl.lit(tag) + raw + pl.lit(b"\0")).to_series()
    return pl.Series([encode_part(value) for value in column.to_physical().to_list()], dtype=pl.Binary)


def decode_parts(encoded: bytes) -> tuple[Part, ...]:
    """Return the values that ``encode_parts`` was given."""
    parts: list[Part] = []
    at = 0
    while at < len(encoded):
        tag = encoded[at : at + 1]
        if tag in (_BYTES, _STRING):
            end = _end_of(encoded, at + 1)
            body = encoded[at + 1 : end].replace(b"\0\xff", b"\0")
            parts.append(body if tag == _BYTES else body.decode())
            at = end + 1
        elif tag == _INTEGER:
            parts.append(int.from_bytes(encoded[at + 1 : at + _INTEGER_LENGTH], "big") - _SIGN)
            at += _INTEGER_LENGTH
        else:
            parts.append({_NULL: None, _FALSE: False, _TRUE: True}[tag])
            at += 1
    return tuple(parts)


def _end_of(encoded: bytes, start: int) -> int:
    end = encoded.index(b"\0", start)
    while encoded[end + 1 : end + 2] == b"\xff":
        end = encoded.index(b"\0", end + 2)
    return end


def decode_column(encoded: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return the values of single-part identities as a column of ``dtype``."""
    plain = dtype in (pl.String, pl.Binary) and not encoded.bin.contains(b"\0\xff").any()
    if plain and len(encoded):
        body = encoded.to_frame("e").select(pl.col("e").bin.slice(1, pl.col("e").bin.size() - 2)).to_series()
        return body.cast(dtype)
    return pl.Series([decode_parts(value)[0] for value in encoded], dtype=dtype)
