"""Reads JSON in Avro's encoding into the values that ``encode`` takes: defaults of fields, and text of ``recursive``."""

from __future__ import annotations

import json
from typing import Any

from ktframe.formats.avro.decode import canonical_uuid, decimal_value, uuid_text
from ktframe.formats.avro.types import (
    DAY_NS,
    DEEPEST,
    KEY,
    TIME_UNIT_NS,
    VALUE,
    AvroSchema,
    AvroType,
    shortened,
)
from ktframe.formats.bodies import NO_DEFAULT
from ktframe.formats.compact_json import compact_json
from ktframe.formats.errors import RefusedError

_BITS = {"int": 31, "long": 63}

_MOST_DEFAULTS = 20_000
"""How many values a default may have, with those of the defaults inside it: they may multiply without end."""

_FLOATS_AS_TEXT = ("NaN", "Infinity", "-Infinity")


def from_default(avro: AvroType, value: Any, schema: AvroSchema) -> Any:
    """Return the value of a default in a schema; in a union it is of the first branch that it fits."""
    return _DefaultReader(schema).read(avro, value, 0)


def from_text(avro: AvroType, text: str, schema: AvroSchema) -> Any:
    """Return the record that a reference's JSON text stands for.

    Raises
    ------
    RefusedError
        When the text is not such a record.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        message = "text that is not JSON"
        raise RefusedError(message) from None
    return _TextReader(schema).read(schema.records[avro.name], value, 1)


class _TooLargeError(RefusedError):
    """The value is too deep or too large, whichever branch of a union it is tried for."""


class _TextReader:
    """Reads the text of references, whose unions name their branches."""

    def __init__(self, schema: AvroSchema) -> None:
        self._schema = schema

    def read(self, avro: AvroType, value: Any, level: int) -> Any:
        if level > DEEPEST:
            message = f"nested deeper than {DEEPEST} levels"
            raise _TooLargeError(message)
        if avro.kind == "union":
            return self._union(avro, value, level)
        if avro.kind == "record" and isinstance(value, dict):
            return self._record(avro, value, level)
        if avro.kind == "array" and isinstance(value, list):
            return [self.read(avro.inner[0], item, level + 1) for item in value]
        if avro.kind == "map" and isinstance(value, dict):
            inner = avro.inner[0]
            return [
                {KEY: _leaf(AvroType("string"), key), VALUE: self.read(inner, item, level + 1)}
                for key, item in value.items()
            ]
        if avro.kind == "reference":
            return self._reference(self._schema.records[avro.name], value, level)
        return _leaf(avro, value)

    def _reference(self, record: AvroType, value: Any, level: int) -> str:
        self.read(record, value, level)
        return compact_json(value)

    def _record(self, avro: AvroType, value: dict[str, Any], level: int) -> dict[str, Any]:
        unknown = value.keys() - {field.name for field in avro.fields}
        missing = [
            field.name for field in avro.fields if field.default is NO_DEFAULT and field.name not in value
        ]
        if unknown or missing:
            message = f"a {avro.short_name} {'with' if unknown else 'without'} {min(unknown or missing)!r}"
            raise RefusedError(message)
        return {
            field.name: self.read(field.type, value[field.name], level + 1)
            if field.name in value
            else self._defaults().read(field.type, field.default, level + 1)
            for field in avro.fields
        }

    def _defaults(self) -> _DefaultReader:
        return _DefaultReader(self._schema)

    def _union(self, avro: AvroType, value: Any, level: int) -> Any:
        if value is None and avro.null_index is not None:
            return None
        branches = {avro.labels[index]: branch for index, branch in avro.value_branches}
        if len(branches) == 1:
            return self.read(next(iter(branches.values())), value, level)
        if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= branches.keys():
            message = f"not one of {', '.join(branches) or 'null'} with its name"
            raise RefusedError(message)
        return {name: self.read(branches[name], item, level) for name, item in value.items()}


class _DefaultReader(_TextReader):
    """Reads the defaults of fields, whose unions do not name their branches."""

    def __init__(self, schema: AvroSchema) -> None:
        super().__init__(schema)
        self._left = _MOST_DEFAULTS

    def read(self, avro: AvroType, value: Any, level: int) -> Any:
        self._left -= 1
        if self._left < 0:
            message = f"more than {_MOST_DEFAULTS:,} values"
            raise _TooLargeError(message)
        return super().read(avro, value, level)

    def _defaults(self) -> _DefaultReader:
        return self

    def _union(self, avro: AvroType, value: Any, level: int) -> Any:
        if value is None and avro.null_index is not None:
            return None
        label, read = self._first(avro, value, level)
        return {label: read} if len(avro.value_branches) > 1 else read

    def _first(self, avro: AvroType, value: Any, level: int) -> tuple[str, Any]:
        for index, branch in avro.value_branches:
            try:
                return avro.labels[index], self.read(branch, value, level)
            except _TooLargeError:
                raise
            except RefusedError:
                continue
        message = f"{shortened(value)} is in no branch of its union"
        raise RefusedError(message)

    def _reference(self, record: AvroType, value: Any, level: int) -> str:
        self.read(record, value, level)
        return compact_json(self._named(record, value, level))

    def _named(self, avro: AvroType, value: Any, level: int) -> Any:
        """Return a default in the form of a reference's text: with every field, and every branch named."""
        if avro.kind == "union" and not (value is None and avro.null_index is not None):
            label, _ = self._first(avro, value, level)
            named = self._named(avro.inner[avro.labels.index(label)], value, level)
            return {label: named} if len(avro.value_branches) > 1 else named
        if avro.kind == "record":
            fields = {field.name: (field.type, value.get(field.name, field.default)) for field in avro.fields}
            return {name: self._named(inner, item, level + 1) for name, (inner, item) in fields.items()}
        if avro.kind == "reference":
            return self._named(self._schema.records[avro.name], value, level)
        if avro.kind == "array":
            return [self._named(avro.inner[0], item, level + 1) for item in value]
        if avro.kind == "map":
            return {key: self._named(avro.inner[0], item, level + 1) for key, item in value.items()}
        return value


def _leaf(avro: AvroType, value: Any) -> Any:
    read = None
    if avro.kind in {"boolean", "null"}:
        read = value if value is None or isinstance(value, bool) else NO_DEFAULT
        is_right = (avro.kind == "null") == (read is None)
        read = read if is_right else NO_DEFAULT
    elif avro.kind in _BITS:
        read = _integer(avro, value)
    elif avro.kind in {"float", "double"}:
        read = _float(value)
    elif isinstance(value, str):
        read = _text(avro, value)
    else:
        read = NO_DEFAULT
    if read is NO_DEFAULT:
        message = f"{shortened(value)} is not of type {avro.short_name or avro.kind}"
        raise RefusedError(message)
    return read


def _float(value: Any) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    try:
        return float(value) if is_number or value in _FLOATS_AS_TEXT else NO_DEFAULT
    except OverflowError:
        return NO_DEFAULT


def _integer(avro: AvroType, value: Any) -> Any:
    if not isinstance(value, int) or isinstance(value, bool):
        return NO_DEFAULT
    end = 2 ** _BITS[avro.kind]
    if avro.logical in TIME_UNIT_NS:
        value *= TIME_UNIT_NS[avro.logical]
        return value if 0 <= value < DAY_NS else NO_DEFAULT
    return value if -end <= value < end else NO_DEFAULT


def _text(avro: AvroType, value: str) -> Any:
    if avro.kind == "enum":
        return value if value in avro.symbols else NO_DEFAULT
    if avro.kind == "string":
        return canonical_uuid(value) if avro.logical == "uuid" else _encodable(value)
    if avro.kind not in {"bytes", "fixed"} or any(ord(character) > 0xFF for character in value):  # noqa: PLR2004
        return NO_DEFAULT
    raw = value.encode("latin-1")
    if avro.kind == "fixed" and len(raw) != avro.size:
        return NO_DEFAULT
    if avro.logical == "decimal":
        return decimal_value(raw, avro)
    return uuid_text(raw) if avro.logical == "uuid" else raw


def _encodable(value: str) -> Any:
    """Return text that has a UTF-8 form; NO_DEFAULT for lone surrogates, which JSON can escape."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return NO_DEFAULT
    return value
