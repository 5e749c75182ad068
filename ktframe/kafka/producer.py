"""A producer whose records are written once, by all replicas in sync, and what it says of itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer

from ktframe.config.settings import ConfigValue, Settings
from ktframe.errors import AuthenticationError, BrokerError, UnknownTopicError
from ktframe.kafka.client import new_client
from ktframe.kafka.cluster import RECONNECT, mechanism_of
from ktframe.kafka.errors import translate

logger = logging.getLogger("ktframe.kafka.producer")


# What is fatal to a producer is raised where it is used.
logger.addFilter(lambda record: not str(record.msg).startswith("FATAL"))


SLICE_SECONDS: Final = 0.1
"""How long one call into the client may wait: Ctrl-C and what its callbacks say are seen in between."""

_ASK_SECONDS: Final = 0.5
_PATIENCE_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 1.0


def writing_config(
    settings: Settings,
    on_error: Callable[[KafkaError], object],
    *,
    transactional_id: str = "",
    batching: Mapping[str, ConfigValue] | None = None,
) -> dict[str, Any]:
    """Return the settings of an idempotent producer; users may not weaken it.

    ``batching`` wins over what the user set. The time limit of a record is left to whoever sends: zero means none. In
    a transaction librdkafka takes that of the transaction.
    """
    limit = {"transactional.id": transactional_id} if transactional_id else {"message.timeout.ms": 0}
    return {
        "partitioner": "murmur2_random",  # Java's, so that a key has one home whoever writes it
        "transaction.timeout.ms": 60_000,
        **RECONNECT,
        **settings.librdkafka,
        **(batching or {}),
        **limit,
        "bootstrap.servers": settings.bootstrap,
        "enable.idempotence": True,
        "acks": "all",
        "allow.auto.create.topics": False,
        "statistics.interval.ms": 0,  # nobody would fetch them while it is idle
        "error_cb": on_error,
        "log_level": 0,
    }


@dataclass(frozen=True, slots=True)
class Kind:
    """What a producer is made for; ``batching`` are librdkafka's settings of it, as pairs."""

    is_transactional: bool = False
    batching: tuple[tuple[str, ConfigValue], ...] = ()


class Courier:
    """A producer and what it says of itself; used by one thread at a time."""

    def __init__(self, settings: Settings, kind: Kind, transactional_id: str = "") -> None:
        self.kind = kind
        self.transactional_id = transactional_id
        self.is_initialised = False
        """Whether its transactional.id is registered."""
        self.has_delivered = False
        """Whether any record was ever acknowledged to it."""
        self.is_spent = False
        """Whether it may hold on to records or a transaction that failed: nobody may use it again."""
        self.idle_since = 0.0
        self.bootstrap = settings.bootstrap
        self._mechanism = mechanism_of(settings)
        self._topic = ""
        self._failure: BrokerError | None = None
        self._trouble: KafkaError | None = None
        self._config = writing_config(
            settings, self._on_error, transactional_id=transactional_id, batching=dict(kind.batching)
        )
        self.producer = new_client(_new_producer, self._config)

    def _on_error(self, error: KafkaError) -> None:
        self._trouble = error
        meaning = self.meaning(error)
        if isinstance(meaning, AuthenticationError):
            self._failure = meaning

    def meaning(self, error: KafkaError) -> BrokerError:
        """Return what an error means to whoever writes to the topic of ``begin``."""
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
        """After how long the cluster aborts a transaction that is not over."""
        return int(self._config["transaction.timeout.ms"]) / 1000

    def begin(self, topic: str) -> bool:
        """Turn to a topic; return whether the producer is fit, after what has happened to it while it was idle."""
        self._topic = topic
        try:
            self.producer.poll(0)
        except KafkaException:
            return False
        # Other troubles, such as a connection that was cut, are over or come again.
        self._failure = self._trouble = None
        return True

    def serve(self, seconds: float = 0.0) -> None:
        """Run the callbacks that are due, for up to ``seconds`` if there are none yet.

        Raises
        ------
        BrokerError
            When the producer said what waiting won't heal: a refused login, missing rights, a fatal error.
        """
        self._wait(lambda: self.producer.poll(seconds))

    def flush(self, seconds: float) -> int:
        """Wait for the producer to be done with all it has; return with how many records it isn't.

        Raises
        ------
        BrokerError
            When the producer said what waiting won't heal.
        """
        return self._wait(lambda: self.producer.flush(seconds))

    def _wait(self, call: Callable[[], int]) -> int:
        # A function of self, not a method of the producer: errors keep what is in here, and would keep that one alive.
        answer = 0
        try:
            answer = call()
        except KafkaException as error:
            self._failure = self.meaning(error.args[0])
        except SystemError as error:
            # Before Python 3.12 the client loses Ctrl-C if it comes while a callback runs, and says only that.
            raise KeyboardInterrupt from error
        if self._failure is not None:
            raise self._failure
        return answer

    def lateness(self, reason: str, error: KafkaError | None = None) -> BrokerError:
        """Return why something is late: ``reason``, with what the producer said last, or else ``error``."""
        last = self._trouble or error
        if last is None:
            return BrokerError(self.bootstrap, reason)
        meaning = self.meaning(last)
        meaning.reason = f"{reason}; last heard: {meaning.reason}"
        return meaning

    def await_topic(self, deadline: float) -> None:
        """Return once the cluster says that the topic is there; it is not created.

        Raises
        ------
        BrokerError
            When it isn't, may not be seen, or nobody answered in time.
        """
        patience = min(deadline, time.monotonic() + _PATIENCE_SECONDS)
        while (error := self._topic_error(deadline)) is not None:
            self.serve(SLICE_SECONDS / 2)
            meaning = self.meaning(error)
            if isinstance(meaning, UnknownTopicError):
                # A topic that was made a moment ago is not known to every broker.
                if time.monotonic() > patience:
                    raise meaning
            elif meaning.is_fatal:
                raise meaning
            elif time.monotonic() > deadline:
                reason = "no broker said in time that the topic is there"
                raise self.lateness(reason, error)

    def _topic_error(self, deadline: float) -> KafkaError | None:
        left = max(SLICE_SECONDS, deadline - time.monotonic())
        error: KafkaError | None
        try:
            # In slices: a refused login looks like a slow answer here.
            found: Any = self.producer.list_topics(self._topic, timeout=min(_ASK_SECONDS, left))
            error = found.topics[self._topic].error
        except KafkaException as raised:
            error = raised.args[0]
        return error

    def close(self) -> None:
        """Drop what is still in it and hang up."""
        self.producer.purge()
        with suppress(BrokerError):
            self.flush(_CLOSE_SECONDS)
        # Its last reference, not its close(): that waits for the rest, and for open transactions, without end.
        del self.producer


def _new_producer(config: dict[str, Any], **_: object) -> Producer:
    return Producer(config, logger=logger)
