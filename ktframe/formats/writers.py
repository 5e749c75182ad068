"""From rows to payloads: the other direction of each format. Nothing is cast or rounded on the way.

A schema in a registry says what may be written; JSON and plain values are what the rows are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final, Protocol

import orjson
import polars as pl

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.avro import AvroWriter
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.bodies import BodyWriter, SchemaDocument
from ktframe.formats.body_readers import FORMAT_NAMES, JSON, KINDS_OF, PROTOBUF, WriterSchema
from ktframe.formats.json.validation import validator_of
from ktframe.formats.protobuf import ProtobufWriter
from ktframe.formats.windowed_keys import with_times
from ktframe.formats.wire import FIRST_MESSAGE, describe_ref, parse_indexes, schema_id_of

_INTEGERS: Final[Mapping[str, tuple[pl.DataType, int]]] = {"int": (pl.Int32(), 4), "long": (pl.Int64(), 8)}
_TEXTS: Final[Mapping[str, pl.DataType]] = {"string": pl.String(), "bytes": pl.Binary()}
_JSON: Final = "json"
_PLAIN: Final = frozenset({*_TEXTS, *_INTEGERS})
_FORMATS: Final = frozenset({*_PLAIN, *KINDS_OF})


class PayloadWriter(Protocol):
    """Writes rows as payloads, each with what names its schema, if one does."""

    @property
    def header(self) -> bytes | None:
        """What a header of each record must say of the schema; None where the payload says it, or nothing does."""

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row.

        Raises
        ------
        SchemaError
            When a row does not fit, naming the column and the row.
        """


class SchemaWriter:
    """Writes under one schema of a registry; ``writer_schema`` names it, and the message of it."""

    def __init__(self, writer_schema: WriterSchema, document: SchemaDocument) -> None:
        self.name = f"{FORMAT_NAMES.get(document.kind, document.kind)} ({describe_ref(writer_schema.ref)})"
        mark = writer_schema.ref + writer_schema.message
        is_in_payload = schema_id_of(writer_schema.ref) is not None
        self._prefix = mark if is_in_payload else b""
        self.header = None if is_in_payload else mark
        self._body = _body_writer(writer_schema, document)

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError names the column and the row that don't fit."""
        return [self._prefix + body for body in self._body.write(rows)]


def _body_writer(writer_schema: WriterSchema, document: SchemaDocument) -> BodyWriter:
    if document.kind == JSON:
        return JsonWriter(validator_of(document))
    if document.kind == PROTOBUF:
        return ProtobufWriter(document, parse_indexes(writer_schema.message or FIRST_MESSAGE)[0])
    return AvroWriter(document)


class JsonWriter:
    """Writes each row as a JSON object of its columns, nulls included; decimals digit by digit, times in ISO 8601.

    ``check`` says of an object what is wrong with it, None when nothing is.
    """

    header: None = None

    def __init__(self, check: Callable[[Any], str | None] = lambda _value: None) -> None:
        self._check = check

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError where JSON has no form for a value."""
        texts = rows.with_columns(
            pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.f" + ("%:z" if dtype.time_zone else ""))
            for name, dtype in rows.schema.items()
            if isinstance(dtype, pl.Datetime)  # Python's datetime has microseconds only
        )
        _check_finite(rows)
        return [self._payload(row, at) for at, row in enumerate(texts.iter_rows(named=True))]

    def _payload(self, row: Mapping[str, Any], at: int) -> bytes:
        payload = _dumped(row)
        if payload is None:
            column = next((name for name, value in row.items() if _dumped(value) is None), "?")
            message = f"column {column!r}, row {at}: JSON has no form for it."
            raise SchemaError(message, "cast it to text or a number first.")
        wrong = self._check(orjson.loads(payload))
        if wrong is not None:
            # A field that a record has not is shown as null; a schema may let it be absent and take no null.
            present = _dumped({name: value for name, value in row.items() if value is not None}) or payload
            if self._check(orjson.loads(present)) is None:
                return present
            message = f"row {at} does not fit the JSON Schema: {wrong}"
            raise SchemaError(message)
        return payload


def _check_finite(rows: pl.DataFrame) -> None:
    """Refuse numbers that JSON has not: its writers make nulls of them."""
    for column in rows.iter_columns():
        values = column.to_list() if _has_floats(column.dtype) else []
        at = next((at for at, value in enumerate(values) if not _is_finite(value)), None)
        if at is not None:
            message = f"column {column.name!r}, row {at}: JSON has no form for {values[at]!r}."
            raise SchemaError(message, "make it null, or text, first.")


def _has_floats(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_has_floats(field.dtype) for field in dtype.fields)  # type: ignore[arg-type]
    if isinstance(dtype, pl.List | pl.Array):
        return _has_floats(dtype.inner)  # type: ignore[arg-type]
    return dtype.is_float()


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _dumped(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError


class PlainWriter:
    """Writes the one column of each row as Kafka's own serializers do: ``string``, ``int``, ``long``, ``bytes``."""

    header: None = None

    def __init__(self, name: str) -> None:
        self._name = name

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError where it is null, or of another type."""
        if rows.columns != [VALUE_COLUMN]:
            message = (
                f"format {self._name!r} has one column, {VALUE_COLUMN!r}, not {', '.join(rows.columns)}."
            )
            raise SchemaError(message)
        column = rows.to_series()
        if self._name in _TEXTS:
            return _of_type(column, _TEXTS[self._name]).cast(pl.Binary).to_list()
        dtype, width = _INTEGERS[self._name]
        return [value.to_bytes(width, "big", signed=True) for value in _of_type(column, dtype).to_list()]


def _of_type(column: pl.Series, dtype: pl.DataType) -> pl.Series:
    """Return ``column`` as ``dtype``, which it must be but for the width of integers."""
    found = column
    if column.dtype != dtype:
        is_close = column.dtype.is_integer() and dtype.is_integer()
        if not is_close and column.dtype not in (pl.Categorical, pl.Enum):
            message = f"column {column.name!r} is {column.dtype}, wanted is {dtype}."
            raise SchemaError(message)
        found = column.cast(dtype, strict=False)
    if found.null_count():
        at = found.is_null().arg_max()
        message = f"column {column.name!r}, row {at}: {column[at or 0]!r} can't be written as {dtype}."
        raise SchemaError(message)
    return found


class WindowedKeyWriter:
    """Writes keys with the times of their window behind them; see ``windowed_keys``."""

    def __init__(self, inner: PayloadWriter, times: tuple[str, ...]) -> None:
        self._inner = inner
        self._times = times

    @property
    def header(self) -> bytes | None:
        """What a header must say of the schema of the key inside."""
        return self._inner.header

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError where the key inside does not fit, or a time is missing."""
        inside = rows.drop(self._times, strict=False)
        named = inside.rename({"key": VALUE_COLUMN}) if inside.columns == ["key"] else inside
        return with_times(self._inner.write(named), rows, self._times)


def plain_writer(name: str) -> PayloadWriter:
    """Return what writes without a schema: JSON, or the plain format of this name.

    Raises
    ------
    ConfigurationError
        When there is no such format.
    """
    if name == _JSON:
        return JsonWriter()
    if name not in _PLAIN:
        message = f"there is no format {name!r}."
        raise ConfigurationError(message, f"the formats are {', '.join(map(repr, sorted(_FORMATS)))}.")
    return PlainWriter(name)
