"""Streams with ``explode=True`` equal a list of what Python's ``json`` finds in each value, however records were cut into batches."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_streams import SCHEMA, Hopping
from support.examples import examples, few_examples, histories
from support.several_objects import found_in, values_of
from support.window_oracle import ORACLES, arrivals, members

from ktframe import Context, KStream, WindowedKStream
from ktframe.fold import exploded, learning
from ktframe.formats.json.several import several
from ktframe.testing import FakeBroker
from ktframe.testing.log import read_log
from ktframe.windows.events import EventWindows, TimeWindows
from ktframe.windows.sessions import SessionWindows
from ktframe.windows.sliding import SlidingWindows

MEMBERS = pl.col("value").sort().alias("members")
ORIGIN = 1_000
SCHEMA_OF_OBJECTS = {"value": pl.Int64, "at": pl.Int64, "text": pl.String}
GRACES = st.sampled_from([None, 0, 3, 50])
WINDOWS = st.one_of(
    st.builds(TimeWindows, st.builds(Hopping, st.just(10), st.sampled_from([2, 5, 10])), grace_ms=GRACES),
    st.builds(SlidingWindows, st.sampled_from([1, 5, 20]), grace_ms=GRACES),
    st.builds(SessionWindows, st.sampled_from([1, 3, 10]), grace_ms=GRACES),
)
OBJECTS = st.fixed_dictionaries(
    {"value": st.integers(0, 99), "at": st.integers(0, 40).map(lambda time: ORIGIN + time)},
    optional={"text": st.sampled_from(["} {", "[1]", '"\\', "\u2028ü"])},
)
RECORDS = st.tuples(st.integers(0, 1), values_of(OBJECTS))
STEPS = histories(st.one_of(*[RECORDS] * 6, st.sampled_from(["read", "reopen"])), longest=20)
CUTS = st.sampled_from([1, 2, 3, 50])
"""So many offsets of a partition come at most in one batch."""


@contextmanager
def cut(most: int) -> Iterator[None]:
    """Have ``most`` offsets of each partition in a batch, at most, and little more objects in each part of it."""
    fewer = patch("ktframe.testing.broker.read_log", partial(read_log, most=most))
    with fewer, patch.object(exploded, "MOST_LINES", most):
        yield


@pytest.mark.slow
@examples(10)
@given(value=values_of(OBJECTS).filter(lambda value: value is not None))
def test_parts_of_a_value_are_those_that_json_finds(value: bytes) -> None:
    """In their order; what is one object, or broken, stays as it is."""
    parts, found = found_in(value).parts, several(value, unpacks=True)
    if found is None:
        assert parts is None or (len(parts) == 1 and isinstance(parts[0], dict))
    else:
        assert [json.loads(part) for part in found] == parts


# --- events, and their windows ----------------------------------------------------------------------------------------


@pytest.mark.slow
@examples(1)
@given(steps=STEPS, windows=WINDOWS, most=CUTS)
def test_objects_are_the_events_of_a_stream(steps: list[Any], windows: EventWindows, most: int) -> None:
    """Whatever is read in between: events, refused parts, counts, windows, and what came late for these."""
    with cut(most):
        check(None, steps, windows)


@pytest.mark.slow
@few_examples()
@given(steps=STEPS.filter(lambda steps: "reopen" in steps[1:]), windows=WINDOWS, most=CUTS)
def test_objects_are_the_events_of_a_stored_stream(
    steps: list[Any], windows: EventWindows, most: int
) -> None:
    """The same of a stream that is opened again on what RocksDB kept."""
    with tempfile.TemporaryDirectory() as path, cut(most):
        check(path, steps, windows)


class Expected:
    """What a topic holds, as lists."""

    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []
        """Partition, offset, index, time, whether it is a tombstone, and the value."""
        self.refused: list[tuple[int, int, int]] = []
        self.tombstones = self.empty = 0

    def add(self, partition: int, offset: int, value: bytes | None) -> None:
        """Add a record."""
        if value is None:
            self.tombstones += 1
            self.events.append((partition, offset, 0, None, True, None))
            return
        parts = found_in(value).parts
        self.empty += parts == []
        if parts is None:
            self.refused.append((partition, offset, 0))
        for index, part in enumerate(parts or ()):
            place = (partition, offset, index)
            if isinstance(part, dict):
                self.events.append((*place, part.get("at"), False, part.get("value")))
            else:
                self.refused.append(place)

    def numbered(self) -> pl.DataFrame:
        """Return the events as those of a topic with an object in each record: the value is the number of the event."""
        rows = [
            (event[0], number, event[3], event[4], "k", number)
            for number, event in enumerate(sorted(self.events, key=lambda event: event[:3]))
        ]
        return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def check(place: str | None, steps: list[Any], windows: EventWindows) -> None:
    """Take the steps on stores in ``place`` (None: in memory), and compare a stream with lists."""
    broker, expected = FakeBroker(), Expected()
    broker.create_topic("t", 2)
    context = broker.connect(place)
    try:
        for step in steps:
            if step == "reopen":
                context.close()
                context = broker.connect(place)
            elif step == "read":
                windowed(opened(context), windows).agg(MEMBERS)
            else:
                partition, value = step
                offset = broker.produce("t", "k", value, partition=partition, timestamp=None)
                expected.add(partition, offset, value)
        compare_events(opened(context), expected)
        compare_windows(opened(context), windows, expected)
    finally:
        context.close()


def opened(context: Context) -> KStream:
    """Return the stream of objects, whose time is a field of theirs."""
    return context.stream(
        "t", explode=True, unpack=True, schema=SCHEMA_OF_OBJECTS, time="at", on_refused="ignore"
    )


def windowed(stream: KStream, windows: EventWindows) -> WindowedKStream:
    """Return the windows of the stream that ``windows`` are a model of."""
    grace = None if windows.grace_ms is None else f"{windows.grace_ms}ms"
    if isinstance(windows, SlidingWindows):
        return stream.sliding(f"{windows.difference_ms}ms", by="key", grace=grace)
    if isinstance(windows, SessionWindows):
        return stream.session(f"{windows.gap_ms}ms", by="key", grace=grace)
    assert isinstance(windows, TimeWindows)
    fixed: Any = windows.windows
    return stream.window(f"{fixed.size}ms", f"{fixed.every}ms", grace=grace)


def compare_events(stream: KStream, expected: Expected) -> None:
    """Compare the events, what was refused, and the counts."""
    order = ["partition", "offset", "index"]
    found = stream.to_polars(metadata=True)
    for _, part in found.group_by("partition"):
        assert part.select("offset", "index").rows() == sorted(part.select("offset", "index").rows())
    events = sorted(expected.events, key=lambda event: event[:3])
    columns = (*order, "at", "is_tombstone", "value")
    assert found.sort(order).select(columns).rows() == events
    assert found.schema["index"] == pl.Int32
    errors = stream.errors().sort(order)
    assert errors.select(order).rows() == sorted(expected.refused)
    status = stream.status()
    assert status.refused == len(expected.refused)
    assert status.records == len(events) + len(expected.refused) + expected.empty
    assert status.rows == len(events)


def compare_windows(stream: KStream, windows: EventWindows, expected: Expected) -> None:
    """Compare the windows, and what was late for them."""
    # By the place of each event: values of different events may be equal.
    events = expected.numbered()
    timely, late = ORACLES[type(windows)](windows, list(arrivals(events, windows.grace_ms, ["key"])))
    number = {place: number for number, place in enumerate(sorted(event[:3] for event in expected.events))}
    shown = windowed(stream, windows)
    starts = pl.col("window_start", "window_end").cast(pl.Int64)
    placed: dict[tuple[Any, ...], list[int]] = {}
    for start, end, *place in (
        shown.to_polars(metadata=True).select(starts, "partition", "offset", "index").rows()
    ):
        placed.setdefault((start, end, "k"), []).append(number[tuple(place)])
    wanted = members(timely, events, ["key"])
    assert {where: sorted(found) for where, found in placed.items()} == wanted
    by = "key" if isinstance(windows, TimeWindows) else None
    counts = shown.agg(n=pl.len(), by=by).with_columns(starts).rows()
    assert {row[:-1]: row[-1] for row in counts} == {where: len(found) for where, found in wanted.items()}
    assert shown.late().height == len(late)


# --- types ------------------------------------------------------------------------------------------------------------

KINDS = st.sampled_from(
    [1, 2.5, "x", None, True, [1], [{"a": 1}], {"b": "2026-01-01T00:00:00Z"}, 2**53 + 1, -1]
)
LOOSE = st.dictionaries(st.sampled_from(["x", "y", "z", "é"]), KINDS, max_size=3)
LOOSE_RECORDS = st.lists(st.tuples(st.integers(0, 1), values_of(LOOSE)), max_size=12)
OPTIONS = st.sampled_from(
    [{}, {"times": "auto"}, {"where": {"x": 1}}, {"where": {"y": "x"}}, {"schema": {"x": pl.Float64}}]
)
HEADS = st.sampled_from([0, 1, 100])


@pytest.mark.slow
@examples(1)
@given(records=LOOSE_RECORDS, options=OPTIONS, most=CUTS, head=HEADS, sample=st.sampled_from([1, 4, 10_000]))
def test_types_are_those_of_a_record_for_each_object(
    records: Sequence[tuple[int, bytes | None]], options: Any, most: int, head: int, sample: int
) -> None:
    """Columns, their order and types, rows and what is refused equal those of a topic with an object in each record."""
    apart, plain = FakeBroker(), FakeBroker()
    for broker in (apart, plain):
        broker.create_topic("t", 2)
    for number, value in records:
        # Behind the samples the order in which partitions arrive decides; see docs/decisions.md.
        partition = number if sample > len(records) * 5 else 0
        apart.produce("t", "k", value, partition=partition)
        parts = None if value is None else several(value, unpacks=True)
        for part in [value] if parts is None else parts:
            plain.produce("t", "k", part, partition=partition)
    patches = (
        patch.object(learning, "HEAD_RECORDS", head),
        patch.object(learning, "SAMPLE_RECORDS", sample),
    )
    with patches[0], patches[1], apart.connect() as taken_apart, plain.connect() as as_sent:
        with cut(most):
            one = outcome_of(
                taken_apart.stream("t", explode=True, unpack=True, on_refused="ignore", **options)
            )
        other = outcome_of(as_sent.stream("t", unpack=True, on_refused="ignore", **options))
    assert one == other


def outcome_of(stream: KStream) -> tuple[Any, ...]:
    """Return what is to be equal."""
    events = stream.to_polars(metadata=["partition", "is_tombstone"])
    rows = [events.filter(pl.col("partition") == partition).rows() for partition in (0, 1)]
    # Not the reasons: they name the type that a column had when a record came.
    refused = [
        stream.errors().filter(pl.col("partition") == partition)["value"].to_list() for partition in (0, 1)
    ]
    return events.schema, rows, refused, stream.status().left_out
