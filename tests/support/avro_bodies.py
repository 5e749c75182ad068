"""Short ways to a reader or writer of an Avro schema, and to what it makes of bodies, for tests by example."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl
from polars.testing import assert_frame_equal

from ktframe.formats.avro import AvroReader, AvroWriter
from ktframe.formats.bodies import BodiesRead, SchemaDocument
from support.avro_fuzz import varint

number = varint

MANY = 40
"""Bodies enough to be read natively."""


def document(schema: Any, *references: tuple[str, Any]) -> SchemaDocument:
    """Return a schema as a registry keeps it; text stays as it is."""
    texts = [
        each if isinstance(each, str) else json.dumps(each) for each in (schema, *dict(references).values())
    ]
    known = [
        (name, SchemaDocument("AVRO", text)) for (name, _), text in zip(references, texts[1:], strict=True)
    ]
    return SchemaDocument("AVRO", texts[0], tuple(known))


def record(*fields: dict[str, Any], name: str = "Row") -> dict[str, Any]:
    """Return the schema of a record."""
    return {"type": "record", "name": name, "fields": list(fields)}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    """Return a field of a record."""
    return {"name": name, "type": kind, **more}


def reader(schema: Any) -> AvroReader:
    """Return what reads the bodies of a schema."""
    return AvroReader(document(schema))


def writer(schema: Any) -> AvroWriter:
    """Return what writes the bodies of a schema."""
    return AvroWriter(document(schema))


def read(schema: Any, bodies: Sequence[bytes]) -> BodiesRead:
    """Return what becomes of bodies: the same whether they are read alone, whole, or among many good ones."""
    by = reader(schema)
    alone = by._read_one_by_one(bodies)
    good = [body for at, body in enumerate(bodies) if at not in alone.refused]
    assert by.read(bodies).refused == alone.refused
    if good:
        natively = by._read_natively(good)
        assert (natively is not None) == (by.note is None)
        assert_frame_equal(alone.frame if natively is None else natively, alone.frame, check_exact=True)
    for at, reason in alone.refused.items():
        assert by._read_natively([bodies[at]]) is None
        among = by.read([*good[:1] * MANY, bodies[at], *good[:1] * MANY])
        assert among.refused == {len(good[:1]) * MANY: reason}
        assert among.frame.height == len(good[:1]) * 2 * MANY
    assert dict(alone.frame.schema) == {column.name: column.dtype for column in by.columns}
    return alone


def values(schema: Any, *bodies: bytes) -> list[Any]:
    """Return what the column ``value`` shows for bodies that are no records, all of them good."""
    found = read(schema, bodies)
    assert found.refused == {}
    return found.frame["value"].to_list()


def reason(schema: Any, body: bytes) -> str:
    """Return why a body is refused."""
    return read(schema, [body]).refused[0]


def column(schema: Any, rows: pl.Series | list[Any]) -> list[bytes]:
    """Return the bodies that a column ``value`` is written as."""
    return writer(schema).write(pl.DataFrame({"value": rows}))
