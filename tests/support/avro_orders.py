"""Orders in Avro, in three versions of one schema: every type, and what evolution may change."""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import fastavro

_STATUS = {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "SENT"]}
_LINE = [{"name": "sku", "type": "string"}, {"name": "count", "type": "int"}]
_LINES = {"type": "array", "items": {"type": "record", "name": "Line", "fields": _LINE}}
_WIDER_LINE = [*_LINE, {"name": "discount", "type": "double", "default": 0.5}]
_WIDER_LINES = {"type": "array", "items": {"type": "record", "name": "Line", "fields": _WIDER_LINE}}
_DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}


def _field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


_COMMON = [
    _field("order_id", {"type": "string", "logicalType": "uuid"}),
    _field("status", _STATUS),
    _field("cost", _DECIMAL),
    _field("day", {"type": "int", "logicalType": "date"}),
    _field("clock", {"type": "int", "logicalType": "time-millis"}),
    _field("at", {"type": "long", "logicalType": "timestamp-micros"}),
    _field("local", {"type": "long", "logicalType": "local-timestamp-millis"}),
    _field("digest", {"type": "fixed", "name": "Digest", "size": 4}),
    _field("raw", ["null", "bytes"], default=None),
    _field("ratio", "float"),
    _field("flag", ["null", "boolean"], default=None),
    _field("labels", {"type": "map", "values": "string"}),
    _field("note", ["string", "null"]),
]
VERSIONS: tuple[dict[str, Any], ...] = (
    {
        "type": "record",
        "name": "Order",
        "fields": [*_COMMON, _field("units", "int"), _field("lines", _LINES)],
    },
    {
        "type": "record",
        "name": "Order",
        "fields": [
            *_COMMON,
            _field("units", "long"),
            _field("lines", _WIDER_LINES),
            _field("currency", "string", default="EUR"),
        ],
    },
    {
        "type": "record",
        "name": "Order",
        "fields": [
            _field("currency", "string", default="EUR"),
            *_COMMON,
            _field("units", "double"),
            _field("lines", _WIDER_LINES),
            _field("vip", ["null", "boolean"], default=None),
        ],
    },
)
PARSED = tuple(fastavro.parse_schema(version) for version in VERSIONS)


def order(chance: random.Random, version: int) -> dict[str, Any]:
    """Return a random order as fastavro writes it under a version."""
    lines = [
        {"sku": f"s-{chance.randrange(50)}", "count": chance.randrange(9)} for _ in range(chance.randrange(3))
    ]
    found = {
        "order_id": UUID(int=chance.getrandbits(128)),
        "status": chance.choice(["NEW", "PAID", "SENT"]),
        "cost": Decimal(chance.randrange(-(10**11), 10**11)).scaleb(-2),
        "day": date(2020, 1, 1) + timedelta(days=chance.randrange(3000)),
        "clock": (
            datetime(2020, 1, 1, tzinfo=UTC) + timedelta(milliseconds=chance.randrange(86_400_000))
        ).time(),
        "at": datetime(1960, 1, 1, tzinfo=UTC) + timedelta(microseconds=chance.randrange(10**16)),
        "local": datetime(1960, 1, 1) + timedelta(milliseconds=chance.randrange(10**13)),  # noqa: DTZ001 - local
        "digest": chance.randbytes(4),
        "raw": chance.choice([None, b"", chance.randbytes(3)]),
        "ratio": chance.randrange(1000) / 8,
        "flag": chance.choice([None, True, False]),
        "labels": {f"k{i}": f"v{chance.randrange(9)}" for i in range(chance.randrange(3))},
        "note": chance.choice([None, "", "grün"]),
        "units": chance.randrange(1000),
        "lines": lines,
    }
    if version > 0:
        found["lines"] = [{**line, "discount": chance.randrange(100) / 4} for line in lines]
        found["currency"] = chance.choice(["EUR", "USD"])
    if version > 1:
        found |= {"units": chance.randrange(1000) / 4, "vip": chance.choice([None, True])}
    return found


def encoded(version: int, value: Mapping[str, Any]) -> bytes:
    """Return an order as a bare datum."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, PARSED[version], value)
    return out.getvalue()


def decoded(version: int, datum: bytes, reader: int) -> dict[str, Any]:
    """Return what fastavro makes of a datum, read by a version, as a frame shows it."""
    found: Any = fastavro.schemaless_reader(io.BytesIO(datum), PARSED[version], PARSED[reader])
    found["labels"] = [{"key": key, "value": value} for key, value in found["labels"].items()]
    found["order_id"] = str(found["order_id"])
    found["local"] = found["local"].replace(tzinfo=None)
    assert isinstance(found["clock"], time)
    return dict(found)
