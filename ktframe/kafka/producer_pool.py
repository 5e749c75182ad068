"""A pool of producers: made on demand, lent to one send at a time, kept for the next."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

from ktframe.config.settings import Settings
from ktframe.errors import ContextClosedError
from ktframe.kafka.producer import IdempotentProducer, ProducerKind

_MOST_IDLE: Final = 4

# Shorter than brokers keep an idle connection, and much shorter than they remember a transactional.id (a week).
_IDLE_SECONDS: Final = 300.0


class ProducerPool:
    """Lends producers to any thread. Usually there is one of each kind; concurrent sends get one each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = Condition()
        self._idle: list[IdempotentProducer] = []
        self._lent = 0
        self._is_open = True
        self._free_ids: list[str] = []

    @contextmanager
    def lend(self, kind: ProducerKind, topic: str) -> Iterator[IdempotentProducer]:
        """Lend a producer of this kind for a topic; it is closed afterwards if it is unusable or the block raised.

        Raises
        ------
        ContextClosedError
            When the pool was closed.
        ConfigurationError
            When the client does not take the settings.
        """
        producer = self._take(kind, topic)
        try:
            yield producer
        except BaseException:
            producer.is_unusable = True
            raise
        finally:
            self._give_back(producer)

    def _take(self, kind: ProducerKind, topic: str) -> IdempotentProducer:
        with self._changed:
            if not self._is_open:
                name = f"the writer to Kafka at {self._settings.bootstrap}"
                raise ContextClosedError(name)
            too_old = time.monotonic() - _IDLE_SECONDS
            stale = [producer for producer in self._idle if producer.idle_since < too_old]
            fresh = [producer for producer in self._idle if producer.idle_since >= too_old]
            reusable = next((producer for producer in fresh if producer.kind == kind), None)
            self._idle = [producer for producer in fresh if producer is not reusable]
            self._lent += 1
        try:
            if reusable is not None and not reusable.begin(topic):
                stale.append(reusable)
                reusable = None
            for producer in stale:
                self._close(producer)
            return reusable or self._new(kind, topic)
        except BaseException:
            self._count_return()
            raise

    def _new(self, kind: ProducerKind, topic: str) -> IdempotentProducer:
        producer = IdempotentProducer(
            self._settings, kind, self._transactional_id() if kind.is_transactional else ""
        )
        producer.begin(topic)
        return producer

    def _transactional_id(self) -> str:
        """Return a transactional.id, if possible that of a closed producer: this aborts what it may have left open."""
        with self._changed:
            return self._free_ids.pop() if self._free_ids else f"ktframe-{uuid.uuid4().hex}"

    def _give_back(self, producer: IdempotentProducer) -> None:
        producer.idle_since = time.monotonic()
        with self._changed:
            is_kept = self._is_open and not producer.is_unusable and len(self._idle) < _MOST_IDLE
            if is_kept:
                self._idle.append(producer)
        try:
            if not is_kept:
                self._close(producer)
        finally:
            self._count_return()

    def _close(self, producer: IdempotentProducer) -> None:
        producer.close()
        if producer.transactional_id:
            with self._changed:
                self._free_ids.append(producer.transactional_id)

    def _count_return(self) -> None:
        with self._changed:
            self._lent -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Wait for the sends under way, each of which has a timeout, and disconnect; a second call does nothing."""
        with self._changed:
            self._is_open = False
            self._changed.wait_for(lambda: self._lent == 0)
            idle, self._idle = self._idle, []
        for producer in idle:
            producer.close()
