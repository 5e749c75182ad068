"""Streams: every record of a topic is a row, an event. Their windows are in ``windowed_stream.py``."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, Self

import polars as pl

from ktframe.columns import TIMESTAMP
from ktframe.config.durations import format_duration
from ktframe.config.keywords import with_known_keywords
from ktframe.config.moments import Moment, parse_moment
from ktframe.config.settings import ReadPolicy
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.presentation import Presentation
from ktframe.tables.window_spec import EventWindowSpec
from ktframe.tables.windowed_stream import WindowedKStream
from ktframe.windows.events import EventWindows, TimeWindows
from ktframe.windows.parsing import Minutes, parse_grace, parse_minutes, parse_windows
from ktframe.windows.sessions import SessionWindows
from ktframe.windows.sliding import SlidingWindows


class KStream(MaterializedTopic):
    """Every event of a topic. Make one with ``ktframe.stream``.

    Nothing is replaced or deleted: a record with a null value is an event whose fields are null. Frames have the
    value's fields; ``metadata=`` adds ``partition``, ``offset``, ``timestamp``, ``key`` and ``is_tombstone``; with
    ``explode=True`` also ``index`` (Int32), behind ``offset``: the number of the event in its record, from 0. Each
    partition is in offset order, and the events of a record in their own.
    """

    _kind: ClassVar[str] = "KStream"

    def __init__(
        self,
        reader: BindingReader,
        presentation: Presentation,
        *,
        policy: ReadPolicy,
        close: Callable[[MaterializedTopic], None],
    ) -> None:
        super().__init__(reader, presentation, policy=policy, close=close)
        self._since: int | None = None

    def since(self, moment: Moment) -> Self:
        """Return the events at or after ``moment``: a datetime, ISO 8601 text (UTC without an offset) or ``"-2h"``.

        A window or session that the moment lies in loses its earlier events.
        """
        narrowed = copy.copy(self)
        since = parse_moment("since", moment, now_ms=self._reader.now_ms())
        narrowed._since = since  # noqa: SLF001 - of the same class
        return narrowed

    def last(self, length: Minutes) -> Self:
        """Return the events of the last ``length`` (``"1h"``, or minutes), counted back from this call.

        A window or session that begins before that loses its earlier events; ``stream.window(...).last("1h")`` has whole
        ones.
        """
        length_ms = parse_minutes("last", length)
        return self.since(timedelta(milliseconds=-length_ms))

    # --- windows --------------------------------------------------------------------------------------------------

    @with_known_keywords
    def window(
        self,
        size: Minutes,
        every: Minutes | None = None,
        *,
        grace: Minutes | None = None,
        tz: str | None = None,
        offset: Minutes | None = None,
        idle_after: Minutes = "1m",
    ) -> WindowedKStream:
        """Return the events in tumbling or, with ``every``, hopping windows; the arguments are those of ``KTable.window``.

        The start is inclusive, the end exclusive. An event without a timestamp is in no window: see its ``errors()``.
        """
        windows = parse_windows(size, every, tz=tz, offset=offset)
        return self._windowed(
            TimeWindows(windows, grace_ms=parse_grace(grace)), windows.name, None, idle_after, tz=tz or "UTC"
        )

    @with_known_keywords
    def sliding(
        self,
        size: Minutes,
        *,
        by: str | Sequence[str] | None = None,
        grace: Minutes | None = None,
        idle_after: Minutes = "1m",
    ) -> WindowedKStream:
        """Return the events in Kafka's sliding windows: the distinct sets of events at most ``size`` apart.

        Both ends are inclusive: ``window_end`` is ``window_start`` plus ``size``. Each value of ``by`` (columns, or
        ``"key"``) has windows of its own. Events with a null value, or a null in ``by``, are skipped.
        """
        windows = SlidingWindows(parse_minutes("size", size), grace_ms=parse_grace(grace))
        return self._windowed(
            windows, f"sliding {format_duration(windows.difference_ms)}", _names(by), idle_after
        )

    @with_known_keywords
    def session(
        self,
        gap: Minutes,
        *,
        by: str | Sequence[str] | None = None,
        grace: Minutes | None = None,
        idle_after: Minutes = "1m",
    ) -> WindowedKStream:
        """Return the events in sessions: runs with no more than ``gap`` between one event and the next.

        Both ends are inclusive: ``window_end`` is the last event's time. Each value of ``by`` (columns, or ``"key"``)
        has sessions of its own; a late event may join two. Events with a null in ``by`` are skipped.
        """
        windows = SessionWindows(parse_minutes("gap", gap), grace_ms=parse_grace(grace))
        return self._windowed(windows, f"session {format_duration(windows.gap_ms)}", _names(by), idle_after)

    def _windowed(
        self,
        windows: EventWindows,
        name: str,
        by: tuple[str, ...] | None,
        idle_after: Minutes,
        *,
        tz: str = "UTC",
    ) -> WindowedKStream:
        spec = EventWindowSpec(
            windows=windows,
            name=name,
            by=by,
            idle_after=parse_minutes("idle_after", idle_after) / 1000,
            tz=tz,
        )
        presentation = replace(self._presentation, is_windowed=True)
        return WindowedKStream(
            self._reader,
            presentation,
            spec,
            events=self._all_lines,
            policy=self._completeness.policy,
            close=lambda _: self.close(),
        )

    # --- inside ---------------------------------------------------------------------------------------------------

    def _all_lines(self, materializer: Materializer) -> pl.DataFrame:
        rows = materializer.view.snapshot().rows
        return rows if self._since is None else rows.filter(pl.col(TIMESTAMP) >= self._since)


def _names(by: str | Sequence[str] | None) -> tuple[str, ...]:
    return () if by is None else (by,) if isinstance(by, str) else tuple(by)
