"""A table that is only watched comes back by itself after an outage: no cell is run, nothing is read."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from threading import Event
from typing import Any

import pytest
from support.kafka_broker import KafkaBroker
from support.waiting import wait_until

from ktframe.config.settings import RetryPolicy
from ktframe.events import LagUpdated, ReadyChanged, Reason, RowsChanged

Topic = Callable[..., str]
Connect = Callable[..., Any]
OUTAGE_SECONDS = 10.0
SOON = 30.0
"""Within so many seconds it is live again; it takes less than five where the machine has nothing else to do."""


class Watch:
    """Watches a table, by its events and by what it shows without waiting."""

    def __init__(self, table: Any) -> None:
        self.table = table
        self.rows: list[RowsChanged] = []
        self.ready: list[tuple[bool, Reason]] = []
        self.lags: list[int | None] = []
        table.on_change(self.rows.append)
        table.events.subscribe(ReadyChanged, lambda event: self.ready.append((event.is_ready, event.reason)))
        table.events.subscribe(LagUpdated, lambda event: self.lags.append(event.total))
        self.wait_for({"a"})
        wait_until(lambda: table.readiness().is_ready, "the table to be ready")

    def wait_for(self, keys: set[str], timeout: float = 60.0) -> None:
        """Return when these rows are shown."""
        shown = lambda: set(self.table.to_polars(fresh=False)["key"]) == keys  # noqa: E731
        wait_until(shown, f"the rows {keys}", timeout=timeout)

    def assert_lost_and_found(self) -> None:
        """Check that it said once that nothing is known, and once that all is there."""
        wait_until(lambda: self.ready[-1][0], "the table to be ready again")
        wait_until(lambda: self.lags[-1] == 0, "the lag to be known again")
        assert self.ready[-2:] == [(False, Reason.BROKER_UNREACHABLE), (True, Reason.READY)]
        # Not how often: on a computer that is busy it may have been unknown before, too.
        assert None in self.lags
        assert (None, None) not in pairwise(self.lags)


@pytest.fixture
def running(broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Return the broker; it runs at the end, whatever the test did."""
    yield broker
    if broker.pid is None:
        broker.start()
    broker.resume()


def let_pass() -> None:
    """Let the outage take its time."""
    Event().wait(OUTAGE_SECONDS)


def watched(connect: Connect, name: str, bootstrap: str) -> Watch:
    """Return a watched table, with the settings that users have."""
    return Watch(connect(bootstrap, retry=RetryPolicy(), monitor_interval=5.0).table(name))


def test_a_broker_that_was_stopped(running: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """Its rows arrive soon after the broker is back on its port."""
    name = running.create_topic(topic())
    running.produce(name, [(b"a", b'{"n":1}')])
    watch = watched(connect, name, running.bootstrap)

    running.stop()
    wait_until(lambda: not watch.table.readiness().is_ready, "the outage to be noticed")
    assert watch.table.readiness().total_lag is None
    let_pass()
    running.start()
    running.produce(name, [(b"b", b'{"n":2}')])

    watch.wait_for({"a", "b"}, SOON)
    watch.assert_lost_and_found()
    assert len(watch.rows) == 2


def test_a_broker_that_was_frozen(running: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """Its connections stay open; nothing says "ready" after three intervals of the monitor, and later it does again."""
    name = running.create_topic(topic())
    running.produce(name, [(b"a", b'{"n":1}')])
    watch = watched(connect, name, running.bootstrap)

    running.pause()
    wait_until(lambda: not watch.table.readiness().is_ready, "the outage to be noticed", timeout=20)
    let_pass()
    assert watch.ready[-1] == (False, Reason.BROKER_UNREACHABLE)
    running.resume()
    running.produce(name, [(b"b", b'{"n":2}')])

    watch.wait_for({"a", "b"}, SOON)
    watch.assert_lost_and_found()


def test_a_network_that_lost_everything(running: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """The old connections are dead and no end knows: librdkafka would wait for an answer for a minute."""
    name = running.create_topic(topic())
    running.produce(name, [(b"a", b'{"n":1}')])
    with running.proxy() as proxy:
        watch = watched(connect, name, running.proxied_bootstrap)

        proxy.lose()
        wait_until(lambda: not watch.table.readiness().is_ready, "the outage to be noticed", timeout=20)
        running.produce(name, [(b"b", b'{"n":2}')])
        let_pass()
        assert len(watch.rows) == 1
        proxy.find()

        watch.wait_for({"a", "b"}, SOON)
        watch.assert_lost_and_found()
        watch.table.close()


def test_a_network_that_lost_everything_for_a_moment(
    running: KafkaBroker, topic: Topic, connect: Connect
) -> None:
    """No request failed, so nobody knows of an outage; but there is more to read, and the reader has none of it."""
    name = running.create_topic(topic())
    running.produce(name, [(b"a", b'{"n":1}')])
    with running.proxy() as proxy:
        watch = watched(connect, name, running.proxied_bootstrap)

        proxy.lose()
        proxy.find()
        running.produce(name, [(b"b", b'{"n":2}')])

        watch.wait_for({"a", "b"}, SOON)
        wait_until(lambda: watch.table.readiness().is_ready, "the table to be ready")
        watch.table.close()
