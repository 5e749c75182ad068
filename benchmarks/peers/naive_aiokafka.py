"""The naive loop on aiokafka: batches of each partition, a dictionary of the last record of each key, and a DataFrame of it.

Arguments: bootstrap, topic, records.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
import polars as pl
from aiokafka import AIOKafkaConsumer
from stamps import begin, end, result


async def main() -> None:
    """Read until the given number of records has come."""
    bootstrap, topic, records = sys.argv[1:]
    wanted, seen = int(records), 0
    latest: dict[bytes, Any] = {}
    begin()
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=8 * 1024 * 1024,
    )
    await consumer.start()
    while seen < wanted:
        for batch in (await consumer.getmany(timeout_ms=100, max_records=10_000)).values():
            rows = orjson.loads(b"[" + b",".join([record.value for record in batch]) + b"]")
            latest.update(zip([record.key for record in batch], rows, strict=True))
            seen += len(batch)
    frame = pl.DataFrame(list(latest.values()))
    end()
    result(frame["amount"])


asyncio.run(main())
