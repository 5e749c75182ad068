"""Orders in JSON, in two versions of one JSON Schema, with what the standard library and plain Python read in them."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

_SCHEMA = "http://json-schema.org/draft-07/schema#"
_PLACE = {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "integer"}}}
_LINE = {"sku": {"type": "string"}, "count": {"type": "integer"}}
_COMMON = {
    "order_id": {"type": "string"},
    "serial": {"type": "integer"},
    "ratio": {"type": "number"},
    "is_gift": {"oneOf": [{"type": "null"}, {"type": "boolean"}]},
    "note": {"type": ["null", "string"]},
    "later": {"type": ["null", "string"]},
    "tags": {"type": "array", "items": {"type": "string"}},
    "place": _PLACE,
    "labels": {"type": "object", "additionalProperties": {"type": "integer"}},
}

MONEY_NAME = "shop/money.json"
MONEY = {
    "$schema": _SCHEMA,
    "$id": MONEY_NAME,
    "title": "Money",
    "type": "object",
    "properties": {"currency": {"type": "string"}, "cents": {"type": "integer"}},
}


def _version(lines: Any, **more: Any) -> dict[str, Any]:
    properties = {**_COMMON, "lines": {"type": "array", "items": lines}, **more}
    return {
        "$schema": _SCHEMA,
        "title": "Order",
        "type": "object",
        "properties": properties,
        "required": ["order_id"],
    }


VERSIONS = (
    _version({"type": "object", "properties": _LINE}, units={"type": "integer"}),
    _version(
        {"type": "object", "properties": {**_LINE, "discount": {"type": "number"}}},
        units={"type": "number"},
        currency={"type": "string"},
        price={"$ref": MONEY_NAME},
    ),
)

_PRICE = {"currency": str, "cents": int}
SHAPE: dict[str, Any] = {
    "order_id": str,
    "serial": int,
    "ratio": float,
    "is_gift": bool,
    "note": str,
    "later": str,
    "tags": [str],
    "place": {"city": str, "zip": int},
    "labels": {"a": int, "b": int, "c": int},
    "lines": [{"sku": str, "count": int, "discount": float}],
    "units": float,
    "currency": str,
    "price": _PRICE,
    "untold": {"x": [int]},
}
"""What all orders together have: of the last field no schema tells, and of the names of labels neither."""


def order(chance: random.Random, version: int) -> dict[str, Any]:
    """Return a random order of a version; any field but the first may be absent."""
    some: dict[str, Callable[[], Any]] = {
        "serial": lambda: chance.randrange(-(2**62), 2**62),
        "ratio": lambda: chance.choice([7, -0.5, 1e300, chance.random()]),
        "is_gift": lambda: chance.choice([None, True, False]),
        "note": lambda: chance.choice([None, "", "grün\n\u2603 \U0001f600", 'a "b" \\']),
        "later": lambda: None,
        "tags": lambda: [f"t{chance.randrange(9)}" for _ in range(chance.randrange(3))],
        "place": lambda: _some(chance, city="Köln", zip=chance.randrange(99999)),
        "labels": lambda: _some(chance, a=1, b=-2, c=chance.randrange(2**40)),
        "lines": lambda: [_line(chance, version) for _ in range(chance.randrange(3))],
        "units": lambda: chance.randrange(1000) if version == 0 else chance.randrange(4000) / 4,
    }
    if version == 1:
        some["later"] = lambda: chance.choice([None, "now"])
        some["currency"] = lambda: chance.choice(["EUR", "USD"])
        some["price"] = lambda: _some(chance, currency="EUR", cents=chance.randrange(10**6))
        some["untold"] = lambda: _some(chance, x=[1, None][: chance.randrange(3)])
    found = {name: make() for name, make in some.items() if chance.random() < 0.85}
    names = chance.sample(sorted(found), len(found))
    return {"order_id": f"o{chance.randrange(10**9)}", **{name: found[name] for name in names}}


def _line(chance: random.Random, version: int) -> dict[str, Any]:
    more = {"discount": chance.randrange(100) / 4} if version == 1 else {}
    return _some(chance, sku=f"s-{chance.randrange(50)}", count=chance.randrange(9), **more)


def _some(chance: random.Random, **fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if chance.random() < 0.8}


def encoded(chance: random.Random, version: int) -> bytes:
    """Return a random order of a version as one of the texts that JSON has for it."""
    indent = chance.choice([None, None, 1])
    return json.dumps(order(chance, version), ensure_ascii=chance.random() < 0.5, indent=indent).encode()


def decoded(body: bytes) -> dict[str, Any]:
    """Return what the standard library reads in a body, absent fields as None."""
    found: dict[str, Any] = shaped(json.loads(body), SHAPE)
    return found


def shaped(value: Any, shape: Any) -> Any:
    """Return a value with all fields of its shape, and only those; numbers of the kind that they are there."""
    if value is None:
        return None
    if isinstance(shape, dict):
        return {name: shaped(value.get(name), inner) for name, inner in shape.items()}
    if isinstance(shape, list):
        return [shaped(each, shape[0]) for each in value]
    return float(value) if shape is float else value
