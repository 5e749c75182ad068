"""Checked by mypy, never run: calls that must fail. An ignored error that is none fails the check."""

from __future__ import annotations

import ktframe

ktframe.table("orders", kye="order_id")  # type: ignore[call-arg]
ktframe.table("orders", key=3)  # type: ignore[arg-type]
ktframe.table("orders", value=b"json")  # type: ignore[arg-type]
ktframe.table("orders", "order_id", "json")  # type: ignore[call-arg]
ktframe.stream("clicks", key="user_id")  # type: ignore[call-arg]
ktframe.stream("clicks", retention=1.5)  # type: ignore[arg-type]
ktframe.stream("clicks", headers="event-type")  # type: ignore[arg-type]
ktframe.stream("clicks", metadata=5)  # type: ignore[arg-type]
ktframe.connect("h:9092", monitr_interval=3)  # type: ignore[call-arg]
ktframe.connect("h:9092", flush_interval=3)  # type: ignore[call-arg]
ktframe.connect("h:9092", writable="yes")  # type: ignore[arg-type]
ktframe.connect(9092)  # type: ignore[arg-type]
ktframe.publish("orders", [], keys="id")  # type: ignore[call-arg]
ktframe.inspect("orders", sample="ten")  # type: ignore[arg-type]
ktframe.topics("orders")  # type: ignore[call-arg]
ktframe.demo(rat=5)  # type: ignore[call-arg]
ktframe.table("orders").window(5, evry=1)  # type: ignore[call-arg]
with ktframe.connect("h:9092") as kt:
    kt.table("orders", kye="order_id")  # type: ignore[call-arg]
    kt.stream("clicks", key="user_id")  # type: ignore[call-arg]
