"""Windows over the events of a stream: what all kinds have in common, and those of the clock: tumbling, hopping, calendar.

Events are a frame with ``PARTITION``, ``OFFSET``, ``TIMESTAMP`` (Int64, ms since 1970), ``TOMBSTONE`` and the user's
columns, and ``ITEM`` where a record may hold several, in any order. Everything here is a pure function of it. An event without a timestamp is in no window.
Windows whose bounds follow from the events are in ``sliding.py`` and ``sessions.py``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import polars as pl

from ktframe.columns import GROUP, TIMESTAMP, WINDOW, WINDOW_CLOSE_TIME, WINDOW_END, is_field
from ktframe.windows.base import Windows
from ktframe.windows.stream_time import has_closed, with_close_time


@dataclass(frozen=True, slots=True)
class EventWindows(ABC):
    """A kind of window over the events of a stream.

    An event can be late for some windows and in time for others: ``assign`` and ``late`` share its windows out.
    ``by`` names the columns that group; aggregates are per window and group. The defaults here are for windows with an
    exclusive end that miss no event after their start.
    """

    depends_on_group: ClassVar[bool] = True
    """Whether the windows that an event is in follow from the others of its group; then one with no group is in none."""
    grace_ms: int | None = field(default=None, kw_only=True)
    """How long a window stays open behind stream time, in milliseconds; None: for ever, nothing is late."""
    seen: Mapping[int, int] = field(default_factory=dict, compare=False, kw_only=True)
    """Stream times before the first of the events, by partition; none where all events are there."""

    def assign(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """Return the events with ``WINDOW`` and ``WINDOW_END``, each once per window that it is in."""
        return self._in_time(self._prepared(events, by))

    def late(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """Return the events with ``WINDOW`` and ``WINDOW_END``, each once per window for which it came too late."""
        return self._too_late(self._prepared(events, by))

    def aggregate(self, events: pl.DataFrame, by: Sequence[str], exprs: Sequence[pl.Expr]) -> pl.DataFrame:
        """Return ``WINDOW``, ``WINDOW_END``, ``by`` and a column per expression; sorted by ``WINDOW``, then ``by``.

        There is a row per window and group that has events, and none for others. The dtypes don't depend on the rows.
        """
        rows = self.assign(events, by)
        lines = rows.select(WINDOW, WINDOW_END, *field_names(rows))
        return lines.group_by(WINDOW, WINDOW_END, *by).agg(*exprs).sort(WINDOW, *by)

    def after(self, seen: Mapping[int, int]) -> Self:
        """Return a copy that starts from stream times ``seen``, because retention has dropped the events before."""
        return replace(self, seen=seen)

    def closing(self) -> Self:
        """Return a copy with no grace, in place of windows that never close."""
        return replace(self, grace_ms=0)

    def whole_from(self, cut_ms: int) -> int:
        """Return the first start of windows that miss no event, where events up to ``cut_ms`` may be gone."""
        return cut_ms + 1

    @abstractmethod
    def finals(self, windows: pl.DataFrame, watermark: int | None) -> pl.Series:
        """Say of each line whether no event can change that window any more.

        ``windows`` are all windows that there are, as ``WINDOW``, ``WINDOW_END`` and the columns that group, if any;
        ``watermark`` is the least stream time of the partitions that count, in milliseconds (None: not known).
        """

    def _prepared(self, events: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
        """Return the events that can be in a window, with ``WINDOW_CLOSE_TIME``, and ``GROUP`` where it matters."""
        rows = with_close_time(events, self.grace_ms, self.seen).filter(pl.col(TIMESTAMP).is_not_null())
        return with_group(rows, by) if self.depends_on_group else rows

    @abstractmethod
    def _in_time(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return prepared events as ``assign`` does."""

    @abstractmethod
    def _too_late(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return prepared events as ``late`` does."""


@dataclass(frozen=True, slots=True)
class TimeWindows(EventWindows):
    """Windows whose bounds don't depend on the events; the end is exclusive.

    An event is late for a window that ended at or before stream time minus grace (Kafka: ``windowEnd > windowCloseTime``
    is in time). Tombstones, and events with a null among ``by``, are events like any other. Inside a window, rows keep
    the order of ``events``.
    """

    depends_on_group: ClassVar[bool] = False
    windows: Windows

    def aggregate(self, events: pl.DataFrame, by: Sequence[str], exprs: Sequence[pl.Expr]) -> pl.DataFrame:
        """Return a row per window and group with the value of each expression."""
        assigned = self.assign(events, by).lazy()
        # By the start alone, which the end follows from: the fewer columns, the faster.
        ends = assigned.select(WINDOW, WINDOW_END).unique(WINDOW)
        values = assigned.select(WINDOW, *field_names(events)).group_by(WINDOW, *by).agg(*exprs)
        names = values.collect_schema().names()[1:]
        return values.join(ends, on=WINDOW).select(WINDOW, WINDOW_END, *names).sort(WINDOW, *by).collect()

    def finals(self, windows: pl.DataFrame, watermark: int | None) -> pl.Series:
        """Say of each window whether it has closed: its end plus grace is not after ``watermark``."""
        # The end is exclusive: what has to be past is the instant before it.
        delay_ms = None if self.grace_ms is None else self.grace_ms - 1
        return windows.select(has_closed(watermark, delay_ms)).to_series()

    def _in_time(self, rows: pl.DataFrame) -> pl.DataFrame:
        placed = self.windows.assign(rows, TIMESTAMP)
        placed = placed if self.grace_ms is None else placed.filter(~_is_late())
        return placed.drop(WINDOW_CLOSE_TIME)

    def _too_late(self, rows: pl.DataFrame) -> pl.DataFrame:
        return self.windows.assign(rows, TIMESTAMP).filter(_is_late()).drop(WINDOW_CLOSE_TIME)


def _is_late() -> pl.Expr:
    return pl.col(WINDOW_END) <= pl.col(WINDOW_CLOSE_TIME)


def field_names(rows: pl.DataFrame) -> list[str]:
    """Return the columns that an expression over all of them may see: no own ones."""
    return [name for name in rows.columns if is_field(name)]


def with_group(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return the rows that have no null among ``by``, with the number of their ``GROUP`` (UInt32)."""
    kept = rows.filter(*(pl.col(name).is_not_null() for name in by)) if by else rows
    number = pl.col(GROUP).first().over(*by) if by else pl.col(GROUP) * 0
    return kept.with_row_index(GROUP).with_columns(number)


def starts_run(group: str | Sequence[str], gap_ms: int) -> pl.Expr:
    """Say, of rows sorted by ``group`` and time, whether one begins a group or follows after more than ``gap_ms``."""
    names = [group] if isinstance(group, str) else group
    is_new = pl.any_horizontal(pl.col(name) != pl.col(name).shift() for name in names)
    return (is_new | (pl.col(TIMESTAMP).diff() > gap_ms)).fill_null(value=True)
