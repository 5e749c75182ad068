"""Decodes records that contain themselves to JSON text, because no column can be endlessly deep.

The text is Avro's JSON encoding except for unions: bytes are text of characters below 256, and logical types are shown
as stored. A union of several types is an object with one field, named as in columns (Avro would use the full name); a
union of null and one type is the plain value. ``json_text`` reads this text back.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any

from ktframe.formats.avro.binary import read_block, read_boolean, read_bytes, read_int, read_long, read_text
from ktframe.formats.avro.bounds import CellBudget, item_size
from ktframe.formats.avro.types import DEEPEST, AvroSchema, AvroType
from ktframe.formats.compact_json import compact_json
from ktframe.formats.errors import RefusedError

_READ: dict[str, Callable[[bytes, int], tuple[Any, int]]] = {
    "boolean": read_boolean,
    "int": read_int,
    "long": read_long,
    "string": read_text,
}


def reference_text(
    avro: AvroType, schema: AvroSchema, body: bytes, at: int, budget: CellBudget
) -> tuple[str, int]:
    """Return the JSON text of the record at ``at`` and the position after it; lists are charged to ``budget``."""
    value, at = _Json(schema, body, budget).read(avro, at, 1)
    return compact_json(value), at


class _Json:
    """Reads values of one body as JSON values."""

    def __init__(self, schema: AvroSchema, body: bytes, budget: CellBudget) -> None:
        self._schema = schema
        self._body = body
        self._budget = budget

    def read(self, avro: AvroType, at: int, level: int) -> tuple[Any, int]:
        if level > DEEPEST:
            message = f"nested deeper than {DEEPEST} levels"
            raise RefusedError(message)
        kind = avro.kind
        if kind in _READ:
            return _READ[kind](self._body, at)
        if kind in {"array", "map"}:
            return self._read_list(avro, at, level)
        if kind == "record":
            record = {}
            for field in avro.fields:
                record[field.name], at = self.read(field.type, at, level + 1)
            return record, at
        if kind == "reference":
            return self.read(self._schema.records[avro.name], at, level)
        if kind == "union":
            return self._read_union(avro, at, level)
        return self._read_leaf(avro, at)

    def _read_leaf(self, avro: AvroType, at: int) -> tuple[Any, int]:
        if avro.kind == "null":
            return None, at
        if avro.kind == "bytes":
            raw, at = read_bytes(self._body, at)
            return raw.decode("latin-1"), at
        if avro.kind == "enum":
            index, at = read_int(self._body, at)
            if not 0 <= index < len(avro.symbols):
                message = f"not a value of enum {avro.short_name}"
                raise RefusedError(message)
            return avro.symbols[index], at
        end = at + avro.smallest
        if end > len(self._body):
            raise IndexError
        raw = self._body[at:end]
        if avro.kind == "fixed":
            return raw.decode("latin-1"), end
        value = struct.unpack("<f" if avro.kind == "float" else "<d", raw)[0]
        return _json_number(value), end

    def _read_list(self, avro: AvroType, at: int, level: int) -> tuple[Any, int]:
        is_map = avro.kind == "map"
        items: list[Any] = []
        smallest, width = item_size(avro)
        entries: dict[str, Any] = {}
        while True:
            count, at = read_block(self._body, at)
            if count == 0:
                return (entries if is_map else items), at
            self._budget.spend(count, smallest, width, len(self._body) - at)
            for _ in range(count):
                key = ""
                if is_map:
                    key, at = read_text(self._body, at)
                value, at = self.read(avro.inner[0], at, level + 1)
                if key in entries:
                    message = f"a map with the key {key!r} twice"
                    raise RefusedError(message)
                if is_map:
                    entries[key] = value
                else:
                    items.append(value)

    def _read_union(self, avro: AvroType, at: int, level: int) -> tuple[Any, int]:
        index, at = read_long(self._body, at)
        if index == avro.null_index:
            return None, at
        if not 0 <= index < len(avro.inner):
            message = f"no branch {index} in a union"
            raise RefusedError(message)
        value, at = self.read(avro.inner[index], at, level)
        return ({avro.labels[index]: value} if len(avro.value_branches) > 1 else value), at


def _json_number(value: float) -> float | str:
    """Return a float as a JSON value: NaN and the infinities, which JSON lacks, as text."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value
