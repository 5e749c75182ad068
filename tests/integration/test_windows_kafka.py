"""Windows and streams on a real broker: where reading starts, what retention frees, what closes a window, what is said."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.readers import Gate, WatchedReader
from support.waiting import wait_until

from ktframe.clock import SystemClock
from ktframe.config.settings import Settings, StoreOptions
from ktframe.fold.records import RecordBatch
from ktframe.kafka.reader import Reader

Topic = Callable[..., str]
Connect = Callable[..., Any]
Event = tuple[bytes, bytes | None, int, int]

SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)

# By default a broker refuses timestamps that are more than an hour ahead of its clock.
ANY_TIME = {"message_timestamp_after_max_ms": 2**63 - 1}


class Counter:
    """Counts what the readers of a Context read, and notes from where."""

    def __init__(self) -> None:
        self.assigned: list[dict[int, int]] = []
        self.batches: list[int] = []

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
        batch = super().poll()
        self._counter.batches.append(0 if batch is None else len(batch))
        return batch


def event(n: int, at_ms: int, *, key: str = "k", partition: int = 0) -> Event:
    """Return a record whose value is ``{"n": n}``."""
    return key.encode(), b'{"n":%d}' % n, partition, at_ms


def produce_many(kafka: KafkaTopics, topic: str, events: Iterable[Event]) -> None:
    """Produce many events quickly, in order."""
    producer = kafka.producer(
        **{
            "linger.ms": 50,
            "queue.buffering.max.messages": 200_000,
            "queue.buffering.max.kbytes": 262_144,
            "enable.idempotence": True,
        }
    )
    for number, (key, value, partition, at) in enumerate(events, 1):
        producer.produce(topic, key=key, value=value, partition=partition, timestamp=at)
        if number % 50_000 == 0:
            producer.flush()
    assert producer.flush() == 0


def numbers(frame: pl.DataFrame) -> list[int]:
    """Return the sorted ``n`` of a frame."""
    return sorted(frame["n"].to_list())


def windows(frame: pl.DataFrame) -> dict[tuple[int, int], list[int]]:
    """Return the sorted ``n`` of each window, which is named by its start and end in minutes after noon."""
    found: dict[tuple[int, int], list[int]] = {}
    for start, end, n in frame.select("window_start", "window_end", "n").iter_rows():
        name = (start - NOON) // timedelta(minutes=1), (end - NOON) // timedelta(minutes=1)
        found.setdefault(name, []).append(n)
    return {name: sorted(ns) for name, ns in sorted(found.items())}


def said(what: Any) -> list[str]:
    """Return the three places in which a table or stream says why rows may be missing."""
    return [repr(what), str(what.status()), "; ".join(what.position().notices)]


@pytest.fixture
def turn_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Return a function that moves the clocks of Contexts made in this test: all of them, and further each time."""
    moved = [timedelta()]

    class LaterClock(SystemClock):
        def now(self) -> datetime:
            return super().now() + moved[0]

        def monotonic(self) -> float:
            return super().monotonic() + moved[0].total_seconds()

    def turn(by: timedelta) -> None:
        moved[0] += by

    monkeypatch.setattr("ktframe.context.factory.SystemClock", LaterClock)
    return turn


# --- where reading starts ---------------------------------------------------------------------------------------------

RECENT = 10_000
OLD = 990_000


@pytest.fixture(scope="module")
def mostly_old(kafka: KafkaTopics) -> tuple[str, datetime]:
    """Return a topic of a million events, one in a hundred of the last two hours, and when these had ended.

    The old ones, numbers 0 to 989,999, end half an hour before the recent ones begin: at an hour and three quarters.
    """
    name = kafka.create_topic("mostly-old", 4)
    now = datetime.now(UTC)
    now_ms = int(now.timestamp() * 1000)
    old_from, recent_from = now_ms - 74 * HOUR, now_ms - 105 * MINUTE
    old_step, recent_step = (72 * HOUR - 15 * MINUTE) / OLD, 105 * MINUTE / RECENT
    old = (event(n, old_from + int(n * old_step), key=f"o-{n % 50_000}", partition=n % 4) for n in range(OLD))
    recent = (
        event(OLD + n, recent_from + int(n * recent_step), key=f"r-{n % 500}", partition=n % 4)
        for n in range(RECENT)
    )
    produce_many(kafka, name, [*old, *recent])
    assert sum(kafka.end_offsets(name).values()) == OLD + RECENT
    return name, now


@pytest.mark.slow
def test_start_two_hours_ago(
    mostly_old: tuple[str, datetime], connect: Connect, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a million events only the last two hours' are read; table, windows and stream hold these and say so."""
    topic, _ = mostly_old
    counter = Counter()
    with connect(gate=counter) as kt:
        stream = kt.stream(topic, start="-2h")
        assert numbers(stream.to_polars()) == list(range(OLD, OLD + RECENT))
        assert counter.records == RECENT
        table = kt.table(topic, start="-2h")
        assert numbers(table.to_polars()) == list(range(OLD + RECENT - 500, OLD + RECENT))
        window = table.window("1d", tz="UTC")
        assert window.agg(keys=pl.col("key").n_unique())["keys"].max() == 500
        assert counter.records == 3 * RECENT
        for each in (stream, table, window):
            assert all("partial: from" in text for text in said(each))
        with capsys.disabled():
            print(f"\n  start=-2h read {RECENT} of {OLD + RECENT:,} offsets, from {counter.assigned[0]}")  # noqa: T201 - shows what it measured


@pytest.mark.slow
def test_start_moves_on(
    mostly_old: tuple[str, datetime], connect: Connect, turn_clock: Callable[[timedelta], None]
) -> None:
    """Opened again an hour later, "-2h" leaves out the older events that the store has, and reads none anew."""
    topic, ended = mostly_old
    with connect() as kt:
        assert len(kt.stream(topic, start="-2h")) == RECENT

    turn_clock(timedelta(hours=1))
    counter = Counter()
    with connect(gate=counter) as kt:
        stream = kt.stream(topic, start="-2h")
        rows = stream.to_polars(metadata="timestamp")

    # The second "now" is some seconds after the first: so many events at most are older than two hours by then.
    least = rows["timestamp"].min()
    assert ended - timedelta(hours=1) <= least <= ended - timedelta(minutes=58)
    assert numbers(rows) == list(range(OLD + RECENT - rows.height, OLD + RECENT))
    assert counter.records == 0


def test_start_moves_past_the_stored_position(
    kafka: KafkaTopics, topic: Topic, connect: Connect, turn_clock: Callable[[timedelta], None]
) -> None:
    """Where "-2h" has moved past what is stored, reading skips forward and the older rows go: in all three kinds."""
    name = kafka.create_topic(topic(), 2, **ANY_TIME)
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    kafka.produce(name, [event(n, now_ms, key=f"a{n}", partition=n % 2) for n in range(10)])

    def open_all(kt: Any) -> list[Any]:
        table = kt.table(name, start="-2h")
        return [table, table.window(5, max_future_skew=None), kt.stream(name, start="-2h")]

    with connect() as kt:
        assert [numbers(each.to_polars()) for each in open_all(kt)] == [list(range(10))] * 3
    skipped = [event(n, now_ms + HOUR, key=f"b{n}", partition=n % 2) for n in range(10, 30)]
    kept = [event(n, now_ms + 3 * HOUR, key=f"c{n}", partition=n % 2) for n in range(30, 35)]
    kafka.produce(name, [*skipped, *kept])

    turn_clock(timedelta(hours=4))
    counter = Counter()
    with connect(gate=counter) as kt:
        assert [numbers(each.to_polars()) for each in open_all(kt)] == [list(range(30, 35))] * 3
    assert counter.records == 3 * 5


def test_start_moves_past_everything(
    kafka: KafkaTopics, topic: Topic, connect: Connect, turn_clock: Callable[[timedelta], None]
) -> None:
    """Opened four hours later with nothing new, "-2h" shows no row that is older: a store makes no difference."""
    name = kafka.create_topic(topic())
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    kafka.produce(name, [event(n, now_ms, key=f"k{n}") for n in range(3)])

    def counts(kt: Any) -> list[int]:
        table = kt.table(name, start="-2h")
        return [len(table), len(table.window(5)), len(kt.stream(name, start="-2h"))]

    with connect() as kt:
        assert counts(kt) == [3, 3, 3]
    turn_clock(timedelta(hours=4))
    with connect() as kt:
        assert counts(kt) == [0, 0, 0]


@pytest.mark.slow
def test_start_at_a_datetime(mostly_old: tuple[str, datetime], connect: Connect) -> None:
    """A datetime stays where it is: the same rows after a re-open, of which nothing is read again."""
    topic, ended = mostly_old
    start = ended - timedelta(hours=2)
    counter = Counter()
    for records in (2 * RECENT, 2 * RECENT):
        with connect(gate=counter) as kt:
            stream, window = kt.stream(topic, start=start), kt.table(topic, start=start).window(15)
            assert numbers(stream.to_polars()) == list(range(OLD, OLD + RECENT))
            assert window.to_polars()["n"].min() >= OLD
            assert counter.records == records
            moment = f"partial: from {start:%Y-%m-%d %H:%M:%S} UTC on"
            assert all(moment in text for each in (stream, window) for text in said(each))


def test_start_beyond_the_end(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A start behind all records reads none of them; what comes later is there, also what came while it was closed."""
    name = kafka.create_topic(topic(), 2)
    kafka.produce(name, [event(n, NOON_MS, key=f"k{n}", partition=n % 2) for n in range(10)])
    start = NOON + timedelta(hours=1)
    counter = Counter()

    def open_all(kt: Any) -> list[Any]:
        table = kt.table(name, start=start)
        return [table, table.window(5), kt.stream(name, start=start)]

    with connect(gate=counter) as kt:
        held = open_all(kt)
        assert [each.to_polars().height for each in held] == [0, 0, 0]
        assert counter.records == 0
        kafka.produce(name, [event(10, NOON_MS + 2 * HOUR, key="k10")])
        assert [numbers(each.to_polars()) for each in held] == [[10]] * 3
    kafka.produce(name, [event(11, NOON_MS + 3 * HOUR, key="k11", partition=1)])
    with connect(gate=counter) as kt:
        assert [numbers(each.to_polars()) for each in open_all(kt)] == [[10, 11]] * 3
    assert counter.records == 3 * 2


# --- what retention frees ---------------------------------------------------------------------------------------------


def disk_bytes(state: Path) -> int:
    """Return how much disk the files below ``state`` take, as ``du`` counts."""
    return sum(path.stat().st_blocks * 512 for path in state.rglob("*") if path.is_file())


def large(n: int, at_ms: int, *, partition: int) -> Event:
    """Return an event of a kilobyte that no compression makes smaller."""
    text = base64.b64encode(os.urandom(740)).decode()
    return b"k%d" % n, json.dumps({"n": n, "text": text}).encode(), partition, at_ms


def test_retention_of_a_stream_frees_disk(
    kafka: KafkaTopics, topic: Topic, connect: Connect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Events that stream time has left behind are gone from view and disk, which is said; no newer one is."""
    name = kafka.create_topic(topic(), 2)
    hour = [large(n, NOON_MS + n * HOUR // 20_000, partition=n % 2) for n in range(20_000)]
    produce_many(kafka, name, hour)
    with connect(store_flush_interval=0.2) as kt:
        stream = kt.stream(name, retention="1h")
        assert len(stream) == 20_000
        assert not any("retention has dropped" in text for text in said(stream))
        wait_until(lambda: disk_bytes(tmp_path / "state") > 20_000_000, "the rows to be on disk")
        before = disk_bytes(tmp_path / "state")

        # Fifty minutes later in partition 0 only: its first fifty minutes go, the other partition's stay.
        later = [large(20_000 + n, NOON_MS + HOUR + n * 3 * SECOND, partition=0) for n in range(1_000)]
        produce_many(kafka, name, later)
        rows = stream.to_polars(metadata=True)
        now = NOON + timedelta(minutes=110)
        assert rows.filter(partition=1).height == 10_000
        kept = numbers(rows.filter(partition=0))
        must = [*range(16_668, 20_000, 2), *range(20_000, 21_000)]
        assert set(must) <= set(kept)
        assert rows.filter(partition=0)["timestamp"].min() >= now - timedelta(minutes=64)
        assert all("retention has dropped" in text for text in said(stream))
        half = wait_until(
            lambda: (left := disk_bytes(tmp_path / "state")) < 15_000_000 and left, "disk to be freed"
        )

        produce_many(kafka, name, [large(30_000 + p, NOON_MS + 10 * HOUR, partition=p) for p in (0, 1)])
        assert numbers(stream.to_polars()) == [30_000, 30_001]
        after = wait_until(
            lambda: (left := disk_bytes(tmp_path / "state")) < 1_000_000 and left, "disk to be freed"
        )
    with capsys.disabled():
        print(  # noqa: T201 - shows what it measured
            f"\n  stream, retention=1h: {before:,} bytes on disk, {half:,} half dropped, {after:,} all dropped"
        )
    counter = Counter()
    with connect(gate=counter) as kt:
        assert numbers(kt.stream(name, retention="1h").to_polars()) == [30_000, 30_001]
        assert all("retention has dropped" in text for text in said(kt.stream(name, retention="1h")))
    assert counter.records == 0


def test_retention_by_size_frees_disk(
    kafka: KafkaTopics, topic: Topic, connect: Connect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stream that may keep 5 MB keeps the newest events of every partition, and little more disk than that."""
    name = kafka.create_topic(topic(), 2)
    produce_many(kafka, name, [large(n, NOON_MS + n * SECOND, partition=n % 2) for n in range(4_000)])
    with connect(store_flush_interval=0.2) as kt:
        stream = kt.stream(name, retention="5MB")
        assert len(stream) == 4_000
        assert not any("retention has dropped" in text for text in said(stream))
        produce_many(
            kafka, name, [large(n, NOON_MS + n * SECOND, partition=n % 2) for n in range(4_000, 40_000)]
        )
        rows = stream.to_polars()
        # A row takes 1,020 bytes or so, and up to 4,999 more may come between two looks.
        assert 4_000 <= rows.height < 10_000
        assert numbers(rows) == list(range(40_000 - rows.height, 40_000))
        assert all("retention has dropped" in text for text in said(stream))
        after = wait_until(
            lambda: (left := disk_bytes(tmp_path / "state")) < 20_000_000 and left, "disk to be freed"
        )
    with capsys.disabled():
        print(f"\n  stream, retention=5MB: {rows.height:,} of 40,000 events of 1 kB, {after:,} bytes on disk")  # noqa: T201 - shows what it measured


def test_retention_of_windows_frees_disk(
    kafka: KafkaTopics, topic: Topic, connect: Connect, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows that ended before the retention are gone, also of a roll-up as a whole; the table keeps its keys."""
    name = kafka.create_topic(topic())
    options = StoreOptions(retention="2h", flush_interval=0.2)  # type: ignore[arg-type]  # any duration
    produce_many(kafka, name, [large(n, NOON_MS + n * HOUR // 20_000, partition=0) for n in range(20_000)])
    with connect() as kt:
        table = kt.table(name, store=options)
        window = table.window(5)
        assert len(window) == 20_000
        assert not any("retention has dropped" in text for text in said(window))
        wait_until(lambda: disk_bytes(tmp_path / "state") > 20_000_000, "the rows to be on disk")
        before = disk_bytes(tmp_path / "state")

        produce_many(kafka, name, [large(20_000, NOON_MS + 150 * MINUTE, partition=0)])
        found = windows(window.to_polars())
        # Stream time is 14:30: what ends at 12:30 or before may go, and does in steps of an eighth of an hour.
        starts = [start for start, _ in found]
        assert set(starts) >= {*range(30, 60, 5), 150}
        assert min(starts) >= 20
        assert all(
            len(found[start, start + 5])
            == len([n for n in range(20_000) if start * 1000 <= n * 3 < (start + 5) * 1000])
            for start in starts[:-1]
        )
        hours = windows(table.window("1h").to_polars())
        assert list(hours) == [(120, 180)]
        assert all("retention has dropped" in text for text in said(window))
        after = wait_until(
            lambda: (left := disk_bytes(tmp_path / "state")) < 15_000_000 and left, "disk to be freed"
        )
        assert len(table) == 20_001
    with capsys.disabled():
        print(f"\n  window(5), retention=2h: {before:,} bytes on disk, {after:,} after")  # noqa: T201 - shows what it measured


# --- what is said of compaction ---------------------------------------------------------------------------------------


def test_compacted_topic_says_so(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """On a compacted topic windows and streams say that older records of a key may be gone; the table is whole."""
    name = kafka.create_topic(topic(), cleanup_policy="compact")
    kafka.produce(name, [event(1, NOON_MS)])
    kt = connect()
    table = kt.table(name)
    window, stream = table.window(5), kt.stream(name)
    for each in (table, window, stream):
        each.to_polars()

    assert all("compacted" in text for each in (window, stream) for text in said(each))
    assert not any("is compacted" in text for text in said(table))


def test_cleanup_policy_that_may_not_be_known(broker: KafkaBroker, topic: Topic, connect: Connect) -> None:
    """A user who may read but not DESCRIBE_CONFIGS gets windows and streams, with nothing said of compaction."""
    name = broker.create_topic(topic(), cleanup_policy="compact")
    broker.grant_read(broker.scram_user, name)
    broker.produce(name, [event(1, NOON_MS), event(2, NOON_MS + MINUTE)])
    kt = connect(broker.scram_settings())
    window, stream = kt.table(name).window(5), kt.stream(name, start=NOON)

    assert windows(window.to_polars()) == {(0, 5): [2]}
    assert windows(stream.window(5).to_polars()) == {(0, 5): [1, 2]}
    assert not any("is compacted" in text for each in (window, stream) for text in said(each))
    assert window.status().health.restarts == 0


# --- what closes a window ---------------------------------------------------------------------------------------------


def test_late_records_and_final_windows(
    kafka: KafkaTopics, topic: Topic, connect: Connect, turn_clock: Callable[[timedelta], None]
) -> None:
    """Each partition's stream time closes windows for its records; a silent one keeps none from being final for long."""
    name = kafka.create_topic(topic(), 2)
    kafka.produce(
        name,
        [
            event(1, NOON_MS + 1 * MINUTE, key="a"),
            event(2, NOON_MS + 6 * MINUTE - 1, key="b"),
            event(3, NOON_MS + 2 * MINUTE, key="c"),  # 1 ms before 12:00 closes
            event(4, NOON_MS + 6 * MINUTE, key="d"),
            event(5, NOON_MS + 3 * MINUTE, key="e"),  # late
            event(6, NOON_MS + 11 * MINUTE, key="f"),
        ],
    )
    kt = connect()
    table = kt.table(name).window(5, grace="1m")
    stream = kt.stream(name).window(5, grace="1m")
    expected = {(0, 5): [1, 3], (5, 10): [2, 4], (10, 15): [6]}

    for each in (table, stream):
        assert windows(each.to_polars()) == expected
        assert windows(each.late()) == {(0, 5): [5]}
        assert each.final().to_polars().is_empty()  # partition 1 may have records for them
    kafka.produce(name, [event(7, NOON_MS + 6 * MINUTE, key="g", partition=1)])
    for each in (table, stream):
        shown = each.to_polars(is_final=True)
        assert windows(shown.filter("is_final")) == windows(each.final().to_polars()) == {(0, 5): [1, 3]}
        assert windows(each.late()) == {(0, 5): [5]}

    turn_clock(timedelta(minutes=1))
    wait_until(lambda: table.position().idle == (0, 1), "Kafka to have told that there is nothing new")
    kafka.produce(name, [event(8, NOON_MS + 12 * MINUTE, key="h")])
    for each in (table, stream):
        assert windows(each.final().to_polars()) == {(0, 5): [1, 3], (5, 10): [2, 4, 7]}
    assert (table.status().late, table.position().idle) == (1, (1,))
    assert table.position().stream_times == {
        0: NOON + timedelta(minutes=12),
        1: NOON + timedelta(minutes=6),
    }


def test_grace_survives_a_restart(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A record that would have been late before a restart is late after it, and an early one is not."""
    name = kafka.create_topic(topic(), 2)
    kafka.produce(name, [event(1, NOON_MS, key="a"), event(2, NOON_MS + 20 * MINUTE, key="b")])
    with connect() as kt:
        assert len(kt.table(name).window(5, grace="1m")) == 2
    kafka.produce(
        name,
        [event(3, NOON_MS + MINUTE, key="c"), event(4, NOON_MS + MINUTE, key="d", partition=1)],
    )
    with connect() as kt:
        window = kt.table(name).window(5, grace="1m")
        assert windows(window.to_polars()) == {(0, 5): [1, 4], (20, 25): [2]}
        assert windows(window.late()) == {(0, 5): [3]}


def test_a_time_far_in_the_future(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A record of the year 2100 is refused with the reason, and closes no window."""
    name = kafka.create_topic(topic(), **ANY_TIME)
    far = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
    kafka.produce(name, [event(1, NOON_MS), event(2, far, key="far"), event(3, NOON_MS, key="x")])
    kt = connect()
    window = kt.table(name).window(5, grace="1m")
    stream = kt.stream(name, max_future_skew="1d")

    for each in (window, stream.window(5, grace="1m")):
        assert windows(each.to_polars()) == {(0, 5): [1, 3]}
        assert each.late().is_empty()
        assert each.final().to_polars().is_empty()
    for each in (window, stream):
        assert each.errors().select("offset", "key").rows() == [(1, b"far")]
        assert "in the future" in each.errors()["reason"].item()
        assert each.position().stream_times == {0: NOON}


def test_aborted_events_are_in_no_window(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Of a transaction that was aborted nothing is seen, not even its time; of one that is open nothing yet."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [event(1, NOON_MS, key="a")])
    kt = connect()
    held = [
        kt.table(name).window(5),
        kt.table(name).window(5, grace="1m"),
        kt.stream(name).window(5, grace="1m"),
    ]
    producer = kafka.transactional_producer(topic("transaction"))
    producer.begin_transaction()
    kafka.produce(name, [event(2, NOON_MS + HOUR, key="b")], producer=producer)
    assert [windows(each.to_polars()) for each in held] == [{(0, 5): [1]}] * 3
    producer.abort_transaction(15)
    kafka.await_transactions(name)
    kafka.produce(name, [event(3, NOON_MS, key="c")])

    assert [windows(each.to_polars()) for each in held] == [{(0, 5): [1, 3]}] * 3
    assert all(each.late().is_empty() for each in held)
    assert [row["n"] for row in kt.stream(name).to_polars().to_dicts()] == [1, 3]

    producer.begin_transaction()
    kafka.produce(name, [event(4, NOON_MS, key="d")], producer=producer)
    producer.commit_transaction(15)
    assert [windows(each.to_polars()) for each in held] == [{(0, 5): [1, 3, 4]}] * 3


# --- topics of all kinds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 64])
def test_empty_topic(kafka: KafkaTopics, topic: Topic, connect: Connect, partitions: int) -> None:
    """Where there is no record every question has an empty answer, and the first record is seen."""
    name = kafka.create_topic(topic(), partitions)
    kt = connect()
    table, stream = kt.table(name), kt.stream(name)
    held = [
        table.window(5),
        table.window("1h", every="15m"),
        table.window("1d", tz="Europe/Berlin"),
        table.window(5, grace="1m"),
        stream.window(5, grace="1m"),
        stream.window("1mo"),
        stream.sliding(5, grace="1m"),
        stream.session(5, grace="1m"),
    ]

    for each in held:
        assert each.to_polars().is_empty()
        assert each.to_polars(is_final=True, metadata=True).is_empty()
        assert each.agg(orders=pl.len()).is_empty()
        assert each.late().is_empty()
        assert each.errors().is_empty()
        assert each.between(NOON, "-1h").to_polars().is_empty()
        assert repr(each)
    assert held[0].agg(orders=pl.len(), fill=True).is_empty()
    assert held[3].final().to_polars().is_empty()
    assert held[0].get("a").is_empty()
    assert list(held[0].items()) == []

    kafka.produce(name, [event(1, NOON_MS, partition=partitions - 1)])
    assert all(numbers(each.to_polars())[0] == 1 for each in held)


def test_sixty_four_partitions(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Each of 64 partitions keeps a stream time of its own, and all rows are there, also after a re-open."""
    name = kafka.create_topic(topic(), 64)
    first = [event(p, NOON_MS + p * MINUTE, key=f"k{p}", partition=p) for p in range(64)]
    second = [event(64 + p, NOON_MS, key=f"k{p}", partition=p) for p in range(64)]
    produce_many(kafka, name, [*first, *second])
    on_time, fives = range(64, 70), range(0, 64, 5)
    for _ in range(2):
        with connect() as kt:
            window = kt.table(name).window(5, grace="1m")
            found = windows(window.to_polars())
            # The second is late wherever the first was at 12:06 or later.
            late = [64 + p for p in range(6, 64)]
            assert windows(window.late()) == {(0, 5): late}
            assert found[0, 5] == [*on_time]  # k0 to k4 replaced, k5 new
            assert {start: ns for (start, _), ns in found.items() if start} == {
                start: list(range(start, min(start + 5, 64))) for start in fives if start
            }
            times = window.position().stream_times
            assert times == {p: NOON + timedelta(minutes=p) for p in range(64)}
            assert windows(kt.stream(name).window(5).to_polars())[0, 5] == [*range(5), *range(64, 128)]


def test_log_append_time(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Where the broker sets the timestamps, its times decide the windows, and ``start`` looks them up."""
    name = kafka.create_topic(topic(), message_timestamp_type="LogAppendTime")
    before = datetime.now(UTC)
    kafka.produce(name, [event(1, NOON_MS - 1000 * HOUR, key="a"), event(2, NOON_MS, key="b")])
    after = datetime.now(UTC)
    kt = connect()
    window = kt.table(name).window("30s")
    rows = window.to_polars(metadata=True)

    assert numbers(rows) == [1, 2]
    tolerance = timedelta(milliseconds=2)
    assert before - tolerance <= rows["timestamp"].min() <= rows["timestamp"].max() <= after + tolerance
    assert rows.select(pl.col("timestamp").dt.truncate("30s") == pl.col("window_start")).to_series().all()
    assert numbers(kt.stream(name).window("1d").to_polars()) == [1, 2]
    assert numbers(kt.stream(name, start="-1h").to_polars()) == [1, 2]


# --- what the log has lost --------------------------------------------------------------------------------------------


def test_history_outlives_the_log(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """Events that were read stay when the log drops them; those it dropped unread are reported, and stay so."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [event(n, NOON_MS + n * MINUTE) for n in range(10)])
    with connect() as kt:
        assert len(kt.stream(name)) == 10
        kafka.delete_records(name, {0: 5})
        kafka.produce(name, [event(10, NOON_MS + 10 * MINUTE)])
        assert numbers(kt.stream(name).to_polars()) == list(range(11))
        assert not any("lost" in text for text in said(kt.stream(name)))
    kafka.produce(name, [event(n, NOON_MS + n * MINUTE) for n in range(11, 20)])
    kafka.delete_records(name, {0: 15})

    with connect() as kt:
        stream = kt.stream(name)
        assert numbers(stream.to_polars()) == [*range(11), *range(15, 20)]
        assert all("4 offsets of partition 0 were lost" in text for text in said(stream))
        assert windows(stream.window(5).to_polars())[10, 15] == [10]


def test_a_reported_gap_is_not_forgotten(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """A gap in a stream is still reported when it is opened a second time: the events are still missing."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [event(n, NOON_MS) for n in range(4)])
    with connect() as kt:
        assert len(kt.stream(name)) == 4
    kafka.produce(name, [event(n, NOON_MS) for n in range(4, 8)])
    kafka.delete_records(name, {0: 6})
    for _ in range(2):
        with connect() as kt:
            stream = kt.stream(name)
            assert numbers(stream.to_polars()) == [0, 1, 2, 3, 6, 7]
            assert all("2 offsets of partition 0 were lost" in text for text in said(stream))


def test_a_gap_while_it_runs(kafka: KafkaTopics, topic: Topic, connect: Connect) -> None:
    """What the log drops while the connection is away is a gap: the history stays, and is reported as such."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [event(n, NOON_MS) for n in range(4)])
    gate = Gate()
    stream = connect(gate=gate).stream(name)
    assert len(stream) == 4
    gate.cut()
    kafka.produce(name, [event(n, NOON_MS) for n in range(4, 8)])
    kafka.delete_records(name, {0: 6})
    gate.open()

    assert numbers(stream.to_polars()) == [0, 1, 2, 3, 6, 7]
    assert all("2 offsets of partition 0 were lost" in text for text in said(stream))
    assert stream.status().health.restarts == 1
