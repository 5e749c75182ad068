"""A store whose disk has refused a write: what is there once it was opened again, and who may have it."""

from __future__ import annotations

import errno
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS, rows_of

from ktframe.errors import StoreCorruptError, StoreError, StoreLockedError
from ktframe.fold.identity_codec import encode_part
from ktframe.store import engine as engine_module
from ktframe.store.engine import Engine
from ktframe.store.manager import StoreManager
from ktframe.store.rocksdb import RocksDBStore
from ktframe.testing import FakeBroker

A, B = encode_part("a"), encode_part("b")


class Refusing:
    """RocksDB on a disk that takes nothing more: of its calls those that write raise."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def flush(self) -> None:
        """Raise as RocksDB does."""
        text = f"IO error: {os.strerror(errno.ENOSPC)}: While appending to file: /x/000008.sst"
        raise Exception(text)  # noqa: TRY002 - it is what rocksdict raises

    def write(self, *_: object) -> None:
        """Raise as RocksDB does."""
        self.flush()


@pytest.fixture
def store(manager: StoreManager) -> RocksDBStore:
    """Return a store with two rows, of which the second and a document were not flushed when the disk was full."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert isinstance(store, RocksDBStore)
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    store.flush()
    store.add_document(b"schema")
    store.apply(changes_of([(0, B, b"2")]), {0: 2})
    real = store._engine._db
    store._engine._db = Refusing(real)
    for write in (store.flush, lambda: store.apply(changes_of(), {0: 3})):
        with pytest.raises(StoreError, match="the disk is full: free some space"):
            write()
    # rocksdict flushes when it closes: what was not flushed is lost only where that fails as well.
    store._engine._release = lambda: _lose(store._engine, real, manager)  # type: ignore[method-assign]
    return store


def _lose(engine: Engine, real: Any, manager: StoreManager) -> None:
    """Close RocksDB, and put its directory back to what it was at the last flush."""
    del engine._release
    flushed = manager.state_dir / "flushed"
    shutil.copytree(engine.path / "rocksdb", flushed)
    engine._is_released = True
    real.close()
    for file in (engine.path / "rocksdb").iterdir():
        file.unlink()
    for file in flushed.iterdir():
        file.rename(engine.path / "rocksdb" / file.name)


def test_what_was_not_flushed_is_gone_with_its_position(store: RocksDBStore) -> None:
    """Rows and positions are those of the last flush; documents, which later rows need, stay."""
    assert store.has_failed
    store.reopen()
    assert not store.has_failed
    assert (store.positions()[0].offset, rows_of(store), store.documents()) == (1, [A], [b"schema"])
    store.apply(changes_of([(0, B, b"3")]), {0: 2})
    store.flush()
    store.reopen()
    assert (store.positions()[0].offset, rows_of(store), store.documents()) == (2, [A, B], [b"schema"])


def test_rows_can_be_read_while_the_disk_refuses(
    store: RocksDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as nothing can be written, nothing is closed."""
    with monkeypatch.context() as patch:

        def full(**_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        patch.setattr(engine_module, "TemporaryFile", full)
        for _ in range(2):
            with pytest.raises(StoreError, match="the disk is full: free some space"):
                store.reopen()
        assert (store.has_failed, store.positions()[0].offset, rows_of(store)) == (True, 2, [A, B])
    store.reopen()
    assert rows_of(store) == [A]


def test_a_store_that_was_refused_is_closed_without_an_error(
    store: RocksDBStore, manager: StoreManager
) -> None:
    """Nothing is flushed, for nothing can be; Kafka has it."""
    manager.close(store)
    with pytest.raises(StoreError, match="it is closed"):
        store.reopen()
    assert manager.get_or_open(ORDERS, OPTIONS).positions()[0].offset == 1


def test_another_process_that_slips_in_is_named(
    store: RocksDBStore, manager: StoreManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who opens the store between the two is its owner; once it has closed it, the first one goes on from its rows."""
    other = StoreManager(manager.state_dir, OPTIONS)
    opened: list[Any] = []
    open_db = Engine._open

    def slow(self: Engine, **options: bool) -> Any:
        if not opened:
            opened.append(None)
            opened[0] = other.get_or_open(ORDERS, OPTIONS)
        return open_db(self, **options)

    monkeypatch.setattr(Engine, "_open", slow)
    for call in (store.reopen, lambda: rows_of(store), store.reopen):
        with pytest.raises(StoreLockedError, match=f"is in use by process {os.getpid()} "):
            call()
    opened[0].apply(changes_of([(0, B, b"5")]), {0: 5})
    other.close_all()
    store.reopen()
    assert (store.positions()[0].offset, rows_of(store)) == (5, [A, B])
    assert (manager.path_of(ORDERS) / "owner.json").exists()


@pytest.mark.parametrize("gone", ["store", "state_dir"])
def test_a_store_that_was_removed_is_made_anew(manager: StoreManager, gone: str) -> None:
    """A directory that is gone is noticed at the next flush, with nothing to write too; the store begins again, empty."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    store.flush()
    path = manager.path_of(ORDERS)
    shutil.rmtree({"store": path, "state_dir": manager.state_dir}[gone])
    with pytest.raises(StoreError, match="files of it were removed while it was open") as raised:
        store.flush()
    assert (type(raised.value), store.has_failed) == (StoreError, True)
    store.reopen()
    assert (store.positions(), rows_of(store)) == ({}, [])
    with pytest.raises(StoreLockedError, match=f"process {os.getpid()}"):
        StoreManager(manager.state_dir, OPTIONS).get_or_open(ORDERS, OPTIONS)
    store.apply(changes_of([(0, B, b"2")]), {0: 2})
    manager.close(store)
    assert rows_of(manager.get_or_open(ORDERS, OPTIONS)) == [B]


def test_a_store_that_was_removed_is_closed(manager: StoreManager) -> None:
    """There is nothing to flush."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    shutil.rmtree(manager.state_dir)
    manager.close(store)
    assert not manager.state_dir.exists()


def test_a_store_that_was_removed_in_part_is_damaged(manager: StoreManager) -> None:
    """It is not taken for one that is gone; following the error's hint makes it one."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    path = manager.path_of(ORDERS)
    (path / "rocksdb" / "CURRENT").unlink()
    for _ in range(2):
        with pytest.raises(StoreCorruptError) as raised:
            store.reopen()
    assert f"Remove {path}" in str(raised.value.hint)
    shutil.rmtree(path)
    store.reopen()
    assert store.positions() == {}


def test_reading_goes_on_while_a_store_is_opened_again(manager: StoreManager) -> None:
    """Calls of other threads wait, and see all rows before and after."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    names = [encode_part(number) for number in range(500)]
    store.apply(changes_of((0, name, b"1") for name in names), {0: 1})
    store.flush()
    is_over = threading.Event()

    def repeat(call: Callable[[], object], expected: object) -> int:
        times = 0
        while not is_over.is_set() or not times:
            assert call() == expected
            times += 1
        return times

    calls: list[tuple[Callable[[], object], object]] = [
        (lambda: rows_of(store), names),
        (lambda: store.get_many(names), [[(0, b"1")]] * 500),
        (lambda: store.positions()[0].offset, 1),
        (store.flush, None),
    ]
    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(repeat, *call) for call in calls]
        try:
            for _ in range(20):
                store.reopen()
        finally:
            is_over.set()
        assert all(each.result() for each in running)


def test_removing_a_damaged_store_helps_while_it_is_open(tmp_path: Path) -> None:
    """As the error says: the store whose rows can't be read is built again, by the next read of the same table."""
    broker = FakeBroker()
    for number in range(5_000):
        broker.produce("t", f"k{number}", {"n": number, "s": "x" * 50})
    with broker.connect(tmp_path) as context:
        assert context.table("t").to_polars().height == 5_000
    for directory in tmp_path.rglob("view"):
        shutil.rmtree(directory)  # else the rows that are kept decoded would be shown, which are right
    tables = tmp_path.rglob("*.sst")
    damaged = max(tables, key=lambda file: file.stat().st_size)
    raw = damaged.read_bytes()
    middle = len(raw) // 2
    damaged.write_bytes(
        raw[:middle] + bytes(byte ^ 0x5A for byte in raw[middle : middle + 200]) + raw[middle + 200 :]
    )
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        for _ in range(2):
            with pytest.raises(StoreCorruptError, match="checksum mismatch") as raised:
                table.to_polars()
        shutil.rmtree(Path(raised.value.path))
        assert table.to_polars().height == 5_000


def test_positions_are_known_while_a_store_can_not_be_opened(
    store: RocksDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panel shows them then, too; rows can't be read, and the error says why."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_open", full)
        for _ in range(2):
            with pytest.raises(StoreError, match="the disk is full: free some space"):
                store.reopen()
        assert store.positions()[0].offset == 2
        with pytest.raises(StoreError, match="the disk is full: free some space"):
            store.get(A)
    store.reopen()
    assert (store.positions()[0].offset, rows_of(store)) == (1, [A])


def test_a_read_that_began_before_is_repeated(tmp_path: Path) -> None:
    """Opening a store again counts as a change that a read must not straddle."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    with broker.connect(tmp_path) as context:
        binding = context.table("t")._reader.binding
        binding.prepare()
        rows, seen = binding.required(), list[int]()
        rows.reconcile()
        before = rows.exchange.generation
        assert isinstance(rows.store, RocksDBStore)

        def reopen(engine: Engine) -> None:
            seen.append(rows.exchange.generation)
            engine.reopen()

        rows.store._engine._was_refused = True
        rows.store._reopen = reopen
        assert rows.recover() == {}
        assert seen[0] > before
