"""Checked by mypy, never run: what a user's own typed code may rely on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_type

import polars as pl

import ktframe


@ktframe.entity(topic="orders", key="order_id")
@dataclass
class Order:
    """A declared entity stays the class it is."""

    order_id: str
    amount: float


async def use_everything() -> None:
    """Use the public names as the README does."""
    assert_type(Order("o-1", 1.0).amount, float)
    with ktframe.connect("host:9092", sasl_username="ada", monitor_interval="1s") as kt:
        assert_type(kt, ktframe.Context)
    orders = ktframe.table("orders", key=["region", "order_id"], schema={"amount": pl.Decimal(12, 2)})
    assert_type(orders, ktframe.KTable)
    assert_type(ktframe.table(Order), ktframe.KTable)
    assert_type(orders.to_polars(metadata=True), pl.DataFrame)
    placed = ktframe.table("orders", headers={"event-type": pl.String, "n": int}, metadata="headers")
    assert_type(placed, ktframe.KTable)
    assert_type(ktframe.stream("clicks", headers=pl.Schema({"ce_type": pl.String})), ktframe.KStream)
    assert_type(await orders.to_polars_async(), pl.DataFrame)
    assert_type(orders.lazy(), pl.LazyFrame)
    assert_type(orders.wait_until_ready(timedelta(seconds=5)), ktframe.Readiness)
    assert_type(await orders.ready("5s", progress=False), ktframe.Readiness)
    assert_type(orders.position(), ktframe.TablePosition)
    assert_type(orders.status(), ktframe.TableStatus)
    assert_type(orders.schema, pl.Schema)
    assert_type(len(orders), int)
    unsubscribe = orders.on_change(lambda event: print(event.rows, event.position))
    unsubscribe()
    orders.events.subscribe(ktframe.ReadyChanged, lambda event: print(event.reason))
    windows = orders.window(5, grace="1m").between("-2h")
    assert_type(windows, ktframe.WindowedKTable)
    assert_type(windows.agg(revenue=pl.col("amount").sum(), by="region"), pl.DataFrame)
    assert_type(windows.live(pl.len(), every="2s", rows=20), ktframe.widgets.Panel)
