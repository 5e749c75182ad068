"""The fields of a Protobuf message with their tags, wherever they are in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ktframe.formats.protobuf.tags import tags_in_options
from ktframe.formats.protobuf.types import BYTES, STRING, Field, Kind
from ktframe.formats.rules import FieldFacts

_Path = tuple[str, ...]


def fields_in(fields: tuple[Field, ...], path: _Path = ()) -> Iterator[FieldFacts]:
    """Yield every field of a message; what is shown in one column with the field around it has the path of that column."""
    for field in fields:
        inner = (*path, field.name)
        message = field.descriptor.message_type
        value = message.fields_by_name["value"] if field.is_map else field.descriptor
        yield _facts(field.descriptor, inner, is_text=value.type in (STRING, BYTES))
        if field.is_map:
            (entry,) = (part for part in field.fields if part.name == "value")
            if entry.kind is Kind.STRUCT:
                yield from fields_in(entry.fields, (*inner, "value"))
            elif value.message_type is not None:
                yield from _shown_together(value.message_type, (*inner, "value"), set())
        elif field.kind is Kind.STRUCT:
            yield from fields_in(field.fields, inner)
        elif message is not None:
            yield from _shown_together(message, inner, set())


def _shown_together(message: Any, path: _Path, seen: set[str]) -> Iterator[FieldFacts]:
    if message.full_name in seen:
        return
    seen.add(message.full_name)
    for field in message.fields:
        yield _facts(field, path, is_text=field.type in (STRING, BYTES))
        if field.message_type is not None:
            yield from _shown_together(field.message_type, path, seen)


def _facts(descriptor: Any, path: _Path, *, is_text: bool) -> FieldFacts:
    tags = tags_in_options(descriptor.GetOptions().SerializeToString())
    return FieldFacts(path, descriptor.full_name, tags, is_text)
