"""Stores of another format version: a new one is built beside, and the outdated one goes when that is ready."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal
from support.stores import OPTIONS, ORDERS, contents, edit_description, edit_rows, make_store
from support.waiting import wait_until

from ktframe.context.context import Context
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import Position
from ktframe.store import replacement as replacement_module
from ktframe.store import versions as versions_module
from ktframe.store.engine import Engine, SharedMemory
from ktframe.store.layout import FORMAT_VERSION
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import StateStore, StoreDescription
from ktframe.tables.base import MaterializedTopic
from ktframe.testing import FakeBroker

VERSION_2 = Path(__file__).parents[1] / "support" / "stores_of_version_2.zip"
"""A table, a stream and windows of ``topic_of_orders``, made by the last code that wrote format version 2."""

BUILT_ANEW = "the local store is built anew: its format was version 2"


def topic_of_orders() -> FakeBroker:
    """Return a cluster with the topic that the stores of version 2 were made of."""
    broker = FakeBroker()
    broker.create_topic("orders", partitions=2)
    for number in range(40):
        order = number % 10
        value = {"order": order, "amount": number / 4}
        broker.produce("orders", f"o-{order}", value, partition=order % 2, timestamp=number * 60_000)
    broker.produce("orders", "o-3", None, partition=1, timestamp=41 * 60_000)
    broker.produce("orders", "o-5", b"no JSON", partition=1, timestamp=42 * 60_000)  # hides the row of o-5
    return broker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a cluster with the topic of orders."""
    return topic_of_orders()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """Return a state directory with the stores of version 2."""
    with zipfile.ZipFile(VERSION_2) as stores:
        stores.extractall(tmp_path / "state")
    return tmp_path / "state"


def stores_in(state_dir: Path, kind: str = "") -> dict[str, int]:
    """Return what is in the directory of the topic, with the format version of each store."""
    found = {each.name: each / "store.json" for each in (state_dir / "fake" / "orders").iterdir()}
    return {
        name: json.loads(file.read_text())["format_version"] if file.exists() else 0
        for name, file in sorted(found.items())
        if name.lstrip(".").startswith(kind)
    }


def lines(caplog: pytest.LogCaptureFixture, level: int = logging.WARNING) -> list[str]:
    """Return what was logged about stores."""
    return [
        each.getMessage() for each in caplog.records if each.levelno >= level and "store" in each.getMessage()
    ]


TABLE = "table-3e0ce09cadd142f4"
GONE = "whose records the topic no longer has"


def everything_of(kt: Context) -> tuple[MaterializedTopic, ...]:
    """Return the table, its windows and the stream."""
    table = kt.table("orders")
    return table, table.window(5), kt.stream("orders")


def wait_until_only(state_dir: Path, kind: str, names: list[str]) -> None:
    """Wait until these are the stores of a kind, and all of today's version."""
    wait_until(lambda: list(stores_in(state_dir, kind)) == names, f"{names} to be alone")
    assert set(stores_in(state_dir, kind).values()) == {FORMAT_VERSION}


# ------------------------------------------------------------------------------------------- stores of version 2


def test_stores_of_version_2_are_built_anew(
    broker: FakeBroker, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Table, windows and stream have the right rows; one line each says why; the outdated stores go."""
    with broker.connect() as fresh:
        expected = [rows.to_polars() for rows in everything_of(fresh)]
    assert list(stores_in(state_dir).values()) == [2, 2, 2]
    with broker.connect(state_dir) as kt:
        for rows, frame in zip(everything_of(kt), expected, strict=True):
            assert_frame_equal(rows.to_polars(), frame, check_row_order=False)
            assert [(each.kind, each.detail) for each in rows.history.incidents()] == [
                ("rebuilt", BUILT_ANEW)
            ]
            assert rows.status().notices == ()
    assert [line.split(": ", 1)[1] for line in lines(caplog)] == [BUILT_ANEW] * 3
    assert list(stores_in(state_dir).values()) == [FORMAT_VERSION] * 3


def test_the_next_open_does_nothing(
    broker: FakeBroker, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that was built anew is opened like any other: read on from its position, without a word."""
    with broker.connect(state_dir) as kt:
        kt.table("orders").wait_until_ready(progress=False)
    names = stores_in(state_dir)
    caplog.clear()
    with broker.connect(state_dir) as kt:
        table = kt.table("orders")
        assert len(table) == 8
        assert broker.assigned[-1] == {0: 20, 1: 22}
        assert (table.history.incidents(), table.status().notices) == ([], ())
    assert (lines(caplog), stores_in(state_dir)) == ([], names)


def test_both_are_there_while_the_new_one_is_built(broker: FakeBroker, state_dir: Path) -> None:
    """Until everything that was in the topic is read the outdated store stays, and status, position and repr say so."""
    broker.hold()
    with broker.connect(state_dir) as kt:
        table = kt.table("orders")
        table.readiness()
        wait_until(table.history.incidents, "reading to begin")
        assert table.status().notices == table.position().notices == (BUILT_ANEW,)
        assert BUILT_ANEW in str(table.status())
        assert BUILT_ANEW in repr(table)
        assert stores_in(state_dir, "table") == {TABLE: 2, f"{TABLE}-2": FORMAT_VERSION}
        broker.release()
        assert len(table) == 8
        wait_until_only(state_dir, "table", [f"{TABLE}-2"])


def test_a_restart_in_the_middle_goes_on(
    broker: FakeBroker, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that was not finished is finished by the next open, which says so as before but in no second line."""
    broker.hold()
    for _ in range(2):
        with broker.connect(state_dir) as kt:
            table = kt.table("orders")
            wait_until(lambda table=table: table.status().notices, "reading to begin")
            assert table.status().notices == (BUILT_ANEW,)
            wait_until(lambda: len(lines(caplog)) == 1, "the line")
        assert stores_in(state_dir, "table") == {TABLE: 2, f"{TABLE}-2": FORMAT_VERSION}
    broker.release()
    with broker.connect(state_dir) as kt:
        assert len(kt.table("orders")) == 8
        wait_until_only(state_dir, "table", [f"{TABLE}-2"])
    assert len(lines(caplog)) == 1


def test_events_that_the_topic_no_longer_has_are_counted(
    broker: FakeBroker, state_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a stream loses with the outdated store is said exactly: in the line, and for good in the status."""
    broker.delete_records("orders", 7, partition=0)
    broker.delete_records("orders", 5, partition=1)
    lost = f"{BUILT_ANEW}; 12 older rows, {GONE}, are gone with it"
    with broker.connect(state_dir) as kt:
        stream = kt.stream("orders")
        assert len(stream) == 41 - 12
        assert [each.detail for each in stream.history.incidents()] == [lost]
    assert [line for line in lines(caplog) if lost in line] == lines(caplog)
    with broker.connect(state_dir) as kt:
        stream = kt.stream("orders")
        assert len(stream) == 41 - 12
        assert stream.status().notices == (lost.replace("is built", "was built"),)
    broker.create_topic("orders")
    with broker.connect(state_dir) as kt:
        stream = kt.stream("orders")
        assert len(stream) == 0
        assert stream.status().notices == ()


@pytest.mark.parametrize("damage", ["*.sst", "MANIFEST-*"])
def test_where_they_can_t_be_counted_they_may_be_gone(
    broker: FakeBroker, state_dir: Path, damage: str
) -> None:
    """Of an outdated store that can't be read nothing is claimed that is not known, and it goes all the same."""
    for file in (state_dir / "fake" / "orders").glob(f"stream-*/rocksdb/{damage}"):
        file.write_bytes(b"")
    broker.delete_records("orders", 7, partition=0)
    with broker.connect(state_dir) as kt:
        stream = kt.stream("orders")
        assert len(stream) == 41 - 7
        expected = f"the local store was built anew: its format was version 2; older rows, {GONE}, may be gone with it"
        assert stream.status().notices == (expected,)
        wait_until(lambda: len(stores_in(state_dir, "stream")) == 1, "the outdated store to go")
        (name,) = stores_in(state_dir, "stream")
        assert name.endswith("-2")


def test_a_table_without_its_first_records_says_so_while_it_is_built(
    broker: FakeBroker, state_dir: Path
) -> None:
    """Rows of keys that the topic no longer has are gone: that is said, until the table is what the topic gives."""
    broker.delete_records("orders", 17, partition=0)
    with broker.connect(state_dir) as kt:
        table = kt.table("orders")
        assert len(table) == 3 + 3
        (incident,) = table.history.incidents()
        assert incident.detail == f"{BUILT_ANEW}; older rows, {GONE}, may be gone with it"
        assert table.status().notices == ()


def test_rows_of_version_2_are_not_read_as_of_today(broker: FakeBroker, state_dir: Path) -> None:
    """The version beside the rows counts where ``store.json`` was edited to say another one."""
    edit_description(format_version=FORMAT_VERSION)(state_dir / "fake" / "orders" / TABLE)
    with broker.connect(state_dir) as kt:
        table = kt.table("orders")
        assert len(table) == 8
        assert [each.detail for each in table.history.incidents()] == [BUILT_ANEW]
        wait_until_only(state_dir, "table", [f"{TABLE}-2"])


def test_an_older_store_under_another_name_goes_too(broker: FakeBroker, state_dir: Path) -> None:
    """A version with other settings named its directory otherwise: it is found by what it says it holds."""
    topic = state_dir / "fake" / "orders"
    edit_description(settings={"value": "auto", "gone": "since"})(topic / TABLE)
    (topic / TABLE).rename(topic / "table-0123")
    edit_description(settings={"value": "string"}, format_version=1)(topic / "window-5m-7095ea9cd564af1b")
    (topic / "window-5m-7095ea9cd564af1b").rename(topic / "table-4567")
    with broker.connect(state_dir) as kt:
        table = kt.table("orders")
        assert len(table) == 8
        assert [each.detail for each in table.history.incidents()] == [BUILT_ANEW]
    assert stores_in(state_dir, "table") == {TABLE: FORMAT_VERSION, "table-4567": 1}


# ------------------------------------------------------------------------------------------- any other version


@pytest.mark.parametrize("version", [1, FORMAT_VERSION + 1, "x", None, 2.5, []])
def test_whatever_other_version_it_says(manager: StoreManager, version: object) -> None:
    """A store of any other version, older or newer, is left as it is beside a new one, and goes when asked."""
    path = make_store(manager)
    edit_description(format_version=version)(path)
    before = contents(path)
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert store.positions() == {}
    assert contents(path) == before
    replacement = manager.replacement_of(store)
    assert replacement is not None
    assert replacement.notice == f"the local store is built anew: its format was version {version}"
    replacement.complete()
    assert replacement.notice is None
    assert [each.name for each in path.parent.iterdir()] == [f"{path.name}-2"]
    replacement.complete()
    manager.close(store)
    assert not (path.parent / f"{path.name}-2" / "owner.json").exists()


def test_the_version_of_the_rows_counts(manager: StoreManager) -> None:
    """Rows that say another version than ``store.json`` are not read."""
    path = make_store(manager)
    edit_rows(format_version=b"\xff")(path)
    store = manager.get_or_open(ORDERS, OPTIONS)
    replacement = manager.replacement_of(store)
    assert replacement is not None
    assert (
        replacement.notice
        == "the local store is built anew: its format was version \N{REPLACEMENT CHARACTER}"
    )


def test_versions_take_the_free_names(manager: StoreManager) -> None:
    """Of several outdated stores and one of today, that one is opened, wherever it is; all others go."""
    path = make_store(manager)
    second, third = (path.with_name(f"{path.name}-{number}") for number in (2, 3))
    for place in (second, third):
        shutil.copytree(path, place)
    edit_description(format_version=1)(path)
    edit_description(format_version=99)(third)
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert store.positions() == {0: Position(1)}
    replacement = manager.replacement_of(store)
    assert replacement is not None
    assert replacement.notice is None
    replacement.complete()
    assert [each.name for each in path.parent.iterdir()] == [second.name]


def test_a_damaged_store_is_not_in_the_way_of_a_good_one(manager: StoreManager) -> None:
    """Where both a damaged store and one of today are there, rows are read from the latter, and the former stays."""
    path = make_store(manager)
    path.rename(path.with_name(f"{path.name}-2"))
    path.mkdir()
    (path / "notes.txt").write_text("mine")
    store = manager.get_or_open(ORDERS, OPTIONS)
    assert store.positions() == {0: Position(1)}
    replacement = manager.replacement_of(store)
    assert replacement is not None
    replacement.complete()
    assert (path / "notes.txt").read_text() == "mine"


def test_other_stores_of_the_topic_stay(manager: StoreManager) -> None:
    """Only stores that hold the same rows are replaced, whatever version the others have."""
    others = [
        StoreDescription("cluster", "orders", "table", {"value": "string"}),
        StoreDescription("cluster", "orders", "stream", {"value": "json"}),
    ]
    for other in others:
        manager.close(manager.get_or_open(other, OPTIONS))
        edit_description(format_version=1)(manager.path_of(other))
    store = manager.get_or_open(ORDERS, OPTIONS)
    replacement = manager.replacement_of(store)
    assert replacement is not None
    replacement.complete()
    assert all((manager.path_of(other) / "store.json").exists() for other in others)


# ------------------------------------------------------------------------------------------- removing

HOLD = """
import sys
from pathlib import Path
from ktframe.config.settings import StoreOptions
from ktframe.store.engine import Engine, SharedMemory

engine = Engine(Path(sys.argv[1]), StoreOptions(), SharedMemory(StoreOptions()))
print("open", flush=True)
sys.stdin.read()
engine.close()
"""


def outdated_store(manager: StoreManager) -> tuple[Path, StateStore]:
    """Return the directory of an outdated store, and the store that was opened in its place."""
    path = make_store(manager)
    edit_description(format_version=2)(path)
    return path, manager.get_or_open(ORDERS, OPTIONS)


def complete(manager: StoreManager, store: StateStore) -> None:
    """Tell the store that it is ready."""
    replacement = manager.replacement_of(store)
    assert replacement is not None
    replacement.complete()


def test_a_store_that_another_process_has_open_stays_until_a_later_open(
    manager: StoreManager, caplog: pytest.LogCaptureFixture
) -> None:
    """An older ktframe that reads the outdated store goes on; the next open after it has ended removes the store."""
    caplog.set_level(logging.INFO)
    path, store = outdated_store(manager)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        before = contents(path)
        complete(manager, store)
        assert "has format version 2, and is removed at a later open" in caplog.text
        assert contents(path) == before
        other.communicate()
    manager.close(store)
    store = manager.get_or_open(ORDERS, OPTIONS)
    complete(manager, store)
    assert [each.name for each in path.parent.iterdir()] == [f"{path.name}-2"]


def test_a_store_that_this_process_has_open_stays_and_stays_locked(manager: StoreManager) -> None:
    """Asking for the lock does not free it: no second process gets what this one has open."""
    path, store = outdated_store(manager)
    engine = Engine(path, OPTIONS, SharedMemory(OPTIONS))
    complete(manager, store)
    assert engine.get(b"x") is None
    result = subprocess.run(
        [sys.executable, "-c", HOLD, str(path)], input="", capture_output=True, text=True, check=False
    )
    assert "is in use by" in result.stderr
    engine.close()


@pytest.mark.parametrize("error", [PermissionError(13, "no"), OSError(28, "full")])
def test_a_store_that_can_t_be_removed_stops_no_table(
    broker: FakeBroker,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: OSError,
) -> None:
    """The table is ready all the same, the failure is logged, and the next open tries again."""

    def refuse(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(replacement_module, "remove_store", refuse)
        with broker.connect(state_dir) as kt:
            assert len(kt.table("orders")) == 8
            assert kt.table("orders").wait_until_ready(progress=False)
        assert "of format version 2 can't be removed" in caplog.text
        assert stores_in(state_dir, "table") == {TABLE: 2, f"{TABLE}-2": FORMAT_VERSION}
    with broker.connect(state_dir) as kt:
        table = kt.table("orders")
        assert len(table) == 8
        assert (table.history.incidents(), table.status().notices) == ([], ())
    assert stores_in(state_dir, "table") == {f"{TABLE}-2": FORMAT_VERSION}


def test_a_crash_while_files_are_removed_leaves_no_half_store(
    manager: StoreManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name goes first, in one step: what a crash leaves of the files is no store, and the next open removes it."""
    path, store = outdated_store(manager)

    def crash(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(versions_module.shutil, "rmtree", crash)
        with pytest.raises(KeyboardInterrupt):
            complete(manager, store)
    assert not path.exists()
    manager.close(store)
    assert len(list(path.parent.iterdir())) == 2
    assert manager.get_or_open(ORDERS, OPTIONS) is not store
    assert [each.name for each in path.parent.iterdir()] == [f"{path.name}-2"]


def test_a_removal_takes_nothing_of_the_new_store(manager: StoreManager) -> None:
    """A store with rows is removed whole, while the one in its place is written and read."""
    path = make_store(manager, rows=20_000)
    edit_description(format_version=2)(path)
    store = manager.get_or_open(ORDERS, OPTIONS)
    replacement = manager.replacement_of(store)
    assert replacement is not None
    bound = encode_part(7)
    assert replacement.begin({0: bound}, keeps_history=True, is_countable=True) is not None
    complete(manager, store)
    assert replacement.notice is not None
    assert "; 7 older rows, " in replacement.notice
    assert [each.name for each in path.parent.iterdir()] == [f"{path.name}-2"]
    assert replacement.begin({0: bound}, keeps_history=True, is_countable=True) is None
