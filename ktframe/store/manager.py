"""Finds, creates, opens and closes stores, and makes sure that each is open only once.

A store is a directory: ``store.json`` (whose rows they are), ``owner.json`` (who has it open), ``rocksdb/``, and
``view/`` (see ``kept_view``) once it was closed. It is created under a temporary name and renamed, so that a directory
that exists is complete. A store of another format version stays where it is, and a new one is made beside it (see
``versions``). Anything else found there is refused, never repaired or overwritten.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock
from typing import Any
from urllib.parse import quote

from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreCorruptError, StoreError, StoreLockedError, StoreMismatchError
from ktframe.store.engine import DATA, Engine, SharedMemory
from ktframe.store.errors import StillUsedError, closed_error, file_errors
from ktframe.store.layout import FORMAT_VERSION, metadata_key
from ktframe.store.memory import MemoryStore
from ktframe.store.protocol import StateStore, StoreDescription
from ktframe.store.replacement import Replacement, note_of
from ktframe.store.rocksdb import RocksDBStore
from ktframe.store.versions import (
    DESCRIPTION,
    described,
    free_place,
    outdated_places,
    places,
    read_json,
    sweep,
)

logger = logging.getLogger("ktframe.store")
_OWNER = "owner.json"


class _OtherVersionError(StoreError):
    """The rows have another format version, the ``reason``, than ``store.json`` says."""


@dataclass(slots=True)
class _Opened:
    store: StateStore
    place: Path
    replacement: Replacement | None = None
    opener: int = 0


class StoreManager:
    """Opens each store once per process, for its newest opener; any thread may ask."""

    def __init__(self, state_dir: Path, options: StoreOptions) -> None:
        self.state_dir = state_dir
        self._memory = SharedMemory(options)
        self._lock = Lock()
        self._open: dict[Path, _Opened] = {}

    def path_of(self, description: StoreDescription) -> Path:
        """Return the directory of a store; its name contains a hash of every setting that decides which rows exist.

        A store that was built beside one of another format version has a number after this name.
        """
        settings = json.dumps(dict(description.settings), sort_keys=True).encode()
        digest = hashlib.blake2b(settings, digest_size=8).hexdigest()
        topic = quote(description.topic, safe="")
        return (
            self.state_dir
            / quote(description.cluster_id, safe="")
            / topic
            / f"{quote(description.kind, safe='')}-{digest}"
        )

    def get_or_open(
        self, description: StoreDescription, options: StoreOptions, *, opener: int = 0
    ) -> StateStore:
        """Return the store of ``description`` for ``opener``, opening or making it if need be.

        Of several openers the newest has it, which has the greatest number. What another was given is closed, under the
        lock of every write: whatever that one still does can't reach the rows any more. The same opener gets the same
        store again.

        Raises
        ------
        StoreLockedError
            When another process, or another manager of this one, has it open.
        StoreMismatchError
            When the store that is there belongs to another cluster or topic.
        StoreCorruptError
            When the store that is there can't be read.
        StoreError
            When the file system refuses: no permission, no space, a read-only disk. When a newer opener has it
            (``is_closed``), or an older one does not leave it.
        """
        path = self.path_of(description)
        with self._lock:
            opened = self._open.get(path)
            if opened is not None and opener < opened.opener:
                raise closed_error(str(path))
            if opened is not None and opener > opened.opener:
                self._close_opened(path)
                opened = None
            if opened is None:
                opened = self._open[path] = self._open_store(path, description, options)
                opened.opener = opener
            return opened.store

    def replacement_of(self, store: StateStore) -> Replacement | None:
        """Return what knows which stores of other format versions an open store replaces; None for one in memory."""
        with self._lock:
            return next((each.replacement for each in self._open.values() if each.store is store), None)

    def _open_store(self, path: Path, description: StoreDescription, options: StoreOptions) -> _Opened:
        if options.backend == "memory":
            return _Opened(MemoryStore(), path)
        damage: StoreCorruptError | None = None
        opened: tuple[Path, RocksDBStore] | None = None
        with file_errors(path):
            sweep(path)
            outdated = outdated_places(path, description)
            for place in places(path):
                if opened is not None or place in outdated:
                    continue
                try:
                    opened = place, self._open_place(place, description, options)
                except _OtherVersionError as error:
                    outdated[place] = error.reason
                except StoreCorruptError as error:
                    damage = error
            if opened is None:
                if damage is not None:
                    raise damage
                place = self._create(free_place(path), description, options, outdated)
                opened = place, self._open_place(place, description, options)
        place, store = opened
        replacement = Replacement(store, outdated, options, self._memory, in_use=_locked)
        return _Opened(store, place, replacement)

    def _open_place(self, place: Path, description: StoreDescription, options: StoreOptions) -> RocksDBStore:
        _check_description(place, description)
        try:
            engine = Engine(place, options, self._memory)
        except StoreLockedError as error:
            raise _locked(place, error.reason) from error
        try:
            _check_version(place, engine)
            store = RocksDBStore(engine, lambda engine: self._reopen(engine, place, description, options))
            _check_metadata(place, store, description)
            _write_json(place / _OWNER, _this_process())
        except BaseException:
            with suppress(StoreError):  # the first error says more
                engine.close()
            raise
        return store

    def _reopen(
        self, engine: Engine, place: Path, description: StoreDescription, options: StoreOptions
    ) -> None:
        """Open RocksDB again after an error of its disk; a store whose directory is gone is made anew."""

        def restore() -> None:
            if not place.exists():
                logger.warning("store %s was removed while it was open, and is made anew", place)
                self._create(place, description, options, {})
            _check_description(place, description)

        try:
            engine.reopen(restore)
        except StoreLockedError as error:
            engine.refusal = _locked(place, error.reason)
            raise engine.refusal from error
        with file_errors(place):
            _write_json(place / _OWNER, _this_process())

    def _create(
        self, place: Path, description: StoreDescription, options: StoreOptions, outdated: Mapping[Path, str]
    ) -> Path:
        # One by one from the top: mkdir(parents=True) would apply the mode to the last one only.
        for parent in reversed([place.parent, *place.parent.parents]):
            if not parent.exists():
                parent.mkdir(mode=0o700, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        try:
            store = RocksDBStore(Engine(draft, options, self._memory, create=True))
            try:
                store.set_metadata(_metadata(description) | note_of(outdated.values()))
            finally:
                store.close()
            _write_json(draft / DESCRIPTION, {"format_version": FORMAT_VERSION, **_as_json(description)})
            try:
                draft.rename(place)
            except OSError:
                if not place.exists():  # else another process was faster, and its store is as good
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return place

    def close(self, store: StateStore) -> None:
        """Close ``store`` and forget it, even if flushing fails; a second call does nothing.

        Raises
        ------
        StoreError
            When a thread does not leave it; the next call tries again.
        """
        with self._lock:
            for path, opened in self._open.items():
                if opened.store is store:
                    self._close_opened(path)
                    return
        store.close()

    def close_all(self) -> None:
        """Close every open store; then raise the first error, if there was one."""
        failures = []
        with self._lock:
            for path in list(self._open):
                try:
                    self._close_opened(path)
                except StoreError as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def _close_opened(self, path: Path) -> None:
        """Close the store at ``path``; the caller holds the lock."""
        opened = self._open.pop(path)
        # Before RocksDB's lock is released: afterwards the file may already be that of the next owner.
        is_owned = _owner_of(opened.place).get("pid") == os.getpid()
        if is_owned:
            with suppress(OSError):
                (opened.place / _OWNER).unlink()
        try:
            opened.store.close()
        except StillUsedError:
            self._open[path] = opened  # for the next call, which tries again
            if is_owned:
                _write_json(opened.place / _OWNER, _this_process())
            raise


def _as_json(description: StoreDescription) -> dict[str, Any]:
    return {
        "cluster_id": description.cluster_id,
        "topic": description.topic,
        "kind": description.kind,
        "settings": dict(description.settings),
    }


def _metadata(description: StoreDescription) -> dict[str, bytes]:
    return {
        "format_version": str(FORMAT_VERSION).encode(),
        "cluster_id": description.cluster_id.encode(),
        "topic": description.topic.encode(),
    }


def _check_description(path: Path, description: StoreDescription) -> None:
    if not (path / DESCRIPTION).is_file():
        raise StoreCorruptError(str(path), f"it is not a complete ktframe store: {DESCRIPTION} is missing")
    stored = described(path)
    if not stored:
        raise StoreCorruptError(str(path), f"{DESCRIPTION} can't be read")
    if not (path / DATA / "CURRENT").is_file():
        raise StoreCorruptError(str(path), f"it is not a complete ktframe store: {DATA}/CURRENT is missing")
    for name, expected in _as_json(description).items():
        if stored.get(name) != expected:
            raise StoreMismatchError(str(path), f"its {name} is {stored.get(name)!r}, not {expected!r}")


def _check_version(path: Path, engine: Engine) -> None:
    """Check the version of the rows, which may differ from that in ``store.json``, before anything else is read."""
    version = engine.get(metadata_key("format_version"))
    if version is not None and version != str(FORMAT_VERSION).encode():
        raise _OtherVersionError(str(path), version.decode(errors="replace"))


def _check_metadata(path: Path, store: RocksDBStore, description: StoreDescription) -> None:
    """Check the metadata stored with the rows: ``store.json`` may have been copied next to another store's rows."""
    for name, expected in _metadata(description).items():
        stored = store.metadata.get(name)
        if stored is None:
            raise StoreCorruptError(str(path), f"its rows have no {name}")
        if stored != expected:
            reason = (
                f"the {name} of its rows is {stored.decode(errors='replace')!r}, not {expected.decode()!r}"
            )
            raise StoreMismatchError(str(path), reason)


def _this_process() -> dict[str, Any]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": now}


def _locked(path: Path, reason: str) -> StoreLockedError:
    owner = _owner_of(path)
    is_ours = (owner.get("pid"), owner.get("host")) == (os.getpid(), socket.gethostname())
    return StoreLockedError(str(path), reason, **owner, is_own_process=is_ours)


def _owner_of(path: Path) -> dict[str, Any]:
    try:
        owner = read_json(path / _OWNER)
    except OSError:
        return {}
    return {name: owner.get(name) for name in ("pid", "host", "since")}


def _write_json(path: Path, value: dict[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
