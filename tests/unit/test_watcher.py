"""What is done while nobody reads: checks that don't wait for each other, sleep that is noticed, connections made anew."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from support.waiting import wait_until

import ktframe
from ktframe.config.settings import RetryPolicy, RuntimeSettings
from ktframe.errors import BrokerUnreachableError
from ktframe.events import BindingState, LagUpdated, ReadyChanged, Reason, RowsChanged
from ktframe.sync.binding import TopicBinding
from ktframe.sync.watcher import Watcher
from ktframe.testing import FakeBroker, FakeReader, ManualClock


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with a row in each of two topics."""
    broker = FakeBroker()
    for topic in ("t", "other"):
        broker.produce(topic, "a", {"n": 1})
    return broker


def unreachable(broker: FakeBroker) -> BrokerUnreachableError:
    """Return the error of a request that no broker has answered."""
    return BrokerUnreachableError(broker.bootstrap, "gone")


def binding_of(table: ktframe.KTable) -> TopicBinding:
    """Return the binding of a table."""
    return table._reader.binding


def test_a_check_that_hangs_keeps_no_other_table_from_its_own(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One table has no news and says so, by an event too, while its request hangs; the other one stays ready."""
    ask, end = broker.topic, threading.Event()

    def hang(name: str) -> Any:
        if name == "t":
            end.wait(60)
        return ask(name)

    with broker.connect() as kt:
        table, other = kt.table("t"), kt.table("other")
        assert (len(table), len(other)) == (1, 1)
        told: list[Any] = []
        table.events.subscribe(ReadyChanged, told.append)
        lost: list[ReadyChanged] = []
        other.events.subscribe(ReadyChanged, lost.append)
        monkeypatch.setattr(broker, "topic", hang)
        try:
            wait_until(lambda: told, "the table to say that it is not ready")
            wait_until(lambda: table.readiness().state is BindingState.LAGGING, "its state")
            assert (told[0].reason, told[0].total_lag) == (Reason.BROKER_UNREACHABLE, None)
            assert table.readiness().total_lag is None
            measured: list[LagUpdated] = []
            other.events.subscribe(LagUpdated, measured.append)
            wait_until(lambda: len(measured) > 3, "checks of the other table")
            assert (other.readiness().is_ready, lost) == (True, [])
        finally:
            end.set()


def test_an_outage_seen_by_checks_alone(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of several brokers is silent: the lag of the whole table is unknown, told once, until it is there again."""
    ask, silent = broker.end_offsets, [False]

    def end_offsets(topic: str, partitions: Any, **options: Any) -> dict[int, int]:
        if silent[0] and 1 in partitions:
            raise BrokerUnreachableError(
                broker.bootstrap, "the broker that leads partition 1 is silent"
            ) from None
        return ask(topic, partitions, **options)

    monkeypatch.setattr(broker, "end_offsets", end_offsets)
    broker.add_partitions("t", 1)
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        wait_until(lambda: table.readiness().is_ready, "the table to be ready")
        told: list[ReadyChanged] = []
        table.events.subscribe(ReadyChanged, told.append)
        lags: list[LagUpdated] = []
        table.events.subscribe(LagUpdated, lags.append)
        silent[0] = True
        wait_until(lambda: table.readiness().state is BindingState.LAGGING, "the table to say so")
        found = table.readiness()
        assert (found.total_lag, found.reason) == (None, Reason.BROKER_UNREACHABLE)
        assert [each.lag for each in found.partitions] == [None, None]
        assert table.history.frame()["lag"].null_count() == 0
        silent[0] = False
        wait_until(lambda: table.readiness().is_ready, "the table to be ready again")
        wait_until(lambda: len(told) == 2, "the events")
        assert [event.is_ready for event in told] == [False, True]
        assert [event.total for event in lags].count(None) == 1


def test_no_partition_is_idle_while_kafka_is_silent(broker: FakeBroker) -> None:
    """Windows are not final because no broker could say that there is more."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        wait_until(lambda: table._reader.idle_partitions(0.0) == (0,), "the partition to be idle")
        broker.go_down(unreachable(broker))
        wait_until(lambda: table._reader.idle_partitions(0.0) == (), "that to be unknown")
        broker.come_back()
        wait_until(lambda: table._reader.idle_partitions(0.0) == (0,), "the partition to be idle again")


def test_a_table_that_backs_off_comes_back_when_kafka_answers(broker: FakeBroker) -> None:
    """It does not wait for the end of its pause, however long that is; nobody reads."""
    retry = RetryPolicy(initial_delay=600, max_delay=600, jitter=0)
    with broker.connect(retry=retry) as kt:
        table = kt.table("t")
        assert len(table) == 1
        changes: list[RowsChanged] = []
        table.on_change(changes.append)
        broker.go_down(unreachable(broker))
        wait_until(lambda: table.readiness().state is BindingState.BACKING_OFF, "the loss to be noticed")
        assert table.readiness().total_lag is None
        broker.produce("t", "b", {"n": 2})
        broker.come_back()
        wait_until(lambda: changes, "the new row")
        assert table.to_polars(fresh=False).height == 2


class _DeafReader(FakeReader):
    """Hears nothing any more once ``is_deaf`` was set while it was open: its connection is dead and does not know."""

    is_deaf = False

    def __init__(self, broker: FakeBroker, topic: str) -> None:
        super().__init__(broker, topic)
        self._is_dead = False

    def poll(self) -> Any:
        batch = super().poll()
        self._is_dead |= type(self).is_deaf
        return None if self._is_dead else batch


def test_a_dead_connection_is_made_anew(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that has heard nothing since Kafka fell silent is replaced when it answers again; nobody reads."""
    monkeypatch.setattr("ktframe.testing.broker.FakeReader", _DeafReader)
    monkeypatch.setattr(_DeafReader, "is_deaf", False)
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        opened = len(broker.assigned)
        monkeypatch.setattr(_DeafReader, "is_deaf", True)
        monkeypatch.setattr(broker, "end_offsets", _failing(broker))
        wait_until(lambda: not table.readiness().is_ready, "the outage to be noticed")
        monkeypatch.undo()
        _DeafReader.is_deaf = False
        broker.produce("t", "b", {"n": 2})
        wait_until(lambda: table.to_polars(fresh=False).height == 2, "the new row")
        wait_until(lambda: table.readiness().is_ready, "the table to be ready")
        assert len(broker.assigned) == opened + 1


def test_a_dead_connection_is_made_anew_without_an_outage(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader that has nothing for some seconds, though there is more to read, is replaced; less and less often."""
    monkeypatch.setattr("ktframe.testing.broker.FakeReader", _DeafReader)
    monkeypatch.setattr(_DeafReader, "is_deaf", False)
    monkeypatch.setattr("ktframe.sync.contact._PATIENCE_SECONDS", 0.2)
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        opened = len(broker.assigned)
        monkeypatch.setattr(_DeafReader, "is_deaf", True)
        broker.produce("t", "b", {"n": 2})
        wait_until(lambda: len(broker.assigned) == opened + 2, "two new readers")
        assert binding_of(table).contact._patience == 4 * 0.2
        monkeypatch.setattr(_DeafReader, "is_deaf", False)
        wait_until(lambda: table.to_polars(fresh=False).height == 2, "the new row")
        wait_until(lambda: binding_of(table).contact._patience == 0.2, "its patience to be as before")


def _failing(broker: FakeBroker) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise unreachable(broker)

    return fail


# --- sleep ------------------------------------------------------------------------------------------------------------


def test_sleep_is_noticed(broker: FakeBroker) -> None:
    """After it nothing that was known is believed, everything is checked at once, and a pause ends."""
    clock = ManualClock()
    with broker.connect(monitor_interval=600.0) as kt:
        table, other = kt.table("t"), kt.table("other")
        assert (len(table), len(other)) == (1, 1)
        wait_until(lambda: table.readiness().is_ready, "the table to be ready")
        told: list[ReadyChanged] = []
        table.events.subscribe(ReadyChanged, told.append)
        lags: list[LagUpdated] = []
        for each in (table, other):
            each.events.subscribe(LagUpdated, lags.append)
        watcher = Watcher(
            RuntimeSettings(600.0, 5.0), lambda: [binding_of(table), binding_of(other)], clock=clock
        )
        clock.advance(1)
        watcher.look()
        assert (lags, watcher._checks) == ([], {})
        clock.advance(1)
        clock.sleep(60)
        watcher.look()
        watcher.stop(60)
        wait_until(lambda: len(lags) == 4, "both to be checked")
        assert [event.total for event in lags].count(None) == 2
        assert [event.is_ready for event in told] == [False, True]


def test_a_process_that_was_stopped_checks_at_once(broker: FakeBroker) -> None:
    """Where both clocks went on while nothing ran, checks come at once, and only old news is disbelieved."""
    clock = ManualClock()
    with broker.connect(monitor_interval=600.0) as kt:
        table = kt.table("t")
        assert len(table) == 1
        lags: list[LagUpdated] = []
        table.events.subscribe(LagUpdated, lags.append)
        watcher = Watcher(RuntimeSettings(600.0, 5.0), lambda: [binding_of(table)], clock=clock)
        clock.advance(30)
        watcher.look()
        watcher.stop(60)
        assert [event.total for event in lags] == [0]


def test_a_refused_login_is_not_tried_sooner(broker: FakeBroker) -> None:
    """Without an answer a table is checked every second; with a login that is refused no more often than before."""
    clock = ManualClock()
    with broker.connect(monitor_interval=600.0) as kt:
        table = kt.table("t")
        assert len(table) == 1
        binding = binding_of(table)
        checks: list[LagUpdated] = []
        table.events.subscribe(LagUpdated, checks.append)
        watcher = Watcher(RuntimeSettings(600.0, 5.0), lambda: [binding], clock=clock)
        watcher.look()
        for reason, expected in ((Reason.AUTHENTICATION, 0), (Reason.BROKER_UNREACHABLE, 1)):
            binding.monitor.lose_sight((reason, "no", None))
            checks.clear()
            for _ in range(3):
                clock.advance(1)
                watcher.look()
            watcher.stop(60)
            assert len([event for event in checks if event.total is not None]) == expected


def assert_is_checked(table: ktframe.KTable) -> None:
    """Read a table, and wait until its lag is measured."""
    lags: list[LagUpdated] = []
    table.events.subscribe(LagUpdated, lags.append)
    assert len(table) == 1
    wait_until(lambda: lags, "a check")


def test_the_watcher_outlives_an_error(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in one look is logged, and the next look is as good as any."""
    look, faults = Watcher.look, [MemoryError("no memory for a moment")]

    def fragile(watcher: Watcher, **given: Any) -> None:
        if faults:
            raise faults.pop()
        look(watcher, **given)

    monkeypatch.setattr(Watcher, "look", fragile)
    with broker.connect() as kt:
        assert_is_checked(kt.table("t"))
        assert faults == []


def test_no_thread_to_be_had_is_tried_again(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that can't be started leaves the watcher alive, and the next look starts it."""
    start, faults = threading.Thread.start, [RuntimeError("can't start new thread")]

    def fragile(thread: threading.Thread) -> None:
        if thread.name.startswith("ktframe-check") and faults:
            raise faults.pop()
        start(thread)

    with broker.connect() as kt:
        monkeypatch.setattr(threading.Thread, "start", fragile)
        assert_is_checked(kt.table("t"))
        assert faults == []


def test_checks_that_hang_are_waited_for_all_together(broker: FakeBroker) -> None:
    """Closing takes one time-out, not one for each."""
    watcher, end = Watcher(RuntimeSettings(600.0, 5.0), list), threading.Event()
    hanging = [threading.Thread(target=end.wait, args=(60,)) for _ in range(50)]
    watcher._checks = {object(): thread for thread in hanging}  # type: ignore[misc]
    for thread in hanging:
        thread.start()
    stopping = threading.Thread(target=watcher.stop, args=(1.0,))
    stopping.start()
    stopping.join(25)
    is_over = not stopping.is_alive()
    end.set()
    assert is_over
