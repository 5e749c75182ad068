"""A store on disk for tests, and what is in it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from ktframe.config.settings import StoreOptions
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import StoredRows
from ktframe.store.engine import Engine, SharedMemory
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StateStore, StoreDescription
from ktframe.store.rocksdb import RocksDBStore
from support.changes import changes_of

OPTIONS = StoreOptions()
ORDERS = StoreDescription("cluster", "orders", "table", {"value": "json"})


def make_store(manager: StoreManager, *, rows: int = 1) -> Path:
    """Make the store of ``ORDERS`` with a position of 1, close it, and return its directory."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    store.apply(changes_of((0, encode_part(number), os.urandom(100)) for number in range(rows)), {0: 1})
    manager.close(store)
    return manager.path_of(ORDERS)


def contents(path: Path) -> dict[str, bytes]:
    """Return every file that holds something: RocksDB renames and rewrites its logs and options at will."""
    names = ("*.sst", "MANIFEST-*", "CURRENT", "store.json", "notes.txt")
    return {str(file): file.read_bytes() for name in names for file in path.rglob(name)}


def rows_of(store: StateStore) -> list[bytes]:
    """Return the identities in a store."""
    return [identity for chunk in store.items() for identity in chunk.identities]


def lines_of(chunks: Iterable[StoredRows]) -> list[tuple[int, bytes, bytes]]:
    """Return chunks of rows as one list of (partition, identity, stored row)."""
    return [
        line
        for chunk in chunks
        for line in zip(chunk.partitions, chunk.identities, chunk.values, strict=True)
    ]


def edit_description(**changes: object) -> Callable[[Path], None]:
    """Return what changes names in ``store.json``."""

    def edit(path: Path) -> None:
        found = json.loads((path / "store.json").read_text())
        (path / "store.json").write_text(json.dumps(found | changes))

    return edit


def edit_rows(**names: bytes) -> Callable[[Path], None]:
    """Return what changes the metadata beside the rows."""

    def edit(path: Path) -> None:
        store = RocksDBStore(Engine(path, OPTIONS, SharedMemory(OPTIONS)))
        store.set_metadata(names)
        store.close()

    return edit
