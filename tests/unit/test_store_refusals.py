"""What is refused and left alone: foreign and damaged stores, and whatever else is in the way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS, contents, edit_description, edit_rows, make_store, rows_of

from ktframe.errors import StoreCorruptError, StoreError, StoreMismatchError
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import Position
from ktframe.store.engine import Batch, Engine
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StoreDescription

A = encode_part("a")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edit_description(cluster_id="x"), "its cluster_id is 'x', not 'cluster'"),
        (edit_description(topic="x"), "its topic is 'x', not 'orders'"),
        (edit_description(kind="x"), "its kind is 'x', not 'table'"),
        (edit_description(settings={}), "its settings is {}, not"),
        (edit_rows(cluster_id=b"x"), "the cluster_id of its rows is 'x', not 'cluster'"),
        (edit_rows(topic=b"\xff"), "the topic of its rows is '\N{REPLACEMENT CHARACTER}', not 'orders'"),
    ],
)
def test_a_foreign_store_is_left_alone(
    manager: StoreManager, edit: Callable[[Path], None], message: str
) -> None:
    """A store of another cluster, topic or kind, by its description or its rows, is refused unchanged."""
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
    with pytest.raises(StoreMismatchError, match="the topic of its rows is 'clicks'"):
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


def describe(text: str) -> Callable[[Path], object]:
    """Return what overwrites ``store.json``."""
    return lambda path: (path / "store.json").write_text(text)


@pytest.mark.parametrize(
    "damage",
    [
        *(truncate("MANIFEST-*"), truncate("CURRENT"), truncate("*.sst"), garble_tail),
        *(remove("CURRENT"), remove("MANIFEST-*"), remove("*.sst"), remove("store.json")),
        *(describe(text) for text in ("", "{", "[]", "null", "\0")),
        edit_rows(schema=b"no Arrow schema"),
        lambda path: shutil.rmtree(path / "rocksdb"),
    ],
)
def test_a_damaged_store_is_left_alone(manager: StoreManager, damage: Callable[[Path], object]) -> None:
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


def test_a_write_that_fails_half_way_leaves_whole_partitions(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many lines each partition is written with its position: no row is there without it."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    writes, write, error = iter([True, False]), Engine.write, StoreError("orders", "no space")

    def fragile(engine: Engine, build: Callable[[Batch], None]) -> None:
        if not next(writes):
            raise error
        write(engine, build)

    with monkeypatch.context() as patched:
        patched.setattr("ktframe.store.slots._WRITE_LINES", 1)
        patched.setattr(Engine, "write", fragile)
        with pytest.raises(StoreError, match="no space"):
            store.apply(changes_of([(0, A, b"a"), (1, A, b"b")]), {0: 3, 1: 4})
    assert (store.get(A), store.positions()) == ([(0, b"a")], {0: Position(3)})
    store.apply(changes_of([(1, A, b"b")]), {1: 4})
    assert (store.get(A), store.positions()) == ([(0, b"a"), (1, b"b")], {0: Position(3), 1: Position(4)})
