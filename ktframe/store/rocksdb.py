"""A store in RocksDB: rows, positions and refused records as ``layout.py`` writes them."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from threading import Lock

import polars as pl

from ktframe.columns import PARTITION
from ktframe.errors import StoreCorruptError, StoreError
from ktframe.fold.records import Changes, Position, RefusedRecord, StaleMarks, StoredRows
from ktframe.store import layout
from ktframe.store.engine import Batch, Engine
from ktframe.store.layout import put_metadata, put_refused, put_rows, put_stale
from ktframe.store.protocol import REFUSED_KEPT, Causes, Horizon, advanced, dropped, with_refused

_DOCUMENT = "document:"
"""The prefix of the names of documents in slot 0; a number follows."""
_LEARNED = "learned:"
"""The prefix of the names of the parts of what decides the columns; that of the part follows."""
REPLACED = "replaced"
"""The name in slot 0 of what tells which store of another format version this one replaces; see ``replacement``."""


class RocksDBStore:
    """The rows of one topic by one identity, in an open ``Engine``. Written by the binding's thread, read by any."""

    def __init__(self, engine: Engine, reopen: Callable[[Engine], None] = Engine.reopen) -> None:
        self._engine = engine
        self._reopen = reopen
        self._lock = Lock()
        """A write holds it until the attributes below are updated; reads hold it too, and so see all of a write or nothing."""
        self._is_outdated = False
        """Whether an error came between a write and the update of the attributes below."""
        self._load_state()

    def _load_state(self) -> None:
        self._slots: dict[int, int] = {}
        self._positions: dict[int, Position] = {}
        self._kept: dict[int, dict[int, deque[int]]] = {layout.LATE: {}, layout.REFUSED: {}}
        """Offsets of the late and of the refused records that are kept, by partition."""
        self._causes: dict[int, Causes] = {}
        self._marked: set[int] = set()
        """The partitions that may have marks of refused records."""
        self._schema = pl.Schema()
        try:
            self._read_state()
        except (struct.error, ValueError, OSError) as error:
            raise StoreCorruptError(str(self._engine.path), f"its metadata is damaged: {error}") from error
        self._next_slot = max(self._slots.values(), default=0) + 1
        self._is_outdated = False

    def _read_state(self) -> None:
        self.metadata: dict[str, bytes] = {
            layout.metadata_name(key): value
            for keys, values in self._scan(0, layout.METADATA)
            for key, value in zip(keys, values, strict=True)
        }
        """The metadata of the store (slot 0), by name."""
        for keys, values in self._scan(0, layout.POSITION):
            self._slots |= {
                layout.unpack_u32(k): layout.unpack_u32(v) for k, v in zip(keys, values, strict=True)
            }
        for partition, slot in self._slots.items():
            raw = self._engine.get(layout.prefix(slot, layout.POSITION))
            self._positions[partition] = layout.unpack_position(raw or b"")
            for kind, kept in self._kept.items():
                scanned = (key for keys, _ in self._scan(slot, kind) for key in keys)
                kept[partition] = deque(map(layout.refused_offset, scanned))
            self._causes[partition] = {
                key[len(layout.prefix(slot, layout.CAUSE)) :].decode(): layout.unpack_cause(value)
                for keys, values in self._scan(slot, layout.CAUSE)
                for key, value in zip(keys, values, strict=True)
            }
            if any(keys for keys, _ in self._scan(slot, layout.STALE)):
                self._marked.add(partition)
        if raw_schema := self.metadata.get("schema"):
            self._schema = layout.unpack_schema(raw_schema)

    def set_metadata(self, values: Mapping[str, bytes]) -> None:
        """Write names and values of slot 0."""
        with self._writing():
            self._engine.write(lambda batch: put_metadata(batch, values))
            self.metadata |= values

    @property
    def topic_id(self) -> str | None:
        """Kafka's id of the topic that was read, None while unknown."""
        with self._locked():
            raw = self.metadata.get("topic_id")
        return raw.decode() if raw else None

    def get(self, identity: bytes) -> list[tuple[int, bytes]]:
        """Return the (partition, stored row) pairs of ``identity``."""
        return self.get_many([identity])[0]

    def get_many(self, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Return the (partition, stored row) pairs of each of ``identities``."""
        pairs_of_each: list[list[tuple[int, bytes]]] = [[] for _ in identities]
        with self._locked():
            for partition, slot in sorted(self._slots.items()):
                head = layout.prefix(slot, layout.ROW)
                values = self._engine.get_many([head + identity for identity in identities])
                for pairs, value in zip(pairs_of_each, values, strict=True):
                    if value is not None:
                        pairs.append((partition, value))
        return pairs_of_each

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows that ever carried ``record_key`` in ``partition``."""
        with self._locked():
            if partition not in self._slots:
                return []
            head = layout.index_prefix(self._slots[partition], record_key)
            # No identity starts with FF: its first byte is a tag.
            return [key[len(head) :] for keys, _ in self._engine.scan(head, head + b"\xff") for key in keys]

    def items(self, start: bytes | None = None, end: bytes | None = None) -> Iterator[StoredRows]:
        """Yield chunks of rows with ``start <= identity < end``, partition by partition, in identity order."""
        with self._locked():
            slots = sorted(self._slots.items())
        for partition, slot in slots:
            head = layout.prefix(slot, layout.ROW)
            last = layout.prefix_end(slot, layout.ROW) if end is None else head + end
            for keys, values in self._engine.scan(head + (start or b""), last):
                yield StoredRows([partition] * len(keys), [key[len(head) :] for key in keys], values)

    def refused(self) -> list[RefusedRecord]:
        """Return the kept refused records, in offset order per partition."""
        return self._refused_of(layout.REFUSED)

    def causes(self) -> dict[int, Causes]:
        """Return why records of each partition were refused, all of them counted."""
        with self._locked():
            return dict(self._causes)

    def stale(self) -> StaleMarks:
        """Return the marks of refused records whose identity is known."""
        marks: list[tuple[int, bytes, int, int | None]] = []
        with self._locked():
            for partition in sorted(self._marked):
                head = layout.prefix(self._slots[partition], layout.STALE)
                for keys, values in self._scan(self._slots[partition], layout.STALE):
                    places = map(layout.unpack_stale, values)
                    marks += [
                        (partition, key[len(head) :], *place) for key, place in zip(keys, places, strict=True)
                    ]
        return StaleMarks(*(list(column) for column in zip(*marks, strict=True)))

    def late(self) -> list[RefusedRecord]:
        """Return the kept late records, in offset order per partition."""
        return self._refused_of(layout.LATE)

    def _refused_of(self, kind: int) -> list[RefusedRecord]:
        with self._locked():
            return [
                layout.unpack_refused(partition, layout.refused_offset(key), value)
                for partition, slot in sorted(self._slots.items())
                for keys, values in self._scan(slot, kind)
                for key, value in zip(keys, values, strict=True)
            ]

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
            return [value for name, value in sorted(self.metadata.items()) if name.startswith(_DOCUMENT)]

    def add_document(self, document: bytes) -> None:
        """Keep bytes that are needed to read the rows applied from now on."""
        self.set_metadata({f"{_DOCUMENT}{len(self.documents()):08}": document})

    def learned(self) -> dict[str, bytes]:
        """Return what ``learn`` was given last by each name."""
        with self._locked():
            return {
                name.removeprefix(_LEARNED): part
                for name, part in self.metadata.items()
                if part and name.startswith(_LEARNED)
            }

    def learn(self, parts: Mapping[str, bytes]) -> None:
        """Keep what decides the columns of the rows applied from now on."""
        self.set_metadata({f"{_LEARNED}{name}": part for name, part in parts.items()})

    def apply(self, changes: Changes, positions: Mapping[int, int]) -> None:
        """Write ``changes`` and the next offset of (at least) every partition that they touch, in one step."""
        with self._writing():
            added = [partition for partition in positions if partition not in self._slots]
            slots = self._slots | {partition: self._next_slot + i for i, partition in enumerate(added)}
            after = advanced(self._positions, changes, positions)
            by_kind = {layout.LATE: changes.late, layout.REFUSED: changes.refused}
            kept = {kind: self._kept_with(kind, records) for kind, records in by_kind.items()}
            causes = with_refused(self._causes, changes.refused)
            marked = self._marked | set(changes.stale[PARTITION] if changes.stale.height else ())
            schema = changes.schema if len(changes.schema) else self._schema
            is_new_schema = schema != self._schema

            def build(batch: Batch) -> None:
                put_rows(batch, changes, slots)
                for kind, records in by_kind.items():
                    put_refused(batch, kind, records, kept[kind][1], slots)
                put_stale(batch, changes, slots, self._marked)
                for partition, some in causes.items():
                    for name, cause in some.items():
                        if self._causes.get(partition, {}).get(name) != cause:
                            key = layout.prefix(slots[partition], layout.CAUSE) + name.encode()
                            batch.put(key, layout.pack_cause(cause))
                if is_new_schema:
                    put_metadata(batch, {"schema": layout.pack_schema(schema)})
                for partition in added:
                    batch.put(layout.partition_key(partition), layout.pack_u32(slots[partition]))
                for partition, position in after.items():
                    batch.put(
                        layout.prefix(slots[partition], layout.POSITION), layout.pack_position(position)
                    )

            self._engine.write(build)
            self._slots = slots
            self._next_slot += len(added)
            self._positions |= after
            self._causes |= causes
            self._marked = marked
            for kind, (offsets, _) in kept.items():
                self._kept[kind] |= offsets
            self._schema = schema

    def _kept_with(
        self, kind: int, records: Sequence[RefusedRecord]
    ) -> tuple[dict[int, deque[int]], list[tuple[int, int]]]:
        """Return the offsets kept after ``records`` are added, and the (partition, offset) pairs to delete for them."""
        kept = {
            partition: deque(self._kept[kind].get(partition, ()))
            for partition in {r.partition for r in records}
        }
        for record in records:
            kept[record.partition].append(record.offset)
        surplus = [
            (partition, offsets.popleft())
            for partition, offsets in kept.items()
            for _ in range(len(offsets) - REFUSED_KEPT)
        ]
        return kept, surplus

    def drop(self, horizons: Mapping[int, Horizon]) -> None:
        """Drop the rows of each partition below its horizon, and free the disk space."""
        with self._writing():
            after, ranges = {}, []
            for partition, horizon in horizons.items():
                for kind in (layout.ROW, layout.STALE):
                    head = layout.prefix(self._slots[partition], kind)
                    ranges += [(head, head + horizon.bound)] if horizon.bound else []
                after[partition] = dropped(self._positions[partition], horizon)

            def build(batch: Batch) -> None:
                for start, end in ranges:
                    batch.delete_range(start, end)
                for partition, position in after.items():
                    batch.put(
                        layout.prefix(self._slots[partition], layout.POSITION), layout.pack_position(position)
                    )

            self._engine.write(build)
            self._positions |= after
        for start, end in ranges:
            self._engine.compact(start, end)  # delete_range alone does not free the disk space

    def retention(self) -> str:
        """Return what rows are dropped by."""
        with self._locked():
            return self.metadata.get("retention", b"").decode()

    def set_retention(self, setting: str) -> None:
        """Keep what rows are dropped by."""
        self.set_metadata({"retention": setting.encode()})

    def clear(
        self,
        partitions: Sequence[int] | None = None,
        *,
        topic_id: str | None = None,
        keeps_schema: bool = True,
    ) -> None:
        """Remove rows, refused records and positions of ``partitions`` (None: of all), and set the topic's id."""
        metadata = {} if topic_id is None else {"topic_id": topic_id.encode()}
        with self._writing():
            cleared = [
                p for p in (list(self._slots) if partitions is None else partitions) if p in self._slots
            ]
            ranges = [layout.slot_range(self._slots[partition]) for partition in cleared]
            parts = [name for name in self.metadata if name.startswith((_DOCUMENT, _LEARNED))]
            obsolete = [REPLACED, *parts] if partitions is None else []
            is_schema_gone = partitions is None or not keeps_schema
            obsolete += ["schema"] if is_schema_gone else []

            def build(batch: Batch) -> None:
                for start, end in ranges:
                    batch.delete_range(start, end)
                for partition in cleared:
                    batch.delete(layout.partition_key(partition))
                for name in obsolete:
                    batch.delete(layout.metadata_key(name))
                put_metadata(batch, metadata)

            self._engine.write(build)
            for partition in cleared:
                del self._slots[partition], self._positions[partition]
                self._causes.pop(partition, None)
                self._marked.discard(partition)
                for kept in self._kept.values():
                    kept.pop(partition, None)
            if is_schema_gone:
                self._schema = pl.Schema()
            for name in obsolete:
                self.metadata.pop(name, None)
            self.metadata |= metadata
        for start, end in ranges:
            self._engine.compact(start, end)  # delete_range alone does not free the disk space

    @property
    def has_failed(self) -> bool:
        """Whether the disk has refused a write, or lost the store."""
        return self._engine.has_failed

    def reopen(self) -> None:
        """Open the store again, after an error of its disk: as of its last flush, but for the documents."""
        with self._lock:
            self._engine.check_open()
            if self._is_outdated:
                # As long as it can be read: positions are asked for while it can't be opened, too.
                with suppress(StoreError):
                    self._load_state()
            documents = {name: raw for name, raw in self.metadata.items() if name.startswith(_DOCUMENT)}
            self._open_again()
            self._load_state()
            lost = dict(documents.items() - self.metadata.items())
            if lost:
                self.metadata |= lost
                self._engine.write(lambda batch: put_metadata(batch, lost))

    def _open_again(self) -> None:
        try:
            self._reopen(self._engine)
        finally:
            self._is_outdated |= not self._engine.has_failed

    def flush(self) -> None:
        """Make everything applied so far survive a crash."""
        self._engine.flush()

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        self._engine.close()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            self._engine.check_open()
            if self._is_outdated:
                self._load_state()
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Hold the lock for a write and the update of what is kept of it; after an error in between that is read again."""
        with self._locked():
            self._is_outdated = True
            yield
            self._is_outdated = False

    def _scan(self, slot: int, kind: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
        return self._engine.scan(layout.prefix(slot, kind), layout.prefix_end(slot, kind))
