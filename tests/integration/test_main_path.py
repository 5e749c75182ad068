"""From a topic to rows: every way to read a table equals a dict built from what was produced."""

import asyncio
import json
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.kafka_topics import KafkaTopics
from support.oracle import is_json_row, json_rows, newest, rows_by
from support.readers import Gate
from support.waiting import wait_until

Topic = Callable[..., str]
Connect = Callable[..., Any]

REGIONS = ("eu", "us", "apac")


def as_json(**fields: Any) -> bytes:
    """Return a JSON object."""
    return json.dumps(fields).encode()


def order_records(count: int, partitions: int) -> list[tuple[bytes | None, bytes | None, int]]:
    """Return records with updates, tombstones, null keys and empty values; odd partitions stay empty."""
    rng = random.Random(partitions)  # noqa: S311 - a seeded mix, not a secret
    records: list[tuple[bytes | None, bytes | None, int]] = []
    for number in range(count):
        name = f"o-{rng.randrange(count // 4)}".encode()
        value = as_json(amount=number / 4, region=rng.choice(REGIONS), items=number % 5)
        key, value = rng.choices(
            [(name, value), (name, None), (None, value), (name, b"")], weights=[80, 12, 4, 4]
        )[0]
        records.append((key, value, zlib.crc32(name) % partitions // 2 * 2))
        if rng.random() < 0.1:  # a producer that sends twice
            records.append(records[-1])
    return records


@pytest.mark.parametrize("partitions", [1, 4, 64])
def test_every_read_equals_the_fold(
    kafka: KafkaTopics, topic: Topic, connect: Connect, partitions: int
) -> None:
    """Frame, lookups, length, keys, ranges and errors equal the last record per key, whatever the partitions."""
    name = kafka.create_topic(topic(), partitions=partitions)
    kafka.produce(name, order_records(800, partitions))
    log = kafka.records(name)
    rows = json_rows(log)
    gone = sorted({record.key.decode() for record in log if record.key is not None} - rows.keys())
    refused = [tuple(record[i] for i in (0, 1, 3, 4)) for record in log if not is_json_row(record)]

    orders = connect().table(name)

    assert rows == rows_by(orders.to_polars())
    assert gone
    assert refused
    assert len(rows) == len(orders)
    assert sorted(rows) == sorted(orders.keys())
    wanted = [*rows, *gone, "never there"]
    shown = {key: {"key": key, **row} for key, row in rows.items()}
    assert [shown.get(key) for key in wanted] == orders.get_many(wanted)
    assert shown["o-1"] == orders["o-1"] == orders.get("o-1")
    assert orders.get(gone[0], "nothing") == "nothing"
    assert "o-1" in orders
    assert gone[0] not in orders
    with pytest.raises(KeyError, match="never there"):
        orders["never there"]
    assert sorted(shown.items()) == list(orders.items())
    assert sorted(key for key in rows if "o-1" <= key < "o-3") == [k for k, _ in orders.items("o-1", "o-3")]
    errors = orders.errors().select("partition", "offset", "key", "value").rows()
    assert sorted(refused, key=lambda line: line[:2]) == sorted(errors, key=lambda line: line[:2])
    assert len(refused) == orders.status().refused


@pytest.mark.parametrize(
    ("key_format", "encode", "keys", "dtype"),
    [
        ("int", struct.Struct(">i").pack, [-(2**31), -1, 0, 7, 2**31 - 1], pl.Int32()),
        ("long", struct.Struct(">q").pack, [-(2**63), -1, 0, 7, 2**63 - 1], pl.Int64()),
        ("bytes", bytes, [b"", b"\x00", b"\x00\xff", b"\xff"], pl.Binary()),
        ("string", str.encode, ["", "a", "a|b", "\u00fc"], pl.String()),
    ],
)
def test_key_formats(
    kafka: KafkaTopics,
    topic: Topic,
    connect: Connect,
    *,
    key_format: str,
    encode: Callable[[Any], bytes],
    keys: list[Any],
    dtype: pl.DataType,
) -> None:
    """Keys of every plain format are decoded, found again, and ordered as values, not as bytes."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(encode(key), as_json(n=n), n % 2) for n, key in enumerate(keys)])

    table = connect().table(name, key_format=key_format)

    assert {key: {"n": n} for n, key in enumerate(keys)} == rows_by(table.to_polars())
    assert dtype == table.schema["key"]
    assert sorted(keys) == [key for key, _ in table.items()]
    assert [{"key": key, "n": n} for n, key in enumerate(keys)] == table.get_many(keys)


@pytest.mark.parametrize(
    ("value", "encode", "values", "dtype"),
    [
        ("string", str.encode, ["", "x", "\u00fc"], pl.String()),
        ("int", struct.Struct(">i").pack, [-1, 0, 2**31 - 1], pl.Int32()),
        ("long", struct.Struct(">q").pack, [-(2**63), 0, 5], pl.Int64()),
        ("bytes", bytes, [b"", b"\xff", b"\x00"], pl.Binary()),
    ],
)
def test_value_formats(
    kafka: KafkaTopics,
    topic: Topic,
    connect: Connect,
    *,
    value: str,
    encode: Callable[[Any], bytes],
    values: list[Any],
    dtype: pl.DataType,
) -> None:
    """A plain value is one column; an empty text is a value, only a missing one deletes."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"k%d" % n, encode(each)) for n, each in enumerate(values)])
    kafka.produce(name, [(b"gone", encode(values[-1])), (b"gone", None)])

    table = connect().table(name, value=value)

    assert {f"k{n}": {"value": each} for n, each in enumerate(values)} == rows_by(table.to_polars())
    assert dtype == table.schema["value"]


def test_key_from_fields(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """With a composite key the fields alone identify a row, and no two different pairs are taken for one."""
    name = kafka.create_topic(topic())
    pairs = [("a|b", "c"), ("a", "b|c"), ("", "null"), ("null", ""), ("x", "1"), ("x", "1")]
    kafka.produce(name, [(b"same", as_json(region=r, id=i, n=n)) for n, (r, i) in enumerate(pairs)])

    table = connect().table(name, key=["region", "id"])

    expected = {pair: n for n, pair in enumerate(pairs)}
    assert expected == {(row["region"], row["id"]): row["n"] for row in table.to_polars().to_dicts()}
    assert sorted(expected) == sorted(table.keys())
    assert table["x", "1"] == {"region": "x", "id": "1", "n": 5}
    assert ("x", "2") not in table


def test_tombstone_by_record_key(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A tombstone removes the rows whose newest record carried its record key, and no others."""
    name = kafka.create_topic(topic())
    kafka.produce(
        name,
        [
            (b"ada", as_json(id="o-1", n=1)),
            (b"ada", as_json(id="o-2", n=2)),
            (b"bob", as_json(id="o-3", n=3)),
            (b"bob", as_json(id="o-2", n=4)),  # o-2 belongs to bob from here on
            (b"ada", None),
        ],
    )

    table = connect().table(name, key="id")

    assert rows_by(table.to_polars(), "id") == {"o-2": {"n": 4}, "o-3": {"n": 3}}
    kafka.produce(name, [(b"bob", None)])
    assert table.to_polars().is_empty()


def test_metadata(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Partition, offset and timestamp of a row are those of its record."""
    name = kafka.create_topic(topic(), partitions=3)
    records = [(b"k%d" % (n % 20), as_json(n=n), n % 20 % 3, 1_700_000_000_000 + n) for n in range(60)]
    kafka.produce(name, records)
    expected = [
        (key.decode(), at.partition, at.offset, datetime.fromtimestamp(at.timestamp_ms / 1000, UTC))
        for key, at in newest(kafka.records(name)).items()
    ]

    frame = connect().table(name).to_polars(metadata=True)

    assert sorted(expected) == sorted(frame.select("key", "partition", "offset", "timestamp").rows())
    assert frame.schema["partition"] == pl.Int32
    assert frame.schema["timestamp"] == pl.Datetime("ms", "UTC")


def test_arrow_and_async(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """DuckDB, pyarrow, pandas and the async twin get the same rows as ``to_polars``."""
    name = kafka.create_topic(topic(), partitions=2)
    kafka.produce(name, [(b"k%d" % n, as_json(n=n, text=f"t{n}"), n % 2) for n in range(10)])
    expected = sorted((f"k{n}", n, f"t{n}") for n in range(10))

    orders = connect().table(name)

    assert expected == sorted(orders.to_polars().rows())
    assert expected == sorted(asyncio.run(orders.to_polars_async()).rows())
    assert expected == sorted(duckdb.sql("from orders").fetchall())
    assert expected == sorted(pl.from_arrow(pa.table(orders)).rows())  # type: ignore[union-attr]
    assert expected == sorted(pd.DataFrame.from_arrow(orders).itertuples(index=False, name=None))
    assert expected == sorted(orders.lazy().collect().rows())


def test_empty_topic_has_its_schema(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A topic without a record is ready, and its frame has all declared columns."""
    name = kafka.create_topic(topic(), partitions=4)

    table = connect().table(name, schema={"amount": "Float64", "tags": pl.List(pl.String)})

    assert table.wait_until_ready(10).is_ready
    expected = {"key": pl.String(), "amount": pl.Float64(), "tags": pl.List(pl.String)}
    assert pl.Schema(expected) == table.to_polars().schema == table.schema
    assert table.to_polars().is_empty()


@pytest.mark.parametrize("partitions", [1, 4])
def test_reopened_table_reads_on(kafka: KafkaTopics, topic: Topic, connect: Connect, partitions: int) -> None:
    """A table that was closed has the same rows when it is opened again, and reads no record twice."""
    name = kafka.create_topic(topic(), partitions=partitions)
    kafka.produce(name, order_records(300, partitions))
    first = connect()
    before = first.table(name)
    rows, errors = rows_by(before.to_polars(metadata=True)), before.errors()
    stored = before.position().offsets
    first.close()
    kafka.produce(name, [(b"later", as_json(amount=1.0, region="eu", items=1), 0)])
    gate = Gate()
    gate.close()

    after = connect(gate=gate).table(name)

    wait_until(lambda: rows == rows_by(after.to_polars(fresh=False, metadata=True)), "the rows on disk")
    gate.open()
    assert json_rows(kafka.records(name)) == rows_by(after.to_polars())
    assert [stored] == gate.assigned
    assert kafka.end_offsets(name).keys() == stored.keys()
    assert errors.equals(after.errors())


RESUME = """
import json, sys
sys.path.insert(0, sys.argv[1])
from support.readers import Gate
from ktframe.config.sources import resolve_settings
from ktframe.context.context import Context
settings, gate = resolve_settings(sys.argv[2], state_dir=sys.argv[3]), Gate()
with Context(settings, open_reader=gate.reader(settings)) as context:
    table = context.table(sys.argv[4])
    rows = table.to_polars().to_dicts()
    print(json.dumps({"rows": rows, "assigned": gate.assigned, "stored": table.position().offsets}))
"""


def test_new_process_reads_on(kafka: KafkaTopics, topic: Topic, tmp_path: Path) -> None:
    """A new process starts where the one before it stopped, with the same rows."""
    name = kafka.create_topic(topic(), partitions=2)
    tests = Path(__file__).parents[1]

    def run() -> dict[str, Any]:
        arguments = [str(tests), kafka.bootstrap, str(tmp_path), name]
        done = subprocess.run(
            [sys.executable, "-c", RESUME, *arguments],
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return dict(json.loads(done.stdout))

    kafka.produce(name, [(b"k%d" % n, as_json(n=n), n % 2) for n in range(20)])
    first = run()
    kafka.produce(name, [(b"k0", as_json(n=100), 0), (b"k1", None, 1)])
    second = run()

    assert first["assigned"] == [{"0": 0, "1": 0}]
    assert second["assigned"] == [first["stored"]] == [{"0": 10, "1": 10}]
    assert json_rows(kafka.records(name)) == {row.pop("key"): row for row in second["rows"]}


KEYS = st.sampled_from([b"a", b"b", b"\xc3\xbc", b""])
STEPS = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(-5, 5)),
    st.tuples(st.just("put"), KEYS, st.integers(-5, 5)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("empty"), KEYS),
    st.tuples(st.just("null key"), st.integers(-5, 5)),
    st.tuples(st.just("read")),
    st.tuples(st.just("reopen")),
)


@settings(examples(0.25), suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=3, max_size=30))
def test_table_is_a_dict(
    kafka: KafkaTopics, topic: Topic, connect: Connect, steps: list[tuple[Any, ...]]
) -> None:
    """After any mix of puts, deletes, unusable records, reads and re-opens the table equals a dict."""
    name = kafka.create_topic(topic(), partitions=2)
    producer = kafka.producer(linger_ms=0)
    rows: dict[str, dict[str, int]] = {}
    refused = 0
    context = connect()

    def send(key: bytes | None, value: bytes | None) -> None:
        kafka.produce(name, [(key, value, zlib.crc32(key or b"") % 2)], producer=producer)

    for kind, *rest in (*steps, ("read",)):
        table = context.table(name, on_refused="ignore")
        if kind == "put":
            send(rest[0], as_json(n=rest[1]))
            rows[rest[0].decode()] = {"n": rest[1]}
        elif kind == "delete":
            send(rest[0], None)
            rows.pop(rest[0].decode(), None)
        elif kind == "empty":
            send(rest[0], b"")
            rows.pop(rest[0].decode(), None)  # it is hidden: its newest record was refused
            refused += 1
        elif kind == "null key":
            send(None, as_json(n=rest[0]))
            refused += 1
        elif kind == "reopen":
            context.close()
            context = connect()
        else:
            assert rows == rows_by(table.to_polars())
            assert len(rows) == len(table)
            keys = ["a", "b", "\u00fc", ""]
            expected = [None if key not in rows else {"key": key, **rows[key]} for key in keys]
            assert expected == table.get_many(keys)
            assert refused == table.status().refused
    context.close()
