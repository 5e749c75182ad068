"""KafkaWriter on a real broker: records are where it says, once, in order, whole transactions or nothing of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.waiting import wait_until
from support.writers import NEAR_SECONDS, MakeWriter, as_soon_as, committed, numbered, places, writers

from ktframe.errors import WriteError
from ktframe.kafka.writer import OutgoingRecords

Topic = Callable[..., str]

SUPPORT = Path(__file__).parents[1] / "support"


@pytest.fixture
def make_writer(kafka: KafkaTopics) -> Iterator[MakeWriter]:
    """Return a function that makes writers."""
    with writers(kafka) as make:
        yield make


def test_records_are_where_it_says(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """Partition and offset of each record are those at which an independent consumer finds it; ends are behind them."""
    name = kafka.create_topic(topic(), partitions=3)
    records = numbered(5_000)

    sent = make_writer().send(name, records, timeout=NEAR_SECONDS)

    found = places(kafka, name)
    assert [found[key] for key in records.keys] == list(zip(sent.partitions, sent.offsets, strict=True))
    assert sent.ends == kafka.end_offsets(name)


def test_every_column_arrives(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """A tombstone is null and an empty value is not; partitions, headers and timestamps are those given."""
    name = kafka.create_topic(topic(), partitions=2)
    records = OutgoingRecords(
        keys=[b"a", b"", None, b"d"],
        values=[None, b"", b"keyless", b"x"],
        partitions=[1, 1, 0, None],
        headers=[[("trace", b"1"), ("trace", None)], None, [("é", b"")], None],
        timestamps=[1, 1_700_000_000_000, None, 2],
    )
    before_ms = int(time.time() * 1000)

    sent = make_writer().send(name, records, timeout=NEAR_SECONDS)

    found = {record.key: record for record in kafka.records(name)}
    assert [found[key].value for key in records.keys] == [None, b"", b"keyless", b"x"]
    assert sent.partitions[:3] == [1, 1, 0]
    assert [found[key].timestamp_ms for key in (b"a", b"", b"d")] == [1, 1_700_000_000_000, 2]
    assert before_ms <= found[None].timestamp_ms <= int(time.time() * 1000)
    consumer = kafka.consumer()
    consumer.assign([TopicPartition(name, 1, 0), TopicPartition(name, 0, 0)])
    messages: dict[Any, Any] = {}

    def are_read() -> bool:
        arrived: list[Any] = [each for each in consumer.consume(10, 0.1) if each.error() is None]
        messages.update({message.key(): message.headers() for message in arrived})
        return len(messages) == 4

    wait_until(are_read, "four records")
    consumer.close()
    expected = {b"a": [("trace", b"1"), ("trace", None)], b"": None, None: [("é", b"")], b"d": None}
    assert messages == expected


@pytest.mark.parametrize("end", [KafkaBroker.kill, KafkaBroker.stop])
def test_restart_under_two_writers(broker: KafkaBroker, topic: Topic, end: Callable[..., None]) -> None:
    """Of two processes that write while the broker is killed or stopped, every record is there exactly once."""
    count = 50_000  # so many that no one is done before the broker is down
    name = broker.create_topic(topic(), partitions=3)
    writers = [writing_process(broker, name, word, count=count, way="plain") for word in ("one", "two")]
    let_write(*writers)

    wait_until(lambda: sum(broker.end_offsets(name).values()) > 500, "records of both", timeout=NEAR_SECONDS)
    end(broker)
    were_writing = [writer.poll() is None for writer in writers]
    broker.start()

    assert [said(writer) for writer in writers] == ["sent", "sent"]
    assert were_writing == [True, True]
    expected = Counter(f"{word}-{number}".encode() for word in ("one", "two") for number in range(count))
    assert Counter(record.key for record in broker.records(name)) == expected


def test_offsets_after_a_restart(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """What is acknowledged by a broker that was killed and came back is where the acknowledgement says, once."""
    name = broker.create_topic(topic(), partitions=3)
    records = numbered(100_000, value=b"x" * 500)

    def kill_and_start() -> None:
        broker.kill()
        broker.start()

    with as_soon_as(lambda: sum(broker.end_offsets(name).values()) > 1_000, kill_and_start):
        sent = make_writer().send(name, records, timeout=180)

    found = places(broker, name)
    for key, partition, offset in zip(records.keys, sent.partitions, sent.offsets, strict=True):
        assert found[key] == (partition, found[key][1] if offset == -1 else offset)
    assert sent.ends == broker.end_offsets(name)


def writing_process(
    broker: KafkaBroker, topic: str, word: str, *, count: int, way: str
) -> subprocess.Popen[str]:
    """Start the program that writes, once it is let."""
    program = [sys.executable, str(SUPPORT / "writing_process.py")]
    arguments = [broker.bootstrap, topic, word, str(count), way]
    return subprocess.Popen([*program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def let_write(*writers: subprocess.Popen[str]) -> None:
    """Let programs write once all are ready to: else one may be done before the other has begun."""
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()


def said(writer: subprocess.Popen[str]) -> str:
    """Return what the program says at its end."""
    text, _ = writer.communicate(timeout=300)
    return text.strip()


def test_kill_in_a_transaction(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """Of a process that is killed between the last record and the commit, readers of committed records see nothing."""
    name = broker.create_topic(topic())
    make_writer().send(name, numbered(1), timeout=NEAR_SECONDS)

    with writing_process(broker, name, "lost", count=1_000, way="uncommitted") as writer:
        let_write(writer)
        assert writer.stdout is not None
        assert writer.stdout.readline().strip() == "uncommitted"
        written = len(places(broker, name))
        writer.send_signal(signal.SIGKILL)

    assert written == 1_001
    assert committed(broker, name) == [b"k-0"]


def test_atomic_is_seen_as_a_whole(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """After atomic sends readers of committed records see all of each, where it was said to be."""
    name = kafka.create_topic(topic(), partitions=3)
    writer = make_writer()

    first, second = (
        writer.send(name, numbered(2_000, word=word), timeout=NEAR_SECONDS, atomic=True) for word in "ab"
    )

    keys = committed(kafka, name)
    assert len(keys) == len(set(keys)) == 4_000
    found = places(kafka, name)
    for word, sent in (("a", first), ("b", second)):
        where = list(zip(sent.partitions, sent.offsets, strict=True))
        assert [found[key] for key in numbered(2_000, word=word).keys] == where
    assert all(kafka.end_offsets(name)[partition] > end for partition, end in second.ends.items())


def test_one_record_too_large(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """What the broker finds too large fails alone, although it refuses the whole batch that holds it."""
    name = kafka.create_topic(topic(), max_message_bytes=50_000)
    good = numbered(500, value=b"x" * 1_000)
    records = OutgoingRecords([*good.keys, b"large", b"after"], [*good.values, b"x" * 60_000, b"x"])
    writer = make_writer()

    for _ in range(2):
        with pytest.raises(
            WriteError, match=r"501 of 502.*\n.*b'large'.*\n(?s:.*)max\.message\.bytes"
        ) as caught:
            writer.send(name, records, timeout=NEAR_SECONDS)

        assert list(caught.value.failed) == [500]
        assert list(caught.value.written) == [*range(500), 501]
        assert caught.value.unknown == []
    keys = [record.key for record in kafka.records(name)]
    assert sorted(keys) == sorted([*good.keys, b"after"] * 2)


@pytest.mark.parametrize("linger_ms", [5, 200], ids=["as-it-comes", "all-in-one-batch"])
def test_batches_too_large_keep_the_order_of_a_key(
    kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter, linger_ms: int
) -> None:
    """However small a topic makes the batches, no record overtakes a later one of its key, and soon a send has room."""
    name = kafka.create_topic(topic(), max_message_bytes=20_000)
    keys = [b"%d" % (number % 7) for number in range(2_000)]
    records = OutgoingRecords(keys, [b"%040d" % number for number in range(2_000)])
    writer = make_writer(linger_ms=linger_ms)

    # How much the client puts into a batch is a matter of time: only a batch that was too large makes the next smaller.
    sends: list[list[int]] = []
    was_too_large = False
    for _ in range(8):
        try:
            writer.send(name, records, timeout=NEAR_SECONDS)
            sends.append(list(range(2_000)))
        except WriteError as error:
            sends.append(list(error.written))
            was_too_large = True
            continue
        if was_too_large:
            break

    log = [int(record.value or b"") for record in kafka.records(name)]
    for numbers in sends:
        sent, log = log[: len(numbers)], log[len(numbers) :]
        assert sorted(sent) == numbers
        for key in range(7):
            of_key = [number for number in sent if number % 7 == key]
            assert of_key == sorted(of_key)
    assert log == []
    assert len(sends[-1]) == 2_000


def test_added_partitions(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """A partition that does not exist is refused by its number, the rest is written; once it was added it takes records."""
    name = kafka.create_topic(topic())
    writer = make_writer()
    records = OutgoingRecords([b"a", b"b"], [b"1", b"2"], partitions=[0, 2])

    with pytest.raises(WriteError, match=r"1 of 2.*there is no partition 2") as caught:
        writer.send(name, records, timeout=NEAR_SECONDS)
    kafka.add_partitions(name, 3)
    sent = writer.send(name, records, timeout=NEAR_SECONDS)

    assert (list(caught.value.written), list(caught.value.failed)) == ([0], [1])
    assert (sent.partitions, sent.offsets) == ([0, 2], [1, 0])


def test_atomic_with_one_too_large(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """One record that is refused keeps all the others out; the next atomic send is not held up by it."""
    name = kafka.create_topic(topic(), max_message_bytes=50_000)
    writer = make_writer()
    good = numbered(200, value=b"x" * 1_000)

    records = OutgoingRecords([*good.keys, b"large"], [*good.values, b"x" * 60_000])
    with pytest.raises(WriteError, match="0 of 201") as caught:
        writer.send(name, records, timeout=NEAR_SECONDS, atomic=True)
    writer.send(name, good, timeout=NEAR_SECONDS, atomic=True)

    assert "MSG_SIZE_TOO_LARGE" in caught.value.failed[200]
    assert caught.value.failed[0].startswith("the transaction was not committed")
    assert len(caught.value.failed) == 201
    assert committed(kafka, name) == good.keys
