"""Reads from a JSON Schema the types of the columns of its objects.

Only fields with exactly one type get one; all others are inferred from the records, as without a schema. A schema
types columns that have only been null so far. It refuses no record: checking records is the producer's task.
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
    """Return the columns that ``document`` has types for.

    Raises
    ------
    SchemaError
        When it is not JSON.
    """
    root = _parsed(document)
    others = {name: _parsed(reference) for name, reference in document.references}
    return _Types(root, others).columns(root, 0)


def _parsed(document: SchemaDocument) -> Any:
    try:
        return orjson.loads(document.text)
    except orjson.JSONDecodeError as error:
        message = f"the JSON Schema is not JSON: {error}."
        raise SchemaError(message) from error


class _Types:
    """The types of one schema; ``others`` are the schemas that it refers to by name."""

    def __init__(self, root: Any, others: Mapping[str, Any]) -> None:
        self._root = root
        self._others = others

    def columns(self, schema: Any, depth: int) -> tuple[Column, ...]:
        properties = self._resolved(schema, depth).get("properties")
        if not isinstance(properties, Mapping):
            return ()
        columns = (self._column(str(name), inner, depth + 1) for name, inner in properties.items())
        # Fields inside of others can't be taken for columns of ours.
        return tuple(
            column
            for column in columns
            if column is not None and (depth or is_field(column.name)) and "\0" not in column.name
        )

    def _column(self, name: str, schema: Any, depth: int) -> Column | None:
        schema = self._resolved(schema, depth)
        kind = _kind(schema)
        if kind is not None and kind in _SCALARS:
            return Column(name, _SCALARS[kind])
        if kind == "object" and not _is_open(schema):
            inner = self.columns(schema, depth)
            properties = schema.get("properties") or {}
            # With only some of the fields, values of the others would be refused: the struct is known and lacks them.
            if inner and len(inner) == len(properties):
                return Column(name, pl.Struct({column.name: column.dtype for column in inner}), inner=inner)
        if kind == "array" and isinstance(schema.get("items"), Mapping):
            item = self._column(name, schema["items"], depth + 1)
            return None if item is None else Column(name, pl.List(item.dtype), inner=item.inner)
        return None

    def _resolved(self, schema: Any, depth: int) -> Mapping[str, Any]:
        """Follow references and choices between null and one other schema; return ``{}`` where several are left."""
        while isinstance(schema, Mapping) and depth < _DEEPEST:
            depth += 1
            choices = next(
                (schema[word] for word in ("oneOf", "anyOf") if isinstance(schema.get(word), list)), None
            )
            if isinstance(schema.get("$ref"), str):
                schema = referred(schema["$ref"], self._root, self._others)
            elif choices is not None:
                others = [
                    choice
                    for choice in choices
                    if not (isinstance(choice, Mapping) and choice.get("type") == "null")
                ]
                schema = others[0] if len(others) == 1 else None
            else:
                return schema
        return {}


def referred(reference: str, root: Any, others: Mapping[str, Any]) -> Any:
    """Return what a ``$ref`` refers to, in ``root`` or in one of ``others`` by name; None where there is no such schema."""
    name, _, path = reference.partition("#")
    target = root if not name else others.get(name)
    for step in filter(None, path.split("/")):
        key = step.replace("~1", "/").replace("~0", "~")
        target = target.get(key) if isinstance(target, Mapping) else None
    return target


def _kind(schema: Mapping[str, Any]) -> str | None:
    kinds = schema.get("type")
    if isinstance(kinds, list):
        others = [kind for kind in kinds if kind != "null"]
        kinds = others[0] if len(others) == 1 else None
    return kinds if isinstance(kinds, str) else None


def _is_open(schema: Mapping[str, Any]) -> bool:
    return "patternProperties" in schema or isinstance(schema.get("additionalProperties"), Mapping)
