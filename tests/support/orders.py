"""Many orders, quickly: about 113 bytes of JSON each, over a fixed number of keys."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from support.kafka_topics import KafkaTopics

_FLUSH_EVERY = 50_000


def orders(count: int, keys: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield ``count`` orders; every key is written about equally often, the last time with its final status."""
    for number in range(count):
        key = f"o-{number * 7919 % keys:07d}"
        value = {
            "order_id": key,
            "region": ("EMEA", "APAC", "AMER", "LATAM")[number % 4],
            "amount": number % 99_991 / 100,
            "quantity": number % 9 + 1,
            "status": ("placed", "paid", "shipped")[number % 3],
        }
        yield key.encode(), orjson.dumps(value)


def produce_orders(kafka: KafkaTopics, topic: str, count: int, keys: int) -> None:
    """Produce ``count`` orders to ``topic`` and wait until all are acknowledged."""
    producer = kafka.producer(
        **{"linger.ms": 50, "queue.buffering.max.messages": 2 * _FLUSH_EVERY, "compression.type": "lz4"}
    )
    for number, (key, value) in enumerate(orders(count, keys), 1):
        producer.produce(topic, key=key, value=value)
        if number % _FLUSH_EVERY == 0:
            producer.flush()
    assert producer.flush() == 0
