"""The data that moves between rooms: batches of raw records, changes, positions, stored rows.

``identity.py`` decides what a row is, ``decoder.py`` how records become changes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Final, TypeVar

import polars as pl

from ktframe.columns import BOOKKEEPING, PARTITION, STORE_COLUMNS
from ktframe.fold.learned import Learned
from ktframe.formats.base import Fault, Headers

T = TypeVar("T")
_NOTHING_LEARNED = Learned()
_MOST_FIELDS: Final = 100


@dataclass(frozen=True, slots=True)
class LastRecord:
    """A record, as it is remembered to find out later whether it still is at its offset.

    Its timestamp is in milliseconds, ``digest`` 64 bits over key and value. The epoch is that of the leader who took it.
    """

    offset: int
    timestamp: int
    digest: int
    epoch: int | None = None

    def is_another(self, record: LastRecord) -> bool:
        """Say whether ``record`` is not this one. An epoch is compared where both are known: compaction keeps it too."""
        other = record if None not in (self.epoch, record.epoch) else replace(record, epoch=self.epoch)
        return self != other

    @classmethod
    def of(
        cls, offset: int, timestamp: int, key: bytes | None, value: bytes | None, epoch: int | None = None
    ) -> LastRecord:
        """Return what is remembered of a record."""
        lengths = (-1 if part is None else len(part) for part in (key, value))
        head = b"%d %d " % tuple(lengths)
        digest = blake2b(head + (key or b"") + (value or b""), digest_size=8).digest()
        return cls(offset, timestamp, int.from_bytes(digest), epoch)


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Raw records as columns, each partition in offset order; ``positions`` are the next offsets after it.

    ``timestamps`` are in milliseconds and mean nothing where their type is 0; Kafka's types 1 and 2 say whether the
    producer or the broker set them.
    """

    # Timestamps and their types are two lists: a list of pairs would keep the garbage collector busy.

    partitions: Sequence[int] = ()
    offsets: Sequence[int] = ()
    timestamps: Sequence[int] = ()
    timestamp_types: Sequence[int] = ()
    keys: Sequence[bytes | None] = ()
    values: Sequence[bytes | None] = ()
    headers: Sequence[Headers] | None = None
    positions: Mapping[int, int] = field(default_factory=dict)
    last: Mapping[int, LastRecord] = field(default_factory=dict)
    """The last record of each partition; one of a partition that is missing is not remembered."""
    indices: Sequence[int] | None = None
    """The number of each in its record, from 0, where each object of a value became a line; None: they are whole records."""
    empty: Mapping[int, int] = field(default_factory=dict)
    """How many records of each partition have no line, since their values are lists without objects."""

    def __len__(self) -> int:
        return len(self.offsets)

    def __bool__(self) -> bool:
        return bool(self.offsets or self.empty)

    def place(self, line: int) -> tuple[int, int, int]:
        """Return partition and offset of a line, and its number in its record."""
        return self.partitions[line], self.offsets[line], 0 if self.indices is None else self.indices[line]

    def at(self, lines: Sequence[int]) -> RecordBatch:
        """Return these lines, one for each time that they are named."""

        def picked(column: Sequence[T]) -> list[T]:
            return [column[line] for line in lines]

        return replace(
            self,
            partitions=picked(self.partitions),
            offsets=picked(self.offsets),
            timestamps=picked(self.timestamps),
            timestamp_types=picked(self.timestamp_types),
            keys=picked(self.keys),
            values=picked(self.values),
            headers=None if self.headers is None else picked(self.headers),
            indices=None if self.indices is None else picked(self.indices),
        )

    def __add__(self, later: RecordBatch) -> RecordBatch:
        """Return both batches as one, this one first."""
        parts = [part for part in (self, later) if part]
        are_known = all(part.headers is not None for part in parts)
        headers = [header for part in parts for header in part.headers or ()] if are_known else None
        return RecordBatch(
            partitions=[*self.partitions, *later.partitions],
            offsets=[*self.offsets, *later.offsets],
            timestamps=[*self.timestamps, *later.timestamps],
            timestamp_types=[*self.timestamp_types, *later.timestamp_types],
            keys=[*self.keys, *later.keys],
            values=[*self.values, *later.values],
            headers=headers,
            positions={**self.positions, **later.positions},
            last={**self.last, **later.last},
        )

    def cut(self, ends: Sequence[int]) -> list[RecordBatch]:
        """Return the records as batches that end before the lines ``ends``, ascending, and after the last record."""
        found, start = list[RecordBatch](), 0
        for end in ends:
            found.append(self._part(start, end))
            start = end
        return [*found, replace(self._part(start, len(self)), positions=self.positions, last=self.last)]

    def _part(self, start: int, end: int) -> RecordBatch:
        part = RecordBatch(
            partitions=self.partitions[start:end],
            offsets=self.offsets[start:end],
            timestamps=self.timestamps[start:end],
            timestamp_types=self.timestamp_types[start:end],
            keys=self.keys[start:end],
            values=self.values[start:end],
            headers=None if self.headers is None else self.headers[start:end],
        )
        # The last record of each partition, whose offset is the greatest.
        lines = {partition: line for line, partition in enumerate(part.partitions)}
        last = {
            partition: LastRecord.of(
                part.offsets[line], part.timestamps[line], part.keys[line], part.values[line]
            )
            for partition, line in lines.items()
        }
        return replace(part, positions={p: record.offset + 1 for p, record in last.items()}, last=last)


@dataclass(frozen=True, slots=True)
class BatchContext:
    """What was known before a batch: the stream time of each partition, and the wall time (both ms).

    ``horizons`` are the values below which retention has dropped rows.
    """

    stream_times: Mapping[int, int] = field(default_factory=dict)
    horizons: Mapping[int, int] = field(default_factory=dict)
    now_ms: int = 0
    learned: Learned = _NOTHING_LEARNED
    """What decides the types of fields that are inferred."""


@dataclass(frozen=True, slots=True)
class RefusedRecord:
    """A record that became no row (refused or late), with its bytes and the reason."""

    partition: int
    offset: int
    timestamp: int | None
    key: bytes | None
    value: bytes | None
    reason: str
    is_conflict: bool = False
    fault: Fault = field(default=Fault.VALUE, compare=False)
    """What kept it from becoming a row; of a record that was read from a store, not known."""
    fields: tuple[str, ...] = field(default=(), compare=False)
    """The fields that disagree with their columns; not known either then."""
    headers: Headers = None
    """Those of its headers that were asked for."""
    index: int | None = None
    """Its number in its record, from 0, where each object of a value is read by itself; None: it is a whole record."""


def batch_of(records: Sequence[RefusedRecord]) -> RecordBatch:
    """Return refused records as a batch, each partition in offset order."""
    return RecordBatch(
        partitions=[record.partition for record in records],
        offsets=[record.offset for record in records],
        timestamps=[record.timestamp or 0 for record in records],
        timestamp_types=[0 if record.timestamp is None else 1 for record in records],
        keys=[record.key for record in records],
        values=[record.value for record in records],
        headers=[record.headers for record in records],
    )


@dataclass(frozen=True, slots=True)
class Cause:
    """Why records were refused: those with the same cause, counted.

    Their reasons differ in numbers only; ``reason`` is that of the first one, ``fields`` are the first hundred. ``first``
    and ``last`` are (partition, offset), the times (ms) are those of the records there.
    """

    reason: str
    fault: Fault
    fields: tuple[str, ...]
    records: int
    first: tuple[int, int]
    last: tuple[int, int]
    first_time: int | None = None
    last_time: int | None = None

    def __add__(self, other: Cause) -> Cause:
        """Return both as one, with the first and the last of their records by time."""
        first = min(self, other, key=lambda cause: (cause.first_time or 0, cause.first))
        last = max(self, other, key=lambda cause: (cause.last_time or 0, cause.last))
        return Cause(
            first.reason,
            self.fault,
            first_fields(self.fields, other.fields),
            self.records + other.records,
            first.first,
            last.last,
            first.first_time,
            last.last_time,
        )


def first_fields(known: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields of a cause and ``more`` of them: of each record another one, they would grow with the topic."""
    return tuple(dict.fromkeys((*known, *more)))[:_MOST_FIELDS]


@dataclass(frozen=True, slots=True)
class StaleMarks:
    """Refused records whose identity is known, one per partition and identity: its place, and its timestamp (ms)."""

    partitions: Sequence[int] = ()
    identities: Sequence[bytes] = ()
    offsets: Sequence[int] = ()
    timestamps: Sequence[int | None] = ()

    def __len__(self) -> int:
        return len(self.offsets)


@dataclass(frozen=True, slots=True)
class KeyTombstone:
    """A tombstone that deletes rows by record key where the record key is not their identity."""

    partition: int
    offset: int
    key: bytes


@dataclass(frozen=True, slots=True)
class Changes:
    """What a batch does to a store and its view: a line for each row.

    Only what ``combined`` returns is applied, which has at most one line per partition and identity.

    ``lines`` have the columns of the view, and those for the store: ``IDENTITY``, ``STORED`` (null removes the row) and, where
    the record key is not the identity, ``DELETED_BY`` (of a removal it is the tombstone's key).
    """

    lines: pl.DataFrame
    refused: tuple[RefusedRecord, ...] = ()
    late: tuple[RefusedRecord, ...] = ()
    """Records that came after their window had closed."""
    tombstones: tuple[KeyTombstone, ...] = ()
    expired: Mapping[int, int] = field(default_factory=dict)
    """How many rows of each partition came after retention had dropped their window."""
    lost: Mapping[int, int] = field(default_factory=dict)
    """How many offsets of each partition the log had lost before they were read."""
    stream_times: Mapping[int, int] = field(default_factory=dict)
    """The greatest timestamp (ms) of the batch per partition."""
    schema: pl.Schema = field(default_factory=pl.Schema)
    """The fields as known after this batch."""
    stale: pl.DataFrame = field(default_factory=pl.DataFrame)
    """The marks of refused records whose identity is known; see ``stale.py``."""
    accepted: Mapping[int, int] = field(default_factory=dict)
    """How many records of each partition with a value were not refused."""
    records: Mapping[int, int] = field(default_factory=dict)
    """How many records of each partition there were; where each object of a value is a row, so many objects."""
    learned: Learned = _NOTHING_LEARNED
    """What decides the types of inferred fields, as known after this batch."""
    present: Mapping[int, int] = field(default_factory=dict)
    """When each partition was last known to be read up to its end; see ``Position``."""
    last: Mapping[int, LastRecord] = field(default_factory=dict)
    """The last record of each partition."""
    left_out: Mapping[int, int] = field(default_factory=dict)
    """How many records of each partition ``where=`` has left out."""
    field_deletes: int = 0
    """How many records deleted a row by their own fields, where fields are the key; ``deletes=``."""
    is_keyless: bool = False
    """Whether a row came without the record key by which a tombstone could delete it."""

    def __len__(self) -> int:
        return self.lines.height

    def of(self, partitions: Collection[int]) -> Changes:
        """Return the lines, marks, refused and late records of some partitions; all else is as it is for all of them."""
        is_wanted = pl.col(PARTITION).is_in(partitions)
        return replace(
            self,
            lines=self.lines.filter(is_wanted) if self.lines.height else self.lines,
            stale=self.stale.filter(is_wanted) if self.stale.height else self.stale,
            refused=tuple(record for record in self.refused if record.partition in partitions),
            late=tuple(record for record in self.late if record.partition in partitions),
        )

    @property
    def frame(self) -> pl.DataFrame:
        """The lines as the view takes them: bookkeeping, ``REMOVED`` (Boolean), the identity's columns and the fields."""
        return self.lines.drop(STORE_COLUMNS, strict=False)

    @property
    def partitions(self) -> pl.Series:
        """The partition of each line."""
        return self.lines.get_column(PARTITION, default=pl.Series(dtype=BOOKKEEPING[PARTITION]))


@dataclass(frozen=True, slots=True)
class Position:
    """How far one partition is applied: ``offset`` is the next one to apply, not the last one applied."""

    offset: int
    stream_time: int | None = None
    """Greatest timestamp applied, in milliseconds."""
    refused: int = 0
    conflicts: int = 0
    late: int = 0
    horizon: int | None = None
    """Rows below it were dropped by retention: a window's start in milliseconds, or a stream's offset."""
    dropped: int = 0
    """How many rows these were."""
    cut: int | None = None
    """The greatest timestamp among these, in milliseconds: windows that began up to then are incomplete."""
    lost: int = 0
    """How many offsets the log had lost before they were read, where the rows before them stayed."""
    records: int = 0
    """How many records (or objects in them) were applied; compaction and transactions leave offsets without one."""
    accepted: int = 0
    """How many of these have a value and were not refused."""
    present: int | None = None
    """When (wall time, ms) the rows were last known to be as the log is: read up to its end, or not begun yet."""
    last: LastRecord | None = None
    """The last record that was applied."""
    left_out: int = 0
    """How many of the records ``where=`` has left out."""


@dataclass(frozen=True, slots=True)
class StoredRows:
    """Rows as a store keeps them, a chunk of at most 10,000."""

    partitions: Sequence[int]
    identities: Sequence[bytes]
    values: Sequence[bytes]
