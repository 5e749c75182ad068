"""What ``inspect`` proposes for topics of many kinds, pasted and run as it is: every record is a row or an event."""

from __future__ import annotations

from typing import Any

import pytest
from support.topics_zoo import Kind, avro_kind, broker_of, kinds

import ktframe
from ktframe.context.context import Context
from ktframe.tables.stream import KStream
from ktframe.testing import FakeRegistry

KINDS = list(kinds())
REFUSING = {
    *("some broken", "some without a key", "JSON keys and an odd one"),
    *("a list among objects", "lists and an odd item"),
}
"""Where a table of fields, or of keys, or a stream of objects, is of more use than one that takes all."""


def rows_of(kt: Context, call: str) -> Any:
    """Return what a proposed call gives."""
    found: dict[str, Any] = {}
    exec(f"rows = {call}", {"ktframe": Pasted(kt)}, found)  # noqa: S102 - as a user pastes it
    return found["rows"]


class Pasted:
    """The package, connected to the topic of the test."""

    def __init__(self, context: Context) -> None:
        self.table, self.stream = context.table, context.stream
        self.Json = ktframe.Json


def check(kt: Context, kind: Kind) -> None:
    """Run every call that is proposed for the topic."""
    seen = kt.inspect("t")
    calls = [seen.suggestion, *seen.suggestions]
    assert all(call in repr(seen) for call in [seen.suggestion, *seen.suggestions[:-1]])
    *_, whole = calls
    events = rows_of(kt, whole)
    assert isinstance(events, KStream)
    assert events.to_polars().height == kind.wanted_events
    assert events.status().refused == 0
    for call in calls[1:-1] if seen.types else calls[:1]:
        rows = rows_of(kt, call)
        frame = rows.to_polars()
        if kind.name in REFUSING:
            assert rows.status().refused == 1
        else:
            assert rows.status().refused == 0
        assert frame.height in ((kind.wanted, kind.wanted - 1) if seen.types else (kind.wanted,))


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
@pytest.mark.filterwarnings("ignore::ktframe.errors.KtframeWarning")
def test_every_record_is_a_row_or_an_event(kind: Kind) -> None:
    """The last call has all records, or their objects, as events and refuses none; the others a row for each that is to have one."""
    with broker_of(kind).connect() as kt:
        check(kt, kind)


def test_records_of_a_registry_are_rows_or_events() -> None:
    """With the registry fields, without it bytes."""
    registry = FakeRegistry()
    kind = avro_kind(registry)
    with broker_of(kind).connect(registry=registry) as kt:
        check(kt, kind)
    with broker_of(kind).connect() as kt:
        events = rows_of(kt, kt.inspect("t").suggestions[-1])
        assert events.to_polars().height == len(kind.records)
