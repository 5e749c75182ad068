"""A Kafka cluster inside the process, to try things without an installation: librdkafka's own mock.

It keeps about 5 MB per partition in memory, answers no admin requests, and forgets everything when it is closed.
"""

from __future__ import annotations

import logging
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Event, Thread
from typing import Any, TypeAlias

from confluent_kafka import KafkaError, Producer

from ktframe.errors import BrokerError
from ktframe.kafka.errors import translate

OnDelivery: TypeAlias = Callable[[KafkaError | None, object], None]
logger = logging.getLogger("ktframe.demo")
_TIMEOUT_SECONDS = 10.0
_FLUSH_EVERY = 10_000


class MockBroker:
    """A mock cluster of one broker; it runs until ``close``."""

    def __init__(self) -> None:
        config = {"test.mock.num.brokers": 1, "log_level": 0, "linger.ms": 5, "partitioner": "murmur2_random"}
        self._producer = Producer(config, logger=logger)
        broker = next(iter(self._producer.list_topics(timeout=_TIMEOUT_SECONDS).brokers.values()))
        self.bootstrap = f"{broker.host}:{broker.port}"
        self._stop = Event()
        self._latest: dict[tuple[str, int], list[int]] = defaultdict(list)
        """For each offset the greatest timestamp up to it: the mock cluster has no lookup by time."""
        self._threads: list[Thread] = []

    def create(self, topic: str) -> None:
        """Create an empty topic, by asking for it: the mock cluster creates unknown topics."""
        self._producer.list_topics(topic, timeout=_TIMEOUT_SECONDS)

    def load(self, topic: str, records: Iterable[SampleRecord]) -> int:
        """Produce ``records`` in order, wait until all are acknowledged, and return how many there were.

        Raises
        ------
        BrokerError
            When one was refused, or not acknowledged in time.
        """
        refused: list[KafkaError] = []

        def note(error: KafkaError | None, _: object) -> None:
            if error is not None:
                refused.append(error)

        count = 0
        for count, record in enumerate(records, 1):
            self._produce(topic, record, note)
            if count % _FLUSH_EVERY == 0:
                self._flush(refused)
        self._flush(refused)
        return count

    def _flush(self, refused: list[KafkaError]) -> None:
        waiting = self._producer.flush(_TIMEOUT_SECONDS)
        if refused:
            raise translate(refused[0], bootstrap=self.bootstrap)
        if waiting:
            reason = f"{waiting} records were not acknowledged in {_TIMEOUT_SECONDS:g} s"
            raise BrokerError(self.bootstrap, reason)

    def _produce(self, topic: str, record: SampleRecord, on_delivery: OnDelivery | None = None) -> None:
        def delivered(error: KafkaError | None, message: Any) -> None:
            if error is None and message is not None:
                latest = self._latest[topic, message.partition()]
                latest.append(max([record.timestamp_ms, *latest[-1:]]))
            if on_delivery is not None:
                on_delivery(error, message)

        self._producer.produce(
            topic,
            key=record.key,
            value=record.value,
            timestamp=record.timestamp_ms,
            on_delivery=delivered,
        )

    def offset_at(self, topic: str, partition: int, at_ms: int) -> int:
        """Return the offset of the first record from ``at_ms`` on; the end where there is none."""
        return bisect_left(self._latest[topic, partition], at_ms)

    def keep_producing(self, topic: str, records: Iterator[SampleRecord], rate: float) -> None:
        """Produce from ``records`` in the background, about ``rate`` a second."""
        thread = Thread(target=self._run, args=(topic, records, rate), name="ktframe-demo", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, topic: str, records: Iterator[SampleRecord], rate: float) -> None:
        due = time.monotonic()
        while True:
            due = max(due, time.monotonic() - 1.0) + 1.0 / rate
            if self._stop.wait(max(0.0, due - time.monotonic())):
                return
            self._produce(topic, next(records))
            self._producer.poll(0)

    def close(self) -> None:
        """Stop producing and the cluster; a second call does nothing."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_TIMEOUT_SECONDS)
        self._threads.clear()
        self._producer.purge()
        self._producer.flush(_TIMEOUT_SECONDS)


@dataclass(frozen=True, slots=True)
class SampleRecord:
    """One record to be produced; a ``value`` of None is a tombstone."""

    key: bytes | None
    value: bytes | None
    timestamp_ms: int
