"""Decode 100,000 Avro records, and compare: ``AvroReader`` against ``fastavro`` message by message.

fastavro reads each body with ``schemaless_reader``, and a frame is made of the dictionaries. Both take the same bodies
of an order (nullable text, an enum, a timestamp, a decimal, a nested record, a list of records) in the same round, in
batches as the sync loop makes them. Prints medians and their ratio for this order, for one with unions of several
types, for reading record by record, and how many rows a second ``AvroWriter`` writes. The number of rows is the first
argument, that of rounds the second.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any

import fastavro
import polars as pl
from history import record

from ktframe.formats.avro import AvroReader, AvroWriter
from ktframe.formats.bodies import SchemaDocument

ROWS = 100_000
ROUNDS = 5
BATCH = 10_000
GOAL = 10.0
FIRST = datetime(2026, 10, 1, tzinfo=UTC)
LINE = {
    "type": "record",
    "name": "Line",
    "fields": [
        {"name": "sku", "type": "string"},
        {"name": "quantity", "type": "int"},
        {"name": "price", "type": "double"},
    ],
}
ADDRESS = {
    "type": "record",
    "name": "Address",
    "fields": [
        {"name": "city", "type": "string"},
        {"name": "zip", "type": ["null", "string"], "default": None},
        {"name": "is_home", "type": "boolean"},
    ],
}
ORDER: dict[str, Any] = {
    "type": "record",
    "name": "shop.Order",
    "fields": [
        {"name": "order_id", "type": "long"},
        {"name": "customer", "type": "string"},
        {"name": "coupon", "type": ["null", "string"], "default": None},
        {"name": "status", "type": {"type": "enum", "name": "Status", "symbols": ["NEW", "PAID", "SENT"]}},
        {"name": "placed_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "paid_at", "type": ["null", {"type": "long", "logicalType": "timestamp-micros"}]},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "weight", "type": ["null", "double"]},
        {"name": "address", "type": ADDRESS},
        {"name": "lines", "type": {"type": "array", "items": LINE}},
    ],
}
WITH_UNION = {
    **ORDER,
    "fields": [*ORDER["fields"], {"name": "reference", "type": ["null", "long", "string"]}],
}


def orders(count: int) -> list[dict[str, Any]]:
    """Return orders as fastavro takes them."""
    return [
        {
            "order_id": number,
            "customer": f"customer-{number % 5_000}",
            "coupon": "WELCOME" if number % 3 == 0 else None,
            "status": ("NEW", "PAID", "SENT")[number % 3],
            "placed_at": FIRST + timedelta(milliseconds=number),
            "paid_at": FIRST + timedelta(seconds=number) if number % 2 else None,
            "total": Decimal(number * 7 % 100_000) / 100,
            "weight": number / 8 if number % 5 else None,
            "address": {"city": "Zürich", "zip": f"{8000 + number % 99}", "is_home": number % 2 == 0},
            "lines": [
                {"sku": f"sku-{number % 997}", "quantity": each + 1, "price": 9.5 * each}
                for each in range(number % 4)
            ],
            "reference": (None, number, f"r{number}")[number % 3],
        }
        for number in range(count)
    ]


def bodies_of(schema: dict[str, Any], records: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return the records as fastavro writes them."""
    parsed = fastavro.parse_schema(schema)
    written = []
    for order in records:
        out = BytesIO()
        fastavro.schemaless_writer(out, parsed, order)
        written.append(out.getvalue())
    return written


def by_fastavro(schema: Any, bodies: Sequence[bytes]) -> pl.DataFrame:
    """Read body by body."""
    return pl.DataFrame(
        [fastavro.schemaless_reader(BytesIO(body), schema) for body in bodies], infer_schema_length=None
    )


def median_seconds(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Return the median time of each call, all made in every round."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def measure(label: str, schema: dict[str, Any], records: Sequence[dict[str, Any]], rounds: int) -> float:
    """Print what one schema takes and return the ratio of the medians."""
    bodies = bodies_of(schema, records)
    batches = [bodies[start : start + BATCH] for start in range(0, len(bodies), BATCH)]
    document = SchemaDocument("AVRO", json.dumps(schema))
    reader, writer, parsed = AvroReader(document), AvroWriter(document), fastavro.parse_schema(schema)
    frames = [reader.read(batch).frame for batch in batches]
    seconds = median_seconds(
        {
            "ktframe": lambda: [reader.read(batch) for batch in batches],
            "fastavro": lambda: [by_fastavro(parsed, batch) for batch in batches],
            "one by one": lambda: [reader._read_one_by_one(batch) for batch in batches],  # noqa: SLF001
            "writer": lambda: [writer.write(frame) for frame in frames],
        },
        rounds,
    )
    ratio = seconds["fastavro"] / seconds["ktframe"]
    print(f"{label}: {len(bodies):,} rows, {sum(map(len, bodies)) / 1e6:.1f} MB, medians of {rounds}")
    for name, each in seconds.items():
        print(f"  {name:<10} {each * 1000:8.1f} ms  {len(bodies) / each:12,.0f} rows/s")
    print(f"  fastavro / ktframe: {ratio:.1f} x")
    return ratio


def main() -> int:
    """Measure, and fail if the goal is missed."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS  # noqa: PLR2004
    records = orders(rows)
    ratio = measure("order", ORDER, records, rounds)
    union = measure("order with a union of several types", WITH_UNION, records, rounds)
    record("avro", {"fastavro / ktframe": ratio, "fastavro / ktframe, union": union})
    print(f"goal: {GOAL:.0f} x: {'met' if ratio >= GOAL else 'missed'}")
    return int(ratio < GOAL)


if __name__ == "__main__":
    sys.exit(main())
