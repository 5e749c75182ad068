"""What the reasons of refused JSON records say that ``schema=`` can declare: followed, every record is kept."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

import ktframe
from ktframe.context.schema import SchemaLike
from ktframe.errors import SchemaError
from ktframe.testing import FakeBroker

_HINT = re.compile(
    r"; schema= can declare (?:(?P<type>\S+), or for all values )?'(?P<field>.*)' as ktframe\.Json$"
)

HUGE = "18446744073709551616"
ENDLESS = "9" * 39


def _kept(payloads: list[str], schema: SchemaLike | None = None) -> tuple[int, list[str]]:
    """Return how many records are rows, and the reasons of the others."""
    broker = FakeBroker()
    for number, payload in enumerate(payloads):
        broker.produce("t", f"k{number}", payload.encode())
    with broker.connect() as context:
        stream = context.stream("t", schema=schema, on_refused="ignore")
        return stream.to_polars().height, stream.errors()["reason"].to_list()


@pytest.mark.parametrize(
    ("payloads", "declared", "reason", "followed"),
    [
        (
            ['{"v":1}', '{"v":"x"}', '{"v":2}'],
            {},
            "field 'v': wanted Int64, found String",
            {},
        ),
        (['{"v":true}', '{"v":[1]}'], {"v": pl.Boolean}, "field 'v': wanted Boolean, found List", {}),
        (['{"v":{"a":1}}', '{"v":[1]}'], {}, "field 'v': wanted Struct, found List", {}),
        (['{"v":1}'], {"v": pl.Null}, "field 'v': wanted Null, found Int64", {}),
        (
            ['{"v":{"a":1}}', '{"v":{"a":2}}', '{"v":{"a":"x"}}'],
            {},
            "field 'v.a': wanted Int64, found String",
            {},
        ),
        (['{"v":[1,2]}', '{"v":[3]}', '{"v":["x"]}'], {}, "field 'v[]': wanted Int64, found String", {}),
        (
            ['{"v":18446744073709551615}', '{"v":9223372036854775808}'],
            {"v": pl.Int64},
            "field 'v': integer out of the range of Int64",
            {"v": pl.UInt64},
        ),
        (
            ['{"v":1}', '{"v":18446744073709551615}'],
            {"v": pl.Int64},
            "field 'v': integer out of the range of Int64",
            {"v": pl.UInt64},
        ),
        (
            ['{"v":-9223372036854775809}'],
            {"v": pl.Int64},
            "field 'v': integer out of the range of Int64",
            {"v": pl.Decimal},
        ),
        (
            ['{"v":-1}', f'{{"v":{HUGE}}}'],
            {"v": pl.Int64},
            "field 'v': integer out of the range of Int64",
            {"v": pl.Decimal},
        ),
        ([f'{{"v":{"9" * 39}}}'], {}, "field 'v': integer out of the range of Int64", {}),
        (
            ['{"v":[18446744073709551615]}'],
            {"v": pl.List(pl.Int64)},
            "field 'v[]': integer out of the range of Int64",
            {"v": pl.List(pl.UInt64)},
        ),
        (
            ['{"v":{"a":18446744073709551615}}'],
            {"v": pl.Struct({"a": pl.Int64})},
            "field 'v.a': integer out of the range of Int64",
            {"v": pl.Struct({"a": pl.UInt64})},
        ),
        (
            ['{"v":-1}', '{"v":18446744073709551615}'],
            {"v": pl.UInt64},
            "field 'v': integer out of the range of UInt64",
            {"v": pl.Decimal},
        ),
        (
            ['{"v":300}', '{"v":-1}'],
            {"v": pl.UInt8},
            "field 'v': integer out of the range of UInt8",
            {"v": pl.Int64},
        ),
        (
            ['{"v":0.5}', '{"v":1.5}', '{"v":9007199254740993}'],
            {},
            "field 'v': integer beyond 2**53 in a column of Float64",
            {},
        ),
        (['{"v":1e39}'], {"v": pl.Float32}, "field 'v': number out of the range of Float32", {}),
        (
            ['{"v":0.125}'],
            {"v": pl.Decimal(12, 2)},
            "field 'v': number that Decimal(precision=12, scale=2) can't hold exactly",
            {},
        ),
        (
            ['{"v":"blue"}'],
            {"v": pl.Enum(["red"])},
            "field 'v': 'blue' is not one of the Enum's categories",
            {},
        ),
        (['{"v":"yesterday"}'], {"v": pl.Date}, "field 'v': not a date such as 2024-01-31", {}),
        (
            ['{"v":"2024-01-31T12:00:00"}'],
            {"v": pl.Datetime("ms", "UTC")},
            "field 'v': a time without an offset: declare the field without a time zone",
            {"v": pl.Datetime("ms")},
        ),
        (
            ['{"v":"2024-01-31T12:00:00Z"}'],
            {"v": pl.Datetime("ms")},
            "field 'v': a time with an offset: declare the field with a time zone, such as 'UTC'",
            {"v": pl.Datetime("ms", "UTC")},
        ),
        (
            ['{"v":{"a":1,"b":2}}'],
            {"v": pl.Struct({"a": pl.Int64})},
            "field 'v.b' is not in the schema",
            {"v": pl.Struct({"a": pl.Int64, "b": pl.Int64})},
        ),
    ],
)
def test_what_a_reason_names_keeps_every_record(
    payloads: list[str], declared: dict[str, Any], reason: str, followed: dict[str, Any]
) -> None:
    """``ktframe.Json`` always does, and where a reason names a type as well, so does that."""
    kept, reasons = _kept(payloads, declared or None)
    assert kept < len(payloads)
    hints = [_HINT.search(each) for each in reasons]
    assert {each.partition(";")[0] for each in reasons} == {reason}
    for hint in hints:
        assert hint is not None
        assert hint["field"] == "v"
        assert _kept(payloads, {**declared, "v": ktframe.Json}) == (len(payloads), [])
        if hint["type"] not in (None, "it"):
            assert hint["type"].removeprefix("pl.") in str(followed)
    if followed:
        assert _kept(payloads, {**declared, **followed}) == (len(payloads), [])


def test_a_batch_of_large_integers_names_their_range() -> None:
    """The type that is named holds all of them."""
    broker = FakeBroker()
    for number in range(500):
        broker.produce("t", f"k{number}", {"id": 2**64 - 1 - number})
    with broker.connect() as context:
        stream = context.stream("t", schema={"id": pl.Int64})
        reasons = stream.errors()["reason"].unique().to_list()
    (reason,) = reasons
    assert reason.startswith(
        "field 'id': integer out of the range of Int64; schema= can declare pl.UInt64, or "
    )


def test_a_key_field_that_can_not_be_a_key_says_so() -> None:
    """Its JSON text can be."""
    payloads = ['{"id":1.5}', '{"id":[1]}', '{"id":{}}', f'{{"id":{ENDLESS}}}']
    broker = FakeBroker()
    for payload in payloads:
        broker.produce("t", None, payload.encode())
    with broker.connect() as context:
        reasons = sorted(context.table("t", key="id").errors()["reason"])
        assert [reason.partition(";")[0] for reason in reasons] == [
            "field 'id' is part of the key, which can't be Float64",
            "field 'id' is part of the key, which can't be List",
            "field 'id' is part of the key, which can't be Struct",
            "field 'id': integer out of the range of Decimal(precision=38, scale=0)",
        ]
        assert all(_HINT.search(reason) for reason in reasons)
        table = context.table("t", key="id", schema={"id": ktframe.Json})
        assert sorted(table.keys()) == sorted(["1.5", "[1]", "{}", ENDLESS])


def test_no_hint_is_given_where_schema_is_not_about_it() -> None:
    """``schema=`` declares fields of values; a record key has none of them."""
    broker = FakeBroker()
    for key in (b'{"id":1}', b'{"id":2}', b'{"id":"x"}'):
        broker.produce("t", key, b'{"v":1}')
    with broker.connect() as context:
        (reason,) = context.table("t", key_format="json").errors()["reason"].to_list()
    assert reason == "key: field 'id': wanted Int64, found String"


def test_the_hints_of_declarations_can_be_followed() -> None:
    """Types that JSON has not, and types that no key can have, name some that will do."""
    payloads = ['{"v":1}', '{"v":"x"}']
    with pytest.raises(SchemaError, match=r"(?s)can't be read from JSON.*Hint: .*pl\.String"):
        _kept(payloads, {"v": pl.Binary})
    assert _kept(payloads, {"v": pl.String}) == (2, [])
    broker = FakeBroker()
    for payload in payloads:
        broker.produce("t", None, payload.encode())
    with broker.connect() as context:
        with pytest.raises(SchemaError, match=r"(?s)part of the key.*Hint: .*String"):
            context.table("t", key="v", schema={"v": pl.Float64})
        assert sorted(context.table("t", key="v", schema={"v": pl.String}).keys()) == ["1", "x"]


values = st.recursive(
    st.sampled_from(
        ["1", "-1", "0.5", '"x"', "true", "null", HUGE, "18446744073709551615", "9007199254740993", "9" * 50]
    ),
    lambda inside: (
        st.lists(inside, max_size=2).map(lambda items: f"[{','.join(items)}]")
        | st.dictionaries(st.sampled_from("ab"), inside, max_size=2).map(
            lambda fields: "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
        )
    ),
    max_leaves=4,
)


@pytest.mark.slow
@examples(1)
@given(st.lists(st.fixed_dictionaries({}, optional={"a": values, "b": values}), min_size=1, max_size=8))
def test_following_the_hints_one_after_the_other_keeps_every_record(records: list[dict[str, str]]) -> None:
    """Whatever the kinds: each round of declaring what the reasons name ends sooner or later with no reason at all."""
    payloads = [
        "{" + ",".join(f'"{name}":{text}' for name, text in {"n": "1", **record}.items()) + "}"
        for record in records
    ]
    schema: dict[str, Any] = {}
    for _ in range(3):
        kept, reasons = _kept(payloads, schema or None)
        hints = [hint for hint in map(_HINT.search, reasons) if hint is not None]
        assert len(hints) == len(reasons) == len(payloads) - kept
        if not reasons:
            break
        fields = {hint["field"] for hint in hints}
        assert not fields & set(schema)
        schema |= dict.fromkeys(fields, ktframe.Json)
    assert not reasons
