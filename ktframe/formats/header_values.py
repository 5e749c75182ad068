"""Header values to typed columns and back. Producers write headers as text, whatever they stand for: so they are read.

A value of another form, such as a number in eight bytes, is unreadable, not guessed; ``pl.Binary`` takes any.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Final, TypeAlias

import polars as pl

from ktframe.formats.dtypes import short_name
from ktframe.formats.json.times import days_of, units_of

_INTEGERS: Final = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
_WHOLE: Final = re.compile(r"-?\d{1,20}", re.ASCII)
_DECIMAL: Final = re.compile(r"-?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE: Final = frozenset({"NaN", "Infinity", "-Infinity"})
_FLAGS: Final = {"true": True, "false": False}
_MOST_SHOWN: Final = 60  # characters

Unread: TypeAlias = Mapping[int, str]
"""Why values can't be read, by their index."""


def is_readable_type(dtype: pl.DataType) -> bool:
    """Say whether a header can be read as ``dtype``."""
    return dtype in (pl.String, pl.Binary) or _reader(dtype) is not None


def read_values(name: str, values: Sequence[bytes | None], dtype: pl.DataType) -> tuple[pl.Series, Unread]:
    """Return the values of one header as a column, null where there is none or it can't be read; and why it can't."""
    if dtype == pl.Binary:
        return pl.Series(name, values, dtype=dtype), {}
    if dtype == pl.String:
        try:
            return pl.Series(name, values, dtype=pl.Binary).cast(pl.String), {}
        except pl.exceptions.PolarsError:  # one of them is no text: which one is found below
            pass
    read, unread = _reader(dtype) or str, dict[int, str]()
    found: list[Any] = [None] * len(values)
    for index, value in enumerate(values):
        if value is not None:
            try:
                found[index] = read(value.decode())
            except ValueError as error:
                # A codec tells where in the text it stopped: what is said is that of all such values.
                why = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error)
                unread[index] = f"header {name!r}: {_shown(value)} is no {short_name(dtype)}: {why}"
    physical = pl.Int64() if isinstance(dtype, pl.Datetime) else dtype
    return pl.Series(name, found, dtype=physical).cast(dtype), unread


def written_values(column: pl.Series) -> list[bytes | None]:
    """Return the bytes that ``read_values`` reads as the values of ``column``."""
    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        digits = {"ms": 3, "us": 6, "ns": 9}[dtype.time_unit]
        zone = "" if dtype.time_zone is None else "Z"
        in_utc = column if dtype.time_zone is None else column.dt.convert_time_zone("UTC")
        column = in_utc.dt.strftime(f"%Y-%m-%dT%H:%M:%S%.{digits}f{zone}")
    return [_written(value) for value in column]


def _written(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, float):
        text = repr(value)
        return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text).encode()
    return (value.isoformat() if isinstance(value, date) else str(value)).encode()


def _shown(value: bytes) -> str:
    shown = repr(value)[1:]
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."


def _reader(dtype: pl.DataType) -> Callable[[str], Any] | None:
    """Return what reads the text of one value, or raises a ValueError; None where no header is read so."""
    if isinstance(dtype, pl.Datetime):
        unit, is_aware = dtype.time_unit, dtype.time_zone is not None
        return lambda text: units_of(text, unit, is_aware=is_aware)
    if isinstance(dtype, _INTEGERS):
        least, most = (pl.select(bound).item() for bound in (dtype.min(), dtype.max()))
        return lambda text: _integer(text, least, most)
    return {pl.Boolean: _flag, pl.Float64: _float, pl.Date: _date}.get(type(dtype))


def _integer(text: str, least: int, most: int) -> int:
    if _WHOLE.fullmatch(text) is None:
        message = "not the digits of a whole number"
        raise ValueError(message)
    number = int(text)
    if not least <= number <= most:
        message = "a number out of range"
        raise ValueError(message)
    return number


def _float(text: str) -> float:
    number = float(text) if _DECIMAL.fullmatch(text) or text in _NOT_FINITE else None
    if number is None or (abs(number) == float("inf") and text not in _NOT_FINITE):
        message = "not a number such as 1.5 or 2e-3"
        raise ValueError(message)
    return number


def _flag(text: str) -> bool:
    if text not in _FLAGS:
        message = "neither true nor false"
        raise ValueError(message)
    return _FLAGS[text]


def _date(text: str) -> date:
    return date.fromordinal(days_of(text) + _EPOCH_DAY)


_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
