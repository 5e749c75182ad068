"""Streams equal the list of what was produced, and their windows those of a loop; on both stores, cut anyhow."""

from __future__ import annotations

import tempfile
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_streams import SCHEMA, Hopping
from support.examples import examples, few_examples
from support.window_oracle import ORACLES, arrivals, members

from ktframe import Context, KStream, WindowedKStream
from ktframe.testing import FakeBroker
from ktframe.windows.events import EventWindows, TimeWindows
from ktframe.windows.sessions import SessionWindows
from ktframe.windows.sliding import SlidingWindows

MEMBERS = pl.col("value").sort().alias("members")
ORIGIN = 1_000

GRACES = st.sampled_from([None, 0, 3, 50])
WINDOWS = st.one_of(
    st.builds(TimeWindows, st.builds(Hopping, st.just(10), st.sampled_from([2, 5, 10])), grace_ms=GRACES),
    st.builds(SlidingWindows, st.sampled_from([1, 5, 20]), grace_ms=GRACES),
    st.builds(SessionWindows, st.sampled_from([1, 3, 10]), grace_ms=GRACES),
)
EVENTS = st.tuples(
    st.integers(0, 1),
    st.integers(0, 40).map(lambda time: None if time == 7 else ORIGIN + time),
    st.sampled_from([False, False, False, False, True]),
    st.sampled_from(["a", "a", "b", None]),
)
BY = st.sampled_from([["key"], []])
STEPS = st.integers(0, 25).flatmap(
    lambda fewest: st.lists(
        st.one_of(*[EVENTS] * 6, st.sampled_from(["read", "reopen"])), min_size=fewest, max_size=fewest + 8
    )
)


def opened(context: Context) -> KStream:
    """Return the stream. Where all events are without a timestamp, its windows are empty instead of an error."""
    return context.stream("t", schema={"value": pl.Int64}, on_refused="ignore")


def windowed(stream: KStream, windows: EventWindows, by: list[str]) -> WindowedKStream:
    """Return the windows of the stream that ``windows`` are a model of."""
    grace = None if windows.grace_ms is None else f"{windows.grace_ms}ms"
    if isinstance(windows, SlidingWindows):
        return stream.sliding(f"{windows.difference_ms}ms", by=by, grace=grace)
    if isinstance(windows, SessionWindows):
        return stream.session(f"{windows.gap_ms}ms", by=by, grace=grace)
    assert isinstance(windows, TimeWindows)
    fixed: Any = windows.windows
    return stream.window(f"{fixed.size}ms", f"{fixed.every}ms", grace=grace)


@pytest.mark.slow
@examples(1)
@given(steps=STEPS, windows=WINDOWS, by=BY)
def test_windows_of_a_stream_equal_those_of_a_loop(
    steps: list[Any], windows: EventWindows, by: list[str]
) -> None:
    """Whatever is read in between, a stream has the events, their windows, and those that came late."""
    check(None, steps, windows, by)


@pytest.mark.slow
@few_examples()
@given(steps=STEPS.filter(lambda steps: "reopen" in steps[1:]), windows=WINDOWS, by=BY)
def test_windows_of_a_stored_stream_equal_those_of_a_loop(
    steps: list[Any], windows: EventWindows, by: list[str]
) -> None:
    """A stream that is opened again on what RocksDB kept has the same events and windows."""
    with tempfile.TemporaryDirectory() as path:
        check(path, steps, windows, by)


def check(place: str | None, steps: list[Any], windows: EventWindows, by: list[str]) -> None:
    """Take the steps on stores in ``place`` (None: in memory) and compare a stream with a loop."""
    broker, rows = FakeBroker(), list[tuple[Any, ...]]()
    broker.create_topic("t", 2)
    context = broker.connect(place)
    try:
        for step in steps:
            if step == "reopen":
                context.close()
                context = broker.connect(place)
            elif step == "read":
                windowed(opened(context), windows, by).agg(MEMBERS)
            else:
                partition, time, is_tombstone, key = step
                value = None if is_tombstone else {"value": len(rows)}
                offset = broker.produce("t", key, value, partition=partition, timestamp=time)
                rows.append((partition, offset, time, is_tombstone, key, len(rows)))
        stream = opened(context)
        events = pl.DataFrame(rows, schema=SCHEMA, orient="row")
        found = stream.to_polars(metadata=True).sort("partition", "offset")
        expected = [(*row[:3], row[4], row[3], None if row[3] else row[5]) for row in sorted(rows)]
        times = pl.col("timestamp").cast(pl.Int64)
        assert found.select("partition", "offset", times, "key", "is_tombstone", "value").rows() == expected
        timely, late = ORACLES[type(windows)](windows, list(arrivals(events, windows.grace_ms, by)))
        shown = windowed(stream, windows, by)
        starts = pl.col("window_start", "window_end").cast(pl.Int64)
        # A tombstone's fields are null: it counts, and is no member.
        living = {row[5] for row in rows if not row[3]}
        result = shown.agg(MEMBERS.drop_nulls(), by=by if isinstance(windows, TimeWindows) else None)
        assert {tuple(row[:-1]): row[-1] for row in result.with_columns(starts).rows()} == {
            where: [value for value in values if value in living]
            for where, values in members(timely, events, by).items()
        }
        assert shown.late().height == len(late)
    finally:
        context.close()
