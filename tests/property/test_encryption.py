"""Which fields are encrypted, against confluent-kafka's own walk through values."""

from __future__ import annotations

import json
import re
from io import BytesIO
from typing import Any

import fastavro
from confluent_kafka.schema_registry import Metadata, MetadataTags, Rule, RuleKind, RuleMode, Schema
from confluent_kafka.schema_registry.common import avro as avro_walk
from confluent_kafka.schema_registry.common import json_schema as json_walk
from confluent_kafka.schema_registry.common.serde import FieldType, RuleContext
from confluent_kafka.schema_registry.wildcard_matcher import wildcard_match
from hypothesis import assume, given
from hypothesis import strategies as st
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from ktframe.formats import value_format
from ktframe.formats.rules import rules_of
from ktframe.formats.schemas import TopicSchemas
from ktframe.testing import FakeRegistry

MARK = "\N{LOCK}"
TAGS = st.lists(st.sampled_from(["PII", "GDPR", "X"]), unique=True, max_size=2)
NAMES = ("a", "b", "c")
PATTERNS = ["**.a", "*.b", "shop.R1.*", "**", "$.a.*", "$.b", "shop.R?.c", "**.a.b"]


def encrypts_like(text: str, tags: list[str], patterns: dict[str, list[str]], inline: Any) -> RuleContext:
    """Return the context in which confluent-kafka would apply a rule with these tags."""
    rule = Rule("r", None, RuleKind.TRANSFORM, RuleMode.WRITE, "ENCRYPT", tags, None, None, None, None, False)
    schema = Schema(text, "AVRO", [], Metadata(MetadataTags(patterns), None, None), None)
    return RuleContext(
        None, None, None, schema, "s", RuleMode.WRITE, rule, 0, [rule], inline, None, None, None
    )


def marking(_: RuleContext, field: Any, value: Any) -> Any:
    """Do in the place of encryption: mark text and bytes, the only types that can be encrypted."""
    if field.field_type is FieldType.STRING and isinstance(value, str):
        return f"{MARK}{value}"
    return (
        MARK.encode() + value if field.field_type is FieldType.BYTES and isinstance(value, bytes) else value
    )


def check(value: Any, *, is_marked: bool = False) -> None:
    """Check that marked values, and no other text or bytes, are in columns that are named as encrypted."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if is_marked and name == "key":
                continue  # the keys of a map are not encrypted, its values are
            check(inner, is_marked=is_marked or name.endswith(" (encrypted)"))
    elif isinstance(value, list):
        for inner in value:
            check(inner, is_marked=is_marked)
    elif isinstance(value, str | bytes):
        mark = MARK if isinstance(value, str) else MARK.encode()
        assert value[: len(mark)] == mark if is_marked else value[: len(mark)] != mark


def decoded(text: str, kind: str, body: bytes, tags: list[str], patterns: dict[str, list[str]]) -> list[Any]:
    """Return the rows that ktframe makes of one body."""
    registry = FakeRegistry()
    rule_set = {"domainRules": [{"name": "r", "type": "ENCRYPT", "tags": tags}]}
    number = registry.register("s", text, kind, rule_set=rule_set, metadata={"tags": patterns})
    found = value_format("auto", schemas=TopicSchemas(registry.fetch))
    result = found.decode([registry.prefix(number) + body], found.initial_schema)
    assert not result.refused
    return result.frame.to_dicts()


@st.composite
def avro_types(draw: st.DrawFn, depth: int = 0) -> tuple[Any, Any]:
    """Draw an Avro type and a value of it."""
    leaves = [
        ("string", "x"),
        ("bytes", b"y"),
        ("int", 1),
        (["null", "string"], "z"),
        (["null", "bytes"], None),
    ]
    kind = draw(st.sampled_from(["leaf", "leaf", "array", "map", "record"] if depth < 3 else ["leaf"]))
    if kind == "leaf":
        return draw(st.sampled_from(leaves))
    inner, value = draw(avro_records(depth + 1) if kind == "record" else avro_types(depth + 1))
    if kind == "array":
        return {"type": "array", "items": inner}, [value, value]
    return ({"type": "map", "values": inner}, {"k": value}) if kind == "map" else (inner, value)


@st.composite
def avro_records(draw: st.DrawFn, depth: int = 0) -> tuple[Any, Any]:
    """Draw an Avro record, the tags of whose fields are drawn as well, and a value of it."""
    number = draw(st.integers(0, 10**9))
    fields, values = [], {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        kind, values[name] = draw(avro_types(depth))
        fields.append({"name": name, "type": kind, "confluent:tags": draw(TAGS)})
    return {"type": "record", "name": f"R{depth}_{number}", "namespace": "shop", "fields": fields}, values


@given(avro_records(), TAGS, st.dictionaries(st.sampled_from(PATTERNS), TAGS, max_size=2))
def test_avro_fields(record: tuple[Any, Any], tags: list[str], patterns: dict[str, list[str]]) -> None:
    """In any Avro record what is encrypted is in columns that say so, and nothing else is."""
    schema, value = record
    text = json.dumps(schema)
    names = re.findall(r'"name": "(R[^"]*)"', text)
    assume(len(set(names)) == len(names))
    parsed = avro_walk.parse_schema_with_repo(text, {})
    context = encrypts_like(text, tags, patterns, avro_walk.get_inline_tags(schema))
    sent = avro_walk.transform(context, parsed, value, marking)
    out = BytesIO()
    fastavro.schemaless_writer(out, parsed, sent)
    for row in decoded(text, "AVRO", out.getvalue(), tags, patterns):
        check(row)


@st.composite
def json_types(draw: st.DrawFn, depth: int = 0) -> tuple[Any, Any]:
    """Draw a JSON Schema and a value of it."""
    leaves = [
        ({"type": "string"}, "x"),
        ({"type": "integer"}, 1),
        ({"oneOf": [{"type": "null"}, {"type": "string"}]}, "y"),
        ({"type": ["null", "string"]}, "z"),
        ({"type": "string", "enum": ["e"]}, "e"),
    ]
    kind = draw(st.sampled_from(["leaf", "leaf", "array", "object", "choice"] if depth < 3 else ["leaf"]))
    if kind == "leaf":
        return draw(st.sampled_from(leaves))
    if kind == "array":
        inner, value = draw(json_types(depth + 1))
        return {"type": "array", "items": inner}, [value]
    inner, value = draw(json_objects(depth + 1))
    return ({"oneOf": [{"type": "null"}, inner]} if kind == "choice" else inner), value


@st.composite
def json_objects(draw: st.DrawFn, depth: int = 0) -> tuple[Any, Any]:
    """Draw the JSON Schema of an object, the tags of whose properties are drawn as well, and a value of it."""
    properties, values = {}, {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, unique=True)):
        inner, values[name] = draw(json_types(depth))
        properties[name] = {**inner, "confluent:tags": draw(TAGS)}
    return {"type": "object", "properties": properties}, values


@given(json_objects(), TAGS, st.dictionaries(st.sampled_from(PATTERNS), TAGS, max_size=2))
def test_json_fields(record: tuple[Any, Any], tags: list[str], patterns: dict[str, list[str]]) -> None:
    """In any object of a JSON Schema what is encrypted is in columns that say so, and nothing else is."""
    schema, value = record
    registry = Registry()
    resolver = registry.with_resource(
        "", Resource.from_contents(schema, default_specification=DRAFT7)
    ).resolver()
    context = encrypts_like(json.dumps(schema), tags, patterns, None)
    sent = json_walk.transform(
        context, schema, registry, resolver, "$", json.loads(json.dumps(value)), marking
    )
    for row in decoded(json.dumps(schema), "JSON", json.dumps(sent).encode(), tags, patterns):
        check(row)


@given(
    st.text("ab.x", max_size=6), st.lists(st.sampled_from(["a", "b", ".", "*", "**", "?", "x"]), max_size=5)
)
def test_patterns(name: str, pieces: list[str]) -> None:
    """Patterns of names match what confluent-kafka's match."""
    pattern = "".join(pieces)
    rules = rules_of(None, {"tags": {pattern: ["T"]}})
    assert bool(rules.tags_of(name)) == wildcard_match(name, pattern)
