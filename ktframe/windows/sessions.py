"""Sessions: events of a group that follow one another without a long gap.

As Kafka Streams' session windows: both ends inclusive, a gap of exactly ``gap_ms`` joins, an event between two sessions
makes them one. Kafka decides event by event whether one is late; this does so only for events that may be.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Final

import polars as pl

from ktframe.columns import (
    GROUP,
    ISLAND,
    PARTITION,
    ROW,
    SESSION_LIMIT,
    STRETCH,
    TIMESTAMP,
    WINDOW,
    WINDOW_CLOSE_TIME,
    WINDOW_END,
)
from ktframe.windows.events import EventWindows, starts_run
from ktframe.windows.stream_time import has_closed, in_partition

_HELPERS: Final = (GROUP, WINDOW_CLOSE_TIME, ROW)


@dataclass(frozen=True, slots=True)
class SessionWindows(EventWindows):
    """Sessions with at most ``gap_ms`` between neighbours; ``WINDOW`` is the first event's time, the end the last one's.

    An event is late if the session that it would belong to ended before stream time minus grace minus gap. That is
    decided from the events of its own partition alone, so that the answer doesn't depend on how partitions interleave;
    sessions are then formed from the accepted events of all partitions.

    Events with a null among ``by`` are skipped, tombstones are not: Kafka's ``KStreamSessionWindowAggregate`` looks at
    the key alone. Inside a session, rows are in order of time, partition, offset.
    """

    gap_ms: int

    def whole_from(self, cut_ms: int) -> int:
        """Return the first start of sessions that miss no event, where events up to ``cut_ms`` may be gone."""
        return cut_ms + self.gap_ms + 1

    def finals(self, windows: pl.DataFrame, watermark: int | None) -> pl.Series:
        """Say of each session whether no event can change it any more, but a chain of late ones: each joins the one before.

        Stricter than Kafka's emit-final: an event as old as the limit is still accepted, and so is an older one that
        joins a session which ends later. A session has closed when it ended more than a gap before the limit, and so
        did all sessions that such events could chain it to: those no more than two gaps from one to the next.
        """
        if self.grace_ms is None or watermark is None:  # then none has
            return pl.repeat(value=False, n=windows.height, dtype=pl.Boolean, eager=True)
        by = [name for name in windows.columns if name not in (WINDOW, WINDOW_END)]
        ordered = windows.with_row_index(ROW).sort(*by, WINDOW)
        is_apart = pl.col(WINDOW) - pl.col(WINDOW_END).shift() > 2 * self.gap_ms
        is_other = [pl.col(name).ne_missing(pl.col(name).shift()) for name in by]
        chain = pl.any_horizontal(is_apart, *is_other).fill_null(value=True).cum_sum()
        chained = ordered.with_columns(chain.alias(ISLAND)).with_columns(
            pl.col(WINDOW_END).max().over(ISLAND)
        )
        return chained.sort(ROW).select(has_closed(watermark, self.grace_ms + 2 * self.gap_ms)).to_series()

    def _in_time(self, rows: pl.DataFrame) -> pl.DataFrame:
        rows = rows.with_row_index(ROW)
        accepted = rows.filter(~pl.col(ROW).is_in(self._late_rows(rows)))
        begins = starts_run(GROUP, self.gap_ms)
        time = pl.col(TIMESTAMP)
        return (
            accepted.sort(GROUP, TIMESTAMP, PARTITION, *in_partition(accepted))
            .with_columns(
                pl.when(begins).then(time).forward_fill().alias(WINDOW),
                pl.when(begins.shift(-1, fill_value=True)).then(time).backward_fill().alias(WINDOW_END),
            )
            .drop(_HELPERS)
        )

    def _too_late(self, rows: pl.DataFrame) -> pl.DataFrame:
        # Each with the session that it would have been by itself.
        rows = rows.with_row_index(ROW)
        own = (pl.col(TIMESTAMP).alias(WINDOW), pl.col(TIMESTAMP).alias(WINDOW_END))
        return rows.filter(pl.col(ROW).is_in(self._late_rows(rows))).with_columns(*own).drop(_HELPERS)

    def _late_rows(self, rows: pl.DataFrame) -> pl.Series:
        limit = pl.col(WINDOW_CLOSE_TIME) - self.gap_ms
        # Whatever session an event joins ends no earlier than the event.
        is_doubtful = pl.col(TIMESTAMP) < limit
        limited = rows.with_columns(pl.when(is_doubtful).then(limit).alias(SESSION_LIMIT))
        is_any = limited[SESSION_LIMIT].null_count() < limited.height
        late = _late(_steps(limited, self.gap_ms), self.gap_ms) if is_any else []
        return pl.Series(late, dtype=pl.UInt32).implode()


def _steps(rows: pl.DataFrame, gap_ms: int) -> pl.DataFrame:
    """Return what ``_late`` has to look at, in order: island, start, end, and for an event that may be late limit and row.

    An island is what would be one session of a partition if no event were late; events of different islands never
    meet, and an island with no event that may be late is left out. The events between two that may be late are all
    accepted: they are put together, as the few sessions that they make among themselves.
    """
    is_doubtful, arrived = pl.col(SESSION_LIMIT).is_not_null(), in_partition(rows)
    islands = (
        rows.select(ROW, PARTITION, *arrived, GROUP, TIMESTAMP, SESSION_LIMIT)
        .sort(PARTITION, GROUP, TIMESTAMP)
        .with_columns(starts_run([PARTITION, GROUP], gap_ms).cum_sum().alias(ISLAND))
        .filter(is_doubtful.any().over(ISLAND))
        .sort(ISLAND, *arrived)
        .with_columns(is_doubtful.cum_sum().over(ISLAND).alias(STRETCH))
    )
    together = (
        islands.filter(~is_doubtful)
        .sort(ISLAND, STRETCH, TIMESTAMP)
        .group_by(ISLAND, STRETCH, starts_run([ISLAND, STRETCH], gap_ms).cum_sum().alias("run"))
        .agg(pl.col(TIMESTAMP).min().alias(WINDOW), pl.col(TIMESTAMP).max().alias(WINDOW_END))
        .drop("run")
    )
    own = (pl.col(TIMESTAMP).alias(WINDOW), pl.col(TIMESTAMP).alias(WINDOW_END))
    alone = islands.filter(is_doubtful).select(ISLAND, STRETCH, *own, SESSION_LIMIT, ROW)
    # An event that may be late comes first in its stretch.
    steps = pl.concat([alone, together], how="diagonal").sort(ISLAND, STRETCH, SESSION_LIMIT, nulls_last=True)
    return steps.select(ISLAND, WINDOW, WINDOW_END, SESSION_LIMIT, ROW)


def _late(steps: pl.DataFrame, gap_ms: int) -> list[int]:
    """Return the ``ROW`` of the events that came too late."""
    # A loop, because whether one event is accepted decides what the next one can join.
    late = []
    island, starts, ends = None, list[int](), list[int]()
    for number, start, end, limit, row in steps.iter_rows():
        if number != island:
            island, starts, ends = number, [], []
        first, behind = bisect_left(ends, start - gap_ms), bisect_right(starts, end + gap_ms)
        joined_end = max(end, ends[behind - 1]) if first < behind else end
        if limit is not None and joined_end < limit:
            late.append(row)
            continue
        starts[first:behind] = [min(start, starts[first]) if first < behind else start]
        ends[first:behind] = [joined_end]
    return late
