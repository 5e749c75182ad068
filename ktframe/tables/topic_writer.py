"""Writes rows to topics, in the format of the records that are there. It registers no schema and casts no value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import polars as pl

from ktframe.errors import RegistryError, SchemaError, WriteError
from ktframe.fold.headers import ALL_HEADERS, HeaderColumns, all_headers
from ktframe.formats import NO_FORMS, Forms
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.body_readers import KINDS_OF, PROTOBUF, WriterSchema
from ktframe.formats.header_values import is_readable_type
from ktframe.formats.windowed_keys import split_name
from ktframe.formats.wire import FIRST_MESSAGE, KEY_HEADER, VALUE_HEADER, id_ref, schema_id_of
from ktframe.formats.writers import (
    JsonKeyWriter,
    PayloadWriter,
    SchemaWriter,
    WindowedKeyWriter,
    plain_writer,
)
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.kafka.registry import Registry
from ktframe.kafka.writer import RecordWriter, interrupted
from ktframe.process.threads import ignore, uninterrupted, uninterruptible
from ktframe.store.schemas import Role

P = ParamSpec("P")
T = TypeVar("T")

Last: TypeAlias = tuple[bytes, bytes, SchemaDocument] | None
"""The schema of the newest record: its reference, the message within it (Protobuf), and its document."""

_LAST_WORD_SECONDS: Final = 8.0
"""How long an interrupted write may take to find out what was written: to abort a transaction takes the longest."""

_DONE: ContextVar[list[WriteError] | None] = ContextVar("done", default=None)
"""What an interrupt has to say from here on: it holds the records of the write, once all are written."""

_HEADERS: Final[Mapping[Role, str]] = {"key": KEY_HEADER, "value": VALUE_HEADER}

WRITTEN: Final = pl.Schema(
    {
        "key": pl.Binary(),
        "value": pl.Binary(),
        "partition": pl.Int32(),
        "offset": pl.Int64(),
        "headers": ALL_HEADERS,
    }
)
"""The columns of the records that were written, or would be."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Encodes the keys or the values of a topic."""

    role: Role
    writer: PayloadWriter

    @property
    def header(self) -> tuple[str, bytes] | None:
        """The header of each record that names the schema; None where the payload itself names it."""
        ref = self.writer.header
        return None if ref is None else (_HEADERS[self.role], ref)


class TopicWriter:
    """Writes the records of one Context; a call waits ``timeout`` seconds for the brokers."""

    def __init__(self, records: RecordWriter, registry: Registry | None, timeout: float) -> None:
        self._records = records
        self._registry = registry
        self._timeout = timeout

    def encoder(
        self,
        topic: str,
        role: Role,
        format_name: str,
        *,
        last: Last = None,
        is_plain: bool = False,
        forms: Forms = NO_FORMS,
    ) -> Encoder:
        """Return the encoder of a topic's keys or values for a format.

        It uses the schema that is registered last for the topic; if none is, that of the newest record (``last``); if
        there is none, or all records are without one (``is_plain``), JSON or text. ``forms`` say where
        columns hold JSON text or the entries of maps.

        Raises
        ------
        SchemaError
            When the format needs a schema and there is none.
        RegistryError
            When the format needs a schema and the registry does not answer.
        """
        times, inside = split_name(format_name)
        if times:
            inner = self.encoder(topic, role, inside, last=last, is_plain=is_plain).writer
            return Encoder(role, WindowedKeyWriter(inner, times))
        if format_name not in KINDS_OF:
            return Encoder(role, plain_writer(format_name))
        schema = None if is_plain and last is None else self._schema(topic, role, last)
        if schema is not None and schema[1].kind in KINDS_OF[format_name]:
            return Encoder(role, SchemaWriter(*schema, forms))
        if format_name in ("avro", "protobuf"):
            message = f"no {format_name} schema is registered for {topic}-{role}."
            raise SchemaError(
                message, "register one first; connect(..., schema_registry=...) says where to look."
            )
        plain = "string" if role == "key" and format_name == "auto" else "json"
        if role == "key" and plain == "json":
            return Encoder(role, JsonKeyWriter())
        return Encoder(role, plain_writer(plain, forms))

    def _schema(self, topic: str, role: Role, last: Last) -> tuple[WriterSchema, SchemaDocument] | None:
        by_last = None if last is None else (WriterSchema(last[0], last[1]), last[2])
        if self._registry is None or (last is not None and schema_id_of(last[0]) is None):
            return by_last  # the topic's producers name schemas by a GUID in a header, not by an id in the payload
        try:
            newest = self._registry.latest(f"{topic}-{role}")
        except RegistryError:
            if by_last is None:
                raise
            return by_last
        if newest is None:
            return by_last
        number, document = newest
        message = b"" if document.kind != PROTOBUF else last[1] if last is not None else FIRST_MESSAGE
        return WriterSchema(id_ref(number), message), document

    def write(
        self,
        topic: str,
        records: OutgoingRecords,
        *,
        atomic: bool,
        then: Callable[[Sent], object] = ignore,
    ) -> pl.DataFrame:
        """Write ``records``, with ``atomic`` all or none; then do what is to be done with where they are, and return them.

        Raises
        ------
        WriteError
            When not all of them are written, with those that were.
        KeyboardInterrupt
            When it is interrupted, with a WriteError as its cause: which are written, which are not, and which may be.
        """
        sent: list[Sent] = []
        try:
            uninterrupted(
                lambda tell: sent.append(
                    self._records.send(topic, records, timeout=self._timeout, atomic=atomic, tell=tell)
                ),
                patience=_LAST_WORD_SECONDS,
            )
            then(sent[0])
            done = _DONE.get()
            if done is not None:
                done.append(interrupted(self._records.bootstrap, topic, records, are_written=True))
            # Not on this thread: an interrupt in the middle of it would make Polars panic.
            return uninterrupted(lambda _: as_frame(records, sent[0]))
        except KeyboardInterrupt as interrupt:
            cause = interrupt.__cause__
            if sent or cause is None:
                cause = interrupted(self._records.bootstrap, topic, records, are_written=bool(sent))
            interrupt.args = (str(cause),)  # so that the last line of a traceback says it
            raise interrupt from cause


def with_last_word(function: Callable[P, T]) -> Callable[P, T]:
    """Let an interrupt have its cause also where it comes on the way out of ``function``, which has written records.

    Python looks for interrupts after a call with ``*`` or ``**``, so every wrapper of a writing function is such a place.
    This one is the outermost: there is none after it.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        _DONE.set([])
        try:
            return function(*args, **kwargs)
        except KeyboardInterrupt as interrupt:
            done = _DONE.get()
            if interrupt.__cause__ is None and done:
                interrupt.args = (str(done[0]),)
                raise interrupt from done[0]
            raise

    return call


def as_rows(rows: Any) -> pl.DataFrame:
    """Return a user's rows as a frame: a frame of Polars or with Arrow's PyCapsule protocol, or a list of dicts.

    Raises
    ------
    SchemaError
        When they are none of these.
    """
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    try:
        if isinstance(rows, str | bytes):
            raise TypeError  # noqa: TRY301 - Polars would make a column of it
        # Fields are inferred from all rows of a list: by default, one that first comes late is dropped.
        is_list = isinstance(rows, Sequence)
        return pl.DataFrame(rows, infer_schema_length=None) if is_list else pl.DataFrame(rows)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        message = f"a {type(rows).__name__} can't be written as rows."
        raise SchemaError(message, "give a DataFrame, or a list of dicts.") from error


def as_frame(records: OutgoingRecords, sent: Sent | None) -> pl.DataFrame:
    """Return the records that were written; without ``sent``, those that would be, with the partitions known so far."""
    partitions = (records.partitions or [None] * len(records)) if sent is None else sent.partitions
    offsets = [None] * len(records) if sent is None else sent.offsets
    headers = all_headers(records.headers or [None] * len(records))
    columns = {
        "key": records.keys,
        "value": records.values,
        "partition": partitions,
        "offset": offsets,
        "headers": headers,
    }
    return pl.DataFrame(columns, schema=WRITTEN)


_TABLE_KEY = "key"  # how a table shows the record key, unless the value has such a field


def publish(
    writer: TopicWriter,
    topic: str,
    rows: Any,
    *,
    key: str | Sequence[str] | None,
    headers: str | Sequence[str] | None,
    value: str,
    key_format: str,
    atomic: bool,
    dry_run: bool,
) -> pl.DataFrame:
    """Write ``rows`` in order; see ``Context.publish``."""
    frame = as_rows(rows)
    names = _named(frame, headers, "headers= names the columns that become headers.")
    own = _header_columns(frame.select(names)).write(frame) if names else None
    records = _records(
        writer, topic, frame, key=key, value=value, key_format=key_format, leave_out=names, headers=own
    )
    return as_frame(records, None) if dry_run else writer.write(topic, records, atomic=atomic)


@uninterruptible
def _records(
    writer: TopicWriter,
    topic: str,
    frame: pl.DataFrame,
    *,
    key: str | Sequence[str] | None,
    value: str,
    key_format: str,
    leave_out: Sequence[str],
    headers: Sequence[Sequence[tuple[str, bytes]]] | None,
) -> OutgoingRecords:
    """Return the records that hold the rows of ``frame``, in order, without the columns that are their ``headers``."""
    names = _named(frame, key, "key= names the columns that make the record key.")
    keys: Sequence[bytes | None] = [None] * frame.height
    encoders = []
    if names:
        encoder = writer.encoder(topic, "key", key_format)
        columns = frame.select(names)
        keys = encoder.writer.write(columns.rename({names[0]: VALUE_COLUMN}) if len(names) == 1 else columns)
        encoders.append(encoder)
    content = frame.drop(*leave_out, *([_TABLE_KEY] if names == [_TABLE_KEY] else []), strict=False)
    encoder = writer.encoder(topic, "value", value)
    encoders.append(encoder)
    values = encoder.writer.write(content)
    schemas = [encoder.header for encoder in encoders if encoder.header is not None]
    if headers is not None:
        return OutgoingRecords(keys, values, headers=[[*schemas, *each] or None for each in headers])
    return OutgoingRecords(keys, values, headers=[schemas] * len(values) if schemas else None)


def _named(frame: pl.DataFrame, names: str | Sequence[str] | None, hint: str) -> list[str]:
    """Return the columns that an argument names, each once."""
    found = [names] if isinstance(names, str) else list(dict.fromkeys(names or ()))
    missing = [name for name in found if name not in frame.columns]
    if missing:
        message = f"the rows to write have no column {missing[0]!r}: there are {', '.join(frame.columns)}."
        raise SchemaError(message, hint)
    return found


def _header_columns(columns: pl.DataFrame) -> HeaderColumns:
    """Return how ``columns`` are written as headers."""
    for name, dtype in columns.schema.items():
        if dtype != pl.Null and not is_readable_type(dtype):
            message = f"column {name!r} is {dtype}: no header can hold that."
            raise SchemaError(message, "cast it to pl.String, or to pl.Binary.")
    return HeaderColumns(tuple(columns.schema.items()))
