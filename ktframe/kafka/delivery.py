"""One delivery: records handed to a producer, and what became of each of them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException

from ktframe.errors import AuthorizationError, BrokerError
from ktframe.kafka.outgoing import OutgoingRecords
from ktframe.kafka.producer import SLICE_SECONDS, Courier

_CHUNK_RECORDS: Final = 1_000
_TAKE_BACK_SECONDS: Final = 2.0
_NOWHERE: Final = -1
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
"""With any other error the record may have been written before: a batch is sent again until its answer comes."""

_TOO_LARGE_HINT: Final = (
    "make that record smaller, or raise both limits: the topic's max.message.bytes, and message.max.bytes of the Kafka "
    "client (a million unless set; message_max_bytes= of ktframe.connect)."
)

_OVERTAKEN: Final = "its batch was larger than the broker takes, and a later record of its key was written"

_OVERTAKEN_HINT: Final = (
    "from now on batches are smaller; set batch_size= of ktframe.connect below the topic's limit."
)


class Delivery:
    """Records on their way; knows of each whether it was handed over, is acknowledged, or failed and how."""

    def __init__(self, topic: str, records: OutgoingRecords) -> None:
        self.topic = topic
        self.records = records
        self.errors: dict[int, KafkaError] = {}
        self._start_over()

    def _start_over(self) -> None:
        count = len(self.records)
        self.partitions = [_NOWHERE] * count
        """Where each acknowledged record is; -1 for the others."""
        self.offsets = [_NOWHERE] * count
        self.errors.clear()
        self._is_handed_over = bytearray(count)
        self._rest: Sequence[int] = range(count)
        self._overtaken: set[int] = set()

    @property
    def is_complete(self) -> bool:
        """Whether every record is acknowledged."""
        return _NOWHERE not in self.partitions

    def run(self, courier: Courier, deadline: float) -> None:
        """Hand the records over and wait until the producer is done with each.

        Raises
        ------
        BrokerError
            When time is over or the producer is; records may then still be on their way.
        """
        try:
            for _ in self._steps(courier, deadline):
                pass
        except AuthorizationError:
            if not (courier.has_delivered or self.written()):
                # It was refused the number without which it sends nothing.
                self._start_over()
            raise

    def _steps(self, courier: Courier, deadline: float) -> Iterator[None]:
        """Hand over a thousand records a step, then wait for a moment a step."""
        rest, self._rest = self._rest, ()
        for start in range(0, len(rest), _CHUNK_RECORDS):
            for index in rest[start : start + _CHUNK_RECORDS]:
                self._hand_over(index, courier, deadline)
            courier.serve()
            check_time(courier, deadline)
            yield
        while courier.flush(SLICE_SECONDS):
            check_time(courier, deadline)
            yield

    def _hand_over(self, index: int, courier: Courier, deadline: float) -> None:
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
            # Before it is: Ctrl-C may come in between.
            self._is_handed_over[index] = True
            try:
                courier.producer.produce(*record, partial(self._note, index), None, timestamp or 0, headers)
            except BufferError:
                self._is_handed_over[index] = False
                courier.serve(SLICE_SECONDS)
                check_time(courier, deadline)
            except KafkaException as error:
                self._is_handed_over[index] = False
                self.errors[index] = error.args[0]
                return
            else:
                return

    def _note(self, index: int, error: KafkaError | None, message: Any) -> None:
        if error is None:
            self.partitions[index] = message.partition()
            # None where the acknowledgement of a later batch stood for a lost one.
            self.offsets[index] = _NOWHERE if message.offset() is None else message.offset()
        else:
            self.errors[index] = error

    def take_back(self, courier: Courier) -> None:
        """Have the producer drop what it still has; what is acknowledged meanwhile counts."""
        courier.is_spent = True
        courier.producer.purge()
        with suppress(BrokerError):
            courier.flush(_TAKE_BACK_SECONDS)

    def again(self) -> bool:
        """Make the next run send what was too large together; return whether there is any.

        A record stays out if a later one of its key was written: it would undo that one.
        """
        keys = self.records.keys
        last = {key: index for index, key in enumerate(keys) if self.partitions[index] != _NOWHERE}
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
        """Return the records that the brokers found too large, each perhaps for the company it was in."""
        return [
            index
            for index, error in self.errors.items()
            if error.code() in _TOO_LARGE and self._is_handed_over[index]
        ]

    def cause(self, courier: Courier) -> BrokerError | None:
        """Return what the first record that failed says, if any did."""
        told = sorted(self.errors.keys() - self._overtaken)
        if told:
            return self.meaning(told[0], courier)
        return BrokerError(courier.bootstrap, _OVERTAKEN) if self._overtaken else None

    def meaning(self, index: int, courier: Courier) -> BrokerError:
        """Return what the error of a record means."""
        error, partitions = self.errors[index], self.records.partitions
        if error.code() == KafkaError._UNKNOWN_PARTITION and partitions is not None:  # noqa: SLF001
            return BrokerError(
                courier.bootstrap, f"there is no partition {partitions[index]} [{error.name()}]"
            )
        return courier.meaning(error)

    @property
    def hint(self) -> str | None:
        """What helps against the errors of records, where that is known."""
        if any(
            error.code() in _TOO_LARGE for index, error in self.errors.items() if index not in self._overtaken
        ):
            return _TOO_LARGE_HINT
        return _OVERTAKEN_HINT if self._overtaken else None

    def written(self) -> list[int]:
        """Return which records are acknowledged."""
        return [index for index, partition in enumerate(self.partitions) if partition != _NOWHERE]

    def failed(self, courier: Courier, reason: str) -> dict[int, str]:
        """Return which records were certainly not written, and why; ``reason`` is why some were never sent."""
        missing = [index for index, partition in enumerate(self.partitions) if partition == _NOWHERE]
        not_sent = [index for index in missing if not self._is_handed_over[index]]
        refused = [index for index in missing if self._is_refused(index)]
        found = dict.fromkeys(not_sent, f"not sent: {reason}")
        return found | self.reasons(refused, courier) | dict.fromkeys(self._overtaken, _OVERTAKEN)

    def _is_refused(self, index: int) -> bool:
        return index in self.errors and self.errors[index].code() in _REFUSED

    def reasons(self, indices: Iterable[int], courier: Courier) -> dict[int, str]:
        """Return what the errors of records mean; of a million that mean the same there is one text."""
        texts: dict[tuple[int, int | None], str] = {}
        found: dict[int, str] = {}
        for index in indices:
            partition = None if self.records.partitions is None else self.records.partitions[index]
            kind = self.errors[index].code(), partition
            if kind not in texts:
                texts[kind] = self.meaning(index, courier).reason
            found[index] = texts[kind]
        return found


def check_time(courier: Courier, deadline: float) -> None:
    """Raise a BrokerError when time is over."""
    if time.monotonic() > deadline:
        reason = "time was over before the brokers had acknowledged all records"
        raise courier.lateness(reason)
