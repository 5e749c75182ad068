"""Writes rows as Protobuf messages, a field for each column of that name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.dtypes import as_instance
from ktframe.formats.errors import RefusedError
from ktframe.formats.protobuf.imports import google, missing_fields
from ktframe.formats.protobuf.schemas import compiled
from ktframe.formats.protobuf.types import STRING, Field, Kind, fields_of
from ktframe.formats.protobuf.values import enum_number, physical, scalar, seconds_and_nanos

_ROWS_PER_CALL = 1_000

Put: TypeAlias = Callable[[Any, Any], None]
"""Puts a value that is not null into a message: into one field, or as the whole message."""


class ProtobufWriter:
    """Writes rows as messages of one type; parameters and errors as of ``ProtobufReader``."""

    def __init__(self, document: SchemaDocument, indexes: tuple[int, ...]) -> None:
        self._schema = compiled(document, indexes)
        self._fields = {field.name: field for field in fields_of(self._schema.message.DESCRIPTOR)}

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the body of each row; a field is not set where its column has null.

        Raises
        ------
        SchemaError
            When a row does not fit the schema, naming the column and the row; nothing is written then.
        """
        puts = {name: self._put(name, as_instance(dtype)) for name, dtype in rows.schema.items()}
        oneofs = _oneofs(tuple(self._fields[name] for name in puts))
        bodies: list[bytes] = []
        for start in range(0, rows.height, _ROWS_PER_CALL):
            some = rows.slice(start, _ROWS_PER_CALL)
            columns = {
                series.name: series.cast(physical(series.dtype)).to_list() for series in some.iter_columns()
            }
            for at in range(some.height):
                row = {name: values[at] for name, values in columns.items()}
                bodies.append(self._body(row, puts, oneofs, start + at))
        return bodies

    def _put(self, name: str, dtype: pl.DataType) -> Put:
        if name not in self._fields:
            message = f"{self._schema.name} has no field for column {name!r}."
            raise SchemaError(message)
        try:
            return _field(self._fields[name], dtype, self._schema.pool)
        except RefusedError as error:
            message = f"column {name!r}: {error}."
            raise SchemaError(message) from None

    def _body(
        self, row: Mapping[str, Any], puts: Mapping[str, Put], oneofs: list[list[str]], number: int
    ) -> bytes:
        message = self._schema.message()
        name = ""
        try:
            for name, value in row.items():
                if value is not None:
                    puts[name](message, value)
            name = ""
            _check_oneofs(row, oneofs)
            if not message.IsInitialized():
                _refuse("", number, f"required and missing: {', '.join(missing_fields(message))}")
            return bytes(message.SerializePartialToString(deterministic=True))
        except RefusedError as error:
            _refuse(name, number, str(error))
        except (ValueError, TypeError) as error:  # an error that only Google's library finds
            _refuse(name, number, str(error))


def _refuse(column: str, row: int, reason: str) -> NoReturn:
    where = f"column {column!r}, row {row}" if column else f"row {row}"
    message = f"{where}: {reason}."
    raise SchemaError(message) from None


def _oneofs(fields: tuple[Field, ...]) -> list[list[str]]:
    """Return the names of the fields that share a oneof, for each oneof with several."""
    oneofs: dict[str, list[str]] = {}
    for field in fields:
        oneof = field.descriptor.containing_oneof
        if oneof is not None:
            oneofs.setdefault(oneof.full_name, []).append(field.name)
    return [names for names in oneofs.values() if len(names) > 1]


def _check_oneofs(row: Mapping[str, Any], oneofs: list[list[str]]) -> None:
    for names in oneofs:
        present = [name for name in names if row[name] is not None]
        if len(present) > 1:
            message = f"{' and '.join(map(repr, present))} are set, but a oneof has one field at most"
            raise RefusedError(message)


def _field(field: Field, dtype: pl.DataType, pool: Any) -> Put:
    """Return the function that puts a value of a column of ``dtype`` into ``field`` of a message."""
    name = field.name
    if dtype == pl.Null:
        return lambda _message, _value: None
    if field.is_map:
        return _map(field, _list_of(field, dtype), pool)
    if field.is_repeated:
        return _repeated(field, _list_of(field, dtype), pool)
    if field.descriptor.message_type is None:
        convert = enum_number(field) if field.kind is Kind.ENUM else scalar(field.encoding)
        return lambda message, value: setattr(message, name, convert(value))
    put = _message(field, dtype, pool)

    def put_message(message: Any, value: Any) -> None:
        inner = getattr(message, name)
        inner.SetInParent()
        put(inner, value)

    return put_message


def _list_of(field: Field, dtype: pl.DataType) -> pl.DataType:
    if not isinstance(dtype, pl.List):
        message = f"{dtype}, but a List is needed" + (" for a map" if field.is_map else "")
        raise RefusedError(message)
    return as_instance(dtype.inner)


def _repeated(field: Field, dtype: pl.DataType, pool: Any) -> Put:
    name = field.name
    if field.descriptor.message_type is None:
        convert = enum_number(field) if field.kind is Kind.ENUM else scalar(field.encoding)
        return lambda message, value: getattr(message, name).extend(
            [convert(_not_null(item)) for item in value]
        )
    put = _message(field, dtype, pool)

    def put_messages(message: Any, value: Any) -> None:
        items = getattr(message, name)
        for item in value:
            put(items.add(), _not_null(item))

    return put_messages


def _map(field: Field, dtype: pl.DataType, pool: Any) -> Put:
    name = field.name
    key_field, value_field = field.fields
    # A column of maps that are all empty has entries of type Null.
    dtypes = {} if dtype == pl.Null else _inner_dtypes(field, dtype)
    key = scalar(key_field.encoding)
    is_message = value_field.descriptor.message_type is not None
    if is_message:
        put = _message(value_field, dtypes.get("value", pl.Null()), pool)
    elif value_field.kind is Kind.ENUM:
        convert = enum_number(value_field)
    else:
        convert = scalar(value_field.encoding)

    def put_entries(message: Any, value: Any) -> None:
        entries = getattr(message, name)
        for entry in map(_not_null, value):
            entry_key = key(_not_null(entry.get("key")))
            if entry_key in entries:
                reason = f"the key {entry_key!r} twice in one map"
                raise RefusedError(reason)
            if is_message:
                put(entries[entry_key], _not_null(entry.get("value")))
            else:
                entries[entry_key] = convert(_not_null(entry.get("value")))

    return put_entries


def _not_null(value: Any) -> Any:
    if value is None:
        message = "null in a list or map, which Protobuf can't hold"
        raise RefusedError(message)
    return value


def _message(field: Field, dtype: pl.DataType, pool: Any) -> Put:
    """Return the function that fills a message of the type of ``field`` with a value."""
    if dtype == pl.Null:
        return lambda _message, _value: None
    if field.kind in {Kind.TIMESTAMP, Kind.DURATION}:
        return _times(field, dtype)
    if field.kind is Kind.STRUCT:
        return _struct(field, dtype, pool)
    if field.kind is Kind.WRAPPER:
        convert = scalar(field.encoding)
        return lambda message, value: setattr(message, "value", convert(value))
    text = scalar(STRING)
    if field.kind is Kind.FIELD_MASK:
        return lambda message, value: message.paths.extend(text(value).split(",") if value else [])
    return lambda message, value: _put_json(message, text(value), pool)


def _times(field: Field, dtype: pl.DataType) -> Put:
    split = seconds_and_nanos(field, dtype)

    def put(message: Any, value: Any) -> None:
        message.seconds, message.nanos = split(value)

    return put


def _struct(field: Field, dtype: pl.DataType, pool: Any) -> Put:
    fields = {inner.name: inner for inner in field.fields}
    puts = {name: _field(fields[name], inner, pool) for name, inner in _inner_dtypes(field, dtype).items()}
    oneofs = _oneofs(tuple(fields[name] for name in puts))

    def put(message: Any, value: Any) -> None:
        for name, inner_value in value.items():
            if inner_value is not None:
                puts[name](message, inner_value)
        _check_oneofs(value, oneofs)

    return put


def _inner_dtypes(field: Field, dtype: pl.DataType) -> dict[str, pl.DataType]:
    if not isinstance(dtype, pl.Struct):
        message = f"{dtype}, but a Struct is needed"
        raise RefusedError(message)
    known = {inner.name for inner in field.fields}
    for inner in dtype.fields:
        if inner.name not in known:
            message = f"{field.descriptor.message_type.full_name} has no field {inner.name!r}"
            raise RefusedError(message)
    return {inner.name: as_instance(inner.dtype) for inner in dtype.fields}


def _put_json(message: Any, text: str, pool: Any) -> None:
    json_format = google("json_format")
    try:
        json_format.Parse(text, message, descriptor_pool=pool)
    except (json_format.ParseError, RecursionError) as error:
        reason = f"not the JSON text of a {message.DESCRIPTOR.full_name}: {error}"
        raise RefusedError(reason) from None
