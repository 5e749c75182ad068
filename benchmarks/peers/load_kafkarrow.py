"""kafkarrow: Arrow batches of raw records; Polars takes the last of each key, and reads its JSON.

Arguments: bootstrap, topic, records. The number of records is not used: kafkarrow says when it is live.
"""

from __future__ import annotations

import sys

import polars as pl
from kafkarrow import ConsumerManager, SourceTopic
from stamps import begin, end, result

ORDER = pl.Struct(
    {
        "order_id": pl.String,
        "region": pl.String,
        "amount": pl.Float64,
        "quantity": pl.Int64,
        "status": pl.String,
    }
)


def main() -> None:
    """Poll until it is live."""
    bootstrap, topic, _ = sys.argv[1:]
    begin()
    manager = ConsumerManager(
        config={"bootstrap.servers": bootstrap, "group.id": "bench", "fetch.queue.backoff.ms": "10"},
        topics=[SourceTopic.from_earliest(topic)],
        batch_size=50_000,
    )
    batches = []
    while not manager.is_live():
        batch = manager.poll(timeout_ms=100)
        if batch.num_rows:
            batches.append(pl.from_arrow(batch))
    records = pl.concat(batches)
    latest = records.unique("key", keep="last", maintain_order=False)
    frame = latest.select(pl.col("value").cast(pl.String).str.json_decode(ORDER)).unnest("value")
    end()
    result(frame["amount"])


main()
