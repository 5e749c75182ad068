"""Records of a real Kafka, for the tests: written acknowledged, read back by an independent consumer."""

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from support.waiting import wait_until

T = TypeVar("T")

REQUEST_SECONDS = 60.0
READ_SECONDS = 120.0

# A restarted broker is found again within moments, and connections lost on purpose are not reported.
QUIET: Mapping[str, Any] = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "log_level": 0,
    "log.connection.close": False,
}

# What a broker answers that came back a moment ago and does not know yet what it leads.
PASSING = frozenset(
    {
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
    }
)

# The settings of confluent-kafka itself, which are spelt with underscores.
UNDERSCORED = frozenset(
    {"error_cb", "stats_cb", "throttle_cb", "logger", "oauth_cb", "log_level", "on_commit"}
)


class Record(NamedTuple):
    """One record as an independent consumer read it."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


def answer(future: "Future[T]") -> T:
    """Return the result of one admin request, or raise its error."""
    return future.result(REQUEST_SECONDS)


def ignore_error(_error: KafkaError) -> None:
    """Drop a client's asynchronous error: the request that fails by it says so itself."""


def quiet_admin(bootstrap: str, **config: Any) -> AdminClient:
    """Return an admin client that does not print while its broker is away."""
    return AdminClient({"bootstrap.servers": bootstrap, "error_cb": ignore_error, **QUIET, **_dotted(config)})


class KafkaRecords:
    """Reads and writes the records of the cluster at ``bootstrap``."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.admin = quiet_admin(bootstrap)

    def producer(self, **config: Any) -> Producer:
        """Return a producer; ``linger_ms=5`` sets ``linger.ms`` and so on."""
        return Producer(
            {"bootstrap.servers": self.bootstrap, "error_cb": ignore_error, **QUIET, **_dotted(config)}
        )

    def transactional_producer(self, transactional_id: str, **config: Any) -> Producer:
        """Return a producer that is ready to begin its first transaction."""
        producer = self.producer(transactional_id=transactional_id, **config)
        producer.init_transactions(REQUEST_SECONDS)
        return producer

    def consumer(self, **config: Any) -> Consumer:
        """Return a plain consumer that announces partition ends and never commits."""
        defaults = {
            "bootstrap.servers": self.bootstrap,
            "group.id": "ktframe-tests",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "error_cb": ignore_error,
        }
        return Consumer({**defaults, **QUIET, **_dotted(config)})

    def produce(
        self, topic: str, records: Iterable[tuple[Any, ...]], *, producer: Producer | None = None
    ) -> list[int]:
        """Write records and return their offsets, once the broker has acknowledged every one.

        A record is ``(key, value)`` and may go on with ``partition``, ``timestamp_ms`` and ``headers``,
        each of which may be ``None``.
        """
        writer = self.producer() if producer is None else producer
        offsets: dict[int, int] = {}
        errors: list[KafkaError] = []

        def on_delivery(number: int, error: KafkaError | None, message: Message) -> None:
            if error is not None:
                errors.append(error)
            offsets[number] = message.offset()

        count = 0
        for key, value, *rest in records:
            options = dict(zip(("partition", "timestamp", "headers"), rest, strict=False))
            given = {name: option for name, option in options.items() if option is not None}
            writer.produce(topic, value=value, key=key, on_delivery=partial(on_delivery, count), **given)
            writer.poll(0)
            count += 1
        writer.flush(REQUEST_SECONDS)
        if errors:
            raise KafkaException(errors[0])
        if len(offsets) != count:
            text = f"{topic}: {len(offsets)} of {count} records acknowledged in {REQUEST_SECONDS:g} s"
            raise AssertionError(text)
        # Acknowledged partition by partition, returned in the order in which they were given.
        return [offsets[number] for number in range(count)]

    def start_offsets(self, topic: str) -> dict[int, int]:
        """Return the first offset of every partition."""
        return self._offsets(topic, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED)

    def end_offsets(
        self, topic: str, isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> dict[int, int]:
        """Return the end of every partition: the high watermark, or the last stable offset if committed."""
        return self._offsets(topic, OffsetSpec.latest(), isolation)

    def await_transactions(self, topic: str) -> None:
        """Wait until no transaction is open in the topic.

        A commit returns before its markers are in the partitions; until then a reader of committed
        records sees nothing of it.
        """
        wait_until(
            lambda: self.end_offsets(topic) == self.end_offsets(topic, IsolationLevel.READ_COMMITTED),
            f"the transactions of {topic} to be over",
        )

    def records(self, topic: str, *, isolation: str = "read_committed") -> list[Record]:
        """Return every record, in order of partition and offset, read by a fresh consumer."""
        low, end = self.start_offsets(topic), self.end_offsets(topic, IsolationLevel[isolation.upper()])
        unread = {partition for partition in end if low[partition] < end[partition]}
        found: list[Record] = []
        deadline = time.monotonic() + READ_SECONDS
        consumer = self.consumer(isolation_level=isolation)
        try:
            # Numbers, not OFFSET_BEGINNING: librdkafka looks that up only at its second try, 500 ms later.
            consumer.assign([TopicPartition(topic, partition, low[partition]) for partition in unread])
            while unread:
                for message in consumer.consume(1000, 0.1):
                    if (record := _record(message)) is not None:
                        found.append(record)
                    if _next_offset(message) >= end[message.partition()]:
                        unread.discard(message.partition())
                if time.monotonic() > deadline:
                    text = f"{topic}: partitions {sorted(unread)} not read to {end} in {READ_SECONDS:g} s"
                    raise AssertionError(text)
        finally:
            consumer.close()
        return sorted(found, key=lambda record: (record.partition, record.offset))

    def partitions(self, topic: str) -> list[int]:
        """Return the topic's partition numbers."""
        return sorted(self.admin.list_topics(topic, timeout=REQUEST_SECONDS).topics[topic].partitions)

    def _offsets(self, topic: str, spec: OffsetSpec, isolation: IsolationLevel) -> dict[int, int]:
        asked = {TopicPartition(topic, partition): spec for partition in self.partitions(topic)}

        def answers() -> dict[int, int] | None:
            futures = self.admin.list_offsets(
                asked, isolation_level=isolation, request_timeout=REQUEST_SECONDS
            )
            try:
                return {at.partition: answer(future).offset for at, future in futures.items()}
            except KafkaException as error:
                if error.args[0].code() not in PASSING:
                    raise
                # One that asks for nothing but offsets keeps the leader epoch of before a broker was restarted, and is
                # refused for ever (FENCED_LEADER_EPOCH).
                self.admin = quiet_admin(self.bootstrap)
                return None

        return wait_until(answers, f"the offsets of {topic}")


def _record(message: Message) -> Record | None:
    """Return the record of a message, ``None`` for the announced end of a partition."""
    if (error := message.error()) is None:
        _, timestamp_ms = message.timestamp()
        return Record(message.partition(), message.offset(), timestamp_ms, message.key(), message.value())
    if error.code() == KafkaError._PARTITION_EOF:
        return None
    raise KafkaException(error)


def _next_offset(message: Message) -> int:
    """Return the first offset that a consumer has not passed with this message."""
    return int(message.offset() + 1 if message.error() is None else message.offset())


def _dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings with Kafka's dots where Python's keywords have underscores."""
    return {name if name in UNDERSCORED else name.replace("_", "."): value for name, value in config.items()}
