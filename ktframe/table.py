"""What users hold: a topic as a table, the latest row per key."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import polars as pl

from ktframe.durations import parse_duration_ms
from ktframe.errors import ContextClosedError
from ktframe.events import BindingState, RowsChanged
from ktframe.eventtime import as_datetime
from ktframe.monitor import Readiness
from ktframe.presentation import Presentation, quarantine_frame
from ktframe.progress import Progress
from ktframe.records import is_field
from ktframe.status import TablePosition, TableStatus
from ktframe.sync.barrier import Barrier
from ktframe.sync.binding import TopicBinding
from ktframe.sync.materializer import Materializer

Key = Any
"""A key as ``get`` takes it: a str, int or bytes; a tuple where the key is composite."""

T = TypeVar("T")

_CHUNK_ROWS = 10_000
_HEAD_ROWS = 8


class KTable:
    """The latest row per key of a topic. Make one with ``ktframe.table``.

    Every read is complete as of the call: it waits until all that was in the topic is in the table, unless it is
    told ``fresh=False``. It waits as long as progress is made, and raises ``NotReadyError`` when none is.
    """

    def __init__(
        self,
        binding: TopicBinding,
        barrier: Barrier,
        presentation: Presentation,
        *,
        start: Callable[[TopicBinding], None],
        close: Callable[[KTable], None],
        stall_timeout: float,
    ) -> None:
        self.topic = binding.topic
        self.events = binding.events
        self.binding = binding
        self._barrier = barrier
        self._presentation = presentation
        self._start = start
        self._close = close
        self._stall_timeout = stall_timeout

    # --- rows -----------------------------------------------------------------------------------------------------

    def to_polars(self, *, fresh: bool = True, metadata: bool = False) -> pl.DataFrame:
        """Return the table as a frame.

        Columns are the record key (``key``), where it is the table's key, and the value's fields in schema order.
        Row order is unspecified. Dtypes do not depend on how many rows there are.

        Parameters
        ----------
        fresh
            Wait until everything that is in the topic now is in the frame; False answers at once with what the local
            store has.
        metadata
            Add ``partition`` (Int32), ``offset`` (Int64) and ``timestamp`` (Datetime("ms", "UTC"); null where the
            record has none. Python has no datetime beyond the year 9999: ``to_list()`` of such a value raises).

        Raises
        ------
        NotReadyError
            When the table can't catch up, naming the partitions and the reason.
        BrokerError
            When the cluster does not answer, the topic is unknown, or the login refused.
        """
        return self._present(self._read(_all_rows, fresh=fresh), metadata=metadata)

    async def to_polars_async(self, *, fresh: bool = True, metadata: bool = False) -> pl.DataFrame:
        """Return what ``to_polars`` does, leaving the event loop free while it waits."""
        return await asyncio.to_thread(self.to_polars, fresh=fresh, metadata=metadata)

    def lazy(self, *, fresh: bool = True, metadata: bool = False) -> pl.LazyFrame:
        """Return the table, as of this call, as a LazyFrame."""
        return self.to_polars(fresh=fresh, metadata=metadata).lazy()

    def get(self, key: Key, default: Any = None, *, fresh: bool = True) -> Any:
        """Return the row of ``key`` as a dict, or ``default``. A composite key is a tuple."""
        row = self.get_many([key], fresh=fresh)[0]
        return default if row is None else row

    def get_many(self, keys: Sequence[Key], *, fresh: bool = True) -> list[dict[str, Any] | None]:
        """Return the row of each of ``keys`` as a dict, None where there is none, with one wait for all."""

        def look_up(materializer: Materializer) -> list[dict[str, Any] | None]:
            entity, schema = materializer.entity, materializer.schema
            encoded = [entity.encode_key(key, schema) for key in keys]
            wanted = sorted({identity for identity in encoded if identity is not None})
            found, rows = materializer.newest(wanted)
            shown = dict(zip(found, self._present(rows).iter_rows(named=True), strict=True))
            return [None if identity is None else shown.get(identity) for identity in encoded]

        return self._read(look_up, fresh=fresh)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row = self.get_many([key])[0]
        if row is None:
            raise KeyError(key)
        return row

    def __contains__(self, key: object) -> bool:
        return self.get_many([key])[0] is not None

    def __len__(self) -> int:
        return self._read(_all_rows, fresh=True).height

    def __bool__(self) -> bool:
        # Without this, ``if table:`` would wait for the whole topic.
        return True

    def keys(self, *, fresh: bool = True) -> list[Any]:
        """Return all keys, as ``get`` takes them."""
        rows = self._read(_all_rows, fresh=fresh)
        return self._presentation.keys(rows)

    def items(
        self, start: Key = None, end: Key = None, *, fresh: bool = True
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Yield ``(key, row)`` with ``start <= key < end`` in key order, as of this call."""
        rows = self._read(_all_rows, fresh=fresh)
        rows = self._presentation.within(rows, start, end)
        for chunk in rows.iter_slices(_CHUNK_ROWS):
            yield from zip(
                self._presentation.keys(chunk), self._present(chunk).iter_rows(named=True), strict=True
            )

    def errors(self, *, fresh: bool = True) -> pl.DataFrame:
        """Return the quarantined records, the newest 10,000 of each partition.

        Columns: ``partition`` (Int32), ``offset`` (Int64), ``timestamp`` (Datetime("ms", "UTC")), ``key`` and
        ``value`` (Binary, as the producer sent them), ``reason`` (String).
        """
        return quarantine_frame(
            self._read(lambda materializer: materializer.store.quarantined(), fresh=fresh)
        )

    @property
    def schema(self) -> pl.Schema:
        """Columns and dtypes of ``to_polars()`` as known now; does not wait."""
        materializer = self._started()
        return self._present(pl.DataFrame(schema=materializer.view.schema), strict=False).schema

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """Hand a fresh frame to anything that speaks Arrow's PyCapsule protocol: DuckDB, pyarrow, pandas."""
        return self.to_polars().__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> object:
        """Hand over the columns without the rows."""
        return pl.DataFrame(schema=self.schema).to_arrow().schema.__arrow_c_schema__()

    # --- condition ------------------------------------------------------------------------------------------------

    def wait_until_ready(
        self, timeout: float | str | timedelta | None = None, *, progress: bool = True
    ) -> Readiness:
        """Wait until everything that was in the topic when reading began is in the table; return ``Readiness``.

        ``timeout`` bounds the wait (seconds, ``"5m"``, a timedelta; None: as long as progress is made).

        Raises
        ------
        NotReadyError
            With the reason: the time is over, or no progress was made for the stall timeout.
        """
        seconds = None if timeout is None else parse_duration_ms(timeout) / 1000
        self._started(again=True)
        with self._progress(shown=progress) as on_wait:
            self._barrier.wait_until_ready(
                stall_timeout=self._stall_timeout, timeout=seconds, on_wait=on_wait
            )
        return self.binding.readiness()

    async def ready(
        self, timeout: float | str | timedelta | None = None, *, progress: bool = True
    ) -> Readiness:
        """Wait as ``wait_until_ready`` does, leaving the event loop (and the notebook's buttons) free."""
        return await asyncio.to_thread(self.wait_until_ready, timeout, progress=progress)

    def readiness(self) -> Readiness:
        """Return whether the table is complete, and if not, why; does not wait."""
        self._started()
        return self.binding.readiness()

    def position(self) -> TablePosition:
        """Return where the table stands; does not wait."""
        materializer = self._started()
        times = [position.stream_time for position in materializer.store.positions().values()]
        newest = max((time for time in times if time is not None), default=None)
        readiness = self.binding.readiness()
        return TablePosition(
            offsets=materializer.view.positions(),
            stream_time=as_datetime(newest),
            lag=readiness.total_lag,
            state=readiness.state,
            held_back=self.binding.held_back,
        )

    def status(self) -> TableStatus:
        """Return the table's condition at a glance; does not wait."""
        materializer = self._started()
        positions = materializer.store.positions().values()
        return TableStatus(
            name=self.topic,
            readiness=self.binding.readiness(),
            health=self.binding.health(),
            rows=materializer.view.snapshot().rows.height,
            quarantined=sum(position.quarantined for position in positions),
            conflicts=sum(position.conflicts for position in positions),
            contested=materializer.view.contested,
            sees_deletes=materializer.sees_deletes,
        )

    def on_change(self, callback: Callable[[RowsChanged], object]) -> Callable[[], None]:
        """Call ``callback`` after every batch that changed rows; return what ends that.

        It runs on the table's own thread: keep it short, and don't wait for this table in it.
        """
        self._started()
        return self.events.subscribe(RowsChanged, callback)

    def close(self) -> None:
        """Stop following the topic and close the local store; the rows stay on disk."""
        self._close(self)

    def __repr__(self) -> str:
        state = self.binding.state
        if self.binding.materializer is None or state in (BindingState.CREATED, BindingState.STOPPED):
            return f"KTable({self.topic!r}, {state})"
        rows = self.binding.materializer.view.snapshot().rows.height
        lag = self.binding.readiness().total_lag
        behind = "" if not lag else f", {lag:,} offsets behind"
        return f"KTable({self.topic!r}, {state}, {rows:,} rows{behind})"

    def _repr_html_(self) -> str:
        head = ""
        if self.binding.materializer is not None and self.binding.state is not BindingState.STOPPED:
            rows = self.binding.materializer.view.snapshot().rows.head(_HEAD_ROWS)
            with pl.Config(tbl_hide_dataframe_shape=True):  # the line above says how many rows there are
                head = self._present(rows, strict=False)._repr_html_()
        return f"<code>{html.escape(repr(self))}</code>{head}"

    # --- inside ---------------------------------------------------------------------------------------------------

    def _started(self, *, again: bool = False) -> Materializer:
        """Start the binding where nobody has; with ``again`` also one that has failed."""
        resting = (BindingState.STOPPED,) if again else (BindingState.STOPPED, BindingState.FAILED)
        if self.binding.state not in resting:
            self._start(self.binding)
        materializer = self.binding.materializer
        if materializer is None or self.binding.state is BindingState.STOPPED:
            name = f"table {self.topic!r}"
            raise ContextClosedError(name)
        return materializer

    def _read(self, take: Callable[[Materializer], T], *, fresh: bool) -> T:
        materializer = self._started(again=fresh)
        if not fresh:
            self._barrier.wait_until_loaded(stall_timeout=self._stall_timeout)
            return take(materializer)
        with self._progress(shown=True) as on_wait:
            return self._barrier.read_fresh(take, stall_timeout=self._stall_timeout, on_wait=on_wait)

    @contextmanager
    def _progress(self, *, shown: bool) -> Iterator[Callable[[Readiness], object] | None]:
        if not shown:
            yield None
            return
        progress = Progress()
        try:
            yield progress
        finally:
            progress.close(self.binding.readiness())

    def _present(self, rows: pl.DataFrame, *, metadata: bool = False, strict: bool = True) -> pl.DataFrame:
        fields = pl.Schema({name: dtype for name, dtype in rows.schema.items() if is_field(name)})
        return self._presentation.frame(rows, fields, metadata=metadata, strict=strict)


def _all_rows(materializer: Materializer) -> pl.DataFrame:
    return materializer.view.snapshot().rows
