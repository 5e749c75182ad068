"""How much quicker 100,000 orders become a frame than message by message with Google's library.

python benchmarks/protobuf.py
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import polars as pl
from google.protobuf import json_format
from history import record

from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.protobuf import ProtobufReader, ProtobufWriter
from ktframe.formats.protobuf.schemas import compiled

ROWS = 100_000
RUNS = 3
START_NANOS = 1_735_689_600_000_000_000

SCHEMA = SchemaDocument(
    "PROTOBUF",
    """
    syntax = "proto3";
    package shop;
    import "google/protobuf/timestamp.proto";
    enum Status { UNKNOWN = 0; OPEN = 1; PAID = 2; SHIPPED = 3; }
    message Address { string street = 1; string city = 2; string country = 3; }
    message Item { string sku = 1; int32 quantity = 2; double price = 3; }
    message Order {
      int64 id = 1;
      string customer = 2;
      Status status = 3;
      double total = 4;
      google.protobuf.Timestamp created = 5;
      Address address = 6;
      repeated Item items = 7;
      map<string, string> labels = 8;
      optional string comment = 9;
      bool is_gift = 10;
    }
    """,
)
ORDER = (2,)


def orders() -> pl.DataFrame:
    """Return the rows: two items, one label and an address on average."""
    chance = random.Random(1)  # noqa: S311 - no cryptography
    rows = [
        {
            "id": number,
            "customer": f"customer-{chance.randrange(10_000)}",
            "status": chance.choice(["OPEN", "PAID", "SHIPPED"]),
            "total": round(chance.random() * 1_000, 2),
            "created": START_NANOS + number * 1_000_000_007,
            "address": {"street": f"Street {number % 500}", "city": "Bern", "country": "CH"},
            "items": [
                {"sku": f"sku-{chance.randrange(5_000)}", "quantity": each + 1, "price": 9.95}
                for each in range(chance.randint(1, 3))
            ],
            "labels": [{"key": "channel", "value": chance.choice(["web", "shop"])}],
            "comment": "please ring twice" if number % 5 == 0 else None,
            "is_gift": number % 7 == 0,
        }
        for number in range(ROWS)
    ]
    return pl.DataFrame(rows, schema={column.name: column.dtype for column in _reader().columns})


def _reader() -> ProtobufReader:
    return ProtobufReader(SCHEMA, ORDER)


def by_message_to_dict(message: Any, bodies: list[bytes]) -> pl.DataFrame:
    """Read as most scripts do: ``json_format.MessageToDict``, with its texts for 64-bit integers and times."""
    return pl.DataFrame(
        [
            json_format.MessageToDict(message.FromString(body), preserving_proto_field_name=True)
            for body in bodies
        ]
    )


def by_hand(message: Any, bodies: list[bytes], schema: pl.Schema) -> pl.DataFrame:
    """Read as somebody would who knows this schema, with the types that the reader gives."""
    names = {
        value.number: value.name for value in message.DESCRIPTOR.fields_by_name["status"].enum_type.values
    }
    return pl.DataFrame([_fields(message.FromString(body), names) for body in bodies], schema=schema)


def _fields(order: Any, names: dict[int, str]) -> dict[str, Any]:
    address = order.address
    return {
        "id": order.id,
        "customer": order.customer,
        "status": names[order.status],
        "total": order.total,
        "created": order.created.ToNanoseconds(),
        "address": {"street": address.street, "city": address.city, "country": address.country},
        "items": [{"sku": each.sku, "quantity": each.quantity, "price": each.price} for each in order.items],
        "labels": [{"key": key, "value": value} for key, value in order.labels.items()],
        "comment": order.comment if order.HasField("comment") else None,
        "is_gift": order.is_gift,
    }


def median_seconds(work: Callable[[], object]) -> float:
    """Return the median of some runs."""
    taken = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Print medians and ratios, and check that the frames are the same."""
    expected = orders()
    start = time.perf_counter()
    bodies = ProtobufWriter(SCHEMA, ORDER).write(expected)
    writing = time.perf_counter() - start
    reader, message = _reader(), compiled(SCHEMA, ORDER).message
    if not reader.read(bodies).frame.equals(expected) or not by_hand(message, bodies, expected.schema).equals(
        expected
    ):
        message = "the frames differ"
        raise RuntimeError(message)
    damaged = [body[:-1] if index % 1_000 == 0 else body for index, body in enumerate(bodies)]
    ours = median_seconds(lambda: reader.read(bodies))
    to_dict = median_seconds(lambda: by_message_to_dict(message, bodies))
    hand = median_seconds(lambda: by_hand(message, bodies, expected.schema))
    result = {
        "rows": ROWS,
        "bytes": sum(map(len, bodies)),
        "reader seconds": round(ours, 3),
        "MessageToDict seconds": round(to_dict, 3),
        "by hand seconds": round(hand, 3),
        "times quicker than MessageToDict": round(to_dict / ours, 1),
        "times quicker than by hand": round(hand / ours, 1),
        "reader seconds with one bad in a thousand": round(median_seconds(lambda: reader.read(damaged)), 3),
        "writer seconds": round(writing, 3),
    }
    print(json.dumps(result, indent=2))
    record("protobuf", {"MessageToDict / ktframe": to_dict / ours, "dicts by hand / ktframe": hand / ours})


if __name__ == "__main__":
    main()
