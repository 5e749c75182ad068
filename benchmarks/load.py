"""Load one topic of JSON orders, and compare: ktframe against bare ``consume()``, in one run on one broker.

Prints the rate and the CPU seconds of both loads and their ratios, the longest stall that a thread ticking every
millisecond in the same process saw while ktframe loaded, and what a fresh read costs after the load. Run it with
``make bench``; the number of orders is the first argument.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Self

from confluent_kafka import Consumer, TopicPartition
from history import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.kafka_broker import KafkaBroker
from support.orders import produce_orders

import ktframe

ORDERS = 1_000_000
KEYS = 200_000
PARTITIONS = 4
TOPIC = "orders"


@dataclass(frozen=True, slots=True)
class Load:
    """What it took to read ``count`` records; CPU seconds are user and system time of all threads of this process."""

    count: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Return records a second."""
        return self.count / self.seconds


class Stopwatch:
    """Measures wall time and CPU time from when it is made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def load(self, count: int) -> Load:
        """Return what ``count`` records took until now."""
        return Load(count, time.perf_counter() - self._wall, time.process_time() - self._cpu)


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


def bare_consume(bootstrap: str, count: int) -> Load:
    """Read everything with ``consume()`` and take keys and values, nothing else: the limit that ktframe can't pass."""
    # Tuned as ktframe's own readers are, or the limit would be the second that a full queue rests by default.
    config = {"group.id": "bench", "enable.auto.commit": False, "fetch.queue.backoff.ms": 10}
    consumer = Consumer({"bootstrap.servers": bootstrap, **config})
    consumer.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    seen, stopwatch = 0, Stopwatch()
    while seen < count:
        messages = consumer.consume(10_000, 0.1)
        pairs = [(message.key(), message.value()) for message in messages]
        seen += len(pairs)
    load = stopwatch.load(count)
    consumer.close()
    return load


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
                stopwatch = Stopwatch()
                frame = table.to_polars()
                load = stopwatch.load(count)
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
        print(f"bare consume()              {bare.rate:>12,.0f} records/s, {bare.cpu_seconds:.2f} CPU s")
        print(f"ktframe load                {load.rate:>12,.0f} records/s, {load.cpu_seconds:.2f} CPU s")
        print(f"rate to bare consume()      {load.rate / bare.rate:>12.2f}")
        print(f"CPU s to bare consume()     {load.cpu_seconds / bare.cpu_seconds:>12.1f}")
        print(f"longest stall while loading {ticker.longest * 1000:>12.0f} ms")
        print(f"fresh read, nothing new     {sorted(again)[10] * 1000:>12.1f} ms (median)")
        print(
            f"re-open to frame            {reopen:>12.2f} s, {load.seconds / reopen:.1f} x faster than loading"
        )
        record(
            "load",
            {
                "rate / bare consume()": load.rate / bare.rate,
                "CPU s of bare consume() / CPU s": bare.cpu_seconds / load.cpu_seconds,
                "load / re-open": load.seconds / reopen,
            },
        )


if __name__ == "__main__":
    main()
