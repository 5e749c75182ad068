"""What ``inspect`` finds of several types of records and of deletes in other spellings, and that its calls load them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from support.hinted import evaluated, met
from support.hints import Hint

from ktframe.explore.event_types import event_types
from ktframe.testing import FakeBroker

WHERE = Hint("explore/inspection.py", "where={}")
DELETES = Hint("explore/inspection.py", "deletes={}")

KINDS: list[dict[str, Any]] = [
    {"type": "user", "name": "ann", "country": "de"},
    {"type": "order", "amount": 5, "sku": "x"},
    {"type": "click", "url": "/", "ms": 4},
]


def _broker(values: list[Any]) -> FakeBroker:
    broker = FakeBroker()
    broker.create_topic("t")
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value if isinstance(value, bytes) else json.dumps(value).encode())
    return broker


def test_each_type_has_a_call_that_loads_it() -> None:
    """All records of the type, with its columns and no others."""
    with _broker([KINDS[number % 3] for number in range(30)]).connect() as kt:
        seen = kt.inspect("t")
        assert [each.value for each in seen.types] == ["click", "order", "user"]
        assert [round(each.share, 2) for each in seen.types] == [0.33] * 3
        assert "3 types of records by 'type', with different fields:" in repr(seen)
        for each, call in zip(seen.types, seen.suggestions[:-1], strict=True):
            assert call in repr(seen)
            met(WHERE, call)
            frame = evaluated(call, ktframe=kt).to_polars()
            assert frame.height == 10
            assert tuple(frame.columns) == ("key", *each.columns)
            assert kt.table("t", where=each.where) is evaluated(call, ktframe=kt)
        assert evaluated(seen.suggestion, ktframe=kt).to_polars().height == 30


def test_a_nested_field_may_tell_types_apart() -> None:
    """As in an envelope, whose names may have dots."""
    values = [
        {"meta.x": {"event": "a"}, "a": 1, "b": 2},
        {"meta.x": {"event": "b"}, "c": 1, "d": 2},
    ]
    with _broker(values * 5).connect() as kt:
        seen = kt.inspect("t")
        assert [each.field for each in seen.types] == [r"meta\.x.event"] * 2
        assert [evaluated(call, ktframe=kt).to_polars().height for call in seen.suggestions] == [5, 5, 10]


@pytest.mark.parametrize("seed", range(5))
def test_fields_that_go_with_nothing_are_no_types(seed: int) -> None:
    """A status, a country, an id and optional fields, at random."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    records = [
        {
            "id": f"i{number}",
            "status": chance.choice("abc"),
            "country": chance.choice(["de", "fr"]),
            **({"note": "x"} if chance.random() < 0.5 else {}),
            **({"more": 1} if chance.random() < 0.1 else {}),
        }
        for number in range(300)
    ]
    assert event_types(records) == ()
    assert event_types([]) == ()


def test_the_field_is_the_one_that_is_called_so() -> None:
    """Of several that go with the same fields."""
    records = [{"a": str(each["type"]), **each} for each in KINDS * 5]
    assert {each.field for each in event_types(records)} == {"type"}


@pytest.mark.parametrize(
    ("values", "deletes", "rows"),
    [
        ([b""], 'deletes="empty"', 10),
        ([b"null"], 'deletes="null"', 10),
        ([{"id": 3, "__deleted": "true"}], 'deletes={"__deleted": "true"}', 10),
        ([{"id": 3, "__deleted": False}], 'deletes={"__deleted": True}', 11),
        ([b"", b"null"], 'deletes=["empty", "null"]', 10),
        ([], "", 10),
    ],
)
def test_deletes_in_other_spellings_are_proposed(values: list[Any], deletes: str, rows: int) -> None:
    """The call takes them as deletes, so that no record is refused."""
    with _broker([{"id": number} for number in range(10)] + values).connect() as kt:
        seen = kt.inspect("t")
        assert deletes in seen.suggestion
        if deletes:
            met(DELETES, seen.suggestion)
        assert ("deletes=" in seen.suggestion) == bool(deletes)
        assert ("delete a row by other means" in repr(seen)) == bool(deletes)
        table = evaluated(seen.suggestion, ktframe=kt)
        assert table.to_polars().height == rows
        assert table.status().refused == 0
