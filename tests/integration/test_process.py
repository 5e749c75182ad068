"""What a process holds while it uses ktframe, and what is left when it does no longer."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.kafka_topics import KafkaTopics
from support.oracle import rows_by
from support.waiting import wait_until

import ktframe
from ktframe.events import LagUpdated

Topic = Callable[..., str]
Connect = Callable[..., Any]


def value(number: int) -> bytes:
    """Return a JSON value."""
    return b'{"n":%d}' % number


def connections(kafka: KafkaTopics) -> int:
    """Return how many connections this process has to the broker."""
    port = int(kafka.bootstrap.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED")


@pytest.fixture
def run_cells(kafka: KafkaTopics, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Return a function that runs the cells of a notebook once; their connection is closed at the end."""
    made: list[ktframe.Context] = []

    def run(name: str) -> Any:
        made.append(ktframe.connect(kafka.bootstrap, state_dir=tmp_path / "state"))
        orders = ktframe.table(name, key_name="id")
        return made[-1], orders, orders.to_polars()

    yield run
    for context in made:
        context.close()


def test_table_and_connect_are_idempotent(
    kafka: KafkaTopics, topic: Topic, run_cells: Callable[[str], Any]
) -> None:
    """Twenty runs of the same cells leave one connection, one table, one consumer, and no more threads than one run."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(1))])
    process = psutil.Process()
    context, table, frame = run_cells(name)
    threads = process.num_threads()

    for _ in range(20):
        again = run_cells(name)
        assert again[0] is context
        assert again[1] is table
        assert again[2].equals(frame)

    assert process.num_threads() <= threads
    # One admin client and one consumer, each with a connection to the bootstrap address and, once needed, to the broker.
    # Those of readers that were opened anew, and of earlier tests, end in a moment.
    wait_until(lambda: connections(kafka) <= 4, "no more connections than that")
    assert [t.name for t in threading.enumerate() if t.name == f"ktframe-{name}"] == [f"ktframe-{name}"]


def test_nothing_is_left_after_close(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """``close`` ends every thread and every connection, and releases the store, though the objects live on."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(1))])
    warm_up = connect()  # libraries start threads of their own at their first use
    warm_up.table(name).to_polars()
    warm_up.close()
    process = psutil.Process()
    threads, sockets = process.num_threads(), connections(kafka)

    context = connect()
    table = context.table(name)
    assert table.to_polars().height == 1
    assert (process.num_threads() > threads, connections(kafka) > sockets) == (True, True)
    context.close()

    assert process.num_threads() <= threads
    wait_until(lambda: connections(kafka) <= sockets, "the connections to end")
    assert "closed" in repr(context)
    assert "closed" in repr(table)
    with connect() as again:  # the store is free, too
        assert again.table(name).to_polars().height == 1


def test_closed_table_releases_its_store(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A table that was closed refuses reads by name, and may be opened again beside its old object."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))])
    context = connect()
    table = context.table(name)
    table.to_polars()

    table.close()

    with pytest.raises(ktframe.ContextClosedError, match=name):
        table.to_polars()
    again = context.table(name)
    assert again is not table
    assert rows_by(again.to_polars()) == {"a": {"n": 1}}


def test_close_beneath_readers(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Reads that are under way while their connection is closed end at once, and say why."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))])

    def read_on(table: Any, reading: threading.Event) -> str:
        try:
            while table.to_polars().height == 1:
                reading.set()
        except (ktframe.ContextClosedError, ktframe.NotReadyError) as error:
            return str(error)
        return "a frame that lacks the row"

    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            context = connect()
            table, begun = context.table(name), [threading.Event(), threading.Event()]
            reads = [pool.submit(read_on, table, each) for each in begun]
            assert all(each.wait(10) for each in begun)
            context.close()
            assert all("closed" in read.result(2) for read in reads)


IDLE = """
import sys, ktframe
ktframe.connect(sys.argv[1], state_dir=sys.argv[2])
orders = ktframe.table(sys.argv[3])
assert orders.to_polars().height == 1
"""
LOADING = """
import sys, threading, ktframe
ktframe.connect(sys.argv[1], state_dir=sys.argv[2])
has_begun = threading.Event()
ktframe.table(sys.argv[3]).on_change(lambda _: has_begun.set())
assert has_begun.wait(20)
"""
FAILING = IDLE + "raise SystemExit(7)"


@pytest.mark.parametrize(
    ("script", "count", "code"),
    [(IDLE, 1, 0), (LOADING, 100_000, 0), (FAILING, 1, 7)],
    ids=["idle", "loading", "code"],
)
def test_process_exits_without_close(
    kafka: KafkaTopics, topic: Topic, tmp_path: Path, *, script: str, count: int, code: int
) -> None:
    """A process that ends without ``close``, even while it loads, ends at once, silently, with its own exit code."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"k%d" % n, value(n)) for n in range(count)])

    done = subprocess.run(
        [sys.executable, "-c", script, kafka.bootstrap, str(tmp_path), name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_monitor_interval_changes_at_run_time(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A shorter monitor interval acts at once, on the tables that are there."""
    name = kafka.create_topic(topic())
    context = connect(monitor_interval=3600)
    table = context.table(name)
    table.wait_until_ready(10)
    lags: list[LagUpdated] = []
    table.events.subscribe(LagUpdated, lags.append)

    context.configure(monitor_interval=0.05)

    wait_until(lambda: len(lags) >= 3, "three measurements")


def test_what_is_logged(
    kafka: KafkaTopics, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """Readiness and states are logged at INFO; a refused record with topic, partition, offset and cause."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(1), 1), (b"b", b"{broken", 1)])

    with caplog.at_level(logging.INFO, "ktframe"):
        context = connect()
        context.table(name).to_polars()
        context.close()

    logged = [(r.levelname, r.getMessage()) for r in caplog.records if r.name.startswith("ktframe")]
    assert ("INFO", f"{name} is ready") in logged
    assert ("INFO", f"{name}: restoring -> ready") in logged
    warnings = [message for level, message in logged if level == "WARNING"]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{name}[1]@1 was refused: ")
    assert "JSON" in warnings[0]
    assert not [level for level, _ in logged if level == "ERROR"]
