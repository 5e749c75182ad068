"""What a table says of itself and of its broker is so."""

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
from support.kafka_broker import KafkaBroker
from support.waiting import wait_until

from ktframe.config.settings import Settings, StoreOptions
from ktframe.context.context import Context
from ktframe.errors import BrokerUnreachableError, NotReadyError
from ktframe.events import ReadyChanged, Reason
from ktframe.testing import FakeBroker, FakeReader

Topic = Callable[..., str]
Connect = Callable[..., Context]


@pytest.mark.kafka
@pytest.mark.parametrize("reads", [True, False], ids=["read", "watched"])
def test_a_table_of_a_frozen_broker_is_not_ready(
    broker: KafkaBroker, topic: Topic, connect: Connect, *, reads: bool
) -> None:
    """When reads or checks have found no broker, a table does not say any more that it is ready; later it does again."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", b'{"n":1}')])
    # A read learns of it before the monitor does; without one it is the age of what the monitor knows.
    interval, timeout = (60.0, 1.0) if reads else (1.0, 30.0)
    table = connect("state", monitor_interval=interval, request_timeout=timeout).table(name)
    table.to_polars()
    wait_until(lambda: table.readiness().is_ready, "the table to be ready")
    told: list[ReadyChanged] = []
    table.events.subscribe(ReadyChanged, told.append)

    broker.pause()
    try:
        if reads:
            with pytest.raises(BrokerUnreachableError):
                table.to_polars()
        wait_until(lambda: not table.readiness().is_ready, "the table to say so", timeout=15)
        found = table.readiness()
        assert (found.reason, found.condition) == (Reason.BROKER_UNREACHABLE, "recovering")
        assert (found.total_lag, found.eta, table.position().lag) == (None, None, None)
        assert "Kafka has not answered since" in str(table.status())
        assert not reads or "no answer from Kafka" in (table.status().health.last_error or "")
        assert ", recovering, 1 row" in repr(table)
        assert "state=lagging" in repr(table.position())
        assert table.to_polars(fresh=False).height == 1
    finally:
        broker.resume()
    wait_until(lambda: table.readiness().is_ready, "the table to be ready again by itself")
    wait_until(lambda: len(told) == 2, "the events")
    assert [(event.is_ready, event.reason) for event in told] == [
        (False, Reason.BROKER_UNREACHABLE),
        (True, Reason.READY),
    ]
    assert (table.readiness().total_lag, table.readiness().condition) == (0, "ready")


def test_a_read_says_what_it_held_back() -> None:
    """Records behind the start of an open transaction are not in the frame, and the position counts them."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    with broker.connect(monitor_interval=5.0) as context:
        table = context.table("t")
        table.to_polars()
        wait_until(lambda: table.readiness().is_ready, "the table to be ready")
        broker.begin_transaction("t")
        broker.produce("t", "of the transaction", {"n": 2})
        broker.produce("t", "acknowledged", {"n": 3})

        assert table.to_polars().height == 1
        assert table.position().held_back == 2
        notice = "2 offsets follow the start of an open transaction: not waited for"
        assert notice in table.position().notices
        assert notice in str(table.status())


class _StuckReader(FakeReader):
    """Reads every partition but number 1."""

    def assign(self, positions: dict[int, int]) -> None:
        """Leave partition 1 out."""
        super().assign({partition: offset for partition, offset in positions.items() if partition != 1})


@pytest.mark.slow
def test_a_stuck_partition_stalls_a_read(tmp_path: Path) -> None:
    """A read raises when one partition makes no progress for ``stall_timeout``, however much the others make."""
    broker = FakeBroker()
    broker.create_topic("t", 2)
    broker.produce("t", "a", {"n": 1}, partition=0)
    broker.produce("t", "b", {"n": 1}, partition=1)
    settings = Settings(
        bootstrap=broker.bootstrap,
        stall_timeout=0.5,
        state_dir=tmp_path,
        store=StoreOptions(backend="memory"),
    )
    stop = Event()
    stalled = Event()

    def feed() -> None:
        while not stop.wait(0.1):
            broker.produce("t", "a", {"n": 2}, partition=0)

    with Context(settings, cluster=broker, open_reader=lambda name, _: _StuckReader(broker, name)) as context:
        table = context.table("t")

        def read() -> None:
            try:
                table.to_polars()
            except NotReadyError:
                stalled.set()

        threads = [Thread(target=feed), Thread(target=read)]
        for thread in threads:
            thread.start()
        try:
            assert stalled.wait(60)
        finally:
            stop.set()
            for thread in threads:
                thread.join(10)
        assert stalled.is_set()


def test_items_are_as_of_their_call() -> None:
    """What is produced after ``items()`` was called is not among its rows."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    with broker.connect() as context:
        rows = context.table("t").items()
        broker.produce("t", "b", {"n": 2})
        assert [key for key, _ in rows] == ["a"]
