"""Known faults of readiness: what a table says of itself and of its broker is not so."""

from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest
from support.kafka_broker import KafkaBroker
from support.known_faults import known_fault, the_right_answer
from support.waiting import wait_until

from ktframe.config.settings import Settings, StoreOptions
from ktframe.context.context import Context
from ktframe.errors import BrokerUnreachableError, NotReadyError
from ktframe.testing import FakeBroker, FakeReader

Topic = Callable[..., str]
Connect = Callable[..., Context]


@pytest.mark.kafka
@known_fault("readiness: a table whose broker is frozen says that it is ready and nothing behind")
def test_a_table_of_a_frozen_broker_is_not_ready(broker: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """When reads and checks have found no broker, a table does not say any more that it is ready."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", b'{"n":1}')])
    table = connect("state", monitor_interval=0.2, request_timeout=1.0).table(name)
    table.to_polars()
    wait_until(lambda: table.readiness().is_ready, "the table to be ready")

    broker.pause()
    try:
        with pytest.raises(BrokerUnreachableError):
            table.to_polars()
        with the_right_answer():
            wait_until(lambda: not table.readiness().is_ready, "the table to say so", timeout=5)
    finally:
        broker.resume()


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
