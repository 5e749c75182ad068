"""A relative ``start=`` and a clock that ran ahead: rows that were left out come once the clock is right."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ktframe.clock import SystemClock
from ktframe.errors import StoreError
from ktframe.events import TableRebuilt
from ktframe.store.memory import MemoryStore
from ktframe.store.rocksdb import RocksDBStore
from ktframe.sync.beginning import begins, keep_begins
from ktframe.sync.resume import Log, plan_resume
from ktframe.testing import FakeBroker

HOUR = timedelta(hours=1)
OPEN = {
    "table": lambda kt: kt.table("t", start="-4h"),
    "stream": lambda kt: kt.stream("t", start="-4h"),
    "windows": lambda kt: kt.table("t", start="-4h").window(5),
}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """Return a list whose item says by how much the clock of all tables runs ahead."""
    ahead = [timedelta()]

    class Ahead(SystemClock):
        def now(self) -> datetime:
            return super().now() + ahead[0]

    monkeypatch.setattr("ktframe.context.factory.SystemClock", Ahead)
    return ahead


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker whose records are 6 to 0 hours old, by turns in two partitions."""
    broker = FakeBroker()
    broker.create_topic("t", 2)
    now = SystemClock().now()
    for age in range(6, -1, -1):
        at = int((now - age * HOUR + timedelta(minutes=1)).timestamp() * 1000)
        broker.produce("t", f"k{age}", {"age": age}, partition=age % 2, timestamp=at)
    return broker


Opened = Callable[[], tuple[list[int], dict[int, str]]]


@pytest.fixture(params=list(OPEN))
def opened(request: pytest.FixtureRequest, broker: FakeBroker, tmp_path: Path) -> Opened:
    """Return a function that opens the topic, and returns the ages that it shows, and what was rebuilt and why."""

    def look() -> tuple[list[int], dict[int, str]]:
        with broker.connect(tmp_path) as kt:
            rows: Any = OPEN[request.param](kt)
            rebuilt: dict[int, str] = {}
            rows.events.subscribe(TableRebuilt, lambda event: rebuilt.update(event.partitions))
            frame = rows.to_polars()
            return sorted(frame["age"]) if frame.height else [], rebuilt

    return look


@pytest.mark.parametrize("ahead", [2, 3, 100])
def test_rows_that_a_fast_clock_has_left_out_come_back(
    opened: Opened, clock: list[timedelta], ahead: int
) -> None:
    """When the clock is right the start is earlier than where the rows begin: these partitions are read again, and say why."""
    clock[0] = ahead * HOUR
    assert opened()[0] == list(range(max(0, 5 - ahead)))
    clock[0] = timedelta()
    ages, rebuilt = opened()
    assert ages == [0, 1, 2, 3, 4]
    assert rebuilt.keys() == {0, 1}
    assert all("now, the stored rows begin at" in why for why in rebuilt.values())
    assert opened() == ([0, 1, 2, 3, 4], {})


def test_a_clock_that_goes_on_rebuilds_nothing(opened: Opened, clock: list[timedelta]) -> None:
    """Older rows go as the start moves; from then on only an earlier start reads again what it needs."""
    assert opened() == ([0, 1, 2, 3, 4], {})
    clock[0] = 2 * HOUR
    assert opened() == ([0, 1, 2], {})
    clock[0] = 3 * HOUR
    assert opened() == ([0, 1], {})
    clock[0] = 2 * HOUR
    ages, rebuilt = opened()
    assert (ages, rebuilt.keys()) == ([0, 1, 2], {0})


def test_what_the_log_has_lost_is_not_read_again(broker: FakeBroker, tmp_path: Path) -> None:
    """Rows of a stream stay where the log no longer has what an earlier start would add."""
    log = Log({0: 5}, {0: 9}, wanted={0: 2}, is_moving=True)
    assert plan_resume({0: 7}, log, keeps_history=True, begins={0: 4}).forget == {}
    assert plan_resume({0: 7}, log, keeps_history=True, begins={0: 6}).forget.keys() == {0}
    assert plan_resume({0: 7}, log, keeps_history=True).forget == {}
    for is_moving, forgets in ((True, True), (False, False)):
        log = Log({0: 0}, {0: 9}, wanted={0: 2}, is_moving=is_moving)
        assert bool(plan_resume({0: 7}, log, begins={0: 3}).forget) == forgets


def test_an_error_before_rows_are_read_again_leaves_none_out(
    broker: FakeBroker, tmp_path: Path, clock: list[timedelta], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the rows begin is written when they are being read again, not before."""
    clock[0] = 3 * HOUR
    with broker.connect(tmp_path) as kt:
        assert kt.stream("t", start="-4h").to_polars().height == 2
    clock[0] = timedelta()
    for method in ("rebuild", "keep_note", "switch"):

        def fail(self: RocksDBStore, *_: object, **__: object) -> None:
            raise StoreError(self._engine.path.name, "odd")

        with monkeypatch.context() as patch:
            patch.setattr(RocksDBStore, method, fail)
            with broker.connect(tmp_path) as kt, pytest.raises(StoreError, match="odd"):
                kt.stream("t", start="-4h").to_polars()
    with broker.connect(tmp_path) as kt:
        assert kt.stream("t", start="-4h").to_polars().height == 5


def test_a_start_that_stays_where_it_is_keeps_nothing(broker: FakeBroker, tmp_path: Path) -> None:
    """An absolute one is part of the store's name: its rows begin where it says."""
    start = SystemClock().now() - 4 * HOUR
    with broker.connect(tmp_path) as kt:
        stream = kt.stream("t", start=start)
        assert stream.to_polars().height == 5
        assert begins(stream._reader.binding.required().store) == {}


def test_where_rows_begin_is_kept() -> None:
    """By partition, each as it was given last."""
    store = MemoryStore()
    assert begins(store) == {}
    keep_begins(store, {0: 5, 11: 2**40})
    assert begins(store) == {0: 5, 11: 2**40}
