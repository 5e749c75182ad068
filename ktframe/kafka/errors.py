"""Translates librdkafka's errors into ktframe's: the only place that knows their codes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    ConfigurationError,
    DamagedRecordsError,
    OffsetOutOfRangeError,
    UnknownTopicError,
)
from ktframe.kafka.redaction import without_secrets, without_values

_NOTHING: Final[Mapping[str, object]] = MappingProxyType({})

DISCONNECTED = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001 - librdkafka's own codes start with an underscore
        KafkaError._DESTROY_BROKER,  # noqa: SLF001 - a broker that starts again may forget itself for a moment
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
    },
)
"""Errors of a request that no broker has answered."""

_UNREACHABLE = DISCONNECTED | frozenset(
    {
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    },
)

REFUSED_LOGIN = frozenset(
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
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
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

PASSING = frozenset(
    {
        # Just after a topic was created or a broker came back: metadata names a leader that does not know it yet.
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._NOENT,  # noqa: SLF001 - "no leaders found"
    },
)
"""Errors that go away when the request is repeated a moment later."""


def translate(
    error: KafkaError,
    *,
    bootstrap: str,
    mechanism: str = "",
    topic: str = "",
    partition: int = -1,
    config: Mapping[str, object] = _NOTHING,
    verb: str = "read",
) -> BrokerError:
    """Return ktframe's error for ``error``, without the secrets in ``config``; the caller raises it.

    ``verb`` is what was attempted: a user may be allowed to read and not to write.
    """
    code, reason = error.code(), f"{without_secrets(str(error.str()), config)} [{error.name()}]"
    if code in REFUSED_LOGIN:
        return AuthenticationError(bootstrap, reason, mechanism=mechanism)
    if code in _AUTHORIZATION:
        resource = f"topic {topic!r}" if topic else "the cluster"
        return AuthorizationError(bootstrap, reason, resource=resource, verb=verb)
    if code in _UNKNOWN_TOPIC:
        return UnknownTopicError(bootstrap, reason, topic=topic)
    if code in _OUT_OF_RANGE:
        return OffsetOutOfRangeError(bootstrap, reason, topic=topic, partition=partition)
    if code in _UNREACHABLE:
        return BrokerUnreachableError(bootstrap, reason)
    # What ``check.crcs`` finds. Without a partition it is a response that is no Kafka's, or too large.
    is_damage = code == KafkaError._BAD_MSG and partition >= 0  # noqa: SLF001
    kind = DamagedRecordsError if is_damage else BrokerError
    return kind(bootstrap, reason, is_fatal=error.fatal() or is_damage)


def refused_settings(error: Exception, config: Mapping[str, object]) -> ConfigurationError | BrokerError:
    """Return the error to raise when ``error`` kept a client from being made with ``config``; its text has no value.

    Raise it without ``error`` as its cause, whose text contains values.
    """
    if isinstance(error, KafkaException):
        if error.args[0].code() != KafkaError._INVALID_ARG:  # noqa: SLF001
            # Not the settings: an oauth_cb without a token, no memory, no threads.
            mechanism = config.get("sasl.mechanism", config.get("sasl.mechanisms", ""))
            bootstrap = str(config.get("bootstrap.servers", ""))
            return translate(error.args[0], bootstrap=bootstrap, mechanism=str(mechanism), config=config)
        reason = without_values(str(error.args[0].str()).strip(), config)
    elif isinstance(error, TypeError):
        reason = without_values(str(error), config)
    else:
        reason = f"{type(error).__name__}; is one of the values no proper text?"
    message = f"the Kafka client does not take these settings: {reason}"
    return ConfigurationError(message, "names and values are those of librdkafka, see its CONFIGURATION.md.")
