"""Reads assigned partitions as batches of raw columns. No consumer group, no commits; the caller keeps the positions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import islice
from operator import methodcaller
from types import MappingProxyType
from typing import Any, Protocol

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from ktframe.config.settings import ConfigValue, Settings
from ktframe.errors import BrokerError, BrokerUnreachableError, UnknownTopicError
from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.formats.base import UNREADABLE_HEADERS, Headers
from ktframe.gc_pause import cyclic_gc_paused
from ktframe.kafka.client import new_client
from ktframe.kafka.cluster import RECONNECT, mechanism_of
from ktframe.kafka.errors import translate

BATCH_RECORDS = 50_000
"""So many share the fixed cost of a batch."""
_BATCH_BYTES = 32 * 2**20
"""With more bytes in their values a batch has fewer records: they, and what they become, are in memory at once."""
_CALL_RECORDS = 1_500
"""The interpreter's lock is held while so many are taken from librdkafka's queue: a millisecond."""
_SIZED = 16
"""One in so many records is asked for its size."""
_POLL_SECONDS = 0.1

# Without rights on the group librdkafka reports this once and reads on: the group is never used.
HARMLESS = frozenset({KafkaError.GROUP_AUTHORIZATION_FAILED})


class Reader(Protocol):
    """Reads one topic; owned by the binding's thread."""

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, instead of those assigned before."""

    def first_records(
        self, offsets: Mapping[int, int], is_over: Callable[[], bool]
    ) -> Mapping[int, LastRecord | None]:
        """Return the first record from each offset on, by partition, None without one; or what is known once ``is_over``.

        Nothing is assigned afterwards.
        """

    def poll(self) -> RecordBatch | None:
        """Return what arrived, None when nothing did for a tenth of a second.

        Reaching the end of a partition only advances ``positions``, also past transaction markers and compacted offsets.
        """

    def close(self) -> None:
        """Stop reading."""


def reading_config(
    settings: Settings, on_error: Callable[[KafkaError], object], **defaults: ConfigValue
) -> dict[str, Any]:
    """Return the settings of a consumer that reads assigned partitions and leaves nothing on the cluster.

    ``defaults`` are librdkafka's names with underscores; the user's own settings win over them.
    """
    return {
        "group.id": "ktframe",  # required by librdkafka; with assign() and without commits the cluster never sees it
        "queued.max.messages.kbytes": 65_536,
        "fetch.wait.max.ms": 50,
        "fetch.error.backoff.ms": 50,
        # By default a partition whose queue was full for a moment is fetched again only after a second.
        "fetch.queue.backoff.ms": 10,
        **RECONNECT,
        **{name.replace("_", "."): value for name, value in defaults.items()},
        **settings.librdkafka,
        "bootstrap.servers": settings.bootstrap,
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "check.crcs": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "error_cb": on_error,
        "log_level": 0,
    }


class KafkaReader:
    """A ``Reader`` over one Consumer."""

    def __init__(self, settings: Settings, topic: str, *, with_headers: bool = False) -> None:
        self._topic = topic
        self._bootstrap = settings.bootstrap
        self._mechanism = mechanism_of(settings)
        self._with_headers = with_headers
        self._timeout = settings.request_timeout
        self._failure: BrokerError | None = None
        self._config = reading_config(settings, self._on_error)
        self._consumer = new_client(Consumer, self._config)

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in HARMLESS:
            return
        meaning = self._translate(error)
        # Single connections come and go. A failure is a refused login, a topic that is gone, or no broker left.
        is_failure = meaning.is_fatal or isinstance(meaning, UnknownTopicError)
        if is_failure or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._failure = meaning

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, instead of those assigned before."""
        self._consumer.assign([TopicPartition(self._topic, p, offset) for p, offset in positions.items()])

    def first_records(
        self, offsets: Mapping[int, int], is_over: Callable[[], bool]
    ) -> Mapping[int, LastRecord | None]:
        """Return the first record from each offset on, None where there is none.

        Raises
        ------
        BrokerError
            When one can't be read, or the brokers of a partition don't answer in time.
        """
        found: dict[int, LastRecord | None] = {}
        missing = set(offsets)
        deadline = time.monotonic() + self._timeout
        self.assign(offsets)
        while missing and not is_over():
            batch = self._take(1)
            if batch is not None:
                done = missing & batch.positions.keys()
                found |= {p: batch.last.get(p) for p in done}
                missing -= done
                if done:  # what follows is not wanted, and keeps others waiting
                    self._consumer.incremental_unassign([TopicPartition(self._topic, p) for p in done])
            if missing and time.monotonic() > deadline:
                silent = ", ".join(map(str, sorted(missing)))
                reason = f"the broker that leads partition {silent} is silent"
                raise BrokerUnreachableError(self._bootstrap, reason)
        self._consumer.unassign()
        return found

    def poll(self) -> RecordBatch | None:
        """Return what arrived, None when nothing did for a tenth of a second."""
        return self._take(BATCH_RECORDS)

    def _take(self, most: int) -> RecordBatch | None:
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        try:
            # consume(n, t) waits for its whole timeout. poll() returns with the first record; the others are queued by then.
            first = self._consumer.poll(_POLL_SECONDS)
            if first is None:
                return None
            with cyclic_gc_paused():
                return self._columns(self._with_queued(first, most))
        except KafkaException as error:
            raise self._translate(error.args[0]) from error

    def _with_queued(self, first: Any, most: int) -> list[Any]:
        """Return the ``first`` message and those that have arrived by now, ``most`` of them."""
        messages, size = [first], 0
        while len(messages) < most and size < _BATCH_BYTES:
            wanted = min(most - len(messages), _CALL_RECORDS)
            more = self._consumer.consume(wanted, 0)
            messages += more
            if len(more) < wanted:
                break
            size += _SIZED * sum(map(len, more[::_SIZED]))
        return messages

    def _columns(self, messages: list[Any]) -> RecordBatch:
        # Any, not Message: its stubs allow None for the partition and offset of a record.
        positions: dict[int, int] = {}
        records = [message for message in messages if message.error() is None]
        if len(records) < len(messages):
            records, positions = self._until_errors(messages)
        return columns_of(records, positions, with_headers=self._with_headers)

    def _until_errors(self, messages: list[Any]) -> tuple[list[Any], dict[int, int]]:
        """Return the records and ends of each partition before its error, which the next ``poll`` raises.

        What follows the error is dropped: with it the position would pass the records that could not be read.
        """
        records: list[Any] = []
        ends: dict[int, int] = {}
        limits: dict[int, int | None] = {}
        for message in messages:
            error, partition, offset = message.error(), message.partition(), message.offset()
            if partition in limits:
                continue
            if error is None:
                records.append(message)
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001
                ends[partition] = offset
            elif error.code() not in HARMLESS:
                self._failure = self._translate(error, partition, offset)
                if partition is not None:
                    limits[partition] = offset
        for partition, limit in limits.items():
            if limit is not None and limit >= 0:
                records = [
                    record for record in records if record.partition() != partition or record.offset() < limit
                ]
                if partition in ends:
                    ends[partition] = min(ends[partition], limit)
        return records, ends

    def _translate(
        self, error: KafkaError, partition: int | None = None, offset: int | None = None
    ) -> BrokerError:
        meaning = translate(
            error,
            bootstrap=self._bootstrap,
            mechanism=self._mechanism,
            topic=self._topic,
            partition=-1 if partition is None else partition,
            config=self._config,
        )
        if partition is not None and partition >= 0:
            meaning.reason = f"partition {partition}, offset {offset}: {meaning.reason}"
        if isinstance(meaning, UnknownTopicError):
            # It existed a moment ago. Whether it is really gone is found out when the topic is opened again.
            meaning.is_fatal = False
        return meaning

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()


def columns_of(
    records: list[Any], ends: Mapping[int, int] = MappingProxyType({}), *, with_headers: bool = False
) -> RecordBatch:
    """Return messages of one topic, none of them an error, as a batch; ``ends`` are positions at least reached."""
    partitions = [message.partition() for message in records]
    offsets = [message.offset() for message in records]
    positions = dict(ends)
    times = [message.timestamp() for message in records]
    last: dict[int, LastRecord] = {}
    # dict() keeps the last record of each partition, whose offset is the greatest.
    for partition, message in dict(zip(partitions, records, strict=True)).items():
        offset, (_, at) = message.offset(), message.timestamp()
        positions[partition] = max(positions.get(partition, 0), offset + 1)
        last[partition] = LastRecord.of(offset, at, message.key(), message.value(), message.leader_epoch())
    return RecordBatch(
        partitions=partitions,
        offsets=offsets,
        timestamps=[at for _, at in times],
        timestamp_types=[kind for kind, _ in times],
        keys=[message.key() for message in records],
        values=[message.value() for message in records],
        headers=_headers_of(records) if with_headers else None,
        positions=positions,
        last=last,
    )


def _headers_of(records: list[Any]) -> list[Headers]:
    """Return the headers of each message.

    Where the name of one is no text, confluent-kafka (2.16) returns a list with a hole and leaves the decoder's error set.
    ``map`` notices, and raises a SystemError; a loop that Python has specialized does not, and who looks into that list ends
    the process. So does who asks a message twice: it keeps the list.
    """
    found: list[Headers] = []
    left = map(methodcaller("headers"), records)
    while len(found) < len(records):
        try:
            # A few at a time: in between other threads get the interpreter's lock.
            found.extend(islice(left, _CALL_RECORDS))
        except (UnicodeDecodeError, SystemError):
            found.append(UNREADABLE_HEADERS)
    return found
