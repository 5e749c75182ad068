"""Where stores live, who owns them, and that each is open once.

A store is a directory: ``store.json`` (whose rows they are), ``owner.json`` (who has it open) and ``rocksdb/``. It is
made under a temporary name and renamed, so that a directory that exists is complete, and anything else found there is
refused, never repaired or overwritten.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from urllib.parse import quote

from ktframe.errors import StoreCorruptError, StoreLockedError, StoreMismatchError
from ktframe.settings import StoreOptions
from ktframe.store.engine import Engine, SharedMemory
from ktframe.store.layout import FORMAT_VERSION
from ktframe.store.memory import MemoryStore
from ktframe.store.protocol import StateStore, StoreDescription
from ktframe.store.rocksdb import RocksDBStore

_DESCRIPTION, _OWNER, _DATA = "store.json", "owner.json", "rocksdb"


class StoreManager:
    """Opens each store once per process; any thread may ask."""

    def __init__(self, state_dir: Path, options: StoreOptions) -> None:
        self.state_dir = state_dir
        self._memory = SharedMemory(options)
        self._lock = Lock()
        self._open: dict[Path, StateStore] = {}

    def path_of(self, description: StoreDescription) -> Path:
        """Return the directory of a store; its last part covers every setting that decides which rows exist."""
        settings = json.dumps(dict(description.settings), sort_keys=True).encode()
        digest = hashlib.blake2b(settings, digest_size=8).hexdigest()
        topic = quote(description.topic, safe="")
        return self.state_dir / quote(description.cluster_id, safe="") / topic / f"{description.kind}-{digest}"

    def get_or_open(self, description: StoreDescription, options: StoreOptions) -> StateStore:
        """Return the open store of ``description``, opening or making it if need be.

        Raises
        ------
        StoreLockedError
            When another process has it open.
        StoreMismatchError
            When what is there belongs to another cluster, topic or format version.
        StoreCorruptError
            When what is there can't be read.
        """
        path = self.path_of(description)
        with self._lock:
            if path not in self._open:
                self._open[path] = self._open_store(path, description, options)
            return self._open[path]

    def _open_store(self, path: Path, description: StoreDescription, options: StoreOptions) -> StateStore:
        if options.backend == "memory":
            return MemoryStore()
        if not path.exists():
            self._create(path, description, options)
        _check_description(path, description)
        try:
            engine = Engine(path / _DATA, options, self._memory)
        except StoreLockedError as error:
            owner = _read_json(path / _OWNER)
            raise StoreLockedError(
                str(path), error.reason, owner.get("pid"), owner.get("host"), owner.get("since")
            ) from error
        try:
            store = RocksDBStore(engine)
            _check_metadata(path, store, description)
        except BaseException:
            engine.close()
            raise
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _write_json(path / _OWNER, {"pid": os.getpid(), "host": socket.gethostname(), "since": now})
        return store

    def _create(self, path: Path, description: StoreDescription, options: StoreOptions) -> None:
        for parent in (path.parent, *path.parent.parents):
            if not parent.exists():
                parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        engine = Engine(draft / _DATA, options, self._memory, create=True)
        store = RocksDBStore(engine)
        store.set_metadata(_metadata(description))
        store.close()
        _write_json(draft / _DESCRIPTION, {"format_version": FORMAT_VERSION, **asdict(description)})
        with suppress(OSError):  # another process was first: its store is as good
            draft.rename(path)
        shutil.rmtree(draft, ignore_errors=True)

    def close(self, store: StateStore) -> None:
        """Close ``store`` and forget it."""
        with self._lock:
            paths = [path for path, opened in self._open.items() if opened is store]
            store.close()
            for path in paths:
                del self._open[path]
                (path / _OWNER).unlink(missing_ok=True)

    def close_all(self) -> None:
        """Close every open store."""
        for store in list(self._open.values()):
            self.close(store)


def _metadata(description: StoreDescription) -> dict[str, bytes]:
    return {
        "format_version": str(FORMAT_VERSION).encode(),
        "cluster_id": description.cluster_id.encode(),
        "topic": description.topic.encode(),
    }


def _check_description(path: Path, description: StoreDescription) -> None:
    if not (path / _DESCRIPTION).is_file() or not (path / _DATA / "CURRENT").is_file():
        reason = f"it is not a complete ktframe store: {_DESCRIPTION} or {_DATA}/CURRENT is missing"
        raise StoreCorruptError(str(path), reason)
    found = _read_json(path / _DESCRIPTION)
    if found.get("format_version") != FORMAT_VERSION:
        reason = f"its format version is {found.get('format_version')}, this ktframe reads {FORMAT_VERSION}"
        raise StoreMismatchError(str(path), reason)
    for name, wanted in asdict(description).items():
        if found.get(name) != wanted:
            raise StoreMismatchError(str(path), f"its {name} is {found.get(name)!r}, wanted is {wanted!r}")


def _check_metadata(path: Path, store: RocksDBStore, description: StoreDescription) -> None:
    """Look at what the rows themselves say: ``store.json`` may have been copied beside another's rows."""
    for name, wanted in _metadata(description).items():
        found = store.metadata.get(name)
        if found != wanted:
            raise StoreMismatchError(str(path), f"its rows say {name} {found!r}, wanted is {wanted!r}")


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_json(path: Path, value: dict[str, object]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(json.dumps(value, indent=1))
    draft.replace(path)
