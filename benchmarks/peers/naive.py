"""What one writes first: a dictionary of the last record of each key, and a DataFrame of it; in whole batches or one by one.

Arguments: bootstrap, topic, records, ``batches`` or ``records``.
"""

from __future__ import annotations

import sys
from typing import Any

import orjson
import polars as pl
from confluent_kafka import Consumer, TopicPartition
from stamps import begin, end, result


def by_batches(consumer: Consumer, wanted: int) -> dict[bytes, Any]:
    """Parse a whole batch at once, as the items of one JSON list."""
    latest: dict[bytes, Any] = {}
    seen = 0
    while seen < wanted:
        messages = consumer.consume(10_000, 0.1)
        rows = orjson.loads(b"[" + b",".join([message.value() for message in messages]) + b"]")
        latest.update(zip([message.key() for message in messages], rows, strict=True))
        seen += len(messages)
    return latest


def by_records(consumer: Consumer, wanted: int) -> dict[bytes, Any]:
    """Poll and parse record by record."""
    latest: dict[bytes, Any] = {}
    seen = 0
    while seen < wanted:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            latest[message.key()] = orjson.loads(message.value())
            seen += 1
    return latest


def main() -> None:
    """Read until the given number of records has come."""
    bootstrap, topic, records, how = sys.argv[1:]
    begin()
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 10,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    latest = (by_batches if how == "batches" else by_records)(consumer, int(records))
    frame = pl.DataFrame(list(latest.values()))
    end()
    result(frame["amount"])


main()
