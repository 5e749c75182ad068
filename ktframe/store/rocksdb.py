"""A store in RocksDB: rows, positions and refused records as ``layout.py`` writes them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Lock

import polars as pl

from ktframe.errors import StoreCorruptError, StoreError
from ktframe.fold.records import Changes, Position, RefusedRecord, StaleMarks, StoredRows
from ktframe.store import layout
from ktframe.store.change_log import ChangeLog
from ktframe.store.engine import Batch, Engine
from ktframe.store.kept_view import NOTE, Note, ViewFiles
from ktframe.store.layout import delete_refused, put_metadata, put_refused, put_rows, put_stale
from ktframe.store.protocol import Causes, DecodedRows, Horizon, Rebuild, dropped
from ktframe.store.slots import Slot, Slots, Surplus, applied, put_slots, scan, shares_of, stale_marks

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
        self._unused: list[tuple[bytes, bytes]] = []
        """Ranges of keys that were removed in a switch, which must not take long."""
        self._view_files = ViewFiles(engine.path)
        self._changed = ChangeLog(engine)
        self._load_state()

    def _load_state(self) -> None:
        self._changed.stop()  # what was written may be gone
        self._slots, self._schema = Slots(), pl.Schema()
        try:
            self.metadata: dict[str, bytes] = {
                layout.metadata_name(key): value
                for keys, values in scan(self._engine, 0, layout.METADATA)
                for key, value in zip(keys, values, strict=True)
            }
            """The metadata of the store (slot 0), by name."""
            self._slots = Slots.read(self._engine)
            if raw_schema := self.metadata.get("schema"):
                self._schema = layout.unpack_schema(raw_schema)
        except (struct.error, ValueError, OSError) as error:
            raise StoreCorruptError(str(self._engine.path), f"its metadata is damaged: {error}") from error
        self._is_outdated = False

    def set_metadata(self, values: Mapping[str, bytes], *, changes_rows: bool = True) -> None:
        """Write names and values of slot 0; ``changes_rows`` as in ``learn``."""
        write = self._engine.write if changes_rows else self._changed.write
        with self._writing():
            write(lambda batch: put_metadata(batch, values))
            self.metadata |= values

    @property
    def topic_id(self) -> str | None:
        """Kafka's id of the topic that was read, None while unknown."""
        with self._locked():
            return self.metadata.get("topic_id", b"").decode() or None

    def get(self, identity: bytes) -> list[tuple[int, bytes]]:
        """Return the (partition, stored row) pairs of ``identity``."""
        return self.get_many([identity])[0]

    def get_many(self, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
        """Return the (partition, stored row) pairs of each of ``identities``."""
        pairs_of_each: list[list[tuple[int, bytes]]] = [[] for _ in identities]
        with self._locked():
            for partition, slot in sorted(self._slots.shown.items()):
                for pairs, value in zip(pairs_of_each, self._rows(slot, identities), strict=True):
                    if value is not None:
                        pairs.append((partition, value))
        return pairs_of_each

    def get_of(self, partition: int, identities: Sequence[bytes]) -> list[bytes | None]:
        """Return the row of each of ``identities`` in ``partition``, as it is written."""
        with self._locked():
            slot = self._slots.written.get(partition)
            return [None] * len(identities) if slot is None else self._rows(slot, identities)

    def _rows(self, slot: Slot, identities: Sequence[bytes]) -> list[bytes | None]:
        head = layout.prefix(slot.number, layout.ROW)
        return self._engine.get_many([head + identity for identity in identities])

    def identities_of(self, partition: int, record_key: bytes) -> list[bytes]:
        """Return the identities of rows, as they are written, that ever carried ``record_key`` in ``partition``."""
        with self._locked():
            slot = self._slots.written.get(partition)
            if slot is None:
                return []
            head = layout.index_prefix(slot.number, record_key)
            # No identity starts with FF: its first byte is a tag.
            return [key[len(head) :] for keys, _ in self._engine.scan(head, head + b"\xff") for key in keys]

    def items(
        self, start: bytes | None = None, end: bytes | None = None, *, rebuilt: bool = False
    ) -> Iterator[StoredRows]:
        """Yield chunks of rows with ``start <= identity < end``, partition by partition, in identity order."""
        with self._locked():
            slots = sorted(self._read_slots(rebuilt=rebuilt).items())
        for partition, slot in slots:
            head = layout.prefix(slot.number, layout.ROW)
            last = layout.prefix_end(slot.number, layout.ROW) if end is None else head + end
            for keys, values in self._engine.scan(head + (start or b""), last):
                yield StoredRows([partition] * len(keys), [key[len(head) :] for key in keys], values)

    def _read_slots(self, *, rebuilt: bool) -> Mapping[int, Slot]:
        return self._slots.rebuilt if rebuilt else self._slots.shown

    def refused(self) -> list[RefusedRecord]:
        """Return the kept refused records, in offset order per partition."""
        return self._refused_of(layout.REFUSED)

    def causes(self) -> dict[int, Causes]:
        """Return why records of each partition were refused, all of them counted."""
        with self._locked():
            return {partition: slot.causes for partition, slot in self._slots.shown.items() if slot.causes}

    def stale(self, *, rebuilt: bool = False) -> StaleMarks:
        """Return the marks of refused records whose identity is known."""
        with self._locked():
            return stale_marks(self._engine, self._read_slots(rebuilt=rebuilt))

    def late(self) -> list[RefusedRecord]:
        """Return the kept late records, in offset order per partition."""
        return self._refused_of(layout.LATE)

    def _refused_of(self, kind: int) -> list[RefusedRecord]:
        with self._locked():
            return [
                layout.unpack_refused(partition, layout.refused_place(key), value)
                for partition, slot in sorted(self._slots.shown.items())
                for keys, values in scan(self._engine, slot.number, kind)
                for key, value in zip(keys, values, strict=True)
            ]

    def positions(self) -> dict[int, Position]:
        """Return how far each partition is applied, as reads find it."""
        with self._locked():
            return {partition: slot.position for partition, slot in self._slots.shown.items()}

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

    def learn(self, parts: Mapping[str, bytes], *, changes_rows: bool = True) -> None:
        """Keep what decides the columns of the rows applied from now on."""
        values = {f"{_LEARNED}{name}": part for name, part in parts.items()}
        self.set_metadata(values, changes_rows=changes_rows)

    def apply(self, changes: Changes, positions: Mapping[int, int]) -> None:
        """Write ``changes`` and the next offset of (at least) every partition that they touch; each partition in one step."""
        with self._writing():
            known = self._slots.written
            added = [partition for partition in positions if partition not in known]
            known |= {p: Slot(self._slots.unused + number) for number, p in enumerate(added)}
            by_kind = {layout.LATE: changes.late, layout.REFUSED: changes.refused}
            after, surplus = applied({p: known[p] for p in positions}, changes, positions, by_kind)
            shares = shares_of(changes, positions)
            for share in shares:
                mine = changes if len(shares) == 1 else changes.of(share)
                self._write_share(mine, {p: (known[p], after[p], surplus[p]) for p in share})

    def _write_share(self, changes: Changes, slots: Mapping[int, tuple[Slot, Slot, Surplus]]) -> None:
        """Write the ``changes`` of some partitions, whose slots are given: as they are, as they will be, and what makes room."""
        schema = changes.schema if len(changes.schema) else self._schema
        numbers = {partition: slot.number for partition, (slot, _, _) in slots.items()}
        marked = {partition for partition, (slot, _, _) in slots.items() if slot.is_marked}
        changed = self._slots.having({partition: after for partition, (_, after, _) in slots.items()})

        def build(batch: Batch) -> None:
            put_rows(batch, changes, numbers)
            for kind, records in ((layout.LATE, changes.late), (layout.REFUSED, changes.refused)):
                put_refused(batch, kind, records, numbers)
            put_stale(batch, changes, numbers, marked)
            if schema != self._schema:
                put_metadata(batch, {"schema": layout.pack_schema(schema)})
            put_slots(batch, self._slots, changed, ())
            for before, after, surplus in slots.values():
                after.put(batch, before.causes)
                delete_refused(batch, after.number, surplus)

        self._changed.write(build, changes.lines)
        self._slots, self._schema = changed, schema

    def drop(self, horizons: Mapping[int, Horizon]) -> None:
        """Drop the rows of each partition below its horizon, and free the disk space."""
        with self._writing():
            after, ranges = dict[int, Slot](), []
            for partition, horizon in horizons.items():
                slot = self._slots.written[partition]
                for kind in (layout.ROW, layout.STALE):
                    head = layout.prefix(slot.number, kind)
                    ranges += [(head, head + horizon.bound)] if horizon.bound else []
                after[partition] = replace(slot, position=dropped(slot.position, horizon))

            def build(batch: Batch) -> None:
                for start, end in ranges:
                    batch.delete_range(start, end)
                for slot in after.values():
                    slot.put(batch, slot.causes)

            self._engine.write(build)
            self._slots = self._slots.having(after)
        self._free(ranges)

    def note(self, name: str) -> str:
        """Return what is kept by this name."""
        with self._locked():
            return self.metadata.get(name, b"").decode()

    def keep_note(self, name: str, text: str) -> None:
        """Keep what concerns all rows."""
        self.set_metadata({name: text.encode()})

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
            cleared = list(self._slots.written) if partitions is None else partitions
            parts = [name for name in self.metadata if name.startswith((_DOCUMENT, _LEARNED))]
            obsolete = [REPLACED, *parts] if partitions is None else []
            is_schema_gone = partitions is None or not keeps_schema
            obsolete += ["schema"] if is_schema_gone else []

            def put(batch: Batch) -> None:
                for name in obsolete:
                    batch.delete(layout.metadata_key(name))
                put_metadata(batch, metadata)

            gone = self._change(self._slots.without(cleared), put)
            if is_schema_gone:
                self._schema = pl.Schema()
            for name in obsolete:
                self.metadata.pop(name, None)
            self.metadata |= metadata
        self._free(gone)

    def rebuild(self, partitions: Mapping[int, Rebuild]) -> None:
        """Begin to write rows of these partitions, from nothing, beside those that are there."""
        with self._writing():
            gone = self._change(self._slots.rebuilding(partitions))
        self._free(gone)

    def rebuilds(self) -> dict[int, Rebuild]:
        """Return the partitions that are being rebuilt."""
        with self._locked():
            return self._slots.rebuilds()

    def switch(self) -> None:
        """Put what was read again in the place of what was there, in one step."""
        with self._writing():
            self._unused += self._change(self._slots.switched())

    def _change(
        self, change: tuple[Slots, list[Slot]], put: Callable[[Batch], None] = lambda _: None
    ) -> list[tuple[bytes, bytes]]:
        """Write which slots there are from now on; return the ranges of keys that are not needed any more."""
        after, gone = change

        def build(batch: Batch) -> None:
            put_slots(batch, self._slots, after, gone)
            put(batch)

        self._engine.write(build)
        self._slots = after
        return [layout.slot_range(slot.number) for slot in gone]

    def _free(self, ranges: Sequence[tuple[bytes, bytes]]) -> None:
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

    def keep_view(self, view: DecodedRows) -> None:
        """Keep the decoded rows in files; which rows are written afterwards is noted."""
        last_write = self._engine.last_write()
        files = self._view_files.write(view.frames)
        if files is None:
            self._changed.stop()
            return
        with self._writing():
            note = Note.after(last_write, view, files)
            if not note.is_of(self.metadata.get(NOTE)):
                self._engine.write(note.put)
                self.metadata[NOTE] = note.pack()
                last_write = note.write
            self._changed.begin(last_write)
        self._view_files.keep(files)

    def spill(self, rows: pl.DataFrame) -> pl.DataFrame | None:
        """Return decoded rows as they lie in a file."""
        return self._view_files.spill(rows)

    def kept_view(self, made_by: str) -> DecodedRows | None:
        """Return the rows of the files that are kept, and which rows were written since, if that is known."""
        with self._locked():
            note = self.metadata.get(NOTE)
        return self._view_files.read(note, self._changed, made_by)

    @property
    def is_view_kept(self) -> bool:
        """Whether files are kept, and all rows that were written since are noted."""
        return self._changed.is_whole

    def flush(self) -> None:
        """Make everything applied so far survive a crash, and free the disk space of slots that others have replaced."""
        self._engine.flush()
        with self._lock:
            unused, self._unused = self._unused, []
        self._free(unused)

    def close(self) -> None:
        """Flush and release the store; a second call does nothing."""
        self._view_files.close()
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
