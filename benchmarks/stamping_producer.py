"""A program that produces orders at a steady rate, each with the time at which it was made: ``sent``, in ns since 1970.

Arguments: bootstrap, topic, records a second, seconds, keys.
"""

from __future__ import annotations

import sys
import time

import orjson
from confluent_kafka import Producer

TICK_SECONDS = 0.005


def main() -> None:
    """Produce what is due at each tick, and send it at once."""
    bootstrap, topic, rate, seconds, keys = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    started = time.monotonic()
    sent = 0
    while (passed := time.monotonic() - started) < seconds:
        while sent < passed * rate:
            key = f"o-{sent * 7919 % keys:07d}"
            order = {"order_id": key, "region": "EMEA", "amount": sent % 99_991 / 100, "sent": time.time_ns()}
            producer.produce(topic, key=key, value=orjson.dumps(order))
            sent += 1
        producer.poll(0)
        time.sleep(TICK_SECONDS)
    producer.flush()


if __name__ == "__main__":
    main()
