"""Writes rows to topics in the format of those who write there already. Nothing is registered, nothing is cast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import polars as pl

from ktframe.errors import RegistryError, SchemaError
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.body_readers import KINDS_OF, PROTOBUF, WriterSchema
from ktframe.formats.windowed_keys import split_name
from ktframe.formats.wire import FIRST_MESSAGE, KEY_HEADER, VALUE_HEADER, id_ref, schema_id_of
from ktframe.formats.writers import PayloadWriter, SchemaWriter, WindowedKeyWriter, plain_writer
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.kafka.registry import Registry
from ktframe.kafka.writer import RecordWriter
from ktframe.store.schemas import Role

Last: TypeAlias = tuple[bytes, bytes, SchemaDocument] | None
"""What was written under last: the name of a schema, the message of it, its document."""

_HEADERS: Final[Mapping[Role, str]] = {"key": KEY_HEADER, "value": VALUE_HEADER}

WRITTEN: Final = pl.Schema(
    {"key": pl.Binary(), "value": pl.Binary(), "partition": pl.Int32(), "offset": pl.Int64()}
)
"""Columns of what was written, or would be."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """How the keys or values of a topic are written."""

    role: Role
    writer: PayloadWriter

    @property
    def header(self) -> tuple[str, bytes] | None:
        """What each record carries beside, where that names the schema."""
        said = self.writer.header
        return None if said is None else (_HEADERS[self.role], said)


class TopicWriter:
    """Writes records of one Context; ``timeout`` seconds are given to the brokers for a call."""

    def __init__(self, records: RecordWriter, registry: Registry | None, timeout: float) -> None:
        self._records = records
        self._registry = registry
        self._timeout = timeout

    def spelling(
        self, topic: str, role: Role, asked: str, *, last: Last = None, is_plain: bool = False
    ) -> Spelling:
        """Return how keys or values of ``topic`` are written, by the format that was asked for.

        Under the schema that is registered last for the topic; where nothing is, under the ``last`` one that others
        wrote under; without one (``is_plain``: as all others do), as JSON, text, or what was asked for.

        Raises
        ------
        SchemaError
            When a schema is wanted and there is none.
        RegistryError
            When a schema is wanted and the registry can't be asked.
        """
        times, inside = split_name(asked)
        if times:
            inner = self.spelling(topic, role, inside, last=last, is_plain=is_plain).writer
            return Spelling(role, WindowedKeyWriter(inner, times))
        if asked not in KINDS_OF:
            return Spelling(role, plain_writer(asked))
        found = None if is_plain and last is None else self._schema(topic, role, last)
        if found is not None and found[1].kind in KINDS_OF[asked]:
            return Spelling(role, SchemaWriter(*found))
        if asked in ("avro", "protobuf"):
            message = f"no {asked} schema is registered for {topic}-{role}."
            raise SchemaError(
                message, "register one first; connect(..., schema_registry=...) says where to look."
            )
        return Spelling(role, plain_writer("string" if role == "key" and asked == "auto" else "json"))

    def _schema(self, topic: str, role: Role, last: Last) -> tuple[WriterSchema, SchemaDocument] | None:
        by_last = None if last is None else (WriterSchema(last[0], last[1]), last[2])
        if self._registry is None or (last is not None and schema_id_of(last[0]) is None):
            return by_last  # who names schemas by GUID in a header does not want ids in payloads
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

    def send(self, topic: str, records: OutgoingRecords, *, atomic: bool) -> Sent:
        """Write ``records``, all or (with ``atomic``) none; WriteError says which were written."""
        return self._records.send(topic, records, timeout=self._timeout, atomic=atomic)


def as_rows(rows: Any) -> pl.DataFrame:
    """Return what a user gives as rows: a frame of Polars, what speaks Arrow's PyCapsule protocol, a list of dicts.

    Raises
    ------
    SchemaError
        When it is none of these.
    """
    if isinstance(rows, pl.LazyFrame):
        return rows.collect()
    try:
        if isinstance(rows, str | bytes):
            raise TypeError  # noqa: TRY301 - Polars would make a column of it
        # Of a list, all rows say which fields there are: one that comes late is not dropped.
        is_list = isinstance(rows, Sequence)
        return pl.DataFrame(rows, infer_schema_length=None) if is_list else pl.DataFrame(rows)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        message = f"a {type(rows).__name__} can't be written as rows."
        raise SchemaError(message, "give a DataFrame, or a list of dicts.") from error


def as_frame(records: OutgoingRecords, sent: Sent | None) -> pl.DataFrame:
    """Return what was written; of what would be, partitions as far as they are settled, and no offsets."""
    partitions = (records.partitions or [None] * len(records)) if sent is None else sent.partitions
    offsets = [None] * len(records) if sent is None else sent.offsets
    columns = {"key": records.keys, "value": records.values, "partition": partitions, "offset": offsets}
    return pl.DataFrame(columns, schema=WRITTEN)


_TABLE_KEY = "key"
"""What a table calls the record key, where the value has no such field."""


def publish(
    writer: TopicWriter,
    topic: str,
    rows: Any,
    *,
    key: str | Sequence[str] | None,
    value: str,
    key_format: str,
    atomic: bool,
    dry_run: bool,
) -> pl.DataFrame:
    """Write ``rows`` in order; see ``Context.publish``."""
    frame = as_rows(rows)
    names = [key] if isinstance(key, str) else list(dict.fromkeys(key or ()))
    missing = [name for name in names if name not in frame.columns]
    if missing:
        message = f"there is no column {missing[0]!r} in what is to be written: there are {', '.join(frame.columns)}."
        raise SchemaError(message, "key= names the columns that make the record key.")
    keys: Sequence[bytes | None] = [None] * frame.height
    spellings = []
    if names:
        spelling = writer.spelling(topic, "key", key_format)
        columns = frame.select(names)
        keys = spelling.writer.write(columns.rename({names[0]: VALUE_COLUMN}) if len(names) == 1 else columns)
        spellings.append(spelling)
    content = frame.drop(_TABLE_KEY) if names == [_TABLE_KEY] else frame
    spelling = writer.spelling(topic, "value", value)
    spellings.append(spelling)
    values = spelling.writer.write(content)
    headers = [each.header for each in spellings if each.header is not None]
    records = OutgoingRecords(keys, values, headers=[headers] * len(values) if headers else None)
    return as_frame(records, None if dry_run else writer.send(topic, records, atomic=atomic))
