"""For tests of code that uses ktframe: a Kafka made of lists, and a clock that is turned by hand.

>>> import ktframe
>>> from ktframe.testing import FakeBroker
>>> broker = FakeBroker()
>>> _ = broker.produce("orders", key="o-1", value={"amount": 5})
>>> with broker.connect() as kt:
...     kt.table("orders").get("o-1")
{'key': 'o-1', 'amount': 5}
"""

from __future__ import annotations

import difflib
import itertools
import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Condition
from typing import Any

from ktframe.context import Context
from ktframe.errors import BrokerError, OffsetOutOfRangeError, UnknownTopicError
from ktframe.kafka.cluster import TopicFacts
from ktframe.kafka.reader import BATCH_RECORDS
from ktframe.kafka.sampler import Sample, Wanted
from ktframe.records import RecordBatch
from ktframe.settings import RetryPolicy, Settings, StoreOptions

__all__ = ["FakeBroker", "FakeReader", "ManualClock"]

_POLL_SECONDS = 0.02
_CREATE_TIME = 1
_BOOTSTRAP = "fake:9092"


class ManualClock:
    """Stands still until ``advance`` is called."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._passed = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def now(self) -> datetime:
        """Return the wall time."""
        return self._start + timedelta(seconds=self._passed)

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._passed


@dataclass(slots=True)
class _Record:
    key: bytes | None
    value: bytes | None
    timestamp: tuple[int, int]


@dataclass(slots=True)
class _Partition:
    """A log: None stands for an offset without a record (a transaction marker, a hole of compaction)."""

    log: list[_Record | None] = field(default_factory=list)
    start: int = 0
    open_from: int | None = None

    @property
    def end(self) -> int:
        return len(self.log)

    @property
    def stable(self) -> int:
        return self.end if self.open_from is None else self.open_from

    def first_from(self, at_ms: int) -> int:
        later = (
            offset
            for offset in range(self.start, self.end)
            if (record := self.log[offset]) is not None and record.timestamp[1] >= at_ms
        )
        return next(later, self.end)


@dataclass(slots=True)
class _Topic:
    topic_id: str
    partitions: list[_Partition]
    cleanup_policy: str = "delete"

    def timestamps(self) -> Iterator[int]:
        for each in self.partitions:
            records = (record for record in each.log[each.start :] if record is not None)
            yield from (at for kind, at in (record.timestamp for record in records) if kind)


class FakeBroker:
    """A cluster in memory: what ktframe asks of Kafka, and what a test wants to happen to it. Thread safe."""

    def __init__(self) -> None:
        self.bootstrap = _BOOTSTRAP
        self.assigned: list[dict[int, int]] = []
        """The positions of every assignment that any reader was given."""
        self._topics: dict[str, _Topic] = {}
        self._ids = itertools.count(1)
        self._changed = Condition()
        self._is_held = False
        self._faults: list[BaseException] = []
        self._outage: BaseException | None = None

    # --- what a test does -----------------------------------------------------------------------------------------

    def create_topic(self, topic: str, partitions: int = 1, cleanup_policy: str = "delete") -> None:
        """Make a topic, anew if it is there; the policy is only told, nothing is ever cleaned up."""
        with self._changed:
            logs = [_Partition() for _ in range(partitions)]
            self._topics[topic] = _Topic(f"id-{next(self._ids)}", logs, cleanup_policy)
            self._changed.notify_all()

    def delete_topic(self, topic: str) -> None:
        """Delete a topic."""
        with self._changed:
            del self._topics[topic]

    def add_partitions(self, topic: str, partitions: int) -> None:
        """Add empty partitions."""
        with self._changed:
            self._topics[topic].partitions += [_Partition() for _ in range(partitions)]

    def produce(
        self,
        topic: str,
        key: str | bytes | None = None,
        value: Any = None,
        *,
        partition: int = 0,
        timestamp: int | None = 0,
    ) -> int:
        """Append a record and return its offset; a dict becomes JSON, a topic is made when it is not there.

        ``timestamp`` is in milliseconds, None for a record without one.
        """
        if topic not in self._topics:
            self.create_topic(topic)
        record = _Record(
            _bytes(key), _bytes(value), (0, -1) if timestamp is None else (_CREATE_TIME, timestamp)
        )
        return self._append(topic, partition, [record])

    def skip(self, topic: str, offsets: int = 1, *, partition: int = 0) -> int:
        """Append offsets that hold no record, as transaction markers and compaction leave them."""
        return self._append(topic, partition, [None] * offsets)

    def _append(self, topic: str, partition: int, records: Iterable[_Record | None]) -> int:
        with self._changed:
            log = self._topics[topic].partitions[partition].log
            log.extend(records)
            self._changed.notify_all()
            return len(log) - 1

    def begin_transaction(self, topic: str, *, partition: int = 0) -> None:
        """Hold back what is produced from now on, until it is committed."""
        with self._changed:
            found = self._topics[topic].partitions[partition]
            found.open_from = found.end

    def commit_transaction(self, topic: str, *, partition: int = 0) -> None:
        """Let what was held back be read; its marker takes an offset."""
        self.skip(topic, partition=partition)
        with self._changed:
            self._topics[topic].partitions[partition].open_from = None
            self._changed.notify_all()

    def delete_records(self, topic: str, before: int, *, partition: int = 0) -> None:
        """Move the start of the log, as retention does."""
        with self._changed:
            self._topics[topic].partitions[partition].start = before

    def hold(self) -> None:
        """Let readers wait: nothing arrives until ``release``."""
        with self._changed:
            self._is_held = True

    def release(self) -> None:
        """End ``hold``."""
        with self._changed:
            self._is_held = False
            self._changed.notify_all()

    def fail_next(self, *errors: BaseException) -> None:
        """Raise these, one each, from the next polls."""
        with self._changed:
            self._faults += errors

    def go_down(self, error: BaseException | None = None) -> None:
        """Answer nothing but ``error`` until ``come_back``."""
        self._outage = error or BrokerError(self.bootstrap, "down")

    def come_back(self) -> None:
        """End an outage."""
        self._outage = None

    def connect(self, state_dir: Path | str | None = None, **settings: Any) -> Context:
        """Return a Context on this broker; without ``state_dir`` its stores are in memory.

        Back-off is short and the monitor looks often, unless ``settings`` (fields of ``Settings``) say otherwise.
        """
        if state_dir is None:
            settings["store"] = replace(settings.get("store", StoreOptions()), backend="memory")
        quick = {
            "monitor_interval": 0.05,
            "retry": RetryPolicy(attempts=5, initial_delay=0.01, max_delay=0.05, jitter=0),
            "state_dir": Path(state_dir or tempfile.gettempdir()),
        }
        chosen = Settings(**{"bootstrap": self.bootstrap, **quick, **settings})
        return Context(
            chosen,
            cluster=self,
            open_reader=lambda topic, _headers: FakeReader(self, topic),
            open_sampler=lambda: _FakeSampler(self),
        )

    # --- what ktframe asks ----------------------------------------------------------------------------------------

    def cluster_id(self) -> str:
        """Return the id of the cluster."""
        return "fake"

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic."""
        self._require_up()
        with self._changed:
            return {name: len(topic.partitions) for name, topic in self._topics.items()}

    def topic(self, name: str) -> TopicFacts:
        """Return what the cluster says of one topic."""
        self._require_up()
        with self._changed:
            found = self._topics.get(name)
            if found is None:
                close = tuple(difflib.get_close_matches(name, self._topics, n=2))
                raise UnknownTopicError(self.bootstrap, "no such topic", topic=name, suggestions=close)
            return TopicFacts(len(found.partitions), found.topic_id)

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
        self._require_up()
        return self._topics[topic].cleanup_policy

    def cleanup_policies(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Return the cleanup policy of each topic."""
        return {topic: self.cleanup_policy(topic) for topic in topics}

    def last_timestamps(self, topics: Mapping[str, int]) -> dict[str, int | None]:
        """Return the greatest timestamp of a record of each topic, None where there is none."""
        self._require_up()
        return {name: max(self._topics[name].timestamps(), default=None) for name in topics}

    def close(self) -> None:
        """Do nothing: the test may connect again."""

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
            batch += _slice(log, partition, position)
        return batch if batch.positions else None


class FakeReader:
    """Reads a ``FakeBroker``."""

    def __init__(self, broker: FakeBroker, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._positions: dict[int, int] = {}

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset given."""
        self._positions = dict(positions)
        self._broker.assigned.append(dict(positions))

    def poll(self) -> RecordBatch | None:
        """Return what is there."""
        batch = self._broker._read(self._topic, self._positions)  # noqa: SLF001 - the two are one thing
        if batch is not None:
            self._positions |= batch.positions
        return batch

    def close(self) -> None:
        """Do nothing."""


class _FakeSampler:
    """Looks at the records of a ``FakeBroker``."""

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker

    def read(self, wanted: Wanted, seconds: float) -> dict[str, Sample]:
        """Return what is wanted, at once."""
        del seconds
        samples: dict[str, Sample] = {}
        for topic, stretches in wanted.items():
            batch = RecordBatch()
            for partition, stretch in stretches.items():
                log = self._broker._topics[topic].partitions[partition]  # noqa: SLF001 - the two are one thing
                batch += _slice(log, partition, max(stretch.offset, log.start), stretch.count)
            samples[topic] = Sample(batch)
        return samples

    def close(self) -> None:
        """Do nothing."""


def _slice(log: _Partition, partition: int, position: int, most: int = BATCH_RECORDS) -> RecordBatch:
    end = min(log.stable, position + most)
    found = [(offset, record) for offset in range(position, end) if (record := log.log[offset]) is not None]
    return RecordBatch(
        partitions=[partition] * len(found),
        offsets=[offset for offset, _ in found],
        timestamps=[record.timestamp[1] for _, record in found],
        timestamp_types=[record.timestamp[0] for _, record in found],
        keys=[record.key for _, record in found],
        values=[record.value for _, record in found],
        positions={partition: end} if end > position else {},
    )


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()
