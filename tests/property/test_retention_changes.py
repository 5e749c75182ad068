"""Rows of a store that is opened again and again, each time with another retention, equal those of a new one with the last."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import few_examples

from ktframe import Context
from ktframe.config.settings import StoreOptions
from ktframe.testing import FakeBroker

SECOND = 1_000
RETENTIONS = st.sampled_from([None, "10s", "40s", "160s"])
EVENTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(-30, 60), st.booleans()), max_size=12
)
"""Each of a partition and a key, so many seconds after the newest one, and perhaps without a value."""


def rows(context: Context, kind: str, retention: str | None) -> list[Any]:
    """Return all rows, with the places of their records."""
    if kind != "windows":
        explode = kind == "exploded stream"
        frame = context.stream("t", retention=retention, explode=explode).to_polars(metadata=True)
    else:
        table = context.table("t", store=StoreOptions(retention=retention))
        frame = table.window("5s").to_polars(metadata=True)
    return sorted(frame.rows(), key=repr)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stream", "exploded stream", "windows"])
@few_examples()
@given(openings=st.lists(st.tuples(EVENTS, RETENTIONS), min_size=2, max_size=5))
def test_retention_may_change(kind: str, openings: list[tuple[Any, str | None]]) -> None:
    """However it changes, and whatever comes in between: the rows are those that the last one keeps."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    broker.produce("t", "first", {"n": -1}, timestamp=0, partition=0)
    now, number = 0, 0
    with tempfile.TemporaryDirectory() as path:
        for events, retention in openings:
            for partition, key, later, is_tombstone in events:
                number += 1
                now = max(now, now + later)
                objects = [{"n": number}, {"n": -number}] if kind == "exploded stream" else {"n": number}
                value = None if is_tombstone else objects
                at = max(0, now + min(later, 0)) * SECOND
                broker.produce("t", f"k{key}", value, timestamp=at, partition=partition)
            with broker.connect(path) as context:
                shown = rows(context, kind, retention)
            with tempfile.TemporaryDirectory() as new, broker.connect(new) as fresh:
                assert shown == rows(fresh, kind, retention)
