"""Identities: what makes a row of a topic's records, and what a tombstone does.

A frame is the fold of a topic by an identity: the last record per identity, each partition alone in offset order.
Stores, views and the sync loop know only the base class here, never which identity it is. The identities are
``record_key.RecordKey``, ``field_key.FieldKey``, ``window_key.WindowKey``, ``stream_key.StreamKey`` and ``stream_key.ItemKey``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import takewhile
from typing import ClassVar, cast

import polars as pl

from ktframe.columns import HASH, KEY, LINE, OFFSET, PARTITION, STALE, TIMESTAMP, WINDOW
from ktframe.fold.event_time import RECORD_TIME, EventTime, refuse_skewed
from ktframe.fold.identity_codec import decode_column, encode_columns, encode_part, encode_parts
from ktframe.fold.records import BatchContext
from ktframe.fold.refused import Step
from ktframe.formats.base import Refusal
from ktframe.windows.retention import Retention

_ENCODED_WINDOW_BYTES = len(encode_part(0))


class Tombstone(Enum):
    """What a record with a null value does."""

    REMOVES = auto()
    """It removes the row."""
    MARKS = auto()
    """It removes the row and leaves a marker in its place, for rows of other partitions and for larger windows."""
    IS_ROW = auto()
    """It is a row like any other."""


class KeyUse(Enum):
    """What the record key is for."""

    IDENTITY = auto()
    """It is decoded and (part of) the identity: a record without one is refused."""
    DELETES_BY = auto()
    """Tombstones delete rows by it; its bytes are kept with the row."""
    PART_OF_IDENTITY = auto()
    """Its bytes are part of the identity, null too, and tombstones delete rows by it."""
    COLUMN = auto()
    """It is decoded and shown, null too."""

    @property
    def is_decoded(self) -> bool:
        """Whether keys are decoded, not only kept as bytes."""
        return self in (KeyUse.IDENTITY, KeyUse.COLUMN)

    @property
    def is_for_deletes(self) -> bool:
        """Whether a tombstone can only delete a row that has a record key."""
        return self in (KeyUse.DELETES_BY, KeyUse.PART_OF_IDENTITY)


NO_LATE_LINES = pl.DataFrame(schema={LINE: pl.UInt32(), WINDOW: pl.Int64()})


@dataclass(frozen=True, slots=True)
class Assigned:
    """The records of a batch with their identities.

    ``rows`` have the identity's columns; ``late`` has the line and the window of each record that came after that
    window had closed; ``stream_times`` are the greatest timestamps (ms), ``expired`` how many rows of each partition
    lie below its horizon.
    """

    rows: pl.DataFrame
    refused: Sequence[Refusal] = ()
    late: pl.DataFrame = field(default_factory=lambda: NO_LATE_LINES)
    stream_times: Mapping[int, int] = field(default_factory=dict)
    expired: Mapping[int, int] = field(default_factory=dict)


class Identity(ABC):
    """Decides which row a record belongs to, what a tombstone does, and when rows may be dropped.

    The defaults are those of a table by record key.
    """

    __slots__ = ()

    tombstone: ClassVar[Tombstone] = Tombstone.REMOVES
    extra_columns: ClassVar[tuple[str, ...]] = ()
    """Columns of the view, other than the identity's own and the fields, that are wanted."""
    keeps_history: ClassVar[bool] = False
    """Whether rows stay true when the log has lost what came between them and the next ones."""
    retention: Retention | None = None
    """What decides which rows are dropped, if any ever are."""
    max_skew_ms: int | None = None
    """How far ahead of the wall clock a timestamp may be; None: as far as it likes."""
    time: EventTime = RECORD_TIME
    """Where timestamps come from, for messages."""
    takes_apart: ClassVar[bool] = False
    """Whether each object of a value that holds several is a row."""

    @property
    @abstractmethod
    def kind(self) -> str:
        """Prefix of the store's directory."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """Columns of the view that make the identity."""

    @property
    def user_key_columns(self) -> tuple[str, ...]:
        """The columns by which users tell rows apart: of rows that agree in them, one is shown."""
        return self.columns

    @property
    @abstractmethod
    def key_use(self) -> KeyUse:
        """What the record key is for."""

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The fields of the value that are the key; none where the record key is it."""
        return ()

    @property
    def null_key_reason(self) -> str:
        """Why a record without a key is refused."""
        return "the record key is null: no row could ever be updated or deleted by it"

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:
        """Give each record its identity, or the reason why it has none.

        Among ``rows`` may be refused records (``STALE``) whose identity is known: they get it too, and count for nothing.
        """
        keyed, keyless = self.with_key(rows)
        kept, skewed = refuse_skewed(keyed, context.now_ms, self.max_skew_ms, self.time)
        return Assigned(kept, [*keyless, *skewed], stream_times=stream_times(kept))

    def with_key(self, rows: pl.DataFrame) -> Step:
        """Return the records that have a key, with its columns."""
        return Step(rows)

    def encode(self, rows: pl.DataFrame) -> pl.Series:
        """Return the canonical bytes of each row's identity."""
        return encode_columns(rows[name] for name in self.columns)

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:
        """Return the columns of identities that nothing else holds: the window's start, and the decoded key."""
        encoded, columns = pl.Series(identities, dtype=pl.Binary), []
        if WINDOW in self.columns:
            starts = decode_column(encoded.bin.slice(0, _ENCODED_WINDOW_BYTES), pl.Int64())
            columns.append(starts.alias(WINDOW))
            encoded = encoded.bin.slice(_ENCODED_WINDOW_BYTES)
        if KEY in self.columns:
            columns.append(decode_column(encoded, dtypes[KEY]).alias(KEY))
        return pl.DataFrame(columns or None, height=len(identities))

    def hash(self, rows: pl.DataFrame, identities: Sequence[bytes] | pl.Series) -> pl.Series:
        """Return the hash by which the view finds the rows that agree in ``user_key_columns``."""
        if self.user_key_columns == self.columns:
            return hash_identities(identities)
        return hash_identities(encode_columns(rows[name] for name in self.user_key_columns))

    def lower_bound(self, partition: int, horizon: int) -> bytes:
        """Return the lowest identity of ``partition`` that retention keeps: that of a window, or of an offset."""
        lowest = {PARTITION: partition, OFFSET: horizon, WINDOW: horizon}
        return encode_parts(lowest[name] for name in takewhile(lowest.__contains__, self.columns))


def stream_times(rows: pl.DataFrame) -> dict[int, int]:
    """Return the greatest timestamp (ms) of each partition that has one; refused records do not count."""
    rows = without_stale(rows)
    partitions, times = rows[PARTITION], rows[TIMESTAMP]
    greatest: dict[int, int] = {}
    for partition in set(partitions.to_list()):
        # Each by itself: to group so few takes Polars longer.
        newest = cast("int | None", times.filter(partitions == partition).max())
        if newest is not None:
            greatest[partition] = newest
    return greatest


def without_stale(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the rows of records that were not refused."""
    return rows.filter(~pl.col(STALE)) if STALE in rows.columns else rows


def hash_identities(identities: Sequence[bytes] | pl.Series) -> pl.Series:
    """Return the 64-bit hash by which the view finds rows; stable within one process only."""
    return pl.Series(identities, dtype=pl.Binary).hash(seed=0).alias(HASH)
