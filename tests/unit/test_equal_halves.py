"""An error at any line of a change of store and view: afterwards both have the same rows, and reading goes on from there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from linecache import getline
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import pytest

from ktframe.clock import SystemClock
from ktframe.columns import OFFSET
from ktframe.config.settings import StoreOptions
from ktframe.fold import written
from ktframe.fold.learned import Learned
from ktframe.fold.records import Position, RecordBatch
from ktframe.store import memory, rocksdb, slots
from ktframe.store.protocol import Rebuild
from ktframe.sync import exchange
from ktframe.sync import materializer as materializer_module
from ktframe.sync.materializer import Materializer
from ktframe.testing import FakeBroker

FILES = {module.__file__ for module in (memory, rocksdb, slots, written, exchange, materializer_module)}
Action = Callable[[Materializer], object]


class InjectedError(Exception):
    """The error that is put between two lines."""


@contextmanager
def error_at(line: int) -> Iterator[list[int]]:
    """Raise when so many lines of the traced files have run; yield a list whose only item counts them.

    Python comes back to the line of a ``with`` when its block ends. An error there would be before ``__exit__``, where no
    error comes but in a trace: it is left out.
    """
    lines, entered = [0], set[tuple[FrameType, int]]()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            if getline(frame.f_code.co_filename, frame.f_lineno).lstrip().startswith("with "):
                if (frame, frame.f_lineno) in entered:
                    return trace
                entered.add((frame, frame.f_lineno))
            lines[0] += 1
            if lines[0] == line:
                raise InjectedError
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def batch(first: int, *values: bytes | None) -> RecordBatch:
    """Return records of two keys and one partition, a minute apart."""
    offsets = list(range(first, first + len(values)))
    return RecordBatch(
        partitions=[0] * len(values),
        offsets=offsets,
        timestamps=[offset * 60_000 for offset in offsets],
        timestamp_types=[1] * len(values),
        keys=[b"%d" % (offset % 2) for offset in offsets],
        values=list(values),
        headers=None,
        positions={0: first + len(values)},
    )


def recover(rows: Materializer) -> None:
    """Read the store again, as after an error of its disk; RocksDB itself stays open, which is faster."""
    if isinstance(rows.store, rocksdb.RocksDBStore):
        rows.store._engine._was_refused = True
        rows.store._reopen = lambda engine: setattr(engine, "_was_refused", False)
    rows.recover()


FROM_THE_START = {0: Rebuild("the log went back", Position(0))}


def read_again(rows: Materializer) -> None:
    """Begin to rebuild the partition, and read some records again."""
    rows.rebuild(FROM_THE_START)
    apply(rows, batch(0, b'{"n": 7}', b"no JSON", b'{"n": 8}'))


ACTIONS: dict[str, Action] = {
    "apply": lambda rows: apply(rows, batch(4, b'{"n": 5}', b"no JSON", b'{"n": 6, "new": 1}', None)),
    "advance": lambda rows: rows.advance({0: 9}, lost={0: 3}),
    "drop": lambda rows: rows.drop(OFFSET, {0: 2}),
    "remove_before": lambda rows: rows.remove_before({0: 3}),
    "forget": lambda rows: rows.forget([0]),
    "forget all": lambda rows: rows.forget(None, topic_id="another"),
    "recover": recover,
    "rebuild": lambda rows: rows.rebuild(FROM_THE_START),
    "start again": lambda rows: rows.start_again(Learned()),
}
WHILE_REBUILT: dict[str, Action] = {
    "apply, rebuilt": lambda rows: apply(rows, batch(3, b"no JSON", b'{"n": 5}', None)),
    "drop, rebuilt": lambda rows: rows.drop(OFFSET, {0: 1}),
    "rebuild again": lambda rows: rows.rebuild({0: Rebuild("deletes were missed", Position(1))}),
    "forget, rebuilt": lambda rows: rows.forget([0]),
    "switch": lambda rows: rows.switch({0: 3}),
}
"""What is done to a partition that is being rebuilt."""


@pytest.fixture(params=["memory", "rocksdb"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Materializer]]:
    """Yield what opens the store and the view of a table or a stream that no thread runs."""
    broker = FakeBroker()
    broker.create_topic("t")
    with broker.connect(tmp_path, store=StoreOptions(backend=request.param)) as context:

        def open_one(kind: str) -> Materializer:
            binding = getattr(context, kind)("t")._reader.binding
            binding.prepare()
            rows: Materializer = binding.required()
            rows.reconcile()
            return rows

        yield open_one


def apply(rows: Materializer, records: RecordBatch) -> None:
    """Apply one batch by itself."""
    rows.collect(records, rows.decode(records))
    rows.apply()


def fill(rows: Materializer, action: str) -> None:
    """Begin with four records, for some actions with some of them read again."""
    rows.forget(None, topic_id="first")
    rows.reconcile()
    apply(rows, batch(0, b'{"n": 1}', b'{"n": 2}', b'{"n": 3}', b'{"n": 4}'))
    if action in WHILE_REBUILT:
        read_again(rows)


def halves(rows: Materializer) -> tuple[dict[str, Any], ...]:
    """Return what the view shows, and what one that is filled from the store shows."""
    again = Materializer(rows.name, rows.decoder, rows.store, SystemClock())
    again.reconcile()
    return tuple(
        {
            "rows": each.view.snapshot().rows.sort(pl.all()).rows(),
            "marks": each.view.marks().rows(),
            "positions": each.written.positions(),
            "read again": each.written.again.snapshot().rows.sort(pl.all()).rows(),
            "rebuilt": each.written.again.positions(),
            "schema": each.schema,
            "learned": each.learned.differing,
            "stream times": each.stream_times,
        }
        for each in (rows, again)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "stream"])
@pytest.mark.parametrize("action", [*ACTIONS, *WHILE_REBUILT])
def test_an_error_at_any_line_leaves_equal_halves(
    opened: Callable[[str], Materializer], kind: str, action: str
) -> None:
    """After ``reconcile`` store and view are equal, wherever the error came, and the same action then gives what it gives."""
    rows, act = opened(kind), {**ACTIONS, **WHILE_REBUILT}[action]
    fill(rows, action)
    with error_at(0) as lines:
        act(rows)
    expected, stored = halves(rows)
    assert expected == stored
    assert lines[0] > 0
    for line in range(1, lines[0] + 1):
        fill(rows, action)
        with pytest.raises(InjectedError), error_at(line):
            act(rows)
        rows.reconcile()
        shown, stored = halves(rows)
        assert shown == stored, f"after an error at line {line}"
        if 0 not in shown["positions"]:
            continue  # all rows went, and are read again
        if shown["positions"] != expected["positions"] or not action.startswith(("apply", "advance")):
            act(rows)
        shown, stored = halves(rows)
        assert shown == stored == expected, f"done again after an error at line {line}"
