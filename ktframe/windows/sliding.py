"""Sliding windows: every distinct set of events of a group that lie within a time difference of one another.

After KIP-450 and Kafka Streams' ``KStreamSlidingWindowAggregate``. Both ends are inclusive. An event at t makes two
windows: its own one that ends with it, and [t + 1, t + 1 + d] if an event of the group lies there. No window starts
before 1970 because of a later event: those at 0 <= t < d share the own window [0, d].
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import polars as pl

from ktframe.columns import (
    BATCH,
    DROPPED,
    FIRST,
    GROUP,
    INDEX,
    LAST,
    LATE_FOR_OWN_WINDOW,
    OWN_WINDOW,
    PARTITION,
    PARTLY_LATE,
    ROW,
    TIMESTAMP,
    TOMBSTONE,
    WINDOW,
    WINDOW_CLOSE_TIME,
    WINDOW_END,
)
from ktframe.windows.events import EventWindows, field_names, with_group
from ktframe.windows.stream_time import has_closed, in_partition, with_close_time


def mark_late(rows: pl.DataFrame, difference_ms: int) -> pl.DataFrame:
    """Return ``rows``, which have ``GROUP`` and ``WINDOW_CLOSE_TIME``, with what decides on their windows.

    That is ``ROW``, ``OWN_WINDOW``, ``LATE_FOR_OWN_WINDOW`` and ``DROPPED``. An event that is late for its own window can
    still be in one that another event has opened.
    """
    time = pl.col(TIMESTAMP)
    own = pl.when(time.is_between(0, difference_ms)).then(0).otherwise(time - difference_ms)
    is_late = (pl.col(OWN_WINDOW) + difference_ms < pl.col(WINDOW_CLOSE_TIME)).fill_null(value=False)
    rows = (
        rows.with_row_index(ROW)
        .with_columns(own.cast(pl.Int64).alias(OWN_WINDOW))
        .with_columns(is_late.alias(LATE_FOR_OWN_WINDOW))
    )
    late = rows.filter(LATE_FOR_OWN_WINDOW)
    if not late.height:
        return rows.with_columns(pl.lit(False).alias(DROPPED))
    accepted = _accepted(_arrivals(rows, late, difference_ms), difference_ms)
    is_accepted = pl.col(ROW).is_in(pl.Series(accepted, dtype=pl.UInt32).implode())
    return rows.with_columns((pl.col(LATE_FOR_OWN_WINDOW) & ~is_accepted).alias(DROPPED))


def _arrivals(rows: pl.DataFrame, late: pl.DataFrame, difference_ms: int) -> pl.DataFrame:
    """Return the late events that can be in an open window, and the others that can have opened one, by arrival."""
    columns = (PARTITION, GROUP, *in_partition(rows), TIMESTAMP)
    doubtful = late.filter(pl.col(TIMESTAMP) + difference_ms >= pl.col(WINDOW_CLOSE_TIME)).select(
        *columns, WINDOW_CLOSE_TIME, ROW
    )
    near = doubtful.select(PARTITION, GROUP, TIMESTAMP, ROW).sort(TIMESTAMP)
    others = (
        rows.filter(~pl.col(LATE_FOR_OWN_WINDOW))
        .select(columns)
        .sort(TIMESTAMP)
        # Sorted as a whole is sorted in each group, which Polars can't check by itself.
        .join_asof(
            near,
            on=TIMESTAMP,
            by=[PARTITION, GROUP],
            strategy="nearest",
            tolerance=difference_ms,
            check_sortedness=False,
        )
        .filter(pl.col(ROW).is_not_null())
        .select(columns)
    )
    arrivals = pl.concat([doubtful, others], how="diagonal").sort(PARTITION, GROUP, *in_partition(rows))
    return arrivals.select(PARTITION, GROUP, TIMESTAMP, WINDOW_CLOSE_TIME, ROW)


def _accepted(arrivals: pl.DataFrame, difference_ms: int) -> list[int]:
    """Return the ``ROW`` of the late events for which a window was open."""
    # A loop, because a late event that was accepted opens a window for the next one.
    accepted = []
    place, taken, timely = None, list[int](), list[int]()
    for partition, group, time, close, row in arrivals.iter_rows():
        if (partition, group) != place:
            place, taken, timely = (partition, group), [], []
        if row is None:
            insort(timely, time)
        else:
            # Open are a timely event's own window, where it ends at ``close`` or later, and the window after any event,
            # where that does. An event at or after 1970 makes no window that holds a time before 1970.
            last = time + difference_ms if time >= 0 else min(time + difference_ms, -1)
            if not (_holds(timely, close, last) or _holds(taken, close - 1 - difference_ms, time - 1)):
                continue
            accepted.append(row)
        insort(taken, time)
    return accepted


def _holds(times: list[int], first: int, last: int) -> bool:
    """Say whether one of the sorted ``times`` lies between ``first`` and ``last``, both included."""
    index = bisect_left(times, first)
    return index < len(times) and times[index] <= last


_HELPERS: Final = (GROUP, WINDOW_CLOSE_TIME, ROW, OWN_WINDOW, LATE_FOR_OWN_WINDOW, DROPPED)
_BATCH_ROWS: Final = 2_000_000
_End: TypeAlias = tuple[str, str, Literal["forward", "backward"]]


@dataclass(frozen=True, slots=True)
class SlidingWindows(EventWindows):
    """Windows of width ``difference_ms`` that begin and end where events do.

    An event is late for a window that ended before stream time minus grace. Tombstones and events with a null among ``by`` are skipped, as in Kafka.
    Inside a window, rows are in order of time, partition, offset.
    """

    difference_ms: int

    def aggregate(self, events: pl.DataFrame, by: Sequence[str], exprs: Sequence[pl.Expr]) -> pl.DataFrame:
        """Return a row per window and group with the value of each expression."""
        rows = self._prepared(events, by)
        starts = self._starts(rows)
        # Polars can't roll over a width of zero. And an expression over all columns must not see those that rolling needs.
        names_all = any(expr.meta.has_multiple_outputs() for expr in exprs)
        if names_all or not self.difference_ms:
            return self._named(self._gathered(rows, starts, exprs, by), rows, by)
        try:
            values = self._rolled(rows.filter(~pl.col(DROPPED)), starts, exprs)
        except pl.exceptions.ComputeError:
            # Expressions such as get(0) raise on an empty frame, as there is after a last event.
            values = self._gathered(rows, starts, exprs, by).with_columns(pl.lit(False).alias(PARTLY_LATE))
        partly_late = values.filter(PARTLY_LATE).select(GROUP, WINDOW)
        values = values.filter(~pl.col(PARTLY_LATE)).drop(PARTLY_LATE)
        if partly_late.height:
            gathered = self._gathered(rows, partly_late, exprs, by)
            values = pl.concat([values, gathered.select(values.columns)])
        return self._named(values, rows, by)

    def finals(self, windows: pl.DataFrame, watermark: int | None) -> pl.Series:
        """Say of each window whether it has closed: its end, which is inclusive, plus grace is before ``watermark``."""
        return windows.select(has_closed(watermark, self.grace_ms)).to_series()

    def _prepared(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        # Tombstones advance the stream time before they are skipped.
        timed = with_close_time(events, self.grace_ms, self.seen)
        rows = with_group(timed.filter(pl.col(TIMESTAMP).is_not_null(), ~pl.col(TOMBSTONE)), by)
        return mark_late(rows.sort(GROUP, TIMESTAMP, PARTITION, *in_partition(rows)), self.difference_ms)

    def _in_time(self, rows: pl.DataFrame) -> pl.DataFrame:
        kept = rows.filter(~pl.col(DROPPED))
        return self._contents(kept, self._spans(kept, self._starts(rows))).drop(_HELPERS)

    def _too_late(self, rows: pl.DataFrame) -> pl.DataFrame:
        # An event misses its own window, and others that exist. One shortly after 1970 can miss others alone: its own
        # window [0, d] ends later than they do.
        late = rows.filter(pl.col(TIMESTAMP) < pl.col(WINDOW_CLOSE_TIME))
        is_missed = pl.col(DROPPED) | (pl.col(WINDOW_END) < pl.col(WINDOW_CLOSE_TIME))
        spans = _batches(self._spans(late, self._starts(rows)))
        own = self._ended(late.filter(LATE_FOR_OWN_WINDOW).with_columns(pl.col(OWN_WINDOW).alias(WINDOW)))
        missed = [own, *(_taken(late, batch).filter(is_missed) for batch in spans)]
        return pl.concat(missed).unique([ROW, WINDOW]).drop(_HELPERS)

    def _starts(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return group and start of each window that the events make."""
        kept = rows.filter(~pl.col(DROPPED))
        own = kept.filter(~pl.col(LATE_FOR_OWN_WINDOW)).select(GROUP, pl.col(OWN_WINDOW).alias(WINDOW))
        later = pl.col(TIMESTAMP) + 1
        following = pl.col(TIMESTAMP).shift(-1)
        is_followed = (following >= later) & (following <= later + self.difference_ms)
        behind = kept.filter(is_followed & (pl.col(GROUP) == pl.col(GROUP).shift(-1)))
        return pl.concat([own, behind.select(GROUP, later.alias(WINDOW))]).unique()

    def _ended(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns((pl.col(WINDOW) + self.difference_ms).alias(WINDOW_END))

    def _spans(self, rows: pl.DataFrame, starts: pl.DataFrame) -> pl.DataFrame:
        """Return the windows of ``starts`` with the indices of the first and the last of the sorted ``rows`` in them."""
        spans = self._ended(starts.sort(GROUP, WINDOW))
        ends: tuple[_End, _End] = ((WINDOW, FIRST, "forward"), (WINDOW_END, LAST, "backward"))
        for time, name, strategy in ends:
            places = rows.select(GROUP, pl.col(TIMESTAMP).alias(time)).with_row_index(name)
            # Polars can't check that each group is sorted.
            spans = spans.join_asof(places, on=time, by=GROUP, strategy=strategy, check_sortedness=False)
        return spans.filter(pl.col(FIRST) <= pl.col(LAST))

    def _contents(self, rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
        """Return the rows once per window of ``spans`` that they are in and in time for."""
        is_late = (pl.col(WINDOW_END) < pl.col(WINDOW_CLOSE_TIME)).fill_null(value=False)
        return _taken(rows, spans).filter(~is_late)

    def _gathered(
        self, rows: pl.DataFrame, starts: pl.DataFrame, exprs: Sequence[pl.Expr], by: Sequence[str]
    ) -> pl.DataFrame:
        """Return the values of the windows of ``starts``, each from the rows that are in it: exact, and slow."""
        kept = rows.filter(~pl.col(DROPPED))
        spans = _batches(self._spans(kept, starts))
        contents = (self._contents(kept, batch).select(GROUP, WINDOW, *field_names(rows)) for batch in spans)
        return pl.concat([lines.group_by(GROUP, WINDOW, *by).agg(*exprs).drop(by) for lines in contents])

    def _rolled(self, rows: pl.DataFrame, starts: pl.DataFrame, exprs: Sequence[pl.Expr]) -> pl.DataFrame:
        """Return the values of the windows of ``starts`` by Polars' rolling aggregation, with ``PARTLY_LATE``.

        The values are wrong where that is true: rolling takes in the rows that are late for the window.
        """
        width = self.difference_ms
        latest = pl.col(WINDOW_CLOSE_TIME).max().alias(WINDOW_CLOSE_TIME)
        frame = rows.with_columns(pl.col(TIMESTAMP).alias(INDEX))
        parts = []
        for offset in (-width, 1):
            rolling = frame.rolling(
                INDEX, period=f"{width}i", offset=f"{offset}i", closed="both", group_by=GROUP
            )
            parts.append(
                rolling.agg(*exprs, latest).with_columns((pl.col(INDEX) + offset).alias(WINDOW)).drop(INDEX)
            )
        early = frame.filter(pl.col(TIMESTAMP).is_between(0, width))
        parts.append(early.group_by(GROUP, pl.lit(0, dtype=pl.Int64).alias(WINDOW)).agg(*exprs, latest))
        columns = parts[-1].columns
        rolled = pl.concat([part.select(columns) for part in parts])
        distinct = rolled.join(starts, on=[GROUP, WINDOW], how="semi").unique([GROUP, WINDOW], keep="any")
        is_partly_late = (pl.col(WINDOW_CLOSE_TIME) > pl.col(WINDOW) + width).fill_null(value=False)
        return distinct.with_columns(is_partly_late.alias(PARTLY_LATE)).drop(WINDOW_CLOSE_TIME)

    def _named(self, values: pl.DataFrame, rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """Return ``values`` with the columns ``by`` in place of the number of the group."""
        names = rows.select(GROUP, *by).unique(GROUP, keep="any")
        placed = self._ended(values).join(names, on=GROUP, how="left", validate="m:1")
        own = [name for name in values.columns if name not in {GROUP, WINDOW}]
        return placed.select(WINDOW, WINDOW_END, *by, *own).sort(WINDOW, *by)


def _taken(rows: pl.DataFrame, spans: pl.DataFrame) -> pl.DataFrame:
    """Return ``rows`` with ``WINDOW`` and ``WINDOW_END``, once per span that they are in."""
    indices = pl.int_ranges(pl.col(FIRST), pl.col(LAST) + 1, dtype=pl.UInt32).alias(INDEX)
    windows = spans.select(WINDOW, WINDOW_END, indices).explode(INDEX)
    return pl.concat([rows[windows[INDEX]], windows.drop(INDEX)], how="horizontal")


def _batches(spans: pl.DataFrame) -> list[pl.DataFrame]:
    """Return ``spans`` in parts, at least one."""
    # The windows of a dense stream have more rows in all than fit into memory.
    rows = (pl.col(LAST).cast(pl.Int64) - pl.col(FIRST) + 1).cum_sum()
    return spans.with_columns((rows // _BATCH_ROWS).alias(BATCH)).partition_by(BATCH) or [spans]
