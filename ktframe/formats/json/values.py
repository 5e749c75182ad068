"""Converts parsed JSON values to what ``pa.array`` takes for a column, exactly; a ConflictError says what does not fit.

Times become counted units and decimals ``Decimal``; all else stays as parsed. Null fits everywhere and reaches no reader.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, Inexact, InvalidOperation
from functools import lru_cache
from math import isfinite
from typing import Any, TypeAlias

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.dtypes import LARGEST_EXACT, MOST_DIGITS, as_instance, short_name, struct_fields
from ktframe.formats.errors import ConflictError
from ktframe.formats.json.inference import InferenceRules
from ktframe.formats.json.times import (
    checked_days,
    checked_units,
    days_of,
    is_zoneless,
    nanoseconds_of,
    units_of,
    whole_of,
)

Reader: TypeAlias = Callable[[Any], Any]
Make: TypeAlias = Callable[[pl.DataType, str], Reader]
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

_WIDER = (pl.Int64, pl.UInt64)
"""The types to name for an integer that its column can't hold, the better first."""

_SOME = "some of them"
"""The remedy for names that never settle."""

_DECIMAL_LIMIT = 10**38
"""From here on no ``pl.Decimal`` holds an integer."""

_FLOAT32_LIMIT = 2.0**128 - 2.0**103
"""From here on a number rounds to an infinite Float32."""

_DECIMAL_TEXT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,6})?", re.ASCII)

_KINDS: dict[type[pl.DataType], type] = {
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
def row_reader(columns: tuple[tuple[str, pl.DataType], ...], rules: InferenceRules) -> RowReader:
    """Return the reader of parsed records for these columns; absent fields stay absent.

    Its ConflictError is about the first value that does not fit, says what ``schema=`` can declare so that it does, and
    names the fields of all such values.
    """
    readers = {
        name: (reader_of if name in rules.fixed else _inferred_reader_of)(dtype, name)
        for name, dtype in columns
    }
    for name, dtype in columns:
        if isinstance(dtype, pl.Null) and (rules.are_all_exact or name in rules.exact - rules.fixed):
            readers[name] = _key_part_reader(name)

    readers |= {name: _reserved_reader(name) for name in rules.reserved}

    def read(record: Mapping[str, Any]) -> dict[str, Any]:
        row: dict[str, Any] = {}
        conflicts: dict[str, ConflictError] = {}
        for name, item in record.items():
            try:
                reader = readers.get(name) or _unknown(name, rules.most if rules.is_full else None)
                if item is not None:
                    row[name] = reader(item)
            except ConflictError as conflict:
                # Without its traceback: that leads to frames, these to this dictionary, and the batch would be garbage in a cycle.
                conflicts[name] = conflict.with_traceback(None)
        if not rules.reserved.isdisjoint(conflicts):
            conflicts = {name: conflicts[name] for name in conflicts if name in rules.reserved}
        if conflicts:
            name, first = next(iter(conflicts.items()))
            # No schema= is about record keys or headers, and no key or time is found in text.
            remedy = (
                ""
                if rules.are_all_exact or (name,) in rules.objects or name in rules.reserved
                else f"; schema= can declare {_remedy(name, first)}"
            )
            message = f"{first}{remedy}"
            raise ConflictError(message, tuple(conflicts))
        return row

    return read


def _remedy(name: str, conflict: ConflictError) -> str:
    if conflict.remedy == _SOME:
        return _SOME
    special = f"{conflict.remedy}, or for all values " if conflict.remedy else ""
    return f"{special}{name!r} as ktframe.Json"


def reader_of(dtype: pl.DataType, path: str) -> Reader:
    """Return the reader of a column type; SchemaError names the field if its type can't be read from JSON."""
    make = _READERS.get(type(dtype))
    if make is not None:
        return make(dtype, path)
    message = f"field {path!r} is declared {dtype}, which can't be read from JSON."
    raise SchemaError(
        message, "declare the type that is in the JSON, such as pl.String or pl.Int64, and cast later."
    )


def _inferred_reader_of(dtype: pl.DataType, path: str) -> Reader:
    """Return the reader of an inferred type: it takes only the kind of values that decided it.

    Unlike a declared one, a Decimal takes integers alone, and a Datetime text.
    """
    if isinstance(dtype, pl.Decimal):
        return _whole_number_reader(dtype, path)
    if isinstance(dtype, pl.Datetime):
        return _time_text_reader(dtype, path)
    if isinstance(dtype, pl.List):
        return _list_reader(dtype, path, _inferred_reader_of)
    if isinstance(dtype, pl.Struct):
        return _struct_reader(dtype, path, _inferred_reader_of)
    return reader_of(dtype, path)


def _conflict(path: str, dtype: pl.DataType, value: Any) -> ConflictError:
    return ConflictError(f"field {path!r}: wanted {short_name(dtype)}, found {_kind_name(value)}")


def _kind_name(value: Any) -> str:
    return _KIND_NAMES.get(type(value), "Struct")


def _null_reader(dtype: pl.DataType, path: str) -> Reader:
    def read(value: Any) -> Any:
        raise _conflict(path, dtype, value)

    return read


def _key_part_reader(path: str) -> Reader:
    """Return the reader of a part of the key of which no type was inferred."""

    def read(value: Any) -> Any:
        if type(value) is int:  # one that has no type: the others have given the column theirs
            raise _out_of_range(path, pl.Decimal(MOST_DIGITS, 0), value)
        message = f"field {path!r} is part of the key, which can't be {_kind_name(value)}"
        raise ConflictError(message)

    return read


def _reserved_reader(path: str) -> Reader:
    """Return the reader of a field that can be no column, because another one has its name."""

    def read(value: Any) -> Any:
        del value
        message = f"field {path!r} has the name of the column of a header"
        raise ConflictError(message)

    return read


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
            raise _out_of_range(path, dtype, value)
        return value

    return read


def _out_of_range(path: str, dtype: pl.DataType, value: int) -> ConflictError:
    # Those of a UInt64 may not fit where the negative ones do.
    wider = next((kind for kind in _WIDER if _is_within(value, kind) and dtype != pl.UInt64), None)
    digits = "pl.Decimal" if abs(value) < _DECIMAL_LIMIT else ""
    remedy = digits if wider is None else f"pl.{wider.__name__}"
    return ConflictError(f"field {path!r}: integer out of the range of {dtype}", remedy=remedy)


def _is_within(value: int, dtype: type[pl.DataType]) -> bool:
    low, high = _INTEGER_RANGES[dtype]
    return low <= value <= high


def _float_reader(dtype: pl.DataType, path: str) -> Reader:
    limit = _FLOAT32_LIMIT if isinstance(dtype, pl.Float32) else float("inf")

    def read(value: Any) -> float:
        if type(value) is int:
            if not -LARGEST_EXACT <= value <= LARGEST_EXACT:
                message = f"field {path!r}: integer beyond 2**53 in a column of {dtype}"
                raise ConflictError(message)
        elif type(value) not in {float, Decimal}:
            raise _conflict(path, dtype, value)
        number = float(value)
        # NaN and infinities are what was sent: a number that is too large was refused when it was parsed.
        if not (-limit < number < limit or (type(value) is float and not isfinite(value))):
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


def _whole_number_reader(dtype: pl.Decimal, path: str) -> Reader:
    """Return the reader of an inferred Decimal, which is a column of integers."""

    def read(value: Any) -> Decimal:
        if type(value) is not int:
            raise _conflict(path, dtype, value)
        if abs(value) >= _DECIMAL_LIMIT:
            raise _out_of_range(path, dtype, value)
        return Decimal(value)

    return read


def _time_text_reader(dtype: pl.Datetime, path: str) -> Reader:
    """Return the reader of an inferred Datetime, which is a column of text."""

    def read(value: Any) -> int:
        if type(value) is not str:
            raise _conflict(path, dtype, value)
        try:
            return units_of(value, dtype.time_unit, is_aware=True)
        except ValueError as error:
            message = f"field {path!r}: {_why_timeless(value, str(error))}"
            raise ConflictError(message, remedy="pl.String") from None

    return read


def _why_timeless(text: str, reason: str) -> str:
    # The advice of ``units_of`` is about a declared column.
    return "a time without an offset in a column of times in UTC" if is_zoneless(text) else reason


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

    def checked(number: float | Decimal) -> int:
        units = whole_of(number)
        return (
            checked_units(units, dtype.time_unit) if isinstance(dtype, pl.Datetime) else checked_days(units)
        )

    # A time of day is text: since when a number would count is not said.
    takes_numbers = isinstance(dtype, pl.Datetime | pl.Date)

    def read(value: Any) -> int:
        is_number = takes_numbers and type(value) in {int, float, Decimal}
        if type(value) is not str and not is_number:
            raise _conflict(path, dtype, value)
        try:
            return checked(value) if is_number else count(value)
        except ValueError as error:
            message = f"field {path!r}: {error}"
            raise ConflictError(message) from None

    return read


def _list_reader(dtype: pl.List, path: str, inner: Make = reader_of) -> Reader:
    read_item = inner(as_instance(dtype.inner), f"{path}[]")

    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise _conflict(path, dtype, value)
        return [None if item is None else read_item(item) for item in value]

    return read


def _struct_reader(dtype: pl.Struct, path: str, inner: Make = reader_of) -> Reader:
    prefix = f"{path}."
    readers = {name: inner(kind, prefix + name) for name, kind in struct_fields(dtype).items()}
    whole = pl.Struct([])

    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            if value == []:  # as PHP writes an object without fields
                return {}
            raise _conflict(path, whole, value)
        row = {}
        for name, item in value.items():
            reader = readers.get(name) or _unknown(prefix + name)
            if item is not None:
                row[name] = reader(item)
        return row

    return read


def _unknown(name: str, most: int | None = None) -> Reader:
    """Raise ConflictError for a field that no column is for; ``most`` is how many columns there may be, if that is why."""
    if most is not None:
        message = f"field {name!r} is one of too many names, of which the first {most:,} are columns"
        raise ConflictError(message, remedy=_SOME)
    message = f"field {name!r} is not in the schema"
    raise ConflictError(message, remedy="it")


_READERS: dict[type[pl.DataType], Callable[[Any, str], Reader]] = {
    pl.Null: _null_reader,
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
