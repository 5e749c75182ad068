"""Load one topic of JSON orders, and compare: ktframe against bare ``consume()``, in one run on one broker.

Prints the load rate of both and their ratio, the longest stall that a thread ticking every millisecond in the same
process saw while ktframe loaded, and what a fresh read costs after the load. Run it with ``make bench``; the number of
orders is the first argument.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Self

from confluent_kafka import Consumer, TopicPartition

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.kafka_broker import KafkaBroker
from support.orders import produce_orders

import ktframe

ORDERS = 1_000_000
KEYS = 200_000
PARTITIONS = 4
TOPIC = "orders"


class Ticker:
    """Counts how long a thread that wants to run every millisecond is kept from it."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        last = time.perf_counter()
        while not self._stop.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last - 0.001)
            last = now


def bare_consume(bootstrap: str, count: int) -> float:
    """Return records a second of ``consume()`` with key and value taken, nothing else."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    seen, started = 0, time.perf_counter()
    while seen < count:
        messages = consumer.consume(10_000, 0.1)
        pairs = [(message.key(), message.value()) for message in messages]
        seen += len(pairs)
    took = time.perf_counter() - started
    consumer.close()
    return count / took


def main() -> None:
    """Fill, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as state_dir:
        broker.create_topic(TOPIC, PARTITIONS)
        produce_orders(broker, TOPIC, count, KEYS)
        bare_consume(broker.bootstrap, count)  # warms the broker's page cache
        bare = bare_consume(broker.bootstrap, count)
        with ktframe.connect(broker.bootstrap, state_dir=state_dir) as kt:
            table = kt.table(TOPIC)
            with Ticker() as ticker:
                started = time.perf_counter()
                frame = table.to_polars()
                took = time.perf_counter() - started
            again = []
            for _ in range(20):
                started = time.perf_counter()
                table.to_polars()
                again.append(time.perf_counter() - started)
        started = time.perf_counter()
        with ktframe.connect(broker.bootstrap, state_dir=state_dir) as kt:
            reopened = kt.table(TOPIC).to_polars()
            reopen = time.perf_counter() - started
        if not frame.height == reopened.height == min(count, KEYS):
            sys.exit(f"rows are missing: {frame.height:,} loaded, {reopened.height:,} re-opened")
        print(f"records                     {count:>12,}")
        print(f"bare consume()              {bare:>12,.0f} records/s")
        print(
            f"ktframe load                {count / took:>12,.0f} records/s, {count / took / bare:.2f} x bare consume()"
        )
        print(f"longest stall while loading {ticker.longest * 1000:>12.0f} ms")
        print(f"fresh read, nothing new     {sorted(again)[10] * 1000:>12.1f} ms (median)")
        print(f"re-open to frame            {reopen:>12.2f} s, {took / reopen:.1f} x faster than loading")


if __name__ == "__main__":
    main()
