"""What producers of each format write, damage to it, and what Confluent's client and the reference libraries make of it.

No code of ktframe's is asked what a payload means.
"""

from __future__ import annotations

import io
import json
import random
import struct
import sys
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import fastavro
from confluent_kafka.schema_registry.serde import SchemaId
from confluent_kafka.serialization import SerializationError
from fastavro.validation import validate
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from ktframe.testing import FakeRegistry
from support import avro_orders, json_orders, proto_orders

Row = dict[str, Any]


class Reading(NamedTuple):
    """What a reference library makes of a record."""

    row: Row | None
    """Its row, times as numbers; None where it is none."""
    is_sure: bool = True
    """Whether the library would have written these bytes, so that a table has no reason to refuse them."""


NOTHING = Reading(None)


class Dialect(Protocol):
    """One format: what its producers write, and what its reference library reads."""

    kind: str
    texts: tuple[str, ...]
    """Versions of a schema; before them, if one is, the schema that they import."""
    imported: str | None
    """The name under which the later ones import the first."""

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return what stands behind the name of a schema, and a random body."""

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what the reference library makes of a body."""


# ------------------------------------------------------------------------------------------- damage


def mutated(data: bytes, chance: random.Random, most: int | None = None) -> bytes:
    """Return bytes of which some are flipped, put in, taken out, cut off or there twice, within the first ``most``."""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        at = chance.randrange(min(len(data), most or len(data)) + 1)
        to = min(at + chance.choice([1, 1, 2, 5, 40]), len(data))
        kind = chance.randrange(6)
        if kind == 0 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]
        elif kind == 1 and at < len(data):
            data = data[:at] + bytes([chance.choice([0, 1, 2, 0x7F, 0x80, 0xFF])]) + data[at + 1 :]
        elif kind == 2:
            data = data[:at] + chance.randbytes(to - at) + data[at:]
        elif kind == 3:
            data = data[:at] + data[to:]
        elif kind == 4 and chance.random() < 0.5:
            data = data[:at]
        else:
            data = data[:to] + data[at:to] + data[to:]
    return data


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is produced: ``header`` is the value of the one that names the schema of the value."""

    key: str
    header: bytes | None
    value: bytes

    @property
    def kept(self) -> tuple[bytes, bytes]:
        """What a table may keep of it: a header that names a schema is put before the value."""
        return self.value, (self.header or b"") + self.value


def good(dialect: Dialect, ids: list[int], chance: random.Random, key: str) -> tuple[Record, Row]:
    """Return a record in either wire format, and its row."""
    version = chance.randrange(dialect.imported is not None, len(dialect.texts))
    more, body = dialect.written(chance, version)
    if chance.random() < 0.5:
        record = Record(key, FakeRegistry.header(ids[version]) + more, body)
    else:
        record = Record(key, None, FakeRegistry.prefix(ids[version]) + more + body)
    row, is_sure = reference(dialect, ids, record)
    assert row is not None
    assert is_sure
    return record, row


def damaged(record: Record, chance: random.Random) -> Record:
    """Return the record with a damage, often where it says how to read it."""
    if record.header is None:
        most = 8 if chance.random() < 0.3 else None
        return Record(record.key, None, mutated(record.value, chance, most))
    if chance.random() < 0.1:
        return Record(record.key, record.header + record.value, record.value)
    if chance.random() < 0.3:
        return Record(record.key, mutated(record.header, chance), record.value)
    return Record(record.key, record.header, mutated(record.value, chance))


def reference(dialect: Dialect, ids: list[int], record: Record) -> Reading:
    """Return the row of a record as Confluent's client takes it apart and the reference library reads it."""
    schema = SchemaId(dialect.kind)
    header = record.header if record.header and record.header[0] == 1 else None
    stream = io.BytesIO(header or record.value)
    try:
        schema.from_bytes(stream)
    except (SerializationError, struct.error, ValueError, EOFError):
        return Reading(loaded(record.value), is_sure=False)  # nothing names a schema, or something half
    names: list[Any] = ids if schema.guid is None else [FakeRegistry.header(number)[1:] for number in ids]
    name = schema.id if schema.guid is None else schema.guid.bytes
    rest = stream.read()
    if name not in names:
        # A header that is too long is none.
        return NOTHING if header is None or not rest else Reading(loaded(record.value), is_sure=False)
    body = rest if header is None else record.value
    found = dialect.read(names.index(name), schema.message_indexes or [], body)
    return found if header is None or not rest else found._replace(is_sure=False)


def loaded(body: bytes) -> Row | None:
    """Return the object that JSON text is, None where it is none."""
    try:
        found = json.loads(body.decode(), parse_constant=_no_json)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_json(name: str) -> None:
    raise ValueError(name)


# ------------------------------------------------------------------------------------------- formats


class Avro:
    """Orders in three versions; fastavro reads them, without logical types, so that no date is beyond Python's."""

    kind = "AVRO"
    texts = tuple(json.dumps(version) for version in avro_orders.VERSIONS)
    imported = None

    def __init__(self) -> None:
        self._plain = [fastavro.parse_schema(_plain(version)) for version in avro_orders.VERSIONS]

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return a datum."""
        return b"", avro_orders.encoded(at, avro_orders.order(chance, at))

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what fastavro reads by the newest version, if it reads all; it is lenient where it could not write so."""
        del indexes
        stream, again, plain_schema = io.BytesIO(body), io.BytesIO(), self._plain[at]
        try:
            found: Any = fastavro.schemaless_reader(stream, plain_schema, self._plain[-1])
            written = fastavro.schemaless_reader(io.BytesIO(body), plain_schema, None)
            is_valid = validate(written, plain_schema, raise_errors=False)
            fastavro.schemaless_writer(again, plain_schema, written)
            order_id = str(UUID(found["order_id"]))
        except Exception:  # noqa: BLE001 - it raises whatever it stumbles over
            return NOTHING
        if stream.read(1):
            return NOTHING
        found["cost"] = Decimal(int.from_bytes(found["cost"], "big", signed=True)).scaleb(-2)
        is_sure = (
            is_valid
            and again.getvalue() == body
            and order_id == found["order_id"].lower()
            and 0 <= found["clock"] < 86_400_000
            and len(found["cost"].as_tuple().digits) <= 12
        )
        found |= {"order_id": order_id, "clock": found["clock"] * 1_000_000}
        found["labels"] = [{"key": key, "value": value} for key, value in found["labels"].items()]
        return Reading(found, is_sure)


def _plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {name: _plain(part) for name, part in schema.items() if name != "logicalType"}
    return [_plain(part) for part in schema] if isinstance(schema, list) else schema


class Protobuf:
    """Orders in three versions at different places of their files; Google's library reads them."""

    kind = "PROTOBUF"
    texts = (proto_orders.MONEY, *proto_orders.SOURCES)
    imported = proto_orders.MONEY_FILE

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return the message indexes, and a message."""
        return proto_orders.INDEXES[at - 1], proto_orders.encoded(chance, at - 1)

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what Google's library reads; of what are no orders all is accepted that goes with the columns."""
        try:
            row = proto_orders.decoded_as(at - 1 if at else None, indexes, body)
        except (DecodeError, ValueError, LookupError):
            return NOTHING
        return Reading(row, is_sure=indexes == ORDERS[at])


ORDERS = ([0], [0], [1], [1, 1])
"""The message indexes of the money, and of each version."""


class Json:
    """Orders in two versions; the standard library reads them."""

    kind = "JSON"
    texts = tuple(json.dumps(each) for each in (json_orders.MONEY, *json_orders.VERSIONS))
    imported = json_orders.MONEY_NAME

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return a text."""
        return b"", json_orders.encoded(chance, at - 1)

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what json.loads reads; fields that no order has may be of a kind that others are not."""
        del at, indexes
        found = loaded(body)
        if found is None:
            return NOTHING
        return Reading(found, is_sure=_fits(found, json_orders.SHAPE) and not _repeats(body))


def _repeats(body: bytes) -> bool:
    """Say whether a field is there twice: json.loads shows the last one, whatever stands in the others."""
    counts: list[int] = []
    json.loads(body, object_pairs_hook=lambda pairs: counts.append(len(pairs) - len(dict(pairs))))
    return any(counts)


def _fits(value: Any, shape: Any) -> bool:
    """Say whether a value is of the types that its columns have, and has no others."""
    if value is None:
        return True
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            name in shape and _fits(each, shape[name]) for name, each in value.items()
        )
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if shape is float:
        return type(value) in {int, float} and abs(value) <= (
            2**53 if type(value) is int else sys.float_info.max
        )
    if shape is int:
        return type(value) is int and -(2**63) <= value < 2**63
    return type(value) is shape and not any("\ud800" <= char <= "\udfff" for char in str(value))


# ---------------------------------------------------------------------------------------------- keys


class AvroKeys:
    """Keys in Avro; fastavro reads them."""

    kind = "AVRO"
    imported = None
    fields = (("region", "string"), ("id", "long"))
    texts = (
        json.dumps(
            {
                "type": "record",
                "name": "Key",
                "fields": [{"name": name, "type": kind} for name, kind in fields],
            }
        ),
    )

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return a datum."""
        stream = io.BytesIO()
        fastavro.schemaless_writer(stream, json.loads(self.texts[at]), key_of(chance))
        return b"", stream.getvalue()

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what fastavro reads, if it would write it so."""
        del indexes
        stream, again, schema = io.BytesIO(body), io.BytesIO(), json.loads(self.texts[at])
        try:
            found: Any = fastavro.schemaless_reader(stream, schema, None)
            fastavro.schemaless_writer(again, schema, found)
        except Exception:  # noqa: BLE001 - it raises whatever it stumbles over
            return NOTHING
        return NOTHING if stream.read(1) else Reading(found, again.getvalue() == body)


class ProtobufKeys:
    """Keys in Protobuf; Google's library reads them."""

    kind = "PROTOBUF"
    imported = None
    texts = ('syntax = "proto3"; message Key { string region = 1; int64 id = 2; }',)

    def __init__(self) -> None:
        file = descriptor_pb2.FileDescriptorProto(name="key.proto", syntax="proto3")
        message = file.message_type.add(name="Key")
        message.field.add(name="region", number=1, type=9, label=1)
        message.field.add(name="id", number=2, type=3, label=1)
        pool = descriptor_pool.DescriptorPool()
        pool.Add(file)
        self._class: Any = message_factory.GetMessageClass(pool.FindMessageTypeByName("Key"))

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return the message indexes, and a message."""
        del at
        return b"\0", self._class(**key_of(chance)).SerializeToString()

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what Google's library reads."""
        del at
        if indexes != [0]:
            return NOTHING
        try:
            found = self._class.FromString(body)
        except DecodeError:
            return NOTHING
        return Reading({"region": found.region, "id": found.id})


class JsonKeys:
    """Keys in JSON; the standard library reads them."""

    kind = "JSON"
    imported = None
    texts = ('{"type": "object", "properties": {"region": {"type": "string"}, "id": {"type": "integer"}}}',)

    def written(self, chance: random.Random, at: int) -> tuple[bytes, bytes]:
        """Return a text."""
        del at
        return b"", json.dumps(key_of(chance)).encode()

    def read(self, at: int, indexes: list[int], body: bytes) -> Reading:
        """Return what json.loads reads."""
        del at, indexes
        found = loaded(body)
        if found is None:
            return NOTHING
        is_sure = found.keys() == {"region", "id"} and _fits(found, {"region": str, "id": int})
        return Reading(found, is_sure and not _repeats(body))


def key_of(chance: random.Random) -> Row:
    """Return one of a thousand keys."""
    return {"region": chance.choice(["", "EU", "grün", "US" * 40]), "id": chance.randrange(-125, 125) ** 3}
