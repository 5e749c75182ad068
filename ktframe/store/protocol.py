"""The contract of a store, whichever backend keeps the bytes.

``apply`` is atomic for each partition: its rows, refused records and the position that passed them become visible, and
survive a crash, together or not at all. A store is written by one thread (the binding's); any may read, flush or close it.
After ``close`` every other call raises StoreError.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import repeat
from typing import Protocol, TypeAlias

import polars as pl

from ktframe.columns import DELETED_BY, IDENTITY, PARTITION, STORED
from ktframe.fold.records import Cause, Changes, Position, RefusedRecord, StaleMarks, StoredRows
from ktframe.fold.refused import with_causes

CHUNK_ROWS = 10_000
"""How many Python objects one call into native code may handle: it holds the interpreter's lock meanwhile."""

Causes: TypeAlias = Mapping[str, Cause]
"""Causes by what the reasons of their records have in common."""

REFUSED_KEPT = 10_000
"""How many refused and how many late records are kept per partition: the newest. Their counts stay exact."""


@dataclass(frozen=True, slots=True)
class StoreDescription:
    """Which topic and settings a store belongs to: checked at every open, never changed."""

    cluster_id: str
    topic: str
    kind: str
    settings: Mapping[str, str] = field(default_factory=dict)
    """What decides which rows exist: key, formats, schema, time, start."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What retention drops from a partition: all rows below the identity ``bound``.

    ``value`` (a time or an offset; None: there is no horizon any more) is remembered in the position, with the number of
    dropped ``rows`` and ``newest``, the greatest timestamp among them.
    """

    value: int | None
    bound: bytes
    rows: int
    newest: int | None = None


@dataclass(frozen=True, slots=True)
class Rebuild:
    """A partition that is read again: ``why``, and the ``position`` up to which that is done."""

    why: str
    position: Position


ChangedRows: TypeAlias = Mapping[int, Sequence[bytes]]
"""Identities by partition, of which the rows were written or removed."""


@dataclass(frozen=True, slots=True)
class DecodedRows:
    """The rows of a store as they were decoded, with what belongs to them: ``frames`` by name, of which empty ones may lack."""

    frames: Mapping[str, pl.DataFrame]
    made_by: str
    """What decoded them: what another one would make of the same rows may differ."""
    sees_deletes: bool = True
    """Whether every row has a record key by which a tombstone could delete it."""
    changed: ChangedRows | None = None
    """The rows that were written since, and are no longer as in ``frames``, nor are the marks; None: nothing was written."""


class StateStore(Protocol):
    """The rows of one topic by one identity, partition by partition.

    Of a partition that is being rebuilt there are rows twice: reads find those from before, until ``switch``; writes, and
    what says that it is about rows as they are written, concern those that are read again.
    """

    @property
    def topic_id(self) -> str | None:
        """Kafka's id of the topic that was read, None while unknown."""

    def get(self, identity: bytes) -> list[tuple[int, bytes]]:
        """Return the (partition, stored row) pairs of ``identity``."""

    def get_many(self, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Return the (partition, stored row) pairs of each of ``identities``."""

    def get_of(self, partition: int, identities: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each of ``identities`` in ``partition``, as it is written."""

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows, as they are written, that ever carried ``record_key`` in ``partition``."""

    def items(
        self, start: bytes | None = None, end: bytes | None = None, *, rebuilt: bool = False
    ) -> Iterator[StoredRows]:
        """Yield chunks of rows with ``start <= identity < end``, partition by partition, in identity order.

        With ``rebuilt`` these are the rows that were read again of partitions that are being rebuilt, and no others.
        Each chunk is consistent in itself; while another thread writes, two chunks may show different moments.
        """

    def refused(self) -> list[RefusedRecord]:
        """Return the kept refused records, in offset order per partition."""

    def causes(self) -> dict[int, Causes]:
        """Return why records of each partition were refused, all of them counted; see ``fold/refused.py``."""

    def stale(self, *, rebuilt: bool = False) -> StaleMarks:
        """Return the marks of refused records whose identity is known: the last one per partition and identity.

        A mark stays when a later row comes (its offset tells), and goes with a removal of its row. ``rebuilt`` is that of
        ``items``.
        """

    def late(self) -> list[RefusedRecord]:
        """Return the kept late records, in offset order per partition; the reason holds the windows' starts."""

    def positions(self) -> dict[int, Position]:
        """Return how far each partition is applied, as reads find it."""

    def schema(self) -> pl.Schema:
        """Return the schema of the last applied changes."""

    def documents(self) -> list[bytes]:
        """Return what ``add_document`` was given, in that order."""

    def add_document(self, document: bytes) -> None:
        """Keep bytes that are needed to read the rows applied from now on; they survive a crash if those rows do."""

    def learned(self) -> dict[str, bytes]:
        """Return what ``learn`` was given last by each name."""

    def learn(self, parts: Mapping[str, bytes], *, changes_rows: bool = True) -> None:
        """Keep what decides the columns of the rows applied from now on; it survives a crash if those rows do.

        Parts of other names stay. No bytes stand for a part that is gone. ``changes_rows`` says whether rows that are there may
        be decoded otherwise from now on.
        """

    def apply(self, changes: Changes, positions: Mapping[int, int]) -> None:
        """Write ``changes`` and the next offset of (at least) every partition that they touch.

        What concerns one partition is written in one step: its rows and its position survive a crash together.
        """

    def drop(self, horizons: Mapping[int, Horizon]) -> None:
        """Drop the rows of each partition below its horizon, record that in its position, and free the disk space."""

    def note(self, name: str) -> str:
        """Return what ``keep_note`` was given last by this name; empty before the first call."""

    def keep_note(self, name: str, text: str) -> None:
        """Keep what concerns all rows, such as what they are cut by; it survives a crash if what is written later does."""

    def clear(
        self,
        partitions: Sequence[int] | None = None,
        *,
        topic_id: str | None = None,
        keeps_schema: bool = True,
    ) -> None:
        """Remove rows, refused records and positions of ``partitions``, rebuilt or not, and set the topic's id.

        None removes those of all partitions, the schema, what was learned and the documents as well. Without
        ``keeps_schema`` the schema is removed in any case.
        """

    def rebuild(self, partitions: Mapping[int, Rebuild]) -> None:
        """Begin to write rows of these partitions, from nothing, beside those that are there.

        What was read again of them before, and was not shown yet, is removed.
        """

    def rebuilds(self) -> dict[int, Rebuild]:
        """Return the partitions that are being rebuilt."""

    def switch(self) -> None:
        """Put what was read again in the place of what was there, for all partitions that are being rebuilt, in one step."""

    @property
    def has_failed(self) -> bool:
        """Whether the disk has refused a write, or lost the store: then it must be opened again before the next one."""

    def reopen(self) -> None:
        """Open it again after an error of the disk. What was applied and not flushed may be gone then, with its positions.

        Documents stay. While the disk still refuses this raises StoreError, and rows can be read.
        """

    def keep_view(self, view: DecodedRows) -> None:
        """Keep all shown rows as they were decoded, for the next open; a disk that refuses them is not an error."""

    def spill(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        """Return decoded rows as they lie in a file, and not in memory; None where there is no place for one.

        Any thread may call it. The file is there for as long as somebody has the frame.
        """

    def kept_view(self, made_by: str) -> DecodedRows | None:
        """Return what ``keep_view`` was given, with the rows that ``apply`` has changed since.

        None if something else was written since, many rows were, or ``made_by`` did not make it.
        """

    @property
    def is_view_kept(self) -> bool:
        """Whether ``kept_view`` would return rows after a crash, or nothing outlives one."""

    def flush(self) -> None:
        """Make everything applied so far survive a crash."""

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""


def stored_lines(changes: Changes) -> Iterator[tuple[int, bytes, bytes | None, bytes | None]]:
    """Yield what is written of each line: partition, identity, the row (None removes it), and the record key or None."""
    for lines in changes.lines.iter_slices(CHUNK_ROWS):
        has_keys = DELETED_BY in lines.columns
        keys = lines[DELETED_BY].to_list() if has_keys else repeat(None, lines.height)
        yield from zip(*(lines[name].to_list() for name in (PARTITION, IDENTITY, STORED)), keys, strict=True)


def written_positions(store: StateStore) -> dict[int, Position]:
    """Return how far each partition is written: one that is being rebuilt as far as it was read again."""
    return store.positions() | {p: rebuild.position for p, rebuild in store.rebuilds().items()}


def stream_times(positions: Mapping[int, Position]) -> dict[int, int]:
    """Return the stream time (ms) of each partition that has one."""
    return {p: at.stream_time for p, at in positions.items() if at.stream_time is not None}


def advanced(
    known: Mapping[int, Position], changes: Changes, positions: Mapping[int, int]
) -> dict[int, Position]:
    """Return the positions after ``changes``, for the partitions in ``positions`` (next offset per partition)."""
    late = Counter(record.partition for record in changes.late)
    refused = Counter(record.partition for record in changes.refused)
    conflicts = Counter(record.partition for record in changes.refused if record.is_conflict)
    after: dict[int, Position] = {}
    for partition, offset in positions.items():
        previous = known.get(partition, Position(0))
        times = (previous.stream_time, changes.stream_times.get(partition))
        after[partition] = replace(
            previous,
            offset=offset,
            stream_time=max((time for time in times if time is not None), default=None),
            refused=previous.refused + refused[partition],
            conflicts=previous.conflicts + conflicts[partition],
            late=previous.late + late[partition],
            lost=previous.lost + changes.lost.get(partition, 0),
            dropped=previous.dropped + changes.expired.get(partition, 0),
            records=previous.records + changes.records.get(partition, 0),
            accepted=previous.accepted + changes.accepted.get(partition, 0),
            left_out=previous.left_out + changes.left_out.get(partition, 0),
            present=changes.present.get(partition, previous.present),
            last=changes.last.get(partition, previous.last),
        )
    return after


def with_refused(known: Mapping[int, Causes], refused: Sequence[RefusedRecord]) -> dict[int, Causes]:
    """Return the causes of the partitions of ``refused`` after these records."""
    by_partition: dict[int, list[RefusedRecord]] = {}
    for record in refused:
        by_partition.setdefault(record.partition, []).append(record)
    return {p: with_causes(known.get(p, {}), records) for p, records in by_partition.items()}


def dropped(position: Position, horizon: Horizon) -> Position:
    """Return ``position`` as it is after the rows below ``horizon`` were dropped."""
    cut = max((at for at in (position.cut, horizon.newest) if at is not None), default=None)
    return replace(position, horizon=horizon.value, dropped=position.dropped + horizon.rows, cut=cut)
