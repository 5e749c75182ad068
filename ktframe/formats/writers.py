"""Writes rows as payloads, in every format: under a schema of a registry, or as plain JSON, text, numbers or bytes.

Values that a format can't hold exactly are refused with a SchemaError, never cast or rounded. Nothing here sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import polars as pl

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.avro import AvroWriter
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.bodies import BodyWriter, SchemaDocument
from ktframe.formats.body_readers import FORMAT_NAMES, JSON, KINDS_OF, PROTOBUF, WriterSchema
from ktframe.formats.json.forms import NO_FORMS, Forms
from ktframe.formats.json.scalars import as_scalars
from ktframe.formats.json.validation import validator_of
from ktframe.formats.json.writer import JsonWriter
from ktframe.formats.protobuf import ProtobufWriter
from ktframe.formats.windowed_keys import with_times
from ktframe.formats.wire import FIRST_MESSAGE, describe_ref, parse_indexes, schema_id_of

_INTEGERS: Final[Mapping[str, tuple[pl.DataType, int]]] = {"int": (pl.Int32(), 4), "long": (pl.Int64(), 8)}
_TEXTS: Final[Mapping[str, pl.DataType]] = {"string": pl.String(), "bytes": pl.Binary()}
_JSON: Final = "json"
_PLAIN: Final = frozenset({*_TEXTS, *_INTEGERS})
_FORMATS: Final = frozenset({*_PLAIN, *KINDS_OF})


class PayloadWriter(Protocol):
    """Writes rows as payloads, with a reference to the schema where there is one."""

    @property
    def header(self) -> bytes | None:
        """The schema reference that each record needs in a header; None where the payload has it, or there is none."""

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row.

        Raises
        ------
        SchemaError
            When a row does not fit, naming the column and the row.
        """


class SchemaWriter:
    """Writes under one schema of a registry."""

    def __init__(
        self,
        writer_schema: WriterSchema,
        document: SchemaDocument,
        forms: Forms = NO_FORMS,
    ) -> None:
        _require_no_encryption(writer_schema, document)
        self.name = f"{FORMAT_NAMES.get(document.kind, document.kind)} ({describe_ref(writer_schema.ref)})"
        reference = writer_schema.ref + writer_schema.message
        is_in_payload = schema_id_of(writer_schema.ref) is not None
        self._prefix = reference if is_in_payload else b""
        self.header = None if is_in_payload else reference
        self._body = _body_writer(writer_schema, document, forms)

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError names the column and the row that don't fit."""
        return [self._prefix + body for body in self._body.write(rows)]


def _require_no_encryption(writer_schema: WriterSchema, document: SchemaDocument) -> None:
    for rule in document.rules.encryption:
        what = "all fields" if not rule.tags else f"the fields tagged {', '.join(rule.tags)}"
        encrypted = "payloads" if rule is document.rules.whole_body else what
        message = f"under {describe_ref(writer_schema.ref)} {encrypted} must be encrypted (rule {rule.name!r}), which ktframe can't: nothing was written."
        hint = "write with a client that has the keys, such as Confluent's serializers, or under a schema without the rule."
        raise SchemaError(message, hint)


def _body_writer(writer_schema: WriterSchema, document: SchemaDocument, forms: Forms) -> BodyWriter:
    if document.kind == JSON:
        return JsonWriter(validator_of(document), forms=forms)
    if document.kind == PROTOBUF:
        return ProtobufWriter(document, parse_indexes(writer_schema.message or FIRST_MESSAGE)[0])
    return AvroWriter(document)


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
    """Return ``column`` as ``dtype``; only integers of another width and categories are cast."""
    values = column
    if column.dtype != dtype:
        is_close = column.dtype.is_integer() and dtype.is_integer()
        if not is_close and column.dtype not in (pl.Categorical, pl.Enum):
            message = f"column {column.name!r} is {column.dtype}, but {dtype} is needed."
            raise SchemaError(message)
        values = column.cast(dtype, strict=False)
    if values.null_count():
        at = values.is_null().arg_max()
        message = f"column {column.name!r}, row {at}: {column[at or 0]!r} cannot be written as {dtype}."
        raise SchemaError(message)
    return values


class JsonKeyWriter:
    """Writes keys as JSON: those of one plain value as that, those of fields as objects."""

    header: None = None

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError for a null, and as ``JsonWriter``."""
        payloads = JsonWriter().write(rows)
        if rows.columns != [VALUE_COLUMN] or rows.to_series().dtype.is_nested():
            return payloads
        values = rows.to_series()
        if values.null_count():
            message = f"row {values.is_null().arg_max()}: a null can't be a key."
            raise SchemaError(message)
        return as_scalars(payloads)


class WindowedKeyWriter:
    """Writes keys with the times of their window after them; see ``windowed_keys``."""

    def __init__(self, inner: PayloadWriter, times: tuple[str, ...]) -> None:
        self._inner = inner
        self._times = times

    @property
    def header(self) -> bytes | None:
        """The schema reference of the key inside, where it needs a header."""
        return self._inner.header

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError where the key inside does not fit, or a time is missing."""
        keys = rows.drop(self._times, strict=False)
        keys = keys.rename({"key": VALUE_COLUMN}) if keys.columns == ["key"] else keys
        return with_times(self._inner.write(keys), rows, self._times)


def plain_writer(name: str, forms: Forms = NO_FORMS) -> PayloadWriter:
    """Return the writer of JSON or of the plain format of this name, without a schema.

    ``forms`` say where columns hold JSON text or the entries of maps.

    Raises
    ------
    ConfigurationError
        When there is no such format.
    """
    if name == _JSON:
        return JsonWriter(forms=forms)
    if name not in _PLAIN:
        message = f"there is no format {name!r}."
        raise ConfigurationError(message, f"the formats are {', '.join(map(repr, sorted(_FORMATS)))}.")
    return PlainWriter(name)
