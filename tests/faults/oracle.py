"""What every read must answer, folded out of the records of each partition by dicts and lists: nothing of ktframe.

Answers have the form in which ``reading.py`` gives those of ktframe: lists of values, sorted, times in milliseconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import polars as pl
from support.event_streams import SCHEMA
from support.table_window_oracle import Produced, Sizes, expect
from support.window_oracle import Event, arrivals, placed_in_sessions, placed_in_time

from faults.log import Kind, Logs, Record

MINUTE: Final = 60_000
Answer: TypeAlias = dict[str, Any]
Place: TypeAlias = Any
"""What identifies a row: a key, or the start of a window and a key."""


@dataclass
class Fold:
    """The newest words of each partition on each place, and what is not in them."""

    words: dict[Place, dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))
    marks: dict[Place, dict[int, Record]] = field(default_factory=lambda: defaultdict(dict))
    late: list[tuple[int, int, int]] = field(default_factory=list)
    refused: int = 0
    clocks: dict[int, int] = field(default_factory=dict)
    """The stream time of each partition, of windows."""

    def take(self, place: Place, record: Record) -> None:
        """Take a record as the newest of its partition; one that can't be read leaves a mark."""
        if record.kind is Kind.BROKEN:
            self.marks[place][record.partition] = record
            return
        self.marks[place].pop(record.partition, None)
        self.words[place][record.partition] = record

    @property
    def signature(self) -> object:
        """All that counts of it, to tell equal ones."""
        words = frozenset((place, *by.items()) for place, by in self.words.items() if by)
        marks = frozenset((place, *by.items()) for place, by in self.marks.items() if by)
        return words, marks, tuple(self.late), self.refused, tuple(self.clocks.items())

    def rows(self) -> tuple[dict[Place, Record], int]:
        """Return the record that each place shows, and how many rows are hidden as their newest record is broken."""
        rows, stale = {}, 0
        for place, by_partition in self.words.items():
            best = max(by_partition.values(), key=lambda each: (each.time, each.partition))
            if best.kind is Kind.TOMBSTONE:
                continue
            age = (best.time, best.partition)
            marks = self.marks[place].items()
            if any(p == best.partition or (mark.time, p) > age for p, mark in marks):
                stale += 1
            else:
                rows[place] = best
        return rows, stale


def by_key(logs: Logs) -> Fold:
    """Fold by record key."""
    fold = Fold()
    for record in _all(logs):
        fold.refused += record.kind is Kind.BROKEN or record.key is None
        if record.key is not None:
            fold.take(record.key, record)
    return fold


def by_name(logs: Logs) -> Fold:
    """Fold by the field ``id``; a tombstone takes the rows of its partition whose newest record carried its key."""
    fold = Fold()
    for record in _all(logs):
        if record.kind is Kind.ROW:
            fold.take(record.name, record)
        elif record.kind is Kind.BROKEN or record.key is None:
            fold.refused += 1
        else:
            for words in fold.words.values():
                if record.partition in words and words[record.partition].key == record.key:
                    del words[record.partition]
    fold.words = defaultdict(dict, {name: words for name, words in fold.words.items() if words})
    return fold


def by_window(size: int, every: int, grace: int | None) -> Callable[[Logs], Fold]:
    """Return the fold by window and record key."""

    def starts(time: int) -> Iterator[int]:
        start = time // every * every
        while start + size > time:
            yield start
            start -= every

    def fold_of(logs: Logs) -> Fold:
        fold = Fold()
        for record in _all(logs):
            fold.refused += record.kind is Kind.BROKEN or record.key is None
            if record.key is None:
                continue
            if record.kind is not Kind.BROKEN:
                clock = fold.clocks.get(record.partition, record.time)
                fold.clocks[record.partition] = max(clock, record.time)
            clock = fold.clocks.get(record.partition)
            for start in starts(record.time):
                if grace is not None and clock is not None and start + size <= clock - grace:
                    if record.kind is not Kind.BROKEN:
                        fold.late.append((record.partition, record.offset, start))
                else:
                    fold.take((start, record.key), record)
        return fold

    return fold_of


def table(fold_of: Callable[[Logs], Fold]) -> Callable[[Logs, list[str]], Answer]:
    """Return what a table answers that is folded so; it is asked for ``keys``."""

    def answer(logs: Logs, keys: list[str]) -> Answer:
        fold = fold_of(logs)
        rows, stale = fold.rows()
        return {
            "to_polars": sorted([place, *_values(row)] for place, row in rows.items()),
            "get_many": [[rows[key].name, rows[key].number] if key in rows else None for key in keys],
            "keys": sorted(rows),
            "items": [[key, rows[key].name, rows[key].number] for key in sorted(rows)],
            "len": len(rows),
            "refused": fold.refused,
            "stale": stale,
        }

    return answer


def windows(size: int, every: int, grace: int | None) -> Callable[[Logs, list[str]], Answer]:
    """Return what windows of a table answer."""
    fold_of = by_window(size, every, grace)

    def answer(logs: Logs, keys: list[str]) -> Answer:
        fold = fold_of(logs)
        rows, stale = fold.rows()
        sums: dict[int, list[int]] = defaultdict(list)
        for (start, _), row in rows.items():
            sums[start].append(row.number)
        return {
            "to_polars": sorted(
                [start, start + size, key, *_values(row)] for (start, key), row in rows.items()
            ),
            "get": sorted([start, row.number] for (start, key), row in rows.items() if key == keys[0]),
            "agg": sorted([start, start + size, len(found), sum(found)] for start, found in sums.items()),
            "late": sorted(map(list, fold.late)),
            "final": sorted(
                [start, key]
                for start, key in rows
                if grace is not None and start + size + grace <= _watermark(fold, logs)
            ),
            "refused": fold.refused,
            "stale": stale,
        }

    return answer


def _watermark(fold: Fold, logs: Logs) -> float:
    """Return up to when all partitions have come; one without a record holds windows open."""
    return min(fold.clocks.get(partition, float("-inf")) for partition in logs)


def windows_by_name(size: int) -> Callable[[Logs, list[str]], Answer]:
    """Return what windows of a table with ``key="id"`` answer, by the oracle of these windows."""

    def answer(logs: Logs, keys: list[str]) -> Answer:
        records = [each for each in _all(logs) if each.kind is not Kind.BROKEN]
        found = expect([_produced(each) for each in records], Sizes(size, size), "id")
        rows = {place: values["record"] for place, values in found.rows.items()}
        sums: dict[tuple[int, int], list[int]] = defaultdict(list)
        for (start, end, _), row in rows.items():
            sums[start, end].append(row.number)
        return {
            "to_polars": sorted(
                [start, end, name, *_values(row)] for (start, end, name), row in rows.items()
            ),
            "get": sorted([start, row.number] for (start, _, name), row in rows.items() if name == keys[0]),
            "agg": sorted([*window, len(some), sum(some)] for window, some in sums.items()),
            "late": [],
            "refused": found.refused + sum(1 for each in _all(logs) if each.kind is Kind.BROKEN),
            "stale": 0,
        }

    return answer


def _produced(record: Record) -> Produced:
    value = {"id": record.name, "record": record} if record.kind is Kind.ROW else None
    return Produced(record.partition, record.offset, record.key, value, record.time)


def stream(logs: Logs, _keys: list[str]) -> Answer:
    """Return what a stream answers: every record that can be read, by partition in the order of offsets."""
    events = [record for record in _all(logs) if record.kind is not Kind.BROKEN]
    return {
        "to_polars": [[each.key, each.kind is Kind.TOMBSTONE, *_values(each)] for each in events],
        "len": len(events),
        "refused": sum(1 for record in _all(logs) if record.kind is Kind.BROKEN),
        "stale": 0,
    }


def event_windows(
    placed: Callable[[Any, list[Event]], tuple[list[Any], list[Any]]],
    by: list[str],
    grace: int | None,
    shape: Any,
) -> Callable[[Logs, list[str]], Answer]:
    """Return what windows over the events of a stream answer, by the oracle of these windows."""

    def answer(logs: Logs, _keys: list[str]) -> Answer:
        records = {record.number: record for record in _all(logs) if record.kind is not Kind.BROKEN}
        lines = [
            (each.partition, each.offset, each.time, each.kind is Kind.TOMBSTONE, each.key, each.number)
            for each in records.values()
        ]
        frame = pl.DataFrame(lines, schema=SCHEMA, orient="row")
        timely, late = placed(shape, list(arrivals(frame, grace, by)))
        groups: dict[Any, list[Record]] = defaultdict(list)
        for number, start, end in timely:
            group = (records[number].key,) if by else ()
            groups[start, end, *group].append(records[number])
        return {
            "to_polars": sorted([start, end, *_place(records[number])] for number, start, end in timely),
            "agg": sorted(
                [*window, len(found), sum(each.number for each in found if each.kind is Kind.ROW)]
                for window, found in groups.items()
            ),
            "late": sorted([*_place(records[number]), start, end] for number, start, end in late),
            "refused": sum(1 for record in _all(logs) if record.kind is Kind.BROKEN),
            "stale": 0,
        }

    return answer


def _all(logs: Logs) -> Iterator[Record]:
    for _, records in sorted(logs.items()):
        yield from records


def _values(record: Record) -> list[Any]:
    is_row = record.kind is Kind.ROW
    return [record.name if is_row else None, record.number if is_row else None, *_place(record), record.time]


def _place(record: Record) -> list[int]:
    return [record.partition, record.offset]


@dataclass(frozen=True, slots=True)
class Read:
    """One object that is read: which ``store`` its rows come from, and what it must answer.

    ``by`` are the attributes of records by which those of one partition meet those of another, None where all do; with
    ``is_windowed`` only those in one window, whose rows begin with its start and end.
    The answer follows from what ``signature`` returns of each partition, so that equal ones need not be told apart.
    """

    store: str
    answer: Callable[[Logs, list[str]], Answer]
    by: tuple[str, ...] | None = None
    is_windowed: bool = False
    signature: Callable[[Logs], object] = lambda logs: tuple(logs.items())


def _table(store: str, fold: Callable[[Logs], Fold], *by: str) -> Read:
    return Read(store, table(fold), by, signature=lambda logs: fold(logs).signature)


def _windows(store: str, size: int, every: int, grace: int | None = None) -> Read:
    fold = by_window(size, every, grace)
    return Read(store, windows(size, every, grace), ("key",), True, lambda logs: fold(logs).signature)


def _windows_by_name(size: int) -> Read:
    answer = windows_by_name(size)

    def signature(logs: Logs) -> object:
        tombstones = {
            (each.time // size, each.key): each.time for each in _all(logs) if each.kind is Kind.TOMBSTONE
        }
        return str(answer(logs, [""])), frozenset(tombstones.items())

    return Read("keyed windows", answer, ("key", "name"), True, signature)


def _in_time(size: int, grace: int | None) -> Read:
    shape = SimpleNamespace(windows=SimpleNamespace(size=size, every=size))
    return Read("stream", event_windows(placed_in_time, [], grace, shape))


def _sessions(gap: int, grace: int | None) -> Read:
    return Read("stream", event_windows(placed_in_sessions, ["key"], grace, SimpleNamespace(gap_ms=gap)))


READS: Final = {
    "table": _table("table", by_key, "key"),
    "table with key=": _table("keyed", by_name, "name"),
    "windows": _windows("windows", 5 * MINUTE, 5 * MINUTE),
    "windows rolled up": _windows("windows", 15 * MINUTE, 15 * MINUTE),
    "hopping windows": _windows("windows", 10 * MINUTE, 5 * MINUTE),
    "windows with key=": _windows_by_name(5 * MINUTE),
    "windows with grace": _windows("closing", 5 * MINUTE, 5 * MINUTE, MINUTE),
    "stream": Read("stream", stream, ()),
    "windows of a stream": _in_time(5 * MINUTE, MINUTE),
    "sessions": _sessions(2 * MINUTE, None),
    "sessions with grace": _sessions(2 * MINUTE, MINUTE),
}
"""Everything that is read after each round, by name, of each store the most telling first; ``reading.py`` opens the same."""

STORES: Final = {each.store: each.store == "stream" for each in READS.values()}
"""The stores behind them, and whether they keep every event."""
