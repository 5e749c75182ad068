"""Spark: a batch read of the whole topic, the row with the greatest offset of each key, fetched to Python as Arrow.

Arguments: bootstrap, topic, records. The number of records is not used: a batch read ends where the topic does.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as f
from stamps import begin, end, result

ORDER = "order_id STRING, region STRING, amount DOUBLE, quantity INT, status STRING"


def main() -> None:
    """Start Spark, then read."""
    bootstrap, topic, _ = sys.argv[1:]
    jars = Path(os.environ["BENCH_JARS"])
    # Spark brings the others, in the versions that it needs.
    wanted = ("spark-sql-kafka", "spark-token-provider-kafka", "kafka-clients", "commons-pool2")
    kafka = ",".join(str(jar) for jar in jars.glob("*.jar") if jar.name.startswith(wanted))
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.jars", kafka)
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.memory", "2g")
        .config("spark.sql.shuffle.partitions", "4")
        .config("spark.log.level", "ERROR")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    begin()
    records = (
        session.read.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("kafka.isolation.level", "read_committed")
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("endingOffsets", "latest")
        .load()
    )
    newest = records.groupBy("key").agg(f.max_by("value", "offset").alias("value"))
    rows = newest.select(f.from_json(f.col("value").cast("string"), ORDER).alias("row")).select("row.*")
    latest = rows.toArrow()
    end()
    result(latest["amount"].to_pylist())


main()
