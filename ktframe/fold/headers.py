"""Headers of records with their rows: some as columns, by the last header of each name, or all of them as one column.

Reads no header that nobody has asked for. What the bytes of a header may be is in ``formats.header_values``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl
import pyarrow as pa

from ktframe.columns import HEADERS, LINE, TOMBSTONE
from ktframe.errors import SchemaError
from ktframe.fold.event_time import EventTime
from ktframe.fold.judging import ODD, values_of
from ktframe.fold.learning import Records
from ktframe.fold.lines import at
from ktframe.fold.records import RecordBatch
from ktframe.formats.base import UNREADABLE_HEADERS, Fault, Headers, Refusal
from ktframe.formats.header_values import read_values, written_values
from ktframe.gc_pause import cyclic_gc_paused

ALL_HEADERS: Final = pl.List(pl.Struct({"key": pl.String(), "value": pl.Binary()}))
"""The type of the column of all headers."""


@dataclass(frozen=True, slots=True)
class HeaderValues:
    """The headers of a batch as columns, a value for each record; null too where one can't be read, which ``unread`` tells."""

    columns: tuple[pl.Series, ...] = ()
    unread: Mapping[int, Refusal] = field(default_factory=dict)
    """Why records have a header that can't be read, by line; its ``fields`` are the names, none where all can't be."""

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """The types of the headers that are columns, by name."""
        return {column.name: column.dtype for column in self.columns if column.name != HEADERS}

    def at(self, lines: Sequence[int]) -> HeaderValues:
        """Return those of ``lines``, which become the lines 0, 1, ..."""
        if not self.columns:
            return self
        now = {line: number for number, line in enumerate(lines) if line in self.unread}
        unread = {number: replace(self.unread[line], index=number) for line, number in now.items()}
        return HeaderValues(tuple(column.gather([*lines]) for column in self.columns), unread)

    def of(self, names: Sequence[str], lines: Collection[int]) -> dict[int, dict[str, Any]]:
        """Return the values of those ``names`` that are headers, by line; ``ODD`` is one that can't be read."""
        found: dict[int, dict[str, Any]] = {line: {} for line in lines}
        for column in self.columns:
            if column.name in names and column.name != HEADERS:
                values = values_of(column)
                for line, record in found.items():
                    record[column.name] = values[line]
        for line, odd in self.odd(names).items():
            if line in found:
                found[line] |= odd
        return found

    def column(self, name: str | None) -> pl.DataFrame | None:
        """Return the header that is the column ``name``, with the ``LINE`` of each record; None where no header is."""
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            return None
        return pl.DataFrame([pl.Series(LINE, range(len(found)), dtype=pl.UInt32), found])

    def odd(self, names: Sequence[str]) -> dict[int, dict[str, Any]]:
        """Return ``ODD`` for each header among ``names`` that can't be read, by line and name."""
        return {
            line: {name: ODD for name in refusal.fields or self.dtypes if name in names}
            for line, refusal in self.unread.items()
        }

    def added(self, records: Records, time: EventTime) -> Records:
        """Return ``records`` with the columns of headers, and the event time where one of these is its field."""
        if not self.columns:
            return records
        lines = records.rows[LINE]
        rows = records.rows.hstack([at(lines, column) for column in self.columns])
        return records._replace(rows=time.apply(rows) if time.field in self.dtypes else rows)

    def checked(self, records: Records, *, of_tombstones: bool) -> Records:
        """Return ``records`` without the rows of those that have a header which can't be read: these are refused.

        ``of_tombstones``: tombstones too, where they are rows. That a condition could not judge such a header is no reason of
        its own.
        """
        if not self.unread:
            return records
        is_unread = pl.col(LINE).is_in([*self.unread])
        has_headers = pl.lit(value=True) if of_tombstones else ~pl.col(TOMBSTONE)
        unjudged = {refusal.index for refusal in records.refused if refusal.fault is Fault.WHERE}
        gone = {*records.rows.filter(is_unread & has_headers)[LINE], *(unjudged & self.unread.keys())}
        others = [refusal for refusal in records.refused if refusal.index not in gone]
        return records._replace(
            rows=records.rows.filter(~pl.col(LINE).is_in(gone)),
            refused=[*others, *(self.unread[line] for line in sorted(gone))],
        )


@dataclass(frozen=True, slots=True)
class HeaderColumns:
    """Which headers are kept with rows: those that are columns, with their types, and whether all are one more column.

    A column has the last header of its name (Kafka's ``lastHeader``): null where there is none, or its value is null.
    """

    types: tuple[tuple[str, pl.DataType], ...] = ()
    keeps_all: bool = False

    def __bool__(self) -> bool:
        return bool(self.types) or self.keeps_all

    @property
    def identity(self) -> tuple[object, ...]:
        """Everything that they are, as text: part of the name of a store."""
        return (sorted((name, str(dtype)) for name, dtype in self.types), self.keeps_all)

    @property
    def names(self) -> tuple[str, ...]:
        """The headers that are columns."""
        return tuple(name for name, _ in self.types)

    @property
    def dtypes(self) -> dict[str, pl.DataType]:
        """The columns that rows have of headers."""
        return {**dict(self.types), **({HEADERS: ALL_HEADERS} if self.keeps_all else {})}

    @cyclic_gc_paused()  # a list for each record
    def kept(self, batch: RecordBatch) -> RecordBatch:
        """Return ``batch`` with no other headers than are kept."""
        if batch.headers is None or self.keeps_all:
            return batch
        if not self.types:
            return replace(batch, headers=None)
        names = self.names
        last = (dict(headers or ()) for headers in batch.headers)
        return replace(batch, headers=[[(n, each[n]) for n in names if n in each] for each in last])

    def read(self, headers: Sequence[Headers]) -> HeaderValues:
        """Return the headers of records as columns."""
        if not self:
            return _NOTHING
        columns, unread = list[pl.Series](), dict[int, Refusal]()
        last = [dict(each) if each else _NO_HEADERS for each in headers] if self.types else []
        for name, dtype in self.types:
            column, reasons = read_values(name, [each.get(name) for each in last], dtype)
            columns.append(column)
            for line, reason in reasons.items():
                earlier = unread.get(line, Refusal(line, reason, Fault.HEADER))
                unread[line] = replace(earlier, fields=(*earlier.fields, name))
        if self.keeps_all:
            columns.append(all_headers(headers))
        for line, each in enumerate(headers):
            if each is UNREADABLE_HEADERS:
                unread[line] = Refusal(line, _UNREADABLE, Fault.HEADER)
        return HeaderValues(tuple(columns), unread)

    def read_batch(self, batch: RecordBatch) -> HeaderValues:
        """Return the headers of a batch as columns; one that was read without headers has none."""
        return (
            self.read([None] * len(batch) if batch.headers is None else batch.headers) if self else _NOTHING
        )

    def load(self, headers: Sequence[Headers], is_tombstone: pl.Series) -> list[pl.Series]:
        """Return the columns of stored rows.

        Raises
        ------
        ValueError
            When a header can't be read any more, which only a damaged store can cause.
        """
        values = self.read(headers)
        for line, refusal in values.unread.items():
            if not is_tombstone[line]:
                raise ValueError(refusal.reason)
        return list(values.columns)

    def write(self, rows: pl.DataFrame) -> list[list[tuple[str, bytes]]]:
        """Return the headers that are read as the columns of ``rows``; none for a null.

        Raises
        ------
        SchemaError
            When a column is of another type than it is declared.
        """
        found: list[list[tuple[str, bytes]]] = [[] for _ in range(rows.height)]
        for name, dtype in self.types:
            if name in rows.columns:
                try:
                    values = written_values(rows[name].cast(dtype))
                except pl.exceptions.PolarsError as error:
                    message = f"column {name!r} is {rows.schema[name]}, and headers= declares {dtype}."
                    raise SchemaError(
                        message, "nothing was written; cast the column to its type in table.schema."
                    ) from error
                for line, value in enumerate(values):
                    found[line] += [] if value is None else [(name, value)]
        return found

    def require_no_field(self, fields: Collection[str]) -> None:
        """Raise a SchemaError where a column of the value has the name of a header's."""
        name = next((name for name in self.names if name in fields), None)
        if name is not None:
            message = f"headers={{{name!r}: ...}}: {name!r} is a field of the value too and both would be one column."
            raise SchemaError(message, leave_out(name))


def leave_out(name: str) -> str:
    """Return what to do where a field of the value has the name of a header's column."""
    return f'leave {name!r} out of headers=; metadata="headers" has it among all headers of the record.'


_UNREADABLE: Final = "its headers can't be read: the name of one is not UTF-8 text"
NO_HEADER_COLUMNS: Final = HeaderColumns()
_NOTHING: Final = HeaderValues()
_NO_HEADERS: Final[Mapping[str, bytes | None]] = {}


def all_headers(headers: Sequence[Headers]) -> pl.Series:
    """Return all headers of each record, in their order; an empty list where there are none."""
    ends, names, values = [0], list[str](), list[bytes | None]()
    for each in headers:
        for name, value in each or ():
            names.append(name)
            values.append(value)
        ends.append(len(names))
    pairs = pa.StructArray.from_arrays(
        [pa.array(names, pa.large_string()), pa.array(values, pa.large_binary())], ["key", "value"]
    )
    lists = pa.LargeListArray.from_arrays(pa.array(ends, pa.int64()), pairs)
    return pl.Series(HEADERS, lists, dtype=ALL_HEADERS)
