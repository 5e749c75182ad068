"""Deletes that a table may have missed: on a compacted topic tombstones go, and rows must not stay without them."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.waiting import wait_until

from ktframe.clock import SystemClock
from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.errors import BrokerUnreachableError, StoreError
from ktframe.events import TableRebuilt
from ktframe.fold.records import Position
from ktframe.kafka.survey import Cleanup
from ktframe.store.protocol import Rebuild
from ktframe.store.rocksdb import RocksDBStore
from ktframe.sync.presence import Moment, Presence
from ktframe.testing import FakeBroker, ManualClock
from ktframe.testing.log import read_log

DAY = timedelta(days=1)
Turn = Callable[[timedelta], None]


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Turn:
    """Return a function that moves the wall clock of all tables, as a sleep does: the monotonic clock stands still."""
    moved = [timedelta()]

    class LaterClock(SystemClock):
        def now(self) -> datetime:
            return super().now() + moved[0]

    def turn_by(by: timedelta) -> None:
        moved[0] += by

    monkeypatch.setattr("ktframe.context.factory.SystemClock", LaterClock)
    return turn_by


def compacted(**settings: Any) -> FakeBroker:
    """Return a broker with a compacted topic of two keys."""
    broker = FakeBroker()
    broker.create_topic("t", **{"cleanup_policy": "compact", **settings})
    for key, number in [("gone", 1), ("stays", 2)]:
        broker.produce("t", key, {"n": number})
    return broker


def delete(broker: FakeBroker) -> None:
    """Delete a key without a trace: compaction takes the tombstone too."""
    broker.produce("t", "gone", None)
    broker.produce("t", "new", {"n": 3})
    broker.compact("t")


def keys(table: Any) -> list[str]:
    """Return the keys of all rows, fresh."""
    return sorted(table.to_polars()["key"])


def reasons(table: Any) -> list[str]:
    """Return why rows were read again."""
    return [incident.detail for incident in table.history.incidents() if incident.kind == "rebuilt"]


def opened(context: Context, kind: str) -> Any:
    """Return a table, its windows, or a stream of the topic."""
    if kind == "stream":
        return context.stream("t")
    table = context.table("t", key="n" if kind == "key=" else None)
    return table.window(5) if kind == "window" else table


class FullDisk:
    """A disk that refuses flushes until it has space again, and then has what was ``flushed`` before."""

    def __init__(self, engine: Any, flushed: Path) -> None:
        self.is_full, self.refuses_writes = True, False
        self._engine, self._flushed, self._real = engine, flushed, engine._db
        engine._db, engine._release = self, self._lose

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def flush(self, *_: object) -> None:
        """Raise as RocksDB does."""
        text = f"IO error: {os.strerror(errno.ENOSPC)}: While appending to file: /x/000008.sst"
        raise Exception(text)  # noqa: TRY002 - it is what rocksdict raises

    def write(self, *arguments: object) -> None:
        """Write, or raise as RocksDB does."""
        if self.refuses_writes:
            self.flush()
        self._real.write(*arguments)

    def check(self, path: Path) -> None:
        """Raise as long as it is full."""
        if self.is_full:
            raise StoreError(str(path), "the disk is full")

    def _lose(self) -> None:
        del self._engine._release
        self._engine._is_released = True
        self._real.close()
        shutil.rmtree(self._engine.path / "rocksdb")
        self._flushed.rename(self._engine.path / "rocksdb")


@pytest.mark.parametrize("kind", ["table", "key=", "window"])
def test_a_key_that_was_deleted_meanwhile_is_gone(tmp_path: Path, turn: Turn, kind: str) -> None:
    """Away for longer than Kafka keeps deletes, the rows are read anew: they are those of a fresh store."""
    broker = compacted()
    with broker.connect(tmp_path) as context:
        assert sorted(opened(context, kind).to_polars()["n"]) == [1, 2]
    delete(broker)
    turn(3 * DAY)
    with broker.connect(tmp_path) as context:
        rows = opened(context, kind)
        assert sorted(rows.to_polars()["n"]) == [2, 3]
        reason = "the table was away for 3 d, longer than Kafka keeps deletes (delete.retention.ms is 1 d)"
        assert reasons(rows) == [reason]


def test_who_was_not_away_for_long_reads_on(tmp_path: Path, turn: Turn) -> None:
    """Within that time every tombstone is still there, and so nothing is read twice."""
    broker = compacted()
    with broker.connect(tmp_path) as context:
        context.table("t").to_polars()
    broker.produce("t", "gone", None)
    turn(0.9 * DAY)
    with broker.connect(tmp_path) as context:
        assert keys(context.table("t")) == ["stays"]
    assert broker.assigned == [{0: 0}, {0: 2}]


def test_a_store_beside_a_record_that_was_compacted_away_is_read_on(tmp_path: Path, turn: Turn) -> None:
    """That the store's own last record is gone from the log says nothing of deletes."""
    broker = compacted()
    with broker.connect(tmp_path) as context:
        context.table("t").to_polars()
    broker.produce("t", "stays", {"n": 4})
    broker.compact("t")
    turn(0.5 * DAY)
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert sorted(table.to_polars()["n"]) == [1, 4]
        assert (reasons(table), broker.assigned[-1]) == ([], {0: 2})


@pytest.mark.parametrize("settings", [{}, {"delete_retention_ms": 0}], ids=["day", "zero"])
def test_where_nothing_was_written_nothing_is_read_anew(
    tmp_path: Path, turn: Turn, settings: dict[str, Any]
) -> None:
    """However long the table was away: the end of the log has not moved, and compaction does not move it."""
    broker = compacted(**settings)
    for _ in range(2):
        with broker.connect(tmp_path) as context:
            assert keys(context.table("t")) == ["gone", "stays"]
        turn(30 * DAY)
    assert broker.assigned == [{0: 0}, {0: 2}]


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("table", {"cleanup_policy": "delete"}), ("stream", {})],
    ids=["not compacted", "stream"],
)
def test_where_no_delete_can_be_missed_nothing_is_read_anew(
    tmp_path: Path, turn: Turn, kind: str, settings: dict[str, Any]
) -> None:
    """Without compaction tombstones stay; in a stream they remove no row."""
    broker = compacted(**settings)
    with broker.connect(tmp_path) as context:
        opened(context, kind).to_polars()
    broker.produce("t", "new", {"n": 3})
    turn(30 * DAY)
    with broker.connect(tmp_path) as context:
        assert opened(context, kind).to_polars().height == 3
    assert broker.assigned == [{0: 0}, {0: 2}]


@pytest.mark.parametrize(
    "settings", [{"cleanup_policy": None, "delete_retention_ms": None}, {"delete_retention_ms": None}]
)
def test_settings_that_may_not_be_read_are_assumed(
    tmp_path: Path, turn: Turn, settings: dict[str, Any]
) -> None:
    """A day is assumed, and said."""
    broker = compacted(**settings)
    with broker.connect(tmp_path) as context:
        context.table("t").to_polars()
    delete(broker)
    turn(2 * DAY)
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert keys(table) == ["new", "stays"]
        assert reasons(table) == [
            "the table was away for 2 d, longer than Kafka keeps deletes (1 d is assumed: the topic's settings can't be read)"
        ]


@pytest.mark.parametrize("kind", ["table", "window"])
def test_rows_that_the_log_no_longer_has_stay_where_compaction_is_assumed(
    tmp_path: Path, turn: Turn, kind: str
) -> None:
    """To read them again would lose them for certain; that deletes may have been missed is said each time."""
    broker = compacted(cleanup_policy=None, delete_retention_ms=None)
    with broker.connect(tmp_path) as context:
        opened(context, kind).to_polars()
    broker.delete_records("t", 1)
    for number in (3, 4):
        broker.produce("t", "new", {"n": number})
        turn(2 * DAY)
        with broker.connect(tmp_path) as context:
            rows = opened(context, kind)
            assert sorted(rows.to_polars()["n"]) == [1, 2, number]
            assert reasons(rows) == []
            (notice,) = rows.position().notices
            assert notice.startswith("partition 0: ")
            assert notice.endswith(
                "(1 d is assumed: the topic's settings can't be read), and the log no longer has the records of all rows:"
                " rows that were deleted meanwhile may be shown"
            )


def test_settings_that_nobody_tells_are_asked_for_again(
    tmp_path: Path, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is no answer: what is not compacted is not read again for want of one."""
    broker = compacted(cleanup_policy="delete")
    with broker.connect(tmp_path) as context:
        context.table("t").to_polars()
    broker.delete_records("t", 1)
    broker.produce("t", "new", {"n": 3})
    turn(2 * DAY)
    cleanup, faults = FakeBroker.cleanup, [BrokerUnreachableError(broker.bootstrap, "silent")] * 2

    def fragile(*arguments: Any) -> Cleanup:
        if faults:
            raise faults.pop()
        return cleanup(*arguments)

    monkeypatch.setattr(FakeBroker, "cleanup", fragile)
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert keys(table) == ["gone", "new", "stays"]
        assert reasons(table) == []
    assert not faults


def test_a_clock_that_ran_ahead_does_not_count(tmp_path: Path, turn: Turn) -> None:
    """A store that was at the end of the log in the future may have been away for any time."""
    broker = compacted()
    turn(10 * DAY)
    with broker.connect(tmp_path) as context:
        context.table("t").to_polars()
    turn(-8 * DAY)
    delete(broker)
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert keys(table) == ["new", "stays"]
        assert reasons(table) == [
            "the clock went back, and Kafka keeps deletes only for a time (delete.retention.ms is 1 d)"
        ]


def test_a_clock_that_is_put_right_while_a_table_is_open_costs_nothing(turn: Turn) -> None:
    """The monotonic clock tells that it was not away."""
    broker = compacted()
    with broker.connect(monitor_interval=1000) as context:
        table = context.table("t")
        assert keys(table) == ["gone", "stays"]
        turn(-DAY / 24)
        broker.produce("t", "gone", None)
        assert keys(table) == ["stays"]
    assert broker.assigned == [{0: 0}]


def test_a_table_that_slept_is_read_anew(turn: Turn) -> None:
    """A process that was stopped, or a machine that slept, reads on as if nothing had happened: the clock tells."""
    broker = compacted()
    rebuilt: list[TableRebuilt] = []
    with broker.connect() as context:
        table = context.table("t")
        table.events.subscribe(TableRebuilt, rebuilt.append)
        assert keys(table) == ["gone", "stays"]
        broker.hold()
        delete(broker)
        turn(3 * DAY)
        broker.release()
        assert keys(table) == ["new", "stays"]
    assert [event.partitions for event in rebuilt] == [
        {0: "the table was away for 3 d, longer than Kafka keeps deletes (delete.retention.ms is 1 d)"}
    ]


def test_a_topic_that_became_compacted_while_a_table_slept(turn: Turn) -> None:
    """The settings are read again before what comes after a long pause is applied."""
    broker = compacted(cleanup_policy="delete")
    with broker.connect() as context:
        table = context.table("t")
        assert keys(table) == ["gone", "stays"]
        broker._topics["t"].cleanup = Cleanup("compact", 86_400_000)
        broker.hold()
        delete(broker)
        turn(3 * DAY)
        broker.release()
        assert keys(table) == ["new", "stays"]


def test_a_topic_that_is_still_not_compacted_after_a_sleep_is_read_on(turn: Turn) -> None:
    """The topic is opened again, once, and nothing is read twice."""
    broker = compacted(cleanup_policy="delete")
    with broker.connect() as context:
        table = context.table("t")
        assert keys(table) == ["gone", "stays"]
        broker.hold()
        broker.produce("t", "new", {"n": 3})
        turn(3 * DAY)
        broker.release()
        assert keys(table) == ["gone", "new", "stays"]
        assert broker.assigned == [{0: 0}, {0: 2}]


def test_a_table_that_found_no_broker_for_long_is_read_anew(turn: Turn) -> None:
    """The attempts to go on don't count as having been there."""
    broker = compacted()
    with broker.connect() as context:
        table = context.table("t")
        assert keys(table) == ["gone", "stays"]
        broker.go_down(BrokerUnreachableError(broker.bootstrap, "gone"))
        delete(broker)
        wait_until(lambda: table.status().health.consecutive_failures, "an attempt")
        turn(3 * DAY)
        broker.come_back()
        assert keys(table) == ["new", "stays"]


def test_a_store_that_a_full_disk_put_back_was_away_since(
    tmp_path: Path, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end was looked up all the while, but the tombstone before it did not get to the disk, and then was gone."""
    broker = compacted()
    with broker.connect(tmp_path, store=StoreOptions(flush_interval=0.05)) as context:
        table = context.table("t")
        assert keys(table) == ["gone", "stays"]
        materializer = table._reader.binding.required()
        store: Any = materializer.store
        wait_until(lambda: store.positions()[0].present is not None, "the end")
        store.flush()
        flushed = tmp_path / "flushed"
        shutil.copytree(store._engine.path / "rocksdb", flushed)
        disk = FullDisk(store._engine, flushed)
        monkeypatch.setattr("ktframe.store.engine._check_disk", disk.check)
        broker.produce("t", "gone", None)
        wait_until(lambda: table.status().health.consecutive_failures, "the failure")
        assert materializer.view.positions() == {0: 3}
        turn(3 * DAY)
        seen = materializer.presence.now().wall
        wait_until(lambda: materializer.presence.known()[0] >= seen, "a look")
        broker.compact("t")
        disk.is_full = False
        wait_until(lambda: table.readiness().is_ready, "an attempt on the disk that has space")
        assert keys(table) == ["stays"]


@pytest.mark.parametrize("is_written", [True, False], ids=["after its first write", "at its first write"])
def test_a_disk_that_is_full_during_a_rebuild_brings_nothing_back(
    tmp_path: Path, turn: Turn, monkeypatch: pytest.MonkeyPatch, *, is_written: bool
) -> None:
    """The store from before comes back, and with it that deletes were missed: it is rebuilt all the same."""
    broker, disks = compacted(), list[FullDisk]()
    with broker.connect(tmp_path) as context:
        assert keys(context.table("t")) == ["gone", "stays"]
    delete(broker)
    turn(3 * DAY)
    rebuild = RocksDBStore.rebuild

    def on_a_full_disk(store: RocksDBStore, partitions: Mapping[int, Rebuild]) -> None:
        if not disks:
            shutil.copytree(store._engine.path / "rocksdb", tmp_path / "flushed")
            disks.append(FullDisk(store._engine, tmp_path / "flushed"))
            disks[0].refuses_writes = not is_written
            monkeypatch.setattr("ktframe.store.engine._check_disk", disks[0].check)
        rebuild(store, partitions)

    monkeypatch.setattr(RocksDBStore, "rebuild", on_a_full_disk)
    broker.hold()
    with broker.connect(tmp_path, store=StoreOptions(flush_interval=0.02)) as context:
        table = context.table("t")
        assert sorted(table.to_polars(fresh=False)["key"]) == ["gone", "stays"]
        wait_until(lambda: table._reader.binding.required().store.has_failed, "the refusal")
        broker.release()
        disks[0].is_full = False
        wait_until(lambda: table.readiness().is_ready, "an attempt on the disk that has space")
        assert keys(table) == ["new", "stays"]
        assert table.get("gone") is None
        (reason,) = reasons(table)
        assert reason.startswith("the table was away for 3 d, longer than Kafka keeps deletes")


def test_an_idle_table_stays_present(tmp_path: Path, turn: Turn) -> None:
    """It is at the end of the log at every look; that is written now and then, not only when it is closed."""
    broker = compacted()
    with broker.connect(tmp_path, store=StoreOptions(flush_interval=0.05)) as context:
        table = context.table("t")
        table.to_polars()
        store = table._reader.binding.required().store
        for _ in range(3):
            turn(0.5 * DAY)
            wanted = (store.positions()[0].present or 0) + 0.4 * DAY / timedelta(milliseconds=1)
            wait_until(lambda wanted=wanted: (store.positions()[0].present or 0) > wanted, "a write")
        assert (keys(table), reasons(table)) == (["gone", "stays"], [])
    broker.produce("t", "gone", None)
    turn(0.9 * DAY)
    with broker.connect(tmp_path) as context:
        assert keys(context.table("t")) == ["stays"]
    assert (broker.assigned[0], {at for each in broker.assigned[1:] for at in each.values()}) == ({0: 0}, {2})


def test_the_last_look_is_kept_when_a_table_is_closed(tmp_path: Path, turn: Turn) -> None:
    """Else a table that was open for days without a record would have been away as long."""
    broker = compacted()
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        table.to_polars()
        known = table._reader.binding.required().presence.known
        before = known()[0]
        turn(DAY / 24)
        wait_until(lambda: known()[0] > before + 3_000_000, "a look")
    broker.produce("t", "gone", None)
    turn(0.98 * DAY)
    with broker.connect(tmp_path) as context:
        assert keys(context.table("t")) == ["stays"]
    assert (broker.assigned[0], {at for each in broker.assigned[1:] for at in each.values()}) == ({0: 0}, {2})


# --- what it is told, and what it says --------------------------------------------------------------------------------


def test_an_end_counts_once_it_is_reached() -> None:
    """What was asked for before it was reached is the time as of which the rows are those of the log."""
    clock = ManualClock()
    presence = Presence(clock)
    presence.attach(Cleanup("compact", 60_000), {0: Position(5, present=7)}, keeps_history=False)
    presence.look(Moment(1000, 0.0), {0: 9}, {0: 5})
    presence.look(Moment(2000, 0.0), {0: 12}, {0: 8})
    assert presence.known() == {0: 7}
    presence.advance({0: 9})
    assert presence.known() == {0: 1000}
    presence.advance({0: 12})
    assert presence.known() == {0: 1000}
    presence.look(Moment(3000, 0.0), {0: 12}, {0: 12})
    assert presence.known() == {0: 3000}


def test_a_load_that_takes_longer_than_deletes_are_kept_is_said() -> None:
    """It is not begun again, which would take as long: rows that were deleted meanwhile may be shown."""
    clock = ManualClock()
    presence = Presence(clock)
    presence.attach(Cleanup("compact", 60_000), {}, keeps_history=False)
    presence.begin([0], presence.now())
    presence.look(presence.now(), {0: 20}, {0: 0})
    for position in range(10, 21, 2):
        clock.advance(14)
        assert not presence.has_missed({0: position})
        presence.advance({0: position})
    assert presence.notices == {
        0: "partition 0 took 1 min to load, longer than Kafka keeps deletes (1 min): rows that were deleted meanwhile may be shown"
    }


def test_a_pause_in_a_load_is_absence() -> None:
    """A load that was stopped for long goes on with rows that may have been deleted."""
    clock = ManualClock()
    presence = Presence(clock)
    presence.attach(Cleanup("compact", 60_000), {}, keeps_history=False)
    presence.begin([0], presence.now())
    presence.look(presence.now(), {0: 20}, {0: 0})
    clock.advance(50)
    assert not presence.has_missed({0: 10})
    clock.advance(61)
    assert presence.has_missed({0: 11})


def test_an_interrupted_load_goes_on() -> None:
    """A new session of a load that takes longer than deletes are kept does not begin it again, but after a pause does."""
    clock = ManualClock()
    presence, cleanup = Presence(clock), Cleanup("compact", 60_000)
    presence.attach(cleanup, {}, keeps_history=False)
    presence.begin([0], presence.now())
    began = presence.now().wall
    for position in range(10, 20):
        clock.advance(40)
        assert not presence.has_missed({0: position})
        presence.attach(cleanup, {0: Position(position, present=began)}, keeps_history=False)
        assert presence.missed({0: position}, {0: 20}) == {}
        presence.begin([], presence.now())
    clock.advance(40)
    presence.attach(cleanup, {0: Position(19, present=began)}, keeps_history=False)
    assert presence.missed({0: 19}, {0: 20}) == {}
    clock.advance(21)
    presence.attach(cleanup, {0: Position(19, present=began)}, keeps_history=False)
    reason = "the table was away for 1 min, longer than Kafka keeps deletes (delete.retention.ms is 1 min)"
    assert presence.missed({0: 19}, {0: 20}) == {0: reason}
    presence.begin([0], presence.now())
    assert not presence.has_missed({0: 5})


def test_a_load_that_loses_its_broker_again_and_again_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on where it was, however short the time is for which deletes are kept."""
    broker = compacted(delete_retention_ms=0)
    for number in range(30):
        broker.produce("t", "stays", {"n": number})
    monkeypatch.setattr("ktframe.testing.broker.read_log", partial(read_log, most=5))
    available, calls = FakeBroker._available, count(1)

    def fragile(*arguments: Any) -> Any:
        if next(calls) % 3 == 0:
            raise BrokerUnreachableError(broker.bootstrap, "gone")
        return available(*arguments)

    monkeypatch.setattr(FakeBroker, "_available", fragile)
    with broker.connect() as context:
        table = context.table("t", schema={"n": pl.Int64})
        table.wait_until_ready(20, progress=False)
        assert keys(table) == ["gone", "stays"]
        assert [at[0] for at in broker.assigned].count(0) == 1


def test_a_fresh_read_is_a_look(turn: Turn) -> None:
    """Who is at the end at each read is there, however rarely the lag is measured."""
    broker = compacted(delete_retention_ms=0)
    with broker.connect(monitor_interval=1000) as context:
        table = context.table("t")
        for _ in range(3):
            assert keys(table) == ["gone", "stays"]
            turn(timedelta(seconds=10))
        broker.produce("t", "new", {"n": 3})
        assert keys(table) == ["gone", "new", "stays"]
    assert broker.assigned == [{0: 0}]


def test_a_store_that_never_knew_is_read_anew() -> None:
    """A position without a time may be of any age."""
    presence = Presence(ManualClock())
    presence.attach(Cleanup("compact", 60_000), {0: Position(5), 1: Position(5)}, keeps_history=False)
    assert list(presence.missed({0: 5, 1: 5}, {0: 9, 1: 5})) == [0]


def test_writes_of_presence_alone_are_rare() -> None:
    """A tenth of the time for which deletes are kept, and no more often than once a minute; never without compaction."""
    clock = ManualClock()
    presence = Presence(clock)
    for policy, kept, due_after in [("compact", 86_400_000, 8_641), ("compact", 0, 61), ("delete", 0, None)]:
        began = presence.now()
        presence.attach(Cleanup(policy, kept), {}, keeps_history=False)
        presence.begin([0], began)
        stored = {0: Position(1, present=began.wall)}
        assert not presence.is_due(stored)
        clock.advance((due_after or 1e6) - 2)
        presence.look(presence.now(), {0: 1}, {0: 1})
        assert not presence.is_due(stored)
        clock.advance(2)
        presence.look(presence.now(), {0: 1}, {0: 1})
        assert presence.is_due(stored) is (due_after is not None)


def test_a_time_that_a_fast_clock_stored_is_written_over() -> None:
    """Else a table that was killed later would count as present until that time."""
    clock = ManualClock()
    presence = Presence(clock)
    presence.attach(Cleanup("compact", 86_400_000), {}, keeps_history=False)
    presence.begin([0], presence.now())
    presence.look(presence.now(), {0: 1}, {0: 1})
    ahead = presence.now().wall + 10 * 86_400_000
    assert presence.is_due({0: Position(1, present=ahead)})
    presence.leave(0, "its rows stay")
    assert not presence.is_due({0: Position(1, present=ahead)})
