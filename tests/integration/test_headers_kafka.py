"""Headers of records on a real broker: as columns, in their order, in transactions, after a restart, and written."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import polars as pl
from confluent_kafka import Producer
from support.kafka_topics import KafkaTopics
from support.raw_headers import produce_raw

from ktframe.context.context import Context

Connect = Callable[..., Context]
TYPES = {"event-type": pl.String, "attempt": pl.Int64}


def _headers(chance: random.Random) -> list[tuple[str, bytes | None]]:
    kinds: list[tuple[str, bytes | None]] = [
        ("event-type", b"OrderPlaced"),
        ("event-type", b"OrderPaid"),
        ("event-type", None),
        ("attempt", b"7"),
        ("größe", b"\xff\x00"),
        ("", b""),
    ]
    return chance.choices(kinds, k=chance.randrange(4))


def _last(headers: list[tuple[str, bytes | None]], name: str) -> Any:
    value = dict(headers).get(name)
    return None if value is None else value.decode()


def test_headers_are_those_that_were_produced(kafka: KafkaTopics, topic: Any, connect: Connect) -> None:
    """With and without ``where=``, of committed records alone, the same after a restart and for what comes then."""
    name = kafka.create_topic(topic(), partitions=3)
    chance = random.Random(5)  # noqa: S311 - test data
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"{name}-headers"})
    producer.init_transactions(30)
    rows: dict[str, tuple[int, list[tuple[str, bytes | None]]]] = {}
    events = []

    def produce(count: int, *, commits: bool) -> None:
        producer.begin_transaction()
        for number in range(count):
            key, headers = f"k{chance.randrange(40)}", _headers(chance)
            producer.produce(name, json.dumps({"n": number}), key, headers=headers)
            if commits:
                rows[key] = number, headers
                events.append((number, headers))
        producer.commit_transaction(30) if commits else producer.abort_transaction(30)

    produce(200, commits=True)
    produce(50, commits=False)
    for later in (0, 100):
        if later:
            produce(later, commits=True)
        context = connect()
        table = context.table(name, headers=TYPES, metadata="headers")
        found = {row["key"]: row for row in table.to_polars().to_dicts()}
        assert found == {
            key: {
                "key": key,
                "n": number,
                "event-type": _last(headers, "event-type"),
                "attempt": 7 if _last(headers, "attempt") else None,
                "headers": [{"key": header, "value": value} for header, value in headers],
            }
            for key, (number, headers) in rows.items()
        }
        paid = context.stream(name, headers=TYPES, where={"event-type": "OrderPaid"})
        wanted = [number for number, headers in events if _last(headers, "event-type") == "OrderPaid"]
        assert sorted(paid.to_polars()["n"]) == sorted(wanted)
        assert paid.status().left_out == len(events) - len(wanted)
        assert "event-type" not in context.table(name).to_polars().columns
        context.close()
    context = connect(writable=True)
    table = context.table(name, headers=TYPES)
    table.put({"key": "new", "n": 1, "event-type": "Tést", "attempt": -3})
    assert table["new"] == {"key": "new", "n": 1, "event-type": "Tést", "attempt": -3}
    written = context.stream(name, metadata="headers").to_polars()["headers"].to_list()
    assert [{"key": "event-type", "value": "Tést".encode()}, {"key": "attempt", "value": b"-3"}] in written


def test_a_header_whose_name_is_no_text_stops_no_table(
    kafka: KafkaTopics, topic: Any, connect: Connect
) -> None:
    """The client leaves an error behind, and a list with a hole: neither ends the process, and all other records are read."""
    name = kafka.create_topic(topic())
    kinds = [[b"ok"], [b"\xff"], [b"ok", b"\xff"], [b"\xff", b"ok"], [b"\xff", b"\xfe"], []]
    records = [
        (b"%d" % number, b'{"x":1}', [(header, b"v") for header in kinds[number % len(kinds)]])
        for number in range(3_000)
    ]
    produce_raw(kafka.bootstrap, name, records)
    context = connect()
    assert context.table(name).to_polars().height == 3_000
    table = context.table(name, metadata="headers", on_refused="ignore")
    assert table.to_polars()["headers"].list.len().to_list().count(1) == 500
    assert table.status().refused == 2_000
    assert context.inspect(name).samples.height == 100
