"""Whatever is written, read again, switched and opened again: what reads find is the fold of one log of each partition."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.examples import examples

from ktframe.clock import SystemClock
from ktframe.columns import ROW, own_name
from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.fold.records import Position, RecordBatch
from ktframe.store.memory import MemoryStore
from ktframe.store.protocol import Rebuild
from ktframe.sync.materializer import Materializer
from ktframe.testing import FakeBroker

PARTITIONS = (0, 1)
MINUTE = 60_000

Log: TypeAlias = list[tuple[bytes | None, bytes | None, int]]
"""Keys, values and timestamps (ms) of a partition."""


def _value(number: int | None) -> bytes | None:
    if number is None:
        return None
    if number == 1:
        return b'[{"id": 1, "n": 1}, 5, {"id": 2, "n": 1}]'
    return b"no JSON" if number == 0 else json.dumps({"id": number % 3, "n": number}).encode()


records = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c"]),
        st.one_of(st.none(), st.integers(0, 9)).map(_value),
        st.integers(0, 12).map(lambda minutes: minutes * MINUTE),
    ),
    max_size=6,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(PARTITIONS), records),
        st.tuples(st.just("read"), st.sampled_from(PARTITIONS), st.integers(1, 5)),
        st.tuples(st.just("rebuild"), st.sampled_from(PARTITIONS), records),
        st.tuples(st.just("switch")),
        st.tuples(st.just("reopen")),
    ),
    max_size=16,
)
KINDS: dict[str, Callable[[Context, StoreOptions], Any]] = {
    "table": lambda context, options: context.table("t", store=options),
    "key": lambda context, options: context.table("t", key="id", store=options),
    "window": lambda context, options: context.table("t", store=options).window(5, grace=5),
    "kept window": lambda context, options: context.table("t", store=replace(options, retention=600)).window(
        1
    ),
    "stream": lambda context, options: context.stream("t", store=options),
    "kept stream": lambda context, options: context.stream("t", store=options, retention="5m"),
    "exploded stream": lambda context, options: context.stream("t", explode=True, store=options),
}


class Logs:
    """The log of each partition, how far the rows that reads find go in theirs, and those that are read again in another."""

    def __init__(self) -> None:
        self.shown: dict[int, tuple[Log, int]] = {partition: ([], 0) for partition in PARTITIONS}
        self.again: dict[int, tuple[Log, int]] = {}

    def written(self, partition: int) -> tuple[Log, int]:
        """Return the log that is read, and how far it was."""
        return self.again.get(partition, self.shown[partition])

    def next_batch(self, partition: int, most: int) -> RecordBatch | None:
        """Return the next records of a partition, and remember that they were read."""
        log, at = self.written(partition)
        if at == len(log):
            return None
        end = min(len(log), at + most)
        (self.again if partition in self.again else self.shown)[partition] = (log, end)
        return batch_of(partition, log, at, end)


def batch_of(partition: int, log: Log, start: int, end: int) -> RecordBatch:
    """Return records of a log as they are read."""
    part = log[start:end]
    return RecordBatch(
        partitions=[partition] * len(part),
        offsets=list(range(start, end)),
        timestamps=[timestamp for _, _, timestamp in part],
        timestamp_types=[1] * len(part),
        keys=[key for key, _, _ in part],
        values=[value for _, value, _ in part],
        positions={partition: end},
    )


def apply(rows: Materializer, batch: RecordBatch) -> None:
    """Apply one batch by itself."""
    for part in rows.decoder.parts(batch):
        rows.collect(part, rows.decode(part))
        rows.apply()


def described(rows: Materializer) -> dict[str, Any]:
    """Return what reads find."""
    lines = rows.view.snapshot().rows.drop(own_name("hash"))
    # Columns that only rows have which are not shown yet are there, and empty.
    shown = lines.select(sorted(name for name in lines.columns if lines[name].null_count() < lines.height))
    marks = rows.view.marks()
    return {
        "rows": shown.sort(pl.all(), nulls_last=True).rows(named=True) if shown.width else lines.height,
        "stale": sorted(rows.view.stale(rows.view.snapshot().rows, marks).drop(ROW).rows())
        if marks.height
        else [],
        "stream times": rows.stream_times,
    }


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["memory", "rocksdb"])
@pytest.mark.parametrize("kind", KINDS)
@examples(0.3)
@given(steps)
def test_reads_find_the_fold_of_one_log_of_each_partition(
    kind: str, backend: str, history: list[Any]
) -> None:
    """The rows from before while a partition is read again, then those of the other log, and never a mixture."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    with (
        tempfile.TemporaryDirectory() as directory,
        broker.connect(Path(directory)) as context,
    ):
        binding = KINDS[kind](context, StoreOptions(backend=backend))._reader.binding
        binding.prepare()
        rows: Materializer = binding.required()
        rows.reconcile()
        rows.advance(dict.fromkeys(PARTITIONS, 0))
        logs = Logs()
        for name, *arguments in history:
            match name, arguments:
                case "write", [partition, more]:
                    logs.written(partition)[0].extend(more)
                case "read", [partition, most]:
                    batch = logs.next_batch(partition, most)
                    if batch is not None:
                        apply(rows, batch)
                case "rebuild", [partition, other]:
                    logs.again[partition] = (list(other), 0)
                    rows.rebuild({partition: Rebuild("the log went back", Position(0))})
                case "switch", _:
                    ends = {partition: len(log) for partition, (log, _) in logs.again.items()}
                    is_complete = all(at == len(log) for log, at in logs.again.values())
                    rows.switch(ends)
                    switched = rows.switched()
                    assert bool(switched) == (bool(logs.again) and is_complete)
                    assert switched is None or switched.reasons == dict.fromkeys(
                        logs.again, "the log went back"
                    )
                    if is_complete:
                        logs.shown |= logs.again
                        logs.again = {}
                case _:
                    rows = Materializer(rows.name, rows.decoder, rows.store, SystemClock())
                    rows.reconcile()
            assert rows.positions().keys() == set(PARTITIONS)
            assert {p: at.offset for p, at in rows.positions().items()} == {
                p: logs.written(p)[1] for p in PARTITIONS
            }
            expected = Materializer(rows.name, rows.decoder, MemoryStore(), SystemClock())
            expected.advance(dict.fromkeys(PARTITIONS, 0))
            for partition, (log, end) in logs.shown.items():
                apply(expected, batch_of(partition, log, 0, end))
            assert described(rows) == described(expected)
