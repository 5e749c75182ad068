"""What it takes to put the events of a stream into windows; and windows that the clock makes: tumbling, hopping, calendar.

Events are a frame with ``PARTITION``, ``OFFSET``, ``TIMESTAMP`` (Int64, ms since 1970), ``TOMBSTONE`` and the user's
columns, in any order. Everything here is a pure function of it. An event without a timestamp is in no window.
Windows that the events themselves make live in ``sliding.py`` and ``sessions.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import polars as pl

from ktframe.columns import GROUP, TIMESTAMP, WINDOW, WINDOW_CLOSE_TIME, WINDOW_END, is_field
from ktframe.windows.fixed import Windows
from ktframe.windows.stream_time import has_closed, with_close_time


class EventWindows(Protocol):
    """A kind of window over the events of a stream.

    An event can be late for some windows and in time for others; ``assign`` and ``late`` part its windows.
    ``by`` names the columns that group; aggregates are per window and group.
    """

    @property
    def grace_ms(self) -> int | None:
        """How long a window stays open behind stream time, in milliseconds; None: for ever, nothing is late."""
        ...

    def assign(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """Return the events with ``WINDOW`` and ``WINDOW_END``, each once per window that it is in."""
        ...

    def late(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """Return the events with ``WINDOW`` and ``WINDOW_END``, each once per window for which it came too late."""
        ...

    def aggregate(self, events: pl.DataFrame, by: Sequence[str], exprs: Sequence[pl.Expr]) -> pl.DataFrame:
        """Return ``WINDOW``, ``WINDOW_END``, ``by`` and a column per expression; sorted by ``WINDOW``, then ``by``.

        There is a row per window and group that has events, and none for others. The dtypes don't depend on the rows.
        """
        ...

    def after(self, seen: Mapping[int, int]) -> EventWindows:
        """Return these windows over events behind which retention has dropped others; ``seen`` are the stream times then."""
        ...

    def whole_from(self, cut_ms: int) -> int:
        """Return the first start of windows that miss no event, where those up to ``cut_ms`` may be gone."""
        ...

    def closing(self) -> EventWindows:
        """Return these windows with no grace, in place of ones that never close."""
        ...

    def finals(self, windows: pl.DataFrame, by: Sequence[str], watermark: int | None) -> pl.Series:
        """Say of each line of ``WINDOW``, ``WINDOW_END`` and ``by`` whether no event can change that window any more.

        ``windows`` are all that there are; ``watermark`` is the least stream time of the partitions that count, in
        milliseconds (None: not known).
        """
        ...


@dataclass(frozen=True, slots=True)
class TimeWindows:
    """Windows whose bounds don't depend on the events; the end is exclusive.

    An event is late for a window that ended at or before stream time minus grace (Kafka: ``windowEnd > windowCloseTime``
    is in time). Tombstones, and events with a null among ``by``, are events like any other. Inside a window, rows keep
    the order of ``events``.
    """

    windows: Windows
    grace_ms: int | None = None
    seen: Mapping[int, int] = field(default_factory=dict, compare=False)
    """Stream times before the first of the events, by partition; none where all events are there."""

    def assign(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:  # noqa: ARG002
        """Return the events of each window that were in time for it."""
        if self.grace_ms is None:
            return self._placed(events)
        is_late = pl.col(WINDOW_END) <= pl.col(WINDOW_CLOSE_TIME)
        return (
            self._placed(with_close_time(events, self.grace_ms, self.seen))
            .filter(~is_late)
            .drop(WINDOW_CLOSE_TIME)
        )

    def late(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:  # noqa: ARG002
        """Return the events of each window that came after it had closed."""
        is_late = pl.col(WINDOW_END) <= pl.col(WINDOW_CLOSE_TIME)
        return (
            self._placed(with_close_time(events, self.grace_ms, self.seen))
            .filter(is_late)
            .drop(WINDOW_CLOSE_TIME)
        )

    def aggregate(self, events: pl.DataFrame, by: Sequence[str], exprs: Sequence[pl.Expr]) -> pl.DataFrame:
        """Return a row per window and group with the value of each expression."""
        placed = self.assign(events, by).lazy()
        # By the start alone, which the end follows from: the fewer columns, the faster.
        ends = placed.select(WINDOW, WINDOW_END).unique(WINDOW)
        found = placed.select(WINDOW, *shown(events)).group_by(WINDOW, *by).agg(*exprs)
        values = found.collect_schema().names()[1:]
        return found.join(ends, on=WINDOW).select(WINDOW, WINDOW_END, *values).sort(WINDOW, *by).collect()

    def after(self, seen: Mapping[int, int]) -> TimeWindows:
        """Return these windows over events behind which retention has dropped others."""
        return replace(self, seen=seen)

    def whole_from(self, cut_ms: int) -> int:
        """Return the first start of windows that miss no event, where those up to ``cut_ms`` may be gone."""
        return cut_ms + 1

    def closing(self) -> TimeWindows:
        """Return these windows with no grace, in place of ones that never close."""
        return replace(self, grace_ms=0)

    def finals(self, windows: pl.DataFrame, by: Sequence[str], watermark: int | None) -> pl.Series:  # noqa: ARG002
        """Say of each window whether it has closed: its end plus grace is not after ``watermark``."""
        # The end is exclusive: what has to be past is the instant before it.
        delay_ms = None if self.grace_ms is None else self.grace_ms - 1
        return windows.select(has_closed(watermark, delay_ms)).to_series()

    def _placed(self, events: pl.DataFrame) -> pl.DataFrame:
        return self.windows.assign(events.filter(pl.col(TIMESTAMP).is_not_null()), TIMESTAMP)


def aggregated(rows: pl.DataFrame, by: Sequence[str], exprs: Sequence[pl.Expr]) -> pl.DataFrame:
    """Return the value of each expression per window and group of rows that have ``WINDOW`` and ``WINDOW_END``."""
    lines = rows.select(WINDOW, WINDOW_END, *shown(rows))
    return lines.group_by(WINDOW, WINDOW_END, *by).agg(*exprs).sort(WINDOW, *by)


def shown(rows: pl.DataFrame) -> list[str]:
    """Return the columns that an expression over all of them may see: none of bookkeeping."""
    return [name for name in rows.columns if is_field(name)]


def with_group(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the rows that have a time and no null among ``by``, with the number of their ``GROUP`` (UInt32)."""
    kept = rows.filter(pl.col(TIMESTAMP).is_not_null(), *(pl.col(name).is_not_null() for name in by))
    number = pl.col(GROUP).first().over(*by) if by else pl.col(GROUP) * 0
    return kept.with_row_index(GROUP).with_columns(number)


def starts_run(group: str | Sequence[str], gap_ms: int) -> pl.Expr:
    """Say, of rows sorted by ``group`` and time, whether one begins a group or follows after more than ``gap_ms``."""
    names = [group] if isinstance(group, str) else group
    is_new = pl.any_horizontal(pl.col(name) != pl.col(name).shift() for name in names)
    return (is_new | (pl.col(TIMESTAMP).diff() > gap_ms)).fill_null(value=True)
