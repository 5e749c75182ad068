"""Facts about many topics at once, in one request each. What can't be found out is left out or None, not raised."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

from ktframe.kafka.client import RETRY_SECONDS, Connection, answer_of
from ktframe.kafka.errors import PASSING

logger = logging.getLogger("ktframe.kafka")
T = TypeVar("T")
_WAIT_SECONDS = 1.0


def extents(connection: Connection, topics: Mapping[str, int], timeout: float) -> dict[str, dict[int, range]]:
    """Return the offsets that each partition of each topic holds, without the topics where that is unknown."""
    starts, ends = (
        _offsets_of(connection, topics, spec, timeout)
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
    )
    by_topic: dict[str, dict[int, range]] = {}
    for topic, count in topics.items():
        partitions = [TopicPartition(topic, partition) for partition in range(count)]
        if all(partition in starts and partition in ends for partition in partitions):
            by_topic[topic] = {
                at.partition: range(starts[at].offset, max(starts[at].offset, ends[at].offset))
                for at in partitions
            }
    return by_topic


def last_timestamps(
    connection: Connection, topics: Mapping[str, int], timeout: float
) -> dict[str, int | None]:
    """Return the greatest timestamp (ms) of a record of each topic, None where there is none or it is not known."""
    times: dict[str, int | None] = dict.fromkeys(topics)
    for partition, answer in _offsets_of(connection, topics, OffsetSpec.max_timestamp(), timeout).items():
        if answer.timestamp >= 0:
            times[partition.topic] = max(times[partition.topic] or 0, answer.timestamp)
    return times


@dataclass(frozen=True, slots=True)
class Cleanup:
    """How Kafka cleans up a topic; None where that may not be read.

    ``policy`` is "delete", "compact" or "compact,delete"; compaction keeps a tombstone for ``tombstones_ms``.
    """

    policy: str | None = None
    tombstones_ms: int | None = None


def cleanup_of(topic: str, admin: AdminClient, timeout: float) -> Cleanup:
    """Return how one topic is cleaned up; raises the error of a request that was refused, or that nobody answered."""
    futures = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=timeout)
    return _cleanup(answer_of(next(iter(futures.values())), timeout))


def cleanups(connection: Connection, topics: Iterable[str], timeout: float) -> dict[str, Cleanup]:
    """Return how each topic is cleaned up."""
    resources = {ConfigResource(ResourceType.TOPIC, topic): topic for topic in topics}
    found = dict.fromkeys(resources.values(), Cleanup())
    if not resources:
        return found
    try:
        with connection.client() as admin:
            futures = admin.describe_configs(list(resources), request_timeout=timeout)
            answers = {resources[resource]: _answer(future, timeout) for resource, future in futures.items()}
    except KafkaException as error:
        logger.debug("no cleanup policies: %s", error)
        return found
    return found | {topic: _cleanup(each) for topic, each in answers.items() if isinstance(each, dict)}


def _cleanup(configs: Mapping[str, Any]) -> Cleanup:
    policy, kept = configs.get("cleanup.policy"), configs.get("delete.retention.ms")
    return Cleanup(
        None if policy is None else ",".join(sorted(str(policy.value).split(","))),
        None if kept is None else int(kept.value),
    )


def _offsets_of(
    connection: Connection, topics: Mapping[str, int], spec: OffsetSpec, timeout: float
) -> dict[TopicPartition, Any]:
    """Return the brokers' answer for each partition, without the partitions that got none."""
    missing = [
        TopicPartition(topic, partition) for topic, count in topics.items() for partition in range(count)
    ]
    known: dict[TopicPartition, Any] = {}
    deadline = time.monotonic() + min(timeout, _WAIT_SECONDS)
    while missing:
        answers = _list_offsets(connection, missing, spec, timeout)
        given = {at: answer for at, answer in answers.items() if not isinstance(answer, Exception)}
        silent = silent_ones(given)
        known |= {at: answer for at, answer in given.items() if at not in silent}
        missing = [at for at, answer in answers.items() if _is_passing(answer)]
        if time.monotonic() > deadline:
            break
        if missing:
            time.sleep(RETRY_SECONDS)
    return known


def _list_offsets(
    connection: Connection, partitions: Iterable[TopicPartition], spec: OffsetSpec, timeout: float
) -> dict[TopicPartition, Any]:
    request = dict.fromkeys(partitions, spec)
    level = IsolationLevel.READ_UNCOMMITTED
    try:
        with connection.client() as admin:
            futures = admin.list_offsets(request, isolation_level=level, request_timeout=timeout)
            return {at: _answer(future, timeout) for at, future in futures.items()}
    except KafkaException as error:
        return dict.fromkeys(request, error)


def _answer(future: Future[T], timeout: float) -> T | Exception:
    try:
        return answer_of(future, timeout)
    except KafkaException as error:
        return error


def silent_ones(answers: Mapping[T, Any]) -> list[T]:
    """Return those whose broker has not answered; librdkafka raises no error where other brokers have."""
    return [each for each, answer in answers.items() if answer.offset == OFFSET_INVALID]


def _is_passing(answer: object) -> bool:
    return isinstance(answer, KafkaException) and answer.args[0].code() in PASSING
