"""The types of JSON fields, the rows and the refused records are the same however the records came."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples, histories
from support.learning_oracle import Outcome, Record, outcome

from ktframe.context.context import Context
from ktframe.fold import learned, learning
from ktframe.tables.base import MaterializedTopic
from ktframe.testing import FakeBroker

WIDE = 2**53 + 1
ORIGIN = 1_700_000_000_000
PLAIN = [None, 1, 2, -3, 0.5, 2.0, WIDE, WIDE + 2, 2**63, "n/a", "x", True]
NESTED = [[], [1], [0.5], ["x"], [None], [1, "x"], [WIDE], {}, {"p": 1}, {"q": "x"}, {"p": 0.5, "q": None}]
NESTED += [{"p": "x"}, [{"p": 1}], [{"q": 1}, {"p": WIDE}], {"p": [1]}, [[1]], [WIDE, 0.5], {"q": {"r": 1}}]
HEADS = st.sampled_from([0, 1, 100])
NAMES = ["x", "y", "z", "a"]


@st.composite
def values(draw: st.DrawFn, pools: dict[str, list[Any]]) -> dict[str, Any]:
    """Draw an object with some of the fields of ``pools``, in any order."""
    names = draw(st.lists(st.sampled_from(sorted(pools)), unique=True, max_size=len(pools)))
    return {name: draw(st.sampled_from(pools[name])) for name in names}


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
    draw: st.DrawFn, partitions: int = 3, longest: int = 20, *, has_json_keys: bool = False
) -> list[Any]:
    """Draw records of some partitions, with reads and re-opens between; a field has few kinds, mostly."""
    pool = st.one_of(st.sampled_from(PLAIN), st.sampled_from(NESTED))
    pools = {
        name: draw(st.lists(pool, min_size=1, max_size=4))
        for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
    }
    value = st.one_of(*[values(pools)] * 6, st.none(), st.just(b"{"), st.just(b"[1]"))
    keys = draw(st.lists(st.sampled_from(JSON_KEYS), min_size=1, max_size=4)) if has_json_keys else KEYS
    record = st.tuples(st.integers(0, draw(st.integers(0, partitions - 1))), st.sampled_from(keys), value)
    return draw(histories(st.one_of(*[record] * 5, st.sampled_from(["read", "reopen"])), longest=longest))


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


def taken(
    steps: list[Any], open_: Open, place: str | None, *, is_live: bool
) -> tuple[pl.DataFrame, list[tuple[Any, ...]]]:
    """Return the rows that a table has after the steps, and the records that it has refused."""
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
        assert not table.position().notices
        return frame, sorted(table.errors().select("partition", "offset", "key", "value").rows())
    finally:
        context.close()


def expected_rows(accepted: list[Record], fields: dict[str, pl.DataType]) -> list[str]:
    """Return the rows of a table: of each key the last accepted record in the last partition that has one."""
    newest = {(record.partition, record.key): record for record in accepted}
    living = sorted(
        (record for record in newest.values() if record.value is not None),
        key=lambda record: record.partition,
    )
    best = {record.key: record for record in living}
    rows = [{**dict.fromkeys(fields), "key": record.key, **record.value} for record in best.values()]
    frame = pl.DataFrame(rows, schema={"key": pl.String(), **fields}, strict=False)
    return sorted(map(repr, frame.rows()))


def check_rows(frame: pl.DataFrame, refused: list[tuple[Any, ...]], expected: Outcome) -> None:
    """Compare the rows of a table, with all columns and refused records, with the oracle's."""
    rows = frame.drop("partition", "offset", "timestamp")
    assert list(rows.schema.items())[1:] == list(expected.fields.items())
    assert [row[:2] for row in refused] == expected.refused
    assert sorted(map(repr, rows.rows())) == expected_rows(expected.accepted, expected.fields)


def check_against_oracle(steps: list[Any], most: int, head: int) -> None:
    """Compare a table that was open while the records came, and one that was not, with the oracle."""
    expected = outcome(records_of(steps), most, head)
    with (
        patch.object(learning, "SAMPLE_RECORDS", most),
        patch.object(learned, "SAMPLE_RECORDS", most),
        patch.object(learning, "HEAD_RECORDS", head),
    ):
        for is_live in (False, True):
            check_rows(*taken(steps, whole_table, None, is_live=is_live), expected)


@pytest.mark.slow
@examples(3)
@given(steps=logs(), head=HEADS)
def test_a_table_has_what_the_first_records_decide(steps: list[Any], head: int) -> None:
    """Columns, rows and refused records equal the oracle's, read at once as well as while they came."""
    check_against_oracle(steps, 1_000, head)


@pytest.mark.slow
@examples(2)
@given(steps=logs(partitions=1), most=st.integers(1, 6), head=HEADS)
def test_what_the_first_records_leave_open_is_decided_in_order(
    steps: list[Any], most: int, head: int
) -> None:
    """Of one partition also the fields are the same of which its first records have shown nothing."""
    check_against_oracle(steps, most, head)


KINDS: dict[str, Open] = {
    "table": lambda kt: kt.table("t", on_refused="ignore"),
    "key of fields": lambda kt: kt.table("t", key=["x", "y"], on_refused="ignore"),
    "JSON keys": lambda kt: kt.table("t", key_format="json", on_refused="ignore"),
    "declared field": lambda kt: kt.table("t", schema={"y": pl.String}, on_refused="ignore"),
    "event time": lambda kt: kt.table("t", time="x", on_refused="ignore"),
    "stream": lambda kt: kt.stream("t", on_refused="ignore"),
    "stream of JSON keys": lambda kt: kt.stream("t", key_format="json", on_refused="ignore"),
    "windows": lambda kt: kt.table("t", on_refused="ignore").window(5),
    "sessions": lambda kt: kt.stream("t", on_refused="ignore").session("1m"),
}


def check_live_and_loaded(steps: list[Any], kind: str, place: str | None, head: int) -> None:
    """Compare what was open while the records came with what was not."""
    with patch.object(learning, "HEAD_RECORDS", head):
        loaded, live = (taken(steps, KINDS[kind], place, is_live=is_live) for is_live in (False, True))
    assert live[0].schema.items() == loaded[0].schema.items()
    assert list(live[0].schema) == list(loaded[0].schema)
    assert sorted(map(repr, live[0].rows())) == sorted(map(repr, loaded[0].rows()))
    assert live[1] == loaded[1]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@examples(0.7)
@given(data=st.data(), head=HEADS)
def test_what_is_live_equals_what_is_loaded(data: st.DataObject, kind: str, head: int) -> None:
    """All that can be made of a topic has the same columns, rows and refused records, however the records came."""
    check_live_and_loaded(data.draw(logs(has_json_keys="JSON" in kind)), kind, None, head)


@pytest.mark.slow
@few_examples()
@given(steps=logs().filter(lambda steps: "reopen" in steps[1:]), head=HEADS)
def test_what_was_learned_is_kept_with_the_rows(steps: list[Any], head: int) -> None:
    """A table that is opened again on what RocksDB kept has the rows that one has which is loaded."""
    expected = outcome(records_of(steps), 10_000, head)
    with tempfile.TemporaryDirectory() as place, patch.object(learning, "HEAD_RECORDS", head):
        frame, refused = taken(steps, whole_table, place, is_live=True)
    check_rows(frame, refused, expected)
