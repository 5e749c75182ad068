"""Facts about a cluster: topics, partitions, offsets. Only reads; every request has a timeout."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
    Uuid,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs don't export it

from ktframe.config.settings import ConfigValue, Settings
from ktframe.config.spelling import similar_names
from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    UnknownTopicError,
)
from ktframe.kafka.client import RETRY_SECONDS, Connection, answer_of, new_client
from ktframe.kafka.errors import PASSING, translate
from ktframe.kafka.protocol import Look, TopicFacts
from ktframe.kafka.survey import Cleanup, cleanup_of, cleanups, extents, last_timestamps, silent_ones

logger = logging.getLogger("ktframe.kafka")

RECONNECT: Final[Mapping[str, ConfigValue]] = MappingProxyType({"reconnect.backoff.max.ms": 1_000})
"""Defaults, which users may override: a broker that is back is found within two seconds, not ten."""

_SLICE_SECONDS = 0.5
_NO_TOPIC_ID = str(Uuid(0, 0))

_UNSUPPORTED = frozenset(
    {
        KafkaError.UNSUPPORTED_VERSION,
        KafkaError._UNSUPPORTED_FEATURE,  # noqa: SLF001 - librdkafka's word for the same
    },
)


Lookup: TypeAlias = Callable[[str, int, int], int]
"""Returns the offset of the first record of a topic and partition from a time on, for a mock cluster, which can't."""


class KafkaCluster:
    """A ``Cluster`` over one AdminClient.

    ``has_topic_ids`` None means that it is found out. For librdkafka's mock cluster, which never says that it has none,
    it has to be False.
    """

    def __init__(
        self, settings: Settings, *, has_topic_ids: bool | None = None, lookup: Lookup | None = None
    ) -> None:
        self._lookup = lookup
        self._is_mock = has_topic_ids is False
        self.bootstrap = settings.bootstrap
        self._timeout = settings.request_timeout
        self._mechanism = mechanism_of(settings)
        self._denied: KafkaError | None = None
        self._epochs: dict[str, dict[int, int]] = {}
        self._has_topic_ids = has_topic_ids
        config: dict[str, Any] = {
            **RECONNECT,
            **settings.librdkafka,
            "bootstrap.servers": settings.bootstrap,
            "error_cb": self._on_error,
            "log_level": 0,  # errors that matter are reported to error_cb
        }
        self._config = config
        self._connection = Connection(
            lambda: new_client(AdminClient, config), name=f"Kafka at {self.bootstrap}"
        )

    def close(self) -> None:
        """Disconnect once the requests under way are answered; a second call does nothing."""
        self._connection.close()

    def _on_error(self, error: KafkaError) -> None:
        if isinstance(self._translate(error), AuthenticationError):
            self._denied = error

    def cluster_id(self) -> str:
        """Return Kafka's id of the cluster."""
        return str(self._metadata().cluster_id)

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic that may be seen, internal ones left out."""
        topics: Mapping[str, Any] = self._metadata().topics
        return {
            name: len(t.partitions)
            for name, t in topics.items()
            if t.error is None and not name.startswith("__")
        }

    def topic(self, name: str) -> TopicFacts:
        """Return the number of partitions and the id of a topic.

        Raises
        ------
        UnknownTopicError
            When there is no such topic, with similar names.
        AuthorizationError
            When it may not be seen; Kafka then does not say whether it exists.
        """
        if self._has_topic_ids is False:
            return self._topic_from_metadata(name)
        try:
            description = self._connection.ask(partial(self._describe, name), self._timeout)
        except KafkaException as error:
            # Only these codes mean that the cluster has no topic ids. If a timeout were taken for it, recreated topics
            # would no longer be noticed, and a binding would go on in the new topic at its old offset.
            if self._has_topic_ids or error.args[0].code() not in _UNSUPPORTED:
                raise self._with_suggestions(self._meaning(error.args[0], name), name) from error
            logger.info(
                "this cluster has no topic ids: topics that are recreated can't be told from old ones"
            )
            self._has_topic_ids = False
            return self._topic_from_metadata(name)
        self._has_topic_ids = True
        return _facts_of(description)

    def _topic_from_metadata(self, name: str) -> TopicFacts:
        # All topics: a request for a single one would create it on clusters that create topics on demand.
        metadata = self._metadata().topics.get(name)
        if metadata is None:
            missing = UnknownTopicError(self.bootstrap, "no such topic", topic=name)
            raise self._with_suggestions(missing, name)
        if metadata.error is not None:
            raise self._meaning(metadata.error, name)
        return TopicFacts(len(metadata.partitions), None)

    def _with_suggestions(self, error: BrokerError, name: str) -> BrokerError:
        """Return ``error`` with the visible topics whose names are similar to ``name``, where that may help."""
        if isinstance(error, UnknownTopicError | AuthorizationError):
            close = similar_names(name, self.topics(), most=2)
            if isinstance(error, UnknownTopicError):
                error.suggestions = close
            elif close:
                error.reason += f"; may be read: {', '.join(close)}"
        return error

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log still holds, per partition."""
        return self._offsets(topic, partitions, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def end_offsets(self, topic: str, partitions: Iterable[int], *, committed: bool = True) -> dict[int, int]:
        """Return the offset after the last record, without those of open transactions if ``committed``."""
        level = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._noted(topic, self._answers(topic, partitions, OffsetSpec.latest(), level))

    def _noted(self, topic: str, answers: Mapping[int, Any]) -> dict[int, int]:
        """Return the offsets of ``answers``, and remember the leader epochs that they came from."""
        epochs = {p: answer.leader_epoch for p, answer in answers.items()}
        known = {p: epoch for p, epoch in epochs.items() if epoch is not None and epoch >= 0}
        self._epochs[topic] = {**self._epochs.get(topic, {}), **known}
        return {partition: answer.offset for partition, answer in answers.items()}

    def look(self, topic: str, partitions: int) -> Look | None:
        """Return what ``topic`` and ``end_offsets`` return, in one round trip; None where they have to be asked one by one.

        That is so where the topic has not so many ``partitions``, on clusters without topic ids, and after most errors.

        Raises
        ------
        BrokerUnreachableError, AuthenticationError
            When no broker has answered in time, or the login was refused: it would be no other one by one.
        """
        if not self._has_topic_ids:
            return None
        deadline = time.monotonic() + self._timeout
        try:
            described, *offsets = self._connection.ask(
                partial(self._ask_at_once, topic, range(partitions)), self._timeout
            )
        except KafkaException as error:
            meaning = self._meaning(error.args[0], topic)
            if isinstance(meaning, BrokerUnreachableError | AuthenticationError):
                raise meaning from error
            return None
        silent = sorted({partition for answers in offsets for partition in silent_ones(answers)})
        if silent and time.monotonic() > deadline:
            raise self._silence(silent)
        facts = _facts_of(described)
        if silent or facts.partitions != partitions:
            return None
        written, ends = (self._noted(topic, answers) for answers in offsets)
        return Look(facts, written, ends)

    def leader_epochs(self, topic: str) -> Mapping[int, int]:
        """Return the leader epoch of each partition that the last ``end_offsets`` came from."""
        return self._epochs.get(topic, {})

    def offsets_at(self, topic: str, partitions: Iterable[int], at_ms: int) -> dict[int, int]:
        """Return the offset of the first record from ``at_ms`` on, per partition; the end where there is none.

        librdkafka's mock cluster has no lookup by timestamp, and answers that no record is later: there the start is
        returned.
        """
        partitions = tuple(partitions)
        if self._lookup is not None:
            return {partition: self._lookup(topic, partition, at_ms) for partition in partitions}
        if at_ms < 0 or self._is_mock:
            return self.start_offsets(topic, partitions)
        # Before the lookup, or records that arrive between the two requests would be skipped.
        ends = self.end_offsets(topic, partitions, committed=False)
        spec = OffsetSpec.for_timestamp(at_ms)
        offsets = self._offsets(topic, partitions, spec, IsolationLevel.READ_UNCOMMITTED)
        return {partition: ends[partition] if offset < 0 else offset for partition, offset in offsets.items()}

    def _offsets(
        self, topic: str, partitions: Iterable[int], spec: OffsetSpec, level: IsolationLevel
    ) -> dict[int, int]:
        answers = self._answers(topic, partitions, spec, level)
        return {partition: answer.offset for partition, answer in answers.items()}

    def _answers(
        self, topic: str, partitions: Iterable[int], spec: OffsetSpec, level: IsolationLevel
    ) -> dict[int, Any]:
        request = partial(
            self._list_offsets, {TopicPartition(topic, partition): spec for partition in partitions}, level
        )
        deadline = time.monotonic() + self._timeout
        while True:
            try:
                answers = self._connection.ask(request, self._timeout)
                silent = silent_ones(answers)
                if not silent:
                    return answers
                if time.monotonic() > deadline:
                    raise self._silence(silent)
            except KafkaException as error:
                if error.args[0].code() not in PASSING or time.monotonic() > deadline:
                    raise self._meaning(error.args[0], topic) from error
            # Raises if the topic is gone: the error of the offsets would be the same. It also tells librdkafka the leader
            # epochs of now: with one from before a broker was restarted it is refused for ever (FENCED_LEADER_EPOCH).
            self.topic(topic)
            time.sleep(RETRY_SECONDS)

    def _silence(self, partitions: Iterable[int]) -> BrokerUnreachableError:
        leaders = f"the broker that leads partition {', '.join(map(str, partitions))} is silent"
        return BrokerUnreachableError(self.bootstrap, leaders)

    def extents(self, topics: Mapping[str, int]) -> dict[str, dict[int, range]]:
        """Return the offsets that the logs of many topics hold, without the topics where that is not known."""
        return extents(self._connection, topics, self._timeout)

    def cleanup_policy(self, topic: str) -> str | None:
        """Return ``delete``, ``compact`` or ``compact,delete``; None without the right to read it."""
        return self._cleanups([topic])[topic].policy

    def cleanup(self, topic: str) -> Cleanup:
        """Return the policy, and for how long tombstones are kept; both None without the right to read it.

        Raises
        ------
        BrokerError
            When no broker answers: that says nothing of the topic.
        """
        if self._has_topic_ids is False:  # see _cleanups
            return Cleanup()
        try:
            return self._connection.ask(partial(cleanup_of, topic), self._timeout)
        except KafkaException as error:
            meaning = self._meaning(error.args[0], topic)
            if isinstance(meaning, BrokerUnreachableError | AuthenticationError):
                raise meaning from error
            logger.debug("no cleanup policy of %s: %s", topic, error)
            return Cleanup()

    def cleanup_policies(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Return the cleanup policy of many topics."""
        return {topic: cleanup.policy for topic, cleanup in self._cleanups(topics).items()}

    def _cleanups(self, topics: Iterable[str]) -> dict[str, Cleanup]:
        if self._has_topic_ids is False:  # the mock cluster does not answer, and the request would time out
            return dict.fromkeys(topics, Cleanup())
        return cleanups(self._connection, topics, self._timeout)

    def last_timestamps(self, topics: Mapping[str, int]) -> dict[str, int | None]:
        """Return the greatest timestamp (ms) of a record of each topic, None where it is not known."""
        return last_timestamps(self._connection, topics, self._timeout)

    def _metadata(self) -> Any:
        try:
            return self._connection.ask(self._list_topics, self._timeout)
        except KafkaException as error:
            raise self._meaning(error.args[0]) from error

    def _list_topics(self, admin: AdminClient, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while True:
            try:
                return admin.list_topics(timeout=min(_SLICE_SECONDS, timeout))
            except KafkaException as error:
                # To this call a refused login looks like a slow answer. With short timeouts the callback is seen early.
                with suppress(KafkaException):
                    admin.poll(0)
                meaning = self._meaning(error.args[0])
                if isinstance(meaning, AuthenticationError):
                    self._connection.drop(admin)  # see Connection.ask
                if meaning.is_fatal:
                    raise meaning from error
                if time.monotonic() > deadline:
                    raise

    def _describe(self, topic: str, admin: AdminClient, timeout: float) -> Any:
        futures = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout)
        return answer_of(futures[topic], timeout, partial(self._refusal, admin))

    def _ask_at_once(
        self, topic: str, partitions: Iterable[int], admin: AdminClient, timeout: float
    ) -> tuple[Any, dict[int, Any], dict[int, Any]]:
        # A broker answers the requests of a connection in their order: what is committed is never more than what is written.
        described = admin.describe_topics(TopicCollection([topic]), request_timeout=timeout)
        latest = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions}
        levels = (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED)
        asked = [admin.list_offsets(latest, isolation_level=each, request_timeout=timeout) for each in levels]
        refusal = partial(self._refusal, admin)
        facts = answer_of(described[topic], timeout, refusal)
        written, ends = (
            {at.partition: answer_of(future, timeout, refusal) for at, future in futures.items()}
            for futures in asked
        )
        return facts, written, ends

    def _list_offsets(
        self,
        request: dict[TopicPartition, OffsetSpec],
        level: IsolationLevel,
        admin: AdminClient,
        timeout: float,
    ) -> dict[int, Any]:
        """Return the answers by partition."""
        futures = admin.list_offsets(request, isolation_level=level, request_timeout=timeout)
        refusal = partial(self._refusal, admin)
        return {at.partition: answer_of(future, timeout, refusal) for at, future in futures.items()}

    def _refusal(self, admin: AdminClient) -> KafkaError | None:
        """Return the error of a login that was refused: the client would try it again for the whole time of a request."""
        with suppress(KafkaException):
            admin.poll(0)
        return self._denied

    def _meaning(self, error: KafkaError, topic: str = "") -> BrokerError:
        denied, self._denied = self._denied, None
        return self._translate(denied or error, topic)

    def _translate(self, error: KafkaError, topic: str = "") -> BrokerError:
        return translate(
            error, bootstrap=self.bootstrap, mechanism=self._mechanism, topic=topic, config=self._config
        )


def _facts_of(description: Any) -> TopicFacts:
    topic_id = str(description.topic_id)
    return TopicFacts(len(description.partitions), None if topic_id == _NO_TOPIC_ID else topic_id)


def mechanism_of(settings: Settings) -> str:
    """Return the name of the SASL mechanism in use, empty without one."""
    mechanism = settings.librdkafka.get("sasl.mechanism", settings.librdkafka.get("sasl.mechanisms", ""))
    return str(mechanism)
