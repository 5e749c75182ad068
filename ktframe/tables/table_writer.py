"""Writes rows of a table to its topic, then waits until the table has read them. The table itself is never written to.

A row is written whole, as a record is: a field that is left out does not keep its value from the row before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import polars as pl

from ktframe.columns import KEY
from ktframe.errors import NotReadyError, SchemaError
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.row_codec import record_key_of
from ktframe.formats.base import VALUE_COLUMN, Headers, SeenSchemas
from ktframe.formats.wire import KEY_HEADER, without_header_ref
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.sync.lookups import stored_rows
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.tables.presentation import Presentation
from ktframe.tables.topic_writer import Last, TopicWriter, as_frame, as_rows
from ktframe.tables.write_checks import (
    one_value,
    read_back,
    require_equal,
    require_fields,
    require_no_other_rows,
    require_readable_schemas,
    require_types,
    require_whole_fields,
)

_Header: TypeAlias = tuple[str, bytes] | None
"""The header that names the schema of a key or value; None where no header does."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """Encoded rows, before it is known to which partitions they go."""

    identities: list[bytes]
    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    key_header: _Header
    headers: Sequence[Headers]
    """What the headers of each record are but ``key_header``, which a row that is there may have otherwise."""
    key_error: SchemaError | None
    """Why there are no keys. Only new rows need them: existing ones keep their record key."""


class TableWriter:
    """Writes to the topic of one table; ``key_format`` and ``value_format`` are as in ``ktframe.table``.

    Columns of JSON text are written as the JSON that they hold, maps as objects.
    """

    def __init__(
        self,
        topic: TopicWriter,
        reader: BindingReader,
        presentation: Presentation,
        *,
        value_format: str,
        key_format: str,
    ) -> None:
        self._topic = topic
        self._reader = reader
        self._presentation = presentation
        self._value_format = value_format
        self._key_format = key_format

    def put(self, row: Mapping[str, Any], *, record_key: str | None, dry_run: bool) -> pl.DataFrame:
        """Write one row and return its records; see ``KTable.put``."""
        return self._write(
            lambda materializer: self._records(materializer, self._frame(materializer, row), record_key),
            atomic=False,
            dry_run=dry_run,
        )

    def _frame(self, materializer: Materializer, row: Mapping[str, Any]) -> pl.DataFrame:
        """Return ``row`` as a frame with the dtypes of the table's columns."""
        decoder = materializer.decoder
        require_whole_fields(decoder)
        fields = {**decoder.fields(materializer.schema), **dict(decoder.headers.types)}
        table = self._presentation.frame(pl.DataFrame(schema=materializer.view.schema), pl.Schema(fields))
        return pl.DataFrame([one_value(name, value, table.schema.get(name)) for name, value in row.items()])

    def upsert(self, rows: Any, *, record_key: str | None, atomic: bool, dry_run: bool) -> pl.DataFrame:
        """Write ``rows`` and return the records; see ``KTable.upsert``."""
        frame = as_rows(rows)
        return self._write(
            lambda materializer: self._records(materializer, frame, record_key),
            atomic=atomic,
            dry_run=dry_run,
        )

    def delete(self, keys: Sequence[Any], *, atomic: bool, dry_run: bool) -> pl.DataFrame:
        """Write a tombstone for each row of ``keys``; see ``KTable.delete``."""
        return self._write(
            lambda materializer: self._tombstones(materializer, keys), atomic=atomic, dry_run=dry_run
        )

    def _write(
        self, make: Callable[[Materializer], OutgoingRecords], *, atomic: bool, dry_run: bool
    ) -> pl.DataFrame:
        """Send the records that ``make`` returns, and return them once the table has read them."""
        records = self._reader.read(make, fresh=True)
        if dry_run or not len(records):
            return as_frame(records, None)
        return self._topic.write(
            self._reader.binding.topic,
            records,
            atomic=atomic,
            then=lambda sent: self._read_back(sent, len(records)),
        )

    def _read_back(self, sent: Sent, count: int) -> None:
        try:
            self._reader.wait_until_passed(sent.ends)
        except NotReadyError as error:
            error.detail = (
                f"all {count:,} records are written, but the table has not read them: {error.detail}"
            )
            raise

    # --- rows -----------------------------------------------------------------------------------------------------

    def _records(
        self, materializer: Materializer, rows: pl.DataFrame, record_key: str | None
    ) -> OutgoingRecords:
        """Return a record per row and partition that has a row of its key; new keys are left to the partitioner."""
        draft = self._draft(materializer, rows, record_key)
        rows_of = dict(zip(draft.identities, stored_rows(materializer, draft.identities), strict=True))
        keys: list[bytes | None] = []
        headers: list[Headers] = []
        # A new key gets one record key, also when it comes in several rows: then all of them go to one partition.
        new: dict[bytes, bytes | None] = {}
        lines: list[int] = []
        partitions: list[int | None] = []
        for line, identity in enumerate(draft.identities):
            places: list[tuple[int | None, bytes | None]] = [
                (partition, record_key_of(stored)) for partition, stored in rows_of[identity]
            ]
            for partition, known in places or [(None, None)]:
                if known is None and draft.key_error is not None:
                    raise draft.key_error
                if known is None:
                    key, key_header = new.setdefault(identity, draft.keys[line]), draft.key_header
                else:
                    key, key_header = _as_received(materializer.decoder, known)
                keys.append(key)
                headers.append(_headers(key_header, draft.headers[line]))
                partitions.append(partition)
                lines.append(line)
        values = [draft.values[line] for line in lines]
        return OutgoingRecords(keys, values, partitions, headers if any(headers) else None)

    def _draft(self, materializer: Materializer, rows: pl.DataFrame, record_key: str | None) -> _Draft:
        decoder, schema = materializer.decoder, materializer.schema
        require_whole_fields(decoder)
        fields = decoder.fields(schema)
        key_name = self._key_name(fields)
        key_error, key_header = None, None
        keys: Sequence[bytes | None] = [None] * rows.height
        try:
            keys, key_header = self._keys(decoder, schema, rows, key_name, record_key)
        except SchemaError as error:
            if key_name is not None or record_key is not None:
                raise
            key_error = error
        encoder = self._topic.encoder(
            self._reader.binding.topic,
            "value",
            self._value_format,
            last=_newest(decoder.value_schemas),
            is_plain=len(fields) > 0,
            forms=decoder.forms,
        )
        if not fields and _newest(decoder.value_schemas) is None:
            require_readable_schemas(materializer)
        shown = rows if key_name is None else rows.drop(key_name)
        written = decoder.headers.write(shown)
        # The columns of nested keys are no fields: their values are where the frame has the structs.
        content = shown.drop(*decoder.nested.names.difference(fields), *decoder.headers.names, strict=False)
        require_fields(content, fields, self._presentation.names(fields, metadata=True))
        values = encoder.writer.write(content)
        own = [] if encoder.header is None else [encoder.header]
        without_key = [_headers(None, [*own, *more]) for more in written]
        headers = [_headers(key_header, each) for each in without_key]
        read, after = read_back(decoder, schema, keys, values, headers)
        if _newest(decoder.value_schemas) is None:
            require_types(content, fields, after)  # a registered schema decides by itself what may be written
        require_equal(shown, read)
        identities = decoder.identity.encode(read).to_list()
        return _Draft(identities, keys, values, key_header, without_key, key_error)

    def _key_name(self, fields: pl.Schema) -> str | None:
        """Return the column that holds the record key, None where fields of the value are the key."""
        if KEY not in self._presentation.key:
            return None
        return self._presentation.key_columns(fields)[0]

    def _keys(
        self,
        decoder: TopicDecoder,
        schema: pl.Schema,
        rows: pl.DataFrame,
        key_name: str | None,
        record_key: str | None,
    ) -> tuple[list[bytes], _Header]:
        rows = decoder.nested.add(rows)
        name = (
            key_name
            or record_key
            or (self._presentation.key[0] if len(self._presentation.key) == 1 else None)
        )
        if name is None:
            message = "this table's key is made of several fields, and a new row needs a record key."
            raise SchemaError(message, "record_key= names the column whose value it is.")
        if name not in rows.columns:
            message = f"the rows to write have no column {name!r}: there are {', '.join(rows.columns)}."
            raise SchemaError(message, "add it to the frame: it holds the key of each row.")
        last = _newest(decoder.key_schemas)
        is_known = KEY in schema
        encoder = self._topic.encoder(
            self._reader.binding.topic, "key", self._key_format, last=last, is_plain=is_known
        )
        column = rows[name]
        if isinstance(column.dtype, pl.Struct):
            return encoder.writer.write(column.struct.unnest()), encoder.header
        return encoder.writer.write(column.alias(VALUE_COLUMN).to_frame()), encoder.header

    # --- tombstones -----------------------------------------------------------------------------------------------

    def _tombstones(self, materializer: Materializer, keys: Sequence[Any]) -> OutgoingRecords:
        """Return a tombstone for each partition that has a row of one of ``keys``."""
        decoder, schema = materializer.decoder, materializer.schema
        encoded = decoder.encode_keys(keys, schema)
        if schema and None in encoded:
            message = f"{keys[encoded.index(None)]!r} can't be a key of this table."
            raise SchemaError(message, "keys are as keys() returns them; several are given as a list.")
        identities = list(dict.fromkeys(identity for identity in encoded if identity is not None))
        record_keys: list[bytes | None] = []
        headers: list[Headers] = []
        partitions: list[int | None] = []
        for identity, places in zip(identities, stored_rows(materializer, identities), strict=True):
            for partition, stored in places:
                key = record_key_of(stored)
                if key is None:
                    key = self._own_key(decoder, schema, identity)
                require_no_other_rows(materializer, partition, key, identities)
                sent, header = _as_received(decoder, key)
                record_keys.append(sent)
                headers.append(_headers(header, None))
                partitions.append(partition)
        nothing = [None] * len(record_keys)
        return OutgoingRecords(record_keys, nothing, partitions, headers if any(headers) else None)

    def _own_key(self, decoder: TopicDecoder, schema: pl.Schema, identity: bytes) -> bytes:
        """Return the record key that a row's identity holds, for formats that write a value in one way only."""
        if KEY not in decoder.identity.columns:
            message = "the row's record has no record key: no tombstone can delete it."
            raise SchemaError(message)
        decoded = decoder.identity.decode([identity], decoder.identity_schema(schema))
        encoder = self._topic.encoder(self._reader.binding.topic, "key", self._key_format)
        return encoder.writer.write(decoded.select(pl.col(KEY).alias(VALUE_COLUMN)))[0]


def _newest(schemas: SeenSchemas | None) -> Last:
    return None if schemas is None else schemas.newest_schema()


def _as_received(decoder: TopicDecoder, key: bytes) -> tuple[bytes, _Header]:
    """Return a stored record key as its record had it: with the reference to its schema in the header, if it was there."""
    if not decoder.decodes_keys:
        return key, None
    last = _newest(decoder.key_schemas)
    payload, ref = without_header_ref(key, b"" if last is None else last[1])
    return payload, None if ref is None else (KEY_HEADER, ref)


def _headers(header: _Header, others: Headers) -> Headers:
    return [*([] if header is None else [header]), *(others or ())] or None
