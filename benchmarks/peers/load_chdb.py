"""chDB, ClickHouse in this process: queries move what its Kafka engine has into a table, one takes the latest row of each key.

Arguments: bootstrap, topic, records.
"""

from __future__ import annotations

import sys
import time

from chdb.session import Session
from stamps import begin, end, result

# One consumer and large blocks: each SELECT begins with the consumer joining its group again. It goes on from what was
# committed, and from the start if nothing was.
QUEUE = """
CREATE TABLE queue (order_id String, region LowCardinality(String), amount Float64, quantity Int32, status LowCardinality(String))
ENGINE = Kafka SETTINGS kafka_broker_list = '{bootstrap}', kafka_topic_list = '{topic}', kafka_group_name = 'bench-{now}',
    kafka_format = 'JSONEachRow', kafka_num_consumers = 1,
    kafka_poll_max_batch_size = 65536, kafka_max_block_size = 1048576, kafka_flush_interval_ms = 10000,
    kafka_poll_timeout_ms = 500, kafka_commit_on_select = 1
"""
RECORDS = """
CREATE TABLE records (key String, offset UInt64, order_id String, region LowCardinality(String), amount Float64,
    quantity Int32, status LowCardinality(String)) ENGINE = MergeTree ORDER BY key
"""
MOVE = """
INSERT INTO records SELECT _key, _offset, order_id, region, amount, quantity, status FROM queue
SETTINGS stream_like_engine_allow_direct_select = 1
"""
LATEST = """
SELECT key, row.1 AS order_id, row.2 AS region, row.3 AS amount, row.4 AS quantity, row.5 AS status
FROM (SELECT key, argMax((order_id, region, amount, quantity, status), offset) AS row FROM records GROUP BY key)
"""


def main() -> None:
    """Fill the table, and query it."""
    bootstrap, topic, records = sys.argv[1:]
    session = Session("state")
    session.query("CREATE DATABASE bench ENGINE = Atomic")
    session.query("USE bench")
    begin()
    # chDB has no background threads for the engine, says so ("Shutdown was called"), and makes the table all the same.
    try:
        session.query(QUEUE.format(bootstrap=bootstrap, topic=topic, now=time.time_ns()))
    except Exception as error:
        if "Shutdown was called" not in str(error):
            raise
    session.query(RECORDS)
    while int(str(session.query("SELECT count() FROM records"))) < int(records):
        session.query(MOVE)
    latest = session.query(LATEST, "ArrowTable")
    end()
    result(latest["amount"].to_pylist())


main()
