"""Tables and streams with ``where=`` against a dictionary and a list of plain Python, however batches are cut."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, histories

from ktframe import Context
from ktframe.testing import FakeBroker

Judge = Callable[[dict[str, Any]], bool | None]
"""Whether a record passes; None where it is refused, because it can't be judged."""


def _more_than(value: Any, least: int) -> bool | None:
    """Compare as SQL does; of another kind than a number nobody knows."""
    if value is None:
        return False
    return value > least if isinstance(value, int | float) and not isinstance(value, bool) else None


def _both(*parts: bool | None) -> bool | None:
    return False if False in parts else None if None in parts else True


def _inner(record: Mapping[str, Any]) -> Any:
    struct = record.get("a")
    return struct.get("b") if isinstance(struct, dict) else None


CONDITIONS: list[tuple[Any, Judge]] = [
    ({"type": "user"}, lambda record: record.get("type") == "user"),
    ({"type": "user", "n": 3}, lambda record: record.get("type") == "user" and record.get("n") == 3),
    ({"a.b": 1}, lambda record: _inner(record) == 1),
    (pl.col("type") == "order", lambda record: record.get("type") == "order"),
    (pl.col("type").is_in(["user", "order"]), lambda record: record.get("type") in ("user", "order")),
    (pl.col("type").is_null(), lambda record: record.get("type") is None),
    (pl.col("n") > 2, lambda record: _more_than(record.get("n"), 2)),
    (
        (pl.col("type") == "user") & (pl.col("n") > 2),
        lambda record: _both(record.get("type") == "user", _more_than(record.get("n"), 2)),
    ),
    (pl.col("a").struct.field("b") == 1, lambda record: _inner(record) == 1),
    (
        (pl.col("type") == "click") & (pl.col("n").cast(pl.Int64, strict=False) > 2),
        lambda record: record.get("type") == "click" and "n" in record,
    ),
]
RECORDS = st.one_of(
    st.fixed_dictionaries(
        {"type": st.just("user"), "i": st.integers(0, 2)}, optional={"n": st.integers(0, 5)}
    ),
    st.fixed_dictionaries({"type": st.just("order"), "n": st.integers(0, 5)}),
    st.fixed_dictionaries(
        {"type": st.just("click"), "a": st.fixed_dictionaries({}, optional={"b": st.integers(0, 2)})},
        optional={"n": st.just("4")},
    ),
    st.fixed_dictionaries(
        {"a": st.none() | st.fixed_dictionaries({"b": st.just(1), "c": st.text(max_size=2)})}
    ),
    st.just({"type": None}),
)
STEPS = st.one_of(
    st.tuples(st.sampled_from("kjl"), RECORDS),
    st.tuples(st.sampled_from("kjl"), RECORDS),
    st.tuples(st.sampled_from("kjl"), st.none()),
    st.sampled_from(["read", "reopen"]),
)


def _open(context: Context, where: Any) -> tuple[Any, Any]:
    given: dict[str, Any] = {"where": where, "on_refused": "ignore"}
    return context.table("t", stale="show", **given), context.stream("t", **given)


def _rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows without what is null, so that rows of other columns are equal."""
    return [_without_nulls(row) for row in frame.to_dicts()]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
        return {name: inner for name, inner in kept.items() if inner is not None} or None
    return value


@pytest.mark.slow
@examples(2)
@given(histories(STEPS, longest=30), st.sampled_from(CONDITIONS))
def test_rows_are_those_of_the_records_that_pass(steps: list[Any], condition: tuple[Any, Judge]) -> None:
    """The last record of each key that passes, gone after a tombstone; of streams all; all others are counted."""
    where, judge = condition
    broker = FakeBroker()
    broker.create_topic("t")
    rows: dict[str, Any] = {}
    events: list[Any] = []
    left_out = refused = 0
    context = broker.connect()
    try:
        table, stream = _open(context, where)
        for step in [*steps, "read"]:
            if step == "read":
                frame = table.to_polars()
                found = {row.pop("key"): row or None for row in _rows(frame)}
                assert found == rows
                assert [row for row in _rows(stream.to_polars()) if row] == [
                    event for event in events if event
                ]
                assert table.status().left_out == left_out
                assert table.status().refused == refused
                assert stream.status().left_out == left_out
                assert len(stream) == len(events)
            elif step == "reopen":
                context.close()
                context = broker.connect()
                table, stream = _open(context, where)
            else:
                key, record = step
                value = None if record is None else json.dumps(record).encode()
                broker.produce("t", key, value)
                passes = None if record is None else judge(record)
                if record is None:
                    rows.pop(key, None)
                    events.append(None)
                elif passes:
                    rows[key] = _without_nulls(record)
                    events.append(_without_nulls(record))
                elif passes is None:
                    refused += 1
                else:
                    left_out += 1
    finally:
        context.close()


@pytest.mark.slow
@examples(1)
@given(
    st.lists(RECORDS, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.sampled_from(CONDITIONS),
)
def test_columns_are_those_of_the_records_that_pass(
    records: list[dict[str, Any]], cuts: list[bool], condition: tuple[Any, Judge]
) -> None:
    """They have the types that a topic of these records alone would have, read at once or bit by bit."""
    where, judge = condition
    alone, mixed, bits = FakeBroker(), FakeBroker(), FakeBroker()
    for broker in (alone, mixed, bits):
        broker.create_topic("t")
    with alone.connect() as one, mixed.connect() as two, bits.connect() as three:
        live = three.stream("t", where=where, on_refused="ignore")
        for number, record in enumerate(records):
            value = json.dumps(record).encode()
            if judge(record):
                alone.produce("t", "k", value)
            mixed.produce("t", "k", value)
            bits.produce("t", "k", value)
            if cuts[number]:
                live.to_polars()
        expected = one.stream("t", on_refused="ignore").to_polars()
        found = two.stream("t", where=where, on_refused="ignore").to_polars()
        assert found.equals(expected)
        assert found.schema == expected.schema
        live.relearn()
        assert live.to_polars().equals(expected)
