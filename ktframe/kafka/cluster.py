"""Facts about a cluster: topics, partitions, offsets. Asks, never changes anything; every question has a timeout."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from ktframe.errors import AuthenticationError, BrokerError, UnknownTopicError
from ktframe.kafka.translate import translate
from ktframe.settings import Settings

logger = logging.getLogger("ktframe.kafka")


class Cluster(Protocol):
    """What the rest of ktframe asks of Kafka; any thread may ask."""

    @property
    def bootstrap(self) -> str:
        """The address, as it appears in messages."""

    def cluster_id(self) -> str:
        """Return Kafka's id of the cluster."""

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic that may be seen, internal ones left out."""

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of ``topic``."""

    def topic_id(self, topic: str) -> str | None:
        """Return Kafka's id of the topic, which changes when it is made anew; None where the cluster has none."""

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log still holds, per partition."""

    def end_offsets(self, topic: str, partitions: Iterable[int], *, committed: bool = True) -> dict[int, int]:
        """Return the offset behind the last record (of committed transactions only, unless told otherwise)."""


class KafkaCluster:
    """A ``Cluster`` over one AdminClient."""

    def __init__(self, settings: Settings) -> None:
        self.bootstrap = settings.bootstrap
        self._timeout = settings.request_timeout
        self._mechanism = str(settings.librdkafka.get("sasl.mechanism", settings.librdkafka.get("sasl.mechanisms", "")))
        self._denied: KafkaError | None = None
        self._has_topic_ids = True
        config: dict[str, Any] = {
            **settings.librdkafka,
            "bootstrap.servers": settings.bootstrap,
            "error_cb": self._on_error,
            "socket.connection.setup.timeout.ms": 10_000,
            "log_level": 0,  # what matters comes through error_cb
        }
        self._admin = AdminClient(config, logger=logger)

    def _on_error(self, error: KafkaError) -> None:
        if isinstance(translate(error, bootstrap=self.bootstrap), AuthenticationError):
            self._denied = error

    def cluster_id(self) -> str:
        """Return Kafka's id of the cluster."""
        return str(self._metadata().cluster_id)

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic that may be seen, internal ones left out."""
        topics: Mapping[str, Any] = self._metadata().topics
        return {name: len(t.partitions) for name, t in topics.items() if t.error is None and not name.startswith("__")}

    def partitions(self, topic: str) -> int:
        """Return the number of partitions of ``topic``.

        Raises
        ------
        UnknownTopicError
            When there is no such topic, with the names that come close.
        """
        # All topics, because asking for one by name makes it on clusters that create topics on demand.
        metadata = self._metadata()
        found = metadata.topics.get(topic)
        if found is None:
            close = tuple(difflib.get_close_matches(topic, metadata.topics, n=2))
            raise UnknownTopicError(self.bootstrap, "no such topic", topic=topic, suggestions=close)
        if found.error is not None:
            raise translate(found.error, bootstrap=self.bootstrap, topic=topic)
        return len(found.partitions)

    def topic_id(self, topic: str) -> str | None:
        """Return Kafka's id of the topic, which changes when it is made anew; None where the cluster has none."""
        if not self._has_topic_ids:
            return None
        try:
            future = self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._timeout)[topic]
            found = future.result(self._timeout + 1)
        except (KafkaException, TimeoutError) as error:
            logger.info("topic ids can't be read on this cluster: %s", error)
            self._has_topic_ids = False
            return None
        identifier = found.topic_id
        return None if identifier is None else str(identifier)

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log still holds, per partition."""
        return self._offsets(topic, partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def end_offsets(self, topic: str, partitions: Iterable[int], *, committed: bool = True) -> dict[int, int]:
        """Return the offset behind the last record (of committed transactions only, unless told otherwise)."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._offsets(topic, partitions, OffsetSpec.latest(), level)

    def _offsets(self, topic: str, partitions: Iterable[int], spec: OffsetSpec, level: IsolationLevel) -> dict[int, int]:
        asked = {TopicPartition(topic, partition): spec for partition in partitions}
        if not asked:
            return {}
        futures = self._admin.list_offsets(asked, isolation_level=level, request_timeout=self._timeout)
        offsets = {}
        for at, future in futures.items():
            try:
                offsets[at.partition] = future.result(self._timeout + 1).offset
            except KafkaException as error:
                raise self._meaning(error.args[0], topic, at.partition) from error
        return offsets

    def _metadata(self) -> Any:
        try:
            return self._admin.list_topics(timeout=self._timeout)
        except KafkaException as error:
            raise self._meaning(error.args[0]) from error

    def _meaning(self, error: KafkaError, topic: str = "", partition: int = -1) -> BrokerError:
        # A refused login reaches a request as a mere timeout; what it really was comes through the callback.
        with suppress(KafkaException):
            self._admin.poll(0)
        return translate(
            self._denied or error, bootstrap=self.bootstrap, mechanism=self._mechanism, topic=topic, partition=partition
        )
