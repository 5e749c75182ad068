"""Headers of tables, windows and streams against dictionaries of plain Python, in JSON and Avro, however batches are cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import fastavro
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples, histories

from ktframe import Context
from ktframe.testing import FakeBroker, FakeRegistry

SCHEMA: dict[str, Any] = {"type": "record", "name": "R", "fields": [{"name": "x", "type": "long"}]}
PARSED = fastavro.parse_schema(SCHEMA)
TYPES = {"et": pl.String, "n": pl.Int64}
UNREADABLE = object()
HEADERS = st.lists(
    st.one_of(
        st.tuples(st.just("et"), st.sampled_from([b"A", b"A", b"B", b"", None, b"\xff"])),
        st.tuples(st.just("n"), st.sampled_from([b"1", b"7", b"-3", None, b"many"])),
        st.tuples(st.sampled_from(["", "other", "x"]), st.none() | st.binary(max_size=3)),
    ),
    max_size=4,
)
VALUES = st.one_of(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3), st.none(), st.just("bad"))
STEPS = st.one_of(
    st.tuples(st.sampled_from("kjl"), VALUES, st.none() | HEADERS),
    st.tuples(st.sampled_from("kjl"), VALUES, st.none() | HEADERS),
    st.tuples(st.sampled_from("kjl"), VALUES, st.none() | HEADERS),
    st.sampled_from(["read", "reopen"]),
)
Verdict = bool | None


def _is(value: Any, wanted: Any) -> Verdict:
    return None if value is UNREADABLE else value == wanted


def _both(one: Verdict, other: Verdict) -> Verdict:
    return False if False in (one, other) else None if None in (one, other) else True


def _either(one: Verdict, other: Verdict) -> Verdict:
    return True if True in (one, other) else None if None in (one, other) else False


def _above(value: Any, least: int) -> Verdict:
    return None if value is UNREADABLE else value is not None and value > least


class Case(NamedTuple):
    """A condition, and what it says of a record's ``et``, ``n`` and ``x``."""

    condition: Any
    judge: Callable[..., Verdict]


CASES: list[Case | None] = [
    None,
    Case({"et": "A"}, lambda et, **_: _is(et, "A")),
    Case({"et": "A", "n": 1}, lambda et, n, **_: _both(_is(et, "A"), _is(n, 1))),
    Case({"et": "A", "x": 1}, lambda et, x, **_: _both(_is(et, "A"), _is(x, 1))),
    Case({"x": 1}, lambda x, **_: _is(x, 1)),
    Case(pl.col("et") == "A", lambda et, **_: _is(et, "A")),
    Case((pl.col("et") == "A") & (pl.col("x") > 1), lambda et, x, **_: _both(_is(et, "A"), _above(x, 1))),
    Case((pl.col("n") > 0) | (pl.col("x") > 1), lambda n, x, **_: _either(_above(n, 0), _above(x, 1))),
]


class Model:
    """What a table and a stream must hold."""

    def __init__(self, where: Case | None, deletes: Case | None) -> None:
        self._where, self._deletes = where, deletes
        self.rows: dict[str, Any] = {}
        self.events: list[Any] = []
        self.left_out = self.refused = self.refused_events = 0

    def add(self, key: str, value: Any, headers: list[tuple[str, bytes | None]]) -> None:
        """Add a record: ``value`` is what it has in ``x``, None of a tombstone, or "bad"."""
        last = dict(headers)
        et, n = _text(last.get("et")), _number(last.get("n"))
        row = {"x": value, "et": et, "n": n, "headers": [{"key": k, "value": v} for k, v in headers]}
        is_odd = UNREADABLE in (et, n)
        if value is None:
            self.rows.pop(key, None)
            self.refused_events += is_odd
            self.events += [] if is_odd else [row]
            return
        x = UNREADABLE if value == "bad" else value
        passes = True if self._where is None else self._where.judge(et=et, n=n, x=x)
        if passes is False:
            self.left_out += 1
            return
        is_bad = is_odd or x is UNREADABLE or passes is None
        self.refused_events += is_bad
        self.events += [] if is_bad else [row]
        deletes = False if self._deletes is None or passes is None else self._deletes.judge(et=et, n=n, x=x)
        if deletes:
            self.rows.pop(key, None)
        elif is_bad or deletes is None:
            self.refused += 1
        else:
            self.rows[key] = row


def _text(value: bytes | None) -> Any:
    return UNREADABLE if value == b"\xff" else None if value is None else value.decode()


def _number(value: bytes | None) -> Any:
    return UNREADABLE if value == b"many" else None if value is None else int(value)


def _payload(value: Any, prefix: bytes | None) -> bytes | None:
    if value is None:
        return None
    if prefix is None:
        return b"{" if value == "bad" else json.dumps({"x": value}).encode()
    if value == "bad":
        return prefix + b"\xff"
    out = BytesIO()
    fastavro.schemaless_writer(out, PARSED, {"x": value})
    return prefix + out.getvalue()


def _check(context: Context, model: Model, where: Case | None, deletes: Case | None) -> None:
    given: dict[str, Any] = {"headers": TYPES, "metadata": "headers", "on_refused": "ignore"}
    given |= {} if where is None else {"where": where.condition}
    stream = context.stream("t", **given)
    given |= {} if deletes is None else {"deletes": deletes.condition}
    table = context.table("t", stale="show", **given)
    rows = {row.pop("key"): row for row in table.to_polars().to_dicts()}
    assert {key: {"x": row.get("x"), **row} for key, row in rows.items()} == model.rows
    windowed = table.window("1d").to_polars().drop("window_start", "window_end")
    assert {row.pop("key"): row for row in windowed.to_dicts()} == rows
    events = stream.to_polars().to_dicts()
    assert [{"x": event.get("x"), **event} for event in events] == model.events
    assert (table.status().left_out, table.status().refused) == (model.left_out, model.refused)
    assert (stream.status().left_out, stream.status().refused) == (model.left_out, model.refused_events)


@pytest.mark.slow
@pytest.mark.parametrize("is_avro", [False, True])
@examples(2)
@given(histories(STEPS, longest=24), st.sampled_from(CASES), st.sampled_from(CASES))
def test_rows_have_the_headers_of_their_records(
    is_avro: bool,  # noqa: FBT001 - a parameter of the test
    steps: list[Any],
    where: Case | None,
    deletes: Case | None,
) -> None:
    """The last header of each name, and all in their order; what can't be read is refused, unless it makes no difference."""
    _run(None, steps, where, deletes, is_avro=is_avro)


@pytest.mark.slow
@few_examples()
@given(histories(STEPS, longest=24), st.sampled_from(CASES), st.sampled_from(CASES), st.booleans())
def test_stored_rows_have_the_headers_of_their_records(
    steps: list[Any],
    where: Case | None,
    deletes: Case | None,
    is_avro: bool,  # noqa: FBT001 - drawn
) -> None:
    """After each restart as before it."""
    with TemporaryDirectory() as folder:
        _run(Path(folder), steps, where, deletes, is_avro=is_avro)


def _run(
    folder: Path | None, steps: list[Any], where: Case | None, deletes: Case | None, *, is_avro: bool
) -> None:
    broker, registry = FakeBroker(), FakeRegistry()
    broker.create_topic("t")
    prefix = registry.prefix(registry.register("t-value", json.dumps(SCHEMA))) if is_avro else None
    model = Model(where, deletes)
    context = broker.connect(folder, registry=registry)
    try:
        for step in [*steps, "read", "reopen", "read"]:
            if step == "read":
                _check(context, model, where, deletes)
            elif step == "reopen":
                context.close()
                context = broker.connect(folder, registry=registry)
            else:
                key, value, headers = step
                broker.produce("t", key, _payload(value, prefix), headers=headers)
                model.add(key, value, headers or [])
    finally:
        context.close()
