"""Writes rows of a table to its topic, and waits until the table has them: topic first, table second, always.

A row is written as a whole, as a record is: fields that are left out are not kept from the row before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import polars as pl

from ktframe.columns import KEY
from ktframe.errors import NotReadyError, SchemaError
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import BatchContext, RecordBatch
from ktframe.fold.row_codec import record_key_of
from ktframe.formats.base import VALUE_COLUMN, Headers, Refusal, SeenSchemas
from ktframe.formats.schemas import UNKNOWN_SCHEMA
from ktframe.formats.wire import KEY_HEADER, without_header_ref
from ktframe.kafka.outgoing import OutgoingRecords
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.tables.presentation import Presentation
from ktframe.tables.topic_writer import Last, TopicWriter, as_frame, as_rows

_CREATE_TIME: Final = 1

_Header: TypeAlias = tuple[str, bytes] | None
"""What a header says of a schema; None where none does."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """Records as they will be sent, before it is said where to: rows and bytes."""

    identities: list[bytes]
    keys: Sequence[bytes | None]
    values: Sequence[bytes]
    key_header: _Header
    value_header: _Header
    key_error: SchemaError | None
    """Why there are no keys: rows that are new can't be written then, others keep theirs."""


class TableWriter:
    """Writes to the topic of one table. ``key_format`` and ``value_format`` are those that were asked for."""

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
            lambda found: self._records(found, self._frame(found, row), record_key),
            atomic=False,
            dry_run=dry_run,
        )

    def _frame(self, found: Materializer, row: Mapping[str, Any]) -> pl.DataFrame:
        """Return ``row`` as a frame, with the types that the table's columns have."""
        shown = self._presentation.frame(
            pl.DataFrame(schema=found.view.schema), found.decoder.fields(found.schema)
        )
        return pl.DataFrame([_one_value(name, value, shown.schema.get(name)) for name, value in row.items()])

    def upsert(self, rows: Any, *, record_key: str | None, atomic: bool, dry_run: bool) -> pl.DataFrame:
        """Write ``rows`` and return the records; see ``KTable.upsert``."""
        frame = as_rows(rows)
        return self._write(
            lambda found: self._records(found, frame, record_key), atomic=atomic, dry_run=dry_run
        )

    def delete(self, keys: Sequence[Any], *, atomic: bool, dry_run: bool) -> pl.DataFrame:
        """Write a tombstone for each row that there is; see ``KTable.delete``."""
        return self._write(lambda found: self._tombstones(found, keys), atomic=atomic, dry_run=dry_run)

    def _write(
        self, make: Callable[[Materializer], OutgoingRecords], *, atomic: bool, dry_run: bool
    ) -> pl.DataFrame:
        """Send what ``make`` makes of the table as it is now, and return once the table has it."""
        records = self._reader.read(make, fresh=True)
        if dry_run or not len(records):
            return as_frame(records, None)
        sent = self._topic.send(self._reader.binding.topic, records, atomic=atomic)
        try:
            self._reader.wait_until_passed(sent.ends)
        except NotReadyError as error:
            error.detail = (
                f"all {len(records):,} records are written, but the table has not read them: {error.detail}"
            )
            raise
        return as_frame(records, sent)

    # --- rows -----------------------------------------------------------------------------------------------------

    def _records(self, found: Materializer, rows: pl.DataFrame, record_key: str | None) -> OutgoingRecords:
        """Return what to send for ``rows``: each to where its key lives, new keys to where the partitioner puts them."""
        draft = self._draft(found, rows, record_key)
        living = dict(zip(draft.identities, found.store.get_many(draft.identities), strict=True))
        keys: list[bytes | None] = []
        headers: list[Headers] = []
        # One record key for each new row, however often it comes: then it has one partition.
        new: dict[bytes, bytes | None] = {}
        lines: list[int] = []
        partitions: list[int | None] = []
        for line, identity in enumerate(draft.identities):
            places: list[tuple[int | None, bytes | None]] = [
                (partition, record_key_of(stored)) for partition, stored in living[identity]
            ]
            for partition, known in places or [(None, None)]:
                if known is None and draft.key_error is not None:
                    raise draft.key_error
                if known is None:
                    key, key_header = new.setdefault(identity, draft.keys[line]), draft.key_header
                else:
                    key, key_header = _as_it_came(found.decoder, known)
                keys.append(key)
                headers.append(_headers(key_header, draft.value_header))
                partitions.append(partition)
                lines.append(line)
        values = [draft.values[line] for line in lines]
        return OutgoingRecords(keys, values, partitions, headers if any(headers) else None)

    def _draft(self, found: Materializer, rows: pl.DataFrame, record_key: str | None) -> _Draft:
        decoder, schema = found.decoder, found.schema
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
        values_spelt = self._topic.spelling(
            self._reader.binding.topic,
            "value",
            self._value_format,
            last=_newest(decoder.value_schemas),
            is_plain=len(fields) > 0,
        )
        if not fields and _newest(decoder.value_schemas) is None:
            _check_readable(found)
        content = rows if key_name is None else rows.drop(key_name)
        _check_columns(content, fields)
        values = values_spelt.writer.write(content)
        value_header = values_spelt.header
        headers = _headers(key_header, value_header)
        read, after = _read_back(decoder, schema, keys, values, headers)
        if _newest(decoder.value_schemas) is None:
            _check_types(content, fields, after)  # a schema in the registry says itself what may be written
        _check_equal(content, read)
        identities = decoder.identity.encode(read).to_list()
        return _Draft(identities, keys, values, key_header, value_header, key_error)

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
        name = (
            key_name
            or record_key
            or (self._presentation.key[0] if len(self._presentation.key) == 1 else None)
        )
        if name is None:
            message = "this table's key is made of several fields, and a new row needs a record key."
            raise SchemaError(message, "record_key= names the column whose value it is.")
        if name not in rows.columns:
            message = (
                f"there is no column {name!r} in what is to be written: there are {', '.join(rows.columns)}."
            )
            raise SchemaError(message, "it holds the key of each row.")
        last = _newest(decoder.key_schemas)
        is_known = KEY in schema
        spelling = self._topic.spelling(
            self._reader.binding.topic, "key", self._key_format, last=last, is_plain=is_known
        )
        column = rows[name]
        if isinstance(column.dtype, pl.Struct):
            return spelling.writer.write(column.struct.unnest()), spelling.header
        return spelling.writer.write(column.alias(VALUE_COLUMN).to_frame()), spelling.header

    # --- tombstones -----------------------------------------------------------------------------------------------

    def _tombstones(self, found: Materializer, keys: Sequence[Any]) -> OutgoingRecords:
        """Return a tombstone for every place where a row of ``keys`` lives."""
        decoder, schema = found.decoder, found.schema
        encoded = [decoder.encode_key(key, schema) for key in keys]
        if schema and None in encoded:
            message = f"{keys[encoded.index(None)]!r} can't be a key of this table."
            raise SchemaError(message, "keys are as keys() returns them; several are given as a list.")
        identities = list(dict.fromkeys(identity for identity in encoded if identity is not None))
        record_keys: list[bytes | None] = []
        headers: list[Headers] = []
        partitions: list[int | None] = []
        for identity, places in zip(identities, found.store.get_many(identities), strict=True):
            for partition, stored in places:
                key = record_key_of(stored)
                if key is None:
                    key = self._own_key(decoder, schema, identity)
                self._check_alone(found, partition, key, identities)
                sent, header = _as_it_came(decoder, key)
                record_keys.append(sent)
                headers.append(_headers(header))
                partitions.append(partition)
        nothing = [None] * len(record_keys)
        return OutgoingRecords(record_keys, nothing, partitions, headers if any(headers) else None)

    def _own_key(self, decoder: TopicDecoder, schema: pl.Schema, identity: bytes) -> bytes:
        """Return the record key of a row whose identity says it: a plain value, written in one way only."""
        if KEY not in decoder.identity.columns:
            message = "a row came without a record key: no tombstone can delete it."
            raise SchemaError(message)
        decoded = decoder.identity.decode([identity], decoder.identity_schema(schema))
        spelling = self._topic.spelling(self._reader.binding.topic, "key", self._key_format)
        return spelling.writer.write(decoded.select(pl.col(KEY).alias(VALUE_COLUMN)))[0]

    @staticmethod
    def _check_alone(found: Materializer, partition: int, key: bytes, doomed: Sequence[bytes]) -> None:
        """Refuse a tombstone that would delete rows which nobody asked to delete."""
        sharing = [i for i in found.store.identities_of(partition, key) if i not in doomed]
        others = [
            identity
            for identity, rows in zip(sharing, found.store.get_many(sharing), strict=True)
            if any(at == partition and record_key_of(row) == key for at, row in rows)
        ]
        if others:
            message = f"deleting the row of record key {key!r} would delete {len(others):,} other rows with that record key."
            raise SchemaError(
                message, "give all their keys in one call, or write rows that say they are gone."
            )


def _newest(schemas: SeenSchemas | None) -> Last:
    return None if schemas is None else schemas.newest_schema()


def _as_it_came(decoder: TopicDecoder, key: bytes) -> tuple[bytes, _Header]:
    """Return a stored record key as its record had it: what a header said of its schema is in that header again."""
    if not decoder.decodes_keys:
        return key, None
    last = _newest(decoder.key_schemas)
    payload, said = without_header_ref(key, b"" if last is None else last[1])
    return payload, None if said is None else (KEY_HEADER, said)


def _one_value(name: str, value: Any, dtype: pl.DataType | None) -> pl.Series:
    """Return ``value`` as a column of ``dtype``, which it must be of; of the type it has where that is not known."""
    # Polars casts the fields of structs, and drops the unknown ones, without a word: nested values keep their own types.
    is_known = dtype is not None and dtype != pl.Null and not dtype.is_nested()
    try:
        if isinstance(value, bool) and is_known and dtype != pl.Boolean:
            raise TypeError(value)  # noqa: TRY301 - as Polars itself says of other kinds
        made = pl.Series(name, [value], dtype=dtype if is_known else None, strict=True)
        if is_known and made[0] != value and value == value:  # noqa: PLR0124 - NaN is not itself
            raise TypeError(value)  # noqa: TRY301 - Polars rounds it, or takes a number for a date
        return made  # noqa: TRY300 - nothing else can fail here
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        message = f"column {name!r}: {value!r} is no {dtype}, as the table has it."
        raise SchemaError(message, "schema has the columns and their types.") from error


def _headers(*said: _Header) -> Headers:
    return [each for each in said if each is not None] or None


def _check_readable(found: Materializer) -> None:
    """Refuse to write JSON among records under a schema that could not be looked up."""
    reasons = (record.reason for record in found.store.refused() if UNKNOWN_SCHEMA in record.reason)
    reason = next(reasons, None)
    if reason is not None:
        message = f"the topic's records are under a schema, and what is written would not be: {reason}."
        raise SchemaError(message, "connect(..., schema_registry=...) tells where the schema is.")


def _check_columns(content: pl.DataFrame, fields: pl.Schema) -> None:
    unknown = [name for name in content.columns if name not in fields]
    if fields and unknown:
        message = f"the topic's records have no field {', '.join(map(repr, unknown))}: there are {', '.join(fields)}."
        raise SchemaError(
            message, "rename or drop the column; a new field is first written by ktframe.publish()."
        )


def _read_back(
    decoder: TopicDecoder,
    schema: pl.Schema,
    keys: Sequence[bytes | None],
    values: Sequence[bytes],
    headers: Headers,
) -> tuple[pl.DataFrame, pl.Schema]:
    """Return the rows that the table will make of the records, and its schema then; SchemaError where it makes none."""
    count = len(values)
    batch = RecordBatch(
        partitions=[0] * count,
        offsets=range(count),
        timestamps=[0] * count,
        timestamp_types=[_CREATE_TIME] * count,
        keys=keys,
        values=values,
        headers=None if headers is None else [headers] * count,
    )
    read, refused, after = decoder.read(batch, schema)
    assigned = decoder.identity.assign(read, BatchContext())
    refused = [*refused, *(Refusal(line, reason) for line, reason in assigned.refused)]
    if refused:
        first = min(refused, key=lambda each: each.index)
        message = f"row {first.index} would be refused: {first.reason}."
        raise SchemaError(message, "nothing was written; schema has the columns and their types.")
    return read, after


def _check_types(content: pl.DataFrame, fields: pl.Schema, after: pl.Schema) -> None:
    """Refuse rows that would change the type of a column for everybody."""
    for column in content.iter_columns():
        before = fields.get(column.name, pl.Null())
        if before in (pl.Null, after[column.name]):
            continue
        is_odd = ~column.cast(before, strict=False).eq_missing(column)
        at = is_odd.arg_max() or 0
        message = f"column {column.name!r}, row {at}: {column[at]!r} is no {before}, as the topic's records have it."
        raise SchemaError(message, "nothing was written; cast the column.")


def _check_equal(content: pl.DataFrame, read: pl.DataFrame) -> None:
    """Refuse rows that would come back other than they are."""
    for column in content.iter_columns():
        if column.name not in read.columns:
            continue
        back = read[column.name]
        try:
            # A column that is read back as nothing but nulls has no type to compare in.
            given = column if back.dtype == pl.Null else column.cast(back.dtype, strict=True)
            is_other = ~given.eq_missing(back.cast(given.dtype))
        except pl.exceptions.PolarsError:
            continue  # of another kind, such as a time that JSON holds as text: what is read is what was written
        if is_other.any():
            at = is_other.arg_max() or 0
            message = f"column {column.name!r}, row {at}: {column[at]!r} would be read as {back[at]!r}."
            raise SchemaError(message, "nothing was written; cast the column to a type that holds it.")
