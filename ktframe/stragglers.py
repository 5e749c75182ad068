"""Events of sliding windows that come after the window that would end with them has closed.

Kafka Streams adds such an event to those open windows that hold it. If it finds none, it leaves no trace: it makes no
window, and windows that come later don't contain it either (``KStreamSlidingWindowAggregateTest``,
``shouldLogAndMeterWhenSkippingExpiredWindowByGrace``). Which windows it finds is decided from the earlier events of its
own partition alone, so that the answer doesn't depend on how partitions interleave.

Where Kafka's result depends on which windows happened to be there to copy from, the definition decides here: an event
that was taken opens the window behind it and is in every window of the data that holds it and that it was in time for.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final

import polars as pl

from ktframe.eventwindows import GROUP
from ktframe.lateness import CLOSE
from ktframe.records import OFFSET, PARTITION, TIMESTAMP

ROW: Final = "\0row"
OWN: Final = "\0own"
"""Start of the window that an event makes by itself: the one that ends with it, or [0, difference]."""
STRAGGLER: Final = "\0straggler"
"""The event is late for its own window."""
LOST: Final = "\0lost"
"""The event is in no window."""


def judged(rows: pl.DataFrame, difference_ms: int) -> pl.DataFrame:
    """Return ``rows``, which have ``GROUP`` and ``CLOSE``, with ``ROW``, ``OWN``, ``STRAGGLER`` and ``LOST``."""
    time = pl.col(TIMESTAMP)
    own = pl.when(time.is_between(0, difference_ms)).then(0).otherwise(time - difference_ms)
    is_straggler = (pl.col(OWN) + difference_ms < pl.col(CLOSE)).fill_null(value=False)
    rows = (
        rows.with_row_index(ROW)
        .with_columns(own.cast(pl.Int64).alias(OWN))
        .with_columns(is_straggler.alias(STRAGGLER))
    )
    stragglers = rows.filter(STRAGGLER)
    if not stragglers.height:
        return rows.with_columns(pl.lit(False).alias(LOST))
    found = _found(_arrivals(rows, stragglers, difference_ms), difference_ms)
    is_found = pl.col(ROW).is_in(pl.Series(found, dtype=pl.UInt32).implode())
    return rows.with_columns((pl.col(STRAGGLER) & ~is_found).alias(LOST))


def _arrivals(rows: pl.DataFrame, stragglers: pl.DataFrame, difference_ms: int) -> pl.DataFrame:
    """Return the stragglers that can be in an open window, and the others that can have made one; as they arrived."""
    columns = (PARTITION, GROUP, OFFSET, TIMESTAMP)
    doubtful = stragglers.filter(pl.col(TIMESTAMP) + difference_ms >= pl.col(CLOSE)).select(
        *columns, CLOSE, ROW
    )
    near = doubtful.select(PARTITION, GROUP, TIMESTAMP, ROW).sort(TIMESTAMP)
    others = (
        rows.filter(~pl.col(STRAGGLER))
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
    arrivals = pl.concat([doubtful, others], how="diagonal").sort(PARTITION, GROUP, OFFSET)
    return arrivals.select(PARTITION, GROUP, TIMESTAMP, CLOSE, ROW)


def _found(arrivals: pl.DataFrame, difference_ms: int) -> list[int]:
    """Return the stragglers that found an open window."""
    # A loop, because a straggler that was taken opens a window to the next one.
    found = []
    place, taken, timely = None, list[int](), list[int]()
    for partition, group, time, close, row in arrivals.iter_rows():
        if (partition, group) != place:
            place, taken, timely = (partition, group), [], []
        if row is None:
            insort(timely, time)
        else:
            # Open are the window that ends with a timely event, from ``close`` on, and the one behind any event
            # that ends at ``close`` or later. An event at or after 1970 makes no window that holds a time before it.
            last = time + difference_ms if time >= 0 else min(time + difference_ms, -1)
            if not (_holds(timely, close, last) or _holds(taken, close - 1 - difference_ms, time - 1)):
                continue
            found.append(row)
        insort(taken, time)
    return found


def _holds(times: list[int], first: int, last: int) -> bool:
    """Say whether one of the sorted ``times`` lies between ``first`` and ``last``, both included."""
    index = bisect_left(times, first)
    return index < len(times) and times[index] <= last
