"""What a windowed table must hold, record by record in offset order: dicts, and nothing of ktframe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Produced:
    """A record as it was produced; ``value`` is a dict of fields, None for a tombstone."""

    partition: int
    offset: int
    key: str | None
    value: dict[str, Any] | None
    time: int | None


@dataclass(frozen=True)
class Sizes:
    """Windows of ``size`` ms that begin every ``every`` ms, ``offset`` ms after 1970; ``grace`` None: never closed."""

    size: int
    every: int
    offset: int = 0
    grace: int | None = None

    def starts(self, time: int) -> Iterator[int]:
        """Yield the starts of the windows that hold ``time``: none of a time since 1970 starts before it."""
        start = (time - self.offset) // self.every * self.every + self.offset
        while start + self.size > time:
            if self.offset or time < 0 or start >= 0:
                yield start
            start -= self.every


@dataclass
class Expected:
    """Rows by (start, end, key), the (offset, start) pairs that came late, and how many records no window takes."""

    rows: dict[tuple[int, int, Any], dict[str, Any]] = field(default_factory=dict)
    late: list[tuple[int, int, int]] = field(default_factory=list)
    refused: int = 0


def expect(records: Sequence[Produced], sizes: Sizes, key: str | None = None) -> Expected:
    """Fold ``records`` by window and record key, or the field ``key``."""
    found = Expected()
    clocks: dict[int, int] = {}
    by_partition: dict[int, list[Produced]] = defaultdict(list)
    for record in records:
        by_partition[record.partition].append(record)
    folded: dict[int, dict[tuple[int, Any], Produced]] = {}
    deletes: dict[tuple[int, str | None, int], int] = {}
    for partition, log in by_partition.items():
        rows = folded[partition] = {}
        for record in log:
            if _is_refused(record, key):
                found.refused += 1
                continue
            assert record.time is not None
            clocks[partition] = max(clocks.get(partition, record.time), record.time)
            for start in sizes.starts(record.time):
                if sizes.grace is not None and start + sizes.size <= clocks[partition] - sizes.grace:
                    found.late.append((partition, record.offset, start))
                    continue
                _apply(rows, record, start, key)
                if record.value is None:
                    deletes[start, record.key, partition] = record.time
    found.rows = {
        (start, start + sizes.size, name): value
        for (start, name), value in _newest(folded, {} if key is None else deletes).items()
    }
    return found


def _newest(
    folded: dict[int, dict[tuple[int, Any], Produced]], deletes: dict[tuple[int, str | None, int], int]
) -> dict[tuple[int, Any], dict[str, Any]]:
    """Return the newest values over all partitions; ``deletes`` are the times of tombstones by window, key and partition."""
    kept: dict[tuple[int, Any], tuple[int, int, Produced]] = {}
    for partition, rows in folded.items():
        for window, record in rows.items():
            age = (record.time or 0, partition)
            of_key = [
                (at, other)
                for (start, name, other), at in deletes.items()
                if (start, name) == (window[0], record.key) and other != partition
            ]
            if max(of_key, default=age) <= age and (window not in kept or age > kept[window][:2]):
                kept[window] = (*age, record)
    return {window: record.value for window, (_, _, record) in kept.items() if record.value is not None}


def _is_refused(record: Produced, key: str | None) -> bool:
    if record.time is None:
        return True
    if key is None or record.value is None:
        return record.key is None
    return record.value.get(key) is None


def _apply(rows: dict[tuple[int, Any], Produced], record: Produced, start: int, key: str | None) -> None:
    """Apply a record to the newest ones of a partition; with ``key`` a tombstone takes the rows of its record key away."""
    if record.value is not None:
        rows[start, record.key if key is None else record.value[key]] = record
    elif key is None:
        rows[start, record.key] = record
    else:
        # It acts in its window only, on the rows whose newest record there carried its record key.
        for where in [w for w, row in rows.items() if w[0] == start and row.key == record.key]:
            del rows[where]
