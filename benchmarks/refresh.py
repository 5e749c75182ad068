"""What reads of a loaded table cost: after changes, of single keys, of windows, and of aggregates.

A topic of orders is loaded: 200,000 rows of a million records. Then, medians of several rounds: ``to_polars()`` right after
1, 1,000 and 100,000 changes were acknowledged; ``get`` and ``get_many``, fresh and not; the first ``window(5)``; ``agg`` over
it. All are compared with one thing that ktframe has no part in: what bare Polars takes for the same aggregate of these rows.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl
from history import record

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.kafka_broker import KafkaBroker
from support.orders import orders, produce_orders

import ktframe

TOPIC = "orders"
RECORDS = 1_000_000
RECORDS_A_KEY = 5
PARTITIONS = 4
ROUNDS = 7
CHANGES = (1, 1_000, 100_000)
LOOKED_UP = 10_000
YARDSTICK = "bare Polars group_by"
TOTALS = {"revenue": pl.col("amount").sum(), "orders": pl.len()}


def seconds_of(call: Callable[[], Any]) -> float:
    """Return what one call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def median_ms(call: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    """Return the median of some calls in ms, each after a call of ``before`` that does not count."""
    taken = []
    for _ in range(ROUNDS):
        before()
        taken.append(seconds_of(call))
    return statistics.median(taken) * 1000


def after_changes(broker: KafkaBroker, table: Any, keys: int) -> dict[str, float]:
    """Return the ms of a fresh read with nothing new, and right after changes were acknowledged."""
    found = {"to_polars(), nothing new": median_ms(table.to_polars)}
    for count in CHANGES:
        some = min(count, keys)
        name = f"to_polars(), changes before: {some:,}"
        found[name] = median_ms(table.to_polars, lambda some=some: produce_orders(broker, TOPIC, some, keys))
    return found


def look_ups(table: Any, keys: int) -> dict[str, float]:
    """Return the ms of reads of single keys and of many."""
    names = [key.decode() for key, _ in islice(orders(keys, keys), LOOKED_UP)]
    some = names[len(names) // 2]
    if table.get(some)["order_id"] != some:
        sys.exit(f"get({some!r}) has another row")
    return {
        "get()": median_ms(lambda: table.get(some)),
        "get(fresh=False)": median_ms(lambda: table.get(some, fresh=False)),
        f"get_many() of {len(names):,}": median_ms(lambda: table.get_many(names)),
    }


def windows(table: Any) -> dict[str, float]:
    """Return the ms of reads of windows, and of the same aggregate by bare Polars."""
    window = table.window(5)
    first = seconds_of(window.to_polars) * 1000
    rows = window.to_polars()

    def bare() -> pl.DataFrame:
        return rows.group_by("window_start", "region").agg(**TOTALS)

    def ours() -> pl.DataFrame:
        return window.agg(by="region", **TOTALS)

    if ours()["orders"].sum() != bare()["orders"].sum() or not rows.height:
        sys.exit("window(5).agg() and bare Polars count differently")
    taken: dict[str, list[float]] = {"window(5).agg()": [], YARDSTICK: []}
    for _ in range(ROUNDS):
        taken["window(5).agg()"].append(seconds_of(ours))
        taken[YARDSTICK].append(seconds_of(bare))
    medians = {name: statistics.median(each) * 1000 for name, each in taken.items()}
    return {"first window(5).to_polars()": first} | medians


def main() -> None:
    """Load, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=RECORDS)
    count = parser.parse_args().records
    keys = max(count // RECORDS_A_KEY, 1)
    with KafkaBroker() as broker, tempfile.TemporaryDirectory() as state_dir:
        broker.create_topic(TOPIC, PARTITIONS)
        produce_orders(broker, TOPIC, count, keys)
        with ktframe.connect(broker.bootstrap, state_dir=state_dir) as kt:
            table = kt.table(TOPIC)
            load_ms = seconds_of(table.to_polars) * 1000
            # The windows last: their store would follow the topic as well, beside the table's.
            found = after_changes(broker, table, keys) | look_ups(table, keys) | windows(table)
            if table.to_polars().height != keys:
                sys.exit(f"the table has {table.to_polars().height:,} rows, not {keys:,}")
    yardstick = found.pop(YARDSTICK)
    print(f"{count:,} records, {keys:,} rows, loaded in {load_ms:,.0f} ms; medians of {ROUNDS} rounds")
    print(f"{YARDSTICK:36}{yardstick:10.2f} ms")
    for name, taken in found.items():
        print(f"{name:36}{taken:10.2f} ms{taken / yardstick:12,.1f} x that")
    if count >= RECORDS:
        record("refresh", {f"{YARDSTICK} / {name}": yardstick / taken for name, taken in found.items()})


if __name__ == "__main__":
    main()
