"""From produced to visible: how old the newest order in a frame is, while another process produces at a steady rate.

A reader calls ``to_polars()`` again and again on a table of 200,000 rows; each frame's newest order has an age, from when its
producer made it to when the frame was there. The same is done by bare ``consume()``, in turn, where the age is that of the
newest record which it handed out: what Kafka and its client take by themselves. Prints p50, p99 and maximum, and ratios.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import polars as pl
from confluent_kafka import Consumer, TopicPartition
from history import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.kafka_broker import KafkaBroker
from support.orders import produce_orders

import ktframe

TOPIC = "orders"
ROWS = 200_000
RATE = 10_000
SECONDS = 20
ROUNDS = 2
PARTITIONS = 4
PRODUCER = Path(__file__).with_name("stamping_producer.py")
# The first second is that of connections and types.
WARM_UP_SECONDS = 1.0


def ages(newest: Callable[[], int | None], bootstrap: str, rate: int, seconds: int) -> list[float]:
    """Return the age in ms of each ``newest``, the time in ns at which the newest order visible was made, as orders come."""
    command = [sys.executable, str(PRODUCER), bootstrap, TOPIC, str(rate), str(seconds), str(ROWS)]
    found: list[tuple[float, float]] = []
    started = time.time_ns()
    with subprocess.Popen(command) as producer:  # noqa: S603 - the program beside this one
        while producer.poll() is None:
            made = newest()
            if made is not None and made >= started:
                found.append((time.monotonic(), (time.time_ns() - made) / 1e6))
    if producer.returncode != 0 or not found:
        sys.exit(f"the producer ended with code {producer.returncode}, {len(found)} frames with new orders")
    first, last = found[0][0], found[-1][0]
    # After the last order its age only grows: the process that made it takes a moment to end.
    return [age for at, age in found if first + WARM_UP_SECONDS <= at <= last - WARM_UP_SECONDS / 2]


@contextmanager
def consuming(bootstrap: str) -> Iterator[Callable[[], int | None]]:
    """Give a function that returns when the newest order was made that bare ``consume()`` hands out."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    partitions = [TopicPartition(TOPIC, partition) for partition in range(PARTITIONS)]
    ends = [consumer.get_watermark_offsets(partition, timeout=10)[1] for partition in partitions]
    consumer.assign(
        [TopicPartition(TOPIC, each.partition, end) for each, end in zip(partitions, ends, strict=True)]
    )

    def newest() -> int | None:
        first = consumer.poll(0.1)
        messages = [] if first is None else [first, *consumer.consume(10_000, 0)]
        return max(
            (orjson.loads(each.value())["sent"] for each in messages if not each.error()), default=None
        )

    yield newest
    consumer.close()


@contextmanager
def reading(bootstrap: str, state_dir: str) -> Iterator[Callable[[], int | None]]:
    """Give a function that returns when the newest order was made that a frame has."""
    with ktframe.connect(bootstrap, state_dir=state_dir) as kt:
        table = kt.table(TOPIC)

        def newest() -> int | None:
            frame = table.to_polars()
            return frame.select(pl.col("sent").max()).item() if "sent" in frame.columns else None

        newest()
        yield newest


def percentile(values: list[float], share: float) -> float:
    """Return the value below which that share of them is."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def shown(name: str, found: list[float]) -> str:
    """Return one line of the result."""
    figures = [percentile(found, share) for share in (0.5, 0.99, 1.0)]
    return f"{name:24}" + "".join(f"{figure:12.1f}" for figure in figures) + f"{len(found):12,}"


def main() -> None:
    """Load, measure both in turn, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE)
    parser.add_argument("--seconds", type=int, default=SECONDS, help="of each reader, over all rounds")
    given = parser.parse_args()
    seconds = max(given.seconds // ROUNDS, 3)
    ours: list[float] = []
    bare: list[float] = []
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as state_dir:
        broker.create_topic(TOPIC, PARTITIONS)
        produce_orders(broker, TOPIC, ROWS, ROWS)
        for _ in range(ROUNDS):
            with consuming(broker.bootstrap) as newest:
                bare += ages(newest, broker.bootstrap, given.rate, seconds)
            with reading(broker.bootstrap, state_dir) as newest:
                ours += ages(newest, broker.bootstrap, given.rate, seconds)
    print(
        f"{given.rate:,} records/s for {seconds * ROUNDS} s, a table of {ROWS:,} rows; age of the newest order, ms"
    )
    print(f"{'':24}{'p50':>12}{'p99':>12}{'max':>12}{'looks':>12}")
    print(shown("bare consume()", bare))
    print(shown("ktframe to_polars()", ours))
    ratios = {
        f"age in bare consume() / in to_polars(), {name}": percentile(bare, share) / percentile(ours, share)
        for name, share in (("p50", 0.5), ("p99", 0.99))
    }
    print("\n".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items()))
    if given.rate == RATE and given.seconds >= SECONDS:
        record("latency", ratios)


if __name__ == "__main__":
    main()
