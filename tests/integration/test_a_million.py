"""A million orders: all there, equal to plain Polars on the whole log, also after a kill in the middle of loading."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support import loader
from support.kafka_topics import KafkaTopics
from support.orders import produce_orders
from support.readers import WatchedReader

from ktframe.config.settings import Settings
from ktframe.fold.records import RecordBatch
from ktframe.kafka.reader import Reader

RECORDS = 1_000_000
KEYS = 200_000
PARTITIONS = 4
KILL_AFTER = 400_000
FLUSH_SECONDS = 0.6

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


class Recorder:
    """Notes where the readers of a Context were told to start, and which offsets they got."""

    def __init__(self) -> None:
        self.assigned: list[dict[int, int]] = []
        self.lowest: dict[int, int] = {}
        self.records = 0

    def reader(self, settings: Settings) -> Callable[[str, bool], Reader]:
        """Return what a Context takes as ``open_reader``."""
        return lambda topic, _headers: _RecordingReader(settings, topic, self)


class _RecordingReader(WatchedReader):
    def __init__(self, settings: Settings, topic: str, notes: Recorder) -> None:
        super().__init__(settings, topic)
        self._notes = notes

    def assign(self, positions: Mapping[int, int]) -> None:
        self._notes.assigned.append(dict(positions))
        super().assign(positions)

    def poll(self) -> RecordBatch | None:
        batch = super().poll()
        if batch is not None:
            self._notes.records += len(batch)
            for partition, offset in zip(batch.partitions, batch.offsets, strict=True):
                self._notes.lowest[partition] = min(offset, self._notes.lowest.get(partition, offset))
        return batch


@pytest.fixture(scope="module")
def million(kafka: KafkaTopics) -> str:
    """Return a topic of a million orders."""
    kafka.create_topic("a-million-orders", PARTITIONS)
    produce_orders(kafka, "a-million-orders", RECORDS, KEYS)
    return "a-million-orders"


@pytest.fixture(scope="module")
def expected(kafka: KafkaTopics, million: str) -> pl.DataFrame:
    """Return the latest order per key as plain Polars finds it in the whole log, read by an independent consumer."""
    log = sorted(kafka.records(million), key=lambda record: (record.partition, record.offset))
    assert len(log) == RECORDS
    values = pl.read_ndjson(b"\n".join(record.value or b"" for record in log))
    keys = pl.Series("key", [(record.key or b"").decode() for record in log])
    return values.insert_column(0, keys).unique("key", keep="last").sort("key")


def test_a_million_orders_are_the_latest_row_per_key(
    million: str, expected: pl.DataFrame, connect: Callable[..., Any]
) -> None:
    """The frame equals plain Polars on the whole log, and so does what a later session finds on disk."""
    assert expected.height == KEYS
    with connect() as kt:
        assert expected.equals(kt.table(million).to_polars().sort("key"))
    notes = Recorder()
    with connect(gate=notes) as kt:
        assert expected.equals(kt.table(million).to_polars().sort("key"))
    assert sum(notes.assigned[0].values()) == RECORDS


def test_a_kill_in_the_middle_loses_nothing_and_repeats_little(
    kafka: KafkaTopics,
    million: str,
    expected: pl.DataFrame,
    connect: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After kill -9 the stored positions cover what was applied a flush interval before; reading goes on from there."""
    applied, killed_at = _load_and_kill(kafka.bootstrap, million, tmp_path / "state")
    notes = Recorder()
    with connect(gate=notes) as kt:
        frame = kt.table(million).to_polars().sort("key")
    assert expected.equals(frame)
    stored = notes.assigned[0]
    safe = [line["position"] for line in applied if line["at"] < killed_at - FLUSH_SECONDS]
    covered = {int(partition): offset for partition, offset in safe[-1].items()} if safe else {}
    with capsys.disabled():
        print(f"\n  applied at the kill              {applied[-1]['position']}")
        print(f"  applied a flush interval before  {covered}")
        print(f"  stored, and read on from         {stored}")
    assert covered
    assert all(stored[partition] >= offset for partition, offset in covered.items())
    assert sum(stored.values()) > 0
    assert notes.records == RECORDS - sum(stored.values())
    assert all(notes.lowest.get(partition, offset) >= offset for partition, offset in stored.items())


def _load_and_kill(bootstrap: str, topic: str, state: Path) -> tuple[list[dict[str, Any]], float]:
    """Load in another process until ``KILL_AFTER`` records are applied, kill it, return its lines and when."""
    command = [sys.executable, str(loader.__file__), bootstrap, topic, str(state), str(FLUSH_SECONDS)]
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            assert "ready" not in line, "it was done before it could be killed"
            lines.append(line)
            if (
                sum(line["position"].values()) >= KILL_AFTER
                and lines[0]["at"] < line["at"] - 2 * FLUSH_SECONDS
            ):
                break
        process.kill()
        killed_at = time.monotonic()
    assert sum(lines[-1]["position"].values()) < RECORDS
    return lines, killed_at
