"""Hints about ``explode=True`` are followed."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint

import ktframe
from ktframe.config.settings import TableDeclaration
from ktframe.context.topic_spec import topic_spec
from ktframe.testing import FakeBroker

OF_STREAMS = Hint("fold/remedies.py", "explode=True makes an event of each object in a value.")
OF_TABLES = Hint("fold/remedies.py", "{} makes an event of each object in a value.")
VALUES = {
    "list": b'[{"id": 1}, {"id": 2}]',
    "lines": b'{"id": 1}\n{"id": 2}\n',
    "row": b'{"id": 1}{"id": 2}',
    "some objects": b'[{"id": 1}, {"id": 2}, 5]',
}


def broker_of(*values: bytes) -> FakeBroker:
    """Return a broker whose topic ``t`` has these values."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value)
    return broker


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
@pytest.mark.filterwarnings("ignore::ktframe.errors.KtframeWarning")
def test_the_hint_of_a_refusal_gives_the_events(value: bytes) -> None:
    """Of a stream and of a table; the stream that is named has nothing more to say of it."""
    with broker_of(b'{"id": 0}', value).connect() as kt:
        stream, table = kt.stream("t", on_refused="ignore"), kt.table("t", on_refused="ignore")
        assert stream.to_polars()["id"].to_list() == table.to_polars()["id"].to_list() == [0]
        for events in (
            kt.stream("t", **met(OF_STREAMS, stream.readiness().hint).arguments),
            evaluated(met(OF_TABLES, table.readiness().hint).calls[0], ktframe=kt),
        ):
            assert events.to_polars()["id"].to_list() == [0, 1, 2]
            assert "explode" not in str(events.status())


def test_an_empty_list_is_no_fault_any_more() -> None:
    """It holds no object."""
    with broker_of(b'{"id": 0}', b"[]").connect() as kt:
        stream = kt.stream("t", on_refused="ignore")
        stream.to_polars()
        events = kt.stream("t", **met(OF_STREAMS, stream.readiness().hint).arguments)
        assert events.to_polars().height == 1
        assert events.status().refused == 0


def test_the_stream_reads_what_the_table_read() -> None:
    """Its keys, and what is in gzip."""
    packed = gzip.compress(VALUES["list"])
    with broker_of(b'{"id": 0}', packed).connect() as kt:
        table = kt.table("t", key_format="bytes", unpack=True, on_refused="ignore")
        table.to_polars()
        (call,) = met(OF_TABLES, table.readiness().hint).calls
        assert call == "ktframe.stream('t', key_format=\"bytes\", unpack=True, explode=True)"
        assert evaluated(call, ktframe=kt).to_polars()["id"].to_list() == [0, 1, 2]


def test_lists_of_other_things_have_no_such_hint() -> None:
    """There is no object in them."""
    with broker_of(b'{"id": 0}', b"[1, 2]", b"5").connect() as kt:
        stream = kt.stream("t", on_refused="ignore")
        stream.to_polars()
        assert "explode" not in str(stream.status())


def test_what_is_refused_all_the_same_can_be_had_as_bytes() -> None:
    """The stream that the hint names has every record."""
    with broker_of(b'[{"id": 0}, 5]', b"x").connect() as kt:
        events = kt.stream("t", explode=True, on_refused="ignore")
        events.to_polars()
        hint = Hint("fold/remedies.py", "{} keeps any value, as bytes.")
        (call,) = met(hint, events.readiness().hint).calls
        assert evaluated(call, ktframe=kt).to_polars()["value"].to_list() == [b'[{"id": 0}, 5]', b"x"]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ({"explode": "yes"}, Hint("context/topic_spec.py", "give {}=True or leave it out.")),
        ({"explode": True, "value": "bytes"}, Hint("context/topic_spec.py", "leave {}= out.")),
    ],
)
def test_what_it_can_not_be(wrong: Any, hint: Hint) -> None:
    """It is about JSON, and either said or not."""
    with hinted(hint) as found:
        topic_spec("t", **wrong)
    assert found.parts == ("explode",)
    topic_spec("t", explode=True)
    topic_spec("t", value="bytes")


def test_a_table_does_not_take_it() -> None:
    """Neither as an argument nor declared: the stream that is named has the objects."""
    declared = {"items": TableDeclaration("items", topic="t", explode=True)}
    with broker_of(VALUES["list"]).connect(tables=declared) as kt:
        hint = Hint(
            "config/keywords.py",
            "a table has a row per key; ktframe.stream(..., explode=True) has an event for each object.",
        )
        wrong: dict[str, Any] = {"explode": True}
        with hinted(hint) as found:
            kt.table("t", **wrong)
        assert kt.stream("t", **found.arguments).to_polars().height == 2
        with hinted(hint):
            ktframe.table("t", **wrong)
        with hinted(Hint("context/context.py", "ktframe.stream({}) has them all.")) as found:
            kt.table("items")
        assert evaluated(found.calls[0], ktframe=kt).to_polars().height == 2
