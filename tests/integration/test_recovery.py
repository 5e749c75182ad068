"""What happens to a table when its broker goes away, or its topic becomes another one."""

import logging
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

from ktframe.errors import BrokerUnreachableError, UnknownTopicError
from ktframe.events import BindingState, BindingStateChanged, Reason

Topic = Callable[..., str]
Connect = Callable[..., Any]


def value(number: int) -> bytes:
    """Return a JSON value."""
    return b'{"n":%d}' % number


def numbered(prefix: str, count: int) -> list[tuple[bytes, bytes]]:
    """Return records with keys of their own."""
    return [(f"{prefix}{number}".encode(), value(number)) for number in range(count)]


@pytest.fixture
def restarted(broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Return the broker; it runs again at the end, whatever the test did."""
    yield broker
    if broker.pid is None:
        broker.start()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_broker_restarts_under_a_table(
    restarted: KafkaBroker, topic: Topic, connect: Connect, end: str
) -> None:
    """A table whose broker is stopped or killed recovers by itself, keeps its rows meanwhile, and reads on from there."""
    broker = restarted
    name = broker.create_topic(topic(), partitions=2)
    broker.produce(name, [(b"a", value(1), 0), (b"b", value(2), 1)])
    gate = Gate()
    table = connect(gate=gate, request_timeout=2.0).table(name)
    rows = rows_by(table.to_polars())
    stored = table.position().offsets

    broker.stop() if end == "stop" else broker.kill()
    wait_until(lambda: table.readiness().state is BindingState.BACKING_OFF, "the loss to be noticed")
    away = table.readiness()
    assert (away.is_ready, away.reason) == (False, Reason.BROKER_UNREACHABLE)
    assert rows == rows_by(table.to_polars(fresh=False))
    broker.start()
    wait_until(lambda: table.readiness().is_ready, "the table to recover by itself")

    broker.produce(name, [(b"a", None, 0), (b"c", value(3), 1)])
    assert json_rows(broker.records(name)) == rows_by(table.to_polars())
    assert gate.assigned == [{0: 0, 1: 0}, stored]
    assert table.status().health.restarts > 0


def test_read_without_a_broker(restarted: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """Without a broker a read raises within the request timeout instead of hanging; a closed Context closes at once."""
    broker = restarted
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", value(1))])
    context = connect(request_timeout=1.0)
    table = context.table(name)
    table.to_polars()
    broker.stop()

    began = time.monotonic()
    with pytest.raises(BrokerUnreachableError, match=broker.bootstrap):
        table.to_polars()
    assert time.monotonic() - began < 2.5
    assert rows_by(table.to_polars(fresh=False)) == {"a": {"n": 1}}

    began = time.monotonic()
    context.close()
    assert time.monotonic() - began < 4


def test_frozen_broker(broker: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """A broker that keeps its connections but no longer answers makes a read fail in time, not hang."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", value(1))])
    table = connect(request_timeout=1.0).table(name)
    table.to_polars()

    broker.pause()
    try:
        began = time.monotonic()
        with pytest.raises(BrokerUnreachableError):
            table.to_polars()
        took = time.monotonic() - began
    finally:
        broker.resume()

    assert took < 3
    broker.produce(name, [(b"b", value(2))])
    assert rows_by(table.to_polars()) == {"a": {"n": 1}, "b": {"n": 2}}


def test_exhausted_attempts(
    restarted: KafkaBroker, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """After the last attempt the table has failed, with the cause; asking again when the broker is back works."""
    broker = restarted
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", value(1))])
    retry = {"attempts": 2, "initial_delay": 0.05, "max_delay": 0.1, "jitter": 0.0}
    table = connect(request_timeout=2.0, retry=retry).table(name)
    table.to_polars()
    states: list[BindingStateChanged] = []
    table.events.subscribe(BindingStateChanged, states.append)

    broker.stop()
    wait_until(lambda: BindingState.FAILED in [each.new for each in states], "the last attempt to fail")

    failed = states[-1]
    assert (failed.new, failed.reason) == (BindingState.FAILED, Reason.BROKER_UNREACHABLE)
    assert broker.bootstrap in (failed.error or "")
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR and name in r.getMessage()]
    assert len(errors) == 1
    assert broker.bootstrap in errors[0]
    assert rows_by(table.to_polars(fresh=False)) == {"a": {"n": 1}}
    seen = table.readiness()
    assert (seen.state, seen.reason) == (BindingState.FAILED, Reason.BROKER_UNREACHABLE)
    assert broker.bootstrap in str(table.status())
    broker.start()
    broker.produce(name, [(b"b", value(2))])
    assert rows_by(table.to_polars()) == {"a": {"n": 1}, "b": {"n": 2}}
    assert table.readiness().is_ready


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "closed"])
@pytest.mark.parametrize("count", [2, 20], ids=["shorter", "longer"])
def test_recreated_topic(
    kafka: KafkaTopics,
    topic: Topic,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
    *,
    is_open: bool,
    count: int,
) -> None:
    """The rows of a topic that was recreated are its own only, whether it is shorter or longer than the old one."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [*numbered("old", 10), (b"broken", b"{")])
    context = connect(monitor_interval=60)
    table = context.table(name)
    assert table.to_polars().height == 10
    if not is_open:
        context.close()

    kafka.recreate_topic(name, partitions=2)
    kafka.produce(name, numbered("new", count))

    table = table if is_open else connect().table(name)
    assert json_rows(kafka.records(name)) == rows_by(table.to_polars())
    assert table.to_polars().height == count
    assert table.errors().is_empty()
    assert f"{name}[0] is rebuilt: the topic was deleted and recreated" in caplog.text
    kafka.produce(name, [(b"new0", None)])
    assert table.to_polars().height == count - 1


@pytest.mark.parametrize("count", [2, 20], ids=["shorter", "longer"])
def test_recreated_behind_the_readers_back(
    kafka: KafkaTopics, topic: Topic, connect: Connect, count: int
) -> None:
    """A reader that was away while the topic was recreated is not believed, though it may read on at its old offset."""
    name = kafka.create_topic(topic())
    kafka.produce(name, numbered("old", 10))
    gate = Gate()
    table = connect(gate=gate, monitor_interval=60).table(name)
    assert table.to_polars().height == 10
    gate.cut()

    kafka.recreate_topic(name)
    kafka.produce(name, numbered("new", count))
    gate.open()

    assert rows_by(table.to_polars()) == {f"new{number}": {"n": number} for number in range(count)}


def test_recreated_topic_is_found_by_the_monitor(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Without anybody reading, the rows become those of the new topic after the next check of the monitor."""
    name = kafka.create_topic(topic())
    kafka.produce(name, numbered("old", 3))
    table = connect(monitor_interval=0.05).table(name)
    table.to_polars()

    # No deletion is seen between two checks when the new topic is there at once; both ways end well.
    kafka.recreate_topic(name)
    kafka.produce(name, numbered("new", 5))

    def has_new_rows() -> bool:
        rows = rows_by(table.to_polars(fresh=False))
        return rows == {f"new{n}": {"n": n} for n in range(5)}

    wait_until(has_new_rows, "the rows of the new topic")


def test_recreated_while_a_read_waits(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A read that waits for records of a topic that is recreated meanwhile answers with the new topic's rows."""
    name = kafka.create_topic(topic())
    kafka.produce(name, numbered("old", 3))
    gate = Gate()
    table = connect(gate=gate, monitor_interval=60).table(name)
    table.to_polars()
    gate.close()
    kafka.produce(name, numbered("late", 3))

    with ThreadPoolExecutor() as pool:
        reading = pool.submit(table.to_polars)
        kafka.recreate_topic(name)
        kafka.produce(name, numbered("new", 2))
        gate.open()
        again = table.to_polars()

        assert rows_by(again) == {"new0": {"n": 0}, "new1": {"n": 1}}
        assert set(rows_by(reading.result(30))) in (
            {"new0", "new1"},
            {f"{p}{n}" for p in ("old", "late") for n in range(3)},
        )


def test_records_deleted_beyond_the_position(
    kafka: KafkaTopics, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """When the log starts behind the position, deletes may have been missed: the partition is rebuilt."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(1), 0), (b"b", value(2), 0), (b"other", value(9), 1)])
    context = connect()
    context.table(name).to_polars()
    context.close()
    kafka.produce(name, [(b"a", None, 0), (b"b", value(3), 0), (b"c", value(4), 0)])
    kafka.delete_records(name, {0: 4})

    table = connect().table(name)

    assert rows_by(table.to_polars()) == {"c": {"n": 4}, "other": {"n": 9}}
    why = f"{name}[0] is rebuilt: the log starts at 4, after the stored position 2"
    assert why in caplog.text
    assert f"{name}[1] is rebuilt" not in caplog.text


def test_records_deleted_under_the_reader(
    kafka: KafkaTopics, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A reader that is sent to an offset which is no longer there says where and why, and the table recovers."""
    name = kafka.create_topic(topic())
    kafka.produce(name, numbered("k", 6))
    kafka.delete_records(name, {0: 4})
    gate = Gate()
    gate.shift = -2  # as if the records were deleted between the question for the start and the first fetch

    table = connect(gate=gate).table(name)

    assert rows_by(table.to_polars()) == {"k4": {"n": 4}, "k5": {"n": 5}}
    (message,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert (
        f"{name}[0]: the next offset to read is outside the log (partition 0, offset 2: fetch failed"
        in message
    )


def test_position_beyond_the_end(
    kafka: KafkaTopics, topic: Topic, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    """A stored position that the log does not reach means that records were lost: the partition is rebuilt."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"a", value(1), 0), (b"b", value(2), 1)])
    gate = Gate()
    context = connect(gate=gate)
    table = context.table(name)
    table.to_polars()
    gate.close()
    gate.wait_until_holding()
    # As after an unclean election: the store knows more than the log.
    table._reader.binding.materializer.advance({0: 1_000})
    context.close()

    again = connect().table(name)

    assert rows_by(again.to_polars()) == {"a": {"n": 1}, "b": {"n": 2}}
    assert f"{name}[0] is rebuilt: the log ends at 1, before the stored position 1000" in (caplog.text)
    assert f"{name}[1] is rebuilt" not in caplog.text


def test_deleted_topic(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Reads of a table whose topic is deleted raise with that reason; it goes on by itself when there is a topic again."""
    name = kafka.create_topic(topic())
    kafka.produce(name, numbered("old", 3))
    table = connect(monitor_interval=0.05).table(name)
    table.to_polars()

    kafka.delete_topic(name)

    with pytest.raises(UnknownTopicError, match=name):
        table.to_polars()
    wait_until(
        lambda: table.readiness().state is BindingState.BACKING_OFF, "the monitor to find the topic gone"
    )
    assert table.readiness().reason is Reason.UNKNOWN_TOPIC
    with pytest.raises(UnknownTopicError, match=name):
        table.to_polars()
    kafka.create_topic(name)
    kafka.produce(name, numbered("new", 1))
    wait_until(lambda: rows_by(table.to_polars(fresh=False)) == {"new0": {"n": 0}}, "the new topic")
    assert rows_by(table.to_polars()) == {"new0": {"n": 0}}
