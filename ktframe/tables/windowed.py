"""What windowed tables and windowed streams share: the range of windows that is shown, the watermark, and aggregates."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

import polars as pl

from ktframe.columns import WINDOW
from ktframe.config.durations import Duration, format_duration
from ktframe.config.moments import Moment, parse_moment
from ktframe.errors import ConfigurationError
from ktframe.fold.event_time import as_datetime
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.tables.aggregate import Aggregate, AggregateQuery
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.presentation import unique_name
from ktframe.tables.window_spec import AnyWindowSpec
from ktframe.windows.aggregation import expressions

if TYPE_CHECKING:  # slow to import
    from ktframe.widgets import Panel
    from ktframe.widgets.figure import Axes, Chart

# The columns that to_polars(is_final=True, is_partial=True) adds.
IS_FINAL: Final = "is_final"
IS_PARTIAL: Final = "is_partial"


@dataclass(frozen=True, slots=True)
class WindowRange:
    """Windows with ``start <= window start < end`` (ms since 1970; None: open), or only those of them that are final."""

    start: int | None = None
    end: int | None = None
    is_final_only: bool = False

    def __str__(self) -> str:
        parts = ["final"] if self.is_final_only else []
        parts += [] if self.start is None else [f"from {as_datetime(self.start):%Y-%m-%d %H:%M:%S}"]
        parts += [] if self.end is None else [f"before {as_datetime(self.end):%Y-%m-%d %H:%M:%S}"]
        return "".join(f", {part}" for part in parts)

    def between(self, start: Moment | None, end: Moment | None, *, tz: str, now_ms: int) -> WindowRange:
        """Return the windows of this range that start between two moments; None leaves a side as it is."""
        first = None if start is None else parse_moment("start", start, tz=tz, now_ms=now_ms)
        last = None if end is None else parse_moment("end", end, tz=tz, now_ms=now_ms)
        starts = [at for at in (self.start, first) if at is not None]
        ends = [at for at in (self.end, last) if at is not None]
        return replace(self, start=max(starts, default=None), end=min(ends, default=None))

    def from_start(self, start: int) -> WindowRange:
        """Return the windows of this range that start at ``start`` or later."""
        return replace(self, start=start if self.start is None else max(start, self.start))

    def only_final(self, name: str, grace_ms: int | None) -> WindowRange:
        """Return the final windows of this range; ``name`` is what an error calls them.

        Raises
        ------
        ConfigurationError
            When there is no grace: these windows never close.
        """
        if grace_ms is None:
            message = f"windows ({name}) without grace never close."
            raise ConfigurationError(message, 'ask for them with grace="1m".')
        return replace(self, is_final_only=True)

    @property
    def condition(self) -> pl.Expr | None:
        """The condition for rows, which have ``WINDOW``, to lie in the range; None: all do."""
        conditions = [] if self.start is None else [pl.col(WINDOW) >= self.start]
        conditions += [] if self.end is None else [pl.col(WINDOW) < self.end]
        return pl.all_horizontal(conditions) if conditions else None

    def filter(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the rows whose window starts in the range; whether it is final is not looked at."""
        condition = self.condition
        return rows if condition is None else rows.filter(condition)


def watermark(reader: BindingReader, idle_after: float) -> int | None:
    """Return the lowest stream time (ms) of all active partitions; None while one of them has none.

    An idle partition (see ``BindingReader.idle_partitions``) is not active; if all are idle, the highest stream time
    counts.
    """
    times = reader.started().stream_times
    idle = reader.idle_partitions(idle_after)
    active = [times.get(partition) for partition in reader.binding.activity.quiet() if partition not in idle]
    if None in active:
        return None
    return min((at for at in active if at is not None), default=max(times.values(), default=None))


class WindowedTopic(MaterializedTopic):
    """Rows in windows, or in some of them: ``between`` and ``last`` give another object that reads the same store."""

    _range = WindowRange()
    _spec: AnyWindowSpec

    def _name(self, quote: Callable[[str], str] = repr) -> str:
        """Return the topic, its windows, their grace and the range, as a repr shows them."""
        grace_ms = self._spec.grace_ms
        grace = "" if grace_ms is None else f", grace {quote(format_duration(grace_ms))}"
        return f"{quote(self.topic)}, {quote(self._spec.name)}{grace}{self._range}"

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Self:
        """Return the windows with ``start <= window_start < end``; None leaves a side open.

        Moments are datetimes, ISO 8601 text (without an offset: wall-clock time of the windows' zone, else UTC), or
        ``"-2h"`` before this call.
        """
        tz, now_ms = self._spec.tz, self._reader.now_ms()
        return self._with_range(self._range.between(start, end, tz=tz, now_ms=now_ms))

    def _with_range(self, window_range: WindowRange) -> Self:
        narrowed = copy.copy(self)
        narrowed._range = window_range  # noqa: SLF001 - of the same class
        return narrowed

    # --- aggregates -----------------------------------------------------------------------------------------------

    def agg(
        self,
        *exprs: pl.Expr,
        by: str | Sequence[str] | None = None,
        fill: bool = False,
        fresh: bool = True,
        **named: pl.Expr,
    ) -> pl.DataFrame:
        """Return the value of each expression per window, computed over the window's rows.

        In a window of a table each key has one row, its latest; in a window of a stream each event is a row. Columns:
        ``window_start``, ``window_end``, those of ``by``, then one per expression, of the dtype that it gives. ``chart``
        draws such a value, and ``live`` shows such rows as they change.

        Parameters
        ----------
        exprs, named
            Polars expressions that aggregate: ``revenue=pl.col("amount").sum()``. They can name every column of
            ``to_polars(metadata=True)``; of a stream, ``"key"`` is the record key.
        by
            Columns to group by within each window; ``"payload.region"`` is the field ``region`` inside of ``payload``. Sliding windows and sessions have theirs from where they were made.
        fill
            Add the windows between the first and the last that have no row, for each group. For tumbling and hopping
            windows.
        fresh
            As in ``to_polars``.

        Raises
        ------
        ConfigurationError
            When there is no such column, or an argument does not fit these windows.
        """
        compute = self._aggregation(expressions(exprs, named), by, fill=fill)
        return self._read(compute, fresh=fresh).frame

    def chart(
        self,
        *exprs: pl.Expr,
        by: str | Sequence[str] | None = None,
        fill: bool = False,
        fresh: bool = True,
        live: bool = False,
        ax: Axes | None = None,
        **named: pl.Expr,
    ) -> Chart | Axes | Panel:
        """Draw one value over window start, a line for each group: ``chart(revenue=pl.col("amount").sum(), by="region")``.

        Value and groups are given as in ``agg``. Windows that may still change, and those that begin before ``start=`` and
        so lack records, are drawn lighter and hollow.

        Parameters
        ----------
        exprs, named, by, fill, fresh
            As in ``agg``; one expression, which makes numbers.
        live
            Return a panel that is drawn again when rows change.
        ax
            Where to draw; None: a new chart.

        Returns
        -------
        Chart, matplotlib.axes.Axes or Panel
            A ``matplotlib`` ``Figure`` that a notebook shows; ``ax`` where it was given; a panel with ``live``.

        Raises
        ------
        ConfigurationError
            As in ``agg``, and when there is not one numeric value, or both ``ax`` and ``live`` are given.
        """
        from ktframe.widgets.window_chart import window_chart  # noqa: PLC0415 - matplotlib is slow to import

        query, now = self._query(exprs, named, by, fill=fill, fresh=fresh)
        return window_chart(query, now, live=live, ax=ax)

    def live(
        self,
        *exprs: pl.Expr,
        by: str | Sequence[str] | None = None,
        fill: bool = False,
        fresh: bool = True,
        every: Duration = "1s",
        rows: int = 10,
        **named: pl.Expr,
    ) -> Panel:
        """Return a panel of the newest rows of an aggregate, which follows them as they change.

        ``every`` and ``rows`` are those of ``ktframe.widgets.live``, which shows the rows of the windows themselves; the
        other arguments are those of ``agg``.

        Raises
        ------
        ConfigurationError
            As in ``agg``, and when ``every`` is not a duration, or ``rows`` out of range.
        """
        from ktframe.widgets import live_aggregate  # noqa: PLC0415 - ipywidgets is slow to import

        query, _ = self._query(exprs, named, by, fill=fill, fresh=fresh)
        return live_aggregate(query, every, rows=rows)

    def _query(
        self,
        exprs: Sequence[pl.Expr],
        named: Mapping[str, pl.Expr],
        by: str | Sequence[str] | None,
        *,
        fill: bool,
        fresh: bool,
    ) -> tuple[AggregateQuery, Aggregate]:
        """Return an aggregate to be computed again, and its result now.

        It is computed at once so that a wrong argument raises in the user's call, and not later in a panel.
        """
        compute = self._aggregation(expressions(exprs, named), by, fill=fill)
        query = AggregateQuery(
            name=self._label,
            events=self.events,
            closes=self._spec.grace_ms is not None,
            compute=lambda: self._reader.read(compute, fresh=False),
            readiness=self.readiness,
        )
        return query, self._read(compute, fresh=fresh)

    @abstractmethod
    def _aggregation(
        self, exprs: Sequence[pl.Expr], by: str | Sequence[str] | None, *, fill: bool
    ) -> Callable[[Materializer], Aggregate]:
        """Return a function that computes the aggregate from the rows of a materializer."""

    # --- inside ---------------------------------------------------------------------------------------------------

    def _are_partial(self, lines: pl.DataFrame) -> pl.Series:
        """Say of each line whether its window lacks records, because it begins before ``start=``."""
        skipped_before = self._reader.binding.beginning.skipped_before
        if skipped_before is None:
            return pl.repeat(value=False, n=lines.height, eager=True)
        return lines[WINDOW] < self._first_whole(skipped_before)

    @abstractmethod
    def _first_whole(self, skipped_before: int) -> int:
        """Return the first start of windows that lack no record, where those before this time (ms) were left out."""

    def _with_marks(self, shown: pl.DataFrame, **marks: pl.Series | None) -> pl.DataFrame:
        """Add the columns that were asked for, under other names where there are such columns."""
        for name, values in marks.items():
            if values is not None:
                shown = shown.with_columns(values.alias(unique_name(name, set(shown.columns))))
        return shown

    def _watermark(self) -> int | None:
        """Return the stream time up to which windows can be final; None while it is not known."""
        return watermark(self._reader, self._spec.idle_after)
