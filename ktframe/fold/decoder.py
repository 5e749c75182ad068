"""From raw records to changes: key, value and event time of one topic, by one identity.

A ``TopicDecoder`` is a setting, never a state: the schema known so far is handed in and comes back with the changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from ktframe.columns import (
    BOOKKEEPING,
    EXTRA_COLUMNS,
    HASH,
    IDENTITY,
    KEY,
    LINE,
    OFFSET,
    PARTITION,
    RECORD_KEY,
    REMOVED,
    SIZE,
    TIMESTAMP,
    TOMBSTONE,
    is_field,
)
from ktframe.fold.event_time import event_times
from ktframe.fold.identity import Assigned, Identity, KeyUse, Tombstone
from ktframe.fold.identity_codec import encode_parts, physical_part
from ktframe.fold.record_key import as_key, key_columns, key_type, part_types
from ktframe.fold.records import BatchContext, Changes, KeyTombstone, RecordBatch, StoredRows
from ktframe.fold.refused import key_tombstones, late_records, refused_records
from ktframe.fold.row_codec import pack_keyed_rows, pack_rows, record_key_of, unpack_rows
from ktframe.formats import Format
from ktframe.formats.base import Refusal
from ktframe.formats.wire import KEY_HEADER, VALUE_HEADER, with_header_ref

_NAMELESS = "a tombstone without a record key: it deletes nothing"
_NOTHING_KNOWN = BatchContext()

# Where tombstones name rows by their record key.
_NAMING = (KeyUse.DELETES_BY, KeyUse.PART_OF_IDENTITY)


@dataclass(frozen=True, slots=True)
class TopicDecoder:
    """How the records of a topic become rows; ``time`` names the field that holds the event time, if one does."""

    identity: Identity
    value_format: Format
    key_format: Format
    time: str | None = None

    @property
    def revision(self) -> int:
        """Rises when stored rows would be decoded otherwise than they were."""
        return self.value_format.revision + self.key_format.revision

    def forget_schemas(self) -> None:
        """Forget the schemas that keys and values have named: the topic is another one."""
        self.value_format.forget_schemas()
        self.key_format.forget_schemas()

    @property
    def needs_headers(self) -> bool:
        """Whether a header may name the schema of a key or a value."""
        return self.value_format.needs_headers or self.key_format.needs_headers

    def keeping_integers(self, *fields: str) -> TopicDecoder:
        """Return this entity with no integer among ``fields`` ever turned into a float."""
        return replace(self, value_format=self.value_format.keeping_integers(*fields))

    @property
    def keeps_markers(self) -> bool:
        """Whether tombstones stay beside the rows."""
        return self.identity.tombstone is Tombstone.MARKS

    def identity_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return the dtypes of the identity's columns, given the fields known so far."""
        return self._dtypes(self.identity.columns, fields)

    def frame_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return all columns of the view: bookkeeping, what of the identity is no known field, the fields in order."""
        ours = self._dtypes((*self.identity.columns, *self.identity.extra_columns), fields)
        beside = {name: dtype for name, dtype in ours.items() if name not in fields}
        return pl.Schema({**BOOKKEEPING, **beside, **fields})

    def _dtypes(self, columns: Sequence[str], fields: pl.Schema) -> pl.Schema:
        known = {**fields, **BOOKKEEPING, **EXTRA_COLUMNS, KEY: self._key_dtype(fields)}
        return pl.Schema({name: known.get(name, pl.Null()) for name in columns})

    def _key_dtype(self, fields: pl.Schema) -> pl.DataType:
        """Return the type of the record key: where no key has shown it yet, what the format says, or nothing."""
        return fields[KEY] if KEY in fields else key_type(self.key_format.initial_schema)

    @staticmethod
    def fields(schema: pl.Schema) -> pl.Schema:
        """Return the fields of the value alone."""
        if KEY not in schema:
            return schema
        return pl.Schema({name: dtype for name, dtype in schema.items() if is_field(name)})

    def key_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return what the key format knows of its columns by now."""
        if KEY not in fields:
            return self.key_format.initial_schema
        return key_columns(fields[KEY])

    def encode_key(self, key: object, fields: pl.Schema) -> bytes | None:
        """Return the identity of a key as a user gives it, a tuple where it is composite; None where no row has it.

        A part is the column's value exactly: of its kind, and not rounded or cast to it.
        """
        dtypes = part_types(self.identity_schema(fields).values())
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) != len(dtypes):
            return None
        try:
            # What the column can't hold is refused on the way: TypeError a Fraction, UnicodeEncodeError half a pair.
            return encode_parts(physical_part(part, dtype) for part, dtype in zip(parts, dtypes, strict=True))
        except (TypeError, OverflowError, UnicodeEncodeError):
            return None

    def decode(
        self, batch: RecordBatch, schema: pl.Schema, context: BatchContext = _NOTHING_KNOWN
    ) -> Changes:
        """Return what ``batch`` changes: every record becomes a row, a removal, late or refused, once."""
        refused: list[Refusal] = []
        batch = self._with_schema_names(batch)
        lines = self._lines(batch, schema, refused)
        rows, fields = self._with_values(batch, lines, schema, refused)
        assigned = self.identity.assign(rows, context)
        refused.extend(Refusal(line, reason) for line, reason in assigned.refused)
        return self._fold(batch, assigned, refused, fields)

    def rows_of(self, batch: RecordBatch, schema: pl.Schema) -> pl.DataFrame:
        """Return every usable record of ``batch`` as a row of its own, with ``LINE``, unfolded and without identity."""
        rows, _, _ = self.read(batch, schema)
        absent = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
        return rows.with_columns(absent)

    def read(self, batch: RecordBatch, schema: pl.Schema) -> tuple[pl.DataFrame, list[Refusal], pl.Schema]:
        """Return the usable records as ``rows_of`` does, why the others are not, and all fields known by then."""
        refused: list[Refusal] = []
        batch = self._with_schema_names(batch)
        rows, fields = self._with_values(batch, self._lines(batch, schema, refused), schema, refused)
        return rows, refused, fields

    def _with_schema_names(self, batch: RecordBatch) -> RecordBatch:
        """Put what a header says of the schema of a payload before the payload: it is kept with it from here on."""
        if batch.headers is None or not any(batch.headers):
            return batch
        keys, values = batch.keys, batch.values
        if self.value_format.needs_headers:
            values = [
                with_header_ref(value, headers, VALUE_HEADER)
                for value, headers in zip(values, batch.headers, strict=True)
            ]
        # Where keys only name rows they stay as they are: Kafka compares bytes.
        if self.key_format.needs_headers and self.decodes_keys:
            keys = [
                with_header_ref(key, headers, KEY_HEADER)
                for key, headers in zip(keys, batch.headers, strict=True)
            ]
        return replace(batch, keys=keys, values=values)

    @property
    def decodes_keys(self) -> bool:
        """Whether record keys are read, not only kept."""
        return self.identity.key_use in (KeyUse.IDENTITY, KeyUse.COLUMN)

    def _lines(self, batch: RecordBatch, schema: pl.Schema, refused: list[Refusal]) -> pl.DataFrame:
        """Return the bookkeeping of the usable records, with their key as far as the identity wants it."""
        lines = pl.DataFrame(
            {
                LINE: pl.Series(range(len(batch)), dtype=pl.UInt32),
                PARTITION: pl.Series(batch.partitions, dtype=BOOKKEEPING[PARTITION]),
                OFFSET: pl.Series(batch.offsets, dtype=BOOKKEEPING[OFFSET]),
                TIMESTAMP: _record_times(batch),
                TOMBSTONE: pl.Series([value is None for value in batch.values], dtype=pl.Boolean),
            },
        )
        use = self.identity.key_use
        if self.decodes_keys:
            return self._with_keys(batch, lines, schema, refused)
        keys = pl.Series(RECORD_KEY, batch.keys, dtype=pl.Binary)
        nameless = lines.filter(pl.col(TOMBSTONE) & keys.is_null())[LINE]
        refused.extend(Refusal(line, _NAMELESS) for line in nameless)
        if use is KeyUse.PART_OF_IDENTITY:
            lines = lines.with_columns(keys)
        return lines.filter(~(pl.col(TOMBSTONE) & keys.is_null())) if len(nameless) else lines

    def _with_keys(
        self, batch: RecordBatch, lines: pl.DataFrame, schema: pl.Schema, refused: list[Refusal]
    ) -> pl.DataFrame:
        keyed = [line for line, key in enumerate(batch.keys) if key is not None]
        payloads = [key for key in batch.keys if key is not None]
        decoded = self.key_format.decode(payloads, self.key_schema(schema))
        accepted = pl.DataFrame(
            {
                LINE: pl.Series([keyed[i] for i in decoded.accepted], dtype=pl.UInt32),
                KEY: as_key(decoded.frame),
            }
        )
        refused.extend(replace(r, index=keyed[r.index], reason=f"key: {r.reason}") for r in decoded.refused)
        if accepted.height == len(batch):
            return lines.with_columns(accepted[KEY])
        if self.identity.key_use is KeyUse.IDENTITY:
            reason = self.identity.null_key_reason()
            refused.extend(Refusal(line, reason) for line, key in enumerate(batch.keys) if key is None)
            return _pick(lines, accepted[LINE]).with_columns(accepted[KEY])
        unread = [keyed[r.index] for r in decoded.refused]
        joined = lines.join(accepted, on=LINE, how="left", maintain_order="left")
        return joined.filter(~pl.col(LINE).is_in(unread)) if unread else joined

    def _with_values(
        self, batch: RecordBatch, lines: pl.DataFrame, schema: pl.Schema, refused: list[Refusal]
    ) -> tuple[pl.DataFrame, pl.Schema]:
        """Return the records whose value could be decoded, with its fields, and all fields known by now."""
        valued = lines.filter(~pl.col(TOMBSTONE))[LINE].to_list()
        decoded = self.value_format.decode(
            [value for line in valued if (value := batch.values[line]) is not None], self.fields(schema)
        )
        refused.extend(replace(r, index=valued[r.index]) for r in decoded.refused)
        accepted = pl.Series(LINE, [valued[i] for i in decoded.accepted], dtype=pl.UInt32)
        rows = _pick(lines, accepted).hstack(decoded.frame.get_columns())
        if self.time is not None:
            rows = rows.with_columns(event_times(rows, self.time).alias(TIMESTAMP))
        if len(valued) < lines.height:
            # A tombstone has no field to take its time from: it happened when the record says.
            tombstones = lines.filter(pl.col(TOMBSTONE))
            rows = pl.concat([rows, tombstones], how="diagonal_relaxed").sort(LINE)
        return rows, self._with_key_type(decoded.schema, lines)

    def _with_key_type(self, fields: pl.Schema, lines: pl.DataFrame) -> pl.Schema:
        """Return ``fields`` with the type that the keys turned out to have, where the format did not say it."""
        if KEY not in lines.columns or self.key_format.initial_schema or lines.schema[KEY] == pl.Null:
            return fields
        return pl.Schema({KEY: lines.schema[KEY], **fields})

    def _fold(
        self, batch: RecordBatch, assigned: Assigned, refused: Sequence[Refusal], schema: pl.Schema
    ) -> Changes:
        rows = assigned.rows
        tombstones: tuple[KeyTombstone, ...] = ()
        use = self.identity.key_use
        names = use is KeyUse.DELETES_BY
        if names:
            tombstones = key_tombstones(batch, rows.filter(pl.col(TOMBSTONE))[LINE])
            rows = rows.filter(~pl.col(TOMBSTONE)) if tombstones else rows
        identities = self.identity.encode(rows)
        folded = (
            rows.with_columns(identities.alias(IDENTITY), self.identity.hash(rows, identities))
            .unique([PARTITION, IDENTITY], keep="last", maintain_order=True)
            # Sorted writes take RocksDB a fraction of the time of unsorted ones.
            .sort(PARTITION, IDENTITY)
        )
        values = self._stored_values(batch, folded)
        keys = [batch.keys[line] for line in folded[LINE]] if use in _NAMING else None
        return Changes(
            partitions=folded[PARTITION].to_list(),
            identities=folded[IDENTITY].to_list(),
            values=values,
            frame=self._lines_of_view(folded, values, schema),
            record_keys=keys if names else None,
            refused=refused_records(batch, refused),
            late=late_records(batch, assigned.late),
            tombstones=tombstones,
            stream_times=assigned.stream_times,
            expired=assigned.expired,
            schema=schema,
            is_keyless=keys is not None and None in keys,
        )

    def _lines_of_view(
        self, folded: pl.DataFrame, values: Sequence[bytes | None], schema: pl.Schema
    ) -> pl.DataFrame:
        is_row = self.identity.tombstone is Tombstone.IS_ROW
        frame = folded.with_columns((pl.lit(value=False) if is_row else pl.col(TOMBSTONE)).alias(REMOVED))
        if SIZE in self.identity.extra_columns:
            sizes = pl.Series([len(value or b"") for value in values], dtype=EXTRA_COLUMNS[SIZE])
            frame = frame.with_columns(sizes.alias(SIZE))
        return frame.select(name for name in (*self.frame_schema(schema), REMOVED) if name in frame.columns)

    def _stored_values(self, batch: RecordBatch, folded: pl.DataFrame) -> list[bytes | None]:
        lines = folded[LINE].to_list()
        removes = self.identity.tombstone is Tombstone.REMOVES
        kept = [line for line in lines if batch.values[line] is not None] if removes else lines
        timestamps = ((batch.timestamp_types[line], batch.timestamps[line]) for line in kept)
        offsets = [batch.offsets[line] for line in kept]
        payloads = [batch.values[line] for line in kept]
        if self.identity.key_use is KeyUse.IDENTITY and self.key_format.has_one_spelling:
            packed = pack_rows(timestamps, offsets, payloads)
        else:
            packed = pack_keyed_rows(timestamps, offsets, payloads, [batch.keys[line] for line in kept])
        if len(packed) == len(lines):
            return list(packed)
        row = iter(packed)
        return [None if batch.values[line] is None else next(row) for line in lines]

    # --- from the store -------------------------------------------------------------------------------------------

    def load(self, rows: StoredRows, schema: pl.Schema) -> pl.DataFrame:
        """Return stored rows as lines of the view: ``frame_schema(schema)``, and ``REMOVED`` where there are markers.

        Raises
        ------
        ValueError
            When a stored value can't be decoded any more, which only a damaged store can cause.
        """
        stored, payloads = unpack_rows(rows.values)
        values = self._loaded_values(payloads, stored[TOMBSTONE], schema)
        identity = self.identity.decode(rows.identities, self.identity_schema(schema))
        partitions = pl.Series(PARTITION, rows.partitions, dtype=BOOKKEEPING[PARTITION])
        frame = stored.hstack([partitions, *identity.get_columns(), *values.get_columns()])
        frame = frame.with_columns(self._loaded_beside(rows, schema))
        if self.time is not None:
            times = event_times(frame, self.time)
            frame = frame.with_columns(pl.when(TOMBSTONE).then(TIMESTAMP).otherwise(times).alias(TIMESTAMP))
        # A field of the identity that no row has shown is in the view, but not among those of the format.
        known = frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self.frame_schema(schema).items()
            if name != HASH
        )
        hashed = known.select(self.identity.hash(known, rows.identities), pl.all())
        return hashed.with_columns(stored[TOMBSTONE].alias(REMOVED)) if self.keeps_markers else hashed

    def _loaded_values(
        self, payloads: Sequence[bytes], is_tombstone: pl.Series, schema: pl.Schema
    ) -> pl.DataFrame:
        living = [p for p, is_null in zip(payloads, is_tombstone, strict=True) if not is_null]
        decoded = self.value_format.decode(living, self.fields(schema))
        if decoded.refused:
            raise ValueError(decoded.refused[0].reason)
        return _spread(decoded.frame, ~is_tombstone)

    def _loaded_beside(self, rows: StoredRows, schema: pl.Schema) -> list[pl.Series]:
        """Return what the stored row holds of the columns that the identity wants."""
        wanted = (*self.identity.columns, *self.identity.extra_columns)
        found = []
        if SIZE in wanted:
            found.append(pl.Series(SIZE, [len(value) for value in rows.values], dtype=EXTRA_COLUMNS[SIZE]))
        if RECORD_KEY in wanted:
            found.append(
                pl.Series(RECORD_KEY, [record_key_of(value) for value in rows.values], dtype=pl.Binary)
            )
        if self.identity.key_use is KeyUse.COLUMN:
            keys = [record_key_of(value) for value in rows.values]
            living = [key for key in keys if key is not None]
            decoded = as_key(self.key_format.decode(living, self.key_schema(schema)).frame).to_frame()
            found.append(_spread(decoded, pl.Series([key is not None for key in keys])).to_series())
        return found

    def is_keyless(self, rows: StoredRows) -> bool:
        """Say whether a stored row has no record key by which a tombstone would name it."""
        return self.identity.key_use in _NAMING and None in map(record_key_of, rows.values)


def _spread(frame: pl.DataFrame, is_there: pl.Series) -> pl.DataFrame:
    """Return the rows of ``frame`` where ``is_there`` says so, and nulls elsewhere."""
    if frame.height == len(is_there):
        return frame
    if not frame.height:
        return frame.clear(len(is_there))
    lines = pl.select(pl.when(is_there).then(is_there.cum_sum() - 1)).to_series()
    return frame[lines]


def _record_times(batch: RecordBatch) -> pl.Series:
    times = pl.Series(TIMESTAMP, batch.timestamps, dtype=pl.Int64)
    is_absent = pl.Series(batch.timestamp_types, dtype=pl.UInt8) == 0
    return times.set(is_absent, None) if is_absent.any() else times


def _pick(frame: pl.DataFrame, lines: pl.Series) -> pl.DataFrame:
    """Return the rows of ``frame`` (ascending in ``LINE``) whose line is in ``lines``."""
    return frame if len(lines) == frame.height else frame.filter(pl.col(LINE).is_in(lines.implode()))
