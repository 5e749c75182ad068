"""Reads a few records of many topics within a deadline, to inspect them. Stores nothing, commits nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ktframe.config.settings import Settings
from ktframe.errors import BrokerError, OffsetOutOfRangeError
from ktframe.fold.records import RecordBatch
from ktframe.kafka.client import new_client
from ktframe.kafka.cluster import mechanism_of
from ktframe.kafka.errors import translate
from ktframe.kafka.reader import HARMLESS, columns_of, reading_config

_POLL_SECONDS = 0.1
_BATCH_RECORDS = 1_000
_MOST_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Up to ``count`` records of a partition, beginning at offset ``start``."""

    start: int
    count: int


@dataclass(frozen=True, slots=True)
class Sample:
    """The records of a topic that could be read in time, and the error that kept others from being read."""

    batch: RecordBatch = field(default_factory=RecordBatch)
    failure: BrokerError | None = None
    is_large: bool = False
    """Whether others were not read because these are many bytes."""


RangesByTopic: TypeAlias = Mapping[str, Mapping[int, OffsetRange]]
"""The ranges to read, per topic and partition."""


class Sampler(Protocol):
    """Reads parts of topics; owned by one thread, which closes it."""

    def read(self, ranges_by_topic: RangesByTopic, seconds: float) -> dict[str, Sample]:
        """Return what could be read of each topic in ``seconds``; sooner if all ranges, or their ends, are reached."""

    def close(self) -> None:
        """Stop reading."""


OpenSampler: TypeAlias = Callable[[], Sampler]


class KafkaSampler:
    """A ``Sampler`` over one Consumer for all topics."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.bootstrap
        self._mechanism = mechanism_of(settings)
        self._failure: BrokerError | None = None
        self._config = reading_config(
            settings,
            self._on_error,
            # Small fetches: only little is needed of many partitions, and the deadline is near.
            fetch_message_max_bytes=131_072,
            queued_max_messages_kbytes=16_384,
        )
        self._consumer = new_client(Consumer, self._config)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() not in HARMLESS:
            meaning = self._translate(error)
            if meaning.is_fatal or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
                self._failure = meaning

    def read(self, ranges_by_topic: RangesByTopic, seconds: float) -> dict[str, Sample]:
        """Return what could be read of each topic in ``seconds``."""
        deadline = time.monotonic() + seconds
        reading = _Reading(ranges_by_topic, self._translate)
        try:
            partitions = [
                TopicPartition(topic, partition, offsets.start)
                for topic, ranges in ranges_by_topic.items()
                for partition, offsets in ranges.items()
            ]
            self._consumer.assign(partitions)
            while not reading.is_over and self._failure is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                first = self._consumer.poll(min(left, _POLL_SECONDS))
                if first is not None:
                    done = reading.take([first, *self._consumer.consume(_BATCH_RECORDS, 0)])
                    if done and not reading.is_over:
                        # Otherwise long logs are read on while others are waited for. pause() would do as well, but
                        # librdkafka may take a second to notice the resume.
                        self._consumer.incremental_unassign(done)
            self._consumer.unassign()
        except KafkaException as error:
            self._failure = self._translate(error.args[0])
        failure, self._failure = self._failure, None
        return reading.samples(failure)

    def _translate(self, error: KafkaError, topic: str = "") -> BrokerError:
        return translate(
            error, bootstrap=self._bootstrap, mechanism=self._mechanism, topic=topic, config=self._config
        )

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


class _Reading:
    """The records of one ``read`` so far, and what is missing."""

    def __init__(
        self, ranges_by_topic: RangesByTopic, translate: Callable[[KafkaError, str], BrokerError]
    ) -> None:
        self._translate = translate
        self._missing = {
            (topic, partition): offsets.count
            for topic, ranges in ranges_by_topic.items()
            for partition, offsets in ranges.items()
        }
        self._messages: dict[str, list[Any]] = {topic: [] for topic in ranges_by_topic}
        self._failures: dict[str, BrokerError] = {}
        self._bytes = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing is missing, or the memory limit is reached."""
        return not self._missing or self._bytes > _MOST_BYTES

    def take(self, messages: list[Any]) -> list[TopicPartition]:
        """Add messages, ends and errors; return the partitions that are complete."""
        done: list[TopicPartition] = []
        for message in messages:
            at = message.topic(), message.partition()
            if at not in self._missing:
                continue
            if message.error() is not None:
                self._add_error(at, message.error())
                continue
            self._messages[at[0]].append(message)
            self._bytes += len(message)
            self._missing[at] -= 1
            if self._missing[at] <= 0:
                del self._missing[at]
                done.append(TopicPartition(*at))
        return done

    def _add_error(self, at: tuple[str, int], error: KafkaError) -> None:
        if error.code() in HARMLESS:
            return
        del self._missing[at]
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
            return
        meaning = self._translate(error, at[0])
        # Retention removed the range meanwhile: not a failure of the topic.
        if not isinstance(meaning, OffsetOutOfRangeError):
            self._failures.setdefault(at[0], meaning)

    def samples(self, failure: BrokerError | None) -> dict[str, Sample]:
        """Return the samples; ``failure`` is an error that concerns all topics."""
        return {
            topic: Sample(
                columns_of(messages, with_headers=True),
                self._failures.get(topic, failure),
                is_large=self._bytes > _MOST_BYTES and any(of == topic for of, _ in self._missing),
            )
            for topic, messages in self._messages.items()
        }
