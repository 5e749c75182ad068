"""How payloads refer to their schemas, and how often the registry is asked for them."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from ktframe.errors import RegistryError
from ktframe.fold.records import RecordBatch
from ktframe.fold.schema_names import with_schema_names
from ktframe.formats.base import UNREADABLE_HEADERS
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.schemas import TopicSchemas, UnknownSchemaError
from ktframe.formats.wire import (
    VALUE_HEADER,
    describe_ref,
    guid_of,
    id_ref,
    schema_id_of,
    schema_ref_of,
    with_header_ref,
)
from ktframe.store.memory import MemoryStore
from ktframe.store.schemas import stored_schemas

GUID = uuid.UUID("89791762-2336-186f-9674-299b90a802e2")
LONG = SchemaDocument("AVRO", '"long"')


@pytest.mark.parametrize(
    ("payload", "schema_ref"),
    [
        (b"\0\0\0\0\x11abc", b"\0\0\0\0\x11"),
        (b"\0\0\0\0\x11", b"\0\0\0\0\x11"),
        (b"\0\0\0\0", b""),
        (b"", b""),
        (b"\0\0\0\0\0\0\0\x2a", b""),
        (b"\1" + GUID.bytes + b"abc", b"\1" + GUID.bytes),
        (b"\1" + GUID.bytes[:-1], b""),
        (b'{"a":1}', b""),
    ],
)
def test_a_payload_names_its_schema_by_its_first_bytes(payload: bytes, schema_ref: bytes) -> None:
    """Only Confluent's two formats are a reference to a schema; a small number in eight bytes is not."""
    assert schema_ref_of(payload) == schema_ref


def test_references_are_described_for_people() -> None:
    """An id is a number, a GUID is text in its usual form."""
    assert (schema_id_of(id_ref(17)), describe_ref(id_ref(17))) == (17, "schema id 17")
    schema_ref = b"\1" + GUID.bytes
    assert (schema_id_of(schema_ref), guid_of(schema_ref)) == (None, str(GUID))
    assert describe_ref(schema_ref) == f"schema GUID {GUID}"


def test_a_header_is_put_before_the_payload() -> None:
    """The GUID in the right header becomes part of the payload; a tombstone, and other headers, change nothing."""
    schema_ref = b"\1" + GUID.bytes
    assert with_header_ref(b"x", [("a", b"b"), (VALUE_HEADER, schema_ref)], VALUE_HEADER) == schema_ref + b"x"
    assert (
        with_header_ref(b"x", [(VALUE_HEADER, schema_ref + b"\4\2\0")], VALUE_HEADER)
        == schema_ref + b"\4\2\0x"
    )
    assert with_header_ref(None, [(VALUE_HEADER, schema_ref)], VALUE_HEADER) is None
    for headers in (None, [], [("a", b"b")], [(VALUE_HEADER, None)], [(VALUE_HEADER, b"odd")]):
        assert with_header_ref(b"x", headers, VALUE_HEADER) == b"x"


@pytest.mark.parametrize("rest", [b"\1", b"\0\0", b"\2\2x", b"\xff" * 12])
def test_a_header_of_another_length_names_nothing(rest: bytes) -> None:
    """A header with a cut-off GUID, or with more than message indexes after it, is not put before the payload."""
    schema_ref = b"\1" + GUID.bytes
    for header in (schema_ref[:-1], schema_ref + rest):
        assert with_header_ref(b"x", [(VALUE_HEADER, header)], VALUE_HEADER) == b"x"


def test_other_headers_leave_a_batch_as_it_is() -> None:
    """Only where a record somewhere has one of the two headers are payloads looked at, and only those that it may name."""
    count = 5_000
    batch = RecordBatch(
        partitions=[0] * count,
        offsets=range(count),
        timestamps=[0] * count,
        timestamp_types=[1] * count,
        keys=[b"k"] * count,
        values=[b"v"] * count,
        headers=[[("trace", b"1")], None, [], UNREADABLE_HEADERS, [("x", None)]] * (count // 5),
    )
    assert with_schema_names(batch, values=True, keys=True) is batch
    schema_ref = b"\1" + GUID.bytes
    for at in (0, count - 1):
        headers = [*(batch.headers or ())]
        headers[at] = [("trace", b"1"), (VALUE_HEADER, schema_ref)]
        named = with_schema_names(replace(batch, headers=headers), values=True, keys=True)
        assert named.values[at] == schema_ref + b"v"
        assert sum(value != b"v" for value in named.values) == 1
        assert named.keys is batch.keys
        assert (
            with_schema_names(replace(batch, headers=headers), values=False, keys=True).values is batch.values
        )


class _Registry:
    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.answer: SchemaDocument | Exception = LONG

    def fetch(self, schema_ref: bytes) -> SchemaDocument:
        self.asked.append(schema_ref)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_a_schema_is_asked_for_once() -> None:
    """A known schema is not asked for again, an unknown one not for a while, and after an outage at once."""
    registry, now = _Registry(), [0.0]
    schemas = TopicSchemas(registry.fetch, clock=lambda: now[0])
    assert schemas.document(id_ref(1)) == schemas.document(id_ref(1)) == LONG
    registry.answer = UnknownSchemaError("gone")
    for _ in range(3):
        with pytest.raises(UnknownSchemaError, match="gone"):
            schemas.document(id_ref(2))
    assert registry.asked == [id_ref(1), id_ref(2)]
    now[0], registry.answer = 31.0, RegistryError("http://r", "down")
    for _ in range(2):
        with pytest.raises(RegistryError):
            schemas.document(id_ref(2))
    registry.answer = LONG
    assert schemas.document(id_ref(2)) == LONG


def test_schemas_that_were_seen_are_kept_with_the_rows() -> None:
    """Another opening of the store asks nobody, has the same order, and keeps keys and values apart."""
    store, registry = MemoryStore(), _Registry()
    values = stored_schemas(store, "value", registry.fetch)
    values.mark_seen(id_ref(9), b"")
    registry.answer = SchemaDocument(
        "PROTOBUF", "syntax", (("a.proto", SchemaDocument("PROTOBUF", "other")),)
    )
    values.mark_seen(id_ref(3), b"\0")
    values.mark_seen(id_ref(3), b"\0")
    values.mark_seen(id_ref(3), b"\2\2")
    stored_schemas(store, "key", registry.fetch).mark_seen(id_ref(3), b"")
    asked = len(registry.asked)
    again = stored_schemas(store, "value", registry.fetch)
    assert list(again.seen()) == [(id_ref(9), b""), (id_ref(3), b"\0"), (id_ref(3), b"\2\2")]
    assert again.seen() == values.seen()
    assert again.document(id_ref(3)) == registry.answer
    assert len(registry.asked) == asked


def test_another_topic_has_other_schemas() -> None:
    """After ``forget`` the same name is asked for again: a registry that was recreated may mean another schema."""
    registry = _Registry()
    schemas = TopicSchemas(registry.fetch)
    schemas.mark_seen(id_ref(1), b"")
    schemas.forget()
    assert schemas.seen() == {}
    registry.answer = SchemaDocument("AVRO", '"int"')
    assert schemas.document(id_ref(1)) == registry.answer
