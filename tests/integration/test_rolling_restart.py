"""A table over a cluster of three brokers: they are restarted one by one, and two of them are away for a while."""

from collections.abc import Callable
from typing import Any

import pytest
from support.kafka_cluster import ThreeBrokers
from support.waiting import wait_until

from ktframe.errors import BrokerError, NotReadyError
from ktframe.events import Reason

Topic = Callable[..., str]
Connect = Callable[..., Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_rolling_restart_and_a_loss_of_two_brokers(topic: Topic, connect: Connect) -> None:
    """Rows arrive without a read, and what is said of the table follows what can be known."""
    with ThreeBrokers() as cluster:
        name = cluster.create_replicated_topic(topic())
        cluster.produce(name, [(b"k0", b'{"n":0}', 0), (b"k1", b'{"n":1}', 1), (b"k2", b'{"n":2}', 2)])
        context = connect(cluster.bootstrap, monitor_interval=1.0, request_timeout=5.0)
        table = context.table(name)
        assert table.to_polars().height == 3
        seen: list[Any] = []
        table.on_change(seen.append)

        def shows(count: int) -> bool:
            return bool(table.to_polars(fresh=False).height == count)

        for number, broker in enumerate(cluster.brokers, 3):
            broker.stop()
            cluster.produce(name, [(b"k%d" % number, b'{"n":%d}' % number, number % 3)])
            wait_until(lambda number=number: shows(number + 1), "the row that came without one broker")
            broker.start()
            cluster.wait_until_replicated(name)
        wait_until(lambda: table.readiness().is_ready, "the table to be ready after the restarts")
        assert len(seen) == 3
        assert table.to_polars()["n"].sort().to_list() == list(range(6))

        for broker in cluster.brokers[:2]:
            broker.kill()
        wait_until(lambda: not table.readiness().is_ready, "the loss to be noticed")
        readiness = table.readiness()
        assert (readiness.total_lag, readiness.reason) == (None, Reason.BROKER_UNREACHABLE)
        with pytest.raises((BrokerError, NotReadyError)):
            table.to_polars()
        assert shows(6)
        for broker in cluster.brokers[:2]:
            broker.start()
        cluster.wait_until_replicated(name)
        wait_until(lambda: table.readiness().is_ready, "the table to be ready by itself")
        cluster.produce(name, [(b"k6", b'{"n":6}', 0)])
        wait_until(lambda: shows(7), "the row that came after the loss")
        assert table.to_polars()["n"].sort().to_list() == list(range(7))
        context.close()
