"""Writes records to topics: returns when all are acknowledged, or raises with what became of each."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final, Protocol

from ktframe.config.settings import Settings
from ktframe.errors import BrokerError, WriteError
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.delivery import Delivery
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.kafka.producer import IdempotentProducer, ProducerKind
from ktframe.kafka.producer_pool import ProducerPool
from ktframe.kafka.transaction import AtomicDelivery
from ktframe.process.threads import AbandonedError, Tell, ignore

__all__ = ["KafkaWriter", "OutgoingRecords", "RecordWriter", "Sent"]

# A batch over the topic's max.message.bytes is refused as a whole, whichever record is to blame. So batches are tried
# in the client's default size (a million bytes), then smaller and smaller, at last with one record each, which is slow.
_BATCHINGS: Final = (
    (),
    (("batch.size", 100_000),),
    (("batch.size", 10_000),),
    (("batch.num.messages", 1),),
)

_SHOWN_KEYS: Final = 3


class RecordWriter(Protocol):
    """Writes records; any thread may."""

    @property
    def bootstrap(self) -> str:
        """The addresses of the cluster."""

    def send(
        self,
        topic: str,
        records: OutgoingRecords,
        *,
        timeout: float,
        atomic: bool = False,
        tell: Tell = ignore,
    ) -> Sent:
        """Write records in their order and return where they are, once all are acknowledged."""

    def close(self) -> None:
        """Disconnect."""


class KafkaWriter:
    """A ``RecordWriter`` over idempotent producers, which are made when they are first needed.

    The user's client settings apply to producers too, such as ``partitioner``, ``linger.ms``, ``compression.type`` and
    ``transaction.timeout.ms``. Settings that would weaken a write are refused where settings are read.
    """

    def __init__(self, settings: Settings) -> None:
        self.bootstrap = settings.bootstrap
        self._settings = settings
        self._pool = ProducerPool(settings)
        self._levels: dict[str, int] = {}
        """For topics that accept only smaller batches, the index in ``_BATCHINGS`` that worked."""

    def send(
        self,
        topic: str,
        records: OutgoingRecords,
        *,
        timeout: float,
        atomic: bool = False,
        tell: Tell = ignore,
    ) -> Sent:
        """Write records in their order and return where they are, once all are acknowledged.

        Parameters
        ----------
        topic
            An existing topic; none is created.
        records
            What to write. Records of one key stay in order; records of different keys may not.
        timeout
            Seconds until it gives up; then it takes up to a few more to find out what was written.
        atomic
            Whether to write in one transaction, which readers of committed records see as a whole or not at all. It
            must end within ``transaction.timeout.ms``, a minute unless set.
        tell
            Called, with None, several times a second; it may raise ``AbandonedError`` to end the call.

        Returns
        -------
        Sent
            Partition and offset of each record.

        Raises
        ------
        WriteError
            When not all were acknowledged: which were and which were not. Its cause says why.
        ConfigurationError
            When the client does not take the settings.
        ContextClosedError
            When the writer was closed.
        KeyboardInterrupt, AbandonedError
            On Ctrl-C, or when nobody waits any more; with a WriteError as its cause.
        """
        if len(records) == 0:
            return Sent()
        deadline = time.monotonic() + timeout
        delivery = AtomicDelivery(topic, records) if atomic else Delivery(topic, records)
        first = self._levels.get(topic, 0)
        for level in range(first, len(_BATCHINGS)):
            before = len(delivery.written())
            with self._pool.lend(ProducerKind(atomic, _BATCHINGS[level]), topic) as producer:
                cause = self._run(delivery, producer, deadline, tell)
                producer.has_delivered |= len(delivery.written()) > before
            if level > first and len(delivery.written()) > before:
                self._levels[topic] = level
            is_over = level == len(_BATCHINGS) - 1 or time.monotonic() > deadline
            if is_over or (cause is not None and not atomic) or not delivery.retry_in_smaller_batches():
                break
        if delivery.has_overtaken:
            self._levels[topic] = min(level + 1, len(_BATCHINGS) - 1)  # as the hint of the error says
        if not delivery.is_complete:
            cause = cause or delivery.cause(producer) or BrokerError(producer.bootstrap, "no acknowledgement")
            raise _error(delivery, producer, cause) from cause
        try:
            return self._sent(delivery)
        except BrokerError as error:
            raise _error(delivery, producer, error) from error

    def _run(
        self, delivery: Delivery, producer: IdempotentProducer, deadline: float, tell: Tell
    ) -> BrokerError | None:
        """Run a delivery and return why it failed, if it did; records not acknowledged by then are dropped."""
        try:
            with producer.telling(tell):
                producer.await_topic(deadline)
                delivery.run(producer, deadline)
        except BrokerError as error:
            delivery.abandon(producer)
            return error
        except (KeyboardInterrupt, AbandonedError) as interrupt:
            delivery.abandon(producer)
            raise interrupt from _error(delivery, producer, BrokerError(producer.bootstrap, "interrupted"))
        # librdkafka remembers refusals, such as of a topic, even after they were lifted.
        producer.is_unusable = bool(delivery.errors)
        return None

    def _sent(self, delivery: Delivery) -> Sent:
        ends: dict[int, int] = {}
        without_offset: set[int] = set()
        for partition, offset in zip(delivery.partitions, delivery.offsets, strict=True):
            if offset < 0:
                without_offset.add(partition)
            elif offset >= ends.get(partition, 0):
                ends[partition] = offset + 1
        ends.update(self._log_ends(delivery.topic, without_offset))
        return Sent(delivery.partitions, delivery.offsets, ends)

    def _log_ends(self, topic: str, partitions: set[int]) -> Mapping[int, int]:
        """Return where the logs end now: after records that are written, but whose offset was not reported."""
        if not partitions:
            return {}
        cluster = KafkaCluster(self._settings)
        try:
            return cluster.end_offsets(topic, partitions, committed=False)
        finally:
            cluster.close()

    def close(self) -> None:
        """Wait for the sends under way, each of which has a timeout, and disconnect; a second call does nothing."""
        self._pool.close()


def interrupted(bootstrap: str, topic: str, records: OutgoingRecords, *, are_written: bool) -> WriteError:
    """Return the cause of an interrupt after which all of ``records`` are written, or after which nothing is known of them."""
    every = range(len(records))
    return WriteError(
        bootstrap,
        "interrupted",
        topic=topic,
        total=len(records),
        written=every if are_written else (),
        unknown=() if are_written else every,
        keys={index: records.keys[index] for index in every[:_SHOWN_KEYS]},
    )


def _error(delivery: Delivery, producer: IdempotentProducer, cause: BrokerError) -> WriteError:
    records = delivery.records
    reason = cause.reason if type(cause) is BrokerError else cause.fact
    written, failed = delivery.written(), delivery.failed(producer, reason)
    known = failed.keys() | set(written)
    unknown = [index for index in range(len(records)) if index not in known]
    shown = [index for kind in (sorted(failed), unknown, written) for index in kind[:_SHOWN_KEYS]]
    return WriteError(
        producer.bootstrap,
        reason,
        cause.is_fatal,
        topic=delivery.topic,
        total=len(records),
        written=written,
        failed=failed,
        unknown=unknown,
        keys={index: records.keys[index] for index in shown},
        cause_hint=delivery.hint or cause.hint,
    )
