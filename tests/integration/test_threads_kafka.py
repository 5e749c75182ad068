"""How many threads and connections tables take on a real Kafka: those at rest share them, and miss nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.kafka_topics import KafkaTopics
from support.oracle import rows_by
from support.waiting import wait_until

from ktframe.kafka import sharing

Topic = Callable[..., str]
Connect = Callable[..., Any]
CLIENT, OURS = "rdk:", "ktframe"


def threads() -> Counter[str]:
    """Return how many threads there are of Kafka's client, and how many of others, by the beginning of their names."""
    found: Counter[str] = Counter()
    for comm in Path("/proc/self/task").glob("*/comm"):
        try:
            name = comm.read_text()
        except OSError:  # it has just ended
            continue
        found[CLIENT if name.startswith(CLIENT) else OURS] += 1
    return found


def connections(kafka: KafkaTopics) -> int:
    """Return how many connections this process has to the broker."""
    port = int(kafka.bootstrap.rpartition(":")[2])
    found = psutil.Process().net_connections("tcp")
    return sum(1 for each in found if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED")


def value(number: int) -> bytes:
    """Return a JSON value."""
    return b'{"n":%d}' % number


@pytest.fixture
def tables(kafka: KafkaTopics, topic: Topic, connect: Connect) -> Callable[[int], list[tuple[str, Any]]]:
    """Return a function that opens some tables in one connection, with two partitions each, and reads them."""

    def make(count: int) -> list[tuple[str, Any]]:
        names = [kafka.create_topic(topic(), partitions=2) for _ in range(count)]
        for name in names:
            kafka.produce(name, [(b"a", value(1), 0), (b"b", value(2), 1)])
        kt = connect()
        opened = [(name, kt.table(name)) for name in names]
        for _, table in opened:
            assert table.to_polars().height == 2
        return opened

    return make


def test_tables_at_rest_share_the_threads_and_connections_of_one_client(
    kafka: KafkaTopics, tables: Callable[[int], list[tuple[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each further table has one thread, its own; what comes is in the next read of each, as ever."""
    monkeypatch.setattr(sharing, "CALM_SECONDS", 0.1)
    before, connected = threads(), connections(kafka)
    few = tables(1)
    # The AdminClient has its threads, and the shared consumer.
    wait_until(lambda: threads()[CLIENT] - before[CLIENT] <= 9, "the only table to give up its own consumer")
    one, connected_one = threads(), connections(kafka) - connected
    few[0][1].close()
    many = tables(8)
    # Of a second connection, the AdminClient alone.
    wait_until(
        lambda: threads()[CLIENT] <= 2 * one[CLIENT], f"eight tables to share ({one[CLIENT]} of one table)"
    )
    wait_until(lambda: connections(kafka) - connected <= 2 * connected_one, "their connections to end")
    for number in range(20):
        for name, table in many:
            kafka.produce(name, [(b"a", value(number), number % 2)])
            assert rows_by(table.to_polars())["a"] == {"n": number}


def test_a_table_that_much_comes_to_reads_alone_again(
    kafka: KafkaTopics, tables: Callable[[int], list[tuple[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much it is at once, no row is missing: not of it, and not of those beside it."""
    monkeypatch.setattr(sharing, "CALM_SECONDS", 0.1)
    monkeypatch.setattr("ktframe.kafka.shared.MOST_RECORDS", 100)
    before = threads()
    (busy, busy_table), (calm, calm_table) = tables(2)
    shared = before[CLIENT] + 9
    wait_until(lambda: threads()[CLIENT] <= shared, "both to share")
    kafka.produce(busy, [(b"k%d" % number, value(number), number % 2) for number in range(20_000)])
    kafka.produce(calm, [(b"c", value(3), 0)])
    assert busy_table.to_polars().height == 20_002
    assert calm_table.to_polars().height == 3
    wait_until(lambda: threads()[CLIENT] <= shared, "both to share again")
    kafka.produce(busy, [(b"a", value(7), 0)])
    assert rows_by(busy_table.to_polars())["a"] == {"n": 7}


def test_one_topic_read_by_several_tables_misses_nothing(
    kafka: KafkaTopics, topic: Topic, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client reads a partition once: a table and a stream of the same topic have one each."""
    monkeypatch.setattr(sharing, "CALM_SECONDS", 0.1)
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(0), 0)])
    kt = connect()
    table, stream = kt.table(name), kt.stream(name)
    before = threads()[CLIENT]
    assert table.to_polars().height == stream.to_polars().height == 1
    wait_until(lambda: threads()[CLIENT] - before <= 8, "both to share")
    for number in range(1, 20):
        kafka.produce(name, [(b"a", value(number), number % 2)])
        assert rows_by(table.to_polars())["a"] == {"n": number}
        assert stream.to_polars().height == number + 1
