"""Write the sample topics beside this file: ``python sample_data/generate.py [folder]``.

Seeded and free of anything that differs between machines: no clock, no float functions whose last digit
depends on the C library. The same records come out every time; README.md describes their shape.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

Record: TypeAlias = dict[str, Any]

MINUTE_MS = 60_000
SPAN_MS = 180 * MINUTE_MS
ORDERS = 6_100
CUSTOMERS = 800
CLICK_USERS = 460

REGIONS = {
    "EMEA": ("EUR", (("DE", "Hamburg"), ("FR", "Lyon"), ("PL", "Kraków"), ("ZA", "Durban"))),
    "APAC": ("JPY", (("JP", "大阪"), ("SG", "Singapore"), ("AU", "Perth"), ("IN", "Pune"))),
    "AMER": ("USD", (("US", "Denver"), ("US", "Boston"), ("CA", "Québec"))),
    "LATAM": ("BRL", (("BR", "São Paulo"), ("MX", "Puebla"), ("CL", "Santiago"))),
}
CARRIERS = ("DHL", "UPS", "FedEx", "Post")
COUPONS = ("WELCOME10", "SPRING", "FREESHIP")
FIRST_NAMES = ("Ada", "Björn", "Chen", "Divya", "Emil", "Fatou", "Grace", "Hiro", "Inés", "Keiko", "Lea")
LAST_NAMES = ("Almeida", "Brandt", "Costa", "Dubois", "Eze", "Fischer", "Gupta", "Hansen", "Ito", "O'Neill")
PAGES = ("/", "/search", "/product/12", "/product/37", "/cart", "/checkout", "/help", "/account")
REFERRERS = (None, None, "search", "newsletter", "https://example.org/review?id=7&lang=en", "app")


def region_of(customer: int) -> str:
    """Return the region a customer belongs to, the same in every topic."""
    return tuple(REGIONS)[(customer * 7 + customer // 5) % len(REGIONS)]


def arrival(random: Random, at_ms: int) -> int:
    """Return when a record of ``at_ms`` reaches the topic: mostly at once, one in thirty much later."""
    if random.random() < 1 / 30:
        return at_ms + random.randrange(2 * MINUTE_MS, 40 * MINUTE_MS)
    return at_ms + random.randrange(2_000)


def in_arrival_order(records: Iterable[tuple[int, Record]]) -> list[Record]:
    """Return the records as the topic holds them; what would arrive after now is still under way."""
    arrived = [(at_ms, index, record) for index, (at_ms, record) in enumerate(records) if at_ms < SPAN_MS]
    return [record for *_, record in sorted(arrived, key=lambda entry: entry[:2])]


def new_order(random: Random, number: int, created_ms: int) -> Record:
    """Return the first value of an order."""
    customer = 1 + int(random.random() * random.random() * CUSTOMERS)
    region = region_of(customer)
    currency, places = REGIONS[region]
    country, city = random.choice(places)
    items = [
        {
            "sku": f"sku-{random.randrange(1, 200):03d}",
            "quantity": random.randrange(1, 4),
            "price": random.randrange(199, 15_000) / 100,
        }
        for _ in range(random.choice((1, 1, 1, 2, 2, 3)))
    ]
    weight = random.randrange(1, 41) / 2
    order = {
        "order_id": f"o-{number:05d}",
        "customer_id": f"c-{customer:04d}",
        "region": region,
        "currency": currency,
        "amount": round(sum(item["quantity"] * item["price"] for item in items), 2),
        "quantity": sum(item["quantity"] for item in items),
        # JSON has one kind of number: a producer writes 2 where another writes 2.0.
        "weight_kg": int(weight) if weight == int(weight) else weight,
        "status": "placed",
        "items": items,
        "shipping": {"country": country, "city": city, "carrier": None},
        "created_at": SPAN_MS - created_ms,
    }
    if created_ms > SPAN_MS // 2:
        order["coupon"] = random.choice(COUPONS) if random.random() < 1 / 4 else None
    return order


def life_of(random: Random, placed_ms: int) -> Iterator[tuple[int, str]]:
    """Yield the moments and states of one order, to its end or past now."""
    at_ms = placed_ms
    yield at_ms, "placed"
    is_cancelled = random.random() < 1 / 12
    steps = (("paid", 1, 10), ("shipped", 5, 40), ("delivered", 15, 60))
    for status, shortest, longest in steps[: random.randrange(2)] if is_cancelled else steps:
        at_ms += random.randrange(shortest * MINUTE_MS, longest * MINUTE_MS)
        yield at_ms, status
    if is_cancelled:
        at_ms += random.randrange(1 * MINUTE_MS, 15 * MINUTE_MS)
        yield at_ms, "cancelled"
        yield at_ms + random.randrange(5 * MINUTE_MS, 30 * MINUTE_MS), "removed"


def order_records(random: Random) -> Iterator[tuple[int, Record]]:
    """Yield (arrival, record) of every order event."""
    for number in range(1, ORDERS + 1):
        placed_ms = random.randrange(SPAN_MS)
        order = new_order(random, number, placed_ms)
        carrier = random.choice(CARRIERS)
        arrived_ms = 0
        for at_ms, status in life_of(random, placed_ms):
            # One producer per order: its records may be late, but never overtake each other.
            arrived_ms = max(arrived_ms + 1, arrival(random, at_ms))
            if status in ("shipped", "delivered"):
                order = {**order, "shipping": {**order["shipping"], "carrier": carrier}}
            age_ms = SPAN_MS - at_ms
            value = None if status == "removed" else {**order, "status": status, "updated_at": age_ms}
            yield arrived_ms, {"key": order["order_id"], "value": value, "age_ms": age_ms}


def with_broken(random: Random, records: list[Record]) -> list[Record]:
    """Return the records with a dozen broken ones among them, each after a good one of the same key."""
    kinds = ["truncated"] * 3 + ["text"] * 2 + ["empty"] * 2 + ["array"] + ["no key"] * 2 + ["amount"] * 2
    random.shuffle(kinds)
    broken: dict[int, Record] = {}
    for slot, kind in enumerate(kinds):
        index = (slot + 1) * len(records) // (len(kinds) + 1)
        while records[index]["value"] is None:
            index += 1
        broken[index] = break_record(kind, records[index])
    pairs = ((record, broken.get(index)) for index, record in enumerate(records))
    return [record for pair in pairs for record in pair if record is not None]


def break_record(kind: str, good: Record) -> Record:
    """Return a copy of ``good`` as a faulty producer would have sent it."""
    key, value, age_ms = good["key"], good["value"], max(good["age_ms"] - 1, 0)
    if kind == "no key":
        return {"key": None, "value": value, "age_ms": age_ms}
    if kind == "amount":
        return {"key": key, "value": {**value, "amount": "twelve"}, "age_ms": age_ms}
    raw = {
        "truncated": compact(value)[:70],
        "text": f"ERROR order service: no such order {key}",
        "empty": "",
        "array": compact([value["order_id"], value["status"]]),
    }[kind]
    return {"key": key, "raw": raw, "age_ms": age_ms}


def customer_records(random: Random) -> Iterator[tuple[int, Record]]:
    """Yield (arrival, record) of customers and their changes; a few ask to be forgotten."""
    for number in range(1, CUSTOMERS + 1):
        key = f"c-{number:04d}"
        region = region_of(number)
        at_ms = random.randrange(SPAN_MS // 2)
        value = {
            "customer_id": key,
            "name": f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}",
            "tier": "standard",
            "country": random.choice(REGIONS[region][1])[0],
            "region": region,
            "created_at": SPAN_MS - at_ms,
        }
        for change in range(random.choice((1, 2, 2, 3, 4))):
            if change:
                at_ms += random.randrange(MINUTE_MS, 30 * MINUTE_MS)
                field = random.choice(("tier", "tier", "name", "country"))
                choices = {
                    "tier": ("standard", "silver", "gold"),
                    "name": (f"{value['name'].split()[0]} {random.choice(LAST_NAMES)}",),
                    "country": tuple(country for country, _ in REGIONS[region][1]),
                }
                value = {**value, field: random.choice(choices[field])}
            age_ms = SPAN_MS - at_ms
            yield at_ms, {"key": key, "value": {**value, "updated_at": age_ms}, "age_ms": age_ms}
        if number % 60 == 0:
            at_ms = min(at_ms + random.randrange(MINUTE_MS, 20 * MINUTE_MS), SPAN_MS - 1)
            yield at_ms, {"key": key, "value": None, "age_ms": SPAN_MS - at_ms}


def click_records(random: Random) -> Iterator[tuple[int, Record]]:
    """Yield (arrival, record) of page views in sessions that lie more than half an hour apart."""
    for number in range(1, CLICK_USERS + 1):
        user = f"c-{number:04d}"
        at_ms = random.randrange(90 * MINUTE_MS)
        while at_ms < SPAN_MS:
            referrer = random.choice(REFERRERS)
            for view in range(random.randrange(3, 40)):
                stay_ms = random.randrange(500, 2 * MINUTE_MS)
                value = {
                    "user_id": user,
                    "page": random.choice(PAGES) if view else "/",
                    "referrer": None if view else referrer,
                    "duration_ms": stay_ms,
                }
                yield arrival(random, at_ms), {"key": user, "value": value, "age_ms": SPAN_MS - at_ms}
                at_ms += stay_ms
            at_ms += random.randrange(31 * MINUTE_MS, 75 * MINUTE_MS)


def compact(value: object) -> str:
    """Return ``value`` as JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def write(path: Path, records: Iterable[Record]) -> None:
    """Write one line per record, compressed without the time or the name of the file."""
    lines = "".join(f"{compact(record)}\n" for record in records).encode()
    with path.open("wb") as file, gzip.GzipFile("", "wb", 9, file, mtime=0) as zipped:
        zipped.write(lines)


def generate(folder: Path) -> None:
    """Write all sample topics into ``folder``."""
    random = Random(20_260_101)
    orders = with_broken(random, in_arrival_order(order_records(random)))
    write(folder / "orders.ndjson.gz", orders)
    write(folder / "customers.ndjson.gz", in_arrival_order(customer_records(random)))
    write(folder / "clicks.ndjson.gz", in_arrival_order(click_records(random)))


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
