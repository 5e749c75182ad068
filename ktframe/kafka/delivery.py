"""One delivery: hands records to a producer and keeps track of what became of each."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from ktframe.errors import AuthorizationError, BrokerError
from ktframe.kafka.outgoing import OutgoingRecords
from ktframe.kafka.producer import SLICE_SECONDS, IdempotentProducer

_CHUNK_RECORDS: Final = 1_000
_ABANDON_SECONDS: Final = 2.0
_NOT_ACKNOWLEDGED: Final = -1
_TOO_LARGE: Final = frozenset({KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE})

_REFUSED: Final = _TOO_LARGE | {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001 - librdkafka's own codes start with an underscore
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    KafkaError.TOPIC_EXCEPTION,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.POLICY_VIOLATION,
}
"""Errors after which a record is certainly not written.

Any other may follow an attempt that succeeded: the client sends a batch again until it gets an answer.
"""

_TOO_LARGE_HINT: Final = (
    "make the record smaller, or raise both limits: the topic's max.message.bytes, and message.max.bytes of the Kafka "
    "client (a million unless set; message_max_bytes= of ktframe.connect)."
)

_OVERTAKEN: Final = "its batch was larger than the broker accepts, and a later record of its key was written"

_OVERTAKEN_HINT: Final = (
    "batches are smaller from now on; set batch_size= of ktframe.connect below the topic's limit."
)


class Delivery:
    """Records being sent; knows of each whether it was handed to the client, acknowledged, or failed and why."""

    def __init__(self, topic: str, records: OutgoingRecords) -> None:
        self.topic = topic
        self.records = records
        self.errors: dict[int, KafkaError] = {}
        self._start_over()

    def _start_over(self) -> None:
        count = len(self.records)
        self.partitions = [_NOT_ACKNOWLEDGED] * count
        """The partition of each acknowledged record; -1 for the others."""
        self.offsets = [_NOT_ACKNOWLEDGED] * count
        self.errors.clear()
        self._is_handed_over = bytearray(count)
        self._rest: Sequence[int] = range(count)
        self._overtaken: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every record is acknowledged."""
        return _NOT_ACKNOWLEDGED not in self.partitions

    @property
    def has_overtaken(self) -> bool:
        """Whether records were left out because a later one of their key was written."""
        return bool(self._overtaken)

    def run(self, producer: IdempotentProducer, deadline: float) -> None:
        """Hand the records to the client and wait until each is acknowledged or has failed.

        Raises
        ------
        BrokerError
            When time is up or the producer has failed; records may then still be in flight.
        """
        try:
            for _ in self._steps(producer, deadline):
                pass
        except AuthorizationError:
            if not (producer.has_delivered or self.written()):
                # The producer never got its id from the cluster, and without that it sends nothing.
                self._start_over()
            raise

    def _steps(self, producer: IdempotentProducer, deadline: float) -> Iterator[None]:
        """Hand over a thousand records per step, then wait a moment per step."""
        rest, self._rest = self._rest, ()
        for start in range(0, len(rest), _CHUNK_RECORDS):
            for index in rest[start : start + _CHUNK_RECORDS]:
                self._hand_over(index, producer, deadline)
            producer.serve()
            check_time(producer, deadline)
            yield
        while producer.flush(SLICE_SECONDS):
            check_time(producer, deadline)
            yield

    def _hand_over(self, index: int, producer: IdempotentProducer, deadline: float) -> None:
        records = self.records
        partition = None if records.partitions is None else records.partitions[index]
        timestamp = None if records.timestamps is None else records.timestamps[index]
        headers: Any = None if records.headers is None else records.headers[index]
        record = (
            self.topic,
            records.values[index],
            records.keys[index],
            -1 if partition is None else partition,
        )
        while True:
            # Set before the call, because Ctrl-C may come in between.
            self._is_handed_over[index] = True
            try:
                producer.client.produce(*record, partial(self._note, index), None, timestamp or 0, headers)
            except BufferError:
                self._is_handed_over[index] = False
                producer.serve(SLICE_SECONDS)
                check_time(producer, deadline)
            except KafkaException as error:
                self._is_handed_over[index] = False
                self.errors[index] = error.args[0]
                return
            else:
                return

    def _note(self, index: int, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.partitions[index] = message.partition()
            # None if this acknowledgement was lost and that of a later batch confirmed the record.
            self.offsets[index] = _NOT_ACKNOWLEDGED if message.offset() is None else message.offset()
        else:
            self.errors[index] = error

    def abandon(self, producer: IdempotentProducer) -> None:
        """Make the producer drop the records it still has; those acknowledged meanwhile count as written."""
        producer.is_unusable = True
        producer.client.purge()
        with suppress(BrokerError):
            producer.flush(_ABANDON_SECONDS)

    def retry_in_smaller_batches(self) -> bool:
        """Make the next run send the records whose batch was too large; return whether there are any.

        A record is left out if a later one of its key was written: it would undo that.
        """
        keys = self.records.keys
        last = {key: index for index, key in enumerate(keys) if self.partitions[index] != _NOT_ACKNOWLEDGED}
        large = sorted(self._too_large())
        self._overtaken = {
            index for index in large if keys[index] is not None and last.get(keys[index], -1) > index
        }
        self._rest = [index for index in large if index not in self._overtaken]
        for index in self._rest:
            del self.errors[index]
            self._is_handed_over[index] = False
        return len(self._rest) > 0

    def _too_large(self) -> list[int]:
        """Return the records that brokers refused as too large, perhaps only because of their batch."""
        return [
            index
            for index, error in self.errors.items()
            if error.code() in _TOO_LARGE and self._is_handed_over[index]
        ]

    def cause(self, producer: IdempotentProducer) -> BrokerError | None:
        """Return the error of the first record that failed, if any did."""
        failed = sorted(self.errors.keys() - self._overtaken)
        if failed:
            return self.meaning(failed[0], producer)
        return BrokerError(producer.bootstrap, _OVERTAKEN) if self._overtaken else None

    def meaning(self, index: int, producer: IdempotentProducer) -> BrokerError:
        """Return ktframe's error for a record that failed."""
        error, partitions = self.errors[index], self.records.partitions
        if error.code() == KafkaError._UNKNOWN_PARTITION and partitions is not None:  # noqa: SLF001
            return BrokerError(
                producer.bootstrap, f"there is no partition {partitions[index]} [{error.name()}]"
            )
        return producer.meaning(error)

    @property
    def hint(self) -> str | None:
        """What helps against the errors of these records, where that is known."""
        if any(
            error.code() in _TOO_LARGE for index, error in self.errors.items() if index not in self._overtaken
        ):
            return _TOO_LARGE_HINT
        return _OVERTAKEN_HINT if self._overtaken else None

    def written(self) -> list[int]:
        """Return which records are acknowledged."""
        return [index for index, partition in enumerate(self.partitions) if partition != _NOT_ACKNOWLEDGED]

    def failed(self, producer: IdempotentProducer, reason: str) -> dict[int, str]:
        """Return which records were certainly not written, and why; ``reason`` is that of those never sent."""
        missing = [index for index, partition in enumerate(self.partitions) if partition == _NOT_ACKNOWLEDGED]
        not_sent = [index for index in missing if not self._is_handed_over[index]]
        refused = [index for index in missing if self._is_refused(index)]
        reasons = dict.fromkeys(not_sent, f"not sent: {reason}")
        return reasons | self.reasons(refused, producer) | dict.fromkeys(self._overtaken, _OVERTAKEN)

    def _is_refused(self, index: int) -> bool:
        return index in self.errors and self.errors[index].code() in _REFUSED

    def reasons(self, indices: Iterable[int], producer: IdempotentProducer) -> dict[int, str]:
        """Return the reason of each record that failed. Equal reasons share one text: there may be a million."""
        texts: dict[tuple[int, int | None], str] = {}
        reasons: dict[int, str] = {}
        for index in indices:
            partition = None if self.records.partitions is None else self.records.partitions[index]
            kind = self.errors[index].code(), partition
            if kind not in texts:
                texts[kind] = self.meaning(index, producer).reason
            reasons[index] = texts[kind]
        return reasons


def check_time(producer: IdempotentProducer, deadline: float) -> None:
    """Raise a BrokerError when the deadline has passed."""
    if time.monotonic() > deadline:
        reason = "the timeout passed before the brokers had acknowledged all records"
        raise producer.timeout_error(reason)
