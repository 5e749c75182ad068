"""What is refused and what fails: foreign, damaged and unwritable stores, and RocksDB's own errors."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS, contents, make_store, rows_of

from ktframe.encoding import encode_part
from ktframe.errors import (
    KtframeError,
    StoreCorruptError,
    StoreError,
    StoreLockedError,
    StoreMismatchError,
)
from ktframe.records import Position
from ktframe.store import manager as manager_module
from ktframe.store.engine import Engine, SharedMemory
from ktframe.store.failures import rocksdb_errors
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription
from ktframe.store.rocksdb import RocksDBStore

A = encode_part("a")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[StoreManager]:
    """Yield a manager of an empty state directory, and close what it opened."""
    manager = StoreManager(tmp_path / "state", OPTIONS)
    yield manager
    manager.close_all()


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


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_description(cluster_id="x"), "its cluster_id is 'x', wanted is 'cluster'"),
        (edit_description(topic="x"), "its topic is 'x', wanted is 'orders'"),
        (edit_description(kind="x"), "its kind is 'x', wanted is 'table'"),
        (edit_description(settings={}), "its settings is {}, wanted is"),
        (edit_description(format_version=2), "its format version is 2, this ktframe reads 1"),
        (edit_rows(cluster_id=b"x"), "its rows say cluster_id 'x', wanted is 'cluster'"),
        (edit_rows(topic=b"\xff"), "its rows say topic '\N{REPLACEMENT CHARACTER}', wanted is 'orders'"),
        (edit_rows(format_version=b"2"), "its rows say format_version '2', wanted is '1'"),
    ],
)
def test_a_foreign_store_is_left_alone(
    manager: StoreManager, edit: Callable[[Path], None], message: str
) -> None:
    """A store of another cluster, topic, kind or version, by its description or its rows, is refused unchanged."""
    path = make_store(manager)
    edit(path)
    before = {
        name: raw for name, raw in contents(path).items() if "MANIFEST" not in name and "CURRENT" not in name
    }
    for _ in range(2):
        with pytest.raises(StoreMismatchError, match=message) as caught:
            manager.get_or_open(ORDERS, OPTIONS)
    assert "nothing was changed" in str(caught.value)
    assert before.items() <= contents(path).items()


def test_rows_of_another_store_are_noticed(manager: StoreManager) -> None:
    """A ``store.json`` beside the rows of another topic does not make them this topic's."""
    clicks = StoreDescription("cluster", "clicks", "table", {"value": "json"})
    manager.close(manager.get_or_open(clicks, OPTIONS))
    path = make_store(manager)
    shutil.rmtree(path / "rocksdb")
    shutil.copytree(manager.path_of(clicks) / "rocksdb", path / "rocksdb")
    with pytest.raises(StoreMismatchError, match="its rows say topic 'clicks'"):
        manager.get_or_open(ORDERS, OPTIONS)


def truncate(pattern: str) -> Callable[[Path], None]:
    """Return what empties the files that match."""

    def act(path: Path) -> None:
        for file in (path / "rocksdb").glob(pattern):
            file.write_bytes(b"")

    return act


def remove(name: str) -> Callable[[Path], None]:
    """Return what removes the files that match."""

    def act(path: Path) -> None:
        for file in path.rglob(name):
            file.unlink()

    return act


def garble(file: Path, start: int, length: int = 200) -> None:
    """Turn some bytes of a file over."""
    raw = bytearray(file.read_bytes())
    raw[start : start + length] = bytes(byte ^ 0x5A for byte in raw[start : start + length])
    file.write_bytes(raw)


def garble_tail(path: Path) -> None:
    """Make the footer of every table file unreadable."""
    for file in (path / "rocksdb").glob("*.sst"):
        garble(file, file.stat().st_size - 60)


def write_description(text: str) -> Callable[[Path], None]:
    """Return what overwrites ``store.json``."""

    def act(path: Path) -> None:
        (path / "store.json").write_text(text)

    return act


@pytest.mark.parametrize(
    "damage",
    [
        *(truncate("MANIFEST-*"), truncate("CURRENT"), truncate("*.sst"), garble_tail),
        *(remove("CURRENT"), remove("MANIFEST-*"), remove("*.sst"), remove("store.json")),
        *(
            write_description(text)
            for text in ("", "{", "[]", "null", "\udcff".encode(errors="replace").decode())
        ),
        edit_rows(schema=b"no Arrow schema"),
        lambda path: shutil.rmtree(path / "rocksdb"),
    ],
)
def test_a_damaged_store_is_left_alone(manager: StoreManager, damage: Callable[[Path], None]) -> None:
    """What can't be read is refused, not repaired and not overwritten; the hint names the whole directory."""
    path = make_store(manager, rows=2000)
    damage(path)
    before = {
        name: raw for name, raw in contents(path).items() if "MANIFEST" not in name and "CURRENT" not in name
    }
    for _ in range(2):
        with pytest.raises(StoreCorruptError) as caught:
            manager.get_or_open(ORDERS, OPTIONS)
    assert f"Remove {path} and it is built again" in str(caught.value)
    assert {name: raw for name, raw in contents(path).items() if name in before} == before


def test_something_else_in_the_way_is_left_alone(manager: StoreManager) -> None:
    """A directory or a file that is no store is not taken for one, and not touched."""
    path = manager.path_of(ORDERS)
    path.mkdir(parents=True)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(StoreCorruptError, match="it is not a complete ktframe store"):
        manager.get_or_open(ORDERS, OPTIONS)
    assert contents(path) == {str(path / "notes.txt"): b"mine"}
    shutil.rmtree(path)
    path.write_text("mine")
    with pytest.raises(StoreCorruptError, match="it is not a complete ktframe store"):
        manager.get_or_open(ORDERS, OPTIONS)
    assert path.read_text() == "mine"


def test_damage_within_rows_shows_while_scanning(manager: StoreManager) -> None:
    """A damaged block is an error of the scan or lookup that meets it, never the end of the rows."""
    path = make_store(manager, rows=20_000)
    table = max((path / "rocksdb").glob("*.sst"), key=lambda file: file.stat().st_size)
    garble(table, table.stat().st_size // 2)
    store = manager.get_or_open(ORDERS, OPTIONS)
    with pytest.raises(StoreCorruptError, match="checksum mismatch") as caught:
        rows_of(store)
    with pytest.raises(StoreCorruptError, match="checksum mismatch"):
        store.get_many([encode_part(number) for number in range(20_000)])
    manager.close(store)
    # The error, which we still hold, holds no iterator that would keep the directory locked.
    assert str(path) in str(caught.value)
    assert manager.get_or_open(ORDERS, OPTIONS).positions() == {0: Position(1)}


def test_a_cut_manifest_is_a_prefix_or_an_error(manager: StoreManager) -> None:
    """Wherever RocksDB's manifest was cut, rows and position agree or the store is refused."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    for number in range(1, 6):
        store.apply(changes_of([(0, encode_part(number), b"1")]), {0: number})
        store.flush()
    manager.close(store)
    path = manager.path_of(ORDERS)
    whole = path.with_name("whole")
    path.rename(whole)
    (manifest,) = (whole / "rocksdb").glob("MANIFEST-*")
    for size in range(0, manifest.stat().st_size + 1, 40):
        shutil.copytree(whole, path)
        os.truncate(path / "rocksdb" / manifest.name, size)
        try:
            store = manager.get_or_open(ORDERS, OPTIONS)
        except StoreCorruptError:
            pass
        else:
            last = store.positions().get(0, Position(0)).offset
            assert rows_of(store) == [encode_part(number) for number in range(1, last + 1)]
            manager.close(store)
        shutil.rmtree(path)


# ------------------------------------------------------------------------------------------------ other failures


def test_a_file_above_the_state_directory_is_named(tmp_path: Path) -> None:
    """A state directory that can't be made is a StoreError with the operating system's reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="Not a directory"):
        StoreManager(tmp_path / "file" / "state", OPTIONS).get_or_open(ORDERS, OPTIONS)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.EACCES, "this user may not read and write there: use another state_dir"),
        (errno.EROFS, "the file system is read-only: use another state_dir"),
        (errno.ENOSPC, "the disk is full: free some space, or use another state_dir"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_refusals_of_the_file_system_say_what_helps(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch, code: int, message: str
) -> None:
    """Permission, space and read-only disks are StoreErrors with a remedy, from Python and from RocksDB alike."""

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
from ktframe.settings import StoreOptions
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


def test_a_disk_that_takes_no_more_loses_nothing(tmp_path: Path) -> None:
    """Writes and close fail with a StoreError, the directory is released, and what was flushed is there again."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", FILL, str(tmp_path / "state")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)  # noqa: S603
    assert done.stderr == ""
    assert done.stdout.splitlines() == [*["StoreError True"] * 3, "1 [(0, b'1')] 1"]


def test_a_stalled_write_is_made_again(manager: StoreManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that RocksDB puts off is built anew and written after a flush, with every row in it."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert isinstance(store, RocksDBStore)
    engine = store._engine
    real = engine._db

    class Stalling:
        """RocksDB with two stalls; like the real one it consumes the batch of a refused write."""

        stalls = 2

        def write(self, batch: Any, options: Any) -> None:
            """Refuse twice."""
            if self.stalls:
                self.stalls -= 1
                message = "Result incomplete: Write stall"
                raise Exception(message)  # noqa: TRY002 - it is what rocksdict raises
            real.write(batch, options)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    monkeypatch.setattr(engine, "_db", Stalling())
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    assert store.get(A) == [(0, b"1")]


def test_closing_waits_for_what_is_under_way(manager: StoreManager) -> None:
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
