"""The logs of a ``FakeBroker``: lists of records, with the offsets that hold none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ktframe.fold.records import RecordBatch
from ktframe.formats.base import Headers
from ktframe.kafka.reader import BATCH_RECORDS

CREATE_TIME = 1


@dataclass(slots=True)
class LogRecord:
    """A record as it was produced; the timestamp is (type, milliseconds)."""

    key: bytes | None
    value: bytes | None
    timestamp: tuple[int, int]
    headers: Headers = None


@dataclass(slots=True)
class Log:
    """A log: None stands for an offset without a record (a transaction marker, a hole of compaction)."""

    log: list[LogRecord | None] = field(default_factory=list)
    start: int = 0
    open_from: int | None = None

    @property
    def end(self) -> int:
        """The offset behind the last one."""
        return len(self.log)

    @property
    def stable(self) -> int:
        """The offset up to which transactions are over."""
        return self.end if self.open_from is None else self.open_from

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
    cleanup_policy: str = "delete"

    def timestamps(self) -> Iterator[int]:
        """Yield the timestamps of all records that have one."""
        for each in self.partitions:
            records = (record for record in each.log[each.start :] if record is not None)
            yield from (at for kind, at in (record.timestamp for record in records) if kind)


def read_log(log: Log, partition: int, position: int, most: int = BATCH_RECORDS) -> RecordBatch:
    """Return what there is from ``position`` on, ``most`` offsets at a time."""
    end = min(log.stable, position + most)
    found = [(offset, record) for offset in range(position, end) if (record := log.log[offset]) is not None]
    return RecordBatch(
        partitions=[partition] * len(found),
        offsets=[offset for offset, _ in found],
        timestamps=[record.timestamp[1] for _, record in found],
        timestamp_types=[record.timestamp[0] for _, record in found],
        keys=[record.key for _, record in found],
        values=[record.value for _, record in found],
        headers=[record.headers for _, record in found],
        positions={partition: end} if end > position else {},
    )


def as_bytes(value: Any) -> bytes | None:
    """Return the bytes of a key or value: text as UTF-8, anything else as JSON."""
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value).encode()
