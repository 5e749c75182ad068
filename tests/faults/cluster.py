"""One topic on a real Kafka, and what befalls it: everything that is done here is noted in its logs.

What is left in the log after Kafka has removed something is asked of a plain consumer. Nothing of ktframe is used.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import mkdtemp
from typing import Any, Final

from confluent_kafka import IsolationLevel, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, OffsetSpec, ResourceType
from support.kafka_broker import KafkaBroker
from support.kafka_records import REQUEST_SECONDS, answer, quiet_admin
from support.waiting import wait_until

from faults.log import Fate, Kind, PartitionLog, Record, Topic

DAY_MS: Final = 86_400_000
ROLL_SECONDS: Final = 0.5
LONG_MS: Final = 300 * DAY_MS
KEYS: Final = [f"k{number}" for number in range(6)]
MOST_PARTITIONS: Final = 4
COMPACTED: Final = {
    "cleanup_policy": "compact",
    # Segments are closed when ``Cluster.compact`` says so, and never by the times of events.
    "segment_ms": LONG_MS,
    "min_cleanable_dirty_ratio": 0.01,
    "min_compaction_lag_ms": 0,
    "delete_retention_ms": 0,
}


@dataclass(frozen=True, slots=True)
class Transaction:
    """An open transaction."""

    producer: Producer
    records: list[Record]


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of the directories of a topic's partitions, and the records in it."""

    place: Path
    records: dict[int, dict[int, Record]]


@dataclass(slots=True)
class Cluster:
    """The topic, its logs and open transactions."""

    broker: KafkaBroker
    topic: str
    is_compacted: bool
    logs: Topic = field(default_factory=dict)
    open: list[Transaction] = field(default_factory=list)
    copy: Copy | None = None
    moves_keys: bool = True
    """Whether keys move to other partitions when some are added, as Kafka's producers have it."""
    _partitions: int = 1
    _former: Topic = field(default_factory=dict)
    _count: int = 0
    _time: int = 0
    _rolled_at: float = 0.0

    def __post_init__(self) -> None:
        # On the hour, so that a seed gives the same windows each time.
        self._time = (int(time.time() * 1000) - DAY_MS) // 3_600_000 * 3_600_000

    # --- topics ---------------------------------------------------------------------------------------------------

    def create(self, partitions: int) -> None:
        """Make the topic."""
        self.broker.create_topic(self.topic, partitions, **(COMPACTED if self.is_compacted else {}))
        self._drop_copy()
        self._partitions = partitions
        for partition in range(partitions):
            self.logs[partition] = self.logs.get(partition) or self._former.pop(partition, PartitionLog())

    def make_anew(self, partitions: int) -> None:
        """Delete the topic and make it again."""
        self.end_transactions(Random(0))
        self.broker.delete_topic(self.topic)
        for partition in [*self.logs]:
            log = self.logs[partition]
            log.lose("made anew", list(log.records.values()))
            if partition >= partitions:
                self._former[partition] = self.logs.pop(partition)
        self.create(partitions)

    def add_partition(self) -> None:
        """Add a partition."""
        self.broker.add_partitions(self.topic, len(self.logs) + 1)
        self.logs[len(self.logs)] = self._former.pop(len(self.logs), PartitionLog())

    def delete(self) -> None:
        """Delete the topic for good."""
        self.end_transactions(Random(0))
        self.broker.delete_topic(self.topic)
        self._drop_copy()

    # --- records --------------------------------------------------------------------------------------------------

    def drawn(self, random: Random, count: int, kinds: list[Kind]) -> list[tuple[Any, ...]]:
        """Return so many records of these kinds: key, value, partition, time, and what is noted of them."""
        lines = []
        for _ in range(count):
            self._count += 1
            self._time += random.choice([0, 5_000, 20_000, 60_000])
            at = self._time - random.choice([0, 0, 0, 30_000, 90_000, 200_000, 600_000])
            kind, key = random.choice(kinds), random.choice(KEYS)
            if random.random() < 0.03 and not self.is_compacted:
                key = None
            name = random.choice([key or "k0", key or "k0", random.choice(KEYS)])
            partition = (
                random.randrange(len(self.logs))
                if key is None
                else int(key[1:]) % (len(self.logs) if self.moves_keys else self._partitions)
            )
            value: bytes | None = json.dumps({"id": name, "n": self._count}).encode()
            value = {Kind.ROW: value, Kind.TOMBSTONE: None, Kind.BROKEN: b"{%d" % self._count}[kind]
            noted = (self._count, kind, name if kind is Kind.ROW else None)
            lines.append((None if key is None else key.encode(), value, partition, at, noted))
        return lines

    def produce(
        self, lines: list[tuple[Any, ...]], *, while_sending: Callable[[], None] | None = None
    ) -> None:
        """Write records; ``while_sending`` comes when they are sent and not acknowledged yet."""
        if while_sending is None:
            self._note(lines, self.broker.produce(self.topic, [line[:4] for line in lines]), Fate.COMMITTED)
            return
        producer = self.broker.producer(enable_idempotence=True, linger_ms=50)
        offsets: dict[int, int] = {}
        for number, (key, value, partition, at, _) in enumerate(lines):
            producer.produce(
                self.topic,
                key=key,
                value=value,
                partition=partition,
                timestamp=at,
                on_delivery=lambda error, message, number=number: _acknowledged(
                    offsets, number, error, message
                ),
            )
        producer.poll(0)
        while_sending()
        producer.flush(REQUEST_SECONDS)
        self._note(lines, [offsets[number] for number in range(len(lines))], Fate.COMMITTED)

    def begin(self, lines: list[tuple[Any, ...]]) -> Transaction:
        """Write records in a transaction that stays open."""
        name = f"{self.topic}-{self._count}"
        producer = self.broker.transactional_producer(name, transaction_timeout_ms=900_000)
        producer.begin_transaction()
        offsets = self.broker.produce(self.topic, [line[:4] for line in lines], producer=producer)
        self.open.append(Transaction(producer, self._note(lines, offsets, Fate.OPEN)))
        return self.open[-1]

    def end(self, transaction: Transaction, *, is_commit: bool) -> None:
        """Commit or abort a transaction, and return when its end is in the log."""
        if is_commit:
            transaction.producer.commit_transaction(REQUEST_SECONDS)
        else:
            transaction.producer.abort_transaction(REQUEST_SECONDS)
        for record in transaction.records:
            self.logs[record.partition].fates[record.number] = Fate.COMMITTED if is_commit else Fate.ABORTED
        self.open.remove(transaction)
        wait_until(self._is_settled, f"the end of a transaction in {self.topic}")

    def end_transactions(self, random: Random) -> None:
        """Commit or abort all open transactions."""
        for transaction in [*self.open]:
            self.end(transaction, is_commit=random.random() < 0.5)

    def _is_settled(self) -> bool:
        committed, written = self.ends(), self.broker.end_offsets(self.topic)
        return all(
            committed[partition] == (written[partition] if log.first_open is None else log.first_open)
            for partition, log in self.logs.items()
        )

    def _note(self, lines: list[tuple[Any, ...]], offsets: list[int], fate: Fate) -> list[Record]:
        noted = []
        for (key, _, partition, at, (number, kind, name)), offset in zip(lines, offsets, strict=True):
            text = None if key is None else key.decode()
            noted.append(Record(number, partition, offset, at, text, kind, name))
            self.logs[partition].add(noted[-1], fate)
        return noted

    # --- what the log has -----------------------------------------------------------------------------------------

    def ends(self) -> dict[int, int]:
        """Return where what is committed ends."""
        return self.broker.end_offsets(self.topic, IsolationLevel.READ_COMMITTED)

    def starts(self) -> dict[int, int]:
        """Return where the logs start."""
        return self.broker.start_offsets(self.topic)

    def thawed(self) -> None:
        """Return when a broker that was frozen leads its partitions again, as another client finds it.

        librdkafka's may keep a leader epoch of before for ever, and be refused each time (FENCED_LEADER_EPOCH).
        """

        def answers() -> bool:
            self.broker.admin = quiet_admin(self.broker.bootstrap)
            asked = {TopicPartition(self.topic, partition): OffsetSpec.latest() for partition in self.logs}
            try:
                futures = self.broker.admin.list_offsets(asked, request_timeout=5)
                return all(answer(future).offset >= 0 for future in futures.values())
            except KafkaException:
                return False

        wait_until(answers, f"the leaders of {self.topic}")

    def look(self, cause: str | None = None) -> None:
        """Note what has left the log, for this cause or by compaction, as a plain consumer finds it; all else must be there."""
        cause = cause or ("compacted" if self.is_compacted else None)
        found = {(each.partition, each.offset): each for each in self.broker.records(self.topic)}
        for partition, log in self.logs.items():
            back = [offset for offset in log.deleted if (partition, offset) in found]
            if back:
                log.come_back(min(back))
            gone = []
            for record in log.visible():
                there = found.pop((partition, record.offset), None)
                if there is None:
                    gone.append(record)
                    continue
                is_it = (there.timestamp_ms, there.key) == (record.time, record.key and record.key.encode())
                assert is_it, f"the log has another record than {record}: {there}"
            if gone:
                assert cause is not None, f"Kafka has lost records that it had acknowledged: {gone}"
                assert cause != "compacted" or not _kept(gone, log), (
                    f"compaction has removed {_kept(gone, log)}"
                )
                log.lose(cause, gone)
        assert not found, f"the log has records that were not acknowledged: {found}"

    def delete_records(self, partition: int, before: int) -> None:
        """Delete the first records of a partition."""
        self.broker.delete_records(self.topic, {partition: before})
        log = self.logs[partition]
        log.lose("deleted", [record for offset, record in log.records.items() if offset < before])

    def compact(self) -> None:
        """Have all that is there compacted, and return when its tombstones are gone too."""
        before = {partition: log.visible() for partition, log in self.logs.items()}

        def is_clean() -> bool:
            # The cleaner marks a tombstone in its first pass and removes it in a later one, for which it needs new records.
            if time.monotonic() > self._rolled_at + ROLL_SECONDS:
                self._roll()
            self.look()
            return not any(_removable(before[p], log.visible()) for p, log in self.logs.items())

        self._close_segments_after(50)
        wait_until(is_clean, f"{self.topic} to be compacted")
        self._close_segments_after(LONG_MS)

    def _close_segments_after(self, length_ms: int) -> None:
        entry = ConfigEntry("segment.ms", str(length_ms), incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.topic, incremental_configs=[entry])
        for future in self.broker.admin.incremental_alter_configs([resource]).values():
            answer(future)

    def _roll(self) -> None:
        """Close the segments, by an aborted record of each partition that is later by more than a segment may span."""
        self._rolled_at = time.monotonic()
        at = int(time.time() * 1000) + 1000
        producer = self.broker.transactional_producer(f"{self.topic}-roll")
        producer.begin_transaction()
        self.broker.produce(self.topic, [(b"roll", b"roll", p, at) for p in self.logs], producer=producer)
        producer.abort_transaction(REQUEST_SECONDS)
        wait_until(self._is_settled, f"the end of a transaction in {self.topic}")

    # --- the broker's disk ----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop the broker in order."""
        self.broker.stop()
        for log in self.logs.values():
            log.deleted.clear()

    def take_copy(self) -> None:
        """Copy the directories of the partitions; the broker must be stopped, and no transaction open."""
        self._drop_copy()
        place = Path(mkdtemp(prefix="ktframe-copy-"))
        for partition in self.logs:
            shutil.copytree(self._directory(partition), place / str(partition))
        self.copy = Copy(place, {partition: dict(log.records) for partition, log in self.logs.items()})

    def put_copy_back(self) -> None:
        """Put the copy in the place of what was written since; the broker must be stopped. See ``came_back``."""
        assert self.copy is not None
        for partition in self.copy.records:
            shutil.rmtree(self._directory(partition))
            shutil.copytree(self.copy.place / str(partition), self._directory(partition))

    def came_back(self) -> None:
        """Note what the logs have since the copy was put back; the broker must run."""
        assert self.copy is not None
        for partition, records in self.copy.records.items():
            log = self.logs[partition]
            kept = {record.number for record in records.values()}
            log.lose("put back", [record for record in log.records.values() if record.number not in kept])
            log.records.update(records)
        self.look("put back")

    def _directory(self, partition: int) -> Path:
        return self.broker._dir / "data" / f"{self.topic}-{partition}"

    def _drop_copy(self) -> None:
        if self.copy is not None:
            shutil.rmtree(self.copy.place)
        self.copy = None


def _removable(before: tuple[Record, ...], now: tuple[Record, ...]) -> list[Record]:
    """Return the records of ``before`` that are still there and that compaction can remove, given these alone."""
    newest = {record.key: record for record in before}
    rest = set(before).intersection(now)
    return [each for each in rest if newest[each.key] is not each or each.kind is Kind.TOMBSTONE]


def _kept(gone: list[Record], log: PartitionLog) -> list[Record]:
    """Return the records among ``gone`` that compaction must keep: the newest ones of their keys, but for tombstones."""
    newest = {record.key: record for record in log.visible()}
    return [each for each in gone if newest[each.key] is each and each.kind is not Kind.TOMBSTONE]


def _acknowledged(offsets: dict[int, int], number: int, error: Any, message: Any) -> None:
    assert error is None, error
    offsets[number] = message.offset()
