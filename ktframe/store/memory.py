"""A store in dictionaries: the simplest one that keeps the contract. Nothing survives ``close``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import polars as pl

from ktframe.columns import IDENTITY, OFFSET, PARTITION, TIMESTAMP
from ktframe.fold.records import Changes, Position, RefusedRecord, StaleMarks, StoredRows
from ktframe.store.errors import closed_error
from ktframe.store.protocol import (
    CHUNK_ROWS,
    REFUSED_KEPT,
    Causes,
    Horizon,
    advanced,
    dropped,
    with_refused,
)

_MARK = (PARTITION, IDENTITY, OFFSET, TIMESTAMP)


class MemoryStore:
    """Keeps everything in dictionaries, partition by partition."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_open = True
        self._rows: dict[int, dict[bytes, bytes]] = {}
        self._index: dict[int, dict[bytes, set[bytes]]] = {}
        self._refused: dict[int, deque[RefusedRecord]] = {}
        self._late: dict[int, deque[RefusedRecord]] = {}
        self._causes: dict[int, Causes] = {}
        self._stale: dict[int, dict[bytes, tuple[int, int | None]]] = {}
        self._positions: dict[int, Position] = {}
        self._schema = pl.Schema()
        self._documents: list[bytes] = []
        self._learned: dict[str, bytes] = {}
        self._topic_id: str | None = None
        self._retention = ""

    @property
    def topic_id(self) -> str | None:
        """Kafka's id of the topic that was read, None while unknown."""
        return self._topic_id

    def get(self, identity: bytes) -> list[tuple[int, bytes]]:
        """Return the (partition, stored row) pairs of ``identity``."""
        return self.get_many([identity])[0]

    def get_many(self, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Return the (partition, stored row) pairs of each of ``identities``."""
        with self._locked():
            partitions = sorted(self._rows.items())
            return [
                [(p, rows[identity]) for p, rows in partitions if identity in rows] for identity in identities
            ]

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows that ever carried ``record_key`` in ``partition``."""
        with self._locked():
            return sorted(self._index.get(partition, {}).get(record_key, ()))

    def items(self, start: bytes | None = None, end: bytes | None = None) -> Iterator[StoredRows]:
        """Yield chunks of rows with ``start <= identity < end``, partition by partition, in identity order."""
        with self._locked():
            snapshot = {partition: sorted(rows.items()) for partition, rows in sorted(self._rows.items())}
        for partition, rows in snapshot.items():
            in_range = [(i, v) for i, v in rows if (start is None or i >= start) and (end is None or i < end)]
            for at in range(0, len(in_range), CHUNK_ROWS):
                chunk = in_range[at : at + CHUNK_ROWS]
                yield StoredRows([partition] * len(chunk), [i for i, _ in chunk], [v for _, v in chunk])

    def refused(self) -> list[RefusedRecord]:
        """Return the kept refused records, in offset order per partition."""
        with self._locked():
            return [record for _, records in sorted(self._refused.items()) for record in records]

    def causes(self) -> dict[int, Causes]:
        """Return why records of each partition were refused, all of them counted."""
        with self._locked():
            return dict(self._causes)

    def stale(self) -> StaleMarks:
        """Return the marks of refused records whose identity is known."""
        with self._locked():
            marks = [
                (partition, identity, *place)
                for partition, places in sorted(self._stale.items())
                for identity, place in sorted(places.items())
            ]
        return StaleMarks(*(list(column) for column in zip(*marks, strict=True)))

    def late(self) -> list[RefusedRecord]:
        """Return the kept late records, in offset order per partition."""
        with self._locked():
            return [record for _, records in sorted(self._late.items()) for record in records]

    def positions(self) -> dict[int, Position]:
        """Return how far each partition is applied."""
        with self._locked():
            return dict(self._positions)

    def schema(self) -> pl.Schema:
        """Return the schema of the last applied changes."""
        with self._locked():
            return self._schema

    def documents(self) -> list[bytes]:
        """Return what ``add_document`` was given, in that order."""
        with self._locked():
            return list(self._documents)

    def add_document(self, document: bytes) -> None:
        """Keep bytes that are needed to read rows."""
        with self._locked():
            self._documents.append(document)

    def learned(self) -> dict[str, bytes]:
        """Return what ``learn`` was given last by each name."""
        with self._locked():
            return {name: part for name, part in self._learned.items() if part}

    def learn(self, parts: Mapping[str, bytes]) -> None:
        """Keep what decides the columns of rows."""
        with self._locked():
            self._learned |= parts

    def apply(self, changes: Changes, positions: Mapping[int, int]) -> None:
        """Write ``changes`` and the next offsets in one step."""
        keys = changes.record_keys or [None] * len(changes)
        with self._writing():
            lines = zip(changes.partitions, changes.identities, changes.values, keys, strict=True)
            for partition, identity, value, key in lines:
                rows = self._rows.setdefault(partition, {})
                identities = (
                    set() if key is None else self._index.setdefault(partition, {}).setdefault(key, set())
                )
                if value is None:
                    rows.pop(identity, None)
                    self._stale.get(partition, {}).pop(identity, None)
                    identities.discard(identity)
                else:
                    rows[identity] = value
                    identities.add(identity)
            for kept, records in ((self._refused, changes.refused), (self._late, changes.late)):
                for record in records:
                    kept.setdefault(record.partition, deque(maxlen=REFUSED_KEPT)).append(record)
            self._causes |= with_refused(self._causes, changes.refused)
            if changes.stale.height:
                for partition, identity, *place in changes.stale.select(_MARK).iter_rows():
                    self._stale.setdefault(partition, {})[identity] = (place[0], place[1])
            self._positions |= advanced(self._positions, changes, positions)
            if len(changes.schema):
                self._schema = changes.schema

    def drop(self, horizons: Mapping[int, Horizon]) -> None:
        """Drop the rows of each partition below its horizon."""
        with self._writing():
            for partition, horizon in horizons.items():
                rows = self._rows.get(partition, {})
                for kept in (rows, self._stale.get(partition, {})):
                    for identity in [identity for identity in kept if identity < horizon.bound]:
                        del kept[identity]
                self._positions[partition] = dropped(self._positions[partition], horizon)

    def retention(self) -> str:
        """Return what rows are dropped by."""
        return self._retention

    def set_retention(self, setting: str) -> None:
        """Keep what rows are dropped by."""
        with self._locked():
            self._retention = setting

    def clear(
        self,
        partitions: Sequence[int] | None = None,
        *,
        topic_id: str | None = None,
        keeps_schema: bool = True,
    ) -> None:
        """Remove rows, refused records and positions of ``partitions`` (None: of all), and set the topic's id."""
        with self._writing():
            for partition in list(self._positions) if partitions is None else partitions:
                for kept in self._by_partition():
                    kept.pop(partition, None)
            if partitions is None or not keeps_schema:
                self._schema = pl.Schema()
            if partitions is None:
                self._learned.clear()
                self._documents.clear()
            if topic_id is not None:
                self._topic_id = topic_id

    @property
    def has_failed(self) -> bool:
        """Whether a disk has refused a write: there is none."""
        return False

    def reopen(self) -> None:
        """Do nothing: there is no disk."""
        with self._locked():
            return

    def flush(self) -> None:
        """Do nothing: there is no crash to survive."""
        with self._locked():
            return

    def close(self) -> None:
        """Drop everything; a second call does nothing."""
        with self._lock:
            self._is_open = False
            self._drop_rows()

    def _by_partition(self) -> tuple[dict[int, Any], ...]:
        kept = (self._rows, self._index, self._refused, self._late, self._causes, self._stale)
        return (*kept, self._positions)

    def _drop_rows(self) -> None:
        for kept in self._by_partition():
            kept.clear()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock for a write. After an error in the middle of it all rows go, to be read again: none is half there."""
        with self._locked():
            try:
                yield
            except BaseException:
                self._drop_rows()
                raise

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            if not self._is_open:
                name = "memory"
                raise closed_error(name)
            yield
