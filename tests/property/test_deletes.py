"""Tables with ``deletes=`` against dictionaries of plain Python, however batches are cut."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, histories

from ktframe.testing import FakeBroker

RULES: dict[str, Any] = {
    "empty": "empty",
    "null": "null",
    "field": {"__deleted": "true"},
    "expression": pl.col("__deleted") == "true",
    "both": ["null", "empty", {"op": "d"}],
}
ROWS = st.fixed_dictionaries(
    {"id": st.integers(0, 2), "n": st.integers(0, 9)},
    optional={
        "__deleted": st.sampled_from(["true", "false"]),
        "op": st.sampled_from("du"),
        "type": st.sampled_from("ab"),
    },
)
STEPS = st.one_of(
    st.tuples(st.sampled_from("kjl"), ROWS),
    st.tuples(st.sampled_from("kjl"), ROWS),
    st.tuples(st.sampled_from("kjl"), st.sampled_from([None, b"", b"null"])),
    st.sampled_from(["read", "reopen"]),
)


def _deletes(rule: str, value: Any) -> bool:
    if not isinstance(value, dict):
        return (value == b"" and rule in ("empty", "both")) or (value == b"null" and rule in ("null", "both"))
    if rule in ("field", "expression"):
        return bool(value.get("__deleted") == "true")
    return rule == "both" and value.get("op") == "d"


@pytest.mark.slow
@examples(2)
@given(histories(STEPS, longest=30), st.sampled_from([*RULES]), st.booleans())
def test_what_deletes_names_is_a_tombstone(steps: list[Any], rule: str, has_where: bool) -> None:  # noqa: FBT001 - drawn
    """By record key, and by a field; ``where`` comes first. Windows of a day are as the table by record key."""
    broker = FakeBroker()
    broker.create_topic("t")
    rows: dict[str, Any] = {}
    by_id: dict[int, tuple[str, int]] = {}
    """The record key and the number of each row."""
    left_out = refused = 0
    given: dict[str, Any] = {"deletes": RULES[rule], "on_refused": "ignore", "stale": "show"}
    given |= {"where": {"type": "a"}} if has_where else {}
    context = broker.connect()
    try:
        for step in ["reopen", *steps, "read"]:
            if step == "read":
                table, by_field = context.table("t", **given), context.table("t", key="id", **given)
                assert {row["key"]: row["n"] for row in table.to_polars().to_dicts()} == rows
                found = by_field.to_polars().to_dicts()
                assert {row["id"]: row["n"] for row in found} == {key: n for key, (_, n) in by_id.items()}
                window = table.window("1d").to_polars().to_dicts()
                assert {row["key"]: row["n"] for row in window} == rows
                for each in (table, by_field):
                    assert (each.status().left_out, each.status().refused) == (left_out, refused)
            elif step == "reopen":
                context.close()
                context = broker.connect()
            else:
                key, value = step
                broker.produce("t", key, json.dumps(value).encode() if isinstance(value, dict) else value)
                if isinstance(value, dict) and has_where and value.get("type") != "a":
                    left_out += 1
                elif isinstance(value, dict) and _deletes(rule, value):
                    rows.pop(key, None)
                    by_id.pop(value["id"], None)
                elif isinstance(value, dict):
                    rows[key] = value["n"]
                    by_id[value["id"]] = (key, value["n"])
                elif value is None or _deletes(rule, value):
                    rows.pop(key, None)
                    by_id = {id_: row for id_, row in by_id.items() if row[0] != key}
                else:
                    refused += 1
    finally:
        context.close()
