"""Faults put into ktframe by hand: the rounds must catch every one.

Each is applied inside the reading program, before anything is opened. ``mutation.py`` runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, Final

import polars as pl

from ktframe.columns import TIMESTAMP
from ktframe.fold import merged
from ktframe.fold.records import Changes, StoredRows
from ktframe.fold.window_key import WindowKey
from ktframe.kafka import reader
from ktframe.store.rocksdb import RocksDBStore
from ktframe.sync import materializer, resume
from ktframe.sync.barrier import Barrier
from ktframe.sync.contact import Contact
from ktframe.sync.materializer import Materializer
from ktframe.sync.presence import Presence
from ktframe.tables import windowed_table
from ktframe.tables.complete_reads import CompleteReads
from ktframe.tables.completeness import Completeness
from ktframe.windows import sessions
from ktframe.windows.fixed import FixedWindows


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: which ``room`` of ktframe it is in, and what is wrong.

    It shows only after ``needs``; these come more often in the rounds that have to catch it.
    """

    room: str
    what: str
    apply: Callable[[], None]
    needs: frozenset[str] = frozenset()


def _around(owner: Any, name: str, change: Callable[..., Any]) -> None:
    """Have ``change(original, *args, **kwargs)`` called in the place of a function."""
    original = getattr(owner, name)

    @wraps(original)
    def changed(*args: Any, **kwargs: Any) -> Any:
        return change(original, *args, **kwargs)

    setattr(owner, name, changed)


def _another_topic() -> None:
    def plan(original: Any, stored: Any, log: Any, **how: Any) -> Any:
        return original(stored, replace(log, is_recreated=False), **how)

    _around(resume, "plan_resume", plan)
    _another_record()  # without the topic's id the last record would tell the same


def _another_record() -> None:
    _around(resume, "replaced", lambda *_: {})


def _clamped() -> None:
    def plan(original: Any, stored: Any, log: Any, **how: Any) -> Any:
        inside = {p: max(at, log.starts.get(p, 0)) for p, at in stored.items()}
        return original(inside, log, **how)

    _around(resume, "plan_resume", plan)


def _cut_to_the_end() -> None:
    def plan(original: Any, stored: Any, log: Any, **how: Any) -> Any:
        inside = {p: min(at, log.ends.get(p, at)) for p, at in stored.items()}
        return original(inside, log, **how)

    _around(resume, "plan_resume", plan)


def _missed_deletes() -> None:
    _around(Presence, "missed", lambda *_: {})
    _long_pause()  # or a reader that has paused would be opened again and again, in vain


def _long_pause() -> None:
    _around(Presence, "has_missed", lambda *_: False)


def _no_gaps() -> None:
    _around(Materializer, "advance", lambda original, self, positions, **_: original(self, positions))


def _no_barrier() -> None:
    def wait(_: Any, self: Any, **how: Any) -> None:
        self.wait_until_loaded(**how)

    _around(Barrier, "wait_until_fresh", wait)


def _one_partition() -> None:
    def ask(original: Any, self: Any, *args: Any) -> Any:
        facts, ends = original(self, *args)
        return facts, {p: end if p == 0 else 0 for p, end in ends.items()}

    _around(Contact, "ask", ask)


def _uncommitted() -> None:
    def config(original: Any, *args: Any, **kwargs: Any) -> Any:
        return {**original(*args, **kwargs), "isolation.level": "read_uncommitted"}

    _around(reader, "reading_config", config)


def _key_tombstones() -> None:
    _around(materializer, "resolve_tombstones", lambda _, changes, *__: replace(changes, tombstones=()))


def _oldest_wins() -> None:
    def latest(original: Any, rows: pl.DataFrame, markers: pl.DataFrame, key: Any) -> pl.DataFrame:
        backwards = -pl.col(TIMESTAMP)
        back = markers.with_columns(backwards) if TIMESTAMP in markers.columns else markers
        return original(rows.with_columns(backwards), back, key).with_columns(backwards)

    _around(merged, "latest_rows", latest)


def _stale_shown() -> None:
    _around(CompleteReads, "_shown", lambda _, __, lines, *___: lines)


def _row_lost_at_open() -> None:
    def items(original: Any, self: Any, *args: Any, **how: Any) -> Iterable[Any]:
        for rows in original(self, *args, **how):
            yield StoredRows(rows.partitions[1:], rows.identities[1:], rows.values[1:])

    _around(RocksDBStore, "items", items)


def _positions_first() -> None:
    def apply(original: Any, self: Any, changes: Any, positions: Any) -> None:
        nothing = Changes(pl.DataFrame(), schema=changes.schema, last=changes.last)
        original(self, nothing, positions)
        self.flush()
        original(self, changes, positions)

    _around(RocksDBStore, "apply", apply)


def _not_cleared() -> None:
    left: dict[str, list[Any]] = {}

    def clear(original: Any, self: Any, partitions: Any = None, **how: Any) -> None:
        rows = [row for row in self.items() if partitions is None or row.partitions[0] in partitions]
        original(self, partitions, **how)
        left.setdefault(str(self._engine.path), []).extend(rows)

    def items(original: Any, self: Any, *args: Any, **how: Any) -> Iterable[Any]:
        yield from original(self, *args, **how)
        yield from left.get(str(self._engine.path), ())

    _around(RocksDBStore, "clear", clear)
    _around(RocksDBStore, "items", items)


def _grace_forgotten() -> None:
    def close_time(original: Any, self: Any, rows: Any, context: Any) -> Any:
        return original(self, rows, replace(context, stream_times={}))

    _around(WindowKey, "_with_close_time", close_time)


def _gap_exclusive() -> None:
    _around(sessions, "starts_run", lambda original, group, gap_ms: original(group, gap_ms - 1))


def _markers_lost() -> None:
    def roll_up(original: Any, rows: Any, markers: Any, *rest: Any) -> Any:
        return original(rows, markers.clear(), *rest)

    _around(windowed_table, "roll_up", roll_up)


def _end_inclusive() -> None:
    def assign(original: Any, self: Any, rows: Any, time: str) -> Any:
        at = pl.col(time)
        return original(self, rows.with_columns(at - 1), time).with_columns(at + 1)

    _around(FixedWindows, "assign", assign)


def _silent() -> None:
    _around(Completeness, "_say", lambda *_: None)


MUTANTS: Final = {
    "another topic": Mutant(
        "resume", "a topic that was made anew is read on", _another_topic, frozenset({"topic made anew"})
    ),
    "another record": Mutant(
        "resume",
        "a log that went back and grew again is read on",
        _another_record,
        frozenset({"log put back"}),
    ),
    "clamped": Mutant(
        "resume", "a position before the log's start is moved to it", _clamped, frozenset({"records deleted"})
    ),
    "cut to the end": Mutant(
        "resume",
        "a position behind the log's end is moved to it",
        _cut_to_the_end,
        frozenset({"log put back"}),
    ),
    "missed deletes": Mutant(
        "resume",
        "deletes that were missed while closed are not made good",
        _missed_deletes,
        frozenset({"compaction"}),
    ),
    "long pause": Mutant(
        "resume",
        "deletes that were missed in a pause are not made good",
        _long_pause,
        frozenset({"compaction"}),
    ),
    "no gaps": Mutant(
        "resume",
        "a stream does not count the offsets that it missed",
        _no_gaps,
        frozenset({"records deleted"}),
    ),
    "no barrier": Mutant("barrier", "a read does not wait for the topic's end", _no_barrier),
    "one partition": Mutant("barrier", "a read waits for the first partition's end only", _one_partition),
    "uncommitted": Mutant("kafka", "records of open and aborted transactions are read", _uncommitted),
    "key tombstones": Mutant("fold", "with key= a tombstone removes nothing", _key_tombstones),
    "oldest wins": Mutant(
        "fold",
        "of a key's rows in several partitions the oldest is shown",
        _oldest_wins,
        frozenset({"partitions added"}),
    ),
    "stale shown": Mutant("fold", "a row whose newest record was refused is shown", _stale_shown),
    "row lost": Mutant("store", "a row is lost when rows are loaded from the store", _row_lost_at_open),
    "positions first": Mutant(
        "store", "positions are flushed before their rows", _positions_first, frozenset({"reader killed"})
    ),
    "not cleared": Mutant(
        "store",
        "rows that were dropped come back when rows are loaded",
        _not_cleared,
        frozenset({"topic made anew", "log put back"}),
    ),
    "grace forgotten": Mutant("windows", "each batch begins with no stream time", _grace_forgotten),
    "gap exclusive": Mutant("windows", "events exactly a gap apart make two sessions", _gap_exclusive),
    "markers lost": Mutant(
        "windows", "a tombstone deletes nothing from windows that are rolled up", _markers_lost
    ),
    "end inclusive": Mutant("windows", "a window has the instant of its end", _end_inclusive),
    "silent": Mutant("tables", "no warning says what was refused", _silent),
}
