"""Writing through tables on a real broker: what others see, what two writers make of one topic, and what a kill leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import IsolationLevel
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.waiting import wait_until
from support.writers import ctrl_c_as_soon_as

import ktframe
from ktframe.context.context import Context

Connect = Callable[..., Context]
SUPPORT = Path(__file__).parents[1] / "support"


def start(
    kafka: KafkaTopics, name: str, state_dir: Path, seed: str, count: int, way: str
) -> subprocess.Popen[str]:
    """Start a process that writes."""
    program = [sys.executable, str(SUPPORT / "table_writer.py"), kafka.bootstrap, name, str(state_dir), seed]
    return subprocess.Popen(
        [*program, str(count), way], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def fold(kafka: KafkaTopics, name: str) -> dict[str, Any]:
    """Return what the topic's records add up to, by a consumer of its own."""
    rows: dict[str, Any] = {}
    for record in kafka.records(name):
        key = (record.key or b"").decode()
        rows.pop(key, None)
        if record.value is not None:
            rows[key] = json.loads(record.value)
    return rows


def shown(table: ktframe.KTable) -> dict[str, Any]:
    """Return the rows of a table in the same shape."""
    return {row.pop("key"): row for row in table.to_polars().to_dicts()}


@pytest.mark.slow
def test_two_processes_and_a_restart_of_the_broker(
    broker: KafkaBroker, topic: Any, tmp_path: Path, connect: Connect
) -> None:
    """Ten thousand puts and deletes by two processes on one topic: their tables, and a third, equal the fold of the log."""
    name = broker.create_topic(topic(), partitions=3)
    writers = [start(broker, name, tmp_path / seed, seed, 5_000, "steps") for seed in ("a", "b")]
    wait_until(lambda: sum(broker.end_offsets(name).values()) > 1_000, "a thousand records", timeout=120)
    broker.restart()
    for writer in writers:
        out, err = writer.communicate(timeout=240)
        assert (writer.returncode, out, err) == (0, "ready\ndone\n", "")
    expected = fold(broker, name)
    assert len(expected) > 50
    for state in ("a", "b", "c"):  # their own stores, opened again, and one that reads everything
        with connect(state_dir=tmp_path / state) as kt:
            assert shown(kt.table(name)) == expected
            assert kt.table(name).status().contested == 0


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.2])
def test_a_kill_during_an_atomic_upsert_leaves_all_or_nothing(
    kafka: KafkaTopics, topic: Any, tmp_path: Path, connect: Connect, delay: float
) -> None:
    """Whenever the process is killed, readers of committed records see the whole frame or no row of it."""
    name = kafka.create_topic(topic(), partitions=2)
    writer = start(kafka, name, tmp_path / "writer", "w", 20_000, "atomic")
    wait_until(
        lambda: sum(kafka.end_offsets(name, isolation=IsolationLevel.READ_UNCOMMITTED).values()) > 0,
        "records",
        timeout=180,
    )
    try:
        writer.wait(delay)
    except subprocess.TimeoutExpired:
        writer.send_signal(signal.SIGKILL)
    writer.communicate()
    kafka.produce(name, [(b"other", b'{"by": "x", "n": 1}')])
    kt = connect()
    rows = shown(kt.table(name))
    rows.pop("other", None)
    assert len(rows) in (0, 20_000)


def test_atomic_writes_come_at_once(kafka: KafkaTopics, topic: Any, connect: Connect, tmp_path: Path) -> None:
    """The call returns when the table has all rows, and every other reader can have them."""
    name = kafka.create_topic(topic(), partitions=3)
    writing, reading = connect(writable=True), connect(state_dir=tmp_path / "reader")
    table = reading.table(name)
    table.wait_until_ready()
    rows = pl.DataFrame({"key": [f"k-{number}" for number in range(5_000)], "n": 1})
    written = writing.table(name).upsert(rows, atomic=True)
    assert written.height == writing.table(name).to_polars(fresh=False).height == 5_000
    assert len(table) == 5_000


def test_a_frame_that_is_too_large_for_the_topic_says_which_rows(
    kafka: KafkaTopics, topic: Any, connect: Connect
) -> None:
    """Good rows of the same call are written, and the error knows them; nothing passes for written that is not."""
    name = kafka.create_topic(topic(), max_message_bytes=50_000)
    table = connect(writable=True).table(name)
    rows = pl.DataFrame({"key": ["a", "b", "c"], "x": ["small", "x" * 100_000, "small"]})
    with pytest.raises(ktframe.WriteError, match="2 of 3 records were written") as caught:
        table.upsert(rows)
    assert list(caught.value.failed) == [1]
    assert sorted(table.keys()) == ["a", "c"]
    with pytest.raises(ktframe.WriteError):
        table.upsert(rows.with_columns(key=pl.col("key") + "2"), atomic=True)
    assert sorted(table.keys()) == ["a", "c"]


def test_a_topic_that_is_not_there_is_not_made(kafka: KafkaTopics, topic: Any, connect: Connect) -> None:
    """A mistyped name is an error, for a table and for publish, and no new topic."""
    kt = connect(writable=True)
    name = topic()
    with pytest.raises(ktframe.UnknownTopicError):
        kt.table(name).put({"key": "a", "x": 1})
    with pytest.raises(ktframe.WriteError) as caught:
        kt.publish(name, pl.DataFrame({"x": [1]}))
    assert isinstance(caught.value.__cause__, ktframe.UnknownTopicError)
    assert name not in kt.topics()["topic"].to_list()


@pytest.mark.parametrize("atomic", [False, True])
def test_ctrl_c_ends_a_write_to_a_broker_that_is_silent(
    broker: KafkaBroker, topic: Any, connect: Connect, *, atomic: bool
) -> None:
    """The interrupt's cause names the records that are not written or may be, and the next write works."""
    name = broker.create_topic(topic())
    with connect(writable=True) as kt:
        kt.publish(name, [{"key": "a", "n": 1}], key="key", atomic=atomic)
        begun = time.monotonic()
        broker.pause()
        try:
            with (
                ctrl_c_as_soon_as(lambda: time.monotonic() > begun + 1),
                pytest.raises(KeyboardInterrupt) as caught,
            ):
                kt.publish(name, [{"key": "b", "n": 2}, {"key": "c", "n": 3}], key="key", atomic=atomic)
        finally:
            broker.resume()
        error = caught.value.__cause__
        assert isinstance(error, ktframe.WriteError)
        assert sorted([*error.failed, *error.unknown]) == [0, 1]
        kt.publish(name, [{"key": "d", "n": 4}], key="key", atomic=atomic)
        assert {"a", "d"} <= fold(broker, name).keys()
        assert not error.failed or "b" not in fold(broker, name)
