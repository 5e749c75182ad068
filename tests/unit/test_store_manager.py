"""Stores on disk: opened once, owned by one process, there again after a close."""

from __future__ import annotations

import errno
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args

import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS, make_store
from support.waiting import wait_until

from ktframe.config.settings import Compression, StoreOptions
from ktframe.errors import StoreError, StoreLockedError
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import Position
from ktframe.store import engine as engine_module
from ktframe.store import manager as manager_module
from ktframe.store.manager import StoreManager
from ktframe.store.memory import MemoryStore
from ktframe.store.protocol import Horizon, StateStore, StoreDescription

A = encode_part("a")


# ------------------------------------------------------------------------------------------------ one store each


def test_equal_descriptions_are_one_store(manager: StoreManager) -> None:
    """The same description gives the same object, however its settings are ordered and whatever mapping they are."""
    one = StoreDescription("c", "t", "table", {"a": "1", "b": "2"})
    other = StoreDescription("c", "t", "table", MappingProxyType({"b": "2", "a": "1"}))
    assert manager.get_or_open(one, OPTIONS) is manager.get_or_open(other, OPTIONS)


@pytest.mark.parametrize(
    "other",
    [
        StoreDescription("cluster", "orders", "table", {"value": "string"}),
        StoreDescription("cluster", "orders", "table", {}),
        StoreDescription("cluster", "orders", "stream", {"value": "json"}),
        StoreDescription("cluster", "clicks", "table", {"value": "json"}),
        StoreDescription("another", "orders", "table", {"value": "json"}),
    ],
)
def test_other_descriptions_are_other_stores(manager: StoreManager, other: StoreDescription) -> None:
    """Whatever differs has a directory of its own, and both are open at once."""
    assert manager.path_of(other) != manager.path_of(ORDERS)
    assert manager.get_or_open(other, OPTIONS) is not manager.get_or_open(ORDERS, OPTIONS)


def test_the_directory_is_pinned(tmp_path: Path) -> None:
    """A store of today is found again by every later version; no name leaves the state directory."""
    state = tmp_path / "state"
    path = StoreManager(state, OPTIONS).path_of(ORDERS)
    assert path == state / "cluster" / "orders" / "table-39c30f223b45180b"
    odd = StoreDescription("a/b", "../x", "table")
    assert StoreManager(state, OPTIONS).path_of(odd).relative_to(state).parts[:2] == ("a%2Fb", "..%2Fx")


def test_directories_are_private(manager: StoreManager) -> None:
    """Every directory that is made, the state directory included, is the user's alone."""
    manager.get_or_open(ORDERS, OPTIONS)
    path = manager.path_of(ORDERS)
    modes = {each: oct(each.stat().st_mode & 0o777) for each in (path, *path.parents[:3])}
    assert modes == dict.fromkeys(modes, "0o700")


def test_two_threads_get_one_store(manager: StoreManager) -> None:
    """Who asks at the same time gets the same store."""
    barrier = threading.Barrier(4)

    def ask(_: int) -> StateStore:
        barrier.wait()
        return manager.get_or_open(ORDERS, OPTIONS)

    with ThreadPoolExecutor(4) as pool:
        assert len(set(map(id, pool.map(ask, range(4))))) == 1


def test_a_memory_store_leaves_nothing_on_disk(manager: StoreManager) -> None:
    """The memory backend is one object a description too, and touches no directory."""
    options = StoreOptions(backend="memory")
    store = manager.get_or_open(ORDERS, options)
    assert isinstance(store, MemoryStore)
    assert manager.get_or_open(ORDERS, options) is store
    manager.close(store)
    assert not manager.state_dir.exists()


# ------------------------------------------------------------------------------------------------ for its newest opener

BACKENDS = pytest.mark.parametrize(
    "options", [OPTIONS, StoreOptions(backend="memory")], ids=lambda each: each.backend
)


@BACKENDS
def test_the_newest_opener_has_the_store(manager: StoreManager, options: StoreOptions) -> None:
    """What an older one was given is closed, so that nothing of it is written; coming later, it is refused."""
    older = manager.get_or_open(ORDERS, options, opener=1)
    older.apply(changes_of([(0, A, b"1")]), {0: 1})
    newer = manager.get_or_open(ORDERS, options, opener=2)
    assert manager.get_or_open(ORDERS, options, opener=2) is newer
    for write in writes_of(older):
        with pytest.raises(StoreError, match="it is closed"):
            write()
    with pytest.raises(StoreError, match="it is closed") as caught:
        manager.get_or_open(ORDERS, options, opener=1)
    assert caught.value.is_closed
    newer.apply(changes_of([(0, A, b"2")]), {0: 2})
    manager.close(older)
    assert (newer.get(A), newer.positions()[0].offset) == ([(0, b"2")], 2)


def writes_of(store: StateStore) -> list[Callable[[], object]]:
    """Return everything that changes a store."""
    return [
        lambda: store.apply(changes_of([(0, A, b"old")]), {0: 1}),
        lambda: store.drop({0: Horizon(1, A + b"x", 1)}),
        lambda: store.clear([0], topic_id="old"),
        lambda: store.learn({"x": b"old"}),
        lambda: store.add_document(b"old"),
    ]


@BACKENDS
def test_a_write_is_whole_or_refused_while_another_opens(
    manager: StoreManager, options: StoreOptions
) -> None:
    """However writing and opening fall together, nothing of the older opener is written after the newer has the store."""
    old_writes: list[int] = []

    def write_on(store: StateStore) -> None:
        with suppress(StoreError):
            for offset in itertools.count(1):
                store.apply(changes_of([(0, A, b"%d" % offset)]), {0: offset})
                old_writes.append(offset)

    for opener in range(1, 20, 2):
        store = manager.get_or_open(ORDERS, options, opener=opener)
        store.clear(None)
        writer = threading.Thread(target=write_on, args=(store,))
        old_writes.clear()
        writer.start()
        wait_until(lambda: bool(old_writes), "a write")
        newer = manager.get_or_open(ORDERS, options, opener=opener + 1)
        found = (newer.get(A), newer.positions())
        writer.join(60)
        assert (newer.get(A), newer.positions()) == found
        if options.backend == "rocksdb":
            assert found[0] == [(0, b"%d" % old_writes[-1])]


@BACKENDS
def test_a_closed_store_is_another_for_the_next(manager: StoreManager, options: StoreOptions) -> None:
    """Closing an object that is closed does nothing to the one that was opened since."""
    first = manager.get_or_open(ORDERS, options)
    manager.close(first)
    second = manager.get_or_open(ORDERS, options)
    manager.close(first)
    assert second.positions() == {}
    assert manager.get_or_open(ORDERS, options) is second


def test_close_all_leaves_no_owner(manager: StoreManager) -> None:
    """A store is closed with the rest, and its owner is gone."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    manager.close_all()
    with pytest.raises(StoreError, match="it is closed"):
        store.get(A)
    assert not (manager.path_of(ORDERS) / "owner.json").exists()


def test_a_thread_that_does_not_leave_a_store_is_named(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing gives up after a time, says which thread is where, and works once that thread has left."""
    monkeypatch.setattr(engine_module, "_CLOSE_SECONDS", 0.1)
    store = manager.get_or_open(ORDERS, OPTIONS, opener=1)
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    inside, go_on = threading.Event(), threading.Event()

    class SlowDatabase:
        def compact_range(self, *_: object) -> None:
            inside.set()
            go_on.wait(60)

    engine = store._engine  # type: ignore[attr-defined]
    holder = threading.Thread(target=engine.compact, args=(b"", b"x"), name="ktframe-orders")
    with monkeypatch.context() as patch:
        patch.setattr(engine, "_db", SlowDatabase())
        holder.start()
        assert inside.wait(60)
    who = r"after 0.1 s it is still used by ktframe-orders in compact \(engine.py:\d+\)\.\n\nHint: make the same call again: it waits"
    for close in (
        lambda: manager.close(store),
        lambda: manager.close(store),
        lambda: manager.get_or_open(ORDERS, OPTIONS, opener=2),
        manager.close_all,
    ):
        with pytest.raises(StoreError, match=who):
            close()
    with pytest.raises(StoreError, match="it is closed"):
        store.get(A)
    go_on.set()
    holder.join(60)
    manager.close(store)
    assert manager.get_or_open(ORDERS, OPTIONS, opener=2).get(A) == [(0, b"1")]


@pytest.mark.parametrize("compression", get_args(Compression))
def test_every_compression_works(manager: StoreManager, compression: Compression) -> None:
    """A store opens, keeps rows and re-opens with each compression that a setting may name."""
    options = StoreOptions(compression=compression, bloom_bits=0)
    store = manager.get_or_open(ORDERS, options)
    store.apply(changes_of([(0, A, b"1" * 1000)]), {0: 1})
    manager.close(store)
    assert manager.get_or_open(ORDERS, options).get(A) == [(0, b"1" * 1000)]


# ------------------------------------------------------------------------------------------------ over time


def test_rows_are_there_again(manager: StoreManager) -> None:
    """What was applied before a close is there after the next open, in a new object."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    manager.close(store)
    again = manager.get_or_open(ORDERS, OPTIONS)
    assert again is not store
    assert again.get(A) == [(0, b"1")]
    assert again.positions() == {0: Position(1)}


def test_the_write_ahead_log_stays_empty(manager: StoreManager) -> None:
    """No write goes through the log: one that did would break the consistent prefix after a crash."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    store.apply(changes_of((0, encode_part(number), b"x" * 100) for number in range(1000)), {0: 1})
    store.clear([0], topic_id="id")
    store.flush()
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    logs = list((manager.path_of(ORDERS) / "rocksdb").glob("*.log"))
    assert logs
    assert [log.stat().st_size for log in logs] == [0] * len(logs)


def test_closing_twice_is_harmless(manager: StoreManager) -> None:
    """``close`` of a store that is closed, or of one that another manager opened, does nothing more."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    store.close()
    manager.close(store)
    manager.close(store)
    assert manager.get_or_open(ORDERS, OPTIONS) is not store


def test_close_all_closes_every_store(manager: StoreManager) -> None:
    """After ``close_all`` each store says it is closed, and all can be opened again."""
    descriptions = [StoreDescription("c", topic, "table") for topic in "abc"]
    stores = [manager.get_or_open(each, OPTIONS) for each in descriptions]
    manager.close_all()
    manager.close_all()
    for store in stores:
        with pytest.raises(StoreError, match="it is closed"):
            store.get(A)
    assert all(manager.get_or_open(each, OPTIONS).positions() == {} for each in descriptions)


def test_close_all_closes_the_others_when_one_fails(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that can't be flushed is released and reported, and keeps no other one open."""
    first, second = (manager.get_or_open(StoreDescription("c", topic, "table"), OPTIONS) for topic in "ab")
    close = first.close

    def failing() -> None:
        close()
        raise StoreError(path="first", reason="the disk is full")

    monkeypatch.setattr(first, "close", failing)
    with pytest.raises(StoreError, match="store first: the disk is full"):
        manager.close_all()
    with pytest.raises(StoreError, match="it is closed"):
        second.get(A)
    assert manager.get_or_open(StoreDescription("c", "a", "table"), OPTIONS) is not first


def test_the_owner_is_named_while_open(manager: StoreManager) -> None:
    """``owner.json`` says who has the store open and since when, and is gone once it is closed."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    owner = manager.path_of(ORDERS) / "owner.json"
    found = json.loads(owner.read_text())
    assert (found["pid"], found["host"]) == (os.getpid(), socket.gethostname())
    assert datetime.fromisoformat(found["since"]).tzinfo is not None
    manager.close(store)
    assert not owner.exists()


def test_drafts_of_crashed_creations_are_harmless(manager: StoreManager) -> None:
    """A half-made store beside the real one, whatever its name, is neither opened nor in the way."""
    path = manager.path_of(ORDERS)
    for name in (f".{path.name}.abc", f".{path.name}.{os.getpid()}"):
        (path.parent / name / "rocksdb").mkdir(parents=True)
        (path.parent / name / "store.json").write_text("{")
    assert manager.get_or_open(ORDERS, OPTIONS).positions() == {}


def test_a_failed_creation_leaves_nothing(manager: StoreManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be finished is taken away again, so that the next attempt starts afresh."""

    def refuse(path: Path, _: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with monkeypatch.context() as patched:
        patched.setattr(manager_module, "_write_json", refuse)
        with pytest.raises(StoreError, match="the disk is full: free some space"):
            manager.get_or_open(ORDERS, OPTIONS)
    assert list(manager.path_of(ORDERS).parent.iterdir()) == []
    assert manager.get_or_open(ORDERS, OPTIONS).positions() == {}


def test_a_store_that_another_process_made_meanwhile_is_used(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two that make the same store at the same time, the second takes the first one's."""
    write_json = manager_module._write_json
    other = StoreManager(manager.state_dir, OPTIONS)

    def overtaken(path: Path, value: dict[str, Any]) -> None:
        monkeypatch.setattr(manager_module, "_write_json", write_json)
        make_store(other)
        write_json(path, value)

    monkeypatch.setattr(manager_module, "_write_json", overtaken)
    assert manager.get_or_open(ORDERS, OPTIONS).positions() == {0: Position(1)}
    assert [each.name for each in manager.path_of(ORDERS).parent.iterdir()] == [manager.path_of(ORDERS).name]


# ------------------------------------------------------------------------------------------------ locked

HOLD = """
import sys
from pathlib import Path
from ktframe.config.settings import StoreOptions
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription

manager = StoreManager(Path(sys.argv[1]), StoreOptions())
manager.get_or_open(StoreDescription("cluster", "orders", "table", {"value": "json"}), StoreOptions())
print("open", flush=True)
sys.stdin.read()
manager.close_all()
"""


def holding(state_dir: Path) -> subprocess.Popen[str]:
    """Return a process that opens the store of ``ORDERS``, says so, and closes it when its input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def test_another_process_is_named(manager: StoreManager) -> None:
    """A store that another process has open is refused with its pid, host and start, and free once it closes."""
    with holding(manager.state_dir) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        owner = json.loads((manager.path_of(ORDERS) / "owner.json").read_text())
        with pytest.raises(StoreLockedError, match=f"is in use by process {other.pid} on ") as caught:
            manager.get_or_open(ORDERS, OPTIONS)
        assert "shut that notebook's kernel down" in str(caught.value)
        other.communicate()
    error = caught.value
    assert (error.pid, error.host, error.since) == (other.pid, socket.gethostname(), owner["since"])
    assert error.path == str(manager.path_of(ORDERS))
    assert manager.get_or_open(ORDERS, OPTIONS).positions() == {}


def test_a_killed_owner_is_no_owner(manager: StoreManager) -> None:
    """A process that was killed leaves its ``owner.json`` behind, but no lock."""
    with holding(manager.state_dir) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        other.kill()
    manager.get_or_open(ORDERS, OPTIONS)
    owner = json.loads((manager.path_of(ORDERS) / "owner.json").read_text())
    assert owner["pid"] == os.getpid()


def test_a_second_manager_of_this_process_is_refused(manager: StoreManager) -> None:
    """Two managers never have one store open, and the refusal does not free the lock or disown the first."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    other = StoreManager(manager.state_dir, OPTIONS)
    with pytest.raises(StoreLockedError, match=f"is in use by process {os.getpid()}") as caught:
        other.get_or_open(ORDERS, OPTIONS)
    assert "another Context of this process has it open: close() that one" in str(caught.value)
    memory = other.get_or_open(ORDERS, StoreOptions(backend="memory"))
    assert memory.positions() == {}
    store.apply(changes_of([(0, A, b"1")]), {0: 1})
    assert store.get(A) == [(0, b"1")]
