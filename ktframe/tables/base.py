"""What tables, streams and their windows share: reading rows as frames, readiness, status, events, and closing."""

from __future__ import annotations

import html
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import polars as pl

from ktframe.call_site import CallSite, call_site
from ktframe.columns import ITEM, OFFSET, OPEN, PARTITION, TIMESTAMP, WINDOW
from ktframe.config.settings import ReadPolicy
from ktframe.events import RowsChanged
from ktframe.fold.event_time import as_datetime
from ktframe.fold.rows import Rows
from ktframe.ipython import is_inspected
from ktframe.process.threads import awaited, uninterruptible
from ktframe.sync.history import LagHistory
from ktframe.sync.materializer import Materializer
from ktframe.sync.missing import counted
from ktframe.sync.monitor import Readiness
from ktframe.sync.reader import BindingReader
from ktframe.sync.status import (
    Preview,
    RecentRows,
    TablePosition,
    TableStatus,
    detected_formats,
    notices,
    status_of,
)
from ktframe.tables.complete_reads import CompleteReads
from ktframe.tables.completeness import deferred_to
from ktframe.tables.diff import difference
from ktframe.tables.presentation import Metadata, Presentation, fields_of
from ktframe.tables.verbs import FrameVerbs

if TYPE_CHECKING:  # slow to import
    from ktframe.widgets.figure import Axes, Chart

HEAD_ROWS: Final = 8  # what a preview shows
CHUNK_ROWS: Final = (
    10_000  # rows that are made Python objects at a time: more would stop the interpreter for too long
)


T = TypeVar("T")


class MaterializedTopic(CompleteReads, FrameVerbs):
    """A topic as rows. Every read is complete as of the call, unless it is called with ``fresh=False``.

    A read waits as long as progress is made, and raises ``NotReadyError`` when none is. Any thread may call it.
    """

    _kind: ClassVar[str]

    def __init__(
        self,
        reader: BindingReader,
        presentation: Presentation,
        *,
        policy: ReadPolicy,
        close: Callable[[MaterializedTopic], None],
    ) -> None:
        super().__init__(reader, presentation, policy)
        self.events = reader.binding.events
        self._close = close
        self._origin = self
        """The object that the context knows: this one, or the one that this is a copy of."""

    # --- rows -----------------------------------------------------------------------------------------------------

    def to_polars(self, *, fresh: bool = True, metadata: Metadata | None = None) -> pl.DataFrame:
        """Return the rows as a frame.

        Row order is unspecified. Dtypes do not depend on how many rows there are.

        Parameters
        ----------
        fresh
            Wait until everything that is in the topic now is in the frame. False returns at once what the local store
            has.
        metadata
            Add ``partition`` (Int32), ``offset`` (Int64) and ``timestamp`` (Datetime("ms", "UTC"); null where the
            record has none), and where they were asked for ``headers`` (List of Struct of ``key``, String, and ``value``,
            Binary); or those of them that are named. None: those that ``ktframe.table(metadata=...)`` says, mostly none.
            Python has no datetime beyond the year 9999: ``to_list()`` of such a value raises.

        Raises
        ------
        NotReadyError
            When the rows can't be complete, with the partitions and the reason.
        IncompleteError, StaleRowsError, SchemaError
            When records were refused, and that is an error; see ``ktframe.table``.
        BrokerError
            When the cluster does not answer, the topic is unknown, or the login is refused.

        Warns
        -----
        KtframeWarning
            When records were refused or rows are stale: how many, why, and which argument keeps them.
        """
        return self._present(self._read(self._lines, fresh=fresh), metadata=metadata)

    def to_polars_async(
        self, *, fresh: bool = True, metadata: Metadata | None = None
    ) -> Coroutine[Any, Any, pl.DataFrame]:
        """Return what ``to_polars`` does, when awaited, leaving the event loop free while it waits."""
        # Not ``async def``: a warning names the line of this call, which runs before anything is awaited.
        return self._in_thread(call_site(), lambda: self.to_polars(fresh=fresh, metadata=metadata))

    @staticmethod
    async def _in_thread(site: CallSite, read: Callable[[], T]) -> T:
        with deferred_to(site):
            return await awaited(read)

    def lazy(self, *, fresh: bool = True, metadata: Metadata | None = None) -> pl.LazyFrame:
        """Return the rows, as of this call, as a LazyFrame."""
        rows = self._read(self._rows_shown, fresh=fresh)
        return rows.each(lambda lines: self._present(lines, metadata=metadata)).lazy()

    def head(self, n: int = 5, *, fresh: bool = True) -> pl.DataFrame:
        """Return ``n`` rows, those that ``to_polars()`` begins with; which these are is unspecified for tables."""
        if n < 0:
            return super().head(n, fresh=fresh)
        return self._present(
            self._read(lambda materializer: self._rows_shown(materializer).head(n), fresh=fresh)
        )

    def __len__(self) -> int:
        if is_inspected():  # help must neither start reading nor wait
            message = "how many rows there are has to be read"
            raise TypeError(message)
        return self._read(self._rows_shown, fresh=True).height

    def __bool__(self) -> bool:
        # Without this, ``if table:`` would wait for the whole topic.
        return True

    @property
    @uninterruptible
    def schema(self) -> pl.Schema:
        """The columns and dtypes of ``to_polars()`` as known now; does not wait."""
        return self._schema_of(self._reader.started())

    def _schema_of(self, materializer: Materializer) -> pl.Schema:
        empty = pl.DataFrame(schema=materializer.view.schema)
        return self._present(self._presentation.with_windows(empty), strict=False).schema

    # --- condition ------------------------------------------------------------------------------------------------

    def wait_until_ready(
        self, timeout: float | str | timedelta | None = None, *, progress: bool = True
    ) -> Readiness:
        """Wait until everything that was in the topic when reading began is here; return ``Readiness``.

        ``timeout`` bounds the wait (seconds, ``"5m"``, a timedelta; None: as long as progress is made).

        Raises
        ------
        NotReadyError
            When the timeout has passed, or no progress was made for the stall timeout.
        """
        self._reader.wait_until_ready(timeout, progress=progress)
        return self.readiness()

    async def ready(
        self, timeout: float | str | timedelta | None = None, *, progress: bool = True
    ) -> Readiness:
        """Wait as ``wait_until_ready`` does, leaving the event loop (and the notebook's buttons) free."""
        return await awaited(lambda: self.wait_until_ready(timeout, progress=progress))

    @uninterruptible
    def readiness(self) -> Readiness:
        """Return whether the rows are complete, and if not, why; does not wait."""
        materializer, binding = self._reader.started(), self._reader.binding
        # Not while it is read: finding stale rows merges what waits into the view.
        return binding.readiness(self._missing(materializer) if binding.monitor.is_ready else None)

    @uninterruptible
    def position(self) -> TablePosition:
        """Return where the rows stand; does not wait."""
        materializer, binding = self._reader.started(), self._reader.binding
        positions = materializer.store.positions()
        times = {partition: position.stream_time for partition, position in positions.items()}
        readiness = binding.readiness()
        return TablePosition(
            offsets=materializer.written.positions(),
            stream_time=as_datetime(max((at for at in times.values() if at is not None), default=None)),
            lag=readiness.total_lag,
            state=readiness.state,
            held_back=binding.contact.held_back,
            stream_times={partition: as_datetime(at) for partition, at in sorted(times.items())},
            notices=notices(binding, materializer),
        )

    @uninterruptible
    def status(self) -> TableStatus:
        """Return state, lag, counts and the last error in one value; does not wait."""
        materializer = self._reader.started()
        rows, missing = self._rows_shown(materializer).height, self._missing(materializer)
        return status_of(self._reader.binding, materializer, rows=rows, missing=missing)

    @property
    def history(self) -> LagHistory:
        """The lag that was measured, and incidents such as failures and rebuilds, since reading began."""
        return self._reader.history

    def plot_lag(self, ax: Axes | None = None) -> Chart | Axes:
        """Draw how many records were still to be read, per partition and in total, since reading began.

        Returns ``ax``, or a ``matplotlib`` ``Figure`` that a notebook shows. See ``ktframe.widgets.lag_chart`` for a live
        one.
        """
        from ktframe.widgets import plot_lag  # noqa: PLC0415 - matplotlib is slow to import

        return plot_lag(self, ax)

    def on_change(self, callback: Callable[[RowsChanged], object]) -> Callable[[], None]:
        """Call ``callback`` whenever rows have changed; return a function that ends the subscription.

        It runs on the thread that follows the topic: keep it short. A read in it that would have to wait for that thread
        raises ``NotReadyError``.
        """
        self._reader.started()
        return self.events.subscribe(RowsChanged, callback)

    def relearn(self) -> None:
        """Read the topic again from where it starts, and decide anew what columns there are and of which types.

        The types of JSON fields are decided by the first 10,000 records of each partition that are in the topic. Where
        some of these came after so many others that the rows could not be made anew on the way, ``status()`` says so, and
        this (or opening the table the next time) makes the rows those of a table that is loaded now. Declared types
        stay.

        It returns at once; the next read waits until everything is read again, as at a first load. Rows whose records
        the topic no longer has are gone then. Windows of a table, and all windows of a stream, that have the same local
        store are read again with it.

        Raises
        ------
        BrokerError
            When the table was not read yet, and its topic is unknown or the cluster does not answer.
        """
        self._reader.relearn()

    @uninterruptible
    def close(self) -> None:
        """Stop following the topic and close the local store; the rows stay on disk.

        It returns when the store is free, whoever began to close it. A callback may call it: nothing is written from then
        on, and the callback's thread ends after it.

        Raises
        ------
        StoreError
            When a thread does not leave the store; it names that thread, and what it does. Call it again.
        """
        self._close(self._origin)

    @uninterruptible
    def __repr__(self) -> str:
        binding, materializer = self._reader.binding, self._reader.present()
        if materializer is None:
            return f"{self._kind}({self._name()}, {binding.readiness().condition})"
        missing = self._missing(materializer)
        readiness = binding.readiness(missing)
        rows = counted(self._rows_shown(materializer).height, "row")
        lag = f"{readiness.total_lag:,} offsets behind" if readiness.total_lag else ""
        parts = [self._name(), readiness.condition, rows, lag, str(missing)]
        texts = (detected_formats(materializer), *notices(binding, materializer))
        remarks = "".join(f"; {text}" for text in texts if text)
        return f"{self._kind}({', '.join(part for part in parts if part)}{remarks})"

    @uninterruptible
    def _repr_html_(self) -> str:
        head, materializer = "", self._reader.present()
        if materializer is not None:
            rows = self._rows_shown(materializer).head(HEAD_ROWS)
            with pl.Config(tbl_hide_dataframe_shape=True):  # the line above says how many rows there are
                head = self._present(rows, strict=False)._repr_html_()
        return f"<code>{html.escape(repr(self))}</code>{head}"

    def _ipython_display_(self) -> None:
        from ktframe.widgets import panel_of  # noqa: PLC0415 - a script without a notebook needs no widgets

        panel_of(self)._ipython_display_()

    def _present(
        self, rows: pl.DataFrame, *, metadata: Metadata | None = None, strict: bool = True
    ) -> pl.DataFrame:
        wanted = self._presentation.metadata if metadata is None else metadata
        return self._presentation.frame(rows, fields_of(rows), metadata=wanted, strict=strict)

    def _difference(self, since: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
        materializer = self._reader.started()
        fields = fields_of(pl.DataFrame(schema=materializer.view.schema))
        known = since.select(name for name in since.columns if name in now.columns)
        keys = self._presentation.key_columns(fields)
        changes = difference(known, now, keys)
        if self._completeness.policy.stale == "show" or not materializer.view.marks().height:
            return changes
        # A row that is hidden, because its newest record was refused, was not deleted.
        hidden = self._stale_keys(materializer, ()).select(pl.col(k).cast(changes.schema[k]) for k in keys)
        is_deleted = changes.to_series(0) == "deleted"
        deleted = changes.filter(is_deleted).join(
            hidden, on=keys, how="anti", nulls_equal=True, maintain_order="left"
        )
        return pl.concat([changes.filter(~is_deleted), deleted])

    # --- for panels and tab completion: see widgets/protocols.py ---------------------------------------------------

    @property
    def _label(self) -> str:
        """The topic, and which windows of it, for titles."""
        return self._name(quote=str)

    @property
    @uninterruptible
    def _known_columns(self) -> list[str]:
        """The columns of ``to_polars()`` as known now; starts nothing, none before reading began."""
        materializer = self._reader.present()
        return [] if materializer is None else self._schema_of(materializer).names()

    @uninterruptible
    def _preview(self, rows: int = HEAD_ROWS) -> Preview:
        """Return the condition and the first ``rows`` as they are now; starts nothing and does not wait."""
        binding, materializer = self._reader.binding, self._reader.present()
        if materializer is None:
            return Preview(status_of(binding, None, rows=0), pl.DataFrame())
        lines = self._rows_shown(materializer)
        status = status_of(binding, materializer, rows=lines.height, missing=self._missing(materializer))
        return Preview(status, self._present(lines.head(rows), strict=False))

    def _recent(self, rows: int = HEAD_ROWS) -> RecentRows:
        """Return the rows that changed last (of windows: in the newest windows) as they are now; does not wait."""

        def take(materializer: Materializer) -> RecentRows:
            # Before the rows: no new row passes for an old one. Those from before a rebuild are old ones.
            before = {p: at.offset for p, at in materializer.store.positions().items()}
            positions = {p: before[p] for p in materializer.store.rebuilds()} | materializer.view.positions()
            lines = self._live_lines(materializer)
            order = [name for name in (WINDOW, TIMESTAMP, OFFSET, ITEM) if name in lines.schema]
            top = lines.top_k(rows, order).sort(order, descending=True, nulls_last=True)
            return RecentRows(
                rows=self._present(top, strict=False),
                places=list(zip(top[PARTITION], top[OFFSET], strict=True)),
                positions=positions,
                provisional=top[OPEN].to_list() if OPEN in top.columns else [False] * top.height,
                total=lines.height,
            )

        return self._reader.read(take, fresh=False)

    def _live_lines(self, materializer: Materializer) -> Rows:
        """Return the lines; of windows with ``OPEN``, which says whether the window of each may still change."""
        return self._rows_shown(materializer)
