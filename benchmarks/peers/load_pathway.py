"""Pathway: a static run over the topic, grouped by key, the row with the greatest offset of each.

Arguments: bootstrap, topic, records. The number of records is not used: a static run ends where the topic does.
"""

from __future__ import annotations

import sys
from typing import Any

import pathway as pw
from stamps import begin, end, result


class Order(pw.Schema):
    """The fields of an order."""

    order_id: str
    region: str
    amount: float
    quantity: int
    status: str


def main() -> None:
    """Run to the end of the topic."""
    bootstrap, topic, _ = sys.argv[1:]
    latest: dict[Any, dict[str, Any]] = {}

    def on_change(key: Any, row: dict[str, Any], **is_addition: Any) -> None:
        if is_addition["is_addition"]:
            latest[key] = row

    begin()
    rows = pw.io.kafka.read(
        {"bootstrap.servers": bootstrap, "group.id": "bench", "auto.offset.reset": "earliest"},
        topic,
        schema=Order,
        format="json",
        mode="static",
        with_metadata=True,
    )
    numbered = rows.with_columns(offset=pw.this["_metadata"]["offset"].as_int())
    grouped = numbered.groupby(pw.this.order_id).reduce(newest=pw.reducers.argmax(pw.this.offset))
    pw.io.subscribe(numbered.ix(grouped.newest), on_change=on_change)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    end()
    result(row["amount"] for row in latest.values())


main()
