"""The reader, writer and sampler of a ``FakeBroker``, in the place of Kafka's clients."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from ktframe.clock import SystemClock, now_ms
from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.kafka.protocol import TopicFacts
from ktframe.kafka.sampler import RangesByTopic, Sample
from ktframe.process.threads import Tell, ignore
from ktframe.testing.log import FakeTopic, read_log


class Cluster(Protocol):
    """The part of a ``FakeBroker`` that its clients need."""

    assigned: list[dict[int, int]]
    bootstrap: str
    _topics: dict[str, FakeTopic]

    def topic(self, name: str) -> TopicFacts:
        """Return the partitions and the id of a topic."""

    @property
    def produce(self) -> Callable[..., int]:
        """Append a record and return its offset."""

    def _first_records(self, topic: str, offsets: Mapping[int, int]) -> dict[int, LastRecord | None]:
        """Return the first record from each offset on, by partition."""

    def _read(self, topic: str, positions: Mapping[int, int]) -> RecordBatch | None:
        """Return the records from these positions on, None where there are none."""


class FakeReader:
    """Reads a ``FakeBroker``."""

    with_headers = True
    """Whether batches have the headers of their records."""

    def __init__(self, broker: Cluster, topic: str) -> None:
        self._broker = broker
        self._topic = topic
        self._positions: dict[int, int] = {}

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions, each from the offset given."""
        self._positions = dict(positions)
        self._broker.assigned.append(dict(positions))

    def first_records(
        self, offsets: Mapping[int, int], is_over: Callable[[], bool]
    ) -> Mapping[int, LastRecord | None]:
        """Return the first record from each offset on."""
        del is_over
        return self._broker._first_records(self._topic, offsets)  # noqa: SLF001 - its own client

    def poll(self) -> RecordBatch | None:
        """Return the next records, None where there are none."""
        batch = self._broker._read(self._topic, self._positions)  # noqa: SLF001 - its own client
        if batch is not None:
            self._positions |= batch.positions
        return batch if batch is None or self.with_headers else replace(batch, headers=None)

    def close(self) -> None:
        """Do nothing."""


class FakeWriter:
    """Writes to a ``FakeBroker``; keys go to partitions by their CRC."""

    def __init__(self, broker: Cluster) -> None:
        self.bootstrap = broker.bootstrap
        self._broker = broker

    def send(
        self,
        topic: str,
        records: OutgoingRecords,
        *,
        timeout: float,
        atomic: bool = False,
        tell: Tell = ignore,
    ) -> Sent:
        """Append the records, one after the other."""
        del timeout, atomic, tell
        count = self._broker.topic(topic).partitions
        now = now_ms(SystemClock())
        partitions, offsets = [], []
        for at, (key, value) in enumerate(zip(records.keys, records.values, strict=True)):
            chosen = None if records.partitions is None else records.partitions[at]
            partition = zlib.crc32(key or b"") % count if chosen is None else chosen
            headers = None if records.headers is None else records.headers[at]
            offset = self._broker.produce(
                topic, key, value, partition=partition, timestamp=now, headers=headers
            )
            partitions.append(partition)
            offsets.append(offset)
        ends = {partition: offset + 1 for partition, offset in zip(partitions, offsets, strict=True)}
        return Sent(partitions, offsets, ends)

    def close(self) -> None:
        """Do nothing."""


class FakeSampler:
    """Looks at the records of a ``FakeBroker``."""

    def __init__(self, broker: Cluster) -> None:
        self._broker = broker

    def read(self, ranges_by_topic: RangesByTopic, seconds: float) -> dict[str, Sample]:
        """Return what is wanted, at once."""
        del seconds
        samples: dict[str, Sample] = {}
        for topic, ranges in ranges_by_topic.items():
            batch = RecordBatch()
            for partition, offsets in ranges.items():
                log = self._broker._topics[topic].partitions[partition]  # noqa: SLF001 - its own client
                batch += read_log(log, partition, max(offsets.start, log.start), offsets.count)
            samples[topic] = Sample(batch)
        return samples

    def close(self) -> None:
        """Do nothing."""
