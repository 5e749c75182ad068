"""A million events in windows: equal to plain Polars on the whole log, also after a kill in the middle of loading."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support import window_loader
from support.kafka_topics import KafkaTopics
from support.readers import WatchedReader

from ktframe.config.settings import Settings
from ktframe.fold.records import RecordBatch
from ktframe.kafka.reader import Reader

EVENTS = 1_000_000
KEYS = 50_000
PARTITIONS = 4
KILL_AFTER = 250_000
FLUSH_SECONDS = 0.6
BERLIN = "Europe/Berlin"

# Four days; on the third, 2026-10-25, clocks in Berlin go back: it has 25 hours.
FIRST = datetime(2026, 10, 23, tzinfo=UTC)
SPACING_MS = 345

TIME = pl.Datetime("ms", "UTC")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Counter:
    """Counts the readers of a Context and what they read; holds all of them while ``opened`` is not set."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.assigned: list[dict[int, int]] = []
        self.batches: list[int] = []
        self.opened = Event()
        if is_open:
            self.opened.set()

    @property
    def records(self) -> int:
        """How many records were read; batches are listed, since two threads would lose what they add to one number."""
        return sum(self.batches)

    def reader(self, settings: Settings) -> Callable[[str, bool], Reader]:
        """Return what a Context takes as ``open_reader``."""
        return lambda topic, _headers: _CountingReader(settings, topic, self)


class _CountingReader(WatchedReader):
    def __init__(self, settings: Settings, topic: str, counter: Counter) -> None:
        super().__init__(settings, topic)
        self._counter = counter

    def assign(self, positions: Mapping[int, int]) -> None:
        self._counter.assigned.append(dict(positions))
        super().assign(positions)

    def poll(self) -> RecordBatch | None:
        if not self._counter.opened.wait(0.05):
            return None
        batch = super().poll()
        self._counter.batches.append(0 if batch is None else len(batch))
        return batch


# --- what is in the topic, and what plain Polars makes of it ----------------------------------------------------------


def made_events() -> pl.DataFrame:
    """Return the events as they are produced: one in fifty a minute or ten late, one in a hundred a tombstone.

    A key's events go to one partition, but for one in a hundred that goes to the next.
    """
    number = pl.col("number")
    dice = number.hash(seed=7)
    late_ms = pl.when(dice % 50 == 0).then(dice // 50 % 600_000).otherwise(dice // 50 % 5_000)
    stray = (dice // 7_919 % 100 == 0).cast(pl.Int64)
    first_ms = int(FIRST.timestamp() * 1000)
    values = {
        "user_id": pl.col("user_id"),
        "amount": (dice // 31 % 10_000).cast(pl.Int64),
        "kind": pl.format("kind-{}", dice // 11 % 5),
        "region": pl.format("region-{}", pl.col("user_id") % 7),
    }
    return (
        pl.select(number=pl.int_range(EVENTS))
        .with_columns(user_id=(dice // 101 % KEYS).cast(pl.Int64))
        .with_columns(
            pl.format("u-{}", "user_id").alias("key"),
            ((pl.col("user_id") + stray) % PARTITIONS).cast(pl.Int32).alias("partition"),
            (first_ms + number * SPACING_MS - late_ms.cast(pl.Int64)).alias("at"),
            (dice // 13 % 100 == 0).alias("is_tombstone"),
            pl.struct(**values).struct.json_encode().alias("value"),
            *(each.alias(name) for name, each in values.items()),
        )
        .with_columns(
            pl.when("is_tombstone").then(None).otherwise(pl.col(name)).alias(name)
            for name in (*values, "value")
        )
        .with_columns(
            pl.col("at").cast(TIME).alias("timestamp"),
            pl.int_range(pl.len()).over("partition").alias("offset"),
        )
    )


@pytest.fixture(scope="module")
def events() -> pl.DataFrame:
    """Return the events with their partitions and offsets, in the order in which they were produced."""
    return made_events()


@pytest.fixture(scope="module")
def topic(kafka: KafkaTopics, events: pl.DataFrame) -> str:
    """Return the topic that holds the events."""
    name = kafka.create_topic("a-million-events", PARTITIONS)
    producer = kafka.producer(
        **{
            "linger.ms": 50,
            "queue.buffering.max.messages": 200_000,
            "compression.type": "lz4",
            "enable.idempotence": True,
        }
    )
    rows = events.select("key", "value", "partition", "at").iter_rows()
    for number, (key, value, partition, at) in enumerate(rows, 1):
        producer.produce(name, key=key, value=value, partition=partition, timestamp=at)
        if number % 100_000 == 0:
            producer.flush()
    assert producer.flush() == 0
    counts = dict(events.group_by("partition").len().iter_rows())
    assert kafka.end_offsets(name) == counts
    return name


def fixed(events: pl.DataFrame, size: str, every: str | None = None) -> pl.DataFrame:
    """Return the events with the start and end of each fixed window that they are in."""
    every = every or size
    step = pl.duration(minutes=minutes(every))
    last = pl.col("timestamp").dt.truncate(every)
    parts = [
        events.with_columns((last - step * number).alias("window_start"))
        for number in range(minutes(size) // minutes(every))
    ]
    end = pl.col("window_start") + pl.duration(minutes=minutes(size))
    return pl.concat(parts).with_columns(end.alias("window_end"))


def minutes(text: str) -> int:
    """Return the minutes of ``15m`` or ``1h``."""
    return int(text[:-1]) * {"m": 1, "h": 60}[text[-1]]


def local_days(events: pl.DataFrame) -> pl.DataFrame:
    """Return the events with the start and end of their day in Berlin."""
    day = pl.col("timestamp").dt.convert_time_zone(BERLIN).dt.truncate("1d")
    return events.with_columns(
        day.dt.convert_time_zone("UTC").alias("window_start"),
        day.dt.offset_by("1d").dt.convert_time_zone("UTC").alias("window_end"),
    )


def sessions(events: pl.DataFrame, gap: str) -> pl.DataFrame:
    """Return the events of each user with the first and last time of the session that they are in."""
    known = events.filter(pl.col("user_id").is_not_null()).sort("user_id", "timestamp")
    begins = (
        (pl.col("user_id") != pl.col("user_id").shift())
        | (pl.col("timestamp").diff() > pl.duration(minutes=minutes(gap)))
    ).fill_null(value=True)
    numbered = known.with_columns(begins.cum_sum().alias("session"))
    return numbered.with_columns(
        pl.col("timestamp").min().over("session").alias("window_start"),
        pl.col("timestamp").max().over("session").alias("window_end"),
    )


def latest(placed: pl.DataFrame) -> pl.DataFrame:
    """Return the latest row per window and key: each partition folds alone, the newest word of several counts."""
    folded = (
        placed.sort("partition", "offset")
        .unique(["window_start", "key", "partition"], keep="last", maintain_order=True)
        .sort("timestamp", "partition")
        .unique(["window_start", "key"], keep="last", maintain_order=True)
        .filter(~pl.col("is_tombstone"))
    )
    columns = ("window_start", "window_end", "key", "user_id", "amount", "kind", "region")
    return folded.select(*columns, "partition", "offset", "timestamp")


def summed(placed: pl.DataFrame, *by: str) -> pl.DataFrame:
    """Return the sum of amounts and the number of rows per window and group."""
    group = ("window_start", "window_end", *by)
    return placed.group_by(group).agg(revenue=pl.col("amount").sum(), orders=pl.len()).sort(group)


TOTALS = {"revenue": pl.col("amount").sum(), "orders": pl.len()}


def assert_equal(expected: pl.DataFrame, found: pl.DataFrame) -> None:
    """Assert that two frames hold the same rows, in whatever order."""
    key = [name for name in ("window_start", "key", "user_id", "kind", "region") if name in expected.columns]
    assert_frame_equal(expected.sort(key), found.sort(key))


def assert_windows(events: pl.DataFrame, table: Any) -> None:
    """Assert that tumbling, rolled-up, hopping and calendar windows of the table are those of plain Polars."""
    five = latest(fixed(events, "5m"))
    assert_equal(five, table.window(5).to_polars(metadata=True))
    assert_equal(summed(five, "region"), table.window(5).agg(by="region", **TOTALS))
    for placed, window in (
        (fixed(events, "15m"), table.window(15)),
        (fixed(events, "1h", "15m"), table.window("1h", every="15m")),
        (local_days(events), table.window("1d", tz=BERLIN)),
    ):
        rows = latest(placed)
        assert_equal(rows, window.to_polars(metadata=True))
        assert_equal(summed(rows, "region"), window.agg(by="region", **TOTALS))


def assert_stream(events: pl.DataFrame, stream: Any) -> None:
    """Assert that windows of the events are those of plain Polars: tombstones count, but in sessions by a field."""
    for placed, window, by in (
        (fixed(events, "5m"), stream.window(5), ["kind"]),
        (fixed(events, "1h", "15m"), stream.window("1h", every="15m"), ["kind"]),
        (local_days(events), stream.window("1d", tz=BERLIN), ["kind", "region"]),
    ):
        assert_equal(summed(placed, *by), window.agg(by=by, **TOTALS))
    found = stream.session("30m", by="user_id").agg(**TOTALS)
    assert_equal(summed(sessions(events, "30m"), "user_id"), found)


def stream_times(events: pl.DataFrame, below: Mapping[int, int]) -> dict[int, datetime | None]:
    """Return the greatest timestamp of each partition among the events below the given offsets."""
    bound = pl.col("partition").replace_strict(dict(below), return_dtype=pl.Int64)
    seen = events.filter(pl.col("offset") < bound)
    known = dict(seen.group_by("partition").agg(pl.col("timestamp").max()).iter_rows())
    return {partition: known.get(partition) for partition in below}


# --- the tests --------------------------------------------------------------------------------------------------------


def test_windows_of_a_million_events(events: pl.DataFrame, topic: str, connect: Callable[..., Any]) -> None:
    """Windows equal plain Polars on the whole log; what is derived from them starts no reader and reads nothing."""
    counter = Counter()
    with connect(gate=counter) as kt:
        table = kt.table(topic)
        small = table.window(5)
        small.to_polars()
        assert (len(counter.assigned), counter.records) == (1, EVENTS)

        assert_windows(events, table)

        days = table.window("1d", tz=BERLIN).to_polars()
        assert (len(counter.assigned), counter.records) == (1, EVENTS)
        assert (
            days.select((pl.col("window_end") - pl.col("window_start")).dt.total_hours()).to_series().max()
            == 25
        )
        ends = stream_times(events, small.position().offsets)
        assert small.position().stream_times == ends
        assert table.window(15)._reader.binding is small._reader.binding
        assert_stream(events, kt.stream(topic))


def test_windows_after_a_kill(
    kafka: KafkaTopics,
    events: pl.DataFrame,
    topic: str,
    connect: Callable[..., Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After kill -9 rows, positions and stream times go on from one moment, and all windows are as without it."""
    covered = load_and_kill(kafka.bootstrap, topic, tmp_path / "state")
    counter = Counter(is_open=False)
    with connect(gate=counter) as kt:
        table, stream = kt.table(topic), kt.stream(topic)
        held = {"window": table.window(5), "stream": stream}
        stored = {}
        for name, each in held.items():
            each.to_polars(fresh=False)
            stored[name] = each.position().offsets
            assert each.position().stream_times == stream_times(events, stored[name])
            assert all(stored[name][int(partition)] >= offset for partition, offset in covered[name].items())
            assert 0 < sum(stored[name].values()) < EVENTS
        with capsys.disabled():
            print(f"\n  stored, and read on from: {stored}")  # noqa: T201 - shows what it measured
        counter.opened.set()

        assert_windows(events, table)
        assert_stream(events, stream)

        # A reader that was held for long is opened anew: it might be dead. It goes on where the table is.
        assert len(counter.assigned) >= 2
        assert counter.records == 2 * EVENTS - sum(sum(each.values()) for each in stored.values())
        ends = dict(events.group_by("partition").len().iter_rows())
        for each in held.values():
            assert each.position().stream_times == stream_times(events, ends)


def load_and_kill(bootstrap: str, topic: str, state: Path) -> dict[str, dict[str, int]]:
    """Load in another process until both have ``KILL_AFTER`` records, kill it; return what must be on disk."""
    command = [sys.executable, str(window_loader.__file__), bootstrap, topic, str(state), str(FLUSH_SECONDS)]
    lines: dict[str, list[dict[str, Any]]] = {"window": [], "stream": []}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for text in process.stdout:
            line = json.loads(text)
            assert "ready" not in line, "it was done before it could be killed"
            lines[line["of"]].append(line)
            if all(each and is_far(each) for each in lines.values()):
                break
        process.kill()
        killed_at = time.monotonic()
    safe = {
        name: [line["position"] for line in each if line["at"] < killed_at - FLUSH_SECONDS]
        for name, each in lines.items()
    }
    assert all(safe.values())
    return {name: each[-1] for name, each in safe.items()}


def is_far(lines: list[dict[str, Any]]) -> bool:
    """Say whether enough was applied, for long enough."""
    is_enough = sum(lines[-1]["position"].values()) >= KILL_AFTER
    return bool(is_enough and lines[0]["at"] < lines[-1]["at"] - 2 * FLUSH_SECONDS)
