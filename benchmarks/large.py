"""A table that is larger than what a process may take: 30,000,000 rows, loaded, opened again, opened after a kill, and asked.

Each step runs in a process of its own, whose anonymous memory is looked up all the time (what is mapped from files is not
part of it: the system drops that when it needs the room). All answers are compared with those of Polars on the whole log.
Prints seconds and the peak of each step. Linux only. ``--rows`` says how many rows, ``--windows`` asks for windows as well, whose store is
filled from the topic once more.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import IO, Any, Final, cast

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from confluent_kafka import Producer
from support.kafka_broker import KafkaBroker

import ktframe

ROWS: Final = 30_000_000
PARTITIONS: Final = 4
TOPIC: Final = "orders"
CHUNK: Final = 200_000
CHANGED: Final = 100
"""Of so many orders one comes again."""
LATER: Final = 50_000
"""So many come again before the process is killed."""
MOST: Final = 7
"""The greatest quantity: only an order that came again has it."""
KEYS: Final = (0, 7, 100, 12_345)
REGIONS: Final = ["eu-west-1", "eu-north-1", "us-east-1", "ap-south-1", "sa-east-1"]
START_MS: Final = 1_700_000_000_000
NOTE: Final = (
    "delivered to the front door by the second carrier, signed for by a neighbour of the customer at "
)


def orders(numbers: pl.Series, version: int) -> pl.DataFrame:
    """Return orders, as their records have them."""
    number = pl.col("number")
    return (
        numbers.alias("number")
        .to_frame()
        .select(
            pl.format("order-{}", number.cast(pl.String).str.zfill(9)).alias("key"),
            number,
            pl.format("customer-{}", number * 7_919 % 1_000_003).alias("customer"),
            pl.lit(pl.Series(REGIONS)).gather(number % len(REGIONS)).alias("region"),
            (number % 997).alias("amount"),
            (number % MOST + version).alias("quantity"),
            pl.format("city-{}", number % 5_000).alias("city"),
            pl.format("carrier-{}", number % 300).alias("carrier"),
            pl.format(NOTE + "{}", number % 99_991).alias("note"),
        )
    )


def log(rows: int) -> Iterator[pl.DataFrame]:
    """Yield the orders of the topic in the order in which they come."""
    for start in range(0, rows, CHUNK):
        yield orders(pl.int_range(start, min(start + CHUNK, rows), eager=True), 0)
    yield orders(pl.int_range(0, rows, CHANGED, eager=True), 1)


def produce(bootstrap: str, frames: Iterator[pl.DataFrame]) -> None:
    """Write orders to the topic; an order's time is its number, in seconds."""
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": "lz4",
            "linger.ms": 50,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    for frame in frames:
        values = frame.select(pl.struct(pl.exclude("key")).struct.json_encode()).to_series()
        for key, value, number in zip(frame["key"], values, frame["number"], strict=True):
            producer.produce(TOPIC, value, key, timestamp=START_MS + number * 1_000)
        producer.flush()


def answers(rows: pl.LazyFrame) -> dict[str, Any]:
    """Return what is asked of all rows."""
    by_region = rows.group_by("region").agg(pl.len(), pl.col("amount", "quantity").sum()).sort("region")
    some = rows.filter(pl.col("quantity") >= MOST).select(pl.len(), pl.col("amount").sum().alias("amount"))
    return {
        "agg by region": by_region.collect(engine="streaming").rows(),
        "filtered lazy()": some.collect(engine="streaming").row(0),
    }


def expected(rows: int, changed: pl.Series, *, windows: bool) -> dict[str, Any]:
    """Return the answers of Polars on the whole log, of which these orders came again."""
    parts = [
        orders(pl.int_range(start, min(start + CHUNK, rows), eager=True), 0)
        for start in range(0, rows, CHUNK)
    ]
    again = changed.unique()
    whole = pl.concat([part.select("key", "number", "region", "amount", "quantity") for part in parts]).lazy()
    newest = whole.with_columns(pl.col("quantity") + pl.col("number").is_in(again.implode()).cast(pl.Int64))
    told: dict[str, Any] = {"len": rows, **answers(newest)}
    told["get"] = [n % MOST + int((again == n).any()) for n in KEYS]
    if windows:
        hour = pl.from_epoch(START_MS + pl.col("number") * 1_000, time_unit="ms").dt.truncate("1d")
        days = newest.group_by(hour.alias("day"), "region").agg(pl.col("amount").sum()).sort("day", "region")
        told["window aggregates"] = (
            days.select(pl.len(), pl.col("amount").sum()).collect(engine="streaming").row(0)
        )
    return json.loads(json.dumps(told))  # type: ignore[no-any-return] - as a child tells it


class Meter:
    """Times steps, with the peak of anonymous memory in each."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.peaks: dict[str, int] = {}
        self._peak = 0
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            self._peak = max(self._peak, anonymous_mb())
            time.sleep(0.02)

    def step(self, name: str, act: Callable[[], Any]) -> Any:
        """Do a step."""
        self._peak, began = 0, time.perf_counter()
        result = act()
        self.seconds[name] = time.perf_counter() - began
        self.peaks[name] = max(self._peak, anonymous_mb())
        return result


def anonymous_mb() -> int:
    """Return the anonymous memory of this process, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) // 1024


def ask(bootstrap: str, state_dir: str, *, windows: bool) -> None:
    """Open the table, ask it, and print the answers; then wait to be ended."""
    meter, told = Meter(), dict[str, Any]()
    kt = ktframe.connect(bootstrap, state_dir=state_dir)
    table = kt.table(TOPIC)
    told["len"] = meter.step("open", lambda: len(table))
    rows = meter.step("get", lambda: table.get_many([f"order-{number:09}" for number in KEYS]))
    told["get"] = [row["quantity"] for row in rows]
    meter.step("head", table.head)
    told |= meter.step("lazy", lambda: answers(table.lazy()))
    if windows:
        by_day = meter.step("windows", lambda: table.window("1d").agg(pl.col("amount").sum(), by="region"))
        told["window aggregates"] = by_day.select(pl.len(), pl.col("amount").sum()).row(0)
    said = {"told": told, "seconds": meter.seconds, "peaks": meter.peaks}
    print(json.dumps(said), flush=True)
    for line in sys.stdin:
        if line.strip() == "close":
            kt.close()
            return
        if line.strip() == "read":
            print(json.dumps({"len": len(table)}), flush=True)


class Child:
    """A process that asks."""

    def __init__(self, bootstrap: str, state_dir: str, *, windows: bool) -> None:
        command = [
            sys.executable,
            __file__,
            "--child",
            bootstrap,
            state_dir,
            *(["--windows"] if windows else []),
        ]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)  # noqa: S603 - this program
        self._told = cast("IO[str]", self.process.stdin)
        self._said = cast("IO[str]", self.process.stdout)

    def line(self) -> Any:
        """Return what it says next."""
        return json.loads(self._said.readline())

    def tell(self, word: str) -> None:
        """Tell it what to do."""
        self._told.write(f"{word}\n")
        self._told.flush()


def report(name: str, said: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Print a step, and end where an answer is not that of Polars."""
    for step, seconds in said["seconds"].items():
        print(f"{name:14}{step:10}{seconds:10.2f} s {said['peaks'][step]:8,} MB", flush=True)
    if said["told"] != wanted:
        sys.exit(f"{name}: {said['told']} instead of {wanted}")


def main() -> None:
    """Fill a topic, load, open again, kill, open again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--windows", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("BOOTSTRAP", "STATE_DIR"))
    given = parser.parse_args()
    if given.child:
        ask(*given.child, windows=given.windows)
        return
    changed = pl.int_range(0, given.rows, CHANGED, eager=True)
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as state_dir:
        broker.create_topic(TOPIC, PARTITIONS)
        produce(broker.bootstrap, log(given.rows))
        wanted = expected(given.rows, changed, windows=given.windows)
        for name in ("loaded", "after a close"):
            child = Child(broker.bootstrap, state_dir, windows=given.windows)
            report(name, child.line(), wanted)
            if name == "loaded":
                child.tell("close")
                child.process.wait()
        later = pl.int_range(0, 3 * LATER, 3, eager=True)
        produce(broker.bootstrap, iter([orders(later, 1)]))
        child.tell("read")
        child.line()
        time.sleep(5)  # as long as a store may take to be flushed
        child.process.send_signal(signal.SIGKILL)
        child.process.wait()
        wanted = expected(given.rows, pl.concat([changed, later]), windows=given.windows)
        child = Child(broker.bootstrap, state_dir, windows=given.windows)
        report("after a kill", child.line(), wanted)
        child.tell("close")
        child.process.wait()
        size = sum(path.stat().st_size for path in Path(state_dir).rglob("view/*"))
    print(
        f"{given.rows:,} rows; all answers are those of Polars on the whole log; {size / 2**30:.1f} GB of decoded rows"
    )


if __name__ == "__main__":
    main()
