"""A store in dictionaries: the simplest one that keeps the contract. Nothing survives ``close``."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import polars as pl

from ktframe.columns import IDENTITY, OFFSET, PARTITION, TIMESTAMP
from ktframe.fold.records import Changes, Position, RefusedRecord, StaleMarks, StoredRows
from ktframe.store.errors import closed_error
from ktframe.store.protocol import (
    CHUNK_ROWS,
    REFUSED_KEPT,
    Causes,
    DecodedRows,
    Horizon,
    Rebuild,
    advanced,
    dropped,
    stored_lines,
    with_refused,
)

_MARK = (PARTITION, IDENTITY, OFFSET, TIMESTAMP)


@dataclass(slots=True)
class _Part:
    """The rows of one partition."""

    position: Position
    rows: dict[bytes, bytes] = field(default_factory=dict)
    index: dict[bytes, set[bytes]] = field(default_factory=dict)
    refused: deque[RefusedRecord] = field(default_factory=lambda: deque(maxlen=REFUSED_KEPT))
    late: deque[RefusedRecord] = field(default_factory=lambda: deque(maxlen=REFUSED_KEPT))
    causes: Causes = field(default_factory=dict)
    stale: dict[bytes, tuple[int, int | None]] = field(default_factory=dict)

    def put(self, identity: bytes, value: bytes | None, key: bytes | None) -> None:
        """Put a row, or remove it."""
        identities = set[bytes]() if key is None else self.index.setdefault(key, set())
        if value is None:
            self.rows.pop(identity, None)
            self.stale.pop(identity, None)
            identities.discard(identity)
        else:
            self.rows[identity] = value
            identities.add(identity)


class MemoryStore:
    """Keeps everything in dictionaries, partition by partition."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._is_open = True
        self._shown: dict[int, _Part] = {}
        self._rebuilt: dict[int, _Part] = {}
        self._reasons: dict[int, str] = {}
        self._schema = pl.Schema()
        self._documents: list[bytes] = []
        self._learned: dict[str, bytes] = {}
        self._topic_id: str | None = None
        self._notes: dict[str, str] = {}

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
            parts = sorted(self._shown.items())
            return [
                [(p, part.rows[identity]) for p, part in parts if identity in part.rows]
                for identity in identities
            ]

    def get_of(self, partition: int, identities: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each of ``identities`` in ``partition``, as it is written."""
        with self._locked():
            part = self._written.get(partition)
            return [None if part is None else part.rows.get(identity) for identity in identities]

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows, as they are written, that ever carried ``record_key`` in ``partition``."""
        with self._locked():
            part = self._written.get(partition)
            return [] if part is None else sorted(part.index.get(record_key, ()))

    def items(
        self, start: bytes | None = None, end: bytes | None = None, *, rebuilt: bool = False
    ) -> Iterator[StoredRows]:
        """Yield chunks of rows with ``start <= identity < end``, partition by partition, in identity order."""
        with self._locked():
            parts = self._rebuilt if rebuilt else self._shown
            snapshot = {partition: sorted(part.rows.items()) for partition, part in sorted(parts.items())}
        for partition, rows in snapshot.items():
            in_range = [(i, v) for i, v in rows if (start is None or i >= start) and (end is None or i < end)]
            for at in range(0, len(in_range), CHUNK_ROWS):
                chunk = in_range[at : at + CHUNK_ROWS]
                yield StoredRows([partition] * len(chunk), [i for i, _ in chunk], [v for _, v in chunk])

    def refused(self) -> list[RefusedRecord]:
        """Return the kept refused records, in offset order per partition."""
        with self._locked():
            return [record for _, part in sorted(self._shown.items()) for record in part.refused]

    def causes(self) -> dict[int, Causes]:
        """Return why records of each partition were refused, all of them counted."""
        with self._locked():
            return {partition: part.causes for partition, part in self._shown.items() if part.causes}

    def stale(self, *, rebuilt: bool = False) -> StaleMarks:
        """Return the marks of refused records whose identity is known."""
        with self._locked():
            parts = self._rebuilt if rebuilt else self._shown
            marks = [
                (partition, identity, *place)
                for partition, part in sorted(parts.items())
                for identity, place in sorted(part.stale.items())
            ]
        return StaleMarks(*(list(column) for column in zip(*marks, strict=True)))

    def late(self) -> list[RefusedRecord]:
        """Return the kept late records, in offset order per partition."""
        with self._locked():
            return [record for _, part in sorted(self._shown.items()) for record in part.late]

    def positions(self) -> dict[int, Position]:
        """Return how far each partition is applied, as reads find it."""
        with self._locked():
            return {partition: part.position for partition, part in self._shown.items()}

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

    def learn(self, parts: Mapping[str, bytes], *, changes_rows: bool = True) -> None:  # noqa: ARG002 - none are kept decoded
        """Keep what decides the columns of rows."""
        with self._locked():
            self._learned |= parts

    def apply(self, changes: Changes, positions: Mapping[int, int]) -> None:
        """Write ``changes`` and the next offsets in one step."""
        with self._writing():
            known = self._written
            self._shown |= {p: _Part(Position(0)) for p in positions if p not in known}
            written = self._written
            for partition, identity, value, key in stored_lines(changes):
                written[partition].put(identity, value, key)
            for record in changes.refused:
                written[record.partition].refused.append(record)
            for record in changes.late:
                written[record.partition].late.append(record)
            causes = with_refused({p: part.causes for p, part in written.items()}, changes.refused)
            for partition, some in causes.items():
                written[partition].causes = some
            if changes.stale.height:
                for partition, identity, *place in changes.stale.select(_MARK).iter_rows():
                    written[partition].stale[identity] = (place[0], place[1])
            after = advanced({p: written[p].position for p in positions}, changes, positions)
            for partition, position in after.items():
                written[partition].position = position
            if len(changes.schema):
                self._schema = changes.schema

    def drop(self, horizons: Mapping[int, Horizon]) -> None:
        """Drop the rows of each partition below its horizon."""
        with self._writing():
            for partition, horizon in horizons.items():
                part = self._written[partition]
                part.rows = {i: row for i, row in part.rows.items() if i >= horizon.bound}
                part.stale = {i: place for i, place in part.stale.items() if i >= horizon.bound}
                part.position = dropped(part.position, horizon)

    def note(self, name: str) -> str:
        """Return what is kept by this name."""
        return self._notes.get(name, "")

    def keep_note(self, name: str, text: str) -> None:
        """Keep what concerns all rows."""
        with self._locked():
            self._notes[name] = text

    def clear(
        self,
        partitions: Sequence[int] | None = None,
        *,
        topic_id: str | None = None,
        keeps_schema: bool = True,
    ) -> None:
        """Remove rows, refused records and positions of ``partitions`` (None: of all), and set the topic's id."""
        with self._writing():
            for partition in list(self._written) if partitions is None else partitions:
                for kept in (self._shown, self._rebuilt, self._reasons):
                    kept.pop(partition, None)
            if partitions is None or not keeps_schema:
                self._schema = pl.Schema()
            if partitions is None:
                self._learned.clear()
                self._documents.clear()
            if topic_id is not None:
                self._topic_id = topic_id

    def rebuild(self, partitions: Mapping[int, Rebuild]) -> None:
        """Begin to write rows of these partitions, from nothing, beside those that are there."""
        with self._writing():
            self._rebuilt |= {p: _Part(rebuild.position) for p, rebuild in partitions.items()}
            self._reasons |= {p: rebuild.why for p, rebuild in partitions.items()}

    def rebuilds(self) -> dict[int, Rebuild]:
        """Return the partitions that are being rebuilt."""
        with self._locked():
            return {p: Rebuild(why, self._rebuilt[p].position) for p, why in self._reasons.items()}

    def switch(self) -> None:
        """Put what was read again in the place of what was there."""
        with self._writing():
            self._shown |= self._rebuilt
            self._rebuilt, self._reasons = {}, {}

    @property
    def has_failed(self) -> bool:
        """Whether a disk has refused a write: there is none."""
        return False

    def reopen(self) -> None:
        """Do nothing: there is no disk."""
        with self._locked():
            return

    def keep_view(self, view: DecodedRows) -> None:
        """Do nothing: there is no other open."""

    def spill(self, rows: pl.DataFrame) -> None:
        """Return None: there are no files."""

    def kept_view(self, made_by: str) -> None:
        """Return None: there was no open before this one."""

    @property
    def is_view_kept(self) -> bool:
        """Whether there is nothing to keep: always."""
        return True

    def flush(self) -> None:
        """Do nothing: there is no crash to survive."""
        with self._locked():
            return

    def close(self) -> None:
        """Drop everything; a second call does nothing."""
        with self._lock:
            self._is_open = False
            self._drop_rows()

    @property
    def _written(self) -> dict[int, _Part]:
        return {**self._shown, **self._rebuilt}

    def _drop_rows(self) -> None:
        self._shown, self._rebuilt, self._reasons = {}, {}, {}

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
