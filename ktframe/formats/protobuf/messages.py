"""Reads message by message with Google's library.

It decides which bodies are refused and why, and what values they have; ``batches`` may only be faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NoReturn, TypeAlias

import polars as pl

from ktframe.formats.arrow import frame_of_records
from ktframe.formats.bodies import BodiesRead
from ktframe.formats.errors import RefusedError
from ktframe.formats.protobuf.imports import google, missing_fields
from ktframe.formats.protobuf.schemas import CompiledSchema
from ktframe.formats.protobuf.types import NANOS, STRING, Field, Kind

Show: TypeAlias = Callable[[Any], Any]
"""Converts a value of Google's library to the value from which Arrow builds the column."""

_INT64 = range(-(2**63), 2**63)
_ROWS_PER_CALL = 1_000  # pa.array holds the GIL


class MessageReader:
    """Reads bodies of one type of message one by one."""

    def __init__(self, schema: CompiledSchema, fields: tuple[Field, ...]) -> None:
        self._schema = schema
        self._dtypes = schema_of(fields)
        self._show = _message(fields, schema.pool)

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Return the rows of the bodies that can be read, in order, and why the others can't, by index."""
        rows: list[dict[str, Any]] = []
        refused: dict[int, str] = {}
        for index, body in enumerate(bodies):
            try:
                rows.append(self._show(self._parsed(body)))
            except RefusedError as error:
                refused[index] = str(error)
            except (ValueError, TypeError, ArithmeticError, RecursionError) as error:  # no such case is known
                refused[index] = f"not a message of type {self._schema.name}: {error}"
        return BodiesRead(frame_of_records(rows, self._dtypes), refused)

    def malformed(self, bodies: Sequence[bytes]) -> dict[int, str]:
        """Return which bodies can't be parsed, and why, by index; values are not looked at."""
        reasons: dict[int, str] = {}
        for index, body in enumerate(bodies):
            try:
                self._parsed(body)
            except RefusedError as error:
                reasons[index] = str(error)
        return reasons

    def _parsed(self, body: bytes) -> Any:
        name = self._schema.name
        try:
            message = self._schema.message.FromString(body)
        except google("message").DecodeError as error:
            detail = _REASONS.get(str(error).rpartition(": ")[2], "truncated or corrupt")
            reason = f"not a message of type {name}: {detail}"
            raise RefusedError(reason) from None
        if not message.IsInitialized():
            missing = ", ".join(missing_fields(message))
            reason = f"not a message of type {name}: required and missing: {missing}"
            raise RefusedError(reason)
        return message


_REASONS: Final = {
    "String field had bad UTF-8": "a string that is not UTF-8",
    "Exceeded upb_DecodeOptions_MaxDepth": "nested deeper than 100 levels",
}


def json_text(message: Any, pool: Any) -> str:
    """Return a message as JSON text, with the field names of the schema.

    Raises
    ------
    RefusedError
        When JSON can't hold a value of the message.
    """
    json_format = google("json_format")
    try:
        text = json_format.MessageToJson(
            message,
            indent=None,
            preserving_proto_field_name=True,
            sort_keys=True,
            ensure_ascii=False,
            descriptor_pool=pool,
        )
    except (json_format.Error, ValueError, TypeError, ArithmeticError, LookupError, RecursionError) as error:
        reason = f"{message.DESCRIPTOR.full_name} that can't be shown as JSON: {error}"
        raise RefusedError(reason) from None
    return str(text)


def schema_of(fields: tuple[Field, ...]) -> pl.Schema:
    """Return the columns of ``fields``."""
    return pl.Schema({field.name: field.dtype for field in fields})


def _message(fields: tuple[Field, ...], pool: Any) -> Show:
    shown = [(field.name, _field(field, pool)) for field in fields]
    return lambda message: {name: show(message) for name, show in shown}


def _field(field: Field, pool: Any) -> Show:
    name, default = field.name, field.default
    show = _item(field, pool)
    get: Show = attrgetter(name)
    if field.is_map:
        key, value = field.fields
        show_key, show_value = _item(key, pool), _item(value, pool)
        return lambda message: _entries(get(message), show_key, show_value)
    if field.is_repeated:
        return lambda message: [show(item) for item in get(message)]
    if field.has_presence:
        return lambda message: show(get(message)) if message.HasField(name) else default
    return lambda message: show(get(message))


def _entries(entries: Mapping[Any, Any], show_key: Show, show_value: Show) -> list[dict[str, Any]]:
    """Return a map's entries sorted by key: maps have no order, and equal maps should look equal."""
    keys = sorted((show_key(key), key) for key in entries)
    return [{"key": shown, "value": show_value(entries[key])} for shown, key in keys]


def _item(field: Field, pool: Any) -> Show:
    if field.kind is Kind.STRUCT:
        return _message(field.fields, pool)
    if field.kind is Kind.JSON:
        return lambda message: json_text(message, pool)
    return _SHOWN[field.kind](field)


def _enum(field: Field) -> Show:
    names = field.names
    return lambda number: names.get(number) or str(number)


def _wrapper(field: Field) -> Show:
    show = _scalar(field)
    return lambda message: show(message.value)


def _field_mask(field: Field) -> Show:
    return lambda message: ",".join(_text(path, field) for path in message.paths)


def _scalar(field: Field) -> Show:
    if field.encoding == STRING:
        return lambda value: _text(value, field)
    return lambda value: value


def _text(value: Any, field: Field) -> str:
    # Google's library gives bytes for a string of proto2 that is not UTF-8.
    if not isinstance(value, str):
        reason = f"invalid UTF-8 in field {field.name!r}"
        raise RefusedError(reason)
    return value


def _timestamp(field: Field) -> Show:
    def show(message: Any) -> int:
        if not 0 <= message.nanos < NANOS:
            _refuse(field, message, "are not a Timestamp")
        return _nanoseconds(field, message)

    return show


def _duration(field: Field) -> Show:
    def show(message: Any) -> int:
        seconds, nanos = message.seconds, message.nanos
        if not -NANOS < nanos < NANOS or seconds > 0 > nanos or seconds < 0 < nanos:
            _refuse(field, message, "are not a Duration")
        return _nanoseconds(field, message)

    return show


def _nanoseconds(field: Field, message: Any) -> int:
    total: int = message.seconds * NANOS + message.nanos
    if total not in _INT64:
        _refuse(field, message, "are more nanoseconds than 64 bits hold")
    return total


def _refuse(field: Field, message: Any, why: str) -> NoReturn:
    reason = f"{field.name}: {message.seconds} seconds and {message.nanos} nanoseconds {why}"
    raise RefusedError(reason)


_SHOWN: Final[Mapping[Kind, Callable[[Field], Show]]] = {
    Kind.SCALAR: _scalar,
    Kind.ENUM: _enum,
    Kind.WRAPPER: _wrapper,
    Kind.FIELD_MASK: _field_mask,
    Kind.TIMESTAMP: _timestamp,
    Kind.DURATION: _duration,
}
