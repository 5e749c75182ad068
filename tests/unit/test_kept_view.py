"""Decoded rows that are kept beside a store: used at the next open where they are what it holds, and nowhere else."""

from __future__ import annotations

import errno
import inspect
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, cast

import orjson
import polars as pl
import pytest
from support.changes import changes_of
from support.stores import OPTIONS, ORDERS
from support.waiting import wait_until

from ktframe.context.context import Context
from ktframe.fold import rows
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import Position, StoredRows
from ktframe.store import change_log, view_files
from ktframe.store.change_log import ChangeLog
from ktframe.store.engine import Engine
from ktframe.store.kept_view import ViewFiles
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import DecodedRows, Horizon, Rebuild, StateStore
from ktframe.store.rocksdb import RocksDBStore
from ktframe.sync import filling, upkeep
from ktframe.testing import FakeBroker

FRAME = pl.DataFrame({"n": range(10)})
KEPT = DecodedRows({"rows": FRAME, "marks": FRAME.clear()}, "this", sees_deletes=False)

KINDS: dict[str, Callable[[Context], Any]] = {
    "table": lambda context: context.table("t", on_refused="ignore"),
    "stale": lambda context: context.table("t", on_refused="ignore", stale="show"),
    "key": lambda context: context.table("t", key="id", on_refused="ignore"),
    "window": lambda context: context.table("t", on_refused="ignore").window(5),
    "key window": lambda context: context.table("t", key="id", on_refused="ignore").window(5),
    "stream": lambda context: context.stream("t", on_refused="ignore"),
}


def switch(store: StateStore) -> None:
    """Show what was read again, and was beside the rows that were kept."""
    store.rebuild({0: Rebuild("why", Position(0))})
    store.keep_view(KEPT)
    store.switch()


WRITES: dict[str, Callable[[StateStore], object]] = {
    "add_document": lambda store: store.add_document(b"document"),
    "learn": lambda store: store.learn({"part": b"1"}),
    "drop": lambda store: store.drop({0: Horizon(1, b"", 0)}),
    "keep_note": lambda store: store.keep_note("retention", "1"),
    "clear": lambda store: store.clear([0]),
    "rebuild": lambda store: store.rebuild({0: Rebuild("why", Position(0))}),
    "switch": switch,
}
"""Every way to write to a store but ``apply``, by its name."""
NO_WRITES = {
    *(
        "topic_id",
        "get",
        "get_many",
        "get_of",
        "identities_of",
        "items",
        "refused",
        "causes",
        "stale",
        "late",
    ),
    *(
        "positions",
        "schema",
        "documents",
        "learned",
        "note",
        "rebuilds",
        "has_failed",
        "reopen",
        "flush",
        "close",
    ),
    *("keep_view", "kept_view", "is_view_kept", "spill"),
}


@pytest.fixture
def store(manager: StoreManager) -> RocksDBStore:
    """Return a store with a row, and decoded rows beside it."""
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert isinstance(store, RocksDBStore)
    store.apply(changes_of([(0, b"a", b"1")]), {0: 1})
    store.keep_view(KEPT)
    return store


def reopened(manager: StoreManager, store: StateStore) -> StateStore:
    """Return the store as it is opened again after it was closed."""
    manager.close(store)
    return manager.get_or_open(ORDERS, OPTIONS)


def directory_of(manager: StoreManager) -> Path:
    """Return where the files are."""
    return manager.path_of(ORDERS) / "view"


def names_in(directory: Path) -> list[str]:
    """Return the names of the files."""
    return sorted(path.name for path in directory.iterdir())


def test_what_is_kept_comes_back_after_an_open(manager: StoreManager, store: RocksDBStore) -> None:
    """The frames, of which empty ones lack, and what is known of them."""
    found = reopened(manager, store).kept_view("this")
    assert found is not None
    assert list(found.frames) == ["rows"]
    assert found.frames["rows"].equals(FRAME)
    assert not found.sees_deletes
    assert directory_of(manager).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("name", WRITES)
def test_no_write_leaves_rows_in_use(name: str, manager: StoreManager, store: RocksDBStore) -> None:
    """Whatever it changes: at once, and after an open, which removes the files."""
    WRITES[name](store)
    manager.close(store)
    again = manager.get_or_open(ORDERS, OPTIONS)
    assert again.kept_view("this") is None
    assert names_in(directory_of(manager)) == []


def test_rows_that_were_written_are_told(manager: StoreManager, store: RocksDBStore) -> None:
    """Each once, with those that were removed, by partition; over several opens."""
    assert store.is_view_kept
    store.apply(changes_of([(0, b"b", b"2"), (1, b"b", b"1")]), {0: 2, 1: 1})
    store.apply(changes_of([(0, b"a", None), (0, b"b", b"3")]), {0: 4})
    again = reopened(manager, store)
    found = again.kept_view("this")
    assert found is not None
    assert found.changed == {0: [b"b", b"a"], 1: [b"b"]}
    again.apply(changes_of([]), {0: 5})
    again.learn({"part": b"1"}, changes_rows=False)
    again.apply(changes_of([(1, b"c", b"1")]), {1: 2})
    assert again.is_view_kept
    again = reopened(manager, again)
    found = again.kept_view("this")
    assert found is not None
    assert found.changed == {0: [b"b", b"a"], 1: [b"b", b"c"]}
    again.keep_view(DecodedRows({"rows": FRAME}, "this"))
    found = reopened(manager, again).kept_view("this")
    assert found is not None
    assert found.changed is None


def test_a_batch_without_rows_is_told_of_too(manager: StoreManager, store: RocksDBStore) -> None:
    """It may have brought marks of refused records."""
    store.apply(changes_of([]), {0: 2})
    found = reopened(manager, store).kept_view("this")
    assert found is not None
    assert found.changed == {}


@pytest.mark.parametrize("name", WRITES)
def test_other_writes_between_those_of_rows_leave_no_rows_in_use(
    name: str, manager: StoreManager, store: RocksDBStore
) -> None:
    """Neither before nor after them is all known that was written; not by a version that notes nothing, either."""
    store.apply(changes_of([(0, b"b", b"2")]), {0: 2})
    WRITES[name](store)
    assert not store.is_view_kept
    store.apply(changes_of([(0, b"c", b"2")]), {0: 3})
    assert reopened(manager, store).kept_view("this") is None


def test_where_many_rows_were_written_all_are_decoded(
    manager: StoreManager, store: RocksDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is noted any longer then, until they are kept again."""
    monkeypatch.setattr(change_log, "MOST_ROWS", 3)
    for count in (2, 3):
        assert store.is_view_kept
        store.apply(changes_of([(0, b"%d" % n, b"2") for n in range(count)]), {0: count})
    assert not store.is_view_kept
    again = reopened(manager, store)
    assert again.kept_view("this") is None
    again.keep_view(KEPT)
    assert again.is_view_kept


def test_the_ways_to_write_are_all_that_there_are() -> None:
    """Whoever adds one to the protocol of stores adds it here."""
    members = {name for name, _ in inspect.getmembers(StateStore) if not name.startswith("_")}
    assert members == WRITES.keys() | NO_WRITES | {"apply"}


def test_a_write_that_a_crash_loses_leaves_rows_in_use(manager: StoreManager, store: RocksDBStore) -> None:
    """The store is then as it was when they were made."""
    store.flush()
    store.apply(changes_of([(0, b"b", b"2")]), {0: 2})
    shutil.copytree(manager.state_dir, crashed := manager.state_dir.with_name("crashed"))
    other = StoreManager(crashed, OPTIONS)
    left = other.get_or_open(ORDERS, OPTIONS)
    assert left.positions()[0].offset == 1
    assert left.kept_view("this") is not None
    # The number of the write that was lost is given again, to another one.
    left.apply(changes_of([(0, b"c", b"3")]), {0: 2})
    other.close(left)
    found = other.get_or_open(ORDERS, OPTIONS).kept_view("this")
    assert found is not None
    assert found.changed == {0: [b"c"]}
    other.close_all()


def test_a_note_that_a_crash_loses_leaves_files_unused(manager: StoreManager, store: RocksDBStore) -> None:
    """They are removed by the next open."""
    shutil.copytree(manager.state_dir, crashed := manager.state_dir.with_name("crashed"))
    other = StoreManager(crashed, OPTIONS)
    assert other.get_or_open(ORDERS, OPTIONS).kept_view("this") is None
    assert names_in(directory_of(other)) == []
    other.close_all()


def test_rows_that_another_version_made_are_not_used(manager: StoreManager, store: RocksDBStore) -> None:
    """It may decode otherwise."""
    assert reopened(manager, store).kept_view("another") is None
    assert names_in(directory_of(manager)) == []


def test_a_note_of_another_format_is_not_used(manager: StoreManager, store: RocksDBStore) -> None:
    """What a later version writes there is nothing to fail from."""
    for note in (b"{}", b"[]", b"no JSON", b'{"files": {"rows": {"place": 1}}}', b"\xff"):
        store.set_metadata({"view": note})
        assert store.kept_view("this") is None


def test_frames_that_are_kept_already_are_not_written_again(
    manager: StoreManager, store: RocksDBStore
) -> None:
    """Only what says that they are current."""
    names = names_in(directory_of(manager))
    again = reopened(manager, store)
    view = again.kept_view("this")
    assert view is not None
    again.apply(changes_of([]), {0: 1})
    again.keep_view(view)
    assert names_in(directory_of(manager)) == names
    assert reopened(manager, again).kept_view("this") is not None


def test_no_file_goes_between_its_writing_and_the_note(tmp_path: Path) -> None:
    """Another thread may put rows into a file just then, which removes those that nobody needs."""
    files = ViewFiles(tmp_path)
    written = files.write({"contested": pl.DataFrame({"n": [1]})})
    assert written is not None
    part = files.spill(FRAME)
    assert part is not None
    assert part.equals(FRAME)
    assert written["contested"].name in names_in(tmp_path / "view")
    files.keep({})
    assert len(names_in(tmp_path / "view")) == 1  # that of the part, which is in use
    del part
    files.keep({})
    assert names_in(tmp_path / "view") == []


def test_closed_files_are_left_to_who_opens_them_next(tmp_path: Path) -> None:
    """A reader that is still at it writes and removes nothing; what no note names goes with the close."""
    files = ViewFiles(tmp_path)
    assert files.read(None, ChangeLog(cast(Engine, None)), "this") is None
    part = files.spill(FRAME)
    assert part is not None
    files.close()
    assert names_in(tmp_path / "view") == []
    (tmp_path / "view" / "part-of-another.arrow").touch()
    assert files.spill(FRAME) is None
    files.close()
    assert names_in(tmp_path / "view") == ["part-of-another.arrow"]
    assert part.equals(FRAME)


def test_an_open_that_comes_to_no_rows_removes_no_files(manager: StoreManager, store: RocksDBStore) -> None:
    """It was closed before it looked at them."""
    names = names_in(directory_of(manager))
    manager.close(reopened(manager, store))
    assert names_in(directory_of(manager)) == names


def test_other_frames_replace_the_files(manager: StoreManager, store: RocksDBStore) -> None:
    """Under other names."""
    names = names_in(directory_of(manager))
    store.keep_view(DecodedRows({"rows": FRAME.reverse()}, "this"))
    assert len(names_in(directory_of(manager))) == 1
    assert names_in(directory_of(manager)) != names
    found = reopened(manager, store).kept_view("this")
    assert found is not None
    assert found.frames["rows"].equals(FRAME.reverse())


def test_what_is_written_meanwhile_is_not_in_the_files(
    manager: StoreManager, store: RocksDBStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may write while they are made: they are no use then."""
    write = store._view_files.write

    def interrupted(frames: Any) -> Any:
        store.learn({"part": b"1"})
        return write(frames)

    monkeypatch.setattr(store._view_files, "write", interrupted)
    store.keep_view(DecodedRows({"rows": FRAME.reverse()}, "this"))
    assert reopened(manager, store).kept_view("this") is None


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which the number of rows is added whenever some are decoded from a store."""
    counts: list[int] = []
    load = TopicDecoder.load

    def counted(self: TopicDecoder, rows: StoredRows, schema: pl.Schema) -> pl.DataFrame:
        counts.append(len(rows.values))
        return load(self, rows, schema)

    monkeypatch.setattr(TopicDecoder, "load", counted)
    return counts


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with rows of many types, a tombstone, a refused record and a key in two partitions."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    for number in range(200):
        value = {"id": number % 50, "text": f"the text of record {number}", "inside": {"list": [number]}}
        broker.produce("t", f"k{number % 60}", value, partition=number % 60 % 2, timestamp=number * 10_000)
    broker.produce("t", "k1", None, partition=1, timestamp=3_000_000)
    broker.produce("t", "k2", b"no JSON", partition=0, timestamp=3_000_000)
    broker.produce("t", "k3", {"id": 3, "large": 10**30, "empty": []}, partition=0, timestamp=3_000_000)
    return broker


def shown(table: Any) -> list[Any]:
    """Return what reads find."""
    frame = table.to_polars(metadata=True)
    return [frame.schema, sorted(frame.rows(), key=repr)]


def said_of_stores(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines about stores."""
    return [record.getMessage() for record in caplog.records if record.name == "ktframe.store"]


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_kill_only_rows_that_came_since_are_decoded(
    kind: str, broker: FakeBroker, tmp_path: Path, decoded: list[int]
) -> None:
    """Rows, tombstones, refused records and a key in another partition, after rows were kept and before the kill."""
    first, killed = tmp_path / "first", tmp_path / "killed"
    with broker.connect(first) as context:
        table = KINDS[kind](context)
        table.to_polars()
        table._reader.binding.materializer.keep_rows()
        for at, (key, value) in enumerate(
            [("k1", {"id": 1}), ("k4", None), ("k5", b"no JSON"), ("k6", {"id": 6}), ("new", {"id": 7})]
        ):
            broker.produce("t", key, value, partition=at % 2, timestamp=3_000_000 + at)
        expected = shown(table)
        table._reader.binding.materializer.store.flush()
        shutil.copytree(first, killed)
    decoded.clear()
    with broker.connect(killed) as context:
        assert shown(KINDS[kind](context)) == expected
    assert 0 < sum(decoded) < 10


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_is_decoded_at_an_open_after_a_close(
    kind: str, broker: FakeBroker, tmp_path: Path, decoded: list[int]
) -> None:
    """Rows, markers and marks are those from before; also twice, after a close without a change."""
    with broker.connect(tmp_path) as context:
        expected = shown(KINDS[kind](context))
    for _ in range(2):
        with broker.connect(tmp_path) as context:
            assert shown(KINDS[kind](context)) == expected
        assert decoded == []
    for directory in tmp_path.rglob("view"):
        shutil.rmtree(directory)
    with broker.connect(tmp_path) as context:
        assert shown(KINDS[kind](context)) == expected
    assert sum(decoded) > 0


def test_records_that_come_later_are_folded_into_kept_rows(
    broker: FakeBroker, tmp_path: Path, decoded: list[int]
) -> None:
    """With a new field, and with a tombstone, over several opens; of the files only the last ones stay."""
    for number in range(4):
        broker.produce("t", "k4", {"id": 4, f"new {number}": number}, partition=0, timestamp=4_000_000)
        broker.produce("t", f"k{10 + number}", None, partition=number % 2, timestamp=4_000_000)
        with broker.connect(tmp_path) as context, broker.connect(None) as other:
            assert shown(context.table("t", on_refused="ignore")) == shown(
                other.table("t", on_refused="ignore")
            )
    assert decoded == []
    assert len(list(tmp_path.rglob("rows-*.arrow"))) == 1


def test_a_frame_outlives_the_files_that_it_lies_in(broker: FakeBroker, tmp_path: Path) -> None:
    """A frame that a user has goes on being what it was."""
    with broker.connect(tmp_path) as context:
        expected = context.table("t", on_refused="ignore").to_polars()
    with broker.connect(tmp_path) as context:
        frame = context.table("t", on_refused="ignore").to_polars()
    broker.produce("t", "k5", {"id": 5}, partition=1)
    with broker.connect(tmp_path) as context:
        context.table("t", on_refused="ignore").to_polars()
    shutil.rmtree(tmp_path)
    assert frame.sort("key").equals(expected.sort("key"))


def test_rows_of_another_revision_are_decoded(
    broker: FakeBroker, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version of ktframe that decodes otherwise does not take them."""
    with broker.connect(tmp_path) as context:
        expected = shown(context.table("t", on_refused="ignore"))
    monkeypatch.setattr(filling, "_MADE_BY", "another version")
    with broker.connect(tmp_path) as context:
        assert shown(context.table("t", on_refused="ignore")) == expected
    assert sum(decoded) > 0


@pytest.mark.parametrize("seed", range(12))
def test_damaged_files_are_decoded_anew(
    seed: int, broker: FakeBroker, tmp_path: Path, decoded: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    """Said in one line; the next open has files again."""
    random = Random(seed)  # noqa: S311 - no cryptography
    with broker.connect(tmp_path) as context:
        expected = shown(context.table("t", on_refused="ignore"))
    victim = random.choice(sorted(tmp_path.rglob("*.arrow")))
    raw = bytearray(victim.read_bytes())
    at = random.randrange(len(raw))
    if seed % 2:
        raw[at] ^= 1 << random.randrange(8)
    else:
        del raw[at:]
    victim.write_bytes(raw)
    with caplog.at_level(logging.WARNING, "ktframe"), broker.connect(tmp_path) as context:
        assert shown(context.table("t", on_refused="ignore")) == expected
    assert [victim.name in text for text in said_of_stores(caplog)] == [True]
    assert sum(decoded) > 0
    decoded.clear()
    with broker.connect(tmp_path) as context:
        assert shown(context.table("t", on_refused="ignore")) == expected
    assert decoded == []


def test_rows_of_a_large_table_stay_in_memory_where_the_disk_refuses_them(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All rows are read, and it is said why; once the disk takes them they go into files."""

    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(rows, "SPILL_BYTES", 1_000)
    with broker.connect() as memory, broker.connect(tmp_path) as context:
        table = context.table("t", on_refused="ignore")
        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "ktframe"):
            patch.setattr(view_files._Sink, "write", refuse)
            assert shown(table) == shown(memory.table("t", on_refused="ignore"))
        assert any("rows stay in memory" in text for text in said_of_stores(caplog))
        view = table._reader.binding.required().view
        assert not view.lies_in_files
        broker.produce("t", "k1", {"id": 1}, partition=1, timestamp=4_000_000)
        assert shown(table) == shown(memory.table("t", on_refused="ignore"))
        assert view.lies_in_files


def test_a_disk_that_is_full_at_the_close_loses_nothing(
    broker: FakeBroker,
    tmp_path: Path,
    decoded: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The table is closed, the half file goes, and the next open decodes."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, broker.connect(tmp_path) as context:
        expected = shown(context.table("t", on_refused="ignore"))
        patch.setattr(view_files._Sink, "write", full)
        with caplog.at_level(logging.WARNING, "ktframe"):
            context.close()
    assert ["No space left" in text for text in said_of_stores(caplog)] == [True]
    assert list(tmp_path.rglob("*.arrow")) == []
    with broker.connect(tmp_path) as context:
        assert shown(context.table("t", on_refused="ignore")) == expected
    assert sum(decoded) > 0


def test_rows_are_kept_while_nothing_comes(
    broker: FakeBroker, tmp_path: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed then leaves them."""
    monkeypatch.setattr(upkeep, "_TIDY_SECONDS", 0.0)
    with broker.connect(tmp_path / "living") as context:
        table = context.table("t", on_refused="ignore")
        expected, store = shown(table), table._reader.binding.required().store

        def are_kept() -> bool:
            note = store.metadata.get("view")
            return note is not None and orjson.loads(note)["write"] == store._engine.last_write()

        wait_until(are_kept, "rows to be kept")
        store.flush()
        shutil.copytree(tmp_path / "living", tmp_path / "killed")
    with broker.connect(tmp_path / "killed") as context:
        assert shown(context.table("t", on_refused="ignore")) == expected
    assert decoded == []
