"""Fields that producers encrypt are named so in every frame, and never stand where a value would."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka.schema_registry.confluent import meta_pb2
from confluent_kafka.schema_registry.error import SchemaRegistryError
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from support.encryption import EncryptingProducer, as_text, avro_schema, encrypt_rule

from ktframe.context.context import Context
from ktframe.errors import RegistryError, SchemaError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.protobuf import ProtobufReader
from ktframe.formats.protobuf.proto_parser import parsed_source
from ktframe.formats.rules import NO_RULES, rules_of
from ktframe.kafka.registry import RegistryClient
from ktframe.testing import FakeBroker, FakeRegistry

ADDRESS = avro_schema("Address", {"zip": "string", "city": "string"})
FIELDS = {
    "name": "string",
    "ssn": ["null", "string"],
    "photo": "bytes",
    "phones": {"type": "array", "items": "string"},
    "address": ADDRESS,
    "age": "int",
}
TAGS = {"ssn": ["PII"], "photo": ["PII", "IMAGE"], "phones": ["PII"], "age": ["AGE"]}
CUSTOMER = as_text(avro_schema("Customer", FIELDS, TAGS))
CUSTOMER_JSON = as_text(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "ssn": {"oneOf": [{"type": "null"}, {"type": "string"}], "confluent:tags": ["PII"]},
            "phones": {"type": "array", "items": {"type": "string"}, "confluent:tags": ["PII"]},
            "address": {"$ref": "#/definitions/address"},
            "age": {"type": "integer", "confluent:tags": ["AGE"]},
        },
        "definitions": {
            "address": {
                "type": "object",
                "properties": {"zip": {"type": "string"}, "city": {"type": "string"}},
            }
        },
    }
)
CUSTOMER_PROTO = """
syntax = "proto3";
package shop;
import "confluent/meta.proto";
message Customer {
  string name = 1;
  optional string ssn = 2 [(confluent.field_meta).tags = "PII"];
  bytes photo = 3 [(confluent.field_meta) = { doc: "tags: \\"x\\"", tags: ["PII", "IMAGE"] }];
  repeated string phones = 4 [(confluent.field_meta) = { tags: "PII" }, deprecated = true];
  Address address = 5;
  int32 age = 6 [(.confluent.field_meta).tags = "AGE"];
}
message Address { string zip = 1; string city = 2; }
"""
ANN: dict[str, Any] = {
    "name": "Ann",
    "ssn": "123-45",
    "photo": b"picture",
    "phones": ["1", "2"],
    "address": {"zip": "99999", "city": "Rome"},
    "age": 41,
}
BOB = {**ANN, "name": "Bob", "ssn": None}
ZIPS = {"**.zip": ["PII"]}
PLAIN = {"123-45", b"picture", "1", "2", "99999"}


@pytest.fixture
def broker() -> FakeBroker:
    """Return a cluster."""
    return FakeBroker()


@pytest.fixture
def producer() -> EncryptingProducer:
    """Return a producer with a registry of its own."""
    return EncryptingProducer()


def leaves(value: Any) -> list[Any]:
    """Return all values in dicts and lists."""
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [leaf for inner in value for leaf in leaves(inner)] if isinstance(value, list) else [value]


def customers(kind: str, producer: EncryptingProducer, broker: FakeBroker, *, rule: bool = True) -> list[str]:
    """Register the schema of customers and write Ann and Bob under it; return the columns that are expected."""
    # Confluent's serializer asks for a Protobuf schema in serialized form, which the registry in memory can't make.
    text = {"AVRO": CUSTOMER, "JSON": CUSTOMER_JSON, "PROTOBUF": serialized(CUSTOMER_PROTO)}[kind]
    rules = [encrypt_rule("PII")] if rule else None
    producer.register("customers-value", text, kind, rules=rules, tags=ZIPS)
    has_photo = kind != "JSON"
    for row in (ANN, BOB):
        fields = {name: value for name, value in row.items() if name != "photo" or has_photo}
        message = None
        value: Any = json.loads(json.dumps(fields)) if kind == "JSON" else fields
        if kind == "PROTOBUF":
            message = customer_message()
            value = message(**{name: part for name, part in fields.items() if part is not None})
        payload = producer.serialized("customers", kind, value, message=message)
        broker.produce("customers", row["name"], payload)
    marked = ["ssn (encrypted)", *(["photo (encrypted)"] if has_photo else []), "phones (encrypted)"]
    return ["key", "name", *marked, "address", "age"]


def serialized(source: str) -> str:
    """Return a Protobuf schema in the form of ``?format=serialized``."""
    return base64.b64encode(parsed_source(source).SerializeToString()).decode()


def customer_message() -> Any:
    """Return the class of the Protobuf message, made of the same source, with the options that Confluent's library knows."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(descriptor_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(meta_pb2.DESCRIPTOR.serialized_pb)
    file = parsed_source(CUSTOMER_PROTO)
    file.name = "customer.proto"
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Customer"))


@pytest.mark.parametrize("kind", ["AVRO", "JSON", "PROTOBUF"])
def test_columns_of_encrypted_fields_say_so(
    kind: str, producer: EncryptingProducer, broker: FakeBroker
) -> None:
    """Fields with the tag of an ENCRYPT rule stay in their places, as sent, and say that they are encrypted; nulls too."""
    expected = customers(kind, producer, broker)
    with broker.connect(registry=producer.registry) as kt:
        table = kt.table("customers")
        frame = table.to_polars()
        assert frame.columns == expected
        assert frame.schema["address"] == pl.Struct({"zip (encrypted)": pl.String, "city": pl.String})
        rows = {row["key"]: row for row in frame.to_dicts()}
        assert rows["Bob"]["ssn (encrypted)"] is None
        ann = rows["Ann"]
        assert (ann["name"], ann["age"], ann["address"]["city"]) == ("Ann", 41, "Rome")
        assert len(ann["phones (encrypted)"]) == 2
        assert PLAIN.isdisjoint(leaves(ann))
        for text in (ann["ssn (encrypted)"], ann["address"]["zip (encrypted)"], *ann["phones (encrypted)"]):
            assert len(base64.b64decode(text, validate=True)) > 12
        assert table.get("Ann") == {name: value for name, value in ann.items() if name != "key"} | {
            "key": "Ann"
        }
        assert "encrypted by the producer: address.zip, phones, " in repr(table)
        assert "ssn (encrypted)" in table._repr_html_()
        assert "ssn (encrypted)" in kt.stream("customers").to_polars().columns
        found = kt.inspect("customers")
        assert "tags: ssn (encrypted) (PII)" in repr(found)
    tags = {column: names for column, names in found.columns.select("column", "tags").rows() if names}
    photo = {} if kind == "JSON" else {"photo (encrypted)": ["IMAGE", "PII"]}
    assert tags == {
        "ssn (encrypted)": ["PII"],
        **photo,
        "phones (encrypted)": ["PII"],
        "address": ["zip: PII"],
        "age": ["AGE"],
    }


@pytest.mark.parametrize("kind", ["AVRO", "JSON", "PROTOBUF"])
def test_without_the_rule_the_fields_are_plain(
    kind: str, producer: EncryptingProducer, broker: FakeBroker
) -> None:
    """Records under a version of the schema without the rule have values, beside those that are encrypted."""
    customers(kind, producer, broker, rule=False)
    with broker.connect(registry=producer.registry) as kt:
        table = kt.table("customers")
        assert "PII" in str(kt.inspect("customers").columns["tags"].to_list())
        before = table.to_polars()
        assert before.select("key", "ssn").sort("key").rows() == [("Ann", "123-45"), ("Bob", None)]
        encrypted = customers(kind, producer, broker)
        frame = kt.stream("customers").to_polars()
        assert frame["ssn"].to_list() == ["123-45", None, None, None]
        assert frame["ssn (encrypted)"].is_not_null().to_list() == [False, False, True, False]
        assert frame["address"].struct.field("zip").to_list()[2:] == [None, None]
        assert set(encrypted) - {"key"} < set(frame.columns)
        assert table.to_polars()["ssn"].is_null().all()


@pytest.mark.parametrize("kind", ["AVRO", "JSON", "PROTOBUF"])
def test_the_store_keeps_what_is_encrypted(
    kind: str, producer: EncryptingProducer, broker: FakeBroker, tmp_path: Path
) -> None:
    """Rows that are read again while the registry is away are shown as before; no parameter of a rule is kept."""
    columns = customers(kind, producer, broker)
    with broker.connect(tmp_path, registry=producer.registry) as kt:
        frame = kt.table("customers").to_polars()
    away = FakeRegistry()
    away.go_down()
    with broker.connect(tmp_path, registry=away) as kt:
        again = kt.table("customers").to_polars()
        assert again.columns == columns
        assert again.sort("key").equals(frame.sort("key"))
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*.sst"))
    assert b"local-kms" not in stored


def test_old_entries_without_rules_are_read() -> None:
    """A schema that a store kept before there were rules has none; one with rules comes back with them."""
    plain = SchemaDocument("AVRO", '"string"')
    assert plain.as_json() == {"kind": "AVRO", "text": '"string"', "references": []}
    assert SchemaDocument.from_json(plain.as_json()).rules == NO_RULES
    rules = rules_of(
        {"domainRules": [{"name": "a", "type": "ENCRYPT", "tags": ["B", "A"]}]}, {"tags": {"**.x": ["A"]}}
    )
    ruled = SchemaDocument("AVRO", '"string"', rules=rules)
    assert SchemaDocument.from_json(json.loads(json.dumps(ruled.as_json()))) == ruled


def test_defaults_do_not_stand_for_ciphertext(broker: FakeBroker) -> None:
    """A plain default is shown neither where a field is encrypted nor in its place."""
    registry = FakeRegistry()
    plain = avro_schema("Row", {"a": "string"})
    plain["fields"][0] |= {"default": "none"}
    lacking = avro_schema("Row", {"b": "int"})
    lacking["fields"][0] |= {"default": 0}
    rule = {"domainRules": [{"name": "all", "type": "ENCRYPT"}]}
    numbers = [
        registry.register("t-value", as_text(plain)),
        registry.register("t-value", as_text(plain), rule_set=rule),
        registry.register("t-value", as_text(lacking)),
    ]
    for number, body in zip(numbers, [b"\x02x", b"\x02y", b"\x04"], strict=True):
        broker.produce("t", str(number), registry.prefix(number) + body)
    with broker.connect(registry=registry) as kt:
        frame = kt.table("t").to_polars().sort("key")
    assert frame.select("a", "a (encrypted)", "b").rows() == [
        ("x", None, 0),
        (None, "y", 0),
        ("none", None, 2),
    ]


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ({"type": "ENCRYPT", "tags": ["PII"]}, "a (encrypted)"),
        ({"type": "ENCRYPT"}, "a (encrypted)"),
        ({"type": "ENCRYPT", "tags": []}, "a (encrypted)"),
        ({"type": "ENCRYPT", "tags": ["OTHER", "PII"]}, "a (encrypted)"),
        ({"type": "ENCRYPT", "tags": ["PII"], "mode": "WRITE"}, "a (encrypted)"),
        ({"type": "ENCRYPT", "tags": ["OTHER"]}, "a"),
        ({"type": "ENCRYPT", "tags": ["PII"], "disabled": True}, "a"),
        ({"type": "CEL_FIELD", "tags": ["PII"]}, "a"),
    ],
)
def test_which_rules_encrypt(broker: FakeBroker, rule: dict[str, Any], column: str) -> None:
    """A rule of type ENCRYPT that is not disabled encrypts the fields with one of its tags, or all if it has none."""
    registry = FakeRegistry()
    text = as_text(avro_schema("Row", {"a": "string"}, {"a": ["PII"]}))
    number = registry.register("t-value", text, rule_set={"domainRules": [{"name": "r", **rule}]})
    broker.produce("t", "k", registry.prefix(number) + b"\x02x")
    with broker.connect(registry=registry) as kt:
        assert kt.table("t").to_polars().columns == ["key", column]


def test_a_column_that_holds_encrypted_fields_as_text_is_named_so(broker: FakeBroker) -> None:
    """A record that contains itself is JSON text: the whole column says that it holds what is encrypted."""
    registry = FakeRegistry()
    node = avro_schema("Node", {"name": "string", "next": ["null", "Node"]}, {"name": ["PII"]})
    rule = {"domainRules": [{"name": "r", "type": "ENCRYPT", "tags": ["PII"]}]}
    number = registry.register("t-value", as_text(node), rule_set=rule)
    broker.produce("t", "k", registry.prefix(number) + b"\x02x\x02\x02y\x00")
    with broker.connect(registry=registry) as kt:
        assert kt.table("t").to_polars().columns == ["key", "name (encrypted)", "next (encrypted)"]


def test_json_objects_in_themselves_are_named_so_as_a_whole(broker: FakeBroker) -> None:
    """Of an object that contains itself the inner one is a column as a whole; what has not come yet adds no column."""
    registry = FakeRegistry()
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "confluent:tags": ["PII"]},
            "next": {"$ref": "#"},
            "more": {"type": "object", "properties": {"x": {"type": "string", "confluent:tags": ["PII"]}}},
        },
    }
    rule = {"domainRules": [{"name": "r", "type": "ENCRYPT", "tags": ["PII"]}]}
    number = registry.register("t-value", as_text(schema), "JSON", rule_set=rule)
    values = [
        {"name": "x", "next": {"name": "y", "next": {"name": "z"}}, "more": None},
        {"name": "x", "more": {"y": 1}, "n": 2},
    ]
    for at, value in enumerate(values):
        broker.produce("t", str(at), registry.prefix(number) + json.dumps(value).encode())
    with broker.connect(registry=registry) as kt:
        frame = kt.table("t").to_polars()
    assert [name for name in frame.columns if "encrypted" in name] == ["name (encrypted)", "next (encrypted)"]
    assert "more" in frame.columns
    assert frame.sort("key")["n"].to_list() == [None, 2]


# ------------------------------------------------------------------------------------------- whole payloads, keys


def test_payloads_that_are_encrypted_as_a_whole_are_refused(
    producer: EncryptingProducer, broker: FakeBroker
) -> None:
    """Nothing in them can be read: the reason says so, and following it gives the bytes."""
    text = as_text(avro_schema("Row", {"a": "string"}))
    producer.register("t-value", text, encoding_rules=[encrypt_rule(kind="ENCRYPT_PAYLOAD")])
    payload = producer.serialized("t", "AVRO", {"a": "secret"})
    assert b"secret" not in payload
    broker.produce("t", "k", payload)
    with broker.connect(registry=producer.registry, on_refused="ignore") as kt:
        table = kt.table("t")
        (reason,) = table.errors()["reason"].to_list()
        assert "its payloads are encrypted as a whole, by the rule 'encryptPII': value='bytes'" in reason
        assert kt.table("t", value="bytes").to_polars().rows() == [("k", payload)]


def test_encrypted_fields_of_keys_are_named_so(broker: FakeBroker) -> None:
    """A key is known by the schema that it names, as a value is."""
    registry = FakeRegistry()
    key = as_text(avro_schema("Key", {"id": "string", "n": "int"}, {"id": ["PII"]}))
    rule = {"domainRules": [{"name": "r", "type": "ENCRYPT", "tags": ["PII"]}]}
    number = registry.register("t-key", key, rule_set=rule)
    broker.produce("t", registry.prefix(number) + b"\x02x\x02", {"a": 1})
    with broker.connect(registry=registry) as kt:
        assert "id (encrypted)" in str(kt.table("t").to_polars().schema)


# ------------------------------------------------------------------------------------------- writing


@pytest.fixture
def writable(broker: FakeBroker, producer: EncryptingProducer) -> Context:
    """Return a connection that writes."""
    return broker.connect(registry=producer.registry, writable=True)


@pytest.mark.parametrize("kind", ["ENCRYPT", "ENCRYPT_PAYLOAD"])
def test_nothing_is_written_in_plain_text_where_a_rule_encrypts(
    writable: Context, broker: FakeBroker, producer: EncryptingProducer, kind: str
) -> None:
    """Under a schema with such a rule put and publish raise, and the topic stays as it is."""
    text = as_text(avro_schema("Row", {"a": "string"}, {"a": ["PII"]}))
    rule = encrypt_rule(*(["PII"] if kind == "ENCRYPT" else []), kind=kind)
    rules = {"rules": [rule]} if kind == "ENCRYPT" else {"encoding_rules": [rule]}
    producer.register("t-value", text, **rules)
    broker.create_topic("t")
    table = writable.table("t")
    for write in (
        lambda: table.put({"key": "k", "a": "x"}),
        lambda: writable.publish("t", [{"key": "k", "a": "x"}], key="key"),
    ):
        with pytest.raises(
            SchemaError, match=r"must be encrypted \(rule 'encryptPII'\), which ktframe can't"
        ) as caught:
            write()
        assert "under a schema without the rule" in str(caught.value)
    assert broker.end_offsets("t", [0]) == {0: 0}
    producer.register("t-value", as_text(avro_schema("Row", {"a": "string", "b": ["null", "int"]})))
    writable.publish("t", [{"key": "k", "a": "x", "b": 1}], key="key")
    assert writable.table("t").to_polars().rows() == [("k", "x", 1)]
    writable.close()


# ------------------------------------------------------------------------------------------- Protobuf's options


def test_tags_of_a_protobuf_schema_in_either_form() -> None:
    """The same tags are found in source text and in serialized form, with and without the file that defines the option."""
    found = [
        {
            fact.path: fact.tags
            for fact in ProtobufReader(SchemaDocument("PROTOBUF", text), (0,)).fields()
            if fact.tags
        }
        for text in (
            CUSTOMER_PROTO,
            serialized(CUSTOMER_PROTO),
            CUSTOMER_PROTO.replace('import "confluent/meta.proto";', ""),
        )
    ]
    expected = {
        ("ssn",): {"PII"},
        ("photo",): {"PII", "IMAGE"},
        ("phones",): {"PII"},
        ("age",): {"AGE"},
    }
    assert found == [expected] * 3


# ------------------------------------------------------------------------------------------- the registry's client


class _Karapace:
    """Answers as Karapace does: it has no serialized form of a Protobuf schema."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.status = 500

    def get_schema(self, number: int, fmt: str | None = None) -> Any:
        if fmt is not None:
            raise SchemaRegistryError(self.status, self.status, "Internal server error")
        return self._client.get_schema(number)

    def clear_caches(self) -> None:
        self._client.clear_caches()


def test_a_registry_without_the_serialized_form_gives_the_text(producer: EncryptingProducer) -> None:
    """An error for ``format=serialized`` leaves the text, which was fetched before; a refused login stays an error."""
    number = producer.register("t-value", CUSTOMER_PROTO, "PROTOBUF", rules=[encrypt_rule("PII")])
    karapace = _Karapace(producer.client)
    client = RegistryClient({"url": "mock://"}, 5.0, client=karapace)
    document = client.fetch(FakeRegistry.prefix(number))
    assert (document.kind, document.text) == ("PROTOBUF", CUSTOMER_PROTO)
    assert document.rules.encrypts({"PII"})
    karapace.status = 401
    with pytest.raises(RegistryError):
        client.fetch(FakeRegistry.prefix(number))
