"""The test broker keeps its promises, and Kafka behaves at the ends of partitions as ktframe assumes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from support.kafka_broker import SCRAM_MECHANISMS, KafkaBroker
from support.kafka_topics import KafkaTopics
from support.waiting import wait_until
from support.zombie_writer import ZombieWriter, later_ms

TESTS = Path(__file__).parents[1]


def read_to_end(consumer: Consumer, topic: str, start: int = 0) -> tuple[list[int], int]:
    """Return the offsets of the records of partition 0 and the offset at which its end was announced."""
    consumer.assign([TopicPartition(topic, 0, start)])
    offsets: list[int] = []
    ends: list[int] = []

    def is_read() -> bool:
        for message in consumer.consume(100, 0.1):
            error = message.error()
            if error is None:
                offsets.append(message.offset())
            elif error.code() == KafkaError._PARTITION_EOF:
                ends.append(message.offset())
            # Comes to whoever has a group.id, though assignment needs no group.
            elif error.code() != KafkaError.GROUP_AUTHORIZATION_FAILED:
                raise KafkaException(error)
        return bool(ends)

    wait_until(is_read, f"the end of {topic}")
    return offsets, ends[0]


def position(consumer: Consumer, topic: str) -> int:
    """Return what librdkafka calls the position of partition 0."""
    return consumer.position([TopicPartition(topic, 0)])[0].offset


@pytest.fixture
def make_consumer(kafka: KafkaTopics) -> Iterator[Callable[..., Consumer]]:
    """Return a function that makes consumers, which are closed when the test is over."""
    made: list[Consumer] = []

    def make(**config: Any) -> Consumer:
        made.append(kafka.consumer(**config))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


def scram(broker: KafkaBroker, **choice: str) -> dict[str, str]:
    """Return the settings of a SCRAM client as keywords."""
    return {name.replace(".", "_"): value for name, value in broker.scram_settings(**choice).items()}


def test_round_trip(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """What is produced is read back: partition, timestamp, key, tombstone and empty value."""
    name = kafka.create_topic(topic(), partitions=2)

    written = kafka.produce(
        name,
        [
            (b"a", b"1", 0, 1_000),
            (b"a", None, 0, 2_000),
            (b"b", b"", 1, 3_000, [("h", b"x")]),
            (None, b"keyless", 1, 4_000),
        ],
    )

    assert written == [0, 1, 0, 1]
    assert kafka.records(name) == [
        (0, 0, 1_000, b"a", b"1"),
        (0, 1, 2_000, b"a", None),
        (1, 0, 3_000, b"b", b""),
        (1, 1, 4_000, None, b"keyless"),
    ]


def test_restart_keeps_ports_and_data(broker: KafkaBroker, topic: Callable[..., str]) -> None:
    """An orderly restart keeps the addresses and every record, in a new process."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", b"1")])
    before, bootstrap, pid = broker.records(name), broker.bootstrap, broker.pid

    broker.restart()

    assert (before, bootstrap) == (broker.records(name), broker.bootstrap)
    assert pid != broker.pid


def test_kill_keeps_acknowledged_records(broker: KafkaBroker, topic: Callable[..., str]) -> None:
    """Every record that was acknowledged before a kill is there after the next start."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"k%d" % number, b"v") for number in range(500)])
    before = broker.records(name)

    broker.kill()
    broker.start()

    assert before == broker.records(name)
    assert len(before) == 500


def test_paused_broker_is_silent_until_resumed(broker: KafkaBroker) -> None:
    """A paused broker answers nothing, and the same client is answered once it goes on."""
    broker.pause()
    try:
        with pytest.raises(KafkaException):
            broker.admin.list_topics(timeout=0.5)
    finally:
        broker.resume()

    assert broker.admin.list_topics(timeout=10).brokers


def test_broker_dies_with_its_parent() -> None:
    """A test process that is killed leaves neither a broker nor its data behind."""
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from support.kafka_broker import KafkaBroker\n"
        "broker = KafkaBroker(); broker.start(); print(broker.pid, broker._dir, flush=True); sys.stdin.read()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script, str(TESTS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pid, directory = parent.stdout.readline().split()
        assert psutil.pid_exists(int(pid))
        os.kill(parent.pid, signal.SIGKILL)

    wait_until(lambda: not psutil.pid_exists(int(pid)), "the orphaned broker to end")
    wait_until(lambda: not Path(directory).exists(), "the orphaned data to be removed")


def test_compaction_leaves_gaps(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """A compacted partition holds fewer records than offsets, and the newest record of every key."""
    name = kafka.create_compacted_topic(topic())
    kafka.produce(name, [(b"k%d" % (number % 3), b"%d" % number) for number in range(30)])

    kafka.wait_until_compacted(name)

    records = kafka.records(name)
    assert [(r.key, r.value) for r in records] == [(b"k0", b"27"), (b"k1", b"28"), (b"k2", b"29")]
    assert len(records) < kafka.end_offsets(name)[0] - kafka.start_offsets(name)[0]


def test_tombstones_are_removed(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """A later pass of the cleaner removes the tombstone as well as the record it deletes."""
    name = kafka.create_compacted_topic(topic())
    kafka.produce(name, [(b"a", b"1"), (b"b", b"1"), (b"a", None)])

    kafka.wait_until_compacted(name)
    kafka.roll_segment(name)

    wait_until(
        lambda: [(r.key, r.value) for r in kafka.records(name)] == [(b"b", b"1")], "the tombstone to go"
    )


def test_retention_moves_the_start(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """Records older than the retention time are removed within seconds and the start moves up to them."""
    name = kafka.create_topic(topic(), retention_ms=60_000, segment_ms=50)
    now_ms = int(time.time() * 1000)

    kafka.produce(name, [(b"old", b"1", 0, now_ms - 3_600_000)])
    kafka.produce(name, [(b"new", b"1", 0, now_ms)])

    wait_until(lambda: kafka.start_offsets(name) == {0: 1}, "the old record to be removed")


@pytest.mark.parametrize("isolation", ["read_committed", "read_uncommitted"])
def test_end_behind_a_commit_marker(
    kafka: KafkaTopics, topic: Callable[..., str], make_consumer: Callable[..., Consumer], isolation: str
) -> None:
    """Behind a commit marker the end is announced at the end offset, one past the last record's next."""
    name = kafka.create_topic(topic())
    producer = kafka.transactional_producer(name)
    producer.begin_transaction()
    kafka.produce(name, [(b"a", b"1"), (b"b", b"2")], producer=producer)
    producer.commit_transaction()
    kafka.await_transactions(name)
    consumer = make_consumer(isolation_level=isolation)

    offsets, end = read_to_end(consumer, name)

    assert (offsets, end) == ([0, 1], 3)
    assert {0: end} == kafka.end_offsets(name)
    assert end > offsets[-1] + 1
    assert end == position(consumer, name)


def test_end_behind_an_aborted_transaction(
    kafka: KafkaTopics, topic: Callable[..., str], make_consumer: Callable[..., Consumer]
) -> None:
    """Aborted records are not delivered, and the end is announced behind them and their marker."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", b"1")])
    producer = kafka.transactional_producer(name)
    producer.begin_transaction()
    kafka.produce(name, [(b"a", b"2"), (b"b", b"2")], producer=producer)
    producer.abort_transaction()
    kafka.await_transactions(name)

    offsets, end = read_to_end(make_consumer(), name)

    assert (offsets, end) == ([0], 4)
    assert {0: end} == kafka.end_offsets(name)


def test_end_before_an_open_transaction(
    kafka: KafkaTopics, topic: Callable[..., str], make_consumer: Callable[..., Consumer]
) -> None:
    """While a transaction is open the end is announced before its first record, whatever follows."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", b"1")])
    producer = kafka.transactional_producer(name)
    producer.begin_transaction()
    kafka.produce(name, [(b"a", b"2")], producer=producer)
    kafka.produce(name, [(b"b", b"1")])
    consumer = make_consumer()

    offsets, end = read_to_end(consumer, name)

    assert (offsets, end) == ([0], 1)
    assert kafka.end_offsets(name) == {0: 3}
    # The two ways to ask for the end differ: only the request to the broker honours the isolation level.
    assert consumer.get_watermark_offsets(TopicPartition(name, 0), cached=True) == (0, 3)
    assert consumer.get_watermark_offsets(TopicPartition(name, 0)) == (0, 1)
    producer.abort_transaction()


def test_end_of_a_compacted_tail(
    broker: KafkaBroker, topic: Callable[..., str], make_consumer: Callable[..., Consumer]
) -> None:
    """When compaction has removed the last record the end is still announced, but no position reaches it."""
    name = broker.create_compacted_topic(topic())
    # An hour ago, so that the repeated batch is late enough to close the segment.
    past_ms = int(time.time() * 1000) - 3_600_000
    writer = ZombieWriter(broker.bootstrap)
    broker.produce(name, [(b"kept", b"1", 0, past_ms), (b"gone", b"1", 0, past_ms)])
    writer.write(name, b"zombie", b"1", timestamp_ms=past_ms)
    broker.produce(name, [(b"gone", None, 0, past_ms)])
    writer.write(name, b"zombie", b"1", timestamp_ms=later_ms())
    wait_until(lambda: len(broker.records(name)) == 3, "the deleted record to be removed")
    broker.restart_cleaner()
    wait_until(lambda: len(broker.records(name)) == 2, "the tombstone to be removed")
    consumer = make_consumer()

    offsets, end = read_to_end(consumer, name)

    assert (offsets, end) == ([0, 2], 4)
    assert {0: end} == broker.end_offsets(name)
    assert position(consumer, name) == 3


def test_deleted_records_leave_an_empty_partition(
    kafka: KafkaTopics, topic: Callable[..., str], make_consumer: Callable[..., Consumer]
) -> None:
    """After all records are deleted start and end are equal and above zero, and a consumer has no position."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", b"1")] * 3)

    kafka.delete_records(name, {0: 3})

    consumer = make_consumer()
    assert read_to_end(consumer, name, start=3) == ([], 3)
    assert (kafka.start_offsets(name), kafka.end_offsets(name)) == ({0: 3}, {0: 3})
    assert position(consumer, name) == -1001


@pytest.mark.parametrize("mechanism", SCRAM_MECHANISMS)
def test_scram_needs_only_the_right_to_read_the_topic(
    broker: KafkaBroker, topic: Callable[..., str], make_consumer: Callable[..., Consumer], mechanism: str
) -> None:
    """A SCRAM user is refused a topic, and reads it by assignment once granted, without any group right."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"a", b"1")])
    admin = AdminClient(broker.scram_settings(mechanism=mechanism))

    refused = admin.list_topics(name, timeout=10).topics[name].error
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED

    broker.grant_read(broker.scram_user, name)
    assert read_to_end(make_consumer(**scram(broker, mechanism=mechanism)), name) == ([0], 1)


def test_wrong_scram_password_is_reported_at_once(
    broker: KafkaBroker, topic: Callable[..., str], make_consumer: Callable[..., Consumer]
) -> None:
    """A wrong password comes as an authentication error through ``error_cb`` within seconds."""
    name = broker.create_topic(topic())
    errors: list[int] = []
    settings = scram(broker, password="wrong")
    consumer = make_consumer(**settings, error_cb=lambda error: errors.append(error.code()))
    consumer.assign([TopicPartition(name, 0, 0)])

    def is_refused() -> bool:
        assert consumer.poll(0.05) is None
        return KafkaError._AUTHENTICATION in errors

    wait_until(is_refused, "the authentication error")


def test_recreated_topic_has_a_new_id(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """A topic that is deleted and made again is empty and has another topic id; until then it keeps its id."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"a", b"1")])
    first = kafka.topic_id(name)
    assert first == kafka.topic_id(name)

    kafka.recreate_topic(name, partitions=2)

    assert first != kafka.topic_id(name)
    assert kafka.end_offsets(name) == {0: 0, 1: 0}


def test_added_partitions_can_be_written(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """A partition that was added to a topic takes records at once."""
    name = kafka.create_topic(topic())

    kafka.add_partitions(name, 3)
    kafka.produce(name, [(b"a", b"1", 2)])

    assert kafka.end_offsets(name) == {0: 0, 1: 0, 2: 1}
