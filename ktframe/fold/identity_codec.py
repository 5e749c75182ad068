"""The canonical bytes of an identity: its values one after the other; different values give different bytes.

=====  ======================  =============================================
tag    kind                    body
=====  ======================  =============================================
01     null                    nothing
02     false                   nothing
03     true                    nothing
04     integer below Int64     16 bytes big-endian, sign bit flipped
05     integer within Int64    8 bytes big-endian, sign bit flipped
06     integer above Int64     16 bytes big-endian, sign bit flipped
07     bytes                   the bytes, 00 written as 00 FF, then 00
08     string                  UTF-8, 00 written as 00 FF, then 00
=====  ======================  =============================================

After the 00 that ends a value comes a tag or nothing, never FF: composite values can't collide, and bytes compare as
the values do. Dates, times, durations and decimals are the integers that Polars keeps them as; an enum or
categorical is its text, because its numbers mean nothing elsewhere.
"""

from __future__ import annotations

import array
import operator
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import reduce
from typing import Any, TypeAlias, cast

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ktframe.clock import EPOCH

Part: TypeAlias = bool | int | bytes | str | None
_NULL, _FALSE, _TRUE, _BELOW, _INTEGER, _ABOVE, _BYTES, _STRING = (bytes([tag]) for tag in range(1, 9))
_SIGN = 1 << 63
_WIDE_SIGN = 1 << 127
_INTEGER_LENGTH = 9
_WIDE_LENGTH = 17
_UNITS = {"ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}
_EXPONENT_LIMIT = 60
_FEW = 16
_TEXTS = (pl.String, pl.Enum, pl.Categorical)
_WITHIN_INT64 = (pl.Int64, pl.Int32, pl.Int16, pl.Int8, pl.UInt32, pl.UInt16, pl.UInt8)


def encode_part(value: object) -> bytes:
    """Return the canonical bytes of one value.

    Raises
    ------
    TypeError
        For a value that can't be part of an identity (a float, a list, a struct).
    OverflowError
        For an integer outside Int128.
    """
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return _TRUE if value else _FALSE
    if isinstance(value, int):
        if -_SIGN <= value < _SIGN:
            return _INTEGER + (value + _SIGN).to_bytes(8, "big")
        return (_BELOW if value < 0 else _ABOVE) + (value + _WIDE_SIGN).to_bytes(16, "big")
    if isinstance(value, bytes):
        return _BYTES + value.replace(b"\0", b"\0\xff") + b"\0"
    if isinstance(value, str):
        return _STRING + value.encode().replace(b"\0", b"\0\xff") + b"\0"
    message = f"a {type(value).__name__} can't be part of a key"
    raise TypeError(message)


def encode_parts(values: Iterable[object]) -> bytes:
    """Return the canonical bytes of a composite value; raises as ``encode_part`` does."""
    return b"".join(map(encode_part, values))


def encode_key(key: object, dtypes: Sequence[pl.DataType]) -> bytes | None:
    """Return the identity of a key as a user gives it, a tuple where it has several parts; None where no column has it.

    A part is the column's value exactly: of its kind, and not rounded or cast to it.
    """
    parts = key if isinstance(key, tuple) else (key,)
    if len(parts) != len(dtypes):
        return None
    try:
        # What the column can't hold is refused on the way: TypeError a Fraction, UnicodeEncodeError half a pair.
        return encode_parts(map(physical_part, parts, dtypes))
    except (TypeError, OverflowError, UnicodeEncodeError):
        return None


def encode_keys(keys: Sequence[object], dtypes: Sequence[pl.DataType]) -> list[bytes | None]:
    """Return what ``encode_key`` returns for each key."""
    # Texts as a column: one by one they take ten times as long.
    if len(keys) > _FEW and dtypes == [pl.String()] and all(type(key) is str for key in keys):
        with suppress(UnicodeEncodeError):
            return encode_columns([pl.Series(keys, dtype=pl.String)]).to_list()
    return [encode_key(key, dtypes) for key in keys]


def physical_part(value: object, dtype: pl.DataType) -> Part | Fraction:
    """Return what a column of ``dtype`` would keep ``value`` as.

    A number between two that the column can hold (a microsecond in milliseconds) is a Fraction.

    Raises
    ------
    TypeError
        When the value is of another kind than the column's.
    """
    # Not by pl.Series, which rounds, takes text and numbers for dates, ignores zones, and panics on some decimals.
    if value is None:
        return None
    if isinstance(value, str) and isinstance(dtype, _TEXTS):
        return value
    if dtype.is_integer() or dtype.is_decimal() or dtype.is_temporal():
        number = _number(value, dtype)
        return int(number) if number.denominator == 1 else number
    if dtype == pl.Boolean and isinstance(value, bool):
        return value
    if dtype == pl.Binary and isinstance(value, bytes):
        return value
    raise _wrong_kind(value, dtype)


def _number(value: object, dtype: pl.DataType) -> int | Fraction:
    if dtype.is_temporal():
        return _moment(value, dtype)
    if isinstance(dtype, pl.Decimal) and isinstance(value, Decimal) and value.is_finite():
        if value and abs(value.adjusted()) > _EXPONENT_LIMIT:
            # A Fraction writes exponents out, however long that takes; a smaller exponent compares in the same way.
            value = (
                Decimal(1)
                .scaleb(_EXPONENT_LIMIT if value.adjusted() > 0 else -_EXPONENT_LIMIT)
                .copy_sign(value)
            )
        return Fraction(value) * 10**dtype.scale if value else 0
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise _wrong_kind(value, dtype)
    return operator.index(value) * (10**dtype.scale if isinstance(dtype, pl.Decimal) else 1)


def _moment(value: object, dtype: pl.DataType) -> int | Fraction:
    if isinstance(dtype, pl.Date) and isinstance(value, date) and not isinstance(value, datetime):
        return value.toordinal() - EPOCH.toordinal()
    if isinstance(dtype, pl.Time) and isinstance(value, time) and value.tzinfo is None:
        return _count(datetime.combine(EPOCH, value, UTC) - EPOCH, "ns")
    if isinstance(dtype, pl.Duration) and isinstance(value, timedelta):
        return _count(value, dtype.time_unit)
    if isinstance(dtype, pl.Datetime) and isinstance(value, datetime):
        is_zoned = value.utcoffset() is not None
        if is_zoned == (dtype.time_zone is not None):
            return _count((value if is_zoned else value.replace(tzinfo=UTC)) - EPOCH, dtype.time_unit)
    raise _wrong_kind(value, dtype)


def _count(elapsed: timedelta, unit: str) -> Fraction:
    return Fraction(elapsed // timedelta(microseconds=1) * _UNITS[unit], _UNITS["us"])


def _wrong_kind(value: object, dtype: pl.DataType) -> TypeError:
    return TypeError(f"a {type(value).__name__} can't be part of a key of type {dtype}")


def encode_columns(columns: Iterable[pl.Series]) -> pl.Series:
    """Return the canonical bytes (Binary, no nulls) of each row of ``columns``."""
    return reduce(operator.add, map(_encode_column, columns))


def _encode_column(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Struct):
        return encode_columns(column.struct.unnest())  # a key with several fields
    if isinstance(column.dtype, pl.Enum | pl.Categorical):
        column = column.cast(pl.String)
    tag = _text_tag(column.dtype)
    if len(column) <= _FEW:  # each call of Polars takes longer than a few values do
        values = column if tag is not None else column.to_physical()
        return pl.Series([encode_part(value) for value in values.to_list()], dtype=pl.Binary)
    if tag is not None:
        raw = column.cast(pl.Binary)
        if not _may_contain(raw.to_arrow(), b"\0"):
            encoded = pl.Series([tag]) + raw + pl.Series([b"\0"])
            return encoded.fill_null(_NULL) if encoded.null_count() else encoded
    physical = column.to_physical()
    if physical.dtype in _WITHIN_INT64:
        return _encode_integers(physical.cast(pl.Int64))
    return pl.Series([encode_part(value) for value in physical.to_list()], dtype=pl.Binary)


def _encode_integers(column: pl.Series) -> pl.Series:
    """Return what ``encode_part`` returns for each integer, without Python objects."""
    is_null = column.is_null() if column.null_count() else None
    raw = big_endian((column if is_null is None else column.fill_null(0)) ^ -_SIGN)
    bodies = pa.Array.from_buffers(pa.binary(8), len(column), [None, pa.py_buffer(raw)])
    encoded = pl.Series([_INTEGER]) + pl.Series(bodies)
    return encoded if is_null is None else pl.Series([_NULL]).zip_with(is_null, encoded)


def big_endian(column: pl.Series) -> bytes:
    """Return the eight bytes of each integer, one after the other; ``column`` is an Int64 without nulls."""
    numbers = column.rechunk().to_arrow()
    raw = array.array("q")
    raw.frombytes(memoryview(numbers.buffers()[1])[8 * numbers.offset :][: 8 * len(numbers)])
    if sys.byteorder == "little":
        raw.byteswap()
    return raw.tobytes()


def _text_tag(dtype: pl.DataType) -> bytes | None:
    return _STRING if dtype == pl.String else _BYTES if dtype == pl.Binary else None


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
        elif tag in (_BELOW, _ABOVE):
            parts.append(int.from_bytes(encoded[at + 1 : at + _WIDE_LENGTH], "big") - _WIDE_SIGN)
            at += _WIDE_LENGTH
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
    """Return the values of identities as one column of ``dtype``: a struct where they have several parts."""
    array, tag = encoded.to_arrow(), _text_tag(dtype)
    if tag is not None and _all_start_with(array, tag) and not _may_contain(array, b"\0\xff"):
        return pl.Series(pc.binary_slice(array, 1, -1)).cast(dtype)
    if dtype.is_integer() and _all_start_with(array, _INTEGER):
        bodies = pl.Series(pc.binary_slice(array, 1, _INTEGER_LENGTH))
        return (bodies.bin.reinterpret(dtype=pl.Int64, endianness="big") ^ -_SIGN).cast(dtype)
    return _first_column([decode_parts(value) for value in encoded], dtype)


def _all_start_with(array: Any, start: bytes) -> bool:
    return bool(pc.all(pc.starts_with(array, start), min_count=0).as_py())


def _may_contain(array: Any, pattern: bytes) -> bool:
    """Say whether ``pattern`` is in the bytes of all values, one behind the other; where it is not, no value has it."""
    data = array.buffers()[2]
    return data is not None and pattern in data.to_pybytes()


def columns_of(identities: Iterable[bytes], dtypes: Mapping[str, pl.DataType]) -> dict[str, pl.Series]:
    """Return the columns of identities by name; only the last one can be a struct, as which it has all parts left."""
    decoded = [decode_parts(identity) for identity in identities]
    return {
        name: _first_column([parts[at:] for parts in decoded], dtype)
        for at, (name, dtype) in enumerate(dtypes.items())
    }


def _first_column(decoded: Sequence[tuple[Part, ...]], dtype: pl.DataType) -> pl.Series:
    """Return the first part of each identity as a column, or all of them as the fields of a struct."""
    if isinstance(dtype, pl.Struct):
        fields = [
            column_of([parts[at] for parts in decoded], cast("pl.DataType", field.dtype)).alias(field.name)
            for at, field in enumerate(dtype.fields)
        ]
        return pl.DataFrame(fields).to_struct()
    return column_of([parts[0] for parts in decoded], dtype)


def column_of(parts: Sequence[Part], dtype: pl.DataType) -> pl.Series:
    """Return decoded parts as the column of ``dtype`` that they were encoded from."""
    if isinstance(dtype, pl.Decimal):
        # From text, because Decimal's own arithmetic rounds to 28 digits.
        exact = [None if part is None else Decimal(f"{part!r}E-{dtype.scale}") for part in parts]
        return pl.Series(exact, dtype=dtype)
    if dtype.is_temporal():
        return pl.Series(parts, dtype=pl.Int64).cast(dtype)
    return pl.Series(parts, dtype=dtype)
