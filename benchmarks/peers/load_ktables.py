"""ktables: a dictionary by key in memory, caught up with the topic.

Arguments: bootstrap, topic, records. The number of records is not used: ktables finds out by itself what there is.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import orjson
from ktables import KafkaConnectionConfig, KafkaTable
from stamps import begin, end, result


async def main() -> None:
    """Start the table, which returns when it has caught up."""
    bootstrap, topic, _ = sys.argv[1:]
    connection = KafkaConnectionConfig(
        bootstrap_servers=bootstrap,
        consumer_opts={"isolation_level": "read_committed", "max_partition_fetch_bytes": 8 * 1024 * 1024},
    )
    begin()
    table: KafkaTable[Any] = KafkaTable(
        topic=topic,
        connection=connection,
        ensure_topic=False,
        value_decoder=orjson.loads,
        fetch_max_wait_ms=10,
        poll_timeout_ms=20,
        catchup_timeout=280.0,
    )
    await table.start()
    if not await table.barrier(timeout=280.0):
        message = f"the table is {table.status}"
        raise RuntimeError(message)
    rows = table.snapshot()
    end()
    result(row["amount"] for row in rows.values())


asyncio.run(main())
