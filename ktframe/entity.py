"""From raw records to changes: key, value and event time of one topic, by one identity.

An ``Entity`` is a setting, never a state: the schema known so far is handed in and comes back with the changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import polars as pl

from ktframe.encoding import encode_parts, physical_part
from ktframe.eventtime import event_times
from ktframe.formats import Format
from ktframe.formats.base import Rejection
from ktframe.identity import Identity, hash_identities
from ktframe.records import (
    BOOKKEEPING,
    HASH,
    KEY,
    OFFSET,
    PARTITION,
    REMOVED,
    TIMESTAMP,
    Changes,
    KeyTombstone,
    QuarantinedRecord,
    RecordBatch,
    StoredRows,
)
from ktframe.rowvalue import pack_keyed_rows, pack_rows, unpack_rows

_LINE = "\0line"
_NAMELESS = "a tombstone without a record key: it deletes nothing"


@dataclass(frozen=True, slots=True)
class Entity:
    """How the records of a topic become rows; ``time`` names the field that holds the event time, if one does."""

    identity: Identity
    value_format: Format
    key_format: Format
    time: str | None = None

    def keeping_integers(self, *fields: str) -> Entity:
        """Return this entity with no integer among ``fields`` ever turned into a float."""
        return replace(self, value_format=self.value_format.keeping_integers(*fields))

    def identity_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return the dtypes of the identity's columns, given the fields known so far."""
        known = {**fields, KEY: self.key_format.initial_schema["value"]}
        return pl.Schema({name: known.get(name, pl.Null()) for name in self.identity.columns})

    def frame_schema(self, fields: pl.Schema) -> pl.Schema:
        """Return all columns of the view: bookkeeping, what of the identity is no known field, the fields in order."""
        identity = self.identity_schema(fields)
        beside = {name: dtype for name, dtype in identity.items() if name not in fields}
        return pl.Schema({**BOOKKEEPING, **beside, **fields})

    def encode_key(self, key: object, fields: pl.Schema) -> bytes | None:
        """Return the identity of a key as a user gives it, a tuple where it is composite; None where no row has it.

        A part is the column's value exactly: of its kind, and not rounded or cast to it.
        """
        dtypes = self.identity_schema(fields).values()
        parts = key if isinstance(key, tuple) else (key,)
        if len(parts) != len(dtypes):
            return None
        try:
            # What the column can't hold is refused on the way: TypeError a Fraction, UnicodeEncodeError half a pair.
            return encode_parts(physical_part(part, dtype) for part, dtype in zip(parts, dtypes, strict=True))
        except (TypeError, OverflowError, UnicodeEncodeError):
            return None

    def decode(self, batch: RecordBatch, schema: pl.Schema) -> Changes:
        """Return what ``batch`` changes: every record becomes a row, a removal or a quarantined record, once."""
        rejected: list[Rejection] = []
        keyed = self._decode_keys(batch, rejected)
        lines = keyed[_LINE].to_list()
        valued = [line for line in lines if batch.values[line] is not None]
        decoded = self.value_format.decode(
            [value for line in lines if (value := batch.values[line]) is not None],
            schema,
            None if batch.headers is None else [batch.headers[line] for line in valued],
        )
        rejected.extend(replace(r, index=valued[r.index]) for r in decoded.rejected)
        accepted = pl.Series(_LINE, [valued[i] for i in decoded.accepted], dtype=pl.UInt32)
        rows = _pick(keyed, accepted).hstack(decoded.frame.get_columns())
        if self.time is not None:
            rows = rows.with_columns(event_times(rows, self.time).alias(TIMESTAMP))
        rows = self._require_identity(rows, rejected)
        changed = rows.with_columns(pl.lit(value=False).alias(REMOVED))
        tombstones = [line for line in lines if batch.values[line] is None]
        rejected.extend(Rejection(line, _NAMELESS) for line in tombstones if batch.keys[line] is None)
        if tombstones and self.identity.needs_record_key:
            removed = _pick(keyed, pl.Series(_LINE, tombstones, dtype=pl.UInt32))
            removed = removed.with_columns(pl.lit(value=True).alias(REMOVED))
            changed = pl.concat([changed, removed], how="diagonal_relaxed").sort(_LINE)
        return self._fold(batch, changed, rejected, tombstones, decoded.schema)

    def _decode_keys(self, batch: RecordBatch, rejected: list[Rejection]) -> pl.DataFrame:
        """Return the bookkeeping of the usable records, with their decoded key where it is needed."""
        lines = pl.DataFrame(
            {
                _LINE: pl.Series(range(len(batch)), dtype=pl.UInt32),
                PARTITION: pl.Series(batch.partitions, dtype=BOOKKEEPING[PARTITION]),
                OFFSET: pl.Series(batch.offsets, dtype=BOOKKEEPING[OFFSET]),
                TIMESTAMP: _record_times(batch),
            },
        )
        if not self.identity.needs_record_key:
            return lines
        keyed = [line for line, key in enumerate(batch.keys) if key is not None]
        if len(keyed) < len(batch):
            reason = self.identity.missing_reason()
            rejected.extend(Rejection(line, reason) for line, key in enumerate(batch.keys) if key is None)
        payloads = [key for key in batch.keys if key is not None]
        decoded = self.key_format.decode(payloads, self.key_format.initial_schema)
        rejected.extend(replace(r, index=keyed[r.index], reason=f"key: {r.reason}") for r in decoded.rejected)
        accepted = pl.Series(_LINE, [keyed[i] for i in decoded.accepted], dtype=pl.UInt32)
        return _pick(lines, accepted).with_columns(decoded.frame["value"].alias(KEY))

    def _require_identity(self, rows: pl.DataFrame, rejected: list[Rejection]) -> pl.DataFrame:
        """Return the rows that have an identity; add the columns of it that no record has shown yet."""
        columns = self.identity.columns
        absent = [pl.lit(None).alias(name) for name in columns if name not in rows.columns]
        rows = rows.with_columns(absent)
        missing = pl.all_horizontal(pl.col(columns).is_null())
        without = rows.filter(missing)
        if without.height:
            reason = self.identity.missing_reason()
            rejected.extend(Rejection(line, reason) for line in without[_LINE])
            rows = rows.filter(~missing)
        return rows

    def _fold(
        self,
        batch: RecordBatch,
        changed: pl.DataFrame,
        rejected: Sequence[Rejection],
        tombstones: Sequence[int],
        schema: pl.Schema,
    ) -> Changes:
        identities = self.identity.encode(changed)
        folded = (
            changed.with_columns(identities.alias("\0identity"), hash_identities(identities))
            .unique([PARTITION, "\0identity"], keep="last", maintain_order=True)
            # Sorted writes take RocksDB a fraction of the time of unsorted ones.
            .sort(PARTITION, "\0identity")
        )
        by_key = self.identity.needs_record_key
        return Changes(
            partitions=folded[PARTITION].to_list(),
            identities=folded["\0identity"].to_list(),
            values=_stored_values(batch, folded, with_keys=not by_key),
            frame=folded.drop(_LINE, "\0identity"),
            record_keys=None if by_key else [batch.keys[line] for line in folded[_LINE]],
            quarantined=_quarantined(batch, rejected),
            tombstones=() if by_key else _key_tombstones(batch, tombstones),
            stream_times=dict(
                changed.drop_nulls(TIMESTAMP).group_by(PARTITION).agg(pl.col(TIMESTAMP).max()).iter_rows(),
            ),
            schema=schema,
        )

    def load(self, rows: StoredRows, schema: pl.Schema) -> pl.DataFrame:
        """Return stored rows as lines of the view, with exactly the columns of ``frame_schema(schema)``.

        Raises
        ------
        ValueError
            When a stored value can't be decoded any more, which only a damaged store can cause.
        """
        times, payloads = unpack_rows(rows.values)
        decoded = self.value_format.decode(payloads, schema)
        if decoded.rejected:
            raise ValueError(decoded.rejected[0].reason)
        identity = self.identity.decode(rows.identities, self.identity_schema(schema))
        frame = pl.DataFrame(
            {
                HASH: hash_identities(rows.identities),
                PARTITION: pl.Series(rows.partitions, dtype=BOOKKEEPING[PARTITION]),
            },
        ).hstack([*times.get_columns(), *identity.get_columns(), *decoded.frame.get_columns()])
        if self.time is not None:
            frame = frame.with_columns(event_times(frame, self.time).alias(TIMESTAMP))
        # A field of the identity that no row has shown is in the view, but not among those of the format.
        return frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in self.frame_schema(schema).items()
        )


def _record_times(batch: RecordBatch) -> pl.Series:
    times = pl.Series(TIMESTAMP, batch.timestamps, dtype=pl.Int64)
    is_absent = pl.Series(batch.timestamp_types, dtype=pl.UInt8) == 0
    return times.set(is_absent, None) if is_absent.any() else times


def _pick(frame: pl.DataFrame, lines: pl.Series) -> pl.DataFrame:
    """Return the rows of ``frame`` (ascending in ``_LINE``) whose line is in ``lines``."""
    return frame if len(lines) == frame.height else frame.filter(pl.col(_LINE).is_in(lines.implode()))


def _stored_values(batch: RecordBatch, folded: pl.DataFrame, *, with_keys: bool) -> list[bytes | None]:
    lines = [line for line in folded[_LINE] if batch.values[line] is not None]
    timestamps = ((batch.timestamp_types[line], batch.timestamps[line]) for line in lines)
    offsets = [batch.offsets[line] for line in lines]
    payloads = [batch.values[line] or b"" for line in lines]
    if with_keys:
        packed = pack_keyed_rows(timestamps, offsets, payloads, [batch.keys[line] for line in lines])
    else:
        packed = pack_rows(timestamps, offsets, payloads)
    if len(packed) == folded.height:
        return list(packed)
    row = iter(packed)
    return [None if removed else next(row) for removed in folded[REMOVED]]


def _quarantined(batch: RecordBatch, rejected: Sequence[Rejection]) -> tuple[QuarantinedRecord, ...]:
    return tuple(
        QuarantinedRecord(
            partition=batch.partitions[r.index],
            offset=batch.offsets[r.index],
            timestamp=batch.timestamps[r.index] if batch.timestamp_types[r.index] else None,
            key=batch.keys[r.index],
            value=batch.values[r.index],
            reason=r.reason,
            is_conflict=r.is_conflict,
        )
        for r in sorted(rejected, key=lambda r: r.index)
    )


def _key_tombstones(batch: RecordBatch, lines: Sequence[int]) -> tuple[KeyTombstone, ...]:
    return tuple(
        KeyTombstone(batch.partitions[line], batch.offsets[line], key)
        for line in lines
        if (key := batch.keys[line]) is not None
    )
