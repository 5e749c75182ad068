"""A store that is built anew in the place of one of another format version, which is removed once the new one is ready."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from pathlib import Path
from threading import Lock
from typing import Any

import orjson

from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreError, StoreLockedError
from ktframe.store import layout
from ktframe.store.engine import Engine, SharedMemory
from ktframe.store.rocksdb import REPLACED, RocksDBStore
from ktframe.store.versions import remove_store

logger = logging.getLogger("ktframe.store")


def note_of(versions: Iterable[str]) -> dict[str, bytes]:
    """Return the metadata of a new store beside stores of these format versions."""
    version = next(iter(versions), None)
    return {} if version is None else {REPLACED: orjson.dumps({"version": version})}


class Replacement:
    """Which outdated stores a store replaces, what that means for its rows, and their removal. Any thread may call it.

    What it knows is kept in the store, beside the rows, so that it is still said after a restart.
    """

    def __init__(
        self,
        store: RocksDBStore,
        outdated: Mapping[Path, str],
        options: StoreOptions,
        memory: SharedMemory,
        *,
        in_use: Callable[[Path, str], StoreLockedError],
    ) -> None:
        self._store = store
        self._outdated = dict(outdated)
        self._options = options
        self._memory = memory
        self._in_use = in_use
        self._lock = Lock()

    @property
    def notice(self) -> str | None:
        """What a user must know of it: while the store is built, and for good where rows were lost."""
        note = self._note()
        lost = _lost(note)
        if not note or (note.get("is_complete") and not lost):
            return None
        verb = "was" if note.get("is_complete") else "is"
        return f"the local store {verb} built anew: its format was version {note['version']}{lost}"

    def begin(self, bounds: Mapping[int, bytes], *, keeps_history: bool, is_countable: bool) -> str | None:
        """Find out, before anything is read, what the topic no longer has; return the notice, None if that was done before.

        ``bounds`` has the partitions whose log has lost its first records, each with the identity of the first record
        that is left. With ``keeps_history`` rows below them are missing for good, and said to be; ``is_countable``
        means that all rows below them are.
        """
        note = self._note()
        if not note or "lost" in note:
            return None
        lost = (self._rows_below(bounds) if is_countable else None) if bounds else 0
        self._write(note | {"lost": lost, "keeps_history": keeps_history})
        return self.notice

    def complete(self) -> None:
        """Remove the outdated stores, now that this one is ready. Never raises: what fails is tried at the next open."""
        with self._lock:
            outdated, self._outdated = self._outdated, {}
        try:
            note = self._note()
            if note and not note.get("is_complete"):
                # Without history the rows are those that a first load of the topic gives: nothing remains to be said.
                self._write(note | {"is_complete": True} if note.get("keeps_history") else {})
            if outdated:
                self._store.flush()
        except StoreError as error:
            logger.warning("%s Stores of other format versions stay for now.", error.fact)
            return
        for place, version in outdated.items():
            self._remove(place, version)

    def _remove(self, place: Path, version: str) -> None:
        try:
            remove_store(place, self._options, self._memory)
        except StoreLockedError as error:
            fact = self._in_use(place, error.reason).fact
            logger.info("%s It has format version %s, and is removed at a later open.", fact, version)
        except (StoreError, OSError) as error:
            logger.warning("store %s of format version %s can't be removed: %s", place, version, error)
        else:
            logger.info("store %s of format version %s was removed", place, version)

    def _rows_below(self, bounds: Mapping[int, bytes]) -> int | None:
        """Return how many rows the outdated store has below ``bounds``; None if that can't be known."""
        counts = [self._count_below(bounds, place, version) for place, version in self._outdated.items()]
        known = [count for count in counts if count is not None]
        return max(known) if known and len(known) == len(counts) else None

    def _count_below(self, bounds: Mapping[int, bytes], place: Path, version: str) -> int | None:
        if not layout.has_same_row_keys(version):
            return None
        try:
            with closing(Engine(place, self._options, self._memory)) as engine:
                return sum(_count(engine, partition, bound) for partition, bound in bounds.items())
        except StoreError:  # in use, or damaged
            return None

    def _note(self) -> dict[str, Any]:
        raw = self._store.metadata.get(REPLACED)
        return dict(orjson.loads(raw)) if raw else {}

    def _write(self, note: dict[str, Any]) -> None:
        self._store.set_metadata({REPLACED: orjson.dumps(note) if note else b""})


def _count(engine: Engine, partition: int, bound: bytes) -> int:
    slot = engine.get(layout.partition_key(partition))
    if slot is None:
        return 0
    head = layout.prefix(layout.unpack_u32(slot), layout.ROW)
    return sum(len(keys) for keys, _ in engine.scan(head, head + bound))


def _lost(note: Mapping[str, Any]) -> str:
    lost = note.get("lost", 0)
    if lost is None:
        return "; older rows, whose records the topic no longer has, may be gone with it"
    return f"; {lost:,} older rows, whose records the topic no longer has, are gone with it" if lost else ""
