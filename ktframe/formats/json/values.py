"""Converts parsed JSON values to what ``pa.array`` takes for a column, exactly; a ConflictError says what does not fit.

Times become counted units and decimals ``Decimal``; all else stays as parsed. Null fits everywhere and reaches no reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from typing import Any, TypeAlias

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.dtypes import LARGEST_EXACT, as_instance, short_name, struct_fields
from ktframe.formats.errors import ConflictError
from ktframe.formats.json.times import days_of, nanoseconds_of, units_of

Reader: TypeAlias = Callable[[Any], Any]
RowReader: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]

_INTEGER_RANGES: dict[type[pl.DataType], tuple[int, int]] = {
    pl.Int8: (-(2**7), 2**7 - 1),
    pl.Int16: (-(2**15), 2**15 - 1),
    pl.Int32: (-(2**31), 2**31 - 1),
    pl.Int64: (-(2**63), 2**63 - 1),
    pl.UInt8: (0, 2**8 - 1),
    pl.UInt16: (0, 2**16 - 1),
    pl.UInt32: (0, 2**32 - 1),
    pl.UInt64: (0, 2**64 - 1),
}

_FLOAT32_LIMIT = 2.0**128 - 2.0**103
"""From here on a number rounds to an infinite Float32."""

_DECIMAL_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)

_KINDS: dict[type[pl.DataType], type] = {
    pl.Null: type(None),
    pl.Boolean: bool,
    pl.String: str,
    pl.Categorical: str,
}

_KIND_NAMES = {
    bool: "Boolean",
    int: "Int64",
    float: "Float64",
    Decimal: "Float64",
    str: "String",
    list: "List",
}


@lru_cache(maxsize=64)
def row_reader(columns: tuple[tuple[str, pl.DataType], ...]) -> RowReader:
    """Return the reader of parsed records for these columns; absent fields stay absent.

    Its ConflictError is about the first value that does not fit, and names the fields of all such values.
    """
    readers = {name: reader_of(dtype, name) for name, dtype in columns}

    def read(record: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        conflicts: dict[str, ConflictError] = {}
        for name, item in record.items():
            try:
                reader = _known(readers, name)
                if item is not None:
                    row[name] = reader(item)
            except ConflictError as conflict:
                conflicts[name] = conflict
        if conflicts:
            first = next(iter(conflicts.values()))
            first.fields = tuple(conflicts)
            raise first
        return row

    return read


def reader_of(dtype: pl.DataType, path: str) -> Reader:
    """Return the reader of a column type; SchemaError names the field if its type can't be read from JSON."""
    make = _READERS.get(type(dtype))
    if make is not None:
        return make(dtype, path)
    message = f"field {path!r} is declared {dtype}, which can't be read from JSON."
    raise SchemaError(
        message, "declare the type that is in the JSON, such as pl.String or pl.Int64, and cast later."
    )


def _conflict(path: str, dtype: pl.DataType, value: Any) -> ConflictError:
    kind = _KIND_NAMES.get(type(value), "Struct")
    return ConflictError(
        f"field {path!r}: wanted {short_name(dtype)}, found {kind}; schema= can fix its type"
    )


def _kind_reader(dtype: pl.DataType, path: str) -> Reader:
    kind = _KINDS[type(dtype)]

    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _conflict(path, dtype, value)
        return value

    return read


def _integer_reader(dtype: pl.DataType, path: str) -> Reader:
    low, high = _INTEGER_RANGES[type(dtype)]

    def read(value: Any) -> int:
        if type(value) is not int:
            raise _conflict(path, dtype, value)
        if not low <= value <= high:
            wider = "pl.UInt64" if 0 <= value < 2**64 else "pl.Decimal"
            message = f"field {path!r}: integer out of the range of {dtype}; schema= can declare {wider}"
            raise ConflictError(message)
        return value

    return read


def _float_reader(dtype: pl.DataType, path: str) -> Reader:
    limit = _FLOAT32_LIMIT if isinstance(dtype, pl.Float32) else float("inf")

    def read(value: Any) -> float:
        if type(value) is int:
            if not -LARGEST_EXACT <= value <= LARGEST_EXACT:
                message = (
                    f"field {path!r}: integer beyond 2**53 in a column of {dtype}; schema= can fix its type"
                )
                raise ConflictError(message)
        elif type(value) not in {float, Decimal}:
            raise _conflict(path, dtype, value)
        number = float(value)
        if not -limit < number < limit:
            message = f"field {path!r}: number out of the range of {dtype}"
            raise ConflictError(message)
        return number

    return read


def _decimal_reader(dtype: pl.Decimal, path: str) -> Reader:
    unit = Decimal(1).scaleb(-dtype.scale)
    exactly = Context(prec=dtype.precision or 38, traps=[Inexact, InvalidOperation])

    def read(value: Any) -> Decimal:
        is_text = type(value) is str and _DECIMAL_TEXT.fullmatch(value) is not None
        if not is_text and type(value) not in {int, Decimal}:
            raise _conflict(path, dtype, value)
        try:
            return Decimal(value).quantize(unit, context=exactly)
        except ArithmeticError:
            message = f"field {path!r}: number that {dtype} can't hold exactly"
            raise ConflictError(message) from None

    return read


def _enum_reader(dtype: pl.Enum, path: str) -> Reader:
    categories = frozenset(dtype.categories)

    def read(value: Any) -> str:
        if type(value) is not str:
            raise _conflict(path, dtype, value)
        if value not in categories:
            message = f"field {path!r}: {value!r} is not one of the Enum's categories"
            raise ConflictError(message)
        return value

    return read


def _time_reader(dtype: pl.DataType, path: str) -> Reader:
    def count(text: str) -> int:
        if isinstance(dtype, pl.Datetime):
            return units_of(text, dtype.time_unit, is_aware=dtype.time_zone is not None)
        return days_of(text) if isinstance(dtype, pl.Date) else nanoseconds_of(text)

    def read(value: Any) -> int:
        if type(value) is not str:
            raise _conflict(path, dtype, value)
        try:
            return count(value)
        except ValueError as error:
            message = f"field {path!r}: {error}"
            raise ConflictError(message) from None

    return read


def _list_reader(dtype: pl.List, path: str) -> Reader:
    read_item = reader_of(as_instance(dtype.inner), f"{path}[]")

    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _conflict(path, dtype, value)
        return [None if item is None else read_item(item) for item in value]

    return read


def _struct_reader(dtype: pl.Struct, path: str) -> Reader:
    return _fields_reader(struct_fields(dtype), path)


def _fields_reader(fields: Mapping[str, pl.DataType], path: str) -> Reader:
    prefix = f"{path}."
    readers = {name: reader_of(dtype, prefix + name) for name, dtype in fields.items()}
    whole = pl.Struct([])

    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise _conflict(path, whole, value)
        row = {}
        for name, item in value.items():
            reader = _known(readers, name, prefix)
            if item is not None:
                row[name] = reader(item)
        return row

    return read


def _known(readers: Mapping[str, Reader], name: str, prefix: str = "") -> Reader:
    reader = readers.get(name)
    if reader is None:
        message = f"field {prefix + name!r} is not in the schema; schema= can declare it"
        raise ConflictError(message)
    return reader


_READERS: dict[type[pl.DataType], Callable[[Any, str], Reader]] = {
    **dict.fromkeys(_KINDS, _kind_reader),
    **dict.fromkeys(_INTEGER_RANGES, _integer_reader),
    pl.Float32: _float_reader,
    pl.Float64: _float_reader,
    pl.Decimal: _decimal_reader,
    pl.Enum: _enum_reader,
    pl.Date: _time_reader,
    pl.Datetime: _time_reader,
    pl.Time: _time_reader,
    pl.List: _list_reader,
    pl.Struct: _struct_reader,
}
