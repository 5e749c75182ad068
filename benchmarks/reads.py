"""What else a load by ktframe means: how long it keeps other threads waiting, and what reads cost after it.

Prints the longest stall, and the 99th percentile, that a thread ticking every millisecond in the same process saw while ktframe loaded, what a fresh
read costs when nothing is new, and how much quicker a store is opened again than loaded. The number of orders is the first
argument.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from threading import Event, Thread
from typing import Self

from history import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.kafka_broker import KafkaBroker
from support.orders import produce_orders

import ktframe

ORDERS = 1_000_000
RECORDS_A_KEY = 5
PARTITIONS = 4
READS = 20
TOPIC = "orders"


class Ticker:
    """Counts how long a thread that wants to run every millisecond is kept from it."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        """Seconds that each tick came late."""
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
            self.delays.append(now - last - 0.001)
            last = now


def main() -> None:
    """Fill, measure, print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS
    keys = max(count // RECORDS_A_KEY, 1)
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as state_dir:
        broker.create_topic(TOPIC, PARTITIONS)
        produce_orders(broker, TOPIC, count, keys)
        with ktframe.connect(broker.bootstrap, state_dir=state_dir) as kt:
            table = kt.table(TOPIC)
            with Ticker() as ticker:
                started = time.perf_counter()
                frame = table.to_polars()
                load = time.perf_counter() - started
            again = []
            for _ in range(READS):
                started = time.perf_counter()
                table.to_polars()
                again.append(time.perf_counter() - started)
        started = time.perf_counter()
        with ktframe.connect(broker.bootstrap, state_dir=state_dir) as kt:
            reopened = kt.table(TOPIC).to_polars()
            reopen = time.perf_counter() - started
    if not frame.height == reopened.height == keys:
        sys.exit(f"rows are missing: {frame.height:,} loaded, {reopened.height:,} re-opened")
    print(f"{count:,} records, {keys:,} keys, loaded in {load:.2f} s")
    longest, usual = max(ticker.delays), statistics.quantiles(ticker.delays, n=100)[-1]
    print(
        f"longest stall while loading {longest * 1000:>8.0f} ms, p99 {usual * 1000:.1f} ms of {len(ticker.delays):,}"
    )
    print(f"fresh read, nothing new     {statistics.median(again) * 1000:>8.1f} ms (median)")
    print(f"re-open to frame            {reopen:>8.2f} s, {load / reopen:.1f} x faster than loading")
    if count >= ORDERS:
        record("load", {"load / re-open": load / reopen})


if __name__ == "__main__":
    main()
