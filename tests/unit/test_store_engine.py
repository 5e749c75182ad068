"""Errors of the file system and of RocksDB, and threads that meet while a store is closed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS, rows_of

from ktframe.errors import KtframeError, StoreCorruptError, StoreError, StoreLockedError
from ktframe.fold.identity_codec import encode_part
from ktframe.store import manager as manager_module
from ktframe.store.errors import rocksdb_errors
from ktframe.store.manager import StoreManager
from ktframe.store.rocksdb import RocksDBStore

A = encode_part("a")


def test_a_file_above_the_state_directory_is_named(tmp_path: Path) -> None:
    """A state directory that can't be made is a StoreError with the operating system's reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        StoreManager(tmp_path / "file" / "state", OPTIONS).get_or_open(ORDERS, OPTIONS)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EACCES, "this user may not read and write there: allow it to, or use another state_dir"),
        (errno.EROFS, "the file system is read-only: make it writable again, or use another state_dir"),
        (errno.ENOSPC, "the disk is full: free some space, or use another state_dir"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_refusals_of_the_file_system_say_what_helps(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    """Permission, space and read-only disks are StoreErrors with a hint, from Python and from RocksDB alike."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(manager_module, "mkdtemp", refuse)
    with pytest.raises(StoreError, match=message):
        manager.get_or_open(ORDERS, OPTIONS)
    text = f"IO error: {os.strerror(code)}: While appending to file: /x/000008.sst: {os.strerror(code)}"
    with pytest.raises(StoreError, match=message), rocksdb_errors(Path("/x")):
        raise Exception(text)  # noqa: TRY002 - it is what rocksdict raises


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("IO error: While lock file: {path}/LOCK: Resource temporarily unavailable", StoreLockedError),
        (
            "IO error: lock hold by current process, acquire time 1: {path}/LOCK: No locks available",
            StoreLockedError,
        ),
        ("IO error: while open a file for lock: {path}/LOCK: Permission denied", StoreError),
        ("Corruption: block checksum mismatch in {path}/000042.sst", StoreCorruptError),
        ("IO error: While fsync: {path}/000042.sst: Input/output error", StoreError),
        ("Invalid argument: {path}/CURRENT: does not exist (create_if_missing is false)", StoreCorruptError),
        ("", StoreError),
    ],
)
def test_names_are_no_symptoms(text: str, expected: type[StoreError]) -> None:
    """An error is told by what RocksDB says, not by a topic that is called like one."""
    path = Path("/state/lock/Corruption/Incomplete does not exist/no such file")
    with pytest.raises(StoreError) as caught, rocksdb_errors(path):
        raise Exception(text.format(path=path))  # noqa: TRY002 - it is what rocksdict raises
    assert type(caught.value) is expected


def test_a_panic_is_an_error_and_an_interrupt_is_not() -> None:
    """A panic of the native library, which is no Exception, becomes a StoreError; Ctrl-C stays what it is."""
    panic = type("PanicException", (BaseException,), {})("called Option::unwrap")
    with pytest.raises(StoreError, match="store /x: called Option::unwrap"), rocksdb_errors(Path("/x")):
        raise panic
    with pytest.raises(KeyboardInterrupt), rocksdb_errors(Path("/x")):
        raise KeyboardInterrupt


FILL = """
import resource, signal, sys
from pathlib import Path
from ktframe.errors import StoreError
from ktframe.config.settings import StoreOptions
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription
from support.changes import changes_of

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
manager, options = StoreManager(Path(sys.argv[1]), StoreOptions()), StoreOptions(compression="none")
description = StoreDescription("cluster", "orders", "table", {"value": "json"})
store = manager.get_or_open(description, options)
store.apply(changes_of([(0, b"\\x08a\\0", b"1")]), {0: 1})
store.flush()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
store.apply(changes_of((0, b"\\x05%08d" % n, b"x" * 100) for n in range(5_000)), {0: 2})
for call in (store.flush, lambda: store.apply(changes_of([(0, b"\\x08b\\0", b"1")]), {0: 3}), manager.close_all):
    try:
        call()
    except StoreError as error:
        print(type(error).__name__, "File too large" in str(error))
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
again = manager.get_or_open(description, options)
print(again.positions()[0].offset, again.get(b"\\x08a\\0"), sum(len(chunk.identities) for chunk in again.items()))
manager.close_all()
"""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_loses_nothing(tmp_path: Path) -> None:
    """Writes fail with a StoreError, close releases the directory, and what was flushed is there again."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", FILL, str(tmp_path / "state")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*["StoreError True"] * 2, "1 [(0, b'1')] 1"]


class Intercepted:
    """RocksDB, with some of its calls replaced."""

    def __init__(self, real: Any, **replaced: Callable[..., object]) -> None:
        self._real = real
        vars(self).update(replaced)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def test_a_stalled_write_is_made_again(manager: StoreManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that RocksDB puts off is built anew and written after a flush, with every row in it."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert isinstance(store, RocksDBStore)
    real, refused = store._engine._db, []

    def write(batch: Any, options: Any) -> None:
        if len(refused) < 2:
            refused.append(batch)
            message = "Result incomplete: Write stall"
            raise Exception(message)  # noqa: TRY002 - it is what rocksdict raises
        assert batch not in refused
        real.write(batch, options)

    monkeypatch.setattr(store._engine, "_db", Intercepted(real, write=write))
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    assert store.get(A) == [(0, b"1")]


def test_closing_waits_for_a_flush(manager: StoreManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store is released when the flush that is under way has ended: before, rocksdict would refuse to close."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert isinstance(store, RocksDBStore)
    engine, real = store._engine, store._engine._db
    has_begun, may_end = threading.Event(), threading.Event()
    order: list[str] = []

    def flush() -> None:
        if not has_begun.is_set():
            has_begun.set()
            may_end.wait()
            order.append("flushed")
        real.flush()

    def close() -> None:
        order.append("closed")
        real.close()

    monkeypatch.setattr(engine, "_db", Intercepted(real, flush=flush, close=close))
    with ThreadPoolExecutor(2) as pool:
        flushing = pool.submit(store.flush)
        has_begun.wait()
        closing = pool.submit(manager.close, store)
        while engine._is_open:
            pass
        may_end.set()
        assert (flushing.result(), closing.result()) == (None, None)
    assert order == ["flushed", "closed"]


def test_closing_ends_what_is_under_way(manager: StoreManager) -> None:
    """Threads that read, flush and write while the store is closed end with 'it is closed', and with nothing else."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    identities = [encode_part(number) for number in range(500)]
    is_running = threading.Barrier(5)

    def repeat(call: Callable[[], object]) -> str:
        call()
        is_running.wait()
        while True:
            try:
                call()
            except KtframeError as error:
                return str(error)

    store.apply(changes_of((0, each, b"x" * 100) for each in identities), {0: 1})
    calls: list[Callable[[], object]] = [
        lambda: store.get_many(identities),
        lambda: rows_of(store),
        store.flush,
        lambda: store.apply(changes_of((0, each, b"y" * 100) for each in identities), {0: 2}),
    ]
    with ThreadPoolExecutor(4) as pool:
        ends = [pool.submit(repeat, call) for call in calls]
        is_running.wait()
        manager.close(store)
        assert {end.result() for end in ends} == {f"store {manager.path_of(ORDERS)}: it is closed."}
    assert len(rows_of(manager.get_or_open(ORDERS, OPTIONS))) == 500
