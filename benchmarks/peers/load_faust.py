"""Faust (faust-streaming): an agent that keeps the last value of each key in a table, which is RocksDB.

Arguments: bootstrap, topic, records.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import faust
from stamps import begin, end, result

bootstrap, topic_name, records = sys.argv[1:]
sys.argv = [sys.argv[0], "worker", "--loglevel=error", "--without-web"]

app = faust.App(
    f"bench-{time.time_ns()}",
    broker=f"kafka://{bootstrap}",
    store="rocksdb://?driver=rocksdict",
    datadir="state",
    topic_partitions=4,
    stream_buffer_maxsize=16_384,
    broker_commit_every=100_000,
    broker_commit_interval=30.0,
    processing_guarantee="at_least_once",
    stream_wait_empty=False,
)
orders = app.topic(topic_name, key_type=str, key_serializer="raw", value_serializer="json")
latest = app.Table("latest", default=dict, partitions=4)
begin()


@app.agent(orders)
async def keep(stream: Any) -> None:
    """Keep the value as the latest of its key."""
    seen = 0
    async for key, value in stream.items():
        latest[key] = value
        seen += 1
        if seen == int(records):
            end()
            result(row["amount"] for row in latest.values())


app.main()
