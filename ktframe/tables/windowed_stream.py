"""Windowed streams: the events of a stream with the windows they are in, computed from its rows at each read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Self

import polars as pl

from ktframe.columns import (
    FINAL,
    ITEM,
    OFFSET,
    OPEN,
    PARTITION,
    TIMESTAMP,
    TOMBSTONE,
    WINDOW,
    WINDOW_END,
    own_name,
)
from ktframe.config.settings import ReadPolicy
from ktframe.errors import ConfigurationError
from ktframe.fold.records import Cause, RefusedRecord
from ktframe.fold.row_codec import headers_of, record_key_of, unpack_rows
from ktframe.fold.rows import Rows
from ktframe.formats.base import Fault
from ktframe.sync.materializer import Materializer
from ktframe.sync.missing import Missing
from ktframe.sync.reader import BindingReader
from ktframe.tables.aggregate import Aggregate
from ktframe.tables.base import MaterializedTopic
from ktframe.tables.presentation import Metadata, Presentation, fields_of
from ktframe.tables.window_spec import EventWindowSpec
from ktframe.tables.windowed import IS_FINAL, IS_PARTIAL, WindowedTopic
from ktframe.windows.aggregation import Columns, aggregate_events, filled, require_named
from ktframe.windows.events import EventWindows, TimeWindows
from ktframe.windows.parsing import Minutes, parse_minutes

_TIMELESS = "the event has no timestamp: it is in no window"


class WindowedKStream(WindowedTopic):
    """The events of a stream in windows. Make one with ``stream.window``, ``stream.sliding`` or ``stream.session``.

    Frames begin with ``window_start`` and ``window_end`` (Datetime("ms", "UTC")); an event in several windows is there
    once for each. Windows without events are absent. It reads from the stream, and closing it closes that.
    """

    _kind: ClassVar[str] = "WindowedKStream"
    _spec: EventWindowSpec

    def __init__(
        self,
        reader: BindingReader,
        presentation: Presentation,
        spec: EventWindowSpec,
        *,
        events: Callable[[Materializer], pl.DataFrame],
        policy: ReadPolicy,
        close: Callable[[MaterializedTopic], None],
    ) -> None:
        super().__init__(reader, presentation, policy=policy, close=close)
        self._spec = spec
        self._rows = events

    def last(self, length: Minutes) -> Self:
        """Return the windows that start in the last ``length`` (``"1h"``, or minutes), counted back from this call."""
        start = self._reader.now_ms() - parse_minutes("last", length)
        return self._with_range(self._range.from_start(start))

    def final(self) -> Self:
        """Return the windows that have closed, and are whole: no event can change them; see ``WindowedKTable.final``.

        A session can still be joined, in Kafka too, by a chain of late events each of which joins the one before.

        Raises
        ------
        ConfigurationError
            When the windows have no grace: they never close.
        """
        return self._with_range(self._range.only_final(self._spec.name, self._spec.windows.grace_ms))

    def to_polars(
        self,
        *,
        fresh: bool = True,
        metadata: Metadata | None = None,
        is_final: bool = False,
        is_partial: bool = False,
    ) -> pl.DataFrame:
        """Return the events with their windows.

        Columns: ``window_start``, ``window_end``, the fields, then what ``metadata`` asks for (see ``KStream``), with
        ``is_final`` whether the window is one of ``final()`` (Boolean), and with ``is_partial`` whether it begins before the
        ``start=`` of the stream, and so lacks events (Boolean).
        """

        def take(materializer: Materializer) -> pl.DataFrame:
            watermark = self._watermark()  # before the rows, so that they hold all that is final by it
            lines = self._assigned(materializer, watermark, with_finality=is_final)
            marks = {
                IS_FINAL: lines[FINAL] if is_final else None,
                IS_PARTIAL: self._are_partial(lines) if is_partial else None,
            }
            return self._with_marks(self._present(lines, metadata=metadata), **marks)

        return self._read(take, fresh=fresh)

    def late(self, *, fresh: bool = True, metadata: Metadata = True) -> pl.DataFrame:
        """Return the events that came after their window had closed, once for each such window."""

        def take(materializer: Materializer) -> pl.DataFrame:
            events, by = self._events(materializer)
            windows, _ = self._retained(materializer)
            return self._present(windows.late(events, by), metadata=metadata)

        return self._read(take, fresh=fresh)

    def __repr__(self) -> str:
        # Without a count of rows: that would compute the windows.
        materializer = self._reader.present()
        if materializer is None:
            return f"{self._kind}({self._name()}, {self._reader.binding.readiness().condition})"
        missing = self._missing(materializer)
        condition = self._reader.binding.readiness(missing).condition
        remark = f", {missing}" if str(missing) else ""
        return f"{self._kind}({self._name()}, {condition}{remark})"

    # --- inside ---------------------------------------------------------------------------------------------------

    def _all_lines(self, materializer: Materializer) -> pl.DataFrame:
        return self._assigned(materializer, self._watermark())

    def _timeless(self, materializer: Materializer) -> pl.DataFrame:
        """Return the events without a timestamp: they are in no window."""
        return self._rows(materializer).filter(pl.col(TIMESTAMP).is_null())

    def _refused(self, materializer: Materializer) -> list[RefusedRecord]:
        timeless = self._timeless(materializer)
        rows = materializer.store.get_many(materializer.decoder.identity.encode(timeless).to_list())
        indices = timeless[ITEM].to_list() if ITEM in timeless.columns else [None] * timeless.height
        records = [
            _without_timestamp(partition, index, stored)
            for index, places in zip(indices, rows, strict=True)
            for partition, stored in places
        ]
        return [*super()._refused(materializer), *records]

    def _counted_missing(self, materializer: Materializer) -> Missing:
        missing, timeless = Missing.of(materializer, self.topic, stale=0), self._timeless(materializer)
        if not timeless.height:
            return missing
        places = timeless.select(PARTITION, OFFSET)
        cause = Cause(_TIMELESS, Fault.TIME, (), timeless.height, places.row(0), places.row(-1))
        # Tombstones have no value that could have been accepted; here they are events as others are.
        in_windows = self._rows(materializer).height - timeless.height
        accepted = max(missing.accepted - timeless.height, in_windows)
        return missing.with_cause(cause, materializer, self.topic, accepted=accepted)

    def _live_lines(self, materializer: Materializer) -> Rows:
        return Rows(self._assigned(materializer, self._watermark(), with_finality=True))

    def _aggregation(
        self, exprs: Sequence[pl.Expr], by: str | Sequence[str] | None, *, fill: bool
    ) -> Callable[[Materializer], Aggregate]:
        spec = self._spec
        if spec.by is not None and by is not None:
            message = f"windows ({spec.name}) have their groups already."
            raise ConfigurationError(message, f"give by={by!r} where they are made.")
        if fill and not isinstance(spec.windows, TimeWindows):
            message = f"fill=True: windows ({spec.name}) exist only where events are."
            raise ConfigurationError(message, "it is for tumbling and hopping windows.")

        def compute(materializer: Materializer) -> Aggregate:
            watermark = self._watermark()  # before the rows, as in to_polars()
            rows = self._rows(materializer)
            fields = fields_of(rows)
            group, columns = self._presentation.groups(
                by if spec.by is None else spec.by, fields, self._columns(fields)
            )
            require_named(exprs, group, list(columns))
            usual = self._presentation.names(fields)
            windows, cut = self._retained(materializer)
            every = self._whole(aggregate_events(rows, windows, Columns(columns, usual), exprs, group), cut)
            values = self._in_range(every, group, watermark)
            if fill and isinstance(spec.windows, TimeWindows):
                empty = rows.clear().select(columns.values())
                every = values = filled(values, spec.windows.windows, exprs, group, empty)

            def find_open() -> pl.Series:
                return self._with_finality(values, every, group, watermark)[OPEN]

            shown = self._presentation.aggregates(values)
            return Aggregate(shown, find_open, self._are_partial(values), tuple(group))

        return compute

    def _assigned(
        self, materializer: Materializer, watermark: int | None, *, with_finality: bool = False
    ) -> pl.DataFrame:
        """Return the events with the windows of the range that they are in; see ``_with_finality``."""
        events, by = self._events(materializer)
        windows, cut = self._retained(materializer)
        every = self._whole(windows.assign(events, by), cut)
        lines = self._in_range(every, by, watermark)
        return self._with_finality(lines, every, by, watermark) if with_finality else lines

    def _retained(self, materializer: Materializer) -> tuple[EventWindows, int | None]:
        """Return the windows over the events that retention has left, and the time up to which it dropped some."""
        # Positions after the rows: if retention has gone on meanwhile, more windows are hidden, and never parts of them.
        positions = materializer.store.positions()
        cuts = {p: position.cut for p, position in positions.items() if position.cut is not None}
        windows = self._spec.windows
        return (windows.after(cuts), max(cuts.values())) if cuts else (windows, None)

    def _events(self, materializer: Materializer) -> tuple[pl.DataFrame, list[str]]:
        """Return the events with columns for the groups of the windows, and the names of these."""
        rows = self._rows(materializer)
        fields = fields_of(rows)
        names, columns = self._presentation.groups(self._spec.by, fields, self._columns(fields))
        by = {own_name(f"by {name}"): columns[name] for name in names}
        return rows.with_columns(column.alias(name) for name, column in by.items()), list(by)

    def _columns(self, fields: pl.Schema) -> dict[str, pl.Expr]:
        """Return the columns that expressions can name: all but those of the window, which is not known yet."""
        own = self._presentation.window_names(fields)
        columns = self._presentation.expressions(fields).items()
        return {name: column for name, column in columns if name not in own}

    def _whole(self, lines: pl.DataFrame, cut: int | None) -> pl.DataFrame:
        """Return the lines without the windows of which retention has dropped a part."""
        return lines if cut is None else lines.filter(pl.col(WINDOW) >= self._spec.windows.whole_from(cut))

    def _first_whole(self, skipped_before: int) -> int:
        return self._spec.windows.whole_from(skipped_before - 1)

    def _with_finality(
        self, lines: pl.DataFrame, every: pl.DataFrame, by: Sequence[str], watermark: int | None
    ) -> pl.DataFrame:
        """Add ``FINAL``, whether each line's window has closed and is whole, and ``OPEN``, whether it may still change.

        Without grace no window closes; it may change as long as the watermark is not past it. ``every`` are the lines of
        all windows, and not of those in the range only: a session outside of it can still join one inside.
        """
        windows, window = self._spec.windows, [WINDOW, WINDOW_END, *by]
        distinct = every.select(window).unique()
        final = windows.finals(distinct, watermark)
        past = final if windows.grace_ms is not None else windows.closing().finals(distinct, watermark)
        whole = ~self._are_partial(distinct)
        finality = distinct.hstack([(final & whole).alias(FINAL), (~past).alias(OPEN)])
        return lines.join(finality, on=window, how="left", nulls_equal=True, maintain_order="left")

    def _in_range(self, every: pl.DataFrame, by: Sequence[str], watermark: int | None) -> pl.DataFrame:
        lines = every
        if self._range.is_final_only:
            lines = self._with_finality(every, every, by, watermark).filter(FINAL).drop(FINAL, OPEN)
        return self._range.filter(lines)


def _without_timestamp(partition: int, index: int | None, stored: bytes) -> RefusedRecord:
    """Return a stored event without a timestamp as a refused record."""
    columns, (value,) = unpack_rows([stored])
    return RefusedRecord(
        partition=partition,
        offset=columns[OFFSET].item(),
        timestamp=None,
        key=record_key_of(stored),
        value=None if columns[TOMBSTONE].item() else value,
        reason=_TIMELESS,
        headers=headers_of(stored),
        index=index,
    )
