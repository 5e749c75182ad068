"""``python -m ktframe``: a tour of the main job on the embedded broker; needs no Kafka, ends by itself."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TypeAlias

import polars as pl

from ktframe.clock import SystemClock, now_ms
from ktframe.errors import KtframeWarning
from ktframe.events import BindingState
from ktframe.kafka.mock_broker import SampleRecord
from ktframe.sync.progress import describe
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tour.demo import start_demo

Load: TypeAlias = Callable[[str, Iterable[SampleRecord]], int]
_RATE = 20.0
_WATCH_SECONDS = 4.0
_LOOK_SECONDS = 0.2
_COLUMNS = ("key", "region", "currency", "amount", "status", "updated_at")


def main() -> int:
    """Show a topic becoming a frame, the frame following the topic, and a delete taking effect."""
    pl.Config.set_tbl_hide_dataframe_shape(True).set_tbl_width_chars(110).set_fmt_str_lengths(24)
    _say("Starting a broker inside this process and loading the sample topics ...")
    demo = start_demo(_RATE)
    with demo.context as kt, warnings.catch_warnings():
        orders = kt.table("orders")
        _watch_restore(orders)
        _show_frame(orders)
        warnings.simplefilter(
            "ignore", KtframeWarning
        )  # windows and streams would say it again, for themselves
        _follow(orders)
        _show_regions(orders)
        _show_windows(orders)
        _show_sessions(kt.stream("clicks", start="-2h"))
        _delete_one(orders, demo.broker.load)
        _say("What could not be read is kept, never dropped: orders.errors()")
        print(orders.errors().select("partition", "offset", "reason").head(5))
    _say("Closed: no thread, consumer or store is left.")
    return 0


def _watch_restore(orders: KTable) -> None:
    _say("Restoring the table orders from its topic:")
    while not (readiness := orders.readiness()) and readiness.state is not BindingState.FAILED:
        print("  ", describe(readiness))
        time.sleep(_LOOK_SECONDS)
    print("  ", describe(orders.wait_until_ready()))


def _show_frame(orders: KTable) -> None:
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", KtframeWarning)
        frame = orders.to_polars()
    took = (time.perf_counter() - started) * 1000
    _say(
        f"orders.to_polars(): {frame.height:,} rows x {frame.width} columns, complete as of the call, {took:.0f} ms"
    )
    print(frame.select(_COLUMNS).sort("updated_at", descending=True).head(5))
    for warning in said:
        _say("Some records are no orders. A read says so once, as a Python warning:")
        print(warning.message)


def _follow(orders: KTable) -> None:
    changes: list[int] = []
    unsubscribe = orders.on_change(lambda event: changes.append(event.rows))
    _say(f"Orders change {_RATE:.0f} times a second. Watching for {_WATCH_SECONDS:.0f} s:")
    until = time.monotonic() + _WATCH_SECONDS
    while time.monotonic() < until:
        time.sleep(1)
        frame = orders.to_polars()
        newest = frame.sort("updated_at").row(-1, named=True)
        print(
            f"   {frame.height:,} rows, {sum(changes)} changed; newest: {newest['key']} is {newest['status']}"
        )
    unsubscribe()


def _show_regions(orders: KTable) -> None:
    _say('orders.to_polars().group_by("region", "currency") ...')
    regions = (
        orders.to_polars()
        .group_by("region", "currency")
        .agg(
            orders=pl.len(),
            revenue=pl.col("amount").sum().round(2),
            delivered=(pl.col("status") == "delivered").mean().round(2),
        )
    )
    print(regions.sort("revenue", descending=True).head(8))


def _show_windows(orders: KTable) -> None:
    _say('orders.window(5): the latest row per order per five minutes; .agg(..., by="region")')
    revenue = pl.col("amount").sum().round(2)
    print(orders.window(5).agg(orders=pl.len(), revenue=revenue, by="region").tail(4))
    _say('orders.window("1h", every="5m"): made of the same windows, nothing is read again')
    print(orders.window("1h", every="5m").agg(orders=pl.len(), revenue=revenue).tail(3))


def _show_sessions(clicks: KStream) -> None:
    _say('ktframe.stream("clicks", start="-2h").session("30m", by="user_id"): visits of the last two hours')
    visits = clicks.session("30m", by="user_id").agg(pages=pl.len(), read=pl.col("page").n_unique())
    print(visits.sort("pages", descending=True).head(4))


def _delete_one(orders: KTable, load: Load) -> None:
    key = orders.to_polars().sort("updated_at")["key"][0]
    before = key in orders
    load("orders", [SampleRecord(key.encode(), None, now_ms(SystemClock()))])
    _say(f"A tombstone for {key}: in the table before: {before}, after: {key in orders}")


def _say(*lines: str) -> None:
    print()
    for line in lines:
        print("==", line)


if __name__ == "__main__":
    sys.exit(main())
