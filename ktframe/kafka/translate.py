"""librdkafka's errors in ktframe's terms: the one place that knows their codes."""

from __future__ import annotations

from confluent_kafka import KafkaError

from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    OffsetOutOfRangeError,
    UnknownTopicError,
)

_UNREACHABLE = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's own codes start with an underscore
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    },
)
_AUTHENTICATION = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.ILLEGAL_SASL_STATE,
        KafkaError._SSL,  # noqa: SLF001
    },
)
_AUTHORIZATION = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    },
)
_UNKNOWN_TOPIC = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError.TOPIC_EXCEPTION,
    },
)
_OUT_OF_RANGE = frozenset(
    {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE},  # noqa: SLF001
)


def translate(
    error: KafkaError, *, bootstrap: str, mechanism: str = "", topic: str = "", partition: int = -1
) -> BrokerError:
    """Return what ``error`` means; the caller raises it from the exception it caught."""
    code, reason = error.code(), f"{error.str()} [{error.name()}]"
    if code in _AUTHENTICATION:
        return AuthenticationError(bootstrap, reason, mechanism=mechanism)
    if code in _AUTHORIZATION:
        return AuthorizationError(bootstrap, reason, resource=f"topic {topic!r}" if topic else "the cluster")
    if code in _UNKNOWN_TOPIC:
        return UnknownTopicError(bootstrap, reason, topic=topic)
    if code in _OUT_OF_RANGE:
        return OffsetOutOfRangeError(bootstrap, reason, topic=topic, partition=partition)
    if code in _UNREACHABLE:
        return BrokerUnreachableError(bootstrap, reason)
    return BrokerError(bootstrap, reason, is_fatal=error.fatal())
