"""Parses the text of an Avro schema into the tree of ``types``, and checks that it is one.

Names are resolved and named types written out where they are used. As the specification asks, a logical type that is
unknown, or does not fit its type, is ignored.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain, count
from typing import Any, TypeGuard

from ktframe.errors import SchemaError
from ktframe.formats.avro.types import DEEPEST, AvroField, AvroSchema, AvroType, shortened
from ktframe.formats.bodies import NO_DEFAULT, SchemaDocument
from ktframe.formats.rules import tags_in

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_NAMED = frozenset({"record", "error", "enum", "fixed"})
_NAME = re.compile(r"[^\W\d]\w*")
_MOST_TYPES = 20_000
_LARGEST_FIXED_BYTES = 2**24

_LOGICAL = {
    "date": "int",
    "time-millis": "int",
    "time-micros": "long",
    "timestamp-millis": "long",
    "timestamp-micros": "long",
    "timestamp-nanos": "long",
    "local-timestamp-millis": "long",
    "local-timestamp-micros": "long",
    "local-timestamp-nanos": "long",
}

_UUID_BYTES = 16

_MOST_DIGITS = 1_000
"""A decimal with a larger precision is shown as its bytes."""


class NotAvroError(Exception):
    """A text is not an Avro schema; the text of the error says why, ``hint`` what may help."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def parse(document: SchemaDocument) -> AvroSchema:
    """Return the parsed schema of ``document``.

    Raises
    ------
    SchemaError
        When it is not an Avro schema, or too large for columns.
    """
    if document.kind != "AVRO":
        message = f"a schema of the kind {document.kind!r} is not Avro."
        raise SchemaError(message)
    try:
        names = _Names()
        names.add_references(document.references)
        text = _json(document.text)
        names.add(text, "")
        builder = _Builder(names.definitions)
        root = builder.build(text, "", 0)
    except NotAvroError as error:
        message = f"not a valid Avro schema: {error}"
        raise SchemaError(message, error.hint) from None
    except RecursionError:
        message = f"not a valid Avro schema: nested deeper than {DEEPEST} levels"
        raise SchemaError(message) from None
    return AvroSchema(root, {name: builder.records[name] for name in builder.repeated})


def _json(text: str) -> Any:
    if _NAME.fullmatch(text.strip()):  # registries keep a primitive schema with or without its quotes
        return text.strip()
    try:
        return json.loads(text)
    except ValueError as error:
        message = f"it is not JSON: {error}"
        raise NotAvroError(message) from None


class _Names:
    """The definitions of named types by full name, each with the namespace around it."""

    def __init__(self) -> None:
        self.definitions: dict[str, tuple[Mapping[str, Any], str]] = {}

    def add_references(self, references: Iterable[tuple[str, SchemaDocument]]) -> None:
        """Add the types that are defined in referenced documents, at any depth."""
        for _, document in references:
            self.add_references(document.references)
            self.add(_json(document.text), "")

    def add(self, schema: Any, namespace: str) -> None:
        """Add the types that ``schema`` defines; the same definition may come twice, over two references."""
        if isinstance(schema, list):
            for branch in schema:
                self.add(branch, namespace)
        if not isinstance(schema, dict):
            return
        kind = schema.get("type")
        if isinstance(kind, dict | list):
            self.add(kind, namespace)
        elif kind in _NAMED:
            name = full_name(schema, namespace)
            if self.definitions.setdefault(name, (schema, namespace)) != (schema, namespace):
                message = f"{name!r} is defined twice"
                raise NotAvroError(message)
            for field in _list(schema, "fields") if kind in {"record", "error"} else ():
                if isinstance(field, dict):
                    self.add(field.get("type"), namespace_of(name))
        else:
            self.add(schema.get("items", schema.get("values")), namespace)


class _Builder:
    """Builds the tree: a named type is written out where it is used, and becomes a reference inside of itself."""

    def __init__(self, definitions: Mapping[str, tuple[Mapping[str, Any], str]]) -> None:
        self._definitions = definitions
        self._open: set[str] = set()
        self._count = 0
        self.records: dict[str, AvroType] = {}
        self.repeated: set[str] = set()

    def build(self, schema: Any, namespace: str, level: int) -> AvroType:
        self._count += 1
        if level > DEEPEST or self._count > _MOST_TYPES:
            limit = f"{DEEPEST} levels" if level > DEEPEST else f"{_MOST_TYPES:,} types"
            message = f"it has more than {limit} when its named types are written out"
            raise NotAvroError(message)
        if isinstance(schema, list):
            return self._union(schema, namespace, level)
        if isinstance(schema, str):
            return AvroType(schema) if schema in PRIMITIVES else self._named(schema, namespace, level)
        if not isinstance(schema, dict):
            message = f"{shortened(schema)} is not a type"
            raise NotAvroError(message)
        return self._complex(schema, namespace, level)

    def _complex(self, schema: Mapping[str, Any], namespace: str, level: int) -> AvroType:
        kind = schema.get("type")
        if isinstance(kind, dict | list):
            return self.build(kind, namespace, level)
        if kind in {"array", "map"}:
            part = "items" if kind == "array" else "values"
            if part not in schema:
                message = f"an {kind} without {part!r}" if kind == "array" else f"a {kind} without {part!r}"
                raise NotAvroError(message)
            return AvroType(kind, inner=(self.build(schema[part], namespace, level + 1),))
        if kind in _NAMED:
            return self._defined(full_name(schema, namespace), level)
        if not isinstance(kind, str):
            message = f"{shortened(schema)} has no 'type'"
            raise NotAvroError(message)
        if kind not in PRIMITIVES:
            return self._named(kind, namespace, level)
        return AvroType(kind, **_logical(kind, 0, schema))

    def _union(self, schema: list[Any], namespace: str, level: int) -> AvroType:
        branches = tuple(self.build(branch, namespace, level) for branch in schema)
        kinds = [branch.name or branch.kind for branch in branches]
        twice = next((kind for kind, times in Counter(kinds).items() if times > 1), None)
        if not branches or twice or any(branch.kind == "union" for branch in branches):
            what = f"{twice!r} twice" if twice else "another union" if branches else "no type"
            message = f"a union of {what}"
            raise NotAvroError(message)
        return AvroType("union", inner=branches, labels=_labels(branches))

    def _named(self, name: str, namespace: str, level: int) -> AvroType:
        full = name if "." in name or not namespace else f"{namespace}.{name}"
        if full not in self._definitions:
            full = name  # Avro's own library falls back to the name without a namespace too
        if full not in self._definitions:
            message = f"{name!r} is not defined"
            raise NotAvroError(message, "register it with a reference to the schema that defines the name.")
        return self._defined(full, level)

    def _defined(self, name: str, level: int) -> AvroType:
        if name in self._open:
            self.repeated.add(name)
            return AvroType("reference", name=name)
        schema, _ = self._definitions[name]
        if schema["type"] == "enum":
            return AvroType("enum", name=name, symbols=_symbols(name, schema))
        if schema["type"] == "fixed":
            size = schema.get("size")
            if not _is_int(size) or not 0 <= size <= _LARGEST_FIXED_BYTES:
                message = f"{name!r} has the size {shortened(size)}"
                raise NotAvroError(message)
            return AvroType("fixed", name=name, size=size, **_logical("fixed", size, schema))
        self._open.add(name)
        fields = tuple(self._field(field, name, level) for field in _list(schema, "fields"))
        self._open.discard(name)
        names = [field.name for field in fields]
        if len(set(names)) < len(names):
            message = f"{name!r} has two fields of one name"
            raise NotAvroError(message)
        self.records[name] = AvroType("record", name=name, fields=fields)
        return self.records[name]

    def _field(self, schema: Any, record: str, level: int) -> AvroField:
        if not isinstance(schema, dict) or "type" not in schema:
            message = f"{record!r} has a field {shortened(schema)}"
            raise NotAvroError(message)
        aliases = _list(schema, "aliases") if schema.get("aliases") is not None else ()
        return AvroField(
            _checked(schema.get("name"), f"a field of {record!r}"),
            self.build(schema["type"], namespace_of(record), level + 1),
            schema.get("default", NO_DEFAULT),
            tuple(_checked(alias, f"an alias in {record!r}") for alias in aliases),
            tags_in(schema),
        )


def full_name(schema: Mapping[str, Any], namespace: str) -> str:
    """Return the full name of a named type: with its namespace."""
    name = schema.get("name")
    if not isinstance(name, str):
        message = f"{shortened(schema)} has no name"
        raise NotAvroError(message)
    if "." not in name:
        own = schema.get("namespace", namespace)
        if not isinstance(own, str | None):
            message = f"{shortened(name)} has the namespace {shortened(own)}"
            raise NotAvroError(message)
        name = f"{own}.{name}" if own else name
    # Only the last part: Avro's own library takes any namespace, and "com.my-shop" and "com.shop.Order$" are in use.
    _checked(name.rpartition(".")[2], f"the last part of {shortened(name)}")
    return name.removeprefix(".")


def namespace_of(name: str) -> str:
    """Return the namespace of a full name."""
    return name.rpartition(".")[0]


def _checked(name: Any, what: str) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = f"{shortened(name)}, {what}, is not a valid name"
        raise NotAvroError(message)
    return name


def _list(schema: Mapping[str, Any], key: str) -> list[Any]:
    values = schema.get(key)
    if not isinstance(values, list):
        message = f"{shortened(schema.get('name'))} has no list of {key}"
        raise NotAvroError(message)
    return values


def _symbols(name: str, schema: Mapping[str, Any]) -> tuple[str, ...]:
    symbols = tuple(_checked(symbol, f"a symbol of {name!r}") for symbol in _list(schema, "symbols"))
    if len(set(symbols)) < len(symbols):
        message = f"{name!r} has a symbol twice"
        raise NotAvroError(message)
    return symbols


def _labels(branches: Iterable[AvroType]) -> tuple[str, ...]:
    """Return a field name for each branch: the type's short name, its full name or a number where that is taken."""
    labels: dict[str, None] = {}
    for branch in branches:
        names = (branch.short_name, branch.name) if branch.name else (branch.kind,)
        candidates = chain(names, (f"{names[0]}_{number}" for number in count(2)))
        labels[next(label for label in candidates if label not in labels)] = None
    return tuple(labels)


def _logical(kind: str, size: int, schema: Mapping[str, Any]) -> dict[str, Any]:  # noqa: PLR0911 - each a reason
    logical = schema.get("logicalType")
    if not isinstance(logical, str):
        return {}
    if _LOGICAL.get(logical) == kind:
        return {"logical": logical}
    if logical == "uuid" and (kind == "string" or (kind == "fixed" and size == _UUID_BYTES)):
        return {"logical": logical}
    if logical != "decimal" or kind not in {"bytes", "fixed"}:
        return {}
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if (
        not _is_int(precision)
        or not _is_int(scale)
        or not 0 <= scale <= precision <= _MOST_DIGITS
        or precision < 1
    ):
        return {}
    if kind == "fixed" and (precision > 3 * size or 10**precision > 2 ** (8 * size - 1)):
        return {}
    return {"logical": logical, "precision": precision, "scale": scale}


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
