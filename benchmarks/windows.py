"""Aggregate a million rows in windows, and compare: ``agg()`` on ktframe against bare Polars on a frame of these rows.

Every round applies 1,000 changes first, so that each answer is fresh and no result can be an earlier one; what applying
takes, in which an idle table also merges them, is printed next to it. Rounds are 0.6 s apart. Bare Polars
aggregates a frame with the same rows, in one piece and sorted as it came, in the same round. Prints medians and their
ratio for the windows of a table and of a stream, and for ``between()`` of one window. Run it with ``make bench``; the
number of rows is the first argument, that of rounds the second, and a third one, the name of a line, profiles that.
"""

from __future__ import annotations

import cProfile
import pstats
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl
from history import record

from ktframe.config.settings import Settings, StoreOptions
from ktframe.context.context import Context
from ktframe.fold.records import RecordBatch
from ktframe.kafka.protocol import TopicFacts
from ktframe.kafka.survey import Cleanup
from ktframe.testing import FakeBroker

ROWS = 1_000_000
ROUNDS = 15
CHANGES = 1_000
PAUSE_SECONDS = 0.6
BATCH = 10_000
KEYS = 10_000
GOAL = 1.5
STEP_MS = 600
FIRST_MS = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)
REGIONS = ("EMEA", "APAC", "AMER", "LATAM")
TOTALS = {
    "revenue": pl.col("amount").sum(),
    "orders": pl.len(),
    "customers": pl.col("user_id").n_unique(),
}


class Feed(FakeBroker):
    """A cluster of one topic with one partition, whose records are handed to readers in whole batches."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[RecordBatch] = []

    @property
    def end(self) -> int:
        """The offset behind the last record."""
        return self.batches[-1].positions[0] if self.batches else 0

    def add(self, numbers: Sequence[int]) -> None:
        """Append the orders of these numbers."""
        for at in range(0, len(numbers), BATCH):
            some = numbers[at : at + BATCH]
            first = self.end
            batch = RecordBatch(
                partitions=[0] * len(some),
                offsets=range(first, first + len(some)),
                timestamps=[FIRST_MS + number * STEP_MS for number in some],
                timestamp_types=[1] * len(some),
                keys=[b"k-%05d" % (number % KEYS) for number in some],
                values=[value_of(number, first) for number in some],
                positions={0: first + len(some)},
            )
            self.batches.append(batch)

    def topic(self, name: str) -> TopicFacts:
        """Return that it has one partition."""
        return TopicFacts(1, name)

    def start_offsets(self, topic: str, partitions: Any) -> dict[int, int]:  # noqa: ARG002 - the protocol\'s signature
        """Return 0."""
        return {0: 0}

    def end_offsets(self, topic: str, partitions: Any, *, committed: bool = True) -> dict[int, int]:  # noqa: ARG002 - the protocol\'s signature
        """Return the end."""
        return {0: self.end}

    def leader_epochs(self, topic: str) -> dict[int, int]:  # noqa: ARG002 - the protocol\'s signature
        """Return none."""
        return {}

    def cleanup(self, topic: str) -> Cleanup:  # noqa: ARG002 - the protocol\'s signature
        """Return that records are deleted by age."""
        return Cleanup("delete")

    def context(self) -> Context:
        """Return a Context on this topic, its stores in memory."""
        settings = Settings(bootstrap=self.bootstrap, store=StoreOptions(backend="memory"))
        return Context(settings, cluster=self, open_reader=lambda _topic, _headers: FeedReader(self))


class FeedReader:
    """Reads a ``Feed``."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._next = 0

    def assign(self, positions: Any) -> None:
        """Start at the first batch: nothing is stored."""

    def poll(self) -> RecordBatch | None:
        """Return the next batch."""
        if self._next == len(self._feed.batches):
            time.sleep(0.001)
            return None
        self._next += 1
        return self._feed.batches[self._next - 1]

    def close(self) -> None:
        """Do nothing."""


def value_of(number: int, salt: int) -> bytes:
    """Return an order; ``salt`` lets a later one of the same number differ."""
    order = {
        "order_id": number,
        "user_id": number * 7919 % KEYS,
        "region": REGIONS[number % 4],
        "amount": (number + salt) % 99_991 / 100,
    }
    return orjson.dumps(order)


@dataclass(frozen=True)
class Case:
    """One line of the result: what ktframe answers, and what bare Polars makes of ``rows``."""

    name: str
    ours: Callable[[], pl.DataFrame]
    rows: Callable[[], pl.DataFrame]
    bare: Callable[[pl.DataFrame], pl.DataFrame]


def measured(case: Case, change: Callable[[], None], rounds: int) -> tuple[float, float, float]:
    """Return the median milliseconds of ktframe and of bare Polars, and the median of what the change itself takes."""
    ours, bare, applied = [], [], []
    for _ in range(rounds):
        time.sleep(PAUSE_SECONDS)
        started = time.perf_counter()
        change()
        applied.append(time.perf_counter() - started)
        started = time.perf_counter()
        found = case.ours()
        ours.append(time.perf_counter() - started)
        rows = case.rows()
        started = time.perf_counter()
        expected = case.bare(rows)
        bare.append(time.perf_counter() - started)
        if found.height != expected.height or found["orders"].sum() != expected["orders"].sum():
            sys.exit(f"{case.name}: ktframe has {found.height:,} windows, bare Polars {expected.height:,}")
    return tuple(statistics.median(each) * 1000 for each in (ours, bare, applied))


def cases(feed: Feed, kt: Context) -> Iterator[tuple[str, Callable[[Sequence[int]], None], list[Case]]]:
    """Yield what to measure: a heading, how changes are applied there, and the cases."""
    window = kt.table("orders").window(5, max_future_skew=None)
    stream = kt.stream("orders")

    def follow(what: Any) -> Callable[[Sequence[int]], None]:
        """Return a function that adds changes and waits until they are applied, though not yet looked at."""

        def change(numbers: Sequence[int]) -> None:
            feed.add(numbers)
            while what.position().offsets.get(0, 0) < feed.end:
                time.sleep(0.0005)

        return change

    def table_rows() -> pl.DataFrame:
        return window.to_polars().rechunk()

    def events() -> pl.DataFrame:
        return stream.to_polars(metadata="timestamp").rechunk()

    def grouped(rows: pl.DataFrame, *by: str) -> pl.DataFrame:
        return rows.group_by(*by).agg(**TOTALS)

    start = datetime.fromtimestamp(FIRST_MS / 1000, UTC) + timedelta(hours=50)
    one = window.between(start, start + timedelta(minutes=5))
    hop = window_of_table(kt)
    yield (
        "table",
        follow(window),
        [
            Case(
                "window(5).agg",
                lambda: window.agg(by="region", **TOTALS),
                table_rows,
                lambda rows: grouped(rows, "window_start", "region"),
            ),
            Case(
                "between() of one window",
                lambda: one.agg(by="region", **TOTALS),
                table_rows,
                lambda rows: grouped(rows.filter(window_start=start), "window_start", "region"),
            ),
            Case(
                "window(15), derived",
                lambda: hop.agg(by="region", **TOTALS),
                table_rows,
                lambda rows: grouped(
                    rows.with_columns(pl.col("window_start").dt.truncate("15m")).unique(
                        ["window_start", "key"], keep="last"
                    ),
                    "window_start",
                    "region",
                ),
            ),
        ],
    )
    yield "stream", follow(stream), stream_cases(stream, events)


def window_of_table(kt: Context) -> Any:
    """Return windows that are derived from those of five minutes."""
    return kt.table("orders").window(15, max_future_skew=None)


def stream_cases(stream: Any, events: Callable[[], pl.DataFrame]) -> list[Case]:
    """Return the cases of a stream."""

    def tumbling(rows: pl.DataFrame) -> pl.DataFrame:
        start = pl.col("timestamp").dt.truncate("5m").alias("window_start")
        return rows.with_columns(start).group_by("window_start", "region").agg(**TOTALS)

    def sessions(rows: pl.DataFrame) -> pl.DataFrame:
        known = rows.sort("user_id", "timestamp")
        is_new = pl.col("user_id") != pl.col("user_id").shift()
        is_late = pl.col("timestamp").diff() > pl.duration(minutes=30)
        number = (is_new | is_late).fill_null(value=True).cum_sum().alias("session")
        return known.with_columns(number).group_by("session").agg(user=pl.first("user_id"), **TOTALS)

    def sliding(rows: pl.DataFrame) -> pl.DataFrame:
        known = rows.sort("user_id", "timestamp")
        width = timedelta(hours=2)
        rolled = [
            known.rolling("timestamp", period=width, offset=offset, closed="both", group_by="user_id").agg(
                **TOTALS
            )
            for offset in (-width, timedelta(milliseconds=1))
        ]
        behind = rolled[1].filter(pl.col("orders") > 0)
        starts = [
            rolled[0].with_columns(pl.col("timestamp") - width),
            behind.with_columns(pl.col("timestamp") + timedelta(milliseconds=1)),
        ]
        return pl.concat(starts).unique(["user_id", "timestamp"])

    tumble, session, slide = (
        stream.window(5),
        stream.session("30m", by="user_id"),
        stream.sliding("2h", by="user_id"),
    )
    return [
        Case("window(5).agg", lambda: tumble.agg(by="region", **TOTALS), events, tumbling),
        Case("session('30m').agg", lambda: session.agg(**TOTALS), events, sessions),
        Case("sliding('2h').agg", lambda: slide.agg(**TOTALS), events, sliding),
    ]


def profiled(case: Case, change: Callable[[], None]) -> None:
    """Print where the time of one case goes."""
    profile = cProfile.Profile()
    for _ in range(5):
        change()
        profile.runcall(case.ours)
    pstats.Stats(profile).sort_stats("tottime").print_stats(15)


def main() -> None:
    """Fill, measure, print."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS  # noqa: PLR2004 - the second argument
    wanted = sys.argv[3] if len(sys.argv) > 3 else None  # noqa: PLR2004 - the third
    feed = Feed()
    feed.add(range(rows))
    numbers = iter(range(0, 10**12, 7_919))
    print(f"{rows:,} rows, {CHANGES:,} changes before each of {rounds} rounds; medians in ms")
    ratios: dict[str, float] = {}
    with feed.context() as kt:
        for heading, apply, found in cases(feed, kt):
            changes = lambda apply=apply: apply([next(numbers) % rows for _ in range(CHANGES)])  # noqa: E731
            for case in found:
                case.ours()
                named = replace(case, name=f"{heading} {case.name}")
                if wanted == named.name:
                    profiled(named, changes)
                ours, bare, applied = measured(named, changes, rounds)
                ratios[f"bare Polars / {named.name}"] = bare / ours
                verdict = "" if ours / bare <= GOAL else f"  above {GOAL}"
                line = f"{named.name:32} {ours:9.1f}   bare Polars {bare:9.1f}   ratio {ours / bare:5.2f}"
                print(f"{line}   (applying {applied:.1f}){verdict}")
    record("windows", ratios)


if __name__ == "__main__":
    main()
