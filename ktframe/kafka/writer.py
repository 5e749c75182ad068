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
from ktframe.kafka.producer import Courier, Kind
from ktframe.kafka.producer_pool import CourierPool
from ktframe.kafka.transaction import AtomicDelivery

__all__ = ["KafkaWriter", "OutgoingRecords", "RecordWriter", "Sent"]

# The brokers refuse a batch over the topic's max.message.bytes with all that is in it, whichever record it was. So:
# as the client likes it (a million bytes), then smaller and smaller batches, then one record each, which is slow.
_BATCHINGS: Final = (
    (),
    (("batch.size", 100_000),),
    (("batch.size", 10_000),),
    (("batch.num.messages", 1),),
)

_SHOWN_KEYS: Final = 3


class RecordWriter(Protocol):
    """Writes records; any thread may."""

    def send(self, topic: str, records: OutgoingRecords, *, timeout: float, atomic: bool = False) -> Sent:
        """Write records in their order and return where they are, once all are acknowledged."""

    def close(self) -> None:
        """Hang up."""


class KafkaWriter:
    """A ``RecordWriter`` over idempotent producers, which are made when they are first needed.

    What the user set for the client goes for producers too, ``partitioner``, ``linger.ms``, ``compression.type`` and
    ``transaction.timeout.ms`` included; what would weaken a write is refused where settings are read.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = CourierPool(settings)
        self._levels: dict[str, int] = {}
        """Of topics that take only smaller batches, how small, as a place in ``_BATCHINGS``."""

    def send(self, topic: str, records: OutgoingRecords, *, timeout: float, atomic: bool = False) -> Sent:
        """Write records in their order and return where they are, once all are acknowledged.

        Parameters
        ----------
        topic
            A topic that exists; none is created.
        records
            What to write. Records of one key stay in order; those of different keys may land in any.
        timeout
            Seconds until it is given up; up to a few more go by until it is known what was written.
        atomic
            Whether to write in one transaction, which readers of committed records see as a whole or not at all. It
            must be over within ``transaction.timeout.ms``, a minute unless set.

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
        KeyboardInterrupt
            On Ctrl-C, with a WriteError as its cause.
        """
        if len(records) == 0:
            return Sent()
        deadline = time.monotonic() + timeout
        delivery = AtomicDelivery(topic, records) if atomic else Delivery(topic, records)
        first = self._levels.get(topic, 0)
        for level in range(first, len(_BATCHINGS)):
            before = len(delivery.written())
            with self._pool.lend(Kind(atomic, _BATCHINGS[level]), topic) as courier:
                cause = self._carry(delivery, courier, deadline)
                courier.has_delivered |= len(delivery.written()) > before
            if level > first and len(delivery.written()) > before:
                self._levels[topic] = level
            is_over = level == len(_BATCHINGS) - 1 or time.monotonic() > deadline
            if is_over or (cause is not None and not atomic) or not delivery.again():
                break
        if not delivery.is_complete:
            cause = cause or delivery.cause(courier) or BrokerError(courier.bootstrap, "no acknowledgement")
            raise _error(delivery, courier, cause) from cause
        try:
            return self._sent(delivery)
        except BrokerError as error:
            raise _error(delivery, courier, error) from error

    def _carry(self, delivery: Delivery, courier: Courier, deadline: float) -> BrokerError | None:
        """Make a delivery, and return why it is not complete; what was not acknowledged by then is taken back."""
        try:
            courier.await_topic(deadline)
            delivery.run(courier, deadline)
        except BrokerError as error:
            delivery.take_back(courier)
            return error
        except KeyboardInterrupt as interrupt:
            delivery.take_back(courier)
            raise interrupt from _error(delivery, courier, BrokerError(courier.bootstrap, "interrupted"))
        # librdkafka remembers refusals, such as of a topic, after they were lifted.
        courier.is_spent = bool(delivery.errors)
        return None

    def _sent(self, delivery: Delivery) -> Sent:
        ends: dict[int, int] = {}
        lost: set[int] = set()
        for partition, offset in zip(delivery.partitions, delivery.offsets, strict=True):
            if offset < 0:
                lost.add(partition)
            elif offset >= ends.get(partition, 0):
                ends[partition] = offset + 1
        ends.update(self._log_ends(delivery.topic, lost))
        return Sent(delivery.partitions, delivery.offsets, ends)

    def _log_ends(self, topic: str, partitions: set[int]) -> Mapping[int, int]:
        """Return where the logs end now: behind records that are there, though it was not told where."""
        if not partitions:
            return {}
        cluster = KafkaCluster(self._settings)
        try:
            return cluster.end_offsets(topic, partitions, committed=False)
        finally:
            cluster.close()

    def close(self) -> None:
        """Let the sends under way end, which each does within its timeout, and hang up; a second call does nothing."""
        self._pool.close()


def _error(delivery: Delivery, courier: Courier, cause: BrokerError) -> WriteError:
    records = delivery.records
    reason = cause.reason if type(cause) is BrokerError else cause.fact
    written, failed = delivery.written(), delivery.failed(courier, reason)
    told = failed.keys() | set(written)
    unknown = [index for index in range(len(records)) if index not in told]
    shown = [index for kind in (sorted(failed), unknown, written) for index in kind[:_SHOWN_KEYS]]
    return WriteError(
        courier.bootstrap,
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
