"""What a JSON Schema tells of the columns that its objects make.

Only of what has one type is told; the rest is inferred from the records, as without a schema. A schema says what
producers promise: it types a column that has been null so far, and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson
import polars as pl

from ktframe.columns import is_field
from ktframe.errors import SchemaError
from ktframe.formats.bodies import Column, SchemaDocument

_SCALARS: Final[Mapping[str, pl.DataType]] = {
    "string": pl.String(),
    "integer": pl.Int64(),
    "number": pl.Float64(),
    "boolean": pl.Boolean(),
}

_DEEPEST: Final = 64


def json_columns(document: SchemaDocument) -> tuple[Column, ...]:
    """Return the columns that ``document`` tells of.

    Raises
    ------
    SchemaError
        When it is no JSON Schema.
    """
    root = _parsed(document)
    others = {name: _parsed(each) for name, each in document.references}
    return _Types(root, others).columns(root, 0)


def _parsed(document: SchemaDocument) -> Any:
    try:
        return orjson.loads(document.text)
    except orjson.JSONDecodeError as error:
        message = f"the JSON Schema is not JSON: {error}."
        raise SchemaError(message) from error


class _Types:
    """The types in one schema; ``others`` are those that it refers to by name."""

    def __init__(self, root: Any, others: Mapping[str, Any]) -> None:
        self._root = root
        self._others = others

    def columns(self, schema: Any, depth: int) -> tuple[Column, ...]:
        properties = self._resolved(schema, depth).get("properties")
        if not isinstance(properties, Mapping):
            return ()
        found = ((name, self._column(str(name), each, depth + 1)) for name, each in properties.items())
        return tuple(
            column for name, column in found if column is not None and is_field(name) and "\0" not in name
        )

    def _column(self, name: str, schema: Any, depth: int) -> Column | None:
        schema = self._resolved(schema, depth)
        kind = _kind(schema)
        if kind is not None and kind in _SCALARS:
            return Column(name, _SCALARS[kind])
        if kind == "object" and not _is_open(schema):
            inner = self.columns(schema, depth)
            promised = schema.get("properties") or {}
            # Of a part of the fields nothing is told: the others would be refused as unknown to the struct.
            if inner and len(inner) == len(promised):
                return Column(name, pl.Struct({each.name: each.dtype for each in inner}), inner=inner)
        if kind == "array" and isinstance(schema.get("items"), Mapping):
            item = self._column(name, schema["items"], depth + 1)
            return None if item is None else Column(name, pl.List(item.dtype), inner=item.inner)
        return None

    def _resolved(self, schema: Any, depth: int) -> Mapping[str, Any]:
        """Return what ``schema`` is behind references and choices between null and one other; nothing if unclear."""
        while isinstance(schema, Mapping) and depth < _DEEPEST:
            depth += 1
            choices = next(
                (schema[each] for each in ("oneOf", "anyOf") if isinstance(schema.get(each), list)), None
            )
            if isinstance(schema.get("$ref"), str):
                schema = self._referred(schema["$ref"])
            elif choices is not None:
                others = [
                    each for each in choices if not (isinstance(each, Mapping) and each.get("type") == "null")
                ]
                schema = others[0] if len(others) == 1 else None
            else:
                return schema
        return {}

    def _referred(self, reference: str) -> Any:
        name, _, path = reference.partition("#")
        found = self._root if not name else self._others.get(name)
        for step in filter(None, path.split("/")):
            found = (
                found.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
            )
        return found


def _kind(schema: Mapping[str, Any]) -> str | None:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        kinds = others[0] if len(others) == 1 else None
    return kinds if isinstance(kinds, str) else None


def _is_open(schema: Mapping[str, Any]) -> bool:
    return "patternProperties" in schema or isinstance(schema.get("additionalProperties"), Mapping)
