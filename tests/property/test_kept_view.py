"""Whatever is written, read, closed, killed and opened again: decoded rows that are kept in files change no answer."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given
from support.examples import examples, histories

from ktframe.config.settings import StoreOptions
from ktframe.context.context import Context
from ktframe.testing import FakeBroker

MINUTE = 60_000
PARTITIONS = (0, 1)
OPTIONS = StoreOptions(flush_interval=3_600)
"""Nothing is flushed by itself: what a kill leaves depends on the steps alone."""


def _value(number: int | None) -> bytes | None:
    """Return a value: none, one that can't be read, one of several objects, one with a rare field, or a usual one."""
    match number:
        case None:
            return None
        case 0:
            return b"no JSON"
        case 9:
            return b'[{"id": 0, "n": 9}, {"id": 1, "n": 9}, null]'
        case 1 | 2:
            return json.dumps(
                {"id": 1, f"new {number}": {"x": [number]}, "text": "long enough " * 3}
            ).encode()
        case _:
            return json.dumps({"id": number % 3, "n": number}).encode()


RECORDS = st.tuples(
    st.just("write"),
    st.sampled_from(PARTITIONS),
    st.sampled_from(["a", "b", "c", None]),
    st.one_of(st.none(), st.integers(0, 9)),
    st.integers(0, 12),
)
STEPS = histories(
    st.one_of(
        RECORDS,
        RECORDS,
        st.sampled_from([("read",), ("reopen",), ("kill",), ("flush",), ("keep",), ("narrow",)]),
    ),
    longest=30,
)
KINDS: dict[str, Callable[[Context, StoreOptions, int], Any]] = {
    "table": lambda context, options, _: context.table("t", on_refused="ignore", stale="show", store=options),
    "marked": lambda context, options, _: context.table("t", on_refused="ignore", store=options),
    "key": lambda context, options, _: context.table("t", key="id", on_refused="ignore", store=options),
    "window": lambda context, options, _: context.table("t", on_refused="ignore", store=options).window(5),
    "kept window": lambda context, options, minutes: context.table(
        "t", on_refused="ignore", store=replace(options, retention=60 * minutes)
    ).window(1),
    "kept stream": lambda context, options, minutes: context.stream(
        "t", on_refused="ignore", store=options, retention=f"{minutes}m"
    ),
    "stream": lambda context, options, _: context.stream("t", on_refused="ignore", store=options),
    "exploded stream": lambda context, options, minutes: context.stream(
        "t", explode=True, on_refused="ignore", store=options, retention=f"{minutes}m"
    ),
}


def rows_of(table: Any) -> list[dict[str, Any]]:
    """Return what a read finds, without what no row has: columns of rows that are gone stay as long as a store is open."""
    frame = table.to_polars(metadata=True)
    names = sorted(name for name in frame.columns if frame[name].null_count() < frame.height)
    rows = frame.select(names).rows(named=True)
    return sorted(rows, key=repr)


def copy_tree(source: Path, target: Path) -> None:
    """Copy a directory as it is at one moment: again, if RocksDB has removed or begun files meanwhile."""

    def names() -> set[Path]:
        return set(source.rglob("*"))

    before = None
    while before != names():
        before = names()
        shutil.rmtree(target, ignore_errors=True)
        with suppress(OSError):  # a file is gone, or there is nothing yet
            shutil.copytree(source, target)


class Place:
    """A state directory, from which the files are removed before each open unless they are kept."""

    def __init__(self, broker: FakeBroker, home: Path, kind: str, *, keeps_files: bool) -> None:
        self._broker, self._home, self._kind, self._keeps_files = broker, home, kind, keeps_files
        self._lives = 0
        self.minutes = 9
        self.open()

    def open(self) -> None:
        """Open the table on what is there."""
        self._path = self._home / str(self._lives)
        if not self._keeps_files:
            for directory in self._path.glob("*/*/*/view"):
                shutil.rmtree(directory)
        self.context = self._broker.connect(self._path)
        self.table = KINDS[self._kind](self.context, OPTIONS, self.minutes)

    def take(self, step: str) -> None:
        """Take a step other than to write."""
        if step == "read":
            self.table.to_polars()
        elif step == "keep":
            self.table.to_polars()
            self.table._reader.binding.materializer.keep_rows()
        elif step == "flush" and self.table._reader.binding.materializer is not None:
            self.table._reader.binding.materializer.store.flush()
        elif step == "kill":
            # What a process leaves that ends here: nothing is flushed by itself.
            self._lives += 1
            copy_tree(self._path, self._home / str(self._lives))
            self.context.close()
            self.open()
        elif step in ("reopen", "narrow"):
            self.context.close()
            self.minutes = 4 if step == "narrow" else self.minutes
            self.open()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@examples(0.3)
@given(STEPS)
def test_kept_rows_are_those_that_are_decoded(kind: str, steps: list[Any]) -> None:
    """A store with files, one without, and one in memory that reads the whole topic now give the same rows."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    with tempfile.TemporaryDirectory() as home:
        places = [Place(broker, Path(home, str(keeps)), kind, keeps_files=keeps) for keeps in (True, False)]
        for name, *arguments in [*steps, ("read",), ("reopen",)]:
            if name == "write":
                partition, key, number, minutes = arguments
                broker.produce("t", key, _value(number), partition=partition, timestamp=minutes * MINUTE)
                continue
            for place in places:
                place.take(name)
        kept, decoded = (rows_of(place.table) for place in places)
        with broker.connect(None) as context:
            table = KINDS[kind](context, StoreOptions(backend="memory"), places[0].minutes)
            assert kept == decoded == rows_of(table)
        for place in places:
            place.context.close()
