"""Windowed tables: the latest row per key per window.

Larger windows are rolled up from the stored ones at each read, where they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import polars as pl

from ktframe.columns import HASH, LINE, OFFSET, OPEN, PARTITION, RECORD_KEY, TIMESTAMP, WINDOW, WINDOW_END
from ktframe.config.moments import Moment
from ktframe.config.settings import ReadPolicy
from ktframe.fold.compact import roll_up
from ktframe.fold.records import batch_of
from ktframe.fold.rows import Rows
from ktframe.fold.stale import NO_STALE, in_windows, newer_marks, without_superseded
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.sync.status import TablePosition
from ktframe.tables.aggregate import Aggregate
from ktframe.tables.base import CHUNK_ROWS, MaterializedTopic
from ktframe.tables.filterable import Filterable
from ktframe.tables.presentation import Metadata, Presentation, fields_of
from ktframe.tables.window_spec import WindowSpec
from ktframe.tables.windowed import IS_FINAL, IS_PARTIAL, WindowedTopic, WindowRange
from ktframe.windows.aggregation import Columns, aggregate_rows, filled, require_named
from ktframe.windows.base import Windows
from ktframe.windows.events import TimeWindows
from ktframe.windows.parsing import Minutes, parse_minutes


class WindowedKTable(Filterable, WindowedTopic):
    """The latest row per key per window. Make one with ``table.window(...)``.

    Frames begin with ``window_start`` and ``window_end`` (Datetime("ms", "UTC"); start inclusive, end exclusive).
    Windows without rows are absent. A narrowed one (``between``, ``last``, ``final``) reads from the same store.
    """

    _kind: ClassVar[str] = "WindowedKTable"
    _spec: WindowSpec

    def __init__(
        self,
        reader: BindingReader,
        presentation: Presentation,
        spec: WindowSpec,
        stored: Windows,
        *,
        policy: ReadPolicy,
        close: Callable[[MaterializedTopic], None],
    ) -> None:
        super().__init__(reader, presentation, policy=policy, close=close)
        self._spec = spec
        self._stored = stored
        """The windows of the store, from which the windows of the spec are made."""

    # --- which windows --------------------------------------------------------------------------------------------

    def last(self, length: Minutes) -> Self:
        """Return the windows that reach into the last ``length`` (``"1h"``, or minutes), counted back from this call."""
        length_ms = parse_minutes("last", length)
        first = self._spec.windows.starts_of(self._reader.now_ms() - length_ms)[0]
        return self._with_range(self._range.from_start(first))

    def final(self) -> Self:
        """Return the windows that have closed, and are whole: no record can change them any more.

        A window has closed when every partition's stream time has passed its end by the grace; partitions that are idle
        do not count. One that is empty holds windows open until it is idle, see ``position().idle``. A window that begins
        before the ``start=`` of the table lacks records, and is never final.

        Raises
        ------
        ConfigurationError
            When the windows have no grace: these never close.
        """
        return self._with_range(self._range.only_final(self._spec.windows.name, self._spec.grace_ms))

    # --- rows -----------------------------------------------------------------------------------------------------

    def to_polars(
        self,
        *,
        fresh: bool = True,
        metadata: Metadata | None = None,
        is_final: bool = False,
        is_partial: bool = False,
    ) -> pl.DataFrame:
        """Return the latest row per key per window as a frame.

        Columns: ``window_start``, ``window_end``, the key, the fields, then what ``metadata`` asks for (see
        ``KTable.to_polars``), with ``is_final`` whether the window is one of ``final()`` (Boolean), and with ``is_partial``
        whether it begins before the ``start=`` of the table, and so lacks records (Boolean).
        """

        def take(materializer: Materializer) -> pl.DataFrame:
            watermark = self._watermark()  # before the rows, so that they hold all that is final by it
            lines = self._lines(materializer)
            marks = {
                IS_FINAL: self._finals(lines, watermark) if is_final else None,
                IS_PARTIAL: self._are_partial(lines) if is_partial else None,
            }
            return self._with_marks(self._present(lines, metadata=metadata), **marks)

        return self._read(take, fresh=fresh)

    def get(self, key: Any, *, fresh: bool = True) -> pl.DataFrame:
        """Return the row of ``key`` in each window that has one, in order of windows."""
        rows = self._presentation.of_key(self._read(self._lines, fresh=fresh), key)
        return self._present(rows.sort(WINDOW))

    def items(
        self, start: Moment | None = None, end: Moment | None = None, key: Any = None, *, fresh: bool = True
    ) -> Iterator[tuple[tuple[Any, Any], dict[str, Any]]]:
        """Return an iterator over ``((window_start, key), row)``, as of this call, in order of windows, then keys.

        The windows are those with ``start <= window_start < end``.
        """
        rows = self._read(self.between(start, end)._lines, fresh=fresh)  # noqa: SLF001 - of the same class
        if key is not None:
            rows = self._presentation.of_key(rows, key)
        return self._pairs(rows.sort(WINDOW, *self._presentation.key, nulls_last=False))

    def _pairs(self, rows: pl.DataFrame) -> Iterator[tuple[tuple[Any, Any], dict[str, Any]]]:
        for chunk in rows.iter_slices(CHUNK_ROWS):
            shown = self._present(chunk, metadata=False)
            starts = shown.to_series(0)
            names = zip(starts, self._presentation.keys(chunk), strict=True)
            yield from zip(names, shown.iter_rows(named=True), strict=True)

    def late(self, *, fresh: bool = True, metadata: Metadata = True) -> pl.DataFrame:
        """Return the records that came after their window had closed, the newest 10,000 of each partition.

        Columns as in ``to_polars``; a record that was late for several windows is there once for each. None without
        grace.
        """

        def take(materializer: Materializer) -> pl.DataFrame:
            records = materializer.store.late()
            batch = batch_of(records)
            rows = materializer.decoder.rows_of(batch, materializer.schema)
            closed = pl.Series(
                WINDOW, [record.reason.split() for record in records], dtype=pl.List(pl.String)
            )
            windows = closed.to_frame().with_row_index(LINE).explode(WINDOW).cast({WINDOW: pl.Int64})
            return self._present(self._spec.windows.with_ends(rows.join(windows, on=LINE)), metadata=metadata)

        return self._read(take, fresh=fresh)

    def diff(self, *, since: pl.DataFrame, fresh: bool = True) -> pl.DataFrame:
        """Return what has changed since ``since``, an earlier ``to_polars()`` of these windows; see ``KTable.diff``."""
        return self._difference(since, self.to_polars(fresh=fresh, metadata=False))

    # --- condition ------------------------------------------------------------------------------------------------

    def position(self) -> TablePosition:
        """Return where the rows stand, with the partitions that are idle; does not wait."""
        idle = self._reader.idle_partitions(self._spec.idle_after)
        return replace(super().position(), idle=idle)

    # --- inside ---------------------------------------------------------------------------------------------------

    def _all_lines(self, materializer: Materializer) -> pl.DataFrame:
        if self._is_stored and self._range == WindowRange():
            # All rows: a snapshot leaves the view merged for the next read, a part does not.
            rows = self._whole(materializer.view.snapshot().rows, materializer)
            return self._spec.windows.with_ends(rows)
        return self._rows(materializer)

    def _stale(self, lines: pl.DataFrame, marks: pl.DataFrame, materializer: Materializer) -> pl.DataFrame:
        if self._is_stored:
            return super()._stale(lines, marks, materializer)
        marks = in_windows(marks, self._spec.windows)
        if not marks.height:
            return NO_STALE
        for part in materializer.view.lines():  # what is newest in a small window need not be in a larger one
            marks = without_superseded(marks, in_windows(part, self._spec.windows), self._user_key)
        marks = marks.drop(HASH)
        return newer_marks(lines, marks, self._user_key)

    @property
    def _user_key(self) -> tuple[str, ...]:
        """The columns of the view by which users tell rows apart."""
        return (WINDOW, *self._presentation.key)

    def _aggregation(
        self, exprs: Sequence[pl.Expr], by: str | Sequence[str] | None, *, fill: bool
    ) -> Callable[[Materializer], Aggregate]:
        def compute(materializer: Materializer) -> Aggregate:
            watermark = self._watermark()  # before the rows, as in to_polars()
            empty = self._spec.windows.with_ends(pl.DataFrame(schema=materializer.view.schema))
            fields = fields_of(empty)
            own = self._presentation.window_names(fields)
            named, columns = self._presentation.groups(by, fields, self._presentation.expressions(fields))
            group = [name for name in named if name not in own]
            require_named(exprs, group, list(columns))
            usual = [name for name in self._presentation.names(fields) if name not in own]
            known = Columns(columns, usual)
            needed = {name for expr in known.needed(exprs, group) for name in expr.meta.root_names()}
            rows = self._shown_columns(materializer, [name for name in empty.columns if name in needed])
            values = aggregate_rows(rows, self._spec.windows, known, exprs, group)
            if fill:
                values = filled(values, self._spec.windows, exprs, group, empty.select(columns.values()))
            shown = self._presentation.aggregates(values)
            return Aggregate(
                shown, lambda: self._are_open(values, watermark), self._are_partial(values), tuple(group)
            )

        return compute

    def _shown_columns(self, materializer: Materializer, columns: Sequence[str]) -> pl.DataFrame:
        """Return the rows that are shown, with these columns and maybe others."""
        marks = materializer.view.marks()
        needed = dict.fromkeys((*columns, *self._judged(materializer)))
        if marks.height and self._completeness.policy.stale != "show":
            # Which rows are stale follows from where they are; by their hash they are found sooner.
            needed |= dict.fromkeys((*self._user_key, HASH, PARTITION, OFFSET, TIMESTAMP))
        return self._shown(self._rows(materializer, [*needed]), marks, materializer)

    def _rows(self, materializer: Materializer, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Return the rows of the windows in the range, or some of their columns, without touching other windows' rows."""
        watermark = self._watermark()  # before the rows, as in to_polars()
        stored = replace(self._range, end=self._stored_end())
        names = None if columns is None else [WINDOW, *(c for c in columns if c not in (WINDOW, WINDOW_END))]
        if self._is_stored:
            rows = materializer.view.part(names, stored.condition)
        else:
            lines, markers = (
                stored.filter(self._some_columns(part, names)) for part in materializer.view.lines()
            )
            rows = roll_up(lines, markers, self._spec.windows, self._user_key)
        # The horizon after the rows: if it has moved meanwhile, one window more is hidden, and never a part of one.
        rows = self._range.filter(self._whole(rows, materializer))
        if columns is None or WINDOW_END in columns or self._range.is_final_only:
            rows = self._spec.windows.with_ends(rows)
        return rows.filter(self._finals(rows, watermark)) if self._range.is_final_only else rows

    def _some_columns(self, lines: pl.DataFrame, names: Sequence[str] | None) -> pl.DataFrame:
        """Return the lines with these columns (None: all) and those by which larger windows are made of them."""
        if names is None:
            return lines.drop(HASH)
        wanted = {*names, *self._user_key, PARTITION, OFFSET, TIMESTAMP, RECORD_KEY}
        return lines.select(name for name in lines.columns if name in wanted)

    @property
    def _is_stored(self) -> bool:
        return self._spec.windows == self._stored

    def _stored_end(self) -> int | None:
        """Return the end of the range of stored windows from which the windows in the range are made."""
        end, windows = self._range.end, self._spec.windows
        return end if end is None or self._is_stored else windows.end_of(windows.starts_of(end - 1)[-1])

    def _whole(self, rows: pl.DataFrame, materializer: Materializer) -> pl.DataFrame:
        """Return the rows without the windows of which retention has dropped a part."""
        positions = materializer.store.positions().values()
        horizon = max((at.horizon for at in positions if at.horizon is not None), default=None)
        return rows if horizon is None else rows.filter(pl.col(WINDOW) >= horizon)

    def _live_lines(self, materializer: Materializer) -> Rows:
        watermark = self._watermark()  # before the rows, as in to_polars()
        lines = self._lines(materializer)
        return Rows(lines.with_columns(self._are_open(lines, watermark).alias(OPEN)))

    def _are_open(self, lines: pl.DataFrame, watermark: int | None) -> pl.Series:
        """Say of each line whether its window may still change; without grace: whether the watermark is before its end."""
        return ~TimeWindows(self._spec.windows, grace_ms=self._spec.grace_ms or 0).finals(lines, watermark)

    def _finals(self, lines: pl.DataFrame, watermark: int | None) -> pl.Series:
        have_closed = TimeWindows(self._spec.windows, grace_ms=self._spec.grace_ms).finals(lines, watermark)
        return have_closed & ~self._are_partial(lines)

    def _first_whole(self, skipped_before: int) -> int:
        return skipped_before
