"""The types of JSON fields, the rows and the refused records are the same however the records came."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples
from support.learning_oracle import LIMITS, Outcome, Record, outcome

from ktframe.context.context import Context
from ktframe.fold import learning
from ktframe.formats.json import inference, sightings
from ktframe.formats.json.format import JsonFormat
from ktframe.formats.json.sightings import Sightings
from ktframe.sync.status import TOMBSTONES_OF_ONE
from ktframe.tables.base import MaterializedTopic
from ktframe.testing import FakeBroker

WIDE = 2**53 + 1
ORIGIN = 1_700_000_000_000
KINDS_OF_VALUES: list[list[Any]] = [
    [1, 2, -3, None],
    [0.5, 2.0, -1e17],
    [WIDE, WIDE + 2, 1],
    ["n/a", "x"],
    [True],
    [None, 2**63],
    [2**64 - 1, 5],
    [-1, 10**30, 2**63],
    [10**39, 7],
    [[2**63], [-1, 4]],
    [{"a": 1}, [], {"b": None}],
    [{"a": 1, "b": 2}, {"c": 3, "d": 4}, {"e": 5, "a": -1}],
    [{"a": 1, "b": "x"}, {"c": "y", "d": 4}, {"e": [5], "f": {}}],
    [{"g": {"a": 1}, "h": {"b": 2}}, {"i": {"c": "x"}, "j": {"d": {}}}, {"k": None}],
    [[{"a": 1}, {"a": 2, "b": 3}], [{"c": 1, "d": 1}, {"c": 2, "e": 2}]],
    [[1], [None], []],
    [[0.5], [1, 2.0]],
    [[WIDE], [[1]]],
    [["x"], [1, "x"], [WIDE, 0.5]],
    [{"p": 1}, {"q": 1, "p": 2}, {}],
    [{"p": "x"}, {"q": None, "p": 0.5}],
    [{"p": WIDE}, {"q": {"r": 1}}],
    [[{"p": 1}, {"q": 1}], [{"q": "x"}]],
]
KINDS_OF_TIMES: list[list[Any]] = [
    ["2024-01-01T00:00:00Z", "2024-02-29 12:30+01:00", None],
    ["2024-01-01T00:00:00.000000001Z", "2024-01-01T00:00:00.5Z"],
    ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"],
    ["2024-01-01T00:00:00", "2024-01-01", "n/a"],
    [["2024-01-01T00:00:00Z"], [], [None, "2024-01-01T00:00:00.000000001Z"]],
    [["x"], ["2024-01-01T00:00:00Z", "x"]],
    [{"p": "2024-01-01T00:00:00Z"}, {"q": "x", "p": "2024-01-01"}],
    [{"p": "2024-01-01T00:00:00Z"}, {"q": "2024-01-01T00:00:00.000000001Z"}, {}],
    [1_700_000_000_000, 5],
]
HEADS = st.sampled_from([0, 1, 100])
NAMES = ["x", "y", "z", "a"]


KEYS = ["k", "k", "l", "m"]
JSON_KEYS: list[Any] = [
    {"i": 1},
    {"i": 1},
    {"i": "x"},
    {"i": 2, "j": "y"},
    {"j": "y", "i": 1},
    {"i": 0.5},
    {"j": None},
]
JSON_KEYS += [{}, b"{", {"i": WIDE, "j": True}, {"j": 1}, {"j": "x"}]


@st.composite
def logs(
    draw: st.DrawFn,
    partitions: int = 3,
    longest: int = 8,
    *,
    has_json_keys: bool = False,
    kinds: list[list[Any]] = KINDS_OF_VALUES,
) -> list[Any]:
    """Draw records of some partitions, with reads and re-opens between; fields have few kinds, which drift."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    pools = {name: draw(st.permutations(kinds))[: draw(st.integers(1, 3))] for name in names}
    keys = draw(st.lists(st.sampled_from(JSON_KEYS), min_size=1, max_size=4)) if has_json_keys else KEYS
    last = draw(st.integers(0, partitions - 1))
    steps: list[Any] = []
    for phase in range(draw(st.integers(1, 5))):
        fields = {name: st.sampled_from(pool[phase % len(pool)]) for name, pool in pools.items()}
        value = st.one_of(
            *[st.fixed_dictionaries(fields)] * 6,
            st.fixed_dictionaries({}, optional=fields),
            st.sampled_from([None, b"{", b"[1]"]),
        )
        record = st.tuples(st.integers(0, last), st.sampled_from(keys), value)
        step = st.one_of(*[record] * 5, st.just("read"))
        steps += draw(st.lists(step, min_size=draw(st.integers(1, 4)), max_size=longest))
        steps.append(draw(st.sampled_from(["read", "read", "read", "reopen"])))
    return steps


def records_of(steps: list[Any]) -> list[Record]:
    """Return the records among the steps, with their offsets."""
    ends = [0, 0, 0]
    log = []
    for step in steps:
        if not isinstance(step, str):
            partition, key, value = step
            log.append(Record(partition, ends[partition], key, value))
            ends[partition] += 1
    return log


Open = Callable[[Context], MaterializedTopic]


def whole_table(kt: Context) -> MaterializedTopic:
    """Return the table that the oracle describes: of stale rows too."""
    return kt.table("t", stale="show", on_refused="ignore")


class Taken(NamedTuple):
    """The rows that a table has, the records that it has refused, and what it says of its rows."""

    frame: pl.DataFrame
    refused: list[tuple[Any, ...]]
    notices: tuple[str, ...]


def taken(steps: list[Any], open_: Open, place: str | None, *, is_live: bool) -> Taken:
    """Return what a table has after the steps."""
    broker = FakeBroker()
    broker.create_topic("t", 3)
    context = broker.connect(place)
    try:
        for step in steps:
            if not isinstance(step, str):
                partition, key, value = step
                broker.produce("t", key, value, partition=partition, timestamp=ORIGIN)
            elif is_live and step == "read":
                open_(context).to_polars()
            elif is_live:
                context.close()
                context = broker.connect(place)
        table = open_(context)
        frame = table.to_polars(metadata=True)
        refused = table.errors().select("partition", "offset", "key", "value").rows()
        return Taken(frame, sorted(refused), table.position().notices)
    finally:
        context.close()


def expected_rows(accepted: list[Record], fields: dict[str, pl.DataType]) -> list[str]:
    """Return the rows of a table: of each key the last accepted record in the last partition that has one, if no tombstone."""
    newest = {(record.partition, record.key): record for record in accepted}
    best = {record.key: record for record in sorted(newest.values(), key=lambda record: record.partition)}
    living = [record for record in best.values() if record.value is not None]
    rows = [{**dict.fromkeys(fields), "key": record.key, **record.value} for record in living]
    frame = pl.DataFrame(rows, schema={"key": pl.String(), **fields}, strict=False)
    return sorted(map(repr, frame.rows()))


def check_rows(found: Taken, expected: Outcome) -> None:
    """Compare the rows of a table, with all columns and refused records, with the oracle's."""
    assert not found.notices
    rows = found.frame.drop("partition", "offset", "timestamp")
    assert list(rows.schema.items())[1:] == list(expected.fields.items())
    assert [row[:2] for row in found.refused] == expected.refused
    assert sorted(map(repr, rows.rows())) == expected_rows(expected.accepted, expected.fields)


def check_against_oracle(steps: list[Any], most: int, head: int) -> None:
    """Compare a table that was open while the records came, and one that was not, with the oracle."""
    expected = outcome(records_of(steps), most, head)
    with (
        patch.object(learning, "SAMPLE_RECORDS", most),
        patch.object(learning, "HEAD_RECORDS", head),
    ):
        for is_live in (False, True):
            check_rows(taken(steps, whole_table, None, is_live=is_live), expected)


@contextmanager
def few_names(names: int, most_of_any: int, sparse: int) -> Iterator[None]:
    """Have objects of few names be maps, here and in the oracle."""
    with (
        patch.object(sightings, "MOST_NAMES", names),
        patch.object(inference, "_MOST_OF_ANY", most_of_any),
        patch.object(inference, "_SPARSE", sparse),
        patch.multiple(LIMITS, names=names, any=most_of_any, sparse=sparse),
    ):
        yield


@pytest.mark.slow
@examples(0.5)
@given(steps=logs(), head=HEADS)
def test_a_table_has_what_the_first_records_decide(steps: list[Any], head: int) -> None:
    """Columns, rows and refused records equal the oracle's, read at once as well as while they came."""
    check_against_oracle(steps, 1_000, head)


@pytest.mark.slow
@examples(0.5)
@given(
    steps=logs(), head=HEADS, names=st.integers(2, 5), most_of_any=st.integers(0, 4), sparse=st.integers(1, 2)
)
def test_objects_of_many_names_are_maps(
    steps: list[Any], head: int, names: int, most_of_any: int, sparse: int
) -> None:
    """Which objects are maps, and what their values are, follows from the same records."""
    with few_names(names, most_of_any, sparse):
        check_against_oracle(steps, 1_000, head)


@pytest.mark.slow
@examples(0.5)
@given(steps=logs(partitions=1), most=st.integers(1, 6), head=HEADS)
def test_what_the_first_records_leave_open_is_decided_in_order(
    steps: list[Any], most: int, head: int
) -> None:
    """Of one partition also the fields are the same of which its first records have shown nothing."""
    check_against_oracle(steps, most, head)


KINDS: dict[str, Open] = {
    "key of fields": lambda kt: kt.table("t", key=["x", "y"], on_refused="ignore"),
    "JSON keys": lambda kt: kt.table("t", key_format="json", on_refused="ignore"),
    "declared field": lambda kt: kt.table("t", schema={"y": pl.String}, on_refused="ignore"),
    "event time": lambda kt: kt.table("t", time="x", on_refused="ignore"),
    "stream": lambda kt: kt.stream("t", on_refused="ignore"),
    "stream of JSON keys": lambda kt: kt.stream("t", key_format="json", on_refused="ignore"),
    "windows": lambda kt: kt.table("t", on_refused="ignore").window(5),
    "times": lambda kt: kt.table("t", times="auto", stale="show", on_refused="ignore"),
    "times of events": lambda kt: kt.stream("t", times="auto", time="x", on_refused="ignore"),
    "times and a key": lambda kt: kt.table("t", "x", times="auto", on_refused="ignore"),
    "sessions": lambda kt: kt.stream("t", on_refused="ignore").session("1m"),
}


def assert_same(live: Taken, loaded: Taken) -> None:
    """Compare columns, their order, rows and refused records."""
    assert list(live.frame.schema.items()) == list(loaded.frame.schema.items())
    assert sorted(map(repr, live.frame.rows())) == sorted(map(repr, loaded.frame.rows()))
    assert live.refused == loaded.refused


def check_live_and_loaded(steps: list[Any], kind: str, place: str | None, head: int) -> None:
    """Compare what was open while the records came with what was not."""
    with patch.object(learning, "HEAD_RECORDS", head):
        loaded, live = (taken(steps, KINDS[kind], place, is_live=is_live) for is_live in (False, True))
    for each in (loaded, live):
        assert [notice for notice in each.notices if not notice.startswith(TOMBSTONES_OF_ONE)] == []
    assert_same(live, loaded)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@examples(0.15)
@given(data=st.data(), head=HEADS)
def test_what_is_live_equals_what_is_loaded(data: st.DataObject, kind: str, head: int) -> None:
    """All that can be made of a topic has the same columns, rows and refused records, however the records came."""
    kinds = KINDS_OF_TIMES if "times" in kind else KINDS_OF_VALUES
    steps = data.draw(logs(has_json_keys="JSON" in kind, kinds=kinds))
    check_live_and_loaded(steps, kind, None, head)


@pytest.mark.slow
@examples(0.5)
@given(steps=logs(partitions=1, kinds=KINDS_OF_TIMES), most=st.integers(1, 6), head=HEADS)
def test_times_that_the_first_records_leave_open_are_decided_in_order(
    steps: list[Any], most: int, head: int
) -> None:
    """Of one partition also those are the same of which its first records have shown nothing."""
    with patch.object(learning, "SAMPLE_RECORDS", most):
        check_live_and_loaded(steps, "times", None, head)


@pytest.mark.slow
@few_examples()
@given(steps=logs().filter(lambda steps: "reopen" in steps[1:]), head=HEADS)
def test_what_was_learned_is_kept_with_the_rows(steps: list[Any], head: int) -> None:
    """A table that is opened again on what RocksDB kept has the rows that one has which is loaded."""
    expected = outcome(records_of(steps), 10_000, head)
    with tempfile.TemporaryDirectory() as place, patch.object(learning, "HEAD_RECORDS", head):
        found = taken(steps, whole_table, place, is_live=True)
    check_rows(found, expected)


@pytest.mark.slow
@examples(0.5)
@given(steps=logs(), most=st.integers(1, 4), head=HEADS)
def test_what_the_order_of_partitions_decides_is_said(steps: list[Any], most: int, head: int) -> None:
    """Where a field comes only after the first records, what is live equals what is loaded, or says why it may not."""
    with (
        patch.object(learning, "SAMPLE_RECORDS", most),
        patch.object(learning, "HEAD_RECORDS", head),
    ):
        loaded, live = (taken(steps, whole_table, None, is_live=is_live) for is_live in (False, True))
    if not loaded.notices and not live.notices:
        assert_same(live, loaded)


@examples(3)
@given(
    steps=logs(partitions=1, kinds=KINDS_OF_VALUES + KINDS_OF_TIMES),
    voters=st.integers(0, 2**16),
    reads_times=st.booleans(),
)
def test_every_payload_is_a_row_or_refused(steps: list[Any], voters: int, *, reads_times: bool) -> None:
    """Whichever records have decided, each payload is one of the two; the rows are read again as they were."""
    values = [step[2] for step in steps if not isinstance(step, str) and step[2] is not None]
    payloads = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
    decoder = JsonFormat(exact_fields=frozenset("a"), integer_fields=frozenset("x"), reads_times=reads_times)
    seen = Sightings()
    for at, value in enumerate(values):
        if voters >> (at % 16) & 1 and isinstance(value, dict):
            seen.add_record(value, 0, at, with_times=reads_times)
    decided = decoder.decided_by(decoder.decision_of(seen))
    decoded = decided.decode(payloads, pl.Schema())
    refused = [refusal.index for refusal in decoded.refused]
    assert sorted([*decoded.accepted, *refused]) == list(range(len(payloads)))
    assert decoded.frame.height == len(decoded.accepted)
    again = decided.decode([payloads[at] for at in decoded.accepted], decoded.schema)
    assert not again.refused
    assert again.schema == decoded.schema
    assert again.frame.equals(decoded.frame)
