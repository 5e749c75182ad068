"""From raw records to changes, and from stored rows to lines of the view: key, value and event time of one topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import polars as pl

from ktframe.columns import (
    BODY,
    BOOKKEEPING,
    DELETED_BY,
    EXTRA_COLUMNS,
    HASH,
    IDENTITY,
    KEY,
    LINE,
    PARTITION,
    RECORD_KEY,
    REMOVED,
    SIZE,
    STALE,
    TOMBSTONE,
    WINDOW,
    is_field,
)
from ktframe.fold.event_time import RECORD_TIME, EventTime
from ktframe.fold.exploded import exploded
from ktframe.fold.headers import NO_HEADER_COLUMNS, HeaderColumns
from ktframe.fold.identity import Assigned, Identity, KeyUse, Tombstone
from ktframe.fold.identity_codec import encode_keys
from ktframe.fold.key_column import KeyColumn, part_names, part_types, parts_of
from ktframe.fold.learning import Learner, Records, decode_and_learn
from ktframe.fold.lines import at, lines_of
from ktframe.fold.nested_fields import NONE_NESTED, NestedFields
from ktframe.fold.records import BatchContext, Changes, KeyTombstone, RecordBatch, StaleMarks, StoredRows
from ktframe.fold.refused import accepted, key_tombstones, late_records, refused_records
from ktframe.fold.row_codec import headers_of, record_key_of, stored_sizes, unpack_rows, unpacked
from ktframe.fold.schema_names import with_schema_names
from ktframe.fold.sifting import Sieve
from ktframe.fold.stale import marks_of, stale_marks, with_stale_lines
from ktframe.fold.unnested_fields import NONE_UNNESTED, UnnestedFields
from ktframe.fold.value_columns import ValueColumns
from ktframe.fold.view_columns import ViewColumns
from ktframe.formats import (
    Decision,
    Format,
    Forms,
    SeenSchemas,
    decided_by,
    forms_of,
    inferring,
    schemas_of,
    with_forms,
)
from ktframe.formats.base import Refusal

_NO_CONTEXT = BatchContext()


@dataclass(frozen=True, slots=True)
class TopicDecoder:
    """How the records of a topic become rows, and when they happened.

    It has no state: the schema known so far is handed in and comes back with the changes.
    """

    identity: Identity
    value_format: Format
    key_format: Format
    event_time: EventTime = RECORD_TIME
    nested: NestedFields = NONE_NESTED
    """The fields inside of structs that are the key, or the event time."""
    unnested: UnnestedFields = NONE_UNNESTED
    """The structs whose fields are columns of the view."""
    sieve: Sieve | None = None
    """Which records become rows, and what deletes one beside tombstones; None: all, and nothing else."""
    headers: HeaderColumns = NO_HEADER_COLUMNS
    """The headers that rows have."""

    @property
    def time(self) -> str | None:
        """The field that holds the event time, if one does."""
        return self.event_time.field

    @property
    def _keys(self) -> KeyColumn:
        return KeyColumn(self.key_format, self.identity.key_use, self.identity.null_key_reason)

    @property
    def values(self) -> ValueColumns:
        """How values become columns."""
        return ValueColumns(self.value_format, self.nested)

    @property
    def revision(self) -> int:
        """Rises when stored rows would be decoded otherwise than they were."""
        return sum(schemas.revision for schemas in self._seen_schemas)

    def forget_schemas(self) -> None:
        """Forget the schemas that keys and values have named: the topic is another one."""
        for schemas in self._seen_schemas:
            schemas.forget_schemas()

    @property
    def needs_headers(self) -> bool:
        """Whether headers are wanted, or one may name the schema of a key or a value."""
        return bool(self.headers) or bool(self._seen_schemas)

    @property
    def value_schemas(self) -> SeenSchemas | None:
        """The schemas that values have referred to; None where they refer to none."""
        return schemas_of(self.value_format)

    @property
    def key_schemas(self) -> SeenSchemas | None:
        """The schemas that keys have referred to; None where they refer to none."""
        return schemas_of(self.key_format)

    @property
    def _seen_schemas(self) -> tuple[SeenSchemas, ...]:
        return tuple(schemas for schemas in (self.value_schemas, self.key_schemas) if schemas is not None)

    def without_float_widening(self, *fields: str) -> TopicDecoder:
        """Return this decoder with no integer among ``fields`` ever turned into a float."""
        return replace(self, value_format=self.value_format.without_float_widening(*fields))

    def with_forms(self, forms: Forms) -> TopicDecoder:
        """Return this decoder with the values of inferred columns in the forms that were learned."""
        return replace(self, value_format=with_forms(self.value_format, forms)) if forms else self

    @property
    def forms(self) -> Forms:
        """Where columns of values hold JSON text or the entries of maps."""
        return forms_of(self.value_format)

    @property
    def is_windowed(self) -> bool:
        """Whether rows are those of windows."""
        return WINDOW in self.identity.columns

    def identity_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return the dtypes of the identity's columns, given the fields known so far."""
        return self._columns.identity(fields)

    def frame_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return all columns of the view: bookkeeping, those of the identity that are not fields, the fields in order, headers."""
        return self._columns.all(fields)

    @property
    def _columns(self) -> ViewColumns:
        return ViewColumns(self.identity, self._keys, self.nested, self.unnested, self.headers)

    @staticmethod
    def fields(schema: pl.Schema) -> pl.Schema:
        """Return the fields of the value alone."""
        if KEY not in schema:
            return schema
        return pl.Schema({name: dtype for name, dtype in schema.items() if is_field(name)})

    def key_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return what the key format knows of its columns by now."""
        return self._keys.schema(fields)

    def encode_keys(self, keys: Iterable[object], fields: pl.Schema) -> list[bytes | None]:
        """Return the identities of keys as a user gives them; None where no row has it.

        Those of several parts are tuples, or mappings by the names of their parts.
        """
        schema = self.identity_schema(fields)
        names = part_names(schema)
        return encode_keys([parts_of(key, names) for key in keys], part_types(schema.values()))

    # --- from records ---------------------------------------------------------------------------------------------

    def parts(self, batch: RecordBatch) -> Iterable[RecordBatch]:
        """Return ``batch`` in the parts in which it is decoded: with a line for each object of a value where that is a row."""
        return exploded(self._named(batch), self.value_format) if self.identity.takes_apart else (batch,)

    def decode(self, batch: RecordBatch, schema: pl.Schema, context: BatchContext = _NO_CONTEXT) -> Changes:
        """Return what ``batch``, one of ``parts``, changes: each record becomes a row, a removal, late, refused or left out."""
        batch = self._named(batch)
        headers, sifted = self.headers.read_batch(batch), None
        read = batch
        if self.sieve is not None:
            sifted = self.sieve.sift(batch, headers, inferring(self.value_format), context.learned)
            read, headers = sifted.readable, sifted.headers
        records, learned = decode_and_learn(
            lambda known, decision: self._decoded(read, known, decision),
            lambda: self.learner,
            read,
            schema,
            context.learned,
        )
        records = headers.added(records, self.event_time)
        if sifted is not None:
            keys = self.key_fields if self.identity.key_use is KeyUse.DELETES_BY else ()
            records, sifted = sifted.after(records, self.values, keys)
            batch = sifted.batch
        records, batch = headers.checked(records, of_tombstones=self._are_rows), self.headers.kept(batch)
        rows = records.rows
        if records.refused and not self._are_rows:
            fields = self.fields(records.schema)
            rows = with_stale_lines(
                records,
                batch,
                fields=fields,
                values=self.values,
                key_fields=self.key_fields,
                time=self.event_time,
                times=headers.column(self.time),
            )
        assigned = self.identity.assign(rows, context)
        known = {refusal.index for refusal in records.refused}
        further = [refusal for refusal in assigned.refused if refusal.index not in known]
        changes = self._folded(batch, assigned, [*records.refused, *further], records.schema)
        changes = replace(changes, learned=learned)
        return changes if sifted is None else sifted.told(changes)

    @property
    def _are_rows(self) -> bool:
        """Whether tombstones are rows like others."""
        return self.identity.tombstone is Tombstone.IS_ROW

    @property
    def keeps_markers(self) -> bool:
        """Whether a tombstone leaves a marker in the place of its row."""
        return self.identity.tombstone is Tombstone.MARKS

    @property
    def learner(self) -> Learner:
        """The formats of values and keys whose fields are inferred."""
        return Learner(
            inferring(self.value_format),
            inferring(self.key_format) if self.decodes_keys else None,
            frozenset() if self.time is None else self.nested.everywhere(self.time),
        )

    def read(self, batch: RecordBatch, schema: pl.Schema) -> Records:
        """Return the records of ``batch`` as rows, unfolded and without identity."""
        batch = self._named(batch)
        headers = self.headers.read_batch(batch)
        records = headers.added(self._decoded(batch, schema), self.event_time)
        return headers.checked(records, of_tombstones=self._are_rows)

    def rows_of(self, batch: RecordBatch, schema: pl.Schema) -> pl.DataFrame:
        """Return the rows that ``read`` gives, with all columns of ``schema``, as the view shows them."""
        rows = self.read(batch, schema).rows
        absent = [pl.lit(None).alias(name) for name in schema if name not in rows.columns]
        return self.unnested.apply(rows.with_columns(absent), self.fields(schema))

    def _named(self, batch: RecordBatch) -> RecordBatch:
        # Keys that are not decoded stay as they are: Kafka compares bytes.
        has_keys = self.key_schemas is not None and self.decodes_keys
        return with_schema_names(batch, values=self.value_schemas is not None, keys=has_keys)

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields of the value that are the key; none where the record key is it."""
        return self.identity.key_fields

    @property
    def declared_fields(self) -> frozenset[str]:
        """The fields of the value that were declared, not inferred."""
        return self.value_format.declared_fields

    @property
    def decodes_keys(self) -> bool:
        """Whether record keys are decoded, not only kept as bytes."""
        return self.identity.key_use.is_decoded

    def _decoded(self, batch: RecordBatch, schema: pl.Schema, decision: Decision | None = None) -> Records:
        keyed = self._keys.read(batch, lines_of(batch), schema)
        format_ = self.value_format if decision is None else decided_by(self.value_format, decision)
        valued, fields = replace(self.values, format=format_).read(batch, keyed.rows, self.fields(schema))
        rows = valued.rows if self.time in self.headers.names else self.event_time.apply(valued.rows)
        self.headers.require_no_field(fields)
        known = self._keys.with_type(fields, keyed.rows)
        return Records(rows, [*keyed.refused, *valued.refused], known, keyed.rows)

    def _folded(
        self,
        batch: RecordBatch,
        assigned: Assigned,
        refused: Sequence[Refusal],
        schema: pl.Schema,
    ) -> Changes:
        """Return a line for each row, of which ``combined`` keeps the last one of each identity."""
        rows, use = assigned.rows, self.identity.key_use
        tombstones: tuple[KeyTombstone, ...] = ()
        if use is KeyUse.DELETES_BY:
            # What deletes= names may have the fields of the key: then it deletes by these.
            by_key = pl.col(TOMBSTONE) & pl.all_horizontal(pl.col(self.key_fields).is_null())
            tombstones = key_tombstones(batch, rows.filter(by_key)[LINE])
            rows = rows.filter(~by_key) if tombstones else rows
        identities = self.identity.encode(rows)
        rows = rows.hstack([identities.alias(IDENTITY), self.identity.hash(rows, identities)])
        stale = pl.DataFrame()
        if STALE in rows.columns:
            stale = stale_marks(rows.filter(STALE), self.identity.columns)
            rows = rows.filter(~pl.col(STALE)).drop(STALE)
        keeps_all = self.identity.tombstone is not Tombstone.REMOVES
        stored = unpacked(batch, with_keys=self._keeps_key_bytes, with_tombstones=keeps_all)
        for_store, is_keyless = [rows[IDENTITY], *(at(rows[LINE], column) for column in stored)], False
        if use.is_for_deletes:
            keys = at(rows[LINE], pl.Series(DELETED_BY, batch.keys, dtype=pl.Binary))
            is_keyless = keys.null_count() > 0 and bool((keys.is_null() & ~rows[TOMBSTONE]).any())
            for_store += [keys] if use is KeyUse.DELETES_BY else []
        records = Counter(dict(pl.Series(batch.partitions).value_counts().iter_rows())) + Counter(batch.empty)
        return Changes(
            self._lines(rows, for_store, schema),
            refused=refused_records(batch, refused),
            late=late_records(batch, assigned.late),
            tombstones=tombstones,
            stream_times=assigned.stream_times,
            expired=assigned.expired,
            schema=schema,
            stale=stale,
            records=records,
            accepted=accepted(records, batch, refused),
            last=batch.last,
            is_keyless=is_keyless,
        )

    def _lines(self, rows: pl.DataFrame, for_store: list[pl.Series], schema: pl.Schema) -> pl.DataFrame:
        """Return the lines of changes: the columns of the view, and those ``for_store``."""
        removed = rows[TOMBSTONE] & (not self._are_rows)
        added = [removed.alias(REMOVED)]
        if SIZE in self.identity.extra_columns:
            (body,) = (column for column in for_store if column.name == BODY)
            added.append(stored_sizes(body).cast(EXTRA_COLUMNS[SIZE]).alias(SIZE))
        frame = self.unnested.apply(rows.hstack(added), self.fields(schema))
        known = set(frame.columns)
        frame = frame[[name for name in (*self.frame_schema(schema), REMOVED) if name in known]]
        return frame.hstack(for_store)

    @property
    def _keeps_key_bytes(self) -> bool:
        """Whether stored rows carry their record key: where its bytes don't follow from the identity."""
        return self.identity.key_use is not KeyUse.IDENTITY or not self.key_format.is_canonical

    # --- from the store -------------------------------------------------------------------------------------------

    def load(self, rows: StoredRows, schema: pl.Schema) -> pl.DataFrame:
        """Return stored rows as lines of the view: ``frame_schema(schema)``, and ``REMOVED`` where there are markers.

        Raises
        ------
        ValueError
            When a stored value can't be decoded any more, which only a damaged store can cause.
        """
        stored, payloads = unpack_rows(rows.values)
        partitions = pl.Series(PARTITION, rows.partitions, dtype=BOOKKEEPING[PARTITION])
        identity = self.identity.decode(rows.identities, self.identity_schema(schema))
        values = self.values.load(payloads, stored[TOMBSTONE], self.fields(schema))
        extra = self._loaded_extra_columns(rows, stored[TOMBSTONE], schema)
        frame = stored.hstack([partitions, *identity.get_columns(), *values.get_columns(), *extra])
        frame = self.event_time.apply(frame)
        known, wanted = {HASH, *frame.columns}, self.frame_schema(schema)
        # A field of the identity that no row has shown is in the view, but not among those of the format.
        absent = [
            pl.Series(name, [None] * frame.height, dtype=dtype)
            for name, dtype in wanted.items()
            if name not in known
        ]
        frame = frame.hstack([*absent, stored[TOMBSTONE].alias(REMOVED)])
        frame = frame.hstack([self.identity.hash(frame, rows.identities)])
        frame = self.unnested.apply(frame, self.fields(schema))
        return frame[[*wanted, REMOVED] if self.keeps_markers else [*wanted]]

    def load_marks(self, stored: StaleMarks, schema: pl.Schema) -> pl.DataFrame:
        """Return the stored marks of refused records as the view keeps them."""
        return marks_of(stored, self.identity, self.identity_schema(schema))

    def _loaded_extra_columns(
        self, rows: StoredRows, is_tombstone: pl.Series, schema: pl.Schema
    ) -> list[pl.Series]:
        """Return the columns that the identity and headers want and the stored rows hold."""
        wanted = (*self.identity.columns, *self.identity.extra_columns)
        columns: list[pl.Series] = []
        if self.headers:
            stored = [headers_of(row) for row in rows.values]
            columns += self.headers.load(stored, is_tombstone & (not self._are_rows))
        if SIZE in wanted:
            columns.append(pl.Series(SIZE, [len(row) for row in rows.values], dtype=EXTRA_COLUMNS[SIZE]))
        if RECORD_KEY in wanted:
            keys = [record_key_of(row) for row in rows.values]
            columns.append(pl.Series(RECORD_KEY, keys, dtype=EXTRA_COLUMNS[RECORD_KEY]))
        if self.identity.key_use is KeyUse.COLUMN:
            columns.append(self._keys.load(rows.values, schema))
        return columns

    def is_keyless(self, rows: StoredRows) -> bool:
        """Say whether a stored row has no record key by which a tombstone could delete it."""
        return self.identity.key_use.is_for_deletes and None in map(record_key_of, rows.values)
