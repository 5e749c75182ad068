"""One consumer for all topics of a connection that are read to their ends, and what each of these gets of it.

A client of librdkafka has a thread for itself, one for each broker, and two more, and asks every broker twenty times a
second. Topics to which little comes do with one client together. Whoever falls behind leaves it for a consumer of its own.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import methodcaller
from threading import Condition, Lock, Thread
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ktframe.errors import KtframeError
from ktframe.kafka.client import new_client
from ktframe.process.threads import has_ended, ours

logger = logging.getLogger("ktframe.kafka")

OnError = Callable[[KafkaError], object]
MOST_RECORDS: Final = 20_000
"""With more waiting, a topic is read by a consumer of its own again."""
_MOST_BYTES: Final = 16 << 20
_POLL_SECONDS: Final = 0.1
_CALL_RECORDS: Final = 1_000
_JOIN_SECONDS: Final = 15.0
_OF_A_TOPIC: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_EXCEPTION,
        KafkaError.UNKNOWN_TOPIC_ID,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""Errors that concern the topics that their text names, and not others that are read by the same client."""


class Share:
    """What one topic gets of a shared consumer; owned by the thread that reads the topic.

    A partition begins with what is at the offset that was asked for, or its end. ``is_over`` says that nothing more comes:
    too much was waiting, or the client has ended.
    """

    def __init__(self, topic: str, positions: Mapping[int, int], on_error: OnError) -> None:
        self.topic = topic
        self.positions = dict(positions)
        self.is_over = False
        self.on_error = on_error
        self._changed = Condition()
        self._waiting: deque[list[Any]] = deque()
        self._records = self._bytes = 0
        self._silent = set(positions)
        """The partitions of which nothing has come yet, not even their end."""

    @property
    def has_begun(self) -> bool:
        """Whether something has come of each partition."""
        with self._changed:
            return not self._silent

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions, with the offsets at which they begin."""
        return [TopicPartition(self.topic, partition, at) for partition, at in self.positions.items()]

    def put(self, messages: list[Any]) -> None:
        """Add messages; with those that are too many it is over."""
        with self._changed:
            if self.is_over:
                return
            self._waiting.append(messages)
            self._records += len(messages)
            self._bytes += sum(map(len, messages))
            if self._silent:
                self._silent.difference_update(message.partition() for message in messages)
            self.is_over = self._records > MOST_RECORDS or self._bytes > _MOST_BYTES
            self._changed.notify_all()

    def take(self, seconds: float) -> list[Any]:
        """Return what has come, after ``seconds`` at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self.is_over, seconds)
            taken = [message for messages in self._waiting for message in messages]
            self._waiting.clear()
            self._records = self._bytes = 0
            return taken

    def end(self) -> None:
        """Add nothing more."""
        with self._changed:
            self.is_over = True
            self._changed.notify_all()


class _SharedConsumer:
    """One client, and the thread that hands out what it reads: that alone calls the client, which takes one call at a time.

    ``SharedConsumers`` calls the other methods, holding its lock.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.shares: dict[str, Share] = {}
        """What is to be read, by topic; replaced whole, so that the thread needs no lock."""
        self.is_trusted = True
        self._read: dict[str, Share] = {}
        """What is read."""
        self._is_ending = False
        self._consumer = new_client(Consumer, {**config, "error_cb": self._on_error})
        self.thread = Thread(target=ours(self._run), name="ktframe-reader", daemon=True)
        try:
            self.thread.start()
        except BaseException:
            self._consumer.close()
            raise

    @property
    def is_open(self) -> bool:
        """Whether further topics may be read by it."""
        return self.is_trusted and not self._is_ending

    def add(self, share: Share) -> None:
        """Read for ``share``, too."""
        self.shares = {**self.shares, share.topic: share}

    def remove(self, share: Share) -> None:
        """Read no more for ``share``; without any the client ends."""
        share.end()
        self.shares = {topic: each for topic, each in self.shares.items() if each is not share}
        if not self.shares:
            self.end()

    def end(self) -> None:
        """Have the client end, within a poll."""
        self._is_ending = True

    def _run(self) -> None:
        try:
            while not self._is_ending:
                self._assign()
                first = self._consumer.poll(_POLL_SECONDS)
                if first is not None:
                    self._hand_out([first, *self._consumer.consume(_CALL_RECORDS, 0)])
        except KafkaException as error:
            self._on_error(error.args[0])
        except Exception:  # a callback's of the user: who reads alone gets it from a client of its own
            logger.debug("a shared consumer failed", exc_info=True)
        finally:
            self._is_ending = True
            for share in self.shares.values():
                share.end()
            self._consumer.close()

    def _assign(self) -> None:
        """Have the client read what is to be read."""
        wanted = {topic: share for topic, share in self.shares.items() if not share.is_over}
        gone = [share for topic, share in self._read.items() if wanted.get(topic) is not share]
        new = [share for topic, share in wanted.items() if self._read.get(topic) is not share]
        if gone:
            self._consumer.incremental_unassign([each for share in gone for each in share.partitions])
        if new:
            self._consumer.incremental_assign([each for share in new for each in share.partitions])
        self._read = wanted

    def _hand_out(self, messages: Iterable[Any]) -> None:
        for topic, some in groupby(messages, methodcaller("topic")):
            share = self._read.get(topic)
            if share is not None:
                share.put(list(some))
            elif topic is None:  # errors of the client itself
                for message in some:
                    self._on_error(message.error())

    def _on_error(self, error: KafkaError) -> None:
        text = str(error.str())
        for share in self.shares.values():
            if error.code() not in _OF_A_TOPIC or share.topic in text:
                share.on_error(error)


class SharedConsumers:
    """The shared consumers of one connection: one, unless a topic is read several times. Any thread may call it.

    ``config`` are the settings of each client, but for its ``error_cb``.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._lock = Lock()
        self._consumers: list[_SharedConsumer] = []
        self._is_open = True

    def join(self, topic: str, positions: Mapping[int, int], on_error: OnError) -> Share | None:
        """Read ``topic`` from these positions on; None where that is not possible.

        ``on_error`` is called on another thread, with errors that are no partition's.
        """
        share = Share(topic, positions, on_error)
        with self._lock:
            if not self._is_open:
                return None
            self._consumers = [each for each in self._consumers if each.thread.is_alive()]
            usable = [each for each in self._consumers if each.is_open and topic not in each.shares]
            try:
                if not usable:
                    usable = [_SharedConsumer(self._config)]
                    self._consumers += usable
                usable[0].add(share)
            except (
                KtframeError,
                KafkaException,
                RuntimeError,
            ) as error:  # no client, no thread, or it has just ended
                logger.debug("%s can't be read by a shared consumer: %s", topic, error)
                share.end()
                return None
            return share

    def leave(self, share: Share, *, distrusts: bool = False) -> None:
        """Stop reading for ``share``.

        With ``distrusts`` its client may have lost its connection without a word: all that it reads is read by others again.
        """
        with self._lock:
            for consumer in self._consumers:
                if consumer.shares.get(share.topic) is share:
                    if distrusts:
                        consumer.is_trusted = False
                        for other in consumer.shares.values():
                            other.end()
                    consumer.remove(share)

    def close(self) -> None:
        """Stop reading; a second call does nothing."""
        with self._lock:
            self._is_open = False
            for consumer in self._consumers:
                consumer.end()
        deadline = time.monotonic() + _JOIN_SECONDS
        for consumer in self._consumers:
            has_ended(consumer.thread, max(0.0, deadline - time.monotonic()))
