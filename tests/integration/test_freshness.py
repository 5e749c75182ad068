"""A fresh read holds everything that was acknowledged before it was asked for."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import quantiles
from typing import Any

import pytest
from support.kafka_topics import KafkaTopics
from support.oracle import json_rows, rows_by

Topic = Callable[..., str]
Connect = Callable[..., Any]

RUNS = 1_000


def value(number: int) -> bytes:
    """Return a JSON value."""
    return b'{"n":%d}' % number


def test_every_produced_record_is_in_the_frame(
    kafka: KafkaTopics, topic: Topic, connect: Connect, record_property: Callable[[str, object], None]
) -> None:
    """A thousand times: a record that was just acknowledged is in the frame that is asked for next."""
    name = kafka.create_topic(topic(), partitions=4)
    producer = kafka.producer(linger_ms=0)
    table = connect().table(name)
    missing: list[int] = []
    took: list[float] = []
    for number in range(RUNS):
        kafka.produce(name, [(b"k%d" % (number % 50), value(number), number % 50 % 4)], producer=producer)
        began = time.perf_counter()
        frame = table.to_polars()
        took.append((time.perf_counter() - began) * 1000)
        if {"n": number} != rows_by(frame).get(f"k{number % 50}"):
            missing.append(number)

    assert missing == []
    assert json_rows(kafka.records(name)) == rows_by(table.to_polars())
    cuts = quantiles(took, n=100)
    record_property("produce_then_to_polars_ms", {"median": cuts[49], "p99": cuts[98]})


@pytest.mark.parametrize("read", ["to_polars", "get", "contains", "len", "items", "keys"])
def test_every_read_is_fresh(kafka: KafkaTopics, topic: Topic, connect: Connect, read: str) -> None:
    """Lookups, lengths and ranges are as fresh as frames."""
    name = kafka.create_topic(topic(), partitions=2)
    producer = kafka.producer(linger_ms=0)
    table = connect().table(name)
    reads: dict[str, Callable[[str, int], bool]] = {
        "to_polars": lambda key, count: rows_by(table.to_polars())[key] == {"n": count - 1},
        "get": lambda key, count: table.get(key) == {"key": key, "n": count - 1},
        "contains": lambda key, _: key in table,
        "len": lambda _, count: len(table) == count,
        "items": lambda key, _: dict(table.items(key))[key] is not None,
        "keys": lambda key, _: key in table.keys(),  # noqa: SIM118 - the method is what is tested
    }

    for number in range(50):
        kafka.produce(name, [(b"k%02d" % number, value(number), number % 2)], producer=producer)
        assert reads[read](f"k{number:02d}", number + 1)


def test_two_threads_read_at_once(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Each of several threads that produce and read finds its own record, every time."""
    name = kafka.create_topic(topic(), partitions=2)
    table = connect().table(name)

    def work(partition: int) -> list[int]:
        producer = kafka.producer(linger_ms=0)
        lost = []
        for number in range(200):
            kafka.produce(name, [(b"t%d" % partition, value(number), partition)], producer=producer)
            if rows_by(table.to_polars()).get(f"t{partition}") != {"n": number}:
                lost.append(number)
        return lost

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(work, range(2))) == [[], []]


def test_added_partitions_are_read_from_their_beginning(
    kafka: KafkaTopics, topic: Topic, connect: Connect
) -> None:
    """Records of partitions that were added a moment ago are in the next frame, from the first one on."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))])
    table = connect(monitor_interval=60).table(name)
    assert rows_by(table.to_polars()) == {"a": {"n": 1}}

    kafka.add_partitions(name, 3)
    kafka.produce(name, [(b"b", value(2), 1), (b"c", value(3), 2), (b"c", value(4), 2)])

    assert rows_by(table.to_polars()) == {"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 4}}
    assert table.position().offsets == {0: 1, 1: 1, 2: 2}


def test_added_partitions_are_found_by_the_monitor(
    kafka: KafkaTopics, topic: Topic, connect: Connect
) -> None:
    """Without anybody reading, new partitions are followed after the next check of the monitor."""
    name = kafka.create_topic(topic())
    table = connect(monitor_interval=0.05).table(name)
    table.wait_until_ready(10)
    changes: list[dict[int, int]] = []

    unsubscribe = table.on_change(lambda event: changes.append(event.position))
    kafka.add_partitions(name, 2)
    kafka.produce(name, [(b"b", value(2), 1)])
    deadline = time.monotonic() + 10
    while not changes and time.monotonic() < deadline:
        table.wait_until_ready(10)
    unsubscribe()

    assert changes == [{0: 0, 1: 1}]


def test_key_in_two_partitions_shows_the_newest(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Of a key's words in several partitions the newest counts, also a tombstone, and the key is counted."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(1), 0, 2_000), (b"a", value(2), 1, 1_000), (b"b", value(3), 0, 1_000)])
    table = connect().table(name)

    assert rows_by(table.to_polars()) == {"a": {"n": 1}, "b": {"n": 3}}
    assert table["a"] == {"key": "a", "n": 1}
    assert (len(table), table.status().contested) == (2, 1)
    kafka.produce(name, [(b"a", None, 0, 3_000), (b"b", None, 1, 999)])
    assert rows_by(table.to_polars()) == {"b": {"n": 3}}
    assert ("a" in table, table["b"]) == (False, {"key": "b", "n": 3})
    kafka.produce(name, [(b"a", value(4), 1, 3_000)])
    assert rows_by(table.to_polars()) == {"a": {"n": 4}, "b": {"n": 3}}
