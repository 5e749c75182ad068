"""What makes a row: the one place that knows what identifies a record and what a tombstone does.

A frame is the fold of a topic by an identity: the last record per identity, each partition alone in offset order.
Stores, views and the sync loop are written against this protocol and never ask which identity it is. The identities
are ``RecordKey`` (here), ``fieldkey.FieldKey``, ``windowkey.WindowKey`` and ``streamkey.StreamKey``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol

import polars as pl

from ktframe.columns import HASH, LINE, PARTITION, TIMESTAMP, WINDOW
from ktframe.fold.records import BatchContext, Changes
from ktframe.windows.retention import Retention


class Tombstone(Enum):
    """What a record with a null value does."""

    REMOVES = auto()
    """It removes the row."""
    MARKS = auto()
    """It removes the row and leaves a marker in its place, so that a roll-up to larger windows stays exact."""
    IS_ROW = auto()
    """It is a row like any other."""


class KeyUse(Enum):
    """What the record key is for."""

    IDENTITY = auto()
    """It is decoded and (part of) the identity: a record without one is refused."""
    DELETES_BY = auto()
    """Tombstones name rows by it; it is kept as bytes beside the row."""
    PART_OF_IDENTITY = auto()
    """Its bytes are part of the identity, null too."""
    COLUMN = auto()
    """It is decoded and shown, null too."""


NO_PAIRS = pl.DataFrame(schema={LINE: pl.UInt32(), WINDOW: pl.Int64()})


@dataclass(frozen=True, slots=True)
class Assigned:
    """Records by what their identity makes of them.

    ``rows`` have the identity's columns; ``refused`` are (line, reason) pairs; ``late`` has the line and the window of
    each record that came after that window had closed; ``stream_times`` are the greatest timestamps (ms),
    ``expired`` how many rows of each partition lie below its horizon.
    """

    rows: pl.DataFrame
    refused: Sequence[tuple[int, str]] = ()
    late: pl.DataFrame = field(default_factory=lambda: NO_PAIRS)
    stream_times: Mapping[int, int] = field(default_factory=dict)
    expired: Mapping[int, int] = field(default_factory=dict)


class RowLookup(Protocol):
    """What resolving tombstones asks of a store."""

    def get_many(self, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Return for each identity its (partition, stored row) pairs."""

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows that ever carried ``record_key`` in ``partition``."""


class Identity(Protocol):
    """Decides which identity a record has, how it is encoded, what a tombstone does and when rows may be dropped."""

    @property
    def kind(self) -> str:
        """Prefix of the store's directory."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the view that make the identity."""

    @property
    def user_key_columns(self) -> tuple[str, ...]:
        """Those by which users tell rows apart: of rows that agree in them, one is shown."""

    @property
    def extra_columns(self) -> tuple[str, ...]:
        """Columns of the view, other than those and the fields, that it wants filled."""

    @property
    def key_use(self) -> KeyUse:
        """What the record key is for."""

    @property
    def tombstone(self) -> Tombstone:
        """What a record with a null value does."""

    @property
    def keeps_history(self) -> bool:
        """Whether rows stay true when the log has lost what came between them and the next ones."""

    @property
    def retention(self) -> Retention | None:
        """What decides which rows are dropped, if any ever are."""

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:
        """Give each record its identity, or the reason why it has none."""

    def encode(self, rows: pl.DataFrame) -> pl.Series:
        """Return the canonical bytes of each row's identity."""

    def hash(self, rows: pl.DataFrame, identities: Sequence[bytes] | pl.Series) -> pl.Series:
        """Return the hash by which the view finds the rows that agree in ``user_key_columns``."""

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:
        """Return the identity's columns, as far as neither the value nor the stored row holds them."""

    def lower_bound(self, partition: int, horizon: int) -> bytes:
        """Return the first identity that is not below ``horizon``."""

    def null_key_reason(self) -> str:
        """Say why a record without an identity is refused."""

    def resolve(self, changes: Changes, rows: RowLookup) -> Changes:
        """Turn tombstones that do not name an identity into removals of the rows they mean."""


def stream_times(rows: pl.DataFrame) -> dict[int, int]:
    """Return the greatest timestamp (ms) of each partition that has one."""
    return dict(rows.drop_nulls(TIMESTAMP).group_by(PARTITION).agg(pl.col(TIMESTAMP).max()).iter_rows())


def hash_identities(identities: Sequence[bytes] | pl.Series) -> pl.Series:
    """Return the 64-bit hash by which the view finds rows; stable within one process only."""
    return pl.Series(identities, dtype=pl.Binary).hash(seed=0).alias(HASH)
