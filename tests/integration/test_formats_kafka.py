"""Topics of Avro, Protobuf and JSON Schema on a real broker, their schemas in a real registry."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from support.avro_orders import VERSIONS, decoded, encoded, order
from support.guid_registry import GuidRegistry, header_of
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.schema_registry import SchemaRegistry

import ktframe
from ktframe.context.context import Context
from ktframe.formats.wire import VALUE_HEADER, id_ref

Connect = Callable[..., Context]
ROWS = 100_000
KEYS = 20_000


@pytest.mark.slow
def test_a_hundred_thousand_avro_orders_of_three_schemas(
    kafka: KafkaTopics, confluent: SchemaRegistryClient, guids: GuidRegistry, connect: Connect, topic: Any
) -> None:
    """Both wire formats and three versions mixed in one topic equal fastavro's reading by the newest, row by row."""
    name = kafka.create_topic(topic(), partitions=2)
    ids = [confluent.register_schema(f"{name}-value", Schema(json.dumps(version))) for version in VERSIONS]
    chance = random.Random(7)  # noqa: S311 - test data
    newest: dict[str, tuple[int, bytes]] = {}
    records = []
    for _ in range(ROWS):
        version, key = chance.randrange(3), f"o-{chance.randrange(KEYS)}"
        datum = encoded(version, order(chance, version))
        newest[key] = version, datum
        partition = hash(key) % 2
        if chance.random() < 0.5:
            headers = [(VALUE_HEADER, header_of(ids[version]))]
            records.append((key, datum, partition, None, headers))
        else:
            records.append((key, id_ref(ids[version]) + datum, partition, None, None))
    kafka.produce(name, records)
    expected = [
        {"key": key, **decoded(version, datum, 2)} for key, (version, datum) in sorted(newest.items())
    ]
    for _ in range(2):  # from the topic, then from the store
        with connect(schema_registry={"url": guids.url}) as kt:
            table = kt.table(name)
            frame = table.to_polars().sort("key")
            assert table.errors().height == 0
            assert set(frame.columns) == set(expected[0])
            for column in frame.columns:
                assert frame[column].to_list() == [row[column] for row in expected], column


def test_what_confluents_own_serializers_write_is_read(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """Keys and values of Confluent's Avro and JSON Schema serializers, with nothing said but the registry's address."""
    avro, jsons = kafka.create_topic(topic("avro")), kafka.create_topic(topic("json"))
    key_schema = json.dumps({"type": "record", "name": "Key", "fields": [{"name": "id", "type": "int"}]})
    key_serializer = AvroSerializer(confluent, key_schema)
    serializer = AvroSerializer(confluent, json.dumps(VERSIONS[1]))
    chance = random.Random(3)  # noqa: S311 - test data
    values = [order(chance, 1) for _ in range(50)]
    records = [
        (
            key_serializer({"id": number}, SerializationContext(avro, MessageField.KEY)),
            serializer(value, SerializationContext(avro, MessageField.VALUE)),
        )
        for number, value in enumerate(values)
    ]
    kafka.produce(avro, records)
    text = json.dumps(
        {"title": "T", "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}}
    )
    to_json = JSONSerializer(text, confluent)
    context = SerializationContext(jsons, MessageField.VALUE)
    kafka.produce(jsons, [(b"k", to_json({"a": 1, "b": "x"}, context))])
    kt = connect(schema_registry=registry.url)
    table = kt.table(avro)
    found = table.to_polars().sort(pl.col("key").struct.field("id"))
    assert [row["id"] for row in found["key"]] == list(range(50))
    assert found["cost"].to_list() == [value["cost"] for value in values]
    assert table[7]["currency"] == values[7]["currency"]
    assert "keys: avro (id" in repr(table)
    assert kt.table(jsons).to_polars().rows() == [("k", 1, "x")]


def test_what_is_put_is_read_by_confluents_deserializer(
    kafka: KafkaTopics,
    confluent: SchemaRegistryClient,
    registry: SchemaRegistry,
    connect: Connect,
    topic: Any,
) -> None:
    """A row goes out under the registered schema and comes back, here and elsewhere, as it was."""
    name = kafka.create_topic(topic(), partitions=3)
    confluent.register_schema(f"{name}-value", Schema(json.dumps(VERSIONS[1])))
    kt = connect(schema_registry=registry.url, writable=True)
    table = kt.table(name)
    chance = random.Random(5)  # noqa: S311 - test data
    rows = pl.DataFrame(
        [{"key": f"o-{at}", **decoded(1, encoded(1, order(chance, 1)), 1)} for at in range(200)]
    )
    assert table.upsert(rows).height == 200
    shown = table.to_polars()
    assert shown.sort("key").select(rows.columns).equals(rows.sort("key").cast(dict(shown.schema)))
    read = AvroDeserializer(confluent)
    context = SerializationContext(name, MessageField.VALUE)
    back = {record.key: read(record.value, context) for record in kafka.records(name)}
    assert {key.decode() for key in back if key} == set(rows["key"])
    assert all(back[row["key"].encode()]["cost"] == row["cost"] for row in rows.iter_rows(named=True))
    again = table.upsert(shown.head(50))
    before = {record.key: record.partition for record in kafka.records(name)}
    assert [before[key] for key in again["key"]] == again["partition"].to_list()


def test_an_avro_table_behind_scram(
    broker: KafkaBroker, confluent: SchemaRegistryClient, topic: Any, tmp_path: Path
) -> None:
    """Two settings and a login: SASL on the brokers, basic auth on the registry; nothing can be written."""
    name = broker.create_topic(topic())
    broker.grant_read(broker.scram_user, name)
    with SchemaRegistry(guarded=True) as guarded:
        writer = SchemaRegistryClient({**guarded.settings("writer"), "timeout": 10})
        number = writer.register_schema(f"{name}-value", Schema(json.dumps(VERSIONS[0])))
        writer.close()
        value = order(random.Random(1), 0)  # noqa: S311 - test data
        broker.produce(name, [(b"o-1", id_ref(number) + encoded(0, value))])
        with ktframe.connect(
            broker.scram_settings(), schema_registry=guarded.settings("reader"), state_dir=tmp_path
        ) as kt:
            table = kt.table(name)
            assert table["o-1"]["cost"] == value["cost"]
            assert guarded.passwords["reader"] not in repr(kt.settings)
            for write in (lambda: table.put(table["o-1"]), lambda: table.delete("o-1")):
                with pytest.raises(ktframe.NotWritableError):
                    write()
        with ktframe.connect(
            broker.scram_settings(),
            schema_registry=guarded.settings("reader"),
            state_dir=tmp_path,
            writable=True,
        ) as kt:
            table = kt.table(name)
            with pytest.raises(ktframe.WriteError, match="0 of 1 records were written") as caught:
                table.put(table["o-1"])
            assert isinstance(caught.value.__cause__, ktframe.AuthorizationError)
            assert "write" in str(caught.value.__cause__)


def test_a_store_opens_while_the_registry_is_down(kafka: KafkaTopics, connect: Connect, topic: Any) -> None:
    """What was read before needs no registry; what names a new schema waits for it and is then there."""
    name = kafka.create_topic(topic())
    with SchemaRegistry() as own:
        client = SchemaRegistryClient({**own.settings(), "timeout": 10})
        ids = [client.register_schema(f"{name}-value", Schema(json.dumps(each))) for each in VERSIONS[:2]]
        chance = random.Random(2)  # noqa: S311 - test data
        values = [order(chance, version) for version in (0, 1)]
        data = [id_ref(ids[version]) + encoded(version, values[version]) for version in (0, 1)]
        kafka.produce(name, [(b"o-1", data[0])])
        with connect(schema_registry=own.url) as kt:
            assert kt.table(name)["o-1"]["units"] == values[0]["units"]
        own.stop()
        retry = {"attempts": 2, "initial_delay": 0.05, "max_delay": 0.1, "jitter": 0.0}
        with connect(schema_registry=own.url, retry=retry, request_timeout=1) as kt:
            table = kt.table(name)
            assert table["o-1"]["units"] == values[0]["units"]
            kafka.produce(name, [(b"o-2", data[1])])
            with pytest.raises(ktframe.RegistryError, match="can't be asked"):
                table.to_polars()
            assert table.get("o-1", fresh=False)["units"] == values[0]["units"]
            own.start()
            assert table["o-2"]["currency"] == values[1]["currency"]
            assert table["o-1"]["currency"] == "EUR"
            assert table.errors().height == 0
        client.close()
