"""Who takes part in the load benchmark, and what each does and does not do for its time."""

from __future__ import annotations

from contender import Contender

LIMIT_SECONDS = 300.0
BARE = "bare consume(), tuned"
KTFRAME = "ktframe"

CLIENT = ("confluent-kafka", "orjson", "polars")
_JVM = ("-XX:+UseParallelGC", "-Xmx1g")

CONTENDERS = (
    Contender(
        BARE,
        "bare.py",
        "keys and values of all records as bytes, with fetch.queue.backoff.ms=10",
        "keeps nothing, decodes nothing; only the number of records is verified",
        how="tuned",
        packages=("confluent-kafka",),
        keeps_rows=False,
    ),
    Contender(
        "bare consume(), librdkafka's defaults",
        "bare.py",
        "the same with librdkafka's own settings",
        "as above",
        how="defaults",
        packages=("confluent-kafka",),
        keeps_rows=False,
    ),
    Contender(
        KTFRAME,
        "load_ktframe.py",
        "a Polars frame; a store in RocksDB with rows, raw bytes and positions; types learned; every record judged, "
        "checksums checked, committed records only, complete as of the call",
        "-",
        packages=("confluent-kafka", "polars", "rocksdict", "pyarrow"),
    ),
    Contender(
        "naive loop, whole batches",
        "naive.py",
        "a dictionary by key, orjson over whole batches, a Polars frame at the end; committed records only",
        "no store; a bad record ends it, tombstones too; it must be told when to stop",
        how="batches",
        packages=CLIENT,
    ),
    Contender(
        "naive loop, record by record",
        "naive.py",
        "the same by poll(), record by record",
        "as above",
        how="records",
        packages=CLIENT,
    ),
    Contender(
        "naive loop, aiokafka",
        "naive_aiokafka.py",
        "the same by aiokafka's getmany(), checksums checked",
        "as above; uncommitted records too",
        environment="aiokafka",
    ),
    Contender(
        "Kafka Streams, GlobalKTable",
        "KafkaStreamsLoad.java",
        "a store in RocksDB with raw bytes, restored to the end offsets; checksums checked",
        "nothing is decoded, no frame; uncommitted records too",
        environment="kafka-streams",
        how="global",
        flags=_JVM,
    ),
    Contender(
        "Kafka Streams, KTable, 1 thread",
        "KafkaStreamsLoad.java",
        "a store in RocksDB with raw bytes, with the topic itself as its changelog; checksums checked",
        "nothing is decoded, no frame; uncommitted records too; it is asked for the end by a metric",
        environment="kafka-streams",
        how="table",
        flags=_JVM,
    ),
    Contender(
        "chDB, Kafka engine",
        "load_chdb.py",
        "a MergeTree table of all records on disk, and an Arrow table of the latest rows; committed records only",
        "loads by SELECT, as its embedded engine has no background threads for topics; it is told how many records there are",
        environment="chdb",
    ),
    Contender(
        "Deephaven, last_by",
        "load_deephaven.py",
        "a table in memory that goes on with the topic, and a pandas frame of it; committed records only",
        "no store; it is told how many records there are",
        environment="deephaven",
    ),
    Contender(
        "Pathway, static",
        "load_pathway.py",
        "rows handed to Python one by one; committed records only",
        "no store, no frame",
        environment="pathway",
    ),
    Contender(
        "Quix Streams",
        "load_quix.py",
        "a state in RocksDB; committed records only",
        "no changelog topic, no frame; it is told how many records there are",
        environment="quix",
    ),
    Contender(
        "Bytewax",
        "load_bytewax.py",
        "parsed rows in a list; committed records only",
        "no recovery store, no frame",
        environment="bytewax",
    ),
    Contender(
        "kafkarrow and Polars",
        "load_kafkarrow.py",
        "a Polars frame, its JSON read once for each key",
        "keeps all records until the end, no store; a bad record ends it; never ends where the last record is of a transaction",
        environment="kafkarrow",
    ),
    Contender(
        "ktables",
        "load_ktables.py",
        "parsed rows in a dictionary that goes on with the topic; committed records only, complete as of the call",
        "no store, no frame",
        environment="ktables",
    ),
    Contender(
        "Spark, batch",
        "load_spark.py",
        "an Arrow table, its JSON read once for each key; committed records only",
        "no store",
        environment="spark",
    ),
    Contender(
        "Flink, batch",
        "load_flink.py",
        "a pandas frame; committed records only",
        "no store",
        environment="flink",
    ),
    Contender(
        "Faust, RocksDB",
        "load_faust.py",
        "a table in RocksDB with its changelog topic in Kafka",
        "no frame; uncommitted records too; it is told how many records there are",
        environment="faust",
        most_records=100_000,
    ),
)
