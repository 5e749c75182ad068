"""Record keys as a column: decoded, as a plain value or a struct of the fields that a key has, or their bytes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ktframe.columns import KEY, LINE, RECORD_KEY, TOMBSTONE
from ktframe.fold.identity import KeyUse
from ktframe.fold.records import RecordBatch
from ktframe.fold.refused import Step
from ktframe.fold.row_codec import record_key_of
from ktframe.fold.value_columns import at_lines, spread
from ktframe.formats import Format
from ktframe.formats.base import VALUE_COLUMN, Fault, Refusal
from ktframe.formats.dtypes import struct_fields

_KEYLESS_TOMBSTONE = "a tombstone without a record key: it deletes nothing"


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """How the record keys of a topic become a column; ``null_reason`` is why a record without one is refused."""

    format: Format
    use: KeyUse
    null_reason: str

    def schema(self, fields: pl.Schema) -> pl.Schema:
        """Return what the format knows of its columns by now."""
        return key_columns(fields[KEY]) if KEY in fields else self.format.initial_schema

    def dtype(self, fields: pl.Schema) -> pl.DataType:
        """Return the type of the record key: where no key has shown it yet, what the format says, or Null."""
        return fields[KEY] if KEY in fields else key_type(self.format.initial_schema)

    def with_type(self, fields: pl.Schema, lines: pl.DataFrame) -> pl.Schema:
        """Return ``fields`` with the type that the keys turned out to have, where the format did not say it."""
        if KEY not in lines.columns or self.format.initial_schema or lines.schema[KEY] == pl.Null:
            return fields
        return pl.Schema({KEY: lines.schema[KEY], **fields})

    def read(self, batch: RecordBatch, lines: pl.DataFrame, schema: pl.Schema) -> Step:
        """Add the key to the lines of ``batch``, as a column ``KEY`` or ``RECORD_KEY``, where the identity wants one."""
        if self.use.is_decoded:
            return self._decoded(batch, lines, schema)
        keys = pl.Series(RECORD_KEY, batch.keys, dtype=pl.Binary)
        is_keyless = pl.col(TOMBSTONE) & keys.is_null()
        refused = [
            Refusal(line, _KEYLESS_TOMBSTONE, Fault.TOMBSTONE) for line in lines.filter(is_keyless)[LINE]
        ]
        if self.use is KeyUse.PART_OF_IDENTITY:
            lines = lines.with_columns(keys)
        return Step(lines.filter(~is_keyless) if refused else lines, refused)

    def _decoded(self, batch: RecordBatch, lines: pl.DataFrame, schema: pl.Schema) -> Step:
        payloads = [key for key in batch.keys if key is not None]
        decoded = self.format.decode(payloads, self.schema(schema))
        keys = as_key(decoded.frame)
        if len(keys) == len(batch):
            return Step(lines.hstack([keys]))
        keyed = [line for line, key in enumerate(batch.keys) if key is not None]
        accepted = pl.Series(LINE, [keyed[i] for i in decoded.accepted], dtype=pl.UInt32)
        refused = [
            Refusal(keyed[refusal.index], f"key: {refusal.reason}", Fault.KEY) for refusal in decoded.refused
        ]
        if self.use is KeyUse.IDENTITY:
            null = [
                Refusal(line, self.null_reason, Fault.NULL_KEY)
                for line, key in enumerate(batch.keys)
                if key is None
            ]
            return Step(at_lines(lines, accepted).with_columns(keys), [*refused, *null])
        joined = lines.join(pl.DataFrame([accepted, keys]), on=LINE, how="left", maintain_order="left")
        unread = [refusal.index for refusal in refused]
        return Step(joined.filter(~pl.col(LINE).is_in(unread)) if unread else joined, refused)

    def load(self, rows: Sequence[bytes], schema: pl.Schema) -> pl.Series:
        """Return the decoded keys that stored rows carry."""
        keys = [record_key_of(row) for row in rows]
        there = [key for key in keys if key is not None]
        decoded = as_key(self.format.decode(there, self.schema(schema)).frame).to_frame()
        return spread(decoded, pl.Series([key is not None for key in keys])).to_series()


def key_type(schema: pl.Schema) -> pl.DataType:
    """Return the type of a key whose format gives ``schema``; Null where that has no columns yet."""
    if not schema:
        return pl.Null()
    return schema[VALUE_COLUMN] if list(schema) == [VALUE_COLUMN] else pl.Struct(schema)


def key_columns(dtype: pl.DataType) -> pl.Schema:
    """Return the columns of which ``key_type`` made ``dtype``."""
    return (
        pl.Schema(struct_fields(dtype)) if isinstance(dtype, pl.Struct) else pl.Schema({VALUE_COLUMN: dtype})
    )


def as_key(decoded: pl.DataFrame) -> pl.Series:
    """Return decoded keys as the column ``KEY``."""
    if decoded.columns == [VALUE_COLUMN]:
        return decoded.to_series().alias(KEY)
    if not decoded.width:
        return pl.Series(KEY, [None] * decoded.height, dtype=pl.Null)
    return decoded.to_struct(KEY)


def part_types(dtypes: Iterable[pl.DataType]) -> list[pl.DataType]:
    """Return the types of the parts of a key: those of its fields where it has several."""
    return [part for dtype in dtypes for part in _parts(dtype)]


def part_names(columns: pl.Schema) -> list[str]:
    """Return the names of the parts of a key: those of its columns, or of the fields of a record key that has several."""
    names: list[str] = []
    for name, dtype in columns.items():
        names += [*struct_fields(dtype)] if isinstance(dtype, pl.Struct) else [name]
    return names


def parts_of(key: object, names: Sequence[str]) -> object:
    """Return a key as it is encoded: of a mapping, as a frame shows a key of several parts, the values in their order.

    A mapping of other names is the empty tuple: no key is.
    """
    if not isinstance(key, Mapping):
        return key
    return tuple(key[name] for name in names) if key.keys() == {*names} else ()


def _parts(dtype: pl.DataType) -> list[pl.DataType]:
    return list(struct_fields(dtype).values()) if isinstance(dtype, pl.Struct) else [dtype]
