"""Ten minutes without Kafka, in a second: the pauses between attempts are noted instead of waited for."""

from __future__ import annotations

import logging
from threading import Event

import pytest
from support.waiting import wait_until

import ktframe
from ktframe.config.settings import RetryPolicy, RuntimeSettings
from ktframe.errors import AuthenticationError, BrokerUnreachableError
from ktframe.events import BindingState, RowsChanged
from ktframe.sync.binding import TopicBinding
from ktframe.sync.watcher import Watcher
from ktframe.testing import FakeBroker, ManualClock

TEN_MINUTES = 600.0
SOON_SECONDS = 5.0
USUAL = RetryPolicy()
"""What users have."""


class SkippedPauses:
    """Stands for the Event that ends a pause: of ten minutes no pause is waited for, those after them are."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.are_over = Event()
        self._event = Event()

    def wait(self, seconds: float) -> None:
        """Note the pause."""
        if sum(self.pauses) + seconds > TEN_MINUTES:
            self.are_over.set()
            self._event.wait(seconds)
        else:
            self.pauses.append(seconds)

    def set(self) -> None:
        """End the pause."""
        self._event.set()

    def clear(self) -> None:
        """Let the next pause be one."""
        self._event.clear()


def binding_of(table: ktframe.KTable) -> TopicBinding:
    """Return what follows the topic of a table."""
    return table._reader.binding


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with a row."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    return broker


def test_ten_minutes_without_a_broker(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    """Attempts go on with pauses that are bounded and differ; then a table that is only watched comes back by itself."""
    rows: list[RowsChanged] = []
    with broker.connect(retry=USUAL, monitor_interval=5.0) as kt:
        table = kt.table("t")
        table.wait_until_ready()
        table.on_change(rows.append)
        skipped = binding_of(table).retry._wake = SkippedPauses()  # type: ignore[assignment]
        with caplog.at_level(logging.WARNING, "ktframe"):
            broker.go_down(BrokerUnreachableError(broker.bootstrap, "nobody listens"))
            assert skipped.are_over.wait(60)
        assert not table.readiness().is_ready
        assert binding_of(table).state in (BindingState.BACKING_OFF, BindingState.RESTORING)
        assert len([each for each in caplog.records if "backing_off" in each.getMessage()]) == 1

        long = skipped.pauses[3:]
        assert all(USUAL.max_delay <= pause <= USUAL.max_delay + USUAL.jitter for pause in long)
        assert len(set(long)) > len(long) / 2
        assert TEN_MINUTES / SOON_SECONDS < len(long) < TEN_MINUTES / USUAL.max_delay
        assert USUAL.max_delay + USUAL.jitter < SOON_SECONDS  # the longest that nothing is tried

        broker.come_back()
        broker.produce("t", "b", {"n": 2})
        wait_until(lambda: bool(rows), "the callback to be called", timeout=30)
        wait_until(lambda: table.readiness().is_ready, "the table to be ready", timeout=30)
        assert table.to_polars(fresh=False).height == 2


def test_ten_minutes_with_a_login_that_is_refused(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker hears nothing more of it until somebody reads, whatever the panels and the monitor would like to know."""
    clock, requests = ManualClock(), list[float]()
    require_up = broker._require_up

    def count() -> None:
        requests.append(clock.monotonic())
        require_up()

    with broker.connect(retry=USUAL, monitor_interval=5.0) as kt:
        table = kt.table("t")
        table.wait_until_ready()
        binding = binding_of(table)
        kt._bindings._watcher.stop(60)
        watcher = Watcher(RuntimeSettings(5.0, 5.0), lambda: [binding], clock=clock)
        refusal = AuthenticationError(broker.bootstrap, "wrong password", mechanism="PLAIN")
        broker.go_down(refusal)
        wait_until(lambda: binding.state is BindingState.FAILED, "the refusal")
        monkeypatch.setattr(broker, "_require_up", count)
        for _ in range(int(TEN_MINUTES)):
            clock.advance(1.0)
            watcher.look()
            table.readiness()
            repr(table)
        watcher.stop(60)
        assert requests == []
        with pytest.raises(AuthenticationError):
            table.to_polars()
        assert 1 <= len(requests) <= 3
        broker.come_back()
        assert table.to_polars().height == 1
