"""The strict decoder: one body to the Python value from which Arrow builds a column, or the reason why it is invalid.

It decides what a body means; reading whole batches (``batches``) may only be faster. It is strict where libraries are
lenient: a number has at most ten bytes, a boolean is 0 or 1, an index is in range, text is UTF-8, and no byte is left.
A small body can't claim much memory: see ``bounds``.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from typing import Any, TypeAlias

from ktframe.formats.avro.binary import read_block, read_boolean, read_bytes, read_int, read_long, read_text
from ktframe.formats.avro.bounds import CellBudget, item_size
from ktframe.formats.avro.recursive import reference_text
from ktframe.formats.avro.types import (
    DAY_NS,
    KEY,
    LARGEST_PRECISION,
    TIME_UNIT_NS,
    VALUE,
    AvroSchema,
    AvroType,
)
from ktframe.formats.errors import RefusedError

Reader: TypeAlias = Callable[[bytes, int], tuple[Any, int]]
"""Reads the value at a position and returns it with the position after it."""

_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")
_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_EXACT = Context(prec=2_000)


class Decoder:
    """Decodes bodies of one schema, one at a time. Not to be shared by threads."""

    def __init__(self, schema: AvroSchema) -> None:
        self._schema = schema
        self._budget = CellBudget()
        self._read = self._reader(schema.root)

    def decode(self, body: bytes) -> Any:
        """Return the value of ``body``.

        Raises
        ------
        RefusedError
            When it is not a value of the schema, saying why.
        """
        self._budget.reset(body)
        try:
            value, end = self._read(body, 0)
        except (IndexError, struct.error):
            message = "truncated"
            raise RefusedError(message) from None
        if end < len(body):
            rest = len(body) - end
            message = f"{rest} byte{'s' if rest > 1 else ''} too many"
            raise RefusedError(message)
        return value

    def _reader(self, avro: AvroType) -> Reader:  # noqa: PLR0911 - one for each kind
        if avro.logical == "decimal":
            return _decimal_reader(avro)
        if avro.logical:
            return _logical_reader(avro)
        if avro.kind in _PLAIN:
            return _PLAIN[avro.kind]
        if avro.kind == "fixed":
            return _fixed_reader(avro.size)
        if avro.kind == "enum":
            return _enum_reader(avro)
        if avro.kind == "record":
            return _record_reader([(field.name, self._reader(field.type)) for field in avro.fields])
        if avro.kind == "array":
            return self._list_reader(self._reader(avro.inner[0]), *item_size(avro))
        if avro.kind == "map":
            entry = _record_reader([(KEY, read_text), (VALUE, self._reader(avro.inner[0]))])
            return self._list_reader(entry, *item_size(avro))
        if avro.kind == "union":
            return self._union_reader(avro)
        return self._reference_reader(avro.name)

    def _list_reader(self, read: Reader, smallest: int, width: int) -> Reader:
        take = self._budget.spend

        def read_list(body: bytes, at: int) -> tuple[Any, int]:
            items: list[Any] = []
            while True:
                count, at = read_block(body, at)
                if count == 0:
                    return items, at
                take(count, smallest, width, len(body) - at)
                for _ in range(count):
                    item, at = read(body, at)
                    items.append(item)

        return read_list

    def _union_reader(self, avro: AvroType) -> Reader:
        null = avro.null_index
        readers = {index: self._reader(branch) for index, branch in avro.value_branches}
        has_labels = len(readers) > 1

        def read_union(body: bytes, at: int) -> tuple[Any, int]:
            index, at = read_long(body, at)
            if index == null:
                return None, at
            read = readers.get(index)
            if read is None:
                message = f"no branch {index} in a union"
                raise RefusedError(message)
            value, at = read(body, at)
            return ({avro.labels[index]: value} if has_labels else value), at

        return read_union

    def _reference_reader(self, name: str) -> Reader:
        schema, budget = self._schema, self._budget
        return lambda body, at: reference_text(schema.records[name], schema, body, at, budget)


def canonical_uuid(text: str) -> str:
    """Return a UUID in lower case with hyphens; RefusedError for any other text."""
    if not _UUID.fullmatch(text):
        message = "not a UUID"
        raise RefusedError(message)
    return text.lower()


def uuid_text(raw: bytes) -> str:
    """Return a UUID of 16 bytes as text."""
    text = raw.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def decimal_value(raw: bytes, avro: AvroType) -> Decimal | str:
    """Return the decimal with the unscaled value ``raw``, as exact text if it is too wide for a decimal column."""
    unscaled = int.from_bytes(raw, "big", signed=True)
    # The cheap check first: the unscaled value may be a megabyte long.
    if unscaled.bit_length() > 4 * avro.precision or abs(unscaled) >= 10**avro.precision:
        message = f"a decimal of more than {avro.precision} digits"
        raise RefusedError(message)
    value = Decimal(unscaled).scaleb(-avro.scale, _EXACT)
    return value if avro.precision <= LARGEST_PRECISION else f"{value:f}"


def _read_null(_: bytes, at: int) -> tuple[Any, int]:
    return None, at


def _read_float(body: bytes, at: int) -> tuple[Any, int]:
    return _FLOAT.unpack_from(body, at)[0], at + 4


def _read_double(body: bytes, at: int) -> tuple[Any, int]:
    return _DOUBLE.unpack_from(body, at)[0], at + 8


_PLAIN: dict[str, Reader] = {
    "null": _read_null,
    "boolean": read_boolean,
    "int": read_int,
    "long": read_long,
    "float": _read_float,
    "double": _read_double,
    "bytes": read_bytes,
    "string": read_text,
}


def _fixed_reader(size: int) -> Reader:
    def read_fixed(body: bytes, at: int) -> tuple[Any, int]:
        end = at + size
        if end > len(body):
            raise IndexError
        return body[at:end], end

    return read_fixed


def _enum_reader(avro: AvroType) -> Reader:
    symbols = avro.symbols

    def read_enum(body: bytes, at: int) -> tuple[Any, int]:
        index, at = read_int(body, at)
        if not 0 <= index < len(symbols):
            message = f"not a value of enum {avro.short_name}"
            raise RefusedError(message)
        return symbols[index], at

    return read_enum


def _record_reader(fields: Sequence[tuple[str, Reader]]) -> Reader:
    def read_record(body: bytes, at: int) -> tuple[Any, int]:
        record = {}
        for name, read in fields:
            record[name], at = read(body, at)
        return record, at

    return read_record


def _decimal_reader(avro: AvroType) -> Reader:
    read = read_bytes if avro.kind == "bytes" else _fixed_reader(avro.size)

    def read_decimal(body: bytes, at: int) -> tuple[Any, int]:
        raw, at = read(body, at)
        return decimal_value(raw, avro), at

    return read_decimal


def _logical_reader(avro: AvroType) -> Reader:
    if avro.logical == "uuid":
        return _uuid_reader(avro)
    if avro.logical in TIME_UNIT_NS:
        return _time_reader(read_int if avro.kind == "int" else read_long, TIME_UNIT_NS[avro.logical])
    return _PLAIN[avro.kind]


def _uuid_reader(avro: AvroType) -> Reader:
    read_raw = _fixed_reader(avro.size)

    def read_string(body: bytes, at: int) -> tuple[Any, int]:
        text, at = read_text(body, at)
        return canonical_uuid(text), at

    def read_fixed(body: bytes, at: int) -> tuple[Any, int]:
        raw, at = read_raw(body, at)
        return uuid_text(raw), at

    return read_fixed if avro.kind == "fixed" else read_string


def _time_reader(read: Callable[[bytes, int], tuple[int, int]], unit_ns: int) -> Reader:
    def read_time(body: bytes, at: int) -> tuple[Any, int]:
        value, at = read(body, at)
        if not 0 <= value * unit_ns < DAY_NS:
            message = "a time of day beyond 24 hours"
            raise RefusedError(message)
        return value * unit_ns, at

    return read_time
