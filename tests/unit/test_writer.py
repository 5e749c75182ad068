"""KafkaWriter on librdkafka's mock broker: what is sent is there and where, and no setting weakens that."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, Producer

from ktframe.config.settings import Settings
from ktframe.errors import ConfigurationError, ContextClosedError, WriteError
from ktframe.kafka.client import new_client
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.delivery import Delivery
from ktframe.kafka.mock_broker import MockBroker, SampleRecord
from ktframe.kafka.producer import IdempotentProducer, ProducerKind, writing_config
from ktframe.kafka.reader import reading_config
from ktframe.kafka.writer import KafkaWriter, OutgoingRecords, Sent

NEAR_SECONDS = 60.0
NOWHERE = Settings(bootstrap="localhost:1")


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Yield the settings of a mock cluster with the topic ``t`` of four partitions, one record in it."""
    with closing(MockBroker()) as broker:
        broker.load("t", [SampleRecord(b"k", b"v", 1)])
        yield Settings(bootstrap=broker.bootstrap)


@pytest.fixture
def writer(settings: Settings) -> Iterator[KafkaWriter]:
    """Yield a writer to that cluster."""
    with closing(KafkaWriter(settings)) as writer:
        yield writer


def numbered(count: int) -> OutgoingRecords:
    """Return so many records with different keys."""
    return OutgoingRecords([b"%d" % number for number in range(count)], [b"v"] * count)


@pytest.mark.parametrize("atomic", [False, True])
def test_sent_has_the_place_of_each_record(writer: KafkaWriter, *, atomic: bool) -> None:
    """Offsets of a partition rise in the order of its records, and the end is behind the last."""
    records = OutgoingRecords([b"a"] * 5, [b"v"] * 5, partitions=[1, 3, 1, 3, 1])

    sent = writer.send("t", records, timeout=NEAR_SECONDS, atomic=atomic)

    start = {1: sent.offsets[0], 3: sent.offsets[1]}
    assert sent.partitions == [1, 3, 1, 3, 1]
    assert sent.offsets == [start[1], start[3], start[1] + 1, start[3] + 1, start[1] + 2]
    assert sent.ends == {1: start[1] + 3, 3: start[3] + 2}
    assert len(sent) == 5


def test_nothing_to_send_needs_no_broker() -> None:
    """No record is written without a client."""
    with closing(KafkaWriter(NOWHERE)) as writer:
        assert writer.send("t", OutgoingRecords([], []), timeout=0.1) == Sent()


def test_more_records_than_the_queue_takes(settings: Settings) -> None:
    """A full queue is waited for."""
    narrow = Settings(
        bootstrap=settings.bootstrap, librdkafka={"queue.buffering.max.messages": 100, "linger.ms": 1}
    )
    with closing(KafkaWriter(narrow)) as writer:
        assert sum(writer.send("t", numbered(5_000), timeout=NEAR_SECONDS).ends.values()) >= 5_000


def test_one_producer_serves_one_send_after_another(writer: KafkaWriter) -> None:
    """The client is made once, and once more for sends in a transaction."""
    for _ in range(3):
        writer.send("t", numbered(2), timeout=NEAR_SECONDS)
        writer.send("t", numbered(2), timeout=NEAR_SECONDS, atomic=True)

    kinds = [producer.kind for producer in writer._pool._idle]
    assert sorted(kind.is_transactional for kind in kinds) == [False, True]


def test_threads_send_at_the_same_time(writer: KafkaWriter) -> None:
    """Sends of several threads do not hinder each other, and each is told of its own records only."""
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(writer.send, "t", numbered(2_000), timeout=NEAR_SECONDS, atomic=number % 2 == 0)
            for number in range(8)
        ]
        sent = [job.result() for job in jobs]

    places = [place for each in sent for place in zip(each.partitions, each.offsets, strict=True)]
    assert len(places) == len(set(places)) == 16_000


def test_a_closed_writer_leaves_nothing(settings: Settings) -> None:
    """Closing ends the client's threads; sending is refused afterwards, and closing again does nothing."""
    threads = psutil.Process().num_threads()
    writer = KafkaWriter(settings)
    writer.send("t", numbered(2), timeout=NEAR_SECONDS)
    writer.send("t", numbered(2), timeout=NEAR_SECONDS, atomic=True)
    assert psutil.Process().num_threads() > threads

    writer.close()
    writer.close()

    assert psutil.Process().num_threads() <= threads
    with pytest.raises(ContextClosedError):
        writer.send("t", numbered(2), timeout=NEAR_SECONDS)


@pytest.mark.slow
def test_a_record_that_the_client_finds_too_large(writer: KafkaWriter) -> None:
    """It fails alone; in a transaction it takes the others with it."""
    records = OutgoingRecords([b"a", b"large", b"c"], [b"1", b"x" * 2_000_000, b"3"])

    with pytest.raises(WriteError, match="2 of 3") as caught:
        writer.send("t", records, timeout=NEAR_SECONDS)
    assert (list(caught.value.written), list(caught.value.failed)) == ([0, 2], [1])
    with pytest.raises(WriteError, match="0 of 3") as caught:
        writer.send("t", records, timeout=NEAR_SECONDS, atomic=True)
    assert (list(caught.value.written), list(caught.value.failed)) == ([], [0, 1, 2])
    assert "message_max_bytes=" in str(caught.value)


@pytest.mark.slow
def test_a_transaction_has_a_time_of_its_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A send that may take longer than its transaction is given up with it, and says what to set."""
    brief = Settings(bootstrap=settings.bootstrap, librdkafka={"transaction.timeout.ms": 1_000})
    monkeypatch.setattr(IdempotentProducer, "flush", lambda *_: time.sleep(0.05) or 1)
    with (
        closing(KafkaWriter(brief)) as writer,
        pytest.raises(WriteError, match="transaction_timeout_ms=") as caught,
    ):
        writer.send("t", numbered(3), timeout=NEAR_SECONDS, atomic=True)
    assert sorted(caught.value.failed) == [0, 1, 2]


def test_a_topic_that_is_not_there(writer: KafkaWriter) -> None:
    """It is refused within moments, and not created, although the cluster would on demand."""
    started = time.monotonic()
    with pytest.raises(WriteError, match=r"0 of 2.*'nothing' does not exist") as caught:
        writer.send("nothing", numbered(2), timeout=NEAR_SECONDS)

    assert time.monotonic() - started < 5
    assert sorted(caught.value.failed) == [0, 1]
    assert caught.value.unknown == []


def test_nobody_answers() -> None:
    """The send is over when its time is, and it is certain that nothing was sent."""
    started = time.monotonic()
    with closing(KafkaWriter(NOWHERE)) as writer, pytest.raises(WriteError) as caught:
        writer.send("t", numbered(2), timeout=0.5)

    assert time.monotonic() - started < 4
    assert sorted(caught.value.failed) == [0, 1]
    assert "Connection refused" in caught.value.failed[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {"acks": 1},
        {"enable.idempotence": False},
        {"allow.auto.create.topics": True},
    ],
    ids=",".join,
)
@pytest.mark.parametrize("atomic", [False, True])
def test_users_can_not_weaken_a_write(settings: Settings, config: dict[str, Any], *, atomic: bool) -> None:
    """Settings that would lose or repeat records, or make topics, have no effect."""
    theirs = Settings(bootstrap=settings.bootstrap, librdkafka=config)
    used = writing_config(theirs, print, transactional_id="ours" if atomic else "")

    assert (used["acks"], used["enable.idempotence"]) == ("all", True)
    assert not used["allow.auto.create.topics"]
    assert used.get("transactional.id") == ("ours" if atomic else None)
    with closing(KafkaWriter(theirs)) as writer:
        assert len(writer.send("t", numbered(3), timeout=NEAR_SECONDS, atomic=atomic)) == 3


def test_users_may_tune() -> None:
    """What makes writing faster or goes elsewhere is theirs."""
    config = {"linger.ms": 50, "compression.type": "zstd", "partitioner": "fnv1a", "batch.size": 1_000}
    used = writing_config(Settings(bootstrap="localhost:1", librdkafka=config), print)
    assert used.items() >= config.items()


def test_no_client_warns_of_the_settings_of_the_other(caplog: pytest.LogCaptureFixture) -> None:
    """All clients share the user's settings; one that is not meant for a client is ignored without a word."""
    config: dict[str, Any] = {
        "partitioner": "murmur2_random",
        "linger.ms": 5,
        "compression.type": "lz4",
        "fetch.wait.max.ms": 10,
        "group.id": "g",
        "auto.offset.reset": "earliest",
    }
    both = Settings(bootstrap="localhost:1", librdkafka=config)
    with caplog.at_level(logging.DEBUG):
        new_client(Consumer, reading_config(both, print)).close()
        new_client(Producer, writing_config(both, print)).poll(0.1)
        KafkaCluster(both).close()
    assert [record for record in caplog.records if "CONFWARN" in record.getMessage()] == []


def test_settings_that_are_refused() -> None:
    """The client's refusal is an error of configuration, and the writer is fit for closing."""
    wrong = Settings(bootstrap="localhost:1", librdkafka={"compression.type": "zip", "sasl.password": "hush"})
    with (
        closing(KafkaWriter(wrong)) as writer,
        pytest.raises(ConfigurationError, match=r"compression\.") as caught,
    ):
        writer.send("t", numbered(1), timeout=NEAR_SECONDS)
    assert "hush" not in str(caught.value)


def test_columns_must_fit() -> None:
    """Columns of different lengths and timestamps that can't be sent are refused at once."""
    with pytest.raises(ConfigurationError, match="different lengths"):
        OutgoingRecords([b"a"], [b"1", b"2"])
    for at in (0, -1):
        with pytest.raises(ConfigurationError, match="1970"):
            OutgoingRecords([b"a"], [b"1"], timestamps=[at])


def _message(partition: int, offset: int | None) -> SimpleNamespace:
    return SimpleNamespace(partition=lambda: partition, offset=lambda: offset)


def test_an_acknowledgement_without_an_offset(writer: KafkaWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record counts as written, and the end is that of the log: whoever reads up to it has read the record."""
    lost = Delivery._note

    def without_offset(delivery: Delivery, index: int, error: Any, message: Any) -> None:
        lost(delivery, index, error, _message(message.partition(), None) if index == 2 else message)

    monkeypatch.setattr(Delivery, "_note", without_offset)
    records = OutgoingRecords([b"a"] * 3, [b"v"] * 3, partitions=[0] * 3)
    first = writer.send("t", records, timeout=NEAR_SECONDS)

    assert first.offsets[:2] == [first.ends[0] - 3, first.ends[0] - 2]
    assert first.offsets[2] == -1


def test_closing_waits_for_a_send(settings: Settings) -> None:
    """A send that is under way ends before the writer is closed."""
    writer = KafkaWriter(settings)
    with ThreadPoolExecutor(2) as pool:
        with writer._pool.lend(ProducerKind(), "t") as producer:
            closing_job = pool.submit(writer.close)
            delivery = Delivery("t", numbered(10))
            delivery.run(producer, time.monotonic() + NEAR_SECONDS)
            assert not closing_job.done()
        closing_job.result(NEAR_SECONDS)
    assert delivery.is_complete
