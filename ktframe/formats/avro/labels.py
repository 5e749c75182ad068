"""The fields of an Avro schema with their tags, wherever they are in it."""

from __future__ import annotations

from collections.abc import Iterator

from ktframe.formats.avro.types import VALUE, AvroField, AvroSchema, AvroType
from ktframe.formats.rules import FieldFacts

_Path = tuple[str, ...]


def fields_in(schema: AvroSchema) -> Iterator[FieldFacts]:
    """Yield every field of every record in ``schema``; those of a record that contains itself have the path of its column."""
    yield from _inside(schema, schema.root, ())


def _inside(schema: AvroSchema, avro: AvroType, path: _Path) -> Iterator[FieldFacts]:
    if avro.kind == "reference":
        yield from _shown_together(schema, avro, path, set())
    elif avro.kind == "map":
        yield from _inside(schema, avro.inner[0], (*path, VALUE))
    elif avro.kind == "union" and len(avro.value_branches) > 1:
        for index, branch in avro.value_branches:
            yield from _inside(schema, branch, (*path, avro.labels[index]))
    else:
        for field in avro.fields:
            inner = (*path, field.name)
            yield FieldFacts(inner, f"{avro.name}.{field.name}", field.tags, _has_text(field))
            yield from _inside(schema, field.type, inner)
        for part in avro.inner:
            yield from _inside(schema, part, path)


def _shown_together(schema: AvroSchema, avro: AvroType, path: _Path, seen: set[str]) -> Iterator[FieldFacts]:
    """Yield the fields inside ``avro`` that the column at ``path`` holds together."""
    if avro.kind == "reference":
        if avro.name not in seen:
            seen.add(avro.name)
            yield from _shown_together(schema, schema.records[avro.name], path, seen)
        return
    for field in avro.fields:
        yield FieldFacts(path, f"{avro.name}.{field.name}", field.tags, _has_text(field))
        yield from _shown_together(schema, field.type, path, seen)
    for part in avro.inner:
        yield from _shown_together(schema, part, path, seen)


def _has_text(field: AvroField) -> bool:
    left = [field.type]
    while left:
        avro = left.pop()
        if avro.kind in {"string", "bytes"}:
            return True
        left += avro.inner  # not the fields of a record: these have tags of their own
    return False
