"""Flink: a bounded batch query over the topic, the row with the greatest offset of each key, fetched to Python as Arrow.

Arguments: bootstrap, topic, records. The number of records is not used: the source ends where the topic does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyflink.table import EnvironmentSettings, TableEnvironment
from stamps import begin, end, result

SOURCE = """
CREATE TABLE orders (
    order_id STRING, region STRING, amount DOUBLE, quantity INT, status STRING,
    record_key BYTES, record_offset BIGINT METADATA FROM 'offset' VIRTUAL
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{bootstrap}',
    'properties.isolation.level' = 'read_committed',
    'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',
    'key.format' = 'raw', 'key.fields' = 'record_key', 'value.format' = 'json', 'value.fields-include' = 'EXCEPT_KEY'
)
"""
LATEST = """
SELECT order_id, region, amount, quantity, status FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY record_key ORDER BY record_offset DESC) AS number FROM orders
) WHERE number = 1
"""


def main() -> None:
    """Start a local Flink, then read."""
    bootstrap, topic, _ = sys.argv[1:]
    environment = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    jars = Path(os.environ["BENCH_JARS"]).resolve().glob("*.jar")
    environment.get_config().set("pipeline.jars", ";".join(jar.as_uri() for jar in jars))
    environment.get_config().set("parallelism.default", "2")
    begin()
    environment.execute_sql(SOURCE.format(topic=topic, bootstrap=bootstrap))
    latest = environment.sql_query(LATEST).to_pandas()
    end()
    result(latest["amount"])


main()
