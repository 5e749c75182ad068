"""The logs of a ``FakeBroker``: lists of records, None where an offset has no record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ktframe.fold.records import LastRecord, RecordBatch
from ktframe.formats.base import Headers
from ktframe.kafka.reader import BATCH_RECORDS
from ktframe.kafka.survey import Cleanup

CREATE_TIME = 1


@dataclass(slots=True)
class LogRecord:
    """A record as it was produced; the timestamp is (type, milliseconds)."""

    key: bytes | None
    value: bytes | None
    timestamp: tuple[int, int]
    headers: Headers = None
    epoch: int = 0


@dataclass(slots=True)
class Log:
    """The log of a partition. None is an offset without a record: a transaction marker, or compacted away."""

    log: list[LogRecord | None] = field(default_factory=list)
    start: int = 0
    open_from: int | None = None
    epoch: int = 0
    """How often the partition has changed its leader."""

    @property
    def end(self) -> int:
        """The offset behind the last one."""
        return len(self.log)

    @property
    def stable(self) -> int:
        """The last stable offset: no transaction before it is open."""
        return self.end if self.open_from is None else self.open_from

    def compact(self) -> None:
        """Keep the last record of each key, and no tombstone."""
        last = {record.key: at for at, record in enumerate(self.log) if record is not None}
        self.log = [
            None if record is None or record.value is None or last[record.key] > at else record
            for at, record in enumerate(self.log)
        ]

    def first_from(self, at_ms: int) -> int:
        """Return the offset of the first record from a time on, the end where there is none."""
        later = (
            offset
            for offset in range(self.start, self.end)
            if (record := self.log[offset]) is not None and record.timestamp[1] >= at_ms
        )
        return next(later, self.end)


@dataclass(slots=True)
class FakeTopic:
    """A topic: its id, and a log for each partition."""

    topic_id: str
    partitions: list[Log]
    cleanup: Cleanup = field(default_factory=lambda: Cleanup("delete"))

    def timestamps(self) -> Iterator[int]:
        """Yield the timestamps of all records that have one."""
        for log in self.partitions:
            records = (record for record in log.log[log.start :] if record is not None)
            yield from (at for kind, at in (record.timestamp for record in records) if kind)


def read_log(log: Log, partition: int, position: int, most: int = BATCH_RECORDS) -> RecordBatch:
    """Return the records from ``position`` on, of ``most`` offsets at most."""
    end = min(log.stable, position + most)
    records = [(offset, record) for offset in range(position, end) if (record := log.log[offset]) is not None]
    last = remembered(*records[-1]) if records else None
    return RecordBatch(
        partitions=[partition] * len(records),
        offsets=[offset for offset, _ in records],
        timestamps=[record.timestamp[1] for _, record in records],
        timestamp_types=[record.timestamp[0] for _, record in records],
        keys=[record.key for _, record in records],
        values=[record.value for _, record in records],
        headers=[record.headers for _, record in records],
        positions={partition: end} if end > position else {},
        last={} if last is None else {partition: last},
    )


def remembered(offset: int, record: LogRecord) -> LastRecord:
    """Return what is remembered of a record."""
    return LastRecord.of(offset, record.timestamp[1], record.key, record.value, record.epoch)


def as_bytes(value: Any) -> bytes | None:
    """Return the bytes of a key or value: text as UTF-8, anything else as JSON."""
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()
