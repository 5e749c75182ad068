"""Converts values of a column to values of a Protobuf field, if they fit exactly; otherwise RefusedError."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import polars as pl

from ktframe.formats.dtypes import as_instance
from ktframe.formats.errors import RefusedError
from ktframe.formats.protobuf.types import BYTES, NANOS, STRING, Field, Kind

Convert: TypeAlias = Callable[[Any], Any]
_FLOAT, _BOOL = 2, 8
_FLOATS: Final = {1: "double", _FLOAT: "float"}
_INT32, _UINT32 = range(-(2**31), 2**31), range(2**32)
_INT64, _UINT64 = range(-(2**63), 2**63), range(2**64)

_RANGES: Final = {
    3: _INT64, 16: _INT64, 18: _INT64, 4: _UINT64, 6: _UINT64,
    5: _INT32, 15: _INT32, 17: _INT32, 7: _UINT32, 13: _UINT32,
}  # fmt: skip

_UNITS: Final = {"ms": 10**3, "us": 10**6, "ns": 10**9}

# What the specification of Timestamp and Duration allows.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799
_LONGEST_SECONDS = 315_576_000_000


def physical(dtype: pl.DataType) -> pl.DataType:
    """Return the type to cast a column to before its values become Python's: times as integers, which are exact."""
    if isinstance(dtype, pl.List):
        return pl.List(physical(as_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: physical(as_instance(field.dtype)) for field in dtype.fields})
    if isinstance(dtype, pl.Datetime | pl.Duration):
        return pl.Int64()
    return pl.String() if isinstance(dtype, pl.Enum | pl.Categorical) else dtype


def seconds_and_nanos(field: Field, dtype: pl.DataType) -> Callable[[int], tuple[int, int]]:
    """Return a function that splits the integers of a column of times into seconds and nanoseconds.

    Raises
    ------
    RefusedError
        When the column has no times of this kind.
    """
    if field.kind is Kind.TIMESTAMP:
        if not isinstance(dtype, pl.Datetime) or dtype.time_zone is None:
            message = f"{dtype}, but a Timestamp is a Datetime with a time zone"
            raise RefusedError(message)
        return _splitting(dtype.time_unit, _FIRST_SECOND, _LAST_SECOND, "Timestamp")
    if not isinstance(dtype, pl.Duration):
        message = f"{dtype}, but Duration is needed"
        raise RefusedError(message)
    return _splitting(dtype.time_unit, -_LONGEST_SECONDS, _LONGEST_SECONDS, "Duration")


def _splitting(unit: str, first: int, last: int, name: str) -> Callable[[int], tuple[int, int]]:
    per_second = _UNITS[unit]

    def split(value: int) -> tuple[int, int]:
        seconds, rest = divmod(value, per_second)
        if not first <= seconds <= last:
            message = f"{seconds} seconds are out of the range of a {name}"
            raise RefusedError(message)
        if name == "Duration" and seconds < 0 and rest:
            seconds, rest = seconds + 1, rest - per_second  # both parts of a Duration have the same sign
        return seconds, rest * (NANOS // per_second)

    return split


def scalar(encoding: int) -> Convert:
    """Return the converter to values of a field with this type."""
    if encoding in _RANGES:
        return _integers(_RANGES[encoding])
    if encoding in _FLOATS:
        return _float32 if encoding == _FLOAT else _float64
    wanted, name = {_BOOL: (bool, "Boolean"), STRING: (str, "String"), BYTES: (bytes, "Binary")}[encoding]
    return lambda value: value if isinstance(value, wanted) else _refuse(value, name)


def _integers(allowed: range) -> Convert:
    def convert(value: Any) -> int:
        if type(value) is not int:
            _refuse(value, "an integer")
        if value not in allowed:
            message = f"{value} is not between {allowed[0]} and {allowed[-1]}"
            raise RefusedError(message)
        return int(value)

    return convert


def _float64(value: Any) -> float:
    if type(value) not in {int, float}:
        _refuse(value, "a number")
    try:
        number = float(value)
    except OverflowError:
        number = 0.0
    if type(value) is int and int(number) != value:
        message = f"{value} has more digits than a double"
        raise RefusedError(message)
    return number


def _float32(value: Any) -> float:
    number = _float64(value)
    try:
        (rounded,) = struct.unpack("<f", struct.pack("<f", number))
    except OverflowError:
        rounded = 0.0
    if rounded != number and number == number:  # noqa: PLR0124 - all but NaN
        message = f"{value} has more digits than a float: cast the column to pl.Float32"
        raise RefusedError(message)
    return number


def enum_number(field: Field) -> Convert:
    """Return the converter from the names of an enum, or numbers as text where it has no name, to numbers."""
    enum = field.descriptor.enum_type
    numbers = {value.name: value.number for value in enum.values}

    def convert(value: Any) -> int:
        if not isinstance(value, str):
            _refuse(value, "String")
        if value in numbers:
            return int(numbers[value])
        try:
            number = int(value)
        except ValueError:
            number = None
        if number is None or str(number) != value or number not in _INT32 or enum.is_closed:
            message = f"{value!r} is not a value of {enum.full_name}"
            raise RefusedError(message)
        return number

    return convert


def _refuse(value: Any, wanted: str) -> Any:
    message = f"a {type(value).__name__}, but {wanted} is needed"
    raise RefusedError(message)
