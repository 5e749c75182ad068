"""Stale rows are those of a fold that plain Python makes: tables by record key and by field, windows, roll-ups."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples, histories

from ktframe import Context, KTable, StaleRowsError, WindowedKTable
from ktframe.testing import FakeBroker

Identity = Any


@dataclass(frozen=True)
class Produced:
    """A record: ``value`` None is a tombstone; one whose field ``n`` is text is refused."""

    partition: int
    offset: int
    key: str | None
    value: dict[str, Any] | bytes | None
    time: int

    @property
    def is_refused(self) -> bool:
        """Whether the value does not fit the declared schema, or is no JSON."""
        return isinstance(self.value, bytes) or (
            self.value is not None and not isinstance(self.value["n"], int)
        )


@dataclass
class Expected:
    """The rows by identity, and which of these are stale."""

    rows: dict[Identity, int]
    stale: set[Identity]


def expect(log: list[Produced], identities: Callable[[Produced], Iterator[Identity]]) -> Expected:
    """Fold the records: each partition alone; of several partitions' words the newest by (time, partition) counts."""
    rows: dict[Identity, dict[int, Produced]] = defaultdict(dict)
    marks: dict[Identity, dict[int, Produced]] = defaultdict(dict)
    for record in log:
        for identity in identities(record):
            if record.is_refused:
                marks[identity][record.partition] = record
                continue
            marks[identity].pop(record.partition, None)
            rows[identity][record.partition] = record
    found = Expected({}, set())
    for identity, by_partition in rows.items():
        shown = max(by_partition.values(), key=lambda row: (row.time, row.partition))
        if shown.value is None:
            continue
        assert isinstance(shown.value, dict)
        found.rows[identity] = shown.value["n"]
        newest = (shown.time, shown.partition)
        if any(p == shown.partition or (mark.time, p) > newest for p, mark in marks[identity].items()):
            found.stale.add(identity)
    return found


def by_record_key(record: Produced) -> Iterator[Identity]:
    """Yield the record key."""
    if record.key is not None:
        yield record.key


def by_field(record: Produced) -> Iterator[Identity]:
    """Yield the field ``f``, which a refused record has too, unless it is no JSON."""
    if isinstance(record.value, dict) and record.value["f"] is not None:
        yield record.value["f"]


def by_window(size: int) -> Callable[[Produced], Iterator[Identity]]:
    """Return a function that yields the start of the record's window and its key."""

    def windows(record: Produced) -> Iterator[Identity]:
        if record.key is not None:
            yield record.time // size * size, record.key

    return windows


VALUES = st.one_of(
    st.builds(lambda n, f: {"n": n, "f": f}, st.integers(0, 9), st.sampled_from(["x", "y", None])),
    st.builds(lambda n, f: {"n": n, "f": f}, st.integers(0, 9), st.sampled_from(["x", "y"])),
    st.builds(lambda f: {"n": "text", "f": f}, st.sampled_from(["x", "y", None])),
    st.just(b"{oops"),
    st.none(),
)
RECORD = st.tuples(st.sampled_from(["a", "a", "b", None]), VALUES, st.integers(0, 2), st.integers(0, 24))
STEPS = histories(st.one_of(*[RECORD] * 6, st.sampled_from(["read", "reopen"])))
SCHEMA = {"n": pl.Int64, "f": pl.String}


def table_of(context: Context, *, key: str | None = None, stale: Any = "hide") -> KTable:
    """Return the table of the topic ``t``."""
    return context.table("t", key=key, schema=SCHEMA, on_refused="ignore", stale=stale)


def check_table(context: Context, expected: Expected, key: str | None) -> None:
    """Compare every way to read a table with what is expected."""
    name = key or "key"
    shown = {identity: n for identity, n in expected.rows.items() if identity not in expected.stale}
    table = table_of(context, key=key)
    frame = table.to_polars()
    assert dict(frame.select(name, "n").iter_rows()) == shown
    assert (len(table), sorted(table.keys())) == (len(shown), sorted(shown))
    assert {item: row["n"] for item, row in table.items()} == shown
    assert [table.get(each) is not None for each in ("a", "b", "x", "y")] == [
        each in shown for each in ("a", "b", "x", "y")
    ]
    assert table.errors(stale=True)[name].sort().to_list() == sorted(expected.stale)
    assert table.status().stale == len(expected.stale)
    everything = table_of(context, key=key, stale="show").to_polars()
    assert dict(everything.select(name, "n").iter_rows()) == expected.rows
    strict = table_of(context, key=key, stale="raise")
    if expected.stale:
        with pytest.raises(StaleRowsError):
            strict.to_polars()
    else:
        assert strict.to_polars().height == len(shown)


def check_windows(context: Context, log: list[Produced], size: int) -> None:
    """Compare windows of ``size`` ms, and an aggregate of them, with what is expected."""
    expected = expect(log, by_window(size))
    for stale in ("hide", "show"):
        windows: WindowedKTable = table_of(context, stale=stale).window(f"{size}ms")
        shown = {
            identity: n
            for identity, n in expected.rows.items()
            if stale == "show" or identity not in expected.stale
        }
        frame = windows.to_polars().with_columns(pl.col("window_start").cast(pl.Int64))
        assert {(row["window_start"], row["key"]): row["n"] for row in frame.to_dicts()} == shown
        total = windows.agg(n=pl.col("n").sum()).with_columns(pl.col("window_start").cast(pl.Int64))
        sums: dict[int, int] = defaultdict(int)
        for (start, _), n in shown.items():
            sums[start] += n
        assert dict(total.select("window_start", "n").iter_rows()) == sums
        assert windows.status().stale == len(expected.stale)


def run(steps: list[Any], place: str | None, check: Callable[[Context, list[Produced]], None]) -> None:
    """Take the steps; check at each read and at the end."""
    broker, log = FakeBroker(), list[Produced]()
    broker.create_topic("t", 3)
    context = broker.connect(place)
    try:
        for step in steps:
            if step == "reopen":
                context.close()
                context = broker.connect(place)
            elif step == "read":
                check(context, log)
            else:
                key, value, partition, time = step
                offset = sum(record.partition == partition for record in log)
                broker.produce("t", key, value, partition=partition, timestamp=time)
                log.append(Produced(partition, offset, key, value, time))
        check(context, log)
    finally:
        context.close()


def check_by_record_key(context: Context, log: list[Produced]) -> None:
    """Compare a table by record key."""
    check_table(context, expect(log, by_record_key), None)


def check_by_field(context: Context, log: list[Produced]) -> None:
    """Compare a table by field; its tombstones are another test's subject."""
    check_table(context, expect(log, by_field), "f")


def check_all_windows(context: Context, log: list[Produced]) -> None:
    """Compare stored windows and larger ones that are made of them."""
    check_windows(context, log, 5)
    check_windows(context, log, 15)


NO_TOMBSTONES = STEPS.map(lambda steps: [s for s in steps if isinstance(s, str) or s[1] is not None])


@pytest.mark.slow
@examples(0.5)
@given(steps=STEPS)
def test_stale_rows_of_a_table(steps: list[Any]) -> None:
    """A row is stale as long as its newest record was refused, in whatever partition."""
    run(steps, None, check_by_record_key)


@pytest.mark.slow
@examples(0.4)
@given(steps=NO_TOMBSTONES)
def test_stale_rows_of_a_table_by_field(steps: list[Any]) -> None:
    """A refused record whose key field can be read makes the row of that key stale."""
    run(steps, None, check_by_field)


@pytest.mark.slow
@examples(0.3)
@given(steps=STEPS)
def test_stale_rows_of_windows(steps: list[Any]) -> None:
    """A refused record makes the row of its window stale, and of larger windows where it is the newest there."""
    run(steps, None, check_all_windows)


@pytest.mark.slow
@few_examples()
@given(
    steps=STEPS.filter(lambda steps: "reopen" in steps[1:]), by=st.sampled_from(["key", "field", "window"])
)
def test_stale_rows_of_stored_tables(steps: list[Any], by: str) -> None:
    """Which rows are stale survives on disk."""
    checks = {"key": check_by_record_key, "field": check_by_field, "window": check_all_windows}
    if by == "field":
        steps = [step for step in steps if isinstance(step, str) or step[1] is not None]
    with tempfile.TemporaryDirectory() as place:
        run(steps, place, checks[by])
