"""The events of a stream in windows; made anew from the stream's rows at every read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import polars as pl

from ktframe.aggregation import aggregate_events, expressions, filled, groups
from ktframe.errors import ConfigurationError
from ktframe.eventwindows import EventWindows, TimeWindows
from ktframe.finality import watermark
from ktframe.moments import Moment
from ktframe.presentation import Metadata, Presentation, fields_of, quarantine_frame
from ktframe.records import (
    OFFSET,
    TIMESTAMP,
    TOMBSTONE,
    WINDOW,
    WINDOW_END,
    QuarantinedRecord,
)
from ktframe.rowvalue import record_key_of, unpack_rows
from ktframe.selection import Selection
from ktframe.source import Source
from ktframe.sync.materializer import Materializer

_IS_FINAL = "is_final"
_TIMELESS = "the event has no timestamp: it is in no window"


@dataclass(frozen=True, slots=True)
class EventShape:
    """Which windows events are put in: ``by`` has windows of its own for each value, where the kind knows it."""

    windows: EventWindows
    name: str
    by: tuple[str, ...] | None
    idle_after: float
    tz: str = "UTC"


class WindowedKStream:
    """The events of a stream in windows. Make one with ``stream.window``, ``stream.sliding`` or ``stream.session``.

    Frames begin with ``window_start`` and ``window_end`` (Datetime("ms", "UTC")); an event in several windows is there
    once for each. Windows without events are absent.
    """

    def __init__(
        self,
        source: Source,
        presentation: Presentation,
        shape: EventShape,
        lines: Callable[[Materializer], pl.DataFrame],
    ) -> None:
        self.topic = source.binding.topic
        self._source = source
        self._presentation = presentation
        self._shape = shape
        self._lines = lines
        self._selection = Selection()

    def between(self, start: Moment | None = None, end: Moment | None = None) -> Self:
        """Return the windows with ``start <= window_start < end``; see ``WindowedKTable.between``."""
        tz, now_ms = self._shape.tz, self._source.now_ms()
        return self._selecting(self._selection.between(start, end, tz=tz, now_ms=now_ms))

    def final(self) -> Self:
        """Return the windows that have closed: no event can change them any more; see ``WindowedKTable.final``.

        Raises
        ------
        ConfigurationError
            When the windows have no grace: they never close.
        """
        return self._selecting(self._selection.closed(self._shape.name, self._shape.windows.grace_ms))

    def _selecting(self, selection: Selection) -> Self:
        narrowed = copy.copy(self)
        narrowed._selection = selection  # noqa: SLF001 - another of this class
        return narrowed

    def to_polars(
        self, *, fresh: bool = True, metadata: Metadata = False, is_final: bool = False
    ) -> pl.DataFrame:
        """Return the events with their windows.

        Columns: ``window_start``, ``window_end``, the fields, then what ``metadata`` asks for (see ``KStream``), and with
        ``is_final`` whether the window has closed (Boolean).
        """

        def take(materializer: Materializer) -> pl.DataFrame:
            known = watermark(
                self._source, self._shape.idle_after
            )  # before the rows: what is final, is in them
            rows = self._lines(materializer)
            fields = fields_of(rows)
            events = self._events(rows, fields)
            placed = self._narrowed(self._shape.windows.assign(events, self._by(events.columns)), known)
            shown = [self._presentation.frame(placed, fields, metadata=metadata)]
            if is_final:
                shown.append(self._finality(placed, known))
            return pl.concat(shown, how="horizontal")

        return self._source.read(take, fresh=fresh)

    def lazy(self, *, fresh: bool = True, metadata: Metadata = False) -> pl.LazyFrame:
        """Return the events with their windows, as of this call, as a LazyFrame."""
        return self.to_polars(fresh=fresh, metadata=metadata).lazy()

    def agg(
        self,
        *exprs: pl.Expr,
        by: str | Sequence[str] | None = None,
        fill: bool = False,
        fresh: bool = True,
        **named: pl.Expr,
    ) -> pl.DataFrame:
        """Return the value of each expression per window, over its events; see ``WindowedKTable.agg``.

        ``by`` groups within tumbling and hopping windows; sliding windows and sessions were given theirs. ``"key"`` is
        the record key. ``fill`` is for tumbling and hopping windows.

        Raises
        ------
        ConfigurationError
            When an argument does not fit these windows.
        """
        wanted = expressions(exprs, named)
        shape = self._shape
        if shape.by is not None and by is not None:
            message = f"windows ({shape.name}) have their groups already."
            raise ConfigurationError(message, f"give by={by!r} where they are made.")
        if fill and not isinstance(shape.windows, TimeWindows):
            message = f"fill=True: windows ({shape.name}) exist only where events are."
            raise ConfigurationError(message, "it is for tumbling and hopping windows.")

        def take(materializer: Materializer) -> pl.DataFrame:
            known = watermark(self._source, shape.idle_after)
            rows = self._lines(materializer)
            columns = self._columns(fields_of(rows))
            group = self._by(list(columns)) or groups(by, list(columns))
            found = aggregate_events(rows, shape.windows, columns, wanted, group)
            found = self._narrowed(found, known, group)
            if fill and isinstance(shape.windows, TimeWindows):
                empty = rows.clear().select(columns.values())
                found = filled(found, shape.windows.windows, wanted, group, empty)
            return self._presentation.aggregates(found)

        return self._source.read(take, fresh=fresh)

    def late(self, *, fresh: bool = True, metadata: Metadata = True) -> pl.DataFrame:
        """Return the events that came after their window had closed, once for each such window."""

        def take(materializer: Materializer) -> pl.DataFrame:
            rows = self._lines(materializer)
            fields = fields_of(rows)
            events = self._events(rows, fields)
            late = self._shape.windows.late(events, self._by(events.columns))
            return self._presentation.frame(late, fields, metadata=metadata)

        return self._source.read(take, fresh=fresh)

    def errors(self, *, fresh: bool = True) -> pl.DataFrame:
        """Return the records that are in no window: the stream's ``errors()``, and its events without a timestamp."""

        def take(materializer: Materializer) -> pl.DataFrame:
            timeless = self._lines(materializer).filter(pl.col(TIMESTAMP).is_null())
            identities = materializer.entity.identity.encode(timeless).to_list()
            found = materializer.store.get_many(identities)
            records = [_set_aside(partition, stored) for pairs in found for partition, stored in pairs]
            return quarantine_frame([*materializer.store.quarantined(), *records])

        return self._source.read(take, fresh=fresh)

    def __repr__(self) -> str:
        return f"WindowedKStream({self.topic!r}, {self._shape.name!r})"

    # --- inside ---------------------------------------------------------------------------------------------------

    def _columns(self, fields: pl.Schema) -> dict[str, pl.Expr]:
        """Return what expressions can name: all but the window itself, which is being made."""
        names = self._presentation.names(fields, metadata=True)
        columns = self._presentation.expressions(fields)
        ours = {
            name for name, each in names.items() if each is not None and each.column in (WINDOW, WINDOW_END)
        }
        return {name: each for name, each in columns.items() if name not in ours}

    def _by(self, columns: Sequence[str]) -> list[str]:
        return groups(self._shape.by, columns)

    def _events(self, rows: pl.DataFrame, fields: pl.Schema) -> pl.DataFrame:
        """Return all columns of the rows, and beside them those that ``by`` can name."""
        added = [each for name, each in self._columns(fields).items() if name not in rows.columns]
        return rows.with_columns(added)

    def _narrowed(
        self, placed: pl.DataFrame, known: int | None, by: Sequence[str] | None = None
    ) -> pl.DataFrame:
        if self._selection.only_final:
            placed = placed.filter(self._finality(placed, known, by)[_IS_FINAL])
        return self._selection.of(placed)

    def _finality(
        self, placed: pl.DataFrame, known: int | None, by: Sequence[str] | None = None
    ) -> pl.DataFrame:
        """Return for each line whether its window has closed."""
        window = [WINDOW, WINDOW_END, *(self._by(placed.columns) if by is None else by)]
        windows = placed.select(window).unique()
        final = windows.hstack([self._shape.windows.finals(windows, window[2:], known).alias(_IS_FINAL)])
        return (
            placed.select(window)
            .join(final, on=window, how="left", nulls_equal=True, maintain_order="left")
            .select(_IS_FINAL)
        )


def _set_aside(partition: int, stored: bytes) -> QuarantinedRecord:
    columns, (value,) = unpack_rows([stored])
    return QuarantinedRecord(
        partition=partition,
        offset=columns[OFFSET].item(),
        timestamp=None,
        key=record_key_of(stored),
        value=None if columns[TOMBSTONE].item() else value,
        reason=_TIMELESS,
    )
