"""From arguments and dataclasses to what decides a table's rows."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal

import polars as pl
import pytest

import ktframe
from ktframe.columns import HASH, KEY
from ktframe.context.declaration import declared_by
from ktframe.context.schema import as_schema
from ktframe.context.topic_spec import topic_spec


class Status(enum.Enum):
    """A status of orders."""

    PLACED = "placed"
    PAID = "paid"


@dataclass
class Address:
    """A nested value."""

    city: str
    zip: str | None


@dataclass
class Order:
    """One field of every kind that can be declared."""

    order_id: str
    quantity: int
    amount: float
    exact: Decimal
    paid: bool
    day: date
    at: datetime
    tags: list[str]
    address: Address | None
    status: Status
    region: Literal["EMEA", "APAC"]


def test_a_dataclass_becomes_a_schema() -> None:
    """Every Python type has one column type; optional fields are their inner type."""
    assert as_schema(Order) == pl.Schema(
        {
            "order_id": pl.String(),
            "quantity": pl.Int64(),
            "amount": pl.Float64(),
            "exact": pl.Decimal(38, 9),
            "paid": pl.Boolean(),
            "day": pl.Date(),
            "at": pl.Datetime("ms", "UTC"),
            "tags": pl.List(pl.String()),
            "address": pl.Struct({"city": pl.String(), "zip": pl.String()}),
            "status": pl.Enum(["placed", "paid"]),
            "region": pl.Enum(["EMEA", "APAC"]),
        }
    )


def test_a_mapping_takes_polars_types_their_names_and_python_types() -> None:
    """Configuration files name types as text, notebooks use what they have."""
    schema = as_schema({"a": pl.Int16, "b": pl.Decimal(12, 2), "c": "Float32", "d": str})
    assert schema == pl.Schema({"a": pl.Int16(), "b": pl.Decimal(12, 2), "c": pl.Float32(), "d": pl.String()})


@pytest.mark.parametrize("kind", [object, "Nonsense", int | str, dict[str, int], Any])
def test_what_is_no_column_type_is_named(kind: object) -> None:
    """The error names the field and the types that can be used."""
    with pytest.raises(ktframe.SchemaError, match=r"(?s)field 'x'.*Hint: use str, int"):
        as_schema({"x": kind})


def test_an_entity_notes_topic_key_and_time() -> None:
    """@ktframe.entity returns the class, which then knows its table."""

    @ktframe.entity(topic="orders", key=["region", "order_id"], time="created_at")
    class Row:
        region: str
        order_id: str
        created_at: str

    arguments = topic_spec(**declared_by(Row))
    assert (arguments.topic, arguments.key, arguments.time) == (
        "orders",
        ("region", "order_id"),
        "created_at",
    )
    assert Row("EMEA", "o-1", "now").order_id == "o-1"


@pytest.mark.parametrize("given", [{"key": "id"}, {"time": "at"}])
def test_an_entity_without_the_named_field_is_refused(given: dict[str, str]) -> None:
    """A key or time that is no field is an error where it is written."""
    with pytest.raises(ktframe.SchemaError, match=rf"Row has no field '{next(iter(given.values()))}'"):

        @ktframe.entity(topic="orders", **given)
        class Row:
            name: str


@pytest.mark.parametrize("key", [[], ["a", "a"], ()])
def test_a_key_names_fields_once(key: list[str]) -> None:
    """No field, or the same twice, identifies nothing."""
    with pytest.raises(ktframe.SchemaError, match="at least one field, each once"):
        topic_spec("t", key=key)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"value": "xml"}, "there is no format 'xml'"),
        ({"key_format": "xml"}, "there is no format 'xml'"),
        ({"value": "string", "key": "id"}, "has no fields"),
        ({"key": "x", "schema": {"x": pl.Float64}}, "part of the key"),
    ],
)
def test_arguments_that_can_not_work_are_refused(given: dict[str, Any], match: str) -> None:
    """The error says what is wrong before anything is read."""
    arguments = topic_spec("t", **given)
    with pytest.raises(ktframe.ConfigurationError, match=match):
        arguments.decoder(arguments.identity())


def test_equal_arguments_are_equal_and_hash_equal() -> None:
    """A table is found again by its arguments, schema included."""
    one, other = (topic_spec("t", schema={"a": pl.Int64}, key="a") for _ in range(2))
    third = topic_spec("t", schema={"a": pl.Int32}, key="a")
    assert (one == other, hash(one) == hash(other), one == third) == (True, True, False)
    assert one.settings() != third.settings()


@pytest.mark.parametrize(
    "given",
    [
        {"key": "\0key"},
        {"key": ["id", "a\0"]},
        {"time": "a\0b"},
        {"schema": {"\0hash": pl.Int64}},
        {"schema": {"a": pl.List(pl.Struct({"b": pl.Struct({"c\0": pl.Int64})}))}},
    ],
)
def test_no_name_holds_a_nul(given: dict[str, Any]) -> None:
    """Arrow takes no such name: records with such fields are refused, so declarations are."""
    with pytest.raises(ktframe.SchemaError, match="NUL character"):
        topic_spec("t", **given)


@pytest.mark.parametrize(
    "given", [{"key": KEY}, {"key": ["id", KEY]}, {"time": "\x01"}, {"schema": {HASH: pl.Int64}}]
)
def test_no_field_is_called_as_an_own_column(given: dict[str, Any]) -> None:
    """Records with such fields are refused, so declarations are; inside of a struct any name will do."""
    with pytest.raises(ktframe.SchemaError, match=r"starts with U\+0001"):
        topic_spec("t", **given)
    inner = {"a": pl.List(pl.Struct({KEY: pl.Int64()}))}
    assert topic_spec("t", schema=inner).schema == pl.Schema(inner)
