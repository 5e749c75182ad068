"""Hints about what ``table``, ``stream`` and declarations take, each followed: the rows are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted
from support.hints import Hint

import ktframe
from ktframe import Context
from ktframe.testing import FakeBroker

ORDER = {"order_id": "o-1", "region": "EU", "created_at": "2024-01-31T12:00:00", "amount": 5}


@pytest.fixture
def kt() -> Iterator[Context]:
    """Yield a connection to a broker with one order."""
    broker = FakeBroker()
    broker.produce("orders", "k", ORDER)
    with broker.connect() as context:
        yield context


@pytest.mark.parametrize(
    ("hint", "wrong"),
    [
        (Hint("context/topic_spec.py", 'give the name of a topic, such as "orders".'), {"topic": 5}),
        (Hint("context/topic_spec.py", 'give the name of a format, such as value="json".'), {"value": 5}),
        (
            Hint("context/topic_spec.py", 'give the name of a format, such as key_format="string".'),
            {"key_format": 5},
        ),
        (Hint("context/topic_spec.py", 'give the name of a field, such as time="created_at".'), {"time": 5}),
        (
            Hint(
                "context/topic_spec.py",
                'key="order_id" or key=["region", "order_id"]; leave it out for the record key.',
            ),
            {"key": []},
        ),
    ],
)
def test_an_argument_is_given_as_the_hint_says(kt: Context, hint: Hint, wrong: dict[str, Any]) -> None:
    """The example of the hint is taken, and makes a row."""
    with hinted(hint) as found:
        kt.table(**{"topic": "orders", **wrong})
    examples = [{name: value} for name, value in found.arguments.items()] or [{"topic": found.quoted[0]}]
    for right in examples:
        assert kt.table(**{"topic": "orders", **right}).to_polars().height == 1


def test_one_of_two_fields_of_one_column_is_named() -> None:
    """Each alone is a key."""
    broker = FakeBroker()
    broker.produce("t", "k", {"a": {"b": "x"}, "a.b": "y"})
    with broker.connect() as kt:
        for arguments in ({"key": "a.b", "time": r"a\.b"}, {"key": ["a.b", r"a\.b"]}):
            with hinted(Hint("context/topic_spec.py", "name one of them only.")):
                kt.table("t", **arguments)  # type: ignore[arg-type]
        assert kt.table("t", key="a.b").to_polars().height == 1
        assert kt.table("t", key=r"a\.b").to_polars().height == 1


def test_each_way_to_give_a_key_identifies_rows(kt: Context) -> None:
    """One field, several, and none."""
    with hinted(
        Hint(
            "context/topic_spec.py",
            'key="order_id" or key=["region", "order_id"]; leave it out for the record key.',
        )
    ) as found:
        kt.table("orders", key=["region", "region"])
    keys = [evaluated(code) for code in re.findall(r"key=(\"\w+\"|\[.*?\])", found.text)]
    assert [kt.table("orders", key=key).keys() for key in keys] == [["o-1"], [("EU", "o-1")]]
    assert kt.table("orders").keys() == ["k"]


def test_the_same_table_is_asked_for_with_other_options_once_it_is_closed(kt: Context) -> None:
    """With the same arguments it is there; with others after ``close()``."""
    table = kt.table("orders", key_name="id")
    with hinted(Hint("context/catalog.py", "use the same arguments, or close() it first.")) as found:
        kt.table("orders", key_name="no")
    assert kt.table("orders", key_name="id") is table
    evaluated(f"table.{found.calls[0]}", table=table)
    assert kt.table("orders", key_name="no").to_polars().columns[0] == "no"


@pytest.mark.parametrize("kind", ["pl.String", "pl.Int64"])
def test_a_time_is_declared_as_the_hint_says(kind: str) -> None:
    """A field with the declared type is the time of the rows."""
    broker = FakeBroker()
    broker.produce("t", "k", {"at": "2024-01-31T12:00:00" if kind == "pl.String" else 1_706_702_400_000})
    hint = Hint("context/topic_spec.py", 'schema={"{}": pl.String} for ISO 8601, pl.Int64 for milliseconds.')
    with broker.connect() as context:
        with hinted(hint) as found:
            context.table("t", time="at", schema={"at": ktframe.Json})
        [example] = found.arguments.values()
        assert kind in found.text
        schema = dict.fromkeys(example, evaluated(kind))
        [row] = context.table("t", time="at", schema=schema).to_polars(metadata=True).rows(named=True)
    assert row["timestamp"].isoformat() == "2024-01-31T12:00:00+00:00"


def test_a_class_names_its_topic_and_its_fields(kt: Context) -> None:
    """A class under the decorator of the hint is a table; its key is one of the fields that the hint lists."""

    class Order:
        order_id: str
        region: str

    with hinted(
        Hint("context/declaration.py", 'put @ktframe.entity(topic="...") above the dataclass.')
    ) as found:
        kt.table(Order)
    decorator = evaluated(found.calls[0].replace("...", "orders"))
    assert kt.table(decorator(dataclass(Order))).to_polars().height == 1
    with hinted(Hint("context/declaration.py", "its fields are {}.")) as found:
        ktframe.entity(topic="orders", key="order")(Order)
    assert found.names == ["order_id", "region"]
    for name in found.names:
        assert kt.table(ktframe.entity(topic="orders", key=name)(Order)).to_polars().height == 1


@dataclass
class Address:
    """A nested value."""

    city: str


VALUES: dict[str, tuple[Any, bytes]] = {
    "str": (str, b'"x"'),
    "int": (int, b"5"),
    "float": (float, b"0.5"),
    "bool": (bool, b"true"),
    "date": (date, b'"2024-01-31"'),
    "datetime": (datetime, b'"2024-01-31T12:00:00Z"'),
    "Decimal": (Decimal, b"1.10"),
    "list[...]": (list[int], b"[1]"),
    "a dataclass": (Address, b'{"city":"Bonn"}'),
    "ktframe.Json": (ktframe.Json, b"[1]"),
    "ktframe.Map": (ktframe.Map, b'{"a":1}'),
    "or a Polars dtype": (pl.Int8, b"5"),
}


def test_each_type_of_the_hint_can_be_a_column(kt: Context) -> None:
    """Every type that the hint lists holds a value of its kind."""
    hint = Hint(
        "context/schema.py",
        "use str, int, float, bool, date, datetime, Decimal, list[...], a dataclass, ktframe.Json, ktframe.Map, "
        "or a Polars dtype.",
    )
    with hinted(hint) as found:
        kt.table("orders", schema={"amount": complex})
    for name in found.text.removeprefix("use ").removesuffix(".").split(", "):
        kind, value = VALUES[name]
        broker = FakeBroker()
        broker.produce("t", "k", b'{"v":' + value + b"}")
        with broker.connect() as context:
            assert context.table("t", schema={"v": kind}).to_polars()["v"].null_count() == 0


def test_a_schema_is_a_dataclass_or_a_mapping(kt: Context) -> None:
    """Both that the hint names are taken."""

    class Order:
        amount: int

    with hinted(Hint("context/schema.py", "pass a dataclass, or a mapping of field name to dtype.")):
        kt.table("orders", schema=Order)
    for schema in (dataclass(Order), {"amount": pl.Int64}):
        assert kt.table("orders", schema=schema).to_polars()["amount"].to_list() == [5]


def test_json_inside_of_a_field_is_declared_as_the_hint_says() -> None:
    """A str inside takes what is no text as JSON text."""
    broker = FakeBroker()
    for number, value in enumerate((b'{"v":{"a":1}}', b'{"v":{"a":"x"}}', b'{"v":{"a":[1.50]}}')):
        broker.produce("t", str(number), value)

    class Inner:
        a: ktframe.Json

    with broker.connect() as context:
        hint = Hint("context/schema.py", "use str there: it takes other kinds as their JSON text.")
        with hinted(hint) as found:
            context.table("t", schema={"v": dataclass(Inner)})
        Inner.__annotations__["a"] = evaluated(found.text.split()[1])
        rows = context.table("t", schema={"v": dataclass(Inner)}).to_polars()
    assert sorted(value["a"] for value in rows["v"]) == ["1", "[1.50]", "x"]


def test_a_map_inside_of_a_field_is_declared_as_the_hint_says() -> None:
    """Both types of the hint hold what the field of the record has."""
    broker = FakeBroker()
    broker.produce("t", "a", b'{"v":{"a":{"b":1}}}')
    hint = Hint("context/schema.py", "declare the field of the record as ktframe.Map or ktframe.Json.")
    with broker.connect() as context:
        with hinted(hint) as found:
            context.table("t", schema={"v": ktframe.Map(ktframe.Map)})
        for code in re.findall(r"ktframe\.(\w+)", found.text):
            rows = context.table("t", schema={"v": getattr(ktframe, code)}).to_polars()
            assert '{"b":1}' in str(rows["v"].to_list())


def test_a_field_is_named_otherwise_where_it_comes_from() -> None:
    """A record with such a name is refused; under another it is a row."""
    broker = FakeBroker()
    broker.produce("t", "a", {"a\0b": 1, "c": 1})
    broker.produce("t", "b", {"ab": 1, "c": 1})
    hint = Hint("context/schema.py", "records with such a field are refused; give it another name upstream.")
    with broker.connect() as context:
        with hinted(hint):
            context.table("t", schema={"a\0b": pl.Int64})
        table = context.table("t", schema={"ab": pl.Int64})
        assert table.keys() == ["b"]
        assert table.errors()["key"].to_list() == [b"a"]


@pytest.mark.parametrize("argument", ["value", "key_format"])
def test_a_format_is_one_of_the_hint(argument: str) -> None:
    """Every format of the list is known."""
    broker = FakeBroker()
    broker.produce("t", b"\0\0\0\1", b"\0\0\0\2")
    arguments: dict[str, Any] = {argument: "jsno"}
    with broker.connect() as context, hinted(Hint("formats/__init__.py", "the formats are {}.")) as found:
        context.table("t", **arguments).to_polars()
    assert len(found.names) == 8
    for name in found.names:
        with broker.connect() as context:
            arguments = {"value": "bytes", argument: name, "on_refused": "ignore"}
            context.table("t", **arguments).to_polars()


def test_a_format_without_fields_takes_no_schema(kt: Context) -> None:
    """Its one column is the named one, and the format of the hint has fields."""
    hint = Hint("formats/__init__.py", "its only column is {}; value='json' has fields.")
    wrongs: list[dict[str, Any]] = [{"schema": {"amount": pl.Int64}}, {"key": "order_id"}]
    for wrong in wrongs:
        with hinted(hint) as found:
            kt.table("orders", value="string", **wrong).to_polars()
        assert kt.table("orders", **found.arguments, **wrong).to_polars().height == 1
        assert kt.table("orders", value="string").to_polars().columns == ["key", evaluated(found.parts[0])]


def test_an_inspection_takes_a_sample_and_the_hint_all_rows(kt: Context) -> None:
    """The call of the hint has every row."""
    with hinted(Hint("explore/topics.py", "to have all rows, ask for ktframe.table(...).")) as found:
        kt.inspect("orders", sample=1_000_000)
    call = found.calls[0].replace("...", '"orders"')
    assert evaluated(call, ktframe=kt).to_polars().height == 1
