"""Topics of JSON under JSON Schemas on a real broker, these in a real registry."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from support.guid_registry import GuidRegistry, header_of
from support.json_orders import MONEY, MONEY_NAME, SHAPE, VERSIONS, decoded, encoded, order, shaped
from support.kafka_topics import KafkaTopics
from support.schema_registry import SchemaRegistry

import ktframe
from ktframe.context.context import Context
from ktframe.formats.wire import VALUE_HEADER, id_ref

Connect = Callable[..., Context]
ROWS = 100_000
KEYS = 20_000
TOMBSTONES = 0.01
DTYPES = {str: pl.String(), int: pl.Int64(), float: pl.Float64(), bool: pl.Boolean()}


def context(name: str) -> SerializationContext:
    """Return what Confluent's serializers want to know of a topic."""
    return SerializationContext(name, MessageField.VALUE)


def registered(confluent: SchemaRegistryClient, name: str) -> list[Schema]:
    """Register both versions, the second with the schema that it refers to, and return them."""
    confluent.register_schema(f"{name}-money", Schema(json.dumps(MONEY), "JSON"))
    references = [SchemaReference(MONEY_NAME, f"{name}-money", 1)]
    schemas = [Schema(json.dumps(version), "JSON", references[:at]) for at, version in enumerate(VERSIONS)]
    for schema in schemas:
        confluent.register_schema(f"{name}-value", schema)
    return schemas


def dtype_of(shape: Any) -> pl.DataType:
    """Return the type that a column of a shape has."""
    if isinstance(shape, dict):
        return pl.Struct({name: dtype_of(inner) for name, inner in shape.items()})
    return pl.List(dtype_of(shape[0])) if isinstance(shape, list) else DTYPES[shape]


def sorted_fields(dtype: Any) -> Any:
    """Return a type with the fields of structs in the order of their names."""
    if isinstance(dtype, pl.Struct):
        return pl.Struct(
            {
                each.name: sorted_fields(each.dtype)
                for each in sorted(dtype.fields, key=lambda each: each.name)
            }
        )
    return pl.List(sorted_fields(dtype.inner)) if isinstance(dtype, pl.List) else dtype


@pytest.mark.slow
def test_a_hundred_thousand_orders_of_two_schemas(
    kafka: KafkaTopics, confluent: SchemaRegistryClient, guids: GuidRegistry, connect: Connect, topic: Any
) -> None:
    """Both wire formats and both versions in one topic equal json.loads of each key's last value, column by column."""
    name = kafka.create_topic(topic(), partitions=2)
    chance = random.Random(21)  # noqa: S311 - test data
    schemas = registered(confluent, name)
    ids = [confluent.lookup_schema(f"{name}-value", schema).schema_id for schema in schemas]
    serialize = JSONSerializer(schemas[1], confluent, conf={"validate": False})
    newest: dict[str, bytes | None] = {}
    records: list[tuple[Any, ...]] = []
    for _ in range(ROWS):
        version, number, way = chance.randrange(2), chance.randrange(KEYS), chance.random()
        key, partition, body = f"o-{number}", number % 2, encoded(chance, version)
        newest[key] = body
        if way < TOMBSTONES:
            newest[key] = None
            records.append((key, None, partition))
        elif way < 0.5:
            records.append((key, body, partition, None, [(VALUE_HEADER, header_of(ids[version]))]))
        elif way < 0.6 and version == 1:
            records.append((key, serialize(json.loads(body), context(name)), partition))
        else:
            records.append((key, id_ref(ids[version]) + body, partition))
    kafka.produce(name, records)
    expected = [{"key": key, **decoded(body)} for key, body in sorted(newest.items()) if body is not None]
    assert len(newest) > len(expected) > KEYS * 0.95
    for _ in range(2):  # from the topic, then from the store
        with connect(schema_registry={"url": guids.url}) as kt:
            table = kt.table(name)
            frame = table.to_polars().sort("key")
            assert table.errors().height == 0
            assert {column: sorted_fields(dtype) for column, dtype in frame.schema.items()} == {
                "key": pl.String(),
                **{column: sorted_fields(dtype_of(shape)) for column, shape in SHAPE.items()},
            }
            for column in frame.columns:
                assert frame[column].to_list() == [row[column] for row in expected], column


def test_what_is_put_is_read_by_confluents_deserializer(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """Rows go out under the newest schema, are held against it, and come back, here and elsewhere, as they were."""
    name = kafka.create_topic(topic(), partitions=3)
    newest = registered(confluent, name)[1]
    chance = random.Random(22)  # noqa: S311 - test data
    # A schema that takes null nowhere takes no absent column either: rows have all that it names.
    orders = {f"o-{number}": complete(order(chance, 1)) for number in range(200)}
    rows = pl.DataFrame([{"key": key, **value} for key, value in orders.items()], infer_schema_length=None)
    with connect(schema_registry=registry.url, writable=True) as kt:
        table = kt.table(name)
        assert table.upsert(rows[:-1]).height == 199
        table.put(rows.row(-1, named=True))
        found = {row.pop("key"): row for row in table.to_polars().to_dicts()}
        assert found == orders
        with pytest.raises(ktframe.SchemaError, match=r"row 0 does not fit the JSON Schema: \$.order_id"):
            table.put({**rows.row(0, named=True), "order_id": None})
        table.delete("o-0")
        assert set(table.keys()) == orders.keys() - {"o-0"}
    read = JSONDeserializer(newest, schema_registry_client=confluent)
    back = {
        record.key.decode(): read(record.value, context(name)) for record in kafka.records(name) if record.key
    }
    assert back.pop("o-0") is None
    assert back == {key: value for key, value in orders.items() if key != "o-0"}


def test_keys_of_confluents_serializer_are_read_and_deleted(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """Keys that are objects make rows of several key parts, with nothing said but the registry's address."""
    name = kafka.create_topic(topic(), partitions=3)
    fields = {"region": {"type": "string"}, "id": {"type": "integer"}}
    schema = json.dumps({"title": "Key", "type": "object", "properties": fields})
    serialize = JSONSerializer(schema, confluent)
    about = SerializationContext(name, MessageField.KEY)
    keys = [serialize({"region": "EU", "id": number % 50}, about) for number in range(100)]
    kafka.produce(name, [(key, json.dumps({"x": number}).encode()) for number, key in enumerate(keys)])
    with connect(schema_registry=registry.url, writable=True) as kt:
        table = kt.table(name)
        expected = {("EU", number): 50 + number for number in range(50)}
        assert {key: table[key]["x"] for key in table.keys()} == expected  # noqa: SIM118 - a table is no dict
        assert table.errors().height == 0
        table.delete(("EU", 7))
        table.put({"key": {"region": "US", "id": 1}, "x": 1})
        assert set(table.keys()) == expected.keys() - {("EU", 7)} | {("US", 1)}
    last = {record.key: record.value for record in kafka.records(name)}
    assert last[keys[7]] is None
    read = JSONDeserializer(schema, schema_registry_client=confluent)
    assert {"region": "US", "id": 1} in [read(key, about) for key in last]


def complete(value: dict[str, Any]) -> dict[str, Any]:
    """Return an order with a value for all of which its schema tells, at every depth."""
    filled = {
        "serial": 1,
        "ratio": 1.5,
        "tags": [],
        "place": {"city": "", "zip": 0},
        "labels": {"a": 1, "b": 2, "c": 3},
        "lines": [],
        "units": 0.5,
        "currency": "EUR",
        "price": {"currency": "EUR", "cents": 5},
        "is_gift": None,
        "note": None,
        "later": None,
        **value,
    }
    filled.pop("untold", None)
    for name in ("place", "labels", "price"):
        filled[name] = {"city": "", "zip": 0, "a": 1, "b": 2, "c": 3, "currency": "", "cents": 7} | filled[
            name
        ]
    filled["lines"] = [{"sku": "", "count": 0, "discount": 0.5, **line} for line in filled["lines"]]
    shape = {column: inner for column, inner in SHAPE.items() if column != "untold"}
    found: dict[str, Any] = shaped(filled, shape)
    return found
