"""Windowed tables equal dictionaries: stored, rolled up, closed with grace; on both stores, read and opened at will."""

from __future__ import annotations

import tempfile
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples
from support.table_window_oracle import Expected, Produced, Sizes, expect

from ktframe import Context, StoreOptions, WindowedKTable
from ktframe.config.settings import Backend
from ktframe.testing import FakeBroker

VALUES = st.builds(
    lambda n, f: {"n": n, "f": f}, st.integers(0, 9), st.sampled_from(["x", "x", "x", "y", None])
)


@st.composite
def logs(draw: st.DrawFn) -> list[Any]:
    """Draw records (key, value, partition, time) with reads and re-opens between; few keys, so that much meets."""
    # Left to itself, Hypothesis draws short lists, in which nothing is late and nothing replaced.
    fewest = draw(st.sampled_from([0, 10, 25]))
    spread, origin = draw(st.sampled_from([(5, 0), (12, 0), (40, 0), (12, 100), (12, -8)]))
    partitions = draw(st.sampled_from([1, 1, 2, 3]))
    drift = draw(st.sampled_from([0, 0, 1]))
    record = st.tuples(
        st.sampled_from(["a", "a", "a", "b", "b", None]),
        st.one_of(VALUES, VALUES, VALUES, st.none()),
        st.integers(0, partitions - 1),
        st.integers(0, spread).map(lambda time: None if time == 4 else time),
    )
    steps = st.one_of(*[record] * 9, st.sampled_from(["read", "reopen"]))
    drawn = draw(st.lists(steps, min_size=fewest, max_size=fewest + 12))
    return [
        step
        if isinstance(step, str)
        else (*step[:3], None if step[3] is None else origin + step[3] + drift * number)
        for number, step in enumerate(drawn)
    ]


STEPS = logs()


@st.composite
def sizes(draw: st.DrawFn) -> Sizes:
    """Draw tumbling or hopping windows, sometimes shifted, sometimes with grace."""
    every = draw(st.sampled_from([1, 2, 3, 5, 10]))
    size = every * draw(st.sampled_from([1, 1, 2, 4])) + draw(st.sampled_from([0, 0, 1]))
    offset = draw(st.sampled_from([0, 0, 0, 1])) % every
    return Sizes(size, every, offset, draw(st.sampled_from([None, None, 0, 2, 7, 100])))


def windowed(context: Context, wanted: Sizes, key: str | None) -> WindowedKTable:
    """Return the windows of the topic ``t``."""
    grace = None if wanted.grace is None else f"{wanted.grace}ms"
    table = context.table(
        "t", key=key, windows=["5ms"], schema={"n": pl.Int64, "f": pl.String}, on_refused="ignore"
    )
    return table.window(f"{wanted.size}ms", f"{wanted.every}ms", grace=grace, offset=f"{wanted.offset}ms")


def ms(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with its windows as milliseconds."""
    return frame.with_columns(pl.col("window_start", "window_end").cast(pl.Int64))


def check(table: WindowedKTable, expected: Expected, key: str) -> None:
    """Compare rows, late records and their counts with what is expected."""
    frame = ms(table.to_polars())
    rows = {
        (row["window_start"], row["window_end"], row[key]): {"n": row["n"], "f": row["f"]}
        for row in frame.to_dicts()
    }
    assert len(rows) == frame.height
    assert rows == expected.rows
    late = ms(table.late()).select("partition", "offset", "window_start").rows()
    assert sorted(late) == sorted(expected.late)
    assert table.errors().height == expected.refused
    assert table.status().late == len({(partition, offset) for partition, offset, _ in expected.late})
    counts = ms(table.agg(n=pl.len(), total=pl.col("n").sum()))
    by_window: dict[Any, list[int]] = {}
    for (start, end, _), row in expected.rows.items():
        by_window.setdefault((start, end), []).append(row["n"])
    assert {(s, e): (n, t) for s, e, n, t in counts.rows()} == {
        where: (len(found), sum(found)) for where, found in by_window.items()
    }


def run(place: str | None, steps: list[Any], wanted: list[Sizes], key: str | None) -> None:
    """Take the steps on stores in ``place`` (None: in memory); compare all windows in the end, some on the way."""
    broker, records = FakeBroker(), list[Produced]()
    broker.create_topic("t", 3)
    context = broker.connect(place)
    try:
        for step in steps:
            if step == "reopen":
                context.close()
                context = broker.connect(place)
            elif step == "read":
                check(
                    windowed(context, wanted[0], key),
                    expect(records, wanted[0], key and "f"),
                    key or "key",
                )
            else:
                name, value, partition, time = step
                offset = broker.produce("t", name, value, partition=partition, timestamp=time)
                records.append(Produced(partition, offset, name, value, time))
        for each in wanted:
            check(windowed(context, each, key), expect(records, each, key and "f"), key or "key")
    finally:
        context.close()


WANTED = st.lists(sizes(), min_size=1, max_size=3)
REOPENED = STEPS.filter(lambda steps: "reopen" in steps[1:])


@pytest.mark.slow
@examples(0.6)
@given(steps=STEPS, wanted=WANTED)
def test_windows_by_record_key_equal_a_fold(steps: list[Any], wanted: list[Sizes]) -> None:
    """Whatever is read in between, each window has the last row per key; a tombstone acts in its window."""
    run(None, steps, wanted, None)


@pytest.mark.slow
@few_examples()
@given(steps=REOPENED, wanted=WANTED)
def test_stored_windows_by_record_key_equal_a_fold(steps: list[Any], wanted: list[Sizes]) -> None:
    """Windows that are opened again on what RocksDB kept have the same rows."""
    with tempfile.TemporaryDirectory() as path:
        run(path, steps, wanted, None)


@pytest.mark.slow
@examples(0.6)
@given(steps=STEPS, wanted=WANTED)
def test_windows_by_a_field_equal_a_fold(steps: list[Any], wanted: list[Sizes]) -> None:
    """With key= a tombstone removes, in its window, the rows whose newest record there carried its record key."""
    run(None, steps, wanted, "f")


@pytest.mark.parametrize("reads", [[], ["read"]])
def test_of_a_partitions_tombstones_the_last_one_counts(reads: list[str]) -> None:
    """An older tombstone with a newer time deletes no row of another partition that is newer than the last tombstone."""
    row, tombstones = ("a", {"n": 0, "f": "x"}, 1, 5), [("a", None, 0, 6), ("a", None, 0, 4)]
    for steps in ([row, *reads, *tombstones], [tombstones[0], *reads, tombstones[1], row]):
        run(None, steps, [Sizes(10, 10)], "f")


@pytest.mark.slow
@few_examples()
@given(steps=REOPENED, wanted=WANTED)
def test_stored_windows_by_a_field_equal_a_fold(steps: list[Any], wanted: list[Sizes]) -> None:
    """With key= windows that are opened again on what RocksDB kept have the same rows."""
    with tempfile.TemporaryDirectory() as path:
        run(path, steps, wanted, "f")


@pytest.mark.slow
@examples(0.6)
@given(steps=STEPS, size=st.sampled_from([1, 2, 5]), times=st.sampled_from([2, 3, 4]))
def test_a_roll_up_equals_a_store_of_its_own(steps: list[Any], size: int, times: int) -> None:
    """Windows derived from smaller ones hold what windows read from the topic hold, hopping ones too."""
    broker = FakeBroker()
    broker.create_topic("t", 3)
    with broker.connect() as derived, broker.connect() as direct:
        small, large = derived.table("t", on_refused="ignore"), direct.table("t", on_refused="ignore")
        source = small.window(f"{size}ms")
        rolled, own = small.window(f"{size * times}ms"), large.window(f"{size * times}ms")
        hopping = small.window(f"{size * times}ms", f"{size}ms")
        for step in steps:
            if isinstance(step, str):
                source.to_polars()
                continue
            name, value, partition, time = step
            broker.produce("t", name, value, partition=partition, timestamp=time)
        order = ["window_start", "key"]
        assert rolled._reader is source._reader
        assert rolled.to_polars(metadata=True).sort(order).equals(own.to_polars(metadata=True).sort(order))
        if rolled.to_polars().height:
            every = hopping.to_polars(metadata=True)
            aligned = every.filter(pl.col("window_start").cast(pl.Int64) % (size * times) == 0)
            assert aligned.sort(order).equals(own.to_polars(metadata=True).sort(order))


KEPT = st.sampled_from([1, 7, 20])
SPLITS = st.lists(st.booleans(), min_size=40, max_size=40)


@pytest.mark.slow
@examples(0.6)
@given(steps=STEPS, keep=KEPT, splits=SPLITS)
def test_retention_does_not_depend_on_how_the_log_was_cut(
    steps: list[Any], keep: int, splits: list[bool]
) -> None:
    """Read at once or bit by bit, the same windows are left, and none that ended within the retention is missing."""
    check_retention("memory", steps, keep, splits)


@pytest.mark.slow
@few_examples()
@given(steps=STEPS, keep=KEPT, splits=SPLITS)
def test_retention_in_rocksdb_does_not_depend_on_how_the_log_was_cut(
    steps: list[Any], keep: int, splits: list[bool]
) -> None:
    """RocksDB drops the same windows."""
    check_retention("rocksdb", steps, keep, splits)


def check_retention(backend: Backend, steps: list[Any], keep: int, splits: list[bool]) -> None:
    """Read the records at once and bit by bit, and compare what retention left."""
    options = StoreOptions(backend=backend, retention=f"{keep}ms")
    broker, records = FakeBroker(), list[Produced]()
    broker.create_topic("t", 3)
    with tempfile.TemporaryDirectory() as path:
        with broker.connect(path, store=options) as kt:
            table = kt.table("t", on_refused="ignore").window("2ms")
            for step, is_cut in zip([s for s in steps if not isinstance(s, str)], splits, strict=False):
                name, value, partition, time = step
                offset = broker.produce("t", name, value, partition=partition, timestamp=time)
                records.append(Produced(partition, offset, name, value, time))
                if is_cut:
                    table.to_polars()
            bit_by_bit = ms(table.to_polars(metadata=True)).sort(pl.all())
        with broker.connect(f"{path}/2", store=options) as kt:
            at_once = ms(kt.table("t", on_refused="ignore").window("2ms").to_polars(metadata=True)).sort(
                pl.all()
            )
        assert bit_by_bit.equals(at_once)
    clocks = [record.time for record in records if record.key is not None and record.time is not None]
    # One that a partition has dropped its part of is not shown: what is shown is whole.
    kept = (
        {where for where in expect(records, Sizes(2, 2)).rows if where[1] > max(clocks) - keep}
        if clocks
        else set()
    )
    assert kept <= set(bit_by_bit.select("window_start", "window_end", "key").rows())
