"""A Kafka cluster in memory, for tests."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Condition
from typing import Any

from ktframe.config.settings import RetryPolicy, Settings, StoreOptions
from ktframe.config.spelling import similar_names
from ktframe.context.context import Context
from ktframe.errors import BrokerError, OffsetOutOfRangeError, UnknownTopicError
from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.formats.base import Headers
from ktframe.kafka.protocol import Look, TopicFacts
from ktframe.kafka.registry import Registry
from ktframe.kafka.survey import Cleanup
from ktframe.testing.clients import FakeReader, FakeSampler, FakeWriter
from ktframe.testing.log import CREATE_TIME, FakeTopic, Log, LogRecord, as_bytes, read_log, remembered

_POLL_SECONDS = 0.02
_BOOTSTRAP = "fake:9092"


class FakeBroker:
    """A cluster in memory: topics, transactions, outages and held-back reads at a test's command. Thread safe."""

    def __init__(self) -> None:
        self.bootstrap = _BOOTSTRAP
        self.assigned: list[dict[int, int]] = []
        """The positions of every assignment, of all readers."""
        self._topics: dict[str, FakeTopic] = {}
        self._ids = itertools.count(1)
        self._changed = Condition()
        self._is_held = False
        self._faults: list[BaseException] = []
        self._outage: BaseException | None = None

    # --- for the test -----------------------------------------------------------------------------------------

    def create_topic(
        self,
        topic: str,
        partitions: int = 1,
        cleanup_policy: str | None = "delete",
        *,
        delete_retention_ms: int | None = 86_400_000,
    ) -> None:
        """Create a topic, replacing one of that name.

        The policy and ``delete.retention.ms`` are only reported, None as what may not be read; see ``compact``.
        """
        with self._changed:
            logs = [Log() for _ in range(partitions)]
            cleanup = Cleanup(cleanup_policy, delete_retention_ms)
            self._topics[topic] = FakeTopic(f"id-{next(self._ids)}", logs, cleanup)
            self._changed.notify_all()

    def delete_topic(self, topic: str) -> None:
        """Delete a topic."""
        with self._changed:
            del self._topics[topic]

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Add empty partitions."""
        with self._changed:
            self._topics[topic].partitions += [Log() for _ in range(partitions)]

    def produce(
        self,
        topic: str,
        key: str | bytes | None = None,
        value: Any = None,
        *,
        partition: int = 0,
        timestamp: int | None = 0,
        headers: Headers = None,
    ) -> int:
        """Append a record and return its offset. A dict becomes JSON; a missing topic is created.

        ``timestamp`` is in milliseconds, None for a record without one.
        """
        if topic not in self._topics:
            self.create_topic(topic)
        record = LogRecord(
            as_bytes(key),
            as_bytes(value),
            (0, -1) if timestamp is None else (CREATE_TIME, timestamp),
            headers,
        )
        return self._append(topic, partition, [record])

    def skip(self, topic: str, offsets: int = 1, *, partition: int = 0) -> int:
        """Append offsets without records, as transaction markers and compaction leave them."""
        return self._append(topic, partition, [None] * offsets)

    def _append(self, topic: str, partition: int, records: Iterable[LogRecord | None]) -> int:
        with self._changed:
            of_partition = self._topics[topic].partitions[partition]
            log = of_partition.log
            log += [None if each is None else replace(each, epoch=of_partition.epoch) for each in records]
            self._changed.notify_all()
            return len(log) - 1

    def begin_transaction(self, topic: str, *, partition: int = 0) -> None:
        """Open a transaction: what is produced from now on can't be read until it is committed."""
        with self._changed:
            log = self._topics[topic].partitions[partition]
            log.open_from = log.end

    def commit_transaction(self, topic: str, *, partition: int = 0) -> None:
        """Commit the transaction; its marker takes an offset."""
        self.skip(topic, partition=partition)
        with self._changed:
            self._topics[topic].partitions[partition].open_from = None
            self._changed.notify_all()

    def delete_records(self, topic: str, before: int, *, partition: int = 0) -> None:
        """Move the start of the log, as retention does."""
        with self._changed:
            self._topics[topic].partitions[partition].start = before

    def compact(self, topic: str) -> None:
        """Remove the records that have a later one of their key, and all tombstones: their time is over."""
        with self._changed:
            for log in self._topics[topic].partitions:
                log.compact()

    def truncate(self, topic: str, end: int, *, partition: int = 0) -> None:
        """Let the log end at an earlier offset, under a new leader: after an unclean election, or from a copy."""
        with self._changed:
            log = self._topics[topic].partitions[partition]
            del log.log[end:]
            log.epoch += 1

    def hold(self) -> None:
        """Deliver nothing to readers until ``release``."""
        with self._changed:
            self._is_held = True

    def release(self) -> None:
        """End ``hold``."""
        with self._changed:
            self._is_held = False
            self._changed.notify_all()

    def fail_next(self, *errors: BaseException) -> None:
        """Raise one of ``errors`` from each of the next polls."""
        with self._changed:
            self._faults += errors

    def go_down(self, error: BaseException | None = None) -> None:
        """Fail every request with ``error`` until ``come_back``."""
        self._outage = error or BrokerError(self.bootstrap, "down")

    def come_back(self) -> None:
        """End an outage."""
        self._outage = None

    def connect(
        self, state_dir: Path | str | None = None, *, registry: Registry | None = None, **settings: Any
    ) -> Context:
        """Return a Context on this broker; without ``state_dir`` its stores are in memory.

        ``registry`` looks up schemas, such as a ``FakeRegistry``. Back-off is short and the monitor runs often, unless ``settings`` (fields of ``Settings``) say otherwise.
        """
        if state_dir is None:
            settings["store"] = replace(settings.get("store", StoreOptions()), backend="memory")
        quick = {
            "monitor_interval": 0.05,
            "retry": RetryPolicy(initial_delay=0.01, max_delay=0.05, jitter=0),
            "state_dir": Path(state_dir or tempfile.gettempdir()),
        }
        resolved = Settings(**{"bootstrap": self.bootstrap, **quick, **settings})
        return Context(
            resolved,
            cluster=self,
            open_reader=lambda topic, headers: self._open_reader(topic, with_headers=headers),
            open_sampler=lambda: FakeSampler(self),
            registry=registry,
            record_writer=FakeWriter(self),
        )

    # --- for ktframe ----------------------------------------------------------------------------------------

    def cluster_id(self) -> str:
        """Return the id of the cluster."""
        return "fake"

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic."""
        self._require_up()
        with self._changed:
            return {name: len(topic.partitions) for name, topic in self._topics.items()}

    def topic(self, name: str) -> TopicFacts:
        """Return the partitions and the id of a topic."""
        self._require_up()
        with self._changed:
            topic = self._topics.get(name)
            if topic is None:
                close = similar_names(name, self._topics, most=2)
                raise UnknownTopicError(self.bootstrap, "no such topic", topic=name, suggestions=close)
            return TopicFacts(len(topic.partitions), topic.topic_id)

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset of each log."""
        self._require_up()
        return {partition: self._topics[topic].partitions[partition].start for partition in partitions}

    def end_offsets(self, topic: str, partitions: Iterable[int], *, committed: bool = True) -> dict[int, int]:
        """Return the offset behind the last record of each log."""
        self._require_up()
        logs = self._topics[topic].partitions
        return {
            partition: logs[partition].stable if committed else logs[partition].end
            for partition in partitions
        }

    def look(self, topic: str, partitions: int) -> Look | None:
        """Return what ``topic`` and ``end_offsets`` return; None if the topic has not so many partitions."""
        facts = self.topic(topic)
        if facts.partitions != partitions:
            return None
        written, ends = (
            self.end_offsets(topic, range(partitions), committed=committed) for committed in (False, True)
        )
        return Look(facts, written, ends)

    def leader_epochs(self, topic: str) -> dict[int, int]:
        """Return how often each partition has changed its leader."""
        known = self._topics.get(topic)
        return (
            {} if known is None else {partition: log.epoch for partition, log in enumerate(known.partitions)}
        )

    def offsets_at(self, topic: str, partitions: Iterable[int], at_ms: int) -> dict[int, int]:
        """Return the offset of the first record from ``at_ms`` on, per partition; the end where there is none."""
        self._require_up()
        logs = self._topics[topic].partitions
        return {
            partition: logs[partition].start if at_ms < 0 else logs[partition].first_from(at_ms)
            for partition in partitions
        }

    def extents(self, topics: Mapping[str, int]) -> dict[str, dict[int, range]]:
        """Return the offsets that the logs of each topic hold."""
        self._require_up()
        known = {name: self._topics[name].partitions[:count] for name, count in topics.items()}
        return {
            name: {number: range(log.start, log.end) for number, log in enumerate(logs)}
            for name, logs in known.items()
        }

    def cleanup_policy(self, topic: str) -> str | None:
        """Return the cleanup policy of a topic."""
        return self.cleanup(topic).policy

    def cleanup(self, topic: str) -> Cleanup:
        """Return the cleanup policy of a topic, and for how long tombstones are kept."""
        self._require_up()
        return self._topics[topic].cleanup

    def cleanup_policies(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Return the cleanup policy of each topic."""
        return {topic: self.cleanup_policy(topic) for topic in topics}

    def last_timestamps(self, topics: Mapping[str, int]) -> dict[str, int | None]:
        """Return the greatest timestamp of a record of each topic, None where there is none."""
        self._require_up()
        return {name: max(self._topics[name].timestamps(), default=None) for name in topics}

    def close(self) -> None:
        """Do nothing: the test may connect again."""

    def _open_reader(self, topic: str, *, with_headers: bool) -> FakeReader:
        reader = FakeReader(self, topic)
        reader.with_headers = with_headers
        return reader

    def _require_up(self) -> None:
        if self._outage is not None:
            raise self._outage

    def _read(self, topic: str, positions: Mapping[int, int]) -> RecordBatch | None:
        with self._changed:
            batch = self._available(topic, positions)
            if batch is None:
                self._changed.wait(_POLL_SECONDS)
                batch = self._available(topic, positions)
            return batch

    def _first_records(self, topic: str, offsets: Mapping[int, int]) -> dict[int, LastRecord | None]:
        self._require_up()
        with self._changed:
            logs, found = self._topics[topic].partitions, dict[int, LastRecord | None]()
            for partition, start in offsets.items():
                rest = enumerate(logs[partition].log[start : logs[partition].stable], start)
                first = next(((at, record) for at, record in rest if record is not None), None)
                found[partition] = None if first is None else remembered(*first)
            return found

    def _available(self, topic: str, positions: Mapping[int, int]) -> RecordBatch | None:
        if self._faults:
            raise self._faults.pop(0)
        self._require_up()
        if self._is_held or topic not in self._topics:
            return None
        batch = RecordBatch()
        for partition, position in positions.items():
            log = self._topics[topic].partitions[partition]
            if not log.start <= position <= log.end:
                raise OffsetOutOfRangeError(self.bootstrap, "out of range", topic=topic, partition=partition)
            batch += read_log(log, partition, position)
        return batch if batch.positions else None
