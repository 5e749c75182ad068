"""The fields of a JSON Schema with their tags, wherever they are in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from ktframe.errors import SchemaError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.json.schema import referred
from ktframe.formats.rules import FieldFacts, tags_in

_ROOT: Final = "$"
_CHOICES: Final = ("allOf", "anyOf", "oneOf")
_MOST_FIELDS: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Place:
    """A field: its path, its name from the root, its tags, and the schemas around it."""

    path: tuple[str, ...] = ()
    name: str = _ROOT
    tags: frozenset[str] = frozenset()
    around: frozenset[int] = frozenset()
    is_whole: bool = False
    """Whether everything inside is shown in the column at ``path``."""

    def inside(self, name: str, tags: frozenset[str]) -> _Place:
        path = self.path if self.is_whole else (*self.path, name)
        return replace(self, path=path, name=f"{self.name}.{name}", tags=tags)


def fields_in(document: SchemaDocument) -> Iterator[FieldFacts]:
    """Yield every property of a JSON Schema; those of an object that contains itself have the path of its column.

    Raises
    ------
    SchemaError
        When they are too many.
    """
    root = orjson.loads(document.text)
    others = {name: orjson.loads(reference.text) for name, reference in document.references}
    yield from _Fields(root, others).inside(root, _Place(), set())


class _Fields:
    """The fields of one schema; ``others`` are the schemas that it refers to by name."""

    def __init__(self, root: Any, others: Mapping[str, Any]) -> None:
        self._root = root
        self._others = others
        self._count = 0

    def inside(self, schema: Any, place: _Place, seen: set[int]) -> Iterator[FieldFacts]:
        """Yield the fields of the objects that ``schema`` allows; ``seen`` are those that a whole column has shown."""
        for part in self._alternatives(schema):
            here = place
            if id(part) in place.around:
                here, seen = replace(place, is_whole=True), seen if place.is_whole else set()
            if here.is_whole:
                if id(part) in seen:
                    continue
                seen.add(id(part))
            here = replace(here, around=here.around | {id(part)})
            properties = part.get("properties")
            for name, inner in properties.items() if isinstance(properties, Mapping) else ():
                if isinstance(inner, Mapping):
                    yield from self._field(inner, here.inside(name, tags_in(inner)), seen)
            yield from self.inside(part.get("items"), here, seen)

    def _field(self, schema: Mapping[str, Any], field: _Place, seen: set[int]) -> Iterator[FieldFacts]:
        self._count += 1
        if self._count > _MOST_FIELDS:
            message = (
                f"the JSON Schema has more than {_MOST_FIELDS:,} fields when its references are written out."
            )
            raise SchemaError(message)
        yield FieldFacts(field.path, field.name, field.tags, self._has_text(schema))
        yield from self.inside(schema, field, seen)

    def _alternatives(self, *schemas: Any, with_items: bool = False) -> Iterator[Mapping[str, Any]]:
        """Yield the schemas, what they refer to and are composed of (and those of their items), each once."""
        left, seen = list(schemas), set()
        while left:
            schema = left.pop()
            if not isinstance(schema, Mapping) or id(schema) in seen:
                continue
            seen.add(id(schema))
            yield schema
            if isinstance(schema.get("$ref"), str):
                left.append(referred(schema["$ref"], self._root, self._others))
            for word in _CHOICES:
                left += schema[word] if isinstance(schema.get(word), list) else ()
            if with_items:
                left.append(schema.get("items"))

    def _has_text(self, schema: Any) -> bool:
        for part in self._alternatives(schema, with_items=True):
            kinds = part.get("type")
            is_text = kinds == "string" or (isinstance(kinds, list) and "string" in kinds)
            if is_text and not {"enum", "const"} & part.keys():
                return True
        return False
