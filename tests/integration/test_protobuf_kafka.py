"""Topics of Protobuf on a real broker, their schemas in a real registry, as source and as descriptors."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import message_factory
from support.guid_registry import GuidRegistry, header_of
from support.kafka_topics import KafkaTopics
from support.proto_orders import CLASSES, INDEXES, MONEY, MONEY_FILE, SOURCES, decoded, order
from support.schema_registry import SchemaRegistry

from ktframe.context.context import Context
from ktframe.formats.wire import VALUE_HEADER, id_ref

Connect = Callable[..., Context]
ROWS = 100_000
KEYS = 20_000
TOMBSTONES = 0.01


def serializer(confluent: SchemaRegistryClient, version: int, name: str) -> ProtobufSerializer:
    """Return Confluent's serializer, which registers descriptors, those of the imported file apart."""
    named = {"reference.subject.name.strategy": lambda _context, _reference: f"{name}-descriptors"}
    return ProtobufSerializer(CLASSES[version], confluent, named)


def context(name: str) -> SerializationContext:
    """Return what Confluent's serializers want to know of a topic."""
    return SerializationContext(name, MessageField.VALUE)


def register_source(confluent: SchemaRegistryClient, version: int, name: str) -> int:
    """Register a version as its source, which imports another schema, and return its id."""
    confluent.register_schema(f"{name}-sources", Schema(MONEY, "PROTOBUF"))
    references = [SchemaReference(MONEY_FILE, f"{name}-sources", 1)] if version else []
    return confluent.register_schema(f"{name}-value", Schema(SOURCES[version], "PROTOBUF", references))


def physical(dtype: Any) -> pl.DataType:
    """Return a type with the numbers that times are."""
    if isinstance(dtype, pl.List):
        return pl.List(physical(dtype.inner))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: physical(field.dtype) for field in dtype.fields})
    return pl.Int64() if dtype.is_temporal() else dtype


def shown(frame: pl.DataFrame) -> dict[str, list[Any]]:
    """Return the columns, times in nanoseconds, in the order of the keys."""
    numbers = frame.sort("key").cast({name: physical(dtype) for name, dtype in frame.schema.items()})
    return numbers.to_dict(as_series=False)


@pytest.mark.slow
def test_a_hundred_thousand_orders_of_three_schemas(
    kafka: KafkaTopics, confluent: SchemaRegistryClient, guids: GuidRegistry, connect: Connect, topic: Any
) -> None:
    """Sources, descriptors, both wire formats and three messages in one topic equal Google's reading, row by row."""
    name = kafka.create_topic(topic(), partitions=2)
    chance = random.Random(11)  # noqa: S311 - test data
    serialize = serializer(confluent, 1, name)
    ids = [register_source(confluent, 0, name), 0, register_source(confluent, 2, name)]
    ids[1] = int.from_bytes(serialize(order(chance, 1), context(name))[1:5], "big")
    texts = [confluent.get_schema(number).schema_str for number in ids]
    assert ["message Order" in text for text in texts] == [True, False, True]  # descriptors are base64
    newest: dict[str, tuple[int, bytes] | None] = {}
    records: list[tuple[Any, ...]] = []
    for _ in range(ROWS):
        version, number = chance.randrange(3), chance.randrange(KEYS)
        key, partition = f"o-{number}", number % 2
        if chance.random() < TOMBSTONES:
            newest[key] = None
            records.append((key, None, partition))
            continue
        message = order(chance, version)
        body = message.SerializeToString()
        newest[key] = version, body
        if chance.random() < 0.5:
            headers = [(VALUE_HEADER, header_of(ids[version]) + INDEXES[version])]
            records.append((key, body, partition, None, headers))
        elif version == 1:
            records.append((key, serialize(message, context(name)), partition))
        else:
            records.append((key, id_ref(ids[version]) + INDEXES[version] + body, partition))
    kafka.produce(name, records)
    living = sorted((key, *told) for key, told in newest.items() if told is not None)
    expected = [{"key": key, **decoded(version, body)} for key, version, body in living]
    assert len(newest) > len(expected) > KEYS * 0.95
    for _ in range(2):  # from the topic, then from the store
        with connect(schema_registry={"url": guids.url}) as kt:
            table = kt.table(name)
            columns = shown(table.to_polars())
            assert table.errors().height == 0
            assert columns.keys() == expected[0].keys()
            for column, values in columns.items():
                assert values == [row[column] for row in expected], column


def test_what_is_put_is_read_by_confluents_deserializer(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """Rows go out as the message that the topic's last records were, and come back, here and elsewhere, as they were."""
    name = kafka.create_topic(topic(), partitions=3)
    chance = random.Random(12)  # noqa: S311 - test data
    serialize = serializer(confluent, 1, name)
    kafka.produce(name, [("o-0", serialize(order(chance, 1), context(name)))])
    messages = {f"o-{number}": order(chance, 1) for number in range(1, 201)}
    messages["o-200"].ClearField("at")  # what Python has of times ends with microseconds
    bodies = {key: message.SerializeToString() for key, message in messages.items()}
    with connect(schema_registry=registry.url, writable=True) as kt:
        table = kt.table(name)
        rows = pl.DataFrame(
            [{"key": key, **decoded(1, body, 1)} for key, body in bodies.items()],
            schema={column: physical(dtype) for column, dtype in table.to_polars().schema.items()},
            infer_schema_length=None,
        ).cast(dict(table.to_polars().schema))
        assert table.upsert(rows[:-1]).height == 199
        table.put(rows.row(-1, named=True))
        table.delete("o-0")
        assert shown(table.to_polars()) == shown(rows)
        assert table.errors().height == 0
    read = ProtobufDeserializer(CLASSES[1], {"use.deprecated.format": False}, confluent)
    written = {record.key.decode(): record.value for record in kafka.records(name) if record.key}
    assert written.pop("o-0") is None
    assert {key: read(value, context(name)) for key, value in written.items()} == messages


def test_a_row_is_put_under_a_source_that_imports_another(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """In an empty topic the first message of the newest schema is written, and read by its own class."""
    name = kafka.create_topic(topic())
    source = SOURCES[1].replace("message Trace {\n  string host = 1;\n}\n", "")
    register_source(confluent, 0, name)
    references = [SchemaReference(MONEY_FILE, f"{name}-sources", 1)]
    number = confluent.register_schema(f"{name}-value", Schema(source, "PROTOBUF", references))
    with connect(schema_registry=registry.url, writable=True) as kt:
        table = kt.table(name)
        row = {"key": "o-1", "status": "SENT", "units": 2**40, "total": {"currency": "EUR", "cents": -5}}
        table.put({**row, "labels": [{"key": "a", "value": 1}], "points": 0})
        found = table["o-1"]
        assert {column: found[column] for column in row} == row
        assert (found["points"], found["card"], found["lines"]) == (0, None, [])
    value = kafka.records(name)[0].value or b""
    assert value[:6] == id_ref(number) + b"\0"
    message = CLASSES[1].FromString(value[6:])
    assert (message.units, message.total.cents, dict(message.labels)) == (2**40, -5, {"a": 1})
    assert message.HasField("points")


def test_keys_of_confluents_serializer_are_read_and_deleted(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """Keys that are messages make rows of several key parts; a tombstone goes out with the bytes of the key."""
    name = kafka.create_topic(topic(), partitions=3)
    money = CLASSES[1].DESCRIPTOR.fields_by_name["total"].message_type
    key_class = message_factory.GetMessageClass(money)
    serialize = ProtobufSerializer(key_class, confluent)
    about = SerializationContext(name, MessageField.KEY)
    keys = [serialize(key_class(currency="EUR", cents=number % 50), about) for number in range(100)]
    kafka.produce(name, [(key, b'{"x": %d}' % number) for number, key in enumerate(keys)])
    with connect(schema_registry=registry.url, writable=True) as kt:
        table = kt.table(name)
        expected = {("EUR", number): 50 + number for number in range(50)}
        assert {key: table[key]["x"] for key in table.keys()} == expected  # noqa: SIM118 - a table is no dict
        assert table.errors().height == 0
        table.delete(("EUR", 7))
        table.put({"key": {"currency": "USD", "cents": 1}, "x": 1})
        assert set(table.keys()) == expected.keys() - {("EUR", 7)} | {("USD", 1)}
    last = {record.key: record.value for record in kafka.records(name)}
    assert last[keys[7]] is None
    assert serialize(key_class(currency="USD", cents=1), about) in last
