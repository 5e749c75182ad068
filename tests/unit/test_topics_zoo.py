"""What ``inspect`` proposes for topics of many kinds, pasted and run as it is: every record is a row or an event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.topics_zoo import Kind, avro_kind, broker_of, kinds, protobuf_kind

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
        check_additions(kt, kind, seen.additions, call)


def check_additions(kt: Context, kind: Kind, additions: tuple[str, ...], call: str) -> None:
    """Run the call with what is proposed besides: no record less is a row, and each argument adds columns."""
    assert additions == kind.additions
    before = rows_of(kt, call)
    for some in ([each] for each in [*additions, ", ".join(additions)] if each):
        more = rows_of(kt, f"{call[:-1]}, {', '.join(some)})")
        assert more.to_polars().height == before.to_polars().height
        assert more.status().refused == before.status().refused
        assert more.schema != before.schema


def test_what_may_be_added_is_said_in_a_line() -> None:
    """Behind the call, which stays short; a topic that asks for nothing has no such line."""
    by_name = {kind.name: kind for kind in KINDS}
    with broker_of(by_name["CloudEvents"]).connect() as kt:
        lines = repr(kt.inspect("t")).splitlines()
        assert lines[0].startswith('ktframe.table("t")')
        assert 'you may add: times="auto", unnest={"data": "data_"}' in lines
        assert "you may add: " in kt.inspect("t")._repr_html_()
    with broker_of(by_name["clean JSON"]).connect() as kt:
        assert "you may add" not in repr(kt.inspect("t"))


def test_why_values_are_kept_whole_is_said() -> None:
    """Where they are JSON whose names never settle, of which no types and deletes can be told by fields."""
    by_name = {kind.name: kind for kind in KINDS}
    for name, value in (("names that never settle", "string"), ("names that never settle in gzip", "bytes")):
        with broker_of(by_name[name]).connect() as kt:
            lines = repr(kt.inspect("t")).splitlines()
        assert lines[0].startswith(f'ktframe.table("t", value="{value}")  # json values')
        assert f'names in the values never settle: value="{value}" keeps each of them whole' in lines


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
@pytest.mark.filterwarnings("ignore::ktframe.errors.KtframeWarning")
def test_every_record_is_a_row_or_an_event(kind: Kind) -> None:
    """The last call has all records, or their objects, as events and refuses none; the others a row for each that is to have one."""
    with broker_of(kind).connect() as kt:
        check(kt, kind)


@pytest.mark.parametrize("make", [avro_kind, protobuf_kind])
def test_records_of_a_registry_are_rows_or_events(make: Callable[[FakeRegistry], Kind]) -> None:
    """With the registry fields, without it bytes."""
    registry = FakeRegistry()
    kind = make(registry)
    with broker_of(kind).connect(registry=registry) as kt:
        check(kt, kind)
    with broker_of(kind).connect() as kt:
        events = rows_of(kt, kt.inspect("t").suggestions[-1])
        assert events.to_polars().height == len(kind.records)


@pytest.mark.parametrize("make", [avro_kind, protobuf_kind])
def test_structs_of_a_registry_are_unnested(make: Callable[[FakeRegistry], Kind]) -> None:
    """By Avro's and Protobuf's schemas as in JSON: a column for each field, null where there is no struct."""
    registry = FakeRegistry()
    with broker_of(make(registry)).connect(registry=registry) as kt:
        plain = kt.table("t").to_polars().sort("id")
        inner = plain["line"].struct.unnest()
        frame = kt.table("t", unnest="line").to_polars().sort("id")
        assert frame.columns == ["key", "id", "at", "sku", "count"]
        assert frame.select("sku", "count").equals(inner)
        assert frame.select("key", "id", "at").equals(plain.drop("line"))
        assert frame["sku"].to_list()[:3] == [None, "s1", "s2"]
        events = kt.stream("t", unnest={"line": "l_"})
        assert events.to_polars().sort("id")["l_count"].to_list() == inner["count"].to_list()
        keyed = kt.table("t", key="line.sku", unnest={"line": "l_"}, on_refused="ignore").to_polars()
        assert keyed.height == inner["sku"].drop_nulls().n_unique()
        assert keyed["at"].dtype == plain["at"].dtype
