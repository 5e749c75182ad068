"""A table equals a dictionary built from what was produced, after any records, re-opens and re-reads."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, few_examples, histories

from ktframe import KTable
from ktframe.testing import FakeBroker

KEYS = st.sampled_from([None, "", "a", "b", "a\0", "ab", "ключ", "c|d"])
VALUES = st.one_of(
    st.none(),
    st.just(b""),
    st.just(b"{"),
    st.just(b"[1]"),
    st.builds(lambda n: {"n": n}, st.integers(-5, 5)),
    st.builds(lambda n, t: {"n": n, "t": t}, st.integers(-5, 5), st.sampled_from(["x", "y"])),
)
RECORDS = st.tuples(KEYS, VALUES, st.integers(0, 2), st.one_of(st.none(), st.integers(0, 5)))
STEPS = histories(st.one_of(RECORDS, RECORDS, st.sampled_from(["read", "reopen", "skip"])), longest=40)


@dataclass
class Model:
    """What a table must hold: per partition the last good value per key, None for a tombstone, with its timestamp.

    ``marks`` are the times of refused records after which nothing else came for their key.
    """

    rows: dict[int, dict[str, tuple[int, dict[str, Any] | None]]]
    refused: int = 0
    marks: dict[tuple[str, int], int] = field(default_factory=dict)

    def apply(self, key: str | None, value: Any, partition: int, timestamp: int | None) -> None:
        """Apply one record as Kafka Streams' KTable does; a value that is no JSON object is refused."""
        if key is None or not isinstance(value, dict | None):
            self.refused += 1
            if key is not None:
                self.marks[key, partition] = -1 if timestamp is None else timestamp
            return
        self.marks.pop((key, partition), None)
        self.rows[partition][key] = (-1 if timestamp is None else timestamp, value)

    def visible(self) -> dict[str, dict[str, Any]]:
        """Return the row of each key: of several partitions', that with the greatest (timestamp, partition).

        A key whose newest record was refused is hidden, and one whose newest good record is a tombstone has none.
        """
        best: dict[str, tuple[int, int, dict[str, Any] | None]] = {}
        for partition, rows in self.rows.items():
            for key, (timestamp, value) in rows.items():
                if key not in best or (timestamp, partition) > best[key][:2]:
                    best[key] = (timestamp, partition, value)
        rows = {key: row for key, row in best.items() if not self._is_stale(key, *row[:2])}
        return {key: value for key, (*_, value) in rows.items() if value is not None}

    def _is_stale(self, key: str, timestamp: int, partition: int) -> bool:
        marks = {p: at for (name, p), at in self.marks.items() if name == key}
        return any(p == partition or (at, p) > (timestamp, partition) for p, at in marks.items())


def rows_of(table: KTable, key: str = "key") -> dict[Any, dict[str, Any]]:
    """Return a frame as a dictionary, nulls left out, which a missing JSON field is too."""
    frame = table.to_polars()
    found = {row.pop(key): row for row in frame.to_dicts()}
    assert len(found) == frame.height
    return {
        name: {field: value for field, value in row.items() if value is not None}
        for name, row in found.items()
    }


@pytest.mark.slow
@examples(1)
@given(steps=STEPS)
def test_a_table_equals_a_dictionary(steps: list[Any]) -> None:
    """to_polars, get, len, in, keys and the number of errors follow the records, whatever happens in between."""
    check_record_keys(None, steps)


@pytest.mark.slow
@few_examples()
@given(steps=STEPS.filter(lambda steps: "reopen" in steps[1:]))
def test_a_stored_table_equals_a_dictionary(steps: list[Any]) -> None:
    """A table that is opened again on what RocksDB kept follows the records likewise."""
    with tempfile.TemporaryDirectory() as path:
        check_record_keys(path, steps)


def check_record_keys(place: str | None, steps: list[Any]) -> None:
    """Take the steps on stores in ``place`` (None: in memory) and compare a table with a dictionary."""
    broker, model = FakeBroker(), Model({0: {}, 1: {}, 2: {}})
    broker.create_topic("t", 3)
    context = broker.connect(place)
    try:
        for step in steps:
            if step == "reopen":
                context.close()
                context = broker.connect(place)
            elif step == "read":
                assert rows_of(context.table("t", on_refused="ignore")) == model.visible()
            elif step == "skip":
                broker.skip("t", partition=1)
            else:
                key, value, partition, timestamp = step
                broker.produce("t", key, value, partition=partition, timestamp=timestamp)
                model.apply(key, value, partition, timestamp)
        table, expected = context.table("t", on_refused="ignore"), model.visible()
        assert rows_of(table) == expected
        assert len(table) == len(expected)
        assert sorted(table.keys()) == sorted(expected)
        assert table.errors().height == model.refused
        for key in ["", "a", "b", "a\0", "zz"]:
            assert (key in table) == (key in expected)
            row = table.get(key)
            fields = None if row is None else {n: v for n, v in row.items() if v is not None and n != "key"}
            assert fields == expected.get(key)
    finally:
        context.close()


FIELD_RECORDS = st.tuples(
    st.sampled_from([None, "k1", "k2"]),
    st.one_of(
        st.none(),
        st.builds(
            lambda r, i, n: {"r": r, "i": i, "n": n},
            st.sampled_from(["x", "x", "x", "x|", "", None]),
            st.sampled_from([1, 1, 1, 2, None]),
            st.integers(0, 9),
        ),
    ),
)
FIELD_STEPS = histories(st.one_of(FIELD_RECORDS, FIELD_RECORDS, st.just("read")))


@pytest.mark.slow
@examples(2)
@given(steps=FIELD_STEPS)
def test_a_table_keyed_by_fields_equals_a_dictionary(steps: list[Any]) -> None:
    """A composite key folds by its fields; a tombstone removes the rows whose newest record carried its record key."""
    check_field_keys(None, steps)


@pytest.mark.slow
@few_examples()
@given(steps=FIELD_STEPS)
def test_a_stored_table_keyed_by_fields_equals_a_dictionary(steps: list[Any]) -> None:
    """Tombstones find the rows of their record key in RocksDB likewise."""
    with tempfile.TemporaryDirectory() as path:
        check_field_keys(path, steps)


def check_field_keys(place: str | None, steps: list[Any]) -> None:
    """Take the steps on stores in ``place`` (None: in memory) and compare a table with a dictionary by its fields."""
    broker, rows, refused = FakeBroker(), {}, 0
    broker.create_topic("t")
    with broker.connect(place) as context:
        table = context.table("t", key=["r", "i"], on_refused="ignore")
        for step in steps:
            if step == "read":
                assert table.to_polars().height == len(rows)
                continue
            key, value = step
            broker.produce("t", key, value)
            if value is None:
                rows = {i: row for i, row in rows.items() if key is None or row[0] != key}
                refused += key is None
            elif value["r"] is None and value["i"] is None:
                refused += 1
            else:
                rows[value["r"], value["i"]] = (key, value)
        frame = table.to_polars()
        found = {(row["r"], row["i"]): row for row in frame.to_dicts()} if frame.height else {}
        assert found == {identity: value for identity, (_, value) in rows.items()}
        assert table.errors().height == refused
        for identity, (_, value) in rows.items():
            assert table.get(identity) == value
