"""One batch by a format that reads by schemas: every payload is a row or a refusal, in order, in common columns."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import fastavro
import polars as pl
import pytest

from ktframe.formats import key_format, value_format
from ktframe.formats.base import Decoded, Format
from ktframe.formats.body_readers import BodyReaders, WriterSchema
from ktframe.formats.schemas import TopicSchemas
from ktframe.formats.wire import id_ref
from ktframe.testing.registry import FakeRegistry


def _schema(**fields: Any) -> dict[str, Any]:
    """Return the Avro schema of a record: of each field the type, or the type and the default."""
    specs = {name: spec if isinstance(spec, tuple) else (spec,) for name, spec in fields.items()}
    return {
        "type": "record",
        "name": "Row",
        "fields": [
            {"name": name, "type": spec[0], **({"default": spec[1]} if len(spec) > 1 else {})}
            for name, spec in specs.items()
        ],
    }


class _Topic:
    def __init__(self) -> None:
        self.registry = FakeRegistry()
        self.schemas = TopicSchemas(self.registry.fetch)

    def register(self, schema: dict[str, Any]) -> int:
        return self.registry.register("topic-value", json.dumps(schema))

    @staticmethod
    def payload(number: int, schema: dict[str, Any], row: dict[str, Any]) -> bytes:
        out = BytesIO()
        fastavro.schemaless_writer(out, fastavro.parse_schema(schema), row)
        return id_ref(number) + out.getvalue()


@pytest.fixture
def topic() -> _Topic:
    """Return a topic whose schemas are in a registry of its own."""
    return _Topic()


def _refused(decoded: Decoded) -> list[tuple[int, bool]]:
    return [(refusal.index, refusal.is_conflict) for refusal in decoded.refused]


def test_refusals_of_several_schemas_are_in_the_order_of_the_batch(topic: _Topic) -> None:
    """Bad bodies of two schemas and a payload without one are refused by their places, the rows stay in order."""
    one, two = _schema(a="long"), _schema(a="long", b="string")
    first, second = topic.register(one), topic.register(two)
    good = topic.payload(first, one, {"a": 1})
    payloads = [
        good,
        topic.payload(second, two, {"a": 2, "b": "x"})[:-1],
        good[:-1],
        b"no schema",
        topic.payload(second, two, {"a": 3, "b": "y"}),
        good,
    ]
    decoded = value_format("avro", schemas=topic.schemas).decode(payloads, pl.Schema())
    assert _refused(decoded) == [(1, False), (2, False), (3, False)]
    assert list(decoded.accepted) == [0, 4, 5]
    assert decoded.frame.rows() == [(1, None), (3, "y"), (1, None)]


def test_an_integer_that_a_float_column_would_round_is_a_conflict(topic: _Topic) -> None:
    """The column is a float since earlier batches; the record is refused and its neighbours are not."""
    schema = _schema(a="long")
    number = topic.register(schema)
    payloads = [topic.payload(number, schema, {"a": value}) for value in (1, 2**53 + 1, 2**53)]
    decoded = value_format("avro", schemas=topic.schemas).decode(payloads, pl.Schema({"a": pl.Float64()}))
    assert _refused(decoded) == [(1, True)]
    assert decoded.frame["a"].to_list() == [1.0, float(2**53)]


@pytest.fixture
def with_bytes(topic: _Topic) -> Format:
    """Return a format for payloads with and without schemas."""
    return value_format("auto", schemas=topic.schemas)


def test_json_keeps_columns_that_json_has_no_values_for(with_bytes: Format) -> None:
    """A column of bytes, which only a schema can bring, is null in records that are JSON."""
    schema = pl.Schema({"a": pl.Int64(), "raw": pl.Binary()})
    decoded = with_bytes.decode([b'{"a": 1}'], schema)
    assert (decoded.schema, decoded.frame.rows(), decoded.refused) == (schema, [(1, None)], ())


def test_json_that_conflicts_with_a_schemas_column_hides_no_other_refusal(with_bytes: Format) -> None:
    """Text in a column of bytes is a conflict; what is not JSON in the same batch is refused as such."""
    decoded = with_bytes.decode([b'{"raw": "x"}', b"{"], pl.Schema({"raw": pl.Binary()}))
    assert _refused(decoded) == [(0, True), (1, False)]
    assert decoded.schema == pl.Schema({"raw": pl.Binary()})


def test_keys_never_get_another_field() -> None:
    """A later key with a field more would be another identity: it is refused, and the columns stay."""
    keys = key_format("json")
    first = keys.decode([b'{"a": 1}'], pl.Schema())
    decoded = keys.decode([b'{"a": 2}', b'{"a": 3, "b": 4}'], first.schema)
    assert _refused(decoded) == [(1, True)]
    assert (decoded.schema, decoded.frame.rows()) == (first.schema, [(2,)])


def test_a_schema_counts_once_by_id_and_by_guid(topic: _Topic) -> None:
    """An old schema that comes again by its GUID does not bring its default back."""
    old, new = topic.register(_schema(a=("long", 1))), topic.register(_schema(a=("long", 2)))
    readers = BodyReaders(topic.schemas, frozenset({"AVRO"}))
    for ref in (id_ref(old), id_ref(new)):
        readers.reader(WriterSchema(ref))
    before = readers.revision, readers.merged_columns
    readers.reader(WriterSchema(topic.registry.header(old)))
    assert (readers.revision, readers.merged_columns) == before
    assert before[1][0].default == 2


def test_conflicts_of_schemas_name_their_fields(topic: _Topic) -> None:
    """By the names of columns, also where the conflict is inside of a struct, or one of values."""
    inner = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "long"}]}
    other = {"type": "record", "name": "Inner", "fields": [{"name": "n", "type": "string"}]}
    first, second, third = _schema(a=inner, b="double"), _schema(a=other), _schema(b="long")
    payloads = [
        topic.payload(topic.register(schema), schema, row)
        for schema, row in (
            (first, {"a": {"n": 1}, "b": 1.0}),
            (second, {"a": {"n": "x"}}),
            (third, {"b": 2**53 + 1}),
        )
    ]
    decoded = value_format("avro", schemas=topic.schemas).decode(payloads, pl.Schema())
    assert [(refusal.index, refusal.fields) for refusal in decoded.refused] == [(1, ("a",)), (2, ("b",))]
    with_float = value_format("avro", schemas=topic.schemas).without_float_widening("b")
    decoded = with_float.decode(payloads[:1], pl.Schema({"b": pl.Int64()}))
    assert [refusal.fields for refusal in decoded.refused] == [("b",)]
    keys = key_format("avro", schemas=topic.schemas)
    decoded = keys.decode(payloads[2:], pl.Schema({"c": pl.Int64()}))
    assert [refusal.fields for refusal in decoded.refused] == [("b",)]
