"""Bare ``consume()``: keys and values of all records, kept nowhere. Tuned, it is the limit of what reads by librdkafka.

Arguments: bootstrap, topic, records, ``tuned`` or ``defaults``.
"""

from __future__ import annotations

import sys

from confluent_kafka import Consumer, TopicPartition
from stamps import begin, end, say

# Rests only 10 ms when its queue is full; by default that is a second.
TUNED = {"fetch.queue.backoff.ms": 10}


def main() -> None:
    """Read until the given number of records has come."""
    bootstrap, topic, records, how = sys.argv[1:]
    wanted, seen = int(records), 0
    begin()
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False}
        | (TUNED if how == "tuned" else {})
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
    while seen < wanted:
        messages = consumer.consume(10_000, 0.1)
        pairs = [(message.key(), message.value()) for message in messages]
        seen += len(pairs)
    end()
    say(records=seen)


main()
