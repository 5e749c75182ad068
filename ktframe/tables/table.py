"""Tables: the latest row per key of a topic. Their windows are in ``windowed_table.py``, writing in ``table_writer.py``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import polars as pl

from ktframe.config.keywords import with_known_keywords
from ktframe.config.settings import ReadPolicy
from ktframe.errors import NotWritableError
from ktframe.fold.hashes import of_hashes
from ktframe.fold.identity import hash_identities
from ktframe.fold.rows import Rows
from ktframe.gc_pause import cyclic_gc_paused
from ktframe.sync.materializer import Materializer
from ktframe.sync.reader import BindingReader
from ktframe.tables.base import CHUNK_ROWS, MaterializedTopic
from ktframe.tables.filterable import Filterable
from ktframe.tables.presentation import Presentation
from ktframe.tables.table_writer import TableWriter
from ktframe.tables.window_spec import WindowSpec
from ktframe.tables.windowed_table import WindowedKTable
from ktframe.windows.parsing import Minutes

Key = Any
"""A key as ``get`` takes it: as frames show it, a dict where it is a struct; a tuple of its parts where it has several."""


class KTable(Filterable, MaterializedTopic):
    """The latest row per key of a topic. Make one with ``ktframe.table``.

    Every read is complete as of the call: it waits until all that was in the topic is in the table, unless it is
    called with ``fresh=False``. It waits as long as progress is made, and raises ``NotReadyError`` when none is. Frames
    have the record key (``key``), where it is the table's key, and the value's fields in schema order.
    """

    _kind: ClassVar[str] = "KTable"

    def __init__(
        self,
        reader: BindingReader,
        presentation: Presentation,
        *,
        policy: ReadPolicy,
        close: Callable[[MaterializedTopic], None],
        open_windowed: Callable[[WindowSpec], WindowedKTable],
        writer: TableWriter | None = None,
    ) -> None:
        super().__init__(reader, presentation, policy=policy, close=close)
        self._table_writer = writer
        self._open_windowed = open_windowed

    def _all_lines(self, materializer: Materializer) -> pl.DataFrame:
        return materializer.view.snapshot().rows

    def _rows_shown(self, materializer: Materializer) -> Rows:
        hides = self._completeness.policy.stale != "show" and materializer.view.marks().height > 0
        return super()._rows_shown(materializer) if hides or self._conditions else materializer.view.rows()

    def get(self, key: Key, default: Any = None, *, fresh: bool = True) -> Any:
        """Return the row of ``key`` as a dict, or ``default``.

        A key of several parts is a tuple of them, or a dict by their names, as a frame shows a key that is a struct.
        """
        row = self.get_many([key], fresh=fresh)[0]
        return default if row is None else row

    def get_many(self, keys: Sequence[Key], *, fresh: bool = True) -> list[dict[str, Any] | None]:
        """Return the row of each of ``keys`` as a dict, None for a key without a row, waiting only once."""

        @cyclic_gc_paused()
        def look_up(materializer: Materializer) -> list[dict[str, Any] | None]:
            encoded = materializer.decoder.encode_keys(keys, materializer.schema)
            shown = self._looked_up(materializer, {identity for identity in encoded if identity is not None})
            identities = materializer.decoder.identity.encode(shown)
            rows = dict(
                zip(identities, self._present(shown, metadata=False).iter_rows(named=True), strict=True)
            )
            return [None if identity is None else rows.get(identity) for identity in encoded]

        return self._read(look_up, fresh=fresh)

    def _looked_up(self, materializer: Materializer, wanted: Collection[bytes]) -> pl.DataFrame:
        """Return those rows that are shown with identities among ``wanted``, and maybe some with the same hashes."""
        hashes = hash_identities([*wanted])
        if self._conditions:  # they may look at other rows as well
            lines = self._lines(materializer)
            return of_hashes(lines, hashes)
        marks = materializer.view.marks()
        return self._shown(materializer.view.rows_of(hashes), marks, materializer)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        row = self.get_many([key])[0]
        if row is None:
            raise self._no_row(key)
        return row

    def _no_row(self, key: Key) -> KeyError:
        error = KeyError(key)
        if self._completeness.policy.stale == "hide" and self._reader.read(
            lambda materializer: self._is_hidden(key, materializer), fresh=False
        ):
            error.add_note(
                "Its row is hidden, because the newest record was refused; see errors(stale=True)."
            )
        return error

    def _is_hidden(self, key: Key, materializer: Materializer) -> bool:
        (identity,) = materializer.decoder.encode_keys([key], materializer.schema)
        if identity is None:
            return False
        marks = materializer.view.marks()
        rows = materializer.view.rows_of(hash_identities([identity]))
        return self._stale(rows, marks, materializer).height > 0

    def __contains__(self, key: object) -> bool:
        return self.get_many([key])[0] is not None

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def keys(self, *, fresh: bool = True) -> list[Any]:
        """Return all keys, as ``get`` takes them."""
        rows = self._read(self._lines, fresh=fresh)
        return self._presentation.keys(rows)

    def _ipython_key_completions_(self) -> list[Any]:
        materializer = self._reader.present()  # Tab starts no reading, and does not wait
        if materializer is None:
            return []
        return self._presentation.keys(self._lines(materializer).head(CHUNK_ROWS))

    def items(
        self, start: Key = None, end: Key = None, *, fresh: bool = True
    ) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Return an iterator over ``(key, row)`` with ``start <= key < end`` in key order, as of this call."""
        rows = self._read(self._lines, fresh=fresh)
        return self._pairs(self._presentation.within(rows, start, end))

    def _pairs(self, rows: pl.DataFrame) -> Iterator[tuple[Any, dict[str, Any]]]:
        for chunk in rows.iter_slices(CHUNK_ROWS):
            yield from zip(
                self._presentation.keys(chunk),
                self._present(chunk, metadata=False).iter_rows(named=True),
                strict=True,
            )

    # --- writing --------------------------------------------------------------------------------------------------

    def put(
        self, row: Mapping[str, Any], *, record_key: str | None = None, dry_run: bool = False
    ) -> pl.DataFrame:
        """Write one row to the topic, as a whole, and return once this table has it; see ``upsert``.

        ``orders.put({**orders["o-17"], "status": "paid"})`` changes one field of a row that is there. Of the headers of its
        record those are written that are columns of the table (``headers=``); others say where that record came from.
        """
        return self._writer().put(row, record_key=record_key, dry_run=dry_run)

    def upsert(
        self, rows: Any, *, record_key: str | None = None, atomic: bool = False, dry_run: bool = False
    ) -> pl.DataFrame:
        """Write rows to the topic and return once the brokers have acknowledged them and this table has them.

        All rows are checked before anything is sent: if one does not fit, nothing is written. A row replaces the whole
        row of its key, as a record does. It goes to the partitions that have rows of its key; a new key goes to the one
        that Java's clients choose. Rows are written in the format of the topic's records: with the schema that is
        registered last for its values (subject ``<topic>-value``), else as JSON.

        Parameters
        ----------
        rows
            A frame (of Polars, or of a library with Arrow's PyCapsule protocol) with the columns of ``to_polars()``, or
            a list of dicts. A column that is declared ``ktframe.Json`` is written as the JSON that its text is, a
            ``pl.String`` always as text.
        record_key
            For tables whose key is made of fields of the value: the column whose value becomes the record key of a new
            row. By default the key field, if there is only one. Existing rows keep their record key.
        atomic
            Write all rows or none, in one transaction. Needs WRITE on transactional ids that start with ``ktframe-``.
        dry_run
            Send nothing, and return the records that would be sent.

        Returns
        -------
        polars.DataFrame
            The records: ``key``, ``value`` (Binary), ``partition`` (Int32), ``offset`` (Int64), ``headers`` (List of Struct
            of ``key``, String, and ``value``, Binary). After a dry run the offset is null, and so is the partition of a new
            key.

        Raises
        ------
        NotWritableError
            When the connection only reads.
        SchemaError
            When a row does not fit, with column and row; nothing was written.
        WriteError
            When not all records were acknowledged, with those that were.
        NotReadyError
            When all records were written, but the table could not read them.
        KeyboardInterrupt
            On Ctrl-C. Its cause, a WriteError, says which records are written, which are not and which may be; without one
            nothing was sent.
        """
        return self._writer().upsert(rows, record_key=record_key, atomic=atomic, dry_run=dry_run)

    def delete(self, keys: Key, *, atomic: bool = False, dry_run: bool = False) -> pl.DataFrame:
        """Delete the row of a key, or of several keys (a list, a set, a column), by tombstones; return as ``upsert``.

        For a key without a row nothing is written. Where fields of the value are the key, the tombstone has the record
        key of the row's record; if that would delete rows of other keys too, a SchemaError is raised.
        """
        is_one = isinstance(keys, str | bytes | tuple | Mapping) or not isinstance(keys, Iterable)
        return self._writer().delete([keys] if is_one else list(keys), atomic=atomic, dry_run=dry_run)

    def _writer(self) -> TableWriter:
        if self._table_writer is None:
            raise NotWritableError(self._name())
        return self._table_writer

    def diff(self, *, since: pl.DataFrame, fresh: bool = True) -> pl.DataFrame:
        """Return what has changed since ``since``, an earlier ``to_polars()`` of this table.

        Columns: ``change`` (Enum: inserted, updated, deleted), the key, ``old`` and ``new`` (Struct of the fields;
        null where there is none). Stale rows that are hidden were not deleted, and are left out.
        """
        return self._difference(since, self.to_polars(fresh=fresh, metadata=False))

    @with_known_keywords
    def window(
        self,
        size: Minutes,
        every: Minutes | None = None,
        *,
        grace: Minutes | None = None,
        tz: str | None = None,
        offset: Minutes | None = None,
        max_future_skew: Minutes | None = "1d",
        idle_after: Minutes = "1m",
    ) -> WindowedKTable:
        """Return the latest row per key per window. It returns at once; reading starts with the first question.

        Windows start at multiples of their size since 1970 (UTC), as in Kafka; the start is inclusive, the end
        exclusive. A tombstone removes its key from its own window, and from no earlier one. The same arguments give the
        same object. Windows that can be made of smaller ones in an open store are rolled up from these, and read nothing.

        Parameters
        ----------
        size
            Minutes, text (``"5m"``, ``"1h"``, ``"1d"``, ``"1w"``, ``"1mo"``) or a timedelta.
        every
            For windows that overlap: the distance from one start to the next (hopping).
        grace
            How long after its end, in stream time, a window takes late records; None: for ever.
        tz
            Name of a time zone whose wall clock the windows follow: ``"1d"`` is then a local day. Frames show UTC all the
            same; ``pl.col("window_start").dt.convert_time_zone(tz)`` shows local time.
        offset
            Shift of all windows: ``"6h"`` for days from six o'clock, ``"-1d"`` for weeks from Sunday.
        max_future_skew
            Records with a time further ahead of the wall clock are refused; None: never.
        idle_after
            A partition without records for so long does not keep windows from being final.

        Raises
        ------
        ConfigurationError
            When no windows can be made of these arguments.
        """
        spec = WindowSpec.parse(
            size,
            every,
            grace=grace,
            tz=tz,
            offset=offset,
            max_future_skew=max_future_skew,
            idle_after=idle_after,
        )
        windowed = self._open_windowed(spec)
        return windowed.filter(*self._conditions) if self._conditions else windowed
