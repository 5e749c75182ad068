"""A program: reads 10,000 mutated Avro bodies among good ones, with 4 GiB of memory, and fails if a good one is lost.

It is a process of its own because what it looks for (an abort, a hang, memory without end) would end the tests. The
first argument is the seed, the second how many bodies are mutated.
"""

from __future__ import annotations

import json
import random
import resource
import sys
from typing import Any

from ktframe.formats.avro import AvroReader, AvroWriter
from ktframe.formats.bodies import SchemaDocument

MEMORY_BYTES = 4 * 2**30
MUTATIONS = 10_000
BATCH = 100
HUGE = [2**60, -(2**60), 2**31, -(2**31), 2**63 - 1, -(2**63), 1_000_000, 10_001]

POINT = {
    "type": "record",
    "name": "Point",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "float"}],
}
TREE = {"type": "record", "name": "Tree", "fields": []}
TREE["fields"] = [
    {"name": "name", "type": "string"},
    {"name": "below", "type": {"type": "array", "items": "Tree"}},
]
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
SMALL = {"type": "fixed", "name": "Small", "size": 3, "logicalType": "decimal", "precision": 5, "scale": 1}
COLOUR = {"type": "enum", "name": "Colour", "symbols": ["RED", "BLUE"]}

TYPES: list[Any] = [
    ["null", "string"],
    ["string", "null"],
    ["null", "long", "string", POINT],
    {"type": "array", "items": ["null", POINT]},
    {"type": "array", "items": {"type": "array", "items": "boolean"}},
    {"type": "map", "values": {"type": "map", "values": ["null", "bytes"]}},
    {"type": "array", "items": "null"},
    {"type": "array", "items": {"type": "array", "items": {"type": "record", "name": "Empty", "fields": []}}},
    {"type": "array", "items": ["null", {"type": "fixed", "name": "Long", "size": 1_000_000}]},
    {"type": "array", "items": ["null", {"type": "fixed", "name": "Fixed", "size": 60}]},
    {"type": "array", "items": DECIMAL},
    ["null", SMALL],
    COLOUR,
    {"type": "array", "items": ["double", COLOUR, {"type": "array", "items": "int"}]},
    {"type": "string", "logicalType": "uuid"},
    {"type": "int", "logicalType": "time-millis"},
    {"type": "long", "logicalType": "timestamp-nanos"},
    TREE,
]
VALUES: list[Any] = [
    ["x", None, "é" * 40],
    [None, "x" * 200],
    [7, "text", {"x": 1, "y": 0.5}, None],
    [[None, {"x": 1, "y": 2.0}] * 3, []],
    [[[True, False], []], []],
    [{"a": {"b": "ÿ"}, "c": {}}],
    [[None] * 3, []],
    [[[{}, {}], []]],
    [[None, None], []],
    [[None, "\x00" * 60]],
    [["\x01\x02", "\xff"]],
    ["\x00\x01\x02", None],
    ["RED", "BLUE"],
    [[1.5, "BLUE", [1, 2, 3]]],
    ["0b5a4f8e-0000-4000-8000-0123456789ab"],
    [86_399_999, 0],
    [2**62, -1],
    [{"name": "a", "below": [{"name": "b", "below": []}]}],
]


def main() -> int:
    """Read and compare; 0 if all is well."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    mutations = int(sys.argv[2]) if len(sys.argv) > 2 else MUTATIONS
    source = random.Random(seed)  # noqa: S311 - not cryptography
    per_type = -(-mutations // len(TYPES))
    for schema, values in zip(TYPES, VALUES, strict=True):
        good = good_bodies(schema, values)
        reader = AvroReader(SchemaDocument("AVRO", json.dumps(wrapped(schema))))
        for _ in range(0, per_type, BATCH // 2):
            check(reader, good, source)
    return 0


def wrapped(schema: Any, default: Any = None) -> dict[str, Any]:
    """Return a record with a field of this type between two others."""
    middle = {"name": "it", "type": schema} | ({} if default is None else {"default": default[0]})
    fields = [{"name": "before", "type": "long"}, middle, {"name": "after", "type": "string"}]
    return {"type": "record", "name": "Row", "fields": fields}


def good_bodies(schema: Any, values: list[Any]) -> list[bytes]:
    """Return bodies with these values, which the writer takes from the defaults of the field."""
    import polars as pl  # noqa: PLC0415 - after the limit is set

    rows = pl.DataFrame({"before": [300], "after": ["end"]})
    documents = [SchemaDocument("AVRO", json.dumps(wrapped(schema, [value]))) for value in values]
    return [AvroWriter(document).write(rows)[0] for document in documents]


def check(reader: AvroReader, good: list[bytes], source: random.Random) -> None:
    """Read a batch of which every second body is mutated."""
    bodies = [good[at // 2 % len(good)] for at in range(BATCH)]
    bodies = [mutated(body, source) if at % 2 else body for at, body in enumerate(bodies)]
    read = reader.read(bodies)
    assert all(at % 2 for at in read.refused)
    assert read.frame.height + len(read.refused) == len(bodies)
    alone = reader._read_one_by_one(bodies)
    assert read.refused == alone.refused
    assert read.frame.equals(alone.frame) or "NaN" in str(read.frame.to_dicts())


def mutated(body: bytes, source: random.Random) -> bytes:
    """Return a body with some bits flipped, bytes cut off or put in, or a number that claims too much."""
    for _ in range(source.randint(1, 2)):
        at = source.randrange(len(body) + 1)
        kind = source.randrange(6)
        if kind == 0 and at < len(body):
            body = body[:at] + bytes([body[at] ^ 1 << source.randrange(8)]) + body[at + 1 :]
        elif kind == 1:
            body = body[:at]
        elif kind == 2:
            body = body[:at] + source.randbytes(source.randint(1, 3)) + body[at:]
        elif kind == 3:
            body = body[:at] + varint(source.choice(HUGE)) + body[at + 1 :]
        elif kind == 4:
            body = body[:at] + b"\xff" * source.randint(9, 12) + body[at:]
        else:
            body += source.randbytes(source.choice([1, 5, 3_000]))
    return body


def varint(value: int) -> bytes:
    """Return a number as Avro writes it."""
    rest = (value << 1) ^ (value >> 63)
    written = bytearray()
    while rest >= 0x80:
        written.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes([*written, rest])


if __name__ == "__main__":
    sys.exit(main())
