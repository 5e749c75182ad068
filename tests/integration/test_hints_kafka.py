"""Hints about writing to a real broker, each followed: the records are written."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import polars as pl
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from support.hinted import hinted
from support.hints import Hint
from support.kafka_topics import KafkaTopics

from ktframe.context.context import Context
from ktframe.errors import RegistryError
from ktframe.kafka.producer import IdempotentProducer
from ktframe.kafka.registry import RegistryClient

Connect = Callable[..., Context]
Topic = Callable[..., str]

SLOW_SECONDS = 1.5


def _rows(count: int, size: int) -> pl.DataFrame:
    """Return rows of so many characters each, which no compression makes smaller; the last has the key of the first."""
    keys = [f"k-{number}" for number in range(count - 1)]
    return pl.DataFrame({"key": [*keys, "k-0"], "x": [secrets.token_hex(size // 2) for _ in range(count)]})


def test_a_large_record_is_written_once_both_limits_are_raised(
    kafka: KafkaTopics, topic: Topic, connect: Connect
) -> None:
    """Either limit alone is not enough, both are."""
    hint = Hint(
        "kafka/delivery.py",
        "make the record smaller, or raise both limits: the topic's max.message.bytes, and message.max.bytes of the "
        "Kafka client (a million unless set; message_max_bytes= of ktframe.connect).",
    )
    name = kafka.create_topic(topic(), max_message_bytes=50_000)
    large = pl.DataFrame({"x": [secrets.token_hex(1_000_000)]})
    with hinted(hint) as found:
        connect(writable=True).publish(name, large)
    assert "message_max_bytes=" in found.text
    raised = connect(writable=True, message_max_bytes=3_000_000)
    with hinted(hint):
        raised.publish(name, large)
    raised.publish(name, large.with_columns(pl.col("x").str.head(10)))
    limit = ConfigEntry("max.message.bytes", "3000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[limit])
    for answer in kafka.admin.incremental_alter_configs([resource]).values():
        answer.result(10)
    raised.publish(name, large)
    assert raised.stream(name).to_polars()["x"].str.len_chars().to_list() == [10, 2_000_000]


def test_batches_below_the_limit_of_the_topic_keep_their_order(
    kafka: KafkaTopics, topic: Topic, connect: Connect
) -> None:
    """Of one key a record was refused with its batch, and a later one was written: with small batches all are."""
    hint = Hint(
        "kafka/delivery.py",
        "batches are smaller from now on; set batch_size= of ktframe.connect below the topic's limit.",
    )
    name = kafka.create_topic(topic(), max_message_bytes=200_000)
    rows = _rows(110, 10_000)
    with hinted(hint) as found:
        connect(writable=True).publish(name, rows, key="key")
    assert "batch_size=" in found.text
    again = connect(writable=True, batch_size=100_000)
    again.publish(name, rows, key="key")
    assert again.table(name).get("k-0")["x"] == rows["x"][-1]


def test_a_transaction_ends_in_the_time_that_the_hint_gives_it(
    kafka: KafkaTopics, topic: Topic, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow one is given up; with more time it is committed, and so is each of several calls that take less."""
    hint = Hint(
        "kafka/transaction.py",
        "a transaction must end within transaction.timeout.ms: give it more (transaction_timeout_ms= of "
        "ktframe.connect), or write in several calls.",
    )
    name = kafka.create_topic(topic())
    rows = pl.DataFrame({"n": range(4)})
    flush, began = IdempotentProducer.flush, time.monotonic()

    def slowly(producer: IdempotentProducer, seconds: float) -> int:
        is_slow = time.monotonic() - began < SLOW_SECONDS
        return (time.sleep(seconds) or 1) if is_slow else flush(producer, seconds)

    monkeypatch.setattr(IdempotentProducer, "flush", slowly)
    brief = connect(writable=True, transaction_timeout_ms=1_000)
    with hinted(hint) as found:
        brief.publish(name, rows, atomic=True)
    assert "transaction_timeout_ms=" in found.text
    began = time.monotonic()
    connect(writable=True, transaction_timeout_ms=60_000).publish(name, rows, atomic=True)
    for part in rows.iter_slices(2):
        brief.publish(name, part, atomic=True)
    assert brief.stream(name).to_polars()["n"].to_list() == [*range(4), *range(4)]


def test_names_of_settings_are_those_of_the_clients(kafka: KafkaTopics, connect: Connect) -> None:
    """A name of librdkafka is taken, and so is one of Confluent's registry client."""
    hint = Hint("kafka/errors.py", "names and values are those of librdkafka, see its CONFIGURATION.md.")
    with hinted(hint):
        connect(config={"no.such.name": "x"})
    assert connect(config={"client.id": "x"}).topics() is not None
    hint = Hint("kafka/registry.py", "names and values are those of confluent-kafka's SchemaRegistryClient.")
    url = "http://127.0.0.1:9"
    with hinted(hint):
        RegistryClient({"url": url, "basic.auth.user.info": "ada"}, 0.1).latest("t-value")
    with pytest.raises(RegistryError):
        RegistryClient({"url": url, "basic.auth.user.info": "ada:secret"}, 0.1).latest("t-value")
