"""A table of records under several schemas equals a dictionary, after any records, reads, re-opens and outages."""

from __future__ import annotations

import io
import json
import tempfile
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples, histories

from ktframe.formats.wire import VALUE_HEADER
from ktframe.testing import FakeBroker, FakeRegistry

_BASE = [{"name": "a", "type": "int"}]
_B = {"name": "b", "type": "string", "default": "none"}
_INNER = [{"name": "x", "type": "int"}]
_WIDER_INNER = [
    *_INNER,
    {"name": "y", "type": ["null", "long"], "default": None},
    {"name": "z", "type": "int", "default": 9},
]


def _record(*fields: Any, name: str = "R") -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields)}


def _inner(fields: list[Any]) -> dict[str, Any]:
    return {"name": "s", "type": _record(*fields, name="S"), "default": {"x": 1, "y": None, "z": 9}}


SCHEMAS = (
    _record(*_BASE),
    _record(*_BASE, _B),
    _record({"name": "a", "type": "long"}, {**_B, "default": "later"}),
    _record({"name": "n", "type": "long", "aliases": ["a"]}, _inner(_WIDER_INNER)),
    _record(*_BASE, {"name": "s", "type": _record(*_INNER, name="S")}),
)
ODD = _record({"name": "a", "type": "string"})
VALUES = (
    {"a": 1},
    {"a": 2, "b": "x"},
    {"a": 2**40, "b": "y"},
    {"n": 5, "s": {"x": 3, "y": 4, "z": 5}},
    {"a": 6, "s": {"x": 7}},
)
STEPS = histories(
    st.one_of(
        st.tuples(st.sampled_from("abc"), st.integers(0, 4), st.booleans(), st.integers(0, 1)),
        st.tuples(
            st.sampled_from("abc"),
            st.sampled_from(["tombstone", "odd", "unknown", "cut"]),
            st.booleans(),
            st.integers(0, 1),
        ),
        st.sampled_from(["read", "reopen", "reopen without a registry"]),
    ),
)


def _body(schema: Any, value: Any) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


class _Model:
    """What a table must show: the columns that all schemas seen so far add up to, and the last good value of each key."""

    def __init__(self) -> None:
        self.seen: dict[int, None] = {}
        self.rows: dict[int, dict[str, tuple[int, Any]]] = {0: {}, 1: {}}
        self.refused = 0

    def shown(self) -> dict[str, Any]:
        """Return each key's row, by the rules of the Avro specification, written down once more."""
        default_b = None
        # Of two schemas with a default the one that came later counts.
        for at in self.seen:
            default_b = {1: "none", 2: "later"}.get(at, default_b)
        name = "n" if 3 in self.seen else "a"
        result = {}
        for rows in self.rows.values():
            for key, (version, value) in rows.items():
                row = {name: value.get("n", value.get("a"))}
                if {1, 2} & self.seen.keys():
                    row["b"] = value.get("b", default_b)
                if {3, 4} & self.seen.keys():
                    inner = value.get("s", {"x": 1, "y": None, "z": 9} if 3 in self.seen else None)
                    if inner is not None and 3 in self.seen:
                        inner = {"x": inner["x"], "y": inner.get("y"), "z": inner.get("z", 9)}
                    row["s"] = inner
                result[key] = row
                assert version in self.seen
        return result


@pytest.mark.slow
@examples(1)
@given(steps=STEPS)
def test_a_table_of_many_schemas_equals_a_dictionary(steps: list[Any]) -> None:
    """Defaults, new names, wider types and new fields inside structs show on all rows, whenever these were read."""
    check(None, steps)


@pytest.mark.slow
@few_examples()
@given(steps=STEPS.filter(lambda steps: any("reopen" in step for step in steps[1:] if isinstance(step, str))))
def test_a_stored_table_of_many_schemas_equals_a_dictionary(steps: list[Any]) -> None:
    """Rows that RocksDB kept show them as well, also while the registry is away."""
    with tempfile.TemporaryDirectory() as path:
        check(path, steps)


def check(where: str | None, steps: list[Any]) -> None:
    """Take the steps on stores in ``where`` (None: in memory) and compare a table with a dictionary."""
    broker, registry, model = FakeBroker(), FakeRegistry(), _Model()
    broker.create_topic("t", 2)
    ids = [registry.register("t-value", json.dumps(schema)) for schema in SCHEMAS]
    odd = registry.register("t-value", json.dumps(ODD))
    context = broker.connect(where, registry=registry)
    context.table("t", on_refused="ignore", stale="show").to_polars()
    try:
        for step in steps:
            if step == "read":
                _check(context, model)
            elif isinstance(step, str) and where is None:
                continue  # nothing in memory outlives its Context, the order of the schemas neither
            elif isinstance(step, str):
                # All is applied before the registry may go: what a store has was looked up by then.
                context.table("t", on_refused="ignore", stale="show").to_polars()
                context.close()
                if "without" in step:
                    registry.go_down()
                context = broker.connect(where, registry=registry)
                if "without" in step:
                    _check(context, model)
                    registry.come_back()
            else:
                _produce(broker, registry, model, step, ids, odd)
                # One by one: in which order two partitions are read is nobody's promise.
                context.table("t", on_refused="ignore", stale="show").to_polars()
        _check(context, model)
    finally:
        context.close()


def _produce(
    broker: FakeBroker, registry: FakeRegistry, model: _Model, step: Any, ids: list[int], odd: int
) -> None:
    key, what, by_header, number = step
    partition = "abc".index(key) % 2  # a key lives in one partition
    del number
    if what == "tombstone":
        broker.produce("t", key, None, partition=partition)
        model.rows[partition].pop(key, None)
        return
    if isinstance(what, int):
        name, body = ids[what], _body(SCHEMAS[what], VALUES[what])
        model.seen.setdefault(what)
        model.rows[partition][key] = what, VALUES[what]
    else:
        conflicts = bool(model.seen) and what == "odd"
        if what == "odd" and not conflicts:
            return  # before all others it would decide what the column is
        name = {"odd": odd, "unknown": 99, "cut": ids[1]}[what]
        body = _body(ODD, {"a": "text"}) if what == "odd" else b"\2" if what == "cut" else b"x"
        if what == "cut":
            model.seen.setdefault(1)
        model.refused += 1
    if by_header:
        broker.produce("t", key, body, partition=partition, headers=[(VALUE_HEADER, registry.header(name))])
    else:
        broker.produce("t", key, registry.prefix(name) + body, partition=partition)


def _check(context: Any, model: _Model) -> None:
    table = context.table("t", on_refused="ignore", stale="show")
    found = {row.pop("key"): row for row in table.to_polars().to_dicts()}
    assert found == model.shown()
    assert table.errors().height == model.refused
    for key in "abc":
        row = table.get(key)
        assert (row is None) == (key not in found)
        if row is not None:
            assert {name: value for name, value in row.items() if name != "key"} == found[key]
