"""An idempotent producer (each record is written once, by all in-sync replicas), with the last error it reported.

Which records to send, and what became of each, is the business of ``delivery.py`` and ``transaction.py``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from ktframe.config.settings import ConfigValue, Settings
from ktframe.errors import AuthenticationError, BrokerError, UnknownTopicError
from ktframe.kafka.client import new_client
from ktframe.kafka.cluster import RECONNECT, mechanism_of
from ktframe.kafka.errors import translate
from ktframe.process.threads import Tell, ignore

logger = logging.getLogger("ktframe.kafka.producer")

# librdkafka logs fatal errors as well; they are raised where the producer is used.
logger.addFilter(lambda record: not str(record.msg).startswith("FATAL"))


SLICE_SECONDS: Final = 0.1
"""How long one call into the client may block. Ctrl-C and callbacks are handled between calls."""

_METADATA_SECONDS: Final = 0.5
_NEW_TOPIC_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0


def writing_config(
    settings: Settings,
    on_error: Callable[[KafkaError], object],
    *,
    transactional_id: str = "",
    batching: Mapping[str, ConfigValue] | None = None,
) -> dict[str, Any]:
    """Return the settings of an idempotent producer; a user can't turn idempotence off.

    ``batching`` wins over the user's own settings.
    """
    # No limit per record: ``Delivery`` watches the deadline. In a transaction librdkafka applies the transaction's limit.
    limit = {"transactional.id": transactional_id} if transactional_id else {"message.timeout.ms": 0}
    return {
        "partitioner": "murmur2_random",  # Java's: a key goes to one partition, whichever client writes it
        "transaction.timeout.ms": 60_000,
        **RECONNECT,
        **settings.librdkafka,
        **(batching or {}),
        **limit,
        "bootstrap.servers": settings.bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "allow.auto.create.topics": False,
        "statistics.interval.ms": 0,  # nothing would collect them while the producer is idle
        "error_cb": on_error,
        "log_level": 0,
    }


@dataclass(frozen=True, slots=True)
class ProducerKind:
    """What a producer is for; ``batching`` are librdkafka settings, as pairs of name and value."""

    is_transactional: bool = False
    batching: tuple[tuple[str, ConfigValue], ...] = ()


class IdempotentProducer:
    """One librdkafka producer and the last error it reported. Used by one thread at a time."""

    def __init__(self, settings: Settings, kind: ProducerKind, transactional_id: str = "") -> None:
        self.kind = kind
        self.transactional_id = transactional_id
        self.is_initialised = False
        """Whether ``init_transactions`` has succeeded."""
        self.has_delivered = False
        """Whether any of its records was ever acknowledged."""
        self.is_unusable = False
        """Whether it must not be used again: it may still hold failed records or a failed transaction."""
        self.idle_since = 0.0
        self.bootstrap = settings.bootstrap
        self._mechanism = mechanism_of(settings)
        self._topic = ""
        self._tell: Tell = ignore
        self._failure: BrokerError | None = None
        self._last_error: KafkaError | None = None
        self._config = writing_config(
            settings, self._on_error, transactional_id=transactional_id, batching=dict(kind.batching)
        )
        self.client = new_client(_new_producer, self._config)

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = error
        meaning = self.meaning(error)
        if isinstance(meaning, AuthenticationError):
            self._failure = meaning

    def meaning(self, error: KafkaError) -> BrokerError:
        """Return ktframe's error for an error of librdkafka while writing to the current topic."""
        return translate(
            error,
            bootstrap=self.bootstrap,
            mechanism=self._mechanism,
            topic=self._topic,
            config=self._config,
            verb="write",
        )

    @property
    def transaction_seconds(self) -> float:
        """Return after how many seconds the cluster aborts an open transaction."""
        return int(self._config["transaction.timeout.ms"]) / 1000

    def begin(self, topic: str) -> bool:
        """Make ``topic`` the current one; return False if a fatal error occurred while the producer was idle."""
        self._topic = topic
        try:
            self.client.poll(0)
        except KafkaException:
            return False
        # Other errors, such as a connection that was cut, are either over or will be reported again.
        self._failure = self._last_error = None
        return True

    def serve(self, seconds: float = 0.0) -> None:
        """Run the callbacks that are due; wait up to ``seconds`` for the first.

        Raises
        ------
        BrokerError
            When the producer reported what waiting won't fix: a refused login, missing rights, a fatal error.
        """
        self._wait(lambda: self.client.poll(seconds))

    def flush(self, seconds: float) -> int:
        """Wait up to ``seconds`` until nothing is queued or in flight; return how many records still are.

        Raises
        ------
        BrokerError
            When the producer reported what waiting won't fix.
        """
        return self._wait(lambda: self.client.flush(seconds))

    def _wait(self, call: Callable[[], int]) -> int:
        # Called through a lambda over self, so that no frame holds the client itself: the traceback of an error would
        # keep it alive, and close() relies on dropping its last reference.
        result = 0
        self._tell(None)
        try:
            result = call()
        except KafkaException as error:
            self._failure = self.meaning(error.args[0])
        except SystemError as error:
            # Before Python 3.12 the client loses a Ctrl-C during a callback and raises only this.
            raise KeyboardInterrupt from error
        if self._failure is not None:
            raise self._failure
        return result

    @contextmanager
    def telling(self, tell: Tell) -> Iterator[None]:
        """Call ``tell`` while this waits for brokers in the block, so that it can end that."""
        self._tell = tell
        try:
            yield
        finally:
            self._tell = ignore

    def timeout_error(self, reason: str, error: KafkaError | None = None) -> BrokerError:
        """Return the error for a deadline that has passed: ``reason``, and the last error reported, or else ``error``."""
        last = self._last_error or error
        if last is None:
            return BrokerError(self.bootstrap, reason)
        meaning = self.meaning(last)
        meaning.reason = f"{reason}; last error: {meaning.reason}"
        return meaning

    def await_topic(self, deadline: float) -> None:
        """Return once the cluster reports that the topic exists; never create it.

        Raises
        ------
        BrokerError
            When it does not exist, may not be seen, or no broker answered in time.
        """
        unknown_until = min(deadline, time.monotonic() + _NEW_TOPIC_SECONDS)
        while (error := self._topic_error(deadline)) is not None:
            self.serve(SLICE_SECONDS / 2)
            meaning = self.meaning(error)
            if isinstance(meaning, UnknownTopicError):
                # Not every broker knows a topic that was created a moment ago.
                if time.monotonic() > unknown_until:
                    raise meaning
            elif meaning.is_fatal:
                raise meaning
            elif time.monotonic() > deadline:
                reason = "no broker confirmed in time that the topic exists"
                raise self.timeout_error(reason, error)

    def _topic_error(self, deadline: float) -> KafkaError | None:
        left = max(SLICE_SECONDS, deadline - time.monotonic())
        error: KafkaError | None
        try:
            # A short timeout, again and again: to this call a refused login looks like a slow answer.
            metadata: Any = self.client.list_topics(self._topic, timeout=min(_METADATA_SECONDS, left))
            error = metadata.topics[self._topic].error
        except KafkaException as raised:
            error = raised.args[0]
        return error

    def close(self) -> None:
        """Drop the records that are still in it, and disconnect."""
        self.client.purge()
        with suppress(BrokerError):
            self.flush(_CLOSE_SECONDS)
        # Dropping the last reference destroys it. Its close() would wait for records and open transactions, forever.
        del self.client


def _new_producer(config: dict[str, Any], **_: object) -> Producer:
    return Producer(config, logger=logger)
