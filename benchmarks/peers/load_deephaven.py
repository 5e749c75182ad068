"""Deephaven, its engine in this process: a table that grows with the topic, ``last_by`` its key.

Arguments: bootstrap, topic, records.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from deephaven_server import Server
from stamps import begin, end, result


def counted(count: Any) -> int:
    """Return the one number of a table of one row, 0 while it has none."""
    return (
        int(count.j_table.getColumnSource("N").getLong(count.j_table.getRowSet().firstRowKey()))
        if count.size
        else 0
    )


def main() -> None:
    """Start the engine, then read until as many records have come."""
    bootstrap, topic, records = sys.argv[1:]
    Server(port=0, jvm_args=["-Xmx2g", "-Dprocess.info.system-info.enabled=false"]).start()
    # They look for the engine as they are imported.
    from deephaven import agg, dtypes, pandas  # noqa: PLC0415
    from deephaven.stream.kafka import consumer  # noqa: PLC0415
    from deephaven.update_graph import shared_lock  # noqa: PLC0415

    def read() -> int:
        """Return how many records are in the table: between two updates, or it would be one behind the count."""
        with shared_lock(latest):
            return counted(count)

    begin()
    rows = consumer.consume(
        {"bootstrap.servers": bootstrap, "max.poll.records": "10000", "isolation.level": "read_committed"},
        topic,
        offsets=consumer.ALL_PARTITIONS_SEEK_TO_BEGINNING,
        key_spec=consumer.simple_spec("Key", dtypes.string),
        value_spec=consumer.json_spec(
            {
                "order_id": dtypes.string,
                "region": dtypes.string,
                "amount": dtypes.double,
                "quantity": dtypes.int32,
                "status": dtypes.string,
            }
        ),
        # Rows are handed to ``last_by`` and the count, and not kept.
        table_type=consumer.TableType.blink(),
    )
    latest = rows.last_by("Key")
    count = rows.agg_by([agg.count_("N")])
    while read() < int(records):
        time.sleep(0.01)
    frame = pandas.to_pandas(latest)
    end()
    result(frame["amount"])


main()
