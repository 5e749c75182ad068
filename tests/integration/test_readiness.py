"""A table is ready exactly when it holds what was in the topic, however the log ends; and says so."""

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.oracle import json_rows, rows_by
from support.readers import Gate
from support.waiting import wait_until
from support.zombie_writer import ZombieWriter, later_ms

from ktframe.errors import NotReadyError
from ktframe.events import (
    BindingState,
    BindingStateChanged,
    LagUpdated,
    PartitionLag,
    ReadyChanged,
    Reason,
    RowsChanged,
)
from ktframe.sync.monitor import HYSTERESIS_CHECKS

Topic = Callable[..., str]
Connect = Callable[..., Any]


def value(number: int) -> bytes:
    """Return a JSON value."""
    return b'{"n":%d}' % number


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Return an open gate; it is opened again at the end."""
    gate = Gate()
    yield gate
    gate.open()


def assert_ready_and_right(kafka: KafkaTopics, table: Any, *, partitions: int = 1) -> None:
    """Check that the table becomes ready, has no lag, and holds the rows of its topic."""
    readiness = table.wait_until_ready(10, progress=False)
    assert readiness
    assert readiness.reason is Reason.READY
    assert json_rows(kafka.records(table.topic)) == rows_by(table.to_polars())
    assert (table.readiness().total_lag, len(table.readiness().partitions)) == (0, partitions)


def test_ready_on_an_empty_topic(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A topic without records is ready."""
    assert_ready_and_right(kafka, connect().table(kafka.create_topic(topic(), partitions=3)), partitions=3)


@pytest.mark.parametrize("end", ["commit", "abort"])
def test_ready_behind_a_transaction_marker(
    kafka: KafkaTopics, topic: Topic, connect: Connect, end: str
) -> None:
    """A topic that ends in the marker of a transaction is ready, though its last offset is no record."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))])
    producer = kafka.transactional_producer(name)
    producer.begin_transaction()
    kafka.produce(name, [(b"a", value(2)), (b"b", value(2))], producer=producer)
    producer.commit_transaction() if end == "commit" else producer.abort_transaction()
    kafka.await_transactions(name)
    assert kafka.end_offsets(name)[0] > kafka.records(name)[-1].offset + 1

    assert_ready_and_right(kafka, connect().table(name))


def test_ready_on_a_compacted_topic(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A compacted topic with holes is ready, and holds the newest record of every key."""
    name = kafka.create_compacted_topic(topic())
    kafka.produce(name, [(b"k%d" % (n % 3), value(n)) for n in range(30)])
    kafka.wait_until_compacted(name)
    assert len(kafka.records(name)) < kafka.end_offsets(name)[0] - kafka.start_offsets(name)[0]

    assert_ready_and_right(kafka, connect().table(name))


def test_ready_behind_a_compacted_tail(broker: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """When the cleaner has removed the very last record, no record ever reaches the end; it is ready all the same."""
    name = broker.create_compacted_topic(topic())
    past_ms = int(time.time() * 1000) - 3_600_000
    writer = ZombieWriter(broker.bootstrap)
    broker.produce(name, [(b"kept", value(1), 0, past_ms), (b"gone", value(1), 0, past_ms)])
    writer.write(name, b"zombie", value(1), timestamp_ms=past_ms)
    broker.produce(name, [(b"gone", None, 0, past_ms)])
    writer.write(name, b"zombie", value(1), timestamp_ms=later_ms())
    wait_until(lambda: len(broker.records(name)) == 3, "the deleted record to be removed")
    broker.restart_cleaner()
    wait_until(lambda: len(broker.records(name)) == 2, "the tombstone to be removed")
    assert broker.records(name)[-1].offset + 1 < broker.end_offsets(name)[0]

    assert_ready_and_right(broker, connect().table(name))


def test_ready_on_many_partitions(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A topic of 64 partitions, most of them empty, is ready."""
    name = kafka.create_topic(topic(), partitions=64)
    kafka.produce(name, [(b"k%d" % n, value(n), n) for n in range(0, 64, 7)])

    assert_ready_and_right(kafka, connect().table(name), partitions=64)


def test_ready_on_deleted_records(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A partition whose start and end are equal and above zero is ready."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))] * 3)
    kafka.delete_records(name, {0: 3})
    assert kafka.start_offsets(name) == kafka.end_offsets(name) == {0: 3}

    assert_ready_and_right(kafka, connect().table(name))


def test_not_ready_one_record_short(kafka: KafkaTopics, topic: Topic, connect: Connect, gate: Gate) -> None:
    """While one record is missing the table is not ready, waits, and raises; it never answers without it."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"k%d" % n, value(n)) for n in range(4)])
    gate.close(at=3)

    table = connect(gate=gate, stall_timeout=0.5).table(name)

    with pytest.raises(NotReadyError, match=r"STALLED \(partitions 0\): no progress for 0\.5 s") as caught:
        table.to_polars()
    assert caught.value.partitions == (0,)
    assert caught.value.reason == Reason.STALLED
    with pytest.raises(NotReadyError, match="partitions 0"):
        len(table)
    with pytest.raises(NotReadyError, match=r"RESTORING \(partitions 0\): not done after 0\.2 s"):
        table.wait_until_ready(0.2)
    readiness = table.readiness()
    assert not readiness
    assert (readiness.reason, readiness.total_lag, readiness.progress) == (Reason.RESTORING, 1, 0.75)
    assert readiness.partitions == (PartitionLag(0, 3, 4),)
    assert table.to_polars(fresh=False).height == 3

    gate.open()
    assert_ready_and_right(kafka, table)


def test_read_waits_for_the_missing_record(
    kafka: KafkaTopics, topic: Topic, connect: Connect, gate: Gate
) -> None:
    """A read that began while a record was held back answers once it is through, and has it."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1)), (b"b", value(2))])
    table = connect(gate=gate).table(name)
    table.to_polars()
    gate.close()
    kafka.produce(name, [(b"c", value(3))])

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(table.to_polars)
        wait_until(lambda: table.readiness().total_lag == 1, "the monitor to see the record")
        assert not reading.done()
        gate.open()

        assert rows_by(reading.result(10)) == {"a": {"n": 1}, "b": {"n": 2}, "c": {"n": 3}}


def test_open_transaction_is_not_waited_for(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Records of an open transaction are neither shown nor waited for; the position says what they hold back."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))])
    producer = kafka.transactional_producer(name)
    producer.begin_transaction()
    kafka.produce(name, [(b"a", value(2))], producer=producer)
    kafka.produce(name, [(b"b", value(1))])
    table = connect().table(name)

    began = time.monotonic()
    rows = rows_by(table.to_polars())

    assert rows == {"a": {"n": 1}}
    assert time.monotonic() - began < 3
    assert table.readiness()
    wait_until(lambda: table.position().held_back == 2, "the two offsets to be counted as held back")
    producer.commit_transaction()
    assert rows_by(table.to_polars()) == {"a": {"n": 2}, "b": {"n": 1}}
    wait_until(lambda: table.position().held_back == 0, "nothing to be held back any more")


def test_committed_records_are_there_at_once(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A read right after ``commit_transaction`` has returned holds its records, a hundred times of a hundred."""
    partitions = range(20)  # the more there are, the longer it takes until all of them know of the commit
    name = kafka.create_topic(topic(), partitions=len(partitions))
    producer = kafka.transactional_producer(name)
    table = connect().table(name)
    missing = []
    for number in range(100):
        producer.begin_transaction()
        for partition in partitions:
            producer.produce(name, key=b"p%d" % partition, value=value(number), partition=partition)
        producer.commit_transaction()
        if rows_by(table.to_polars()) != {f"p{partition}": {"n": number} for partition in partitions}:
            missing.append(number)

    assert missing == []


def test_falls_behind_and_catches_up(kafka: KafkaTopics, topic: Topic, connect: Connect, gate: Gate) -> None:
    """A table that stops following is not ready after some checks, and ready once it has caught up."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1))])
    table = connect(gate=gate, monitor_interval=0.05).table(name)
    events: list[Any] = []
    for kind in (ReadyChanged, BindingStateChanged, LagUpdated, RowsChanged):
        table.events.subscribe(kind, events.append)

    table.wait_until_ready(10)
    gate.close()
    kafka.produce(name, [(b"b", value(2)), (b"c", value(3))])
    wait_until(lambda: table.readiness().state is BindingState.LAGGING, "the table to fall behind")
    behind = table.readiness()
    gate.open()
    table.wait_until_ready(10)
    wait_until(lambda: [e for e in events if isinstance(e, LagUpdated)][-1].total == 0, "no lag")
    # What a read sees is there a moment before its event, and that of the rows comes last.
    wait_until(lambda: sum(isinstance(e, RowsChanged) for e in events) == 2, "the event of the last rows")

    assert (behind.is_ready, behind.reason, behind.total_lag) == (False, Reason.LAGGING, 2)
    assert [(e.is_ready, e.reason, e.total_lag) for e in events if isinstance(e, ReadyChanged)] == [
        (True, Reason.READY, 0),
        (False, Reason.LAGGING, 2),
        (True, Reason.READY, 0),
    ]
    assert [(e.old, e.new, e.error) for e in events if isinstance(e, BindingStateChanged)] == [
        (BindingState.CREATED, BindingState.RESTORING, None),
        (BindingState.RESTORING, BindingState.READY, None),
        (BindingState.READY, BindingState.LAGGING, None),
        (BindingState.LAGGING, BindingState.READY, None),
    ]
    rows = [e for e in events if isinstance(e, RowsChanged)]
    assert [(e.rows, e.position) for e in rows] == [(1, {0: 1}), (2, {0: 3})]
    lags = [e for e in events if isinstance(e, LagUpdated)]
    assert PartitionLag(0, 1, 3) in {e.partitions[0] for e in lags}
    assert [e.total for e in lags[:-1]] == [e.previous for e in lags[1:]]
    assert max(e.total for e in lags) == 2
    assert all(e.at.tzinfo is not None for e in events)


def test_busy_topic_stays_ready(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A table that keeps up with a topic that never stands still is ready all the time."""
    name = kafka.create_topic(topic())
    table = connect(monitor_interval=0.2).table(name)
    table.wait_until_ready(10)
    changes, checks = list[ReadyChanged](), list[LagUpdated]()
    table.events.subscribe(ReadyChanged, changes.append)
    table.events.subscribe(LagUpdated, checks.append)
    producer, done = kafka.producer(linger_ms=1), threading.Event()

    def produce() -> None:
        while not done.wait(0.001):
            producer.produce(name, key=b"a", value=value(1))
            producer.poll(0)

    with ThreadPoolExecutor() as pool:
        producing = pool.submit(produce)
        wait_until(lambda: table.position().offsets[0] > 1_000, "a thousand records")
        wait_until(lambda: len(checks) > 2 * HYSTERESIS_CHECKS, "checks of the lag")
        done.set()
        producing.result(10)
    producer.flush()

    assert changes == []


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def test_progress_is_shown(
    kafka: KafkaTopics, topic: Topic, connect: Connect, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait of more than a second shows in a terminal how much is done and how much is left."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"k%d" % n, value(n)) for n in range(4)])
    gate.close(at=1)
    table = connect(gate=gate).table(name)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(table.wait_until_ready)
        wait_until(lambda: "25%, 3 to go" in terminal.getvalue(), "the progress")
        gate.open()
        assert waiting.result(10)

    assert ": ready, 100%" in terminal.getvalue().splitlines()[-1]


def test_status_never_waits(kafka: KafkaTopics, topic: Topic, connect: Connect, gate: Gate) -> None:
    """What a table says of itself never waits, even while its reader is held."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", value(1), 0, 1_700_000_000_000)])
    gate.close()
    table = connect(gate=gate).table(name)
    began = time.monotonic()

    seen = [table.readiness(), table.status(), table.position(), repr(table), table.to_polars(fresh=False)]

    assert time.monotonic() - began < 2
    assert len(seen) == 5
    assert table.position().stream_time is None
    gate.open()
    table.to_polars()
    assert table.position().offsets == {0: 1}
    assert table.position().stream_time.timestamp() == 1_700_000_000
