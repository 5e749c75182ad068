"""A partition that must be built again: its rows from before are shown until the new ones are all there."""

from __future__ import annotations

import json
import os
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.rebuilding_process import ROWS
from support.stores import ORDERS, lines_of
from support.waiting import wait_until

from ktframe.clock import SystemClock
from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.errors import StoreError
from ktframe.events import RowsChanged, TableRebuilt
from ktframe.fold.records import Position
from ktframe.fold.written import WrittenRows
from ktframe.store.manager import StoreManager
from ktframe.store.protocol import Rebuild
from ktframe.sync.exchange import Exchange, Switched
from ktframe.sync.materializer import Materializer
from ktframe.testing import FakeBroker, FakeRegistry

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


def test_an_error_after_the_switch_leaves_nobody_without_word(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has the new rows, the view is filled from it: the one event, and that rows have changed, come then."""
    failed, switch = list[int](), WrittenRows.switch

    def fail_once(rows: WrittenRows, schema: pl.Schema) -> dict[int, int]:
        if not failed:
            failed.append(1)
            message = "odd"
            raise StoreError(message, "odd")
        return switch(rows, schema)

    monkeypatch.setattr(WrittenRows, "switch", fail_once)
    with broker.connect(monitor_interval=0.1) as context:
        table, told = context.table("t"), list[Any]()
        assert values(table, fresh=True) == OLD
        table.events.subscribe(TableRebuilt, told.append)
        table.on_change(told.append)
        broker.truncate("t", 0, partition=0)
        wait_until(lambda: len(told) > 1, "the events")
        assert [type(event) for event in told] == [TableRebuilt, RowsChanged]
        assert (failed, told[1].rows) == ([1], 5)
        assert values(table, fresh=True) == ["base"] * 5


def test_positions_are_shown_last(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the position of new rows finds their stream times, and reads that don't wait are repeated."""
    with broker.connect() as context:
        table = context.table("t")
        assert values(table, fresh=True) == OLD
        rows = table._reader.started()
        seen, times = list[Any](), rows._shown_times

        def look() -> dict[int, int]:
            seen.append((rows.view.positions(), rows.exchange.generation))
            return times()

        monkeypatch.setattr(rows, "_shown_times", look)
        broker.truncate("t", 0, partition=0)
        assert values(table, fresh=True) == ["base"] * 5
        (positions, generation) = seen[0]
        assert positions == {1: 5}
        assert rows.exchange.generation > generation


def test_a_read_during_the_exchange_is_repeated() -> None:
    """One that began before sees it, one that begins in it waits for its end."""
    exchange, looks = Exchange(), list[str]()
    with ThreadPoolExecutor() as pool:
        with exchange.exchanging(Switched({0: "x"}, 1)):
            reading = pool.submit(exchange.read, lambda: looks.append("late"))
            time.sleep(0.05)
            assert looks == []
        reading.result(5)

    def straddle() -> int:
        if len(looks) < 3:
            looks.append("early")
            with exchange.exchanging(Switched({0: "x"}, 1)):
                pass
        return len(looks)

    assert exchange.read(straddle) == 3
    assert exchange.untold([0]) is None
    assert exchange.untold([1]) == Switched({0: "x"}, 1)
    assert exchange.untold([]) is None


def test_integers_from_before_keep_no_float_out(tmp_path: Path) -> None:
    """Rows that are about to go have integers that no float can hold: they go at once, and no record is refused."""
    registry, broker = FakeRegistry(), FakeBroker()
    whole, real = (
        json.dumps({"type": "record", "name": "R", "fields": [{"name": "v", "type": kind}]})
        for kind in ("long", "double")
    )
    ids = registry.register("t-value", whole), registry.register("t-value", real)
    for number in range(5):
        broker.produce("t", f"o{number}", registry.prefix(ids[0]) + _long(2**53 + 1 + number))
    with broker.connect(tmp_path, registry=registry) as context:
        assert context.table("t").to_polars()["v"].dtype == pl.Int64
    broker.truncate("t", 0)
    for number in range(3):
        broker.produce("t", f"k{number}", registry.prefix(ids[0]) + _long(number))
    broker.produce("t", "f", registry.prefix(ids[1]) + struct.pack("<d", 0.5))
    with broker.connect(tmp_path, registry=registry) as context:
        table = context.table("t")
        assert sorted(table.to_polars()["v"]) == [0.0, 0.5, 1.0, 2.0]
        assert table.status().refused == 0


def _long(number: int) -> bytes:
    """Return an integer as Avro writes it."""
    rest, parts = number << 1, bytearray()
    while rest > 0x7F:
        parts.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*parts, rest])


def test_tombstones_that_were_just_read_again_are_not_old(broker: FakeBroker) -> None:
    """How long rows have been there is that of the new ones, also after a restart in the midst of a rebuild."""
    with broker.connect() as context:
        table = context.table("t")
        table.to_polars()
        rows = table._reader.started()
        rows.ages.opened({p: Position(5, present=0) for p in (0, 1)})
        rows.rebuild({0: Rebuild("x", Position(0, present=10))})
        again = Materializer("t", rows.decoder, rows.store, SystemClock())
        again.reconcile()
        for each in (rows, again):
            assert 0 not in each.ages.before(10**15, 1)
        again.ages.note({0: 5}, 0)
        again.switch()
        assert 0 not in again.ages.before(10**15, 1)


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
