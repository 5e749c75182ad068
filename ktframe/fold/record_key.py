"""The record key as one column of the view: a plain value, or a struct of the fields that a key has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import polars as pl

from ktframe.columns import KEY
from ktframe.fold.identity import Assigned, KeyUse, RowLookup, Tombstone, hash_identities, stream_times
from ktframe.fold.identity_codec import decode_column, encode_columns
from ktframe.fold.records import BatchContext, Changes
from ktframe.formats.base import VALUE_COLUMN
from ktframe.windows.retention import Retention


def key_type(schema: pl.Schema) -> pl.DataType:
    """Return the type of a key whose format gives ``schema``; Null where that has no columns yet."""
    if not schema:
        return pl.Null()
    return schema[VALUE_COLUMN] if list(schema) == [VALUE_COLUMN] else pl.Struct(schema)


def key_columns(dtype: pl.DataType) -> pl.Schema:
    """Return the columns of which ``key_type`` made ``dtype``."""
    return struct_schema(dtype) if isinstance(dtype, pl.Struct) else pl.Schema({VALUE_COLUMN: dtype})


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


def struct_schema(dtype: pl.Struct) -> pl.Schema:
    """Return the fields of a struct."""
    return pl.Schema({field.name: cast("pl.DataType", field.dtype) for field in dtype.fields})


def _parts(dtype: pl.DataType) -> list[pl.DataType]:
    return list(struct_schema(dtype).values()) if isinstance(dtype, pl.Struct) else [dtype]


@dataclass(frozen=True, slots=True)
class RecordKey:
    """The record key is the identity: Kafka's KTable. A tombstone removes the row of its key."""

    kind: str = "table"
    columns: tuple[str, ...] = (KEY,)
    user_key_columns: tuple[str, ...] = (KEY,)
    extra_columns: tuple[str, ...] = ()
    key_use: KeyUse = KeyUse.IDENTITY
    tombstone: Tombstone = Tombstone.REMOVES
    keeps_history: bool = False
    retention: Retention | None = None

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:  # noqa: ARG002 - the protocol's signature
        """Return all rows: a record without a key never comes here."""
        return Assigned(rows, stream_times=stream_times(rows))

    def encode(self, rows: pl.DataFrame) -> pl.Series:
        """Return the canonical bytes of each decoded key."""
        return encode_columns(rows.select(KEY))

    def hash(self, rows: pl.DataFrame, identities: Sequence[bytes] | pl.Series) -> pl.Series:  # noqa: ARG002
        """Return the hash of the key."""
        return hash_identities(identities)

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:
        """Return the column ``KEY``; a value never holds it."""
        return decode_column(pl.Series(identities, dtype=pl.Binary), dtypes[KEY]).alias(KEY).to_frame()

    def lower_bound(self, partition: int, horizon: int) -> bytes:
        """Never asked: a key stays until a tombstone."""
        raise NotImplementedError

    def null_key_reason(self) -> str:
        """Say that the key is null."""
        return "the record key is null: no row could ever be updated or deleted by it"

    def resolve(self, changes: Changes, rows: RowLookup) -> Changes:  # noqa: ARG002 - the protocol's signature
        """Return ``changes``: each tombstone already named its identity."""
        return changes
