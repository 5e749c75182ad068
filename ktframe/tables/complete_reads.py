"""Reading rows so that nothing is missing without a word: stale rows, refused records, and what a read says of them."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import polars as pl

from ktframe.columns import ROW
from ktframe.config.settings import ReadPolicy
from ktframe.errors import ConfigurationError
from ktframe.fold.records import RefusedRecord
from ktframe.fold.rows import Rows
from ktframe.sync.materializer import Materializer
from ktframe.sync.missing import Missing
from ktframe.sync.reader import BindingReader
from ktframe.tables.completeness import Completeness
from ktframe.tables.named_fields import AbsentFields, with_misnamed
from ktframe.tables.presentation import Presentation, fields_of
from ktframe.tables.refused_frames import reasons_frame, refused_frame, stale_frame
from ktframe.tables.unlikely_times import UnlikelyTimes

T = TypeVar("T")


class CompleteReads(ABC):
    """Reads the rows of one topic. Every public read goes through ``_read``, which says what the rows lack."""

    def __init__(self, reader: BindingReader, presentation: Presentation, policy: ReadPolicy) -> None:
        self.topic = reader.binding.topic
        self._reader = reader
        self._presentation = presentation
        self._completeness = Completeness(repr(self.topic), policy)
        self._absent_fields = AbsentFields()
        self._unlikely_times = UnlikelyTimes()

    def _name(self, quote: Callable[[str], str] = repr) -> str:
        """Return the topic, and which rows of it, as a repr shows them."""
        return quote(self.topic)

    @abstractmethod
    def _all_lines(self, materializer: Materializer) -> pl.DataFrame:
        """Return the rows as of now, stale ones too, as lines of the view."""

    def _lines(self, materializer: Materializer) -> pl.DataFrame:
        """Return the rows that are shown as of now."""
        # The marks before the rows, everywhere: a mark goes when a newer row comes, which is then among the rows.
        marks = materializer.view.marks()
        return self._shown(self._all_lines(materializer), marks, materializer)

    def _rows_shown(self, materializer: Materializer) -> Rows:
        """Return the rows that are shown as of now, as they lie in files and in memory."""
        return Rows(self._lines(materializer))

    def _shown(self, lines: pl.DataFrame, marks: pl.DataFrame, materializer: Materializer) -> pl.DataFrame:
        """Return ``lines`` without those that a user has not chosen, and the stale ones, unless these are to be shown."""
        return self._chosen(self._without_stale(lines, marks, materializer), materializer)

    def _chosen(self, lines: pl.DataFrame, materializer: Materializer) -> pl.DataFrame:  # noqa: ARG002 - see Filterable
        """Return the lines that a user has chosen."""
        return lines

    def _without_stale(
        self, lines: pl.DataFrame, marks: pl.DataFrame, materializer: Materializer
    ) -> pl.DataFrame:
        if self._completeness.policy.stale == "show" or not marks.height:
            return lines
        stale = self._stale(lines, marks, materializer)
        if not stale.height:
            return lines
        is_shown = pl.repeat(value=True, n=lines.height, dtype=pl.Boolean, eager=True)
        return lines.filter(is_shown.scatter(stale[ROW], values=False))

    def _stale(self, lines: pl.DataFrame, marks: pl.DataFrame, materializer: Materializer) -> pl.DataFrame:
        """Return the numbers of the stale ones among ``lines``, and the places of the records that were refused."""
        return materializer.view.stale(lines, marks)

    def _missing(self, materializer: Materializer) -> Missing:
        """Return what the rows lack."""
        return with_misnamed(self._counted_missing(materializer), materializer, self.topic)

    def _counted_missing(self, materializer: Materializer) -> Missing:
        """Return how many records and rows are missing."""
        marks = materializer.view.marks()
        stale = self._stale(self._all_lines(materializer), marks, materializer).height if marks.height else 0
        return Missing.of(materializer, self.topic, stale=stale)

    def _read(self, take: Callable[[Materializer], T], *, fresh: bool) -> T:
        """Return what ``take`` makes of the rows; say what is missing from them, by a warning or an error.

        Raises
        ------
        SchemaError
            When no record has a field that ``key=``, ``time=`` or ``unnest=`` names.
        IncompleteError
            When all records were refused for one cause, or some were and ``on_refused`` is "raise".
        StaleRowsError
            When rows are stale and ``stale`` is "raise".
        """

        def checked(materializer: Materializer) -> Callable[[], T]:
            # What is missing first: a stale row that a newer record replaces meanwhile is counted all the same.
            missing, result = self._missing(materializer), take(materializer)
            if missing.misnamed is not None and self._completeness.policy.on_refused != "ignore":
                raise copy.copy(missing.misnamed)
            notices = [
                *self._absent_fields.find(materializer, self.topic),
                *self._unlikely_times.find(materializer, self.topic),
            ]

            def said() -> T:
                self._completeness.check(missing, notices)
                return result

            return said

        return self._reader.read(checked, fresh=fresh)()

    def errors(
        self, *, by: Literal["reason"] | None = None, stale: bool = False, fresh: bool = True
    ) -> pl.DataFrame:
        """Return the refused records, the newest 10,000 of each partition; or what they add up to.

        Parameters
        ----------
        by
            ``"reason"``: one row per reason, with exact counts, the commonest first. Reasons that differ in numbers only
            are one.
        stale
            Return the keys of the rows whose newest record was refused instead.
        fresh
            As in ``to_polars``.

        Returns
        -------
        polars.DataFrame
            ``partition`` (Int32), ``offset`` (Int64), ``timestamp`` (Datetime("ms", "UTC")), ``key`` and ``value``
            (Binary, as the producer sent them), ``reason`` (String), ``key_text`` and ``value_text`` (String, null where
            they are no UTF-8 text); of a table that reads headers these too: ``headers`` (List of Struct of ``key``, String,
            and ``value``, Binary). Of a stream with ``explode=True`` it is objects that are refused, each with its own bytes as
            ``value``; its number in the record is ``index`` (Int32), behind ``offset``.

            By reason: ``reason`` (String), ``records`` (Int64), ``share`` (Float64, of all records), ``first`` and
            ``last`` (Struct of ``partition`` and ``offset``), ``example`` (String: the value of a record, with escapes
            where it is no text; null where none is kept).

            Of stale rows: their key, of windows with ``window_start`` and ``window_end``; ``partition``, ``offset`` and
            ``timestamp`` of the refused record; ``row_partition`` (Int32) and ``row_offset`` (Int64) of the record that
            the row shows; ``reason`` (String, null where the record is not kept).

        Raises
        ------
        ConfigurationError
            When ``by`` is something else, or is given together with ``stale``.
        """
        if by not in (None, "reason") or (by is not None and stale):
            message = f"errors(by={by!r}, stale={stale!r}) is not known."
            raise ConfigurationError(message, 'ask for errors(), errors(by="reason") or errors(stale=True).')

        def take(materializer: Materializer) -> pl.DataFrame:
            records = self._refused(materializer)
            if by is not None:
                return reasons_frame(self._missing(materializer), records)
            if stale:
                return self._stale_keys(materializer, records)
            decoder = materializer.decoder
            return refused_frame(
                records, with_headers=bool(decoder.headers), with_index=decoder.identity.takes_apart
            )

        return self._reader.read(take, fresh=fresh)

    def _refused(self, materializer: Materializer) -> list[RefusedRecord]:
        """Return the refused records that are kept."""
        return materializer.store.refused()

    def _stale_keys(self, materializer: Materializer, records: Sequence[RefusedRecord]) -> pl.DataFrame:
        marks = materializer.view.marks()
        lines = self._all_lines(materializer)
        stale = self._stale(lines, marks, materializer)
        rows = lines[stale[ROW]]
        fields = fields_of(rows)
        presentation = self._presentation.with_key()
        shown = presentation.frame(rows, fields, strict=False)
        names = presentation.key_columns(fields) if presentation.has_key else []
        return stale_frame(shown.select(names), rows, stale, records)
