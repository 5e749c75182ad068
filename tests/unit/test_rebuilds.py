"""A partition that must be built again: its rows from before are shown until the new ones are all there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.rebuilding_process import ROWS
from support.stores import ORDERS, lines_of
from support.waiting import wait_until

from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.events import RowsChanged, TableRebuilt
from ktframe.store.manager import StoreManager
from ktframe.testing import FakeBroker

WENT_BACK = "the log went back: another record is at offset 4"
KINDS = pytest.mark.parametrize("kind", ["table", "key", "window", "stream"])


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with five records in each of two partitions."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    for number in range(10):
        broker.produce("t", f"k{number}", {"id": number, "v": "base"}, partition=number % 2)
    return broker


def go_back(broker: FakeBroker) -> None:
    """Put back a copy of the log of partition 0, of three records, to which others are written than before."""
    broker.truncate("t", 3, partition=0)
    for number in range(4):
        broker.produce("t", f"n{number}", {"id": 100 + number, "v": "new"}, partition=0)


def opened(context: Context, kind: str) -> Any:
    """Return a table by record key or by a field, windows, or a stream of the topic."""
    if kind == "stream":
        return context.stream("t")
    if kind == "key":
        return context.table("t", key="id")
    return context.table("t").window(5) if kind == "window" else context.table("t")


def values(rows: Any, *, fresh: bool) -> list[str]:
    """Return a column of all rows, in order."""
    return sorted(rows.to_polars(fresh=fresh)["v"])


OLD, NEW = ["base"] * 10, ["base"] * 8 + ["new"] * 4


@KINDS
def test_rows_from_before_are_shown_until_the_new_ones_are_there(
    broker: FakeBroker, tmp_path: Path, kind: str
) -> None:
    """Nothing is missing meanwhile, it is said why, and there is one event: when the rows have changed."""
    with broker.connect(tmp_path) as context:
        assert values(opened(context, kind), fresh=True) == OLD
    go_back(broker)
    broker.hold()
    with broker.connect(tmp_path) as context:
        rows, rebuilt = opened(context, kind), list[TableRebuilt]()
        rows.events.subscribe(TableRebuilt, rebuilt.append)
        assert values(rows, fresh=False) == OLD
        wait_until(lambda: WENT_BACK in rows.readiness().detail, "the rebuild")
        readiness = rows.readiness()
        assert not readiness.is_ready
        assert (
            readiness.detail
            == f"partition 0 is read again, until which rows from before are shown: {WENT_BACK}"
        )
        assert WENT_BACK in str(rows.status())
        assert (values(rows, fresh=False), rebuilt) == (OLD, [])
        broker.release()
        assert values(rows, fresh=True) == NEW
        assert [event.partitions for event in rebuilt] == [{0: WENT_BACK}]
        assert rows.readiness().detail == ""


def test_other_partitions_go_on_meanwhile(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes for them is shown, and counted in the event of each batch."""
    with broker.connect() as context:
        table, changed = context.table("t"), list[RowsChanged]()
        assert values(table, fresh=True) == OLD
        broker.hold()
        go_back(broker)
        monkeypatch.setattr(broker, "_available", _only(broker, 1))
        table.events.subscribe(RowsChanged, changed.append)
        broker.produce("t", "more", {"id": 11, "v": "more"}, partition=1)
        broker.release()
        wait_until(lambda: values(table, fresh=False) == [*OLD, "more"], "the other partition")
        assert table.get("k0", fresh=False) == {"key": "k0", "id": 0, "v": "base"}
        monkeypatch.undo()
        assert values(table, fresh=True) == sorted([*NEW, "more"])
        assert table.get("k8") is None


def test_who_follows_changes_hears_of_rows_that_went(broker: FakeBroker) -> None:
    """A log that was put back empty has no batch that would tell."""
    with broker.connect(monitor_interval=0.1) as context:
        table, seen = context.table("t"), list[list[str]]()
        assert values(table, fresh=True) == OLD
        table.on_change(lambda _: seen.append(values(table, fresh=False)))
        broker.truncate("t", 0, partition=0)
        wait_until(lambda: ["base"] * 5 in seen, "the change")
        assert values(table, fresh=True) == ["base"] * 5


def _only(broker: FakeBroker, partition: int) -> Any:
    """Return what lets nothing of other partitions through."""
    available = broker._available

    def some(topic: str, positions: dict[int, int]) -> Any:
        return available(topic, {p: at for p, at in positions.items() if p == partition})

    return some


@KINDS
def test_a_table_that_is_closed_meanwhile_goes_on_where_it_was(
    broker: FakeBroker, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part of the new rows was read: those from before are shown until the rest is read, too, and it is said once."""
    with broker.connect(tmp_path) as context:
        assert values(opened(context, kind), fresh=True) == OLD
    go_back(broker)
    with broker.connect(tmp_path) as context:
        monkeypatch.setattr(broker, "_available", _first(broker, 5))
        rows = opened(context, kind)
        assert values(rows, fresh=False) == OLD
        written = rows._reader.started().written
        wait_until(lambda: written.positions() == {0: 5, 1: 5} and written.again.positions(), "a part")
        assert values(rows, fresh=False) == OLD
    broker.hold()
    with broker.connect(tmp_path) as context:
        rows = opened(context, kind)
        assert values(rows, fresh=False) == OLD
        wait_until(lambda: "read again" in rows.readiness().detail, "the rebuild")
        assert rows._reader.started().written.again.positions() == {0: 5}
        monkeypatch.undo()
        broker.release()
        assert values(rows, fresh=True) == NEW
        incidents = [incident.detail for incident in rows.history.incidents() if incident.kind == "rebuilt"]
        assert incidents == [WENT_BACK]


def _first(broker: FakeBroker, end: int) -> Any:
    """Return what lets only the first records of partition 0 through."""
    available = broker._available

    def some(topic: str, positions: dict[int, int]) -> Any:
        log = broker._topics[topic].partitions[0]
        rest, log.log[end:] = log.log[end:], []
        try:
            return available(topic, positions)
        finally:
            log.log[end:] = rest

    return some


@pytest.mark.slow
def test_a_killed_process_leaves_the_rows_from_before_or_the_new_ones(tmp_path: Path) -> None:
    """Wherever it is killed, the rows that reads find are all of one time, and writing goes on from there."""
    options, chance = StoreOptions(), random.Random(7)  # noqa: S311 - test data
    for _ in range(12):
        with rebuilding(tmp_path) as process:
            assert process.stdout is not None
            for _ in range(chance.randrange(1, 4)):
                assert process.stdout.readline()
            time.sleep(chance.random() / 20)
            process.kill()
        manager = StoreManager(tmp_path, options)
        store = manager.get_or_open(ORDERS, options)
        lines = lines_of(store.items())
        assert len(lines) == ROWS
        assert len({value for _, _, value in lines}) == 1
        again = lines_of(store.items(rebuilt=True))
        assert len(again) == sum(rebuild.position.offset for rebuild in store.rebuilds().values())
        manager.close_all()


@contextmanager
def rebuilding(state_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield a process that rebuilds a partition of a store again and again."""
    arguments = [sys.executable, "-m", "support.rebuilding_process", str(state_dir)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    process = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
