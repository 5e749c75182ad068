"""Rows as users see them: names, order and dtypes of the columns, and the keys of rows as users give and get them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Final, NamedTuple, TypeAlias

import polars as pl

from ktframe.columns import (
    HEADERS,
    ITEM,
    KEY,
    OFFSET,
    PARTITION,
    TIMESTAMP,
    TOMBSTONE,
    WINDOW,
    WINDOW_END,
    is_field,
)
from ktframe.config.spelling import similar_names
from ktframe.errors import ConfigurationError
from ktframe.fold.event_time import SHOWN_TIME, as_shown_times
from ktframe.fold.identity_codec import physical_part
from ktframe.fold.key_column import part_names, parts_of
from ktframe.formats.dtypes import struct_fields
from ktframe.formats.field_names import field_path
from ktframe.formats.nested import field_names, nested_dtype, nested_value
from ktframe.windows.aggregation import groups

Metadata: TypeAlias = bool | str | Sequence[str]
"""Which columns about the record to add: all, none, or those named."""

_DEFAULT_KEY_NAME = "key"
_WIDEST = 1 << 127  # of Int128


class _OwnColumn(NamedTuple):
    """A column of the view that is not a field of the value, with the name and dtype that users see."""

    column: str
    name: str
    dtype: pl.DataType | None = None

    def of(self, rows: pl.DataFrame, name: str) -> pl.Series:
        """Return the column of ``rows`` under ``name``."""
        return (
            rows[self.column].alias(name) if self.dtype is None else rows.select(self.expression(name))[name]
        )

    def expression(self, name: str) -> pl.Expr:
        """Return the column under ``name``, which differs from its own where a field has that."""
        column = pl.col(self.column)
        if self.dtype is None:
            return column.alias(name)
        shown = as_shown_times(column) if self.dtype == SHOWN_TIME else column.cast(self.dtype)
        return shown.alias(name)


_WINDOW = (_OwnColumn(WINDOW, "window_start", SHOWN_TIME), _OwnColumn(WINDOW_END, "window_end", SHOWN_TIME))

_RECORD = (
    _OwnColumn(PARTITION, "partition", pl.Int32()),
    _OwnColumn(OFFSET, "offset", pl.Int64()),
    _OwnColumn(TIMESTAMP, "timestamp", SHOWN_TIME),
)

_INDEX = _OwnColumn(ITEM, "index", pl.Int32())
_EVENT = (_OwnColumn(KEY, "key"), _OwnColumn(TOMBSTONE, "is_tombstone", pl.Boolean()))

HEADERS_NAME: Final = "headers"
_HEADERS = _OwnColumn(HEADERS, HEADERS_NAME)


class _KeyPart(NamedTuple):
    """A part of a key: its column, its dtype, and its name for error messages."""

    column: pl.Expr
    dtype: pl.DataType
    name: str


@dataclass(frozen=True, slots=True)
class Presentation:
    """Turns rows of the view into frames; ``key`` are the view's columns that make the key of a row.

    The record key is shown as ``key_name`` (None: hidden); of a stream (``is_stream``) it is among the metadata. Rows in
    windows (``is_windowed``) begin with these. ``metadata`` are the columns about the record that frames have unless they are
    asked for otherwise; all its headers can be one of them where rows have these (``has_headers``), and the number of an
    object in its record where each of its objects is a row (``has_index``).
    """

    key: tuple[str, ...]
    key_name: str | None = _DEFAULT_KEY_NAME
    is_windowed: bool = False
    is_stream: bool = False
    has_headers: bool = False
    has_index: bool = False
    metadata: Metadata = False

    def names(self, fields: pl.Schema, *, metadata: Metadata = False) -> dict[str, _OwnColumn | None]:
        """Return the names of a frame's columns in order, each with the column that it shows (None: the field).

        A field keeps its name. A column of ours whose name is taken gets the prefix ``record_``, see ``unique_name``.
        """
        taken = set(fields)
        shown: dict[str, _OwnColumn | None] = {}
        if self.is_windowed:
            shown |= {unique_name(column.name, taken): column for column in _WINDOW}
        if self._shows_key():
            shown[unique_name(str(self.key_name), taken)] = _OwnColumn(KEY, str(self.key_name))
        shown |= dict.fromkeys(fields)
        wanted = self._metadata(metadata)
        return shown | {unique_name(column.name, taken): column for column in wanted}

    def _metadata(self, metadata: Metadata) -> list[_OwnColumn]:
        partition, offset, timestamp = _RECORD
        columns = [partition, offset, *([_INDEX] if self.has_index else []), timestamp]
        columns += [*(_EVENT if self.is_stream else ()), *([_HEADERS] if self.has_headers else [])]
        known = {column.name: column for column in columns}
        if isinstance(metadata, bool):
            return list(known.values()) if metadata else []
        wanted = [metadata] if isinstance(metadata, str) else [*dict.fromkeys(metadata)]
        unknown = [name for name in wanted if name not in known]
        if unknown:
            kind = "stream" if self.is_stream else "table"
            if HEADERS_NAME in unknown:
                message = f"metadata={metadata!r}: the headers of records were not read."
                raise ConfigurationError(message, f'ktframe.{kind}(..., metadata="headers") reads them.')
            message = f"metadata={metadata!r}: a record has no {unknown[0]!r}."
            if HEADERS_NAME not in known and similar_names(unknown[0], [*known, HEADERS_NAME]) == (
                HEADERS_NAME,
            ):
                hint = f'did you mean "headers"? ktframe.{kind}(..., metadata="headers") reads them.'
                raise ConfigurationError(message, hint)
            raise ConfigurationError(message, f"choose from {', '.join(known)}, or True for all.")
        return [known[name] for name in wanted]

    def _shows_key(self) -> bool:
        return KEY in self.key and self.key_name is not None and not self.is_stream

    def columns(self, fields: pl.Schema, *, metadata: Metadata = False) -> list[pl.Expr]:
        """Return the expressions that select a frame's columns from rows of the view."""
        names = self.names(fields, metadata=metadata).items()
        return [pl.col(name) if own is None else own.expression(name) for name, own in names]

    def expressions(self, fields: pl.Schema) -> dict[str, pl.Expr]:
        """Return all columns that an expression of a user can name, by these names."""
        return dict(zip(self.names(fields, metadata=True), self.columns(fields, metadata=True), strict=True))

    def groups(
        self, by: str | Sequence[str] | None, fields: pl.Schema, columns: Mapping[str, pl.Expr]
    ) -> tuple[list[str], dict[str, pl.Expr]]:
        """Return the names of the columns to group by, and ``columns`` with those of them that are nested fields.

        Raises
        ------
        ConfigurationError
            When there is no such column.
        """
        names: Sequence[object] = () if by is None else [by] if isinstance(by, str | pl.Expr) else by
        paths = {name: field_path(name) for name in names if isinstance(name, str) and name not in columns}
        nested = {
            name: nested_value(path).alias(name)
            for name, path in paths.items()
            if nested_dtype(fields, path) is not None
        }
        known = {**columns, **nested}
        return groups(by, list(known), [*field_names(fields)]), known

    def window_names(self, fields: pl.Schema) -> set[str]:
        """Return the names of the columns that show a window's start and end."""
        names = self.names(fields).items()
        return {name for name, own in names if own is not None and own.column in (WINDOW, WINDOW_END)}

    def aggregates(self, values: pl.DataFrame) -> pl.DataFrame:
        """Return ``values`` per ``WINDOW`` and ``WINDOW_END`` with these two named as users see them."""
        others = [name for name in values.columns if is_field(name)]
        taken = set(others)
        windows = [column.expression(unique_name(column.name, taken)) for column in _WINDOW]
        return values.select(*windows, *others)

    def frame(
        self, rows: pl.DataFrame, fields: pl.Schema, *, metadata: Metadata = False, strict: bool = True
    ) -> pl.DataFrame:
        """Return ``rows`` of the view as the user sees them.

        Raises
        ------
        ConfigurationError
            When the user's key_name is also a field. Without ``strict`` it gets the prefix ``record_`` instead.
        """
        if strict and self._shows_key() and self.key_name != _DEFAULT_KEY_NAME and self.key_name in fields:
            message = f"key_name={self.key_name!r} is also a field of the value."
            raise ConfigurationError(
                message, "close() it, and choose another key_name, or None to hide the record key."
            )
        names = self.names(fields, metadata=metadata).items()
        shown = {name: rows[name] if own is None else own.of(rows, name) for name, own in names}
        return pl.DataFrame(shown)  # by select() a single row takes Polars five times as long

    def with_windows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return an empty frame of the view with the columns of a window, where there are windows."""
        if not self.is_windowed:
            return rows
        return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias(name) for name in (WINDOW, WINDOW_END))

    def key_columns(self, fields: pl.Schema) -> list[str]:
        """Return the names of the columns that identify a frame's rows: window and key.

        Raises
        ------
        ConfigurationError
            When the frame hides the record key.
        """
        if KEY in self.key and self.key_name is None:
            message = "key_name=None hides the key, which identifies the rows."
            raise ConfigurationError(message, "close() it, and ask for it with another key_name.")
        wanted = {WINDOW, WINDOW_END, KEY}
        own = [name for name, own in self.names(fields).items() if own is not None and own.column in wanted]
        return [*own, *(name for name in self.key if is_field(name))]

    def with_key(self) -> Presentation:
        """Return this with the record key shown, as ``key`` where its name is None."""
        return self if self.key_name is not None else replace(self, key_name=_DEFAULT_KEY_NAME)

    @property
    def has_key(self) -> bool:
        """Whether frames show what identifies their rows."""
        return not (KEY in self.key and self.key_name is None) and not self.is_stream

    def keys(self, rows: pl.DataFrame) -> list[Any]:
        """Return the key of each row: a value, or a tuple where the key is composite."""
        columns = rows.select(part.column for part in self._parts(rows.schema))
        return columns.to_series().to_list() if columns.width == 1 else columns.rows()

    def _parts(self, schema: pl.Schema) -> list[_KeyPart]:
        """Return the parts of the key: its columns, or the fields of a record key that is a struct."""
        parts: list[_KeyPart] = []
        for name in self.key:
            dtype = schema[name]
            if isinstance(dtype, pl.Struct):
                inner = struct_fields(dtype).items()
                parts += [
                    _KeyPart(pl.col(name).struct.field(field), kind, repr(field)) for field, kind in inner
                ]
            else:
                parts.append(_KeyPart(pl.col(name), dtype, "the record key" if name == KEY else repr(name)))
        return parts

    def within(self, rows: pl.DataFrame, start: object, end: object) -> pl.DataFrame:
        """Return the rows with ``start <= key < end`` in key order; None leaves a side open.

        A null part comes before every value. A tuple with fewer parts than the key comes before all keys that begin
        with it.

        Raises
        ------
        ConfigurationError
            When a bound has more parts than the key, or one of another kind.
        """
        key = self._parts(rows.schema)
        condition = pl.lit(value=True)
        if start is not None:
            condition &= ~_below(start, key)
        if end is not None:
            condition &= _below(end, key)
        return rows.filter(condition).sort(self.key, nulls_last=False)

    def of_key(self, rows: pl.DataFrame, key: object) -> pl.DataFrame:
        """Return the rows whose key is ``key``, as ``get`` takes it; none where the key can't have that value."""
        parts = self._parts(rows.schema)
        key = parts_of(key, part_names(pl.Schema({name: rows.schema[name] for name in self.key})))
        values = key if isinstance(key, tuple) else (key,)
        if len(values) != len(parts):
            return rows.clear()
        try:
            equal = [_compared(part, value)[1] for part, value in zip(parts, values, strict=True)]
        except (TypeError, ValueError):
            return rows.clear()
        return rows.filter(equal)


def fields_of(rows: pl.DataFrame) -> pl.Schema:
    """Return the fields of the value among the columns of a view."""
    return pl.Schema({name: dtype for name, dtype in rows.schema.items() if is_field(name)})


def unique_name(name: str, taken: set[str]) -> str:
    """Return ``name``, with as many prefixes ``record_`` as make it new, and add it to ``taken``."""
    while name in taken:
        name = f"record_{name}"
    taken.add(name)
    return name


def _below(bound: object, key: Sequence[_KeyPart]) -> pl.Expr:
    """Return the condition (never null) for keys before ``bound``."""
    values = bound if isinstance(bound, tuple) else (bound,)
    below = pl.lit(value=False)
    try:
        pairs = list(zip(key[: len(values)], values, strict=True))
        for part, value in reversed(pairs):
            less, equal = _compared(part, value)
            below = less | (equal & below)
    except (TypeError, ValueError) as error:
        shape = ", ".join(f"{part.name} ({part.dtype})" for part in key)
        message = f"{bound!r} can't be compared with a key, which is {shape}."
        hint = "give a value of that type; for a composite key a tuple of its parts, or of the first of them."
        raise ConfigurationError(message, hint) from error
    return below


def _compared(part: _KeyPart, value: object) -> tuple[pl.Expr, pl.Expr]:
    """Return two conditions for a part of a key: that it comes before ``value``, and that it equals it."""
    column, dtype = part.column, part.dtype
    never = pl.lit(value=False)
    if value is None:
        return never, column.is_null()
    if dtype == pl.Null:
        return pl.lit(value=True), never
    physical = physical_part(value, dtype)
    if isinstance(dtype, pl.Enum):
        physical = dtype.categories.to_list().index(physical)
    if isinstance(physical, int | Fraction) and not isinstance(physical, bool):
        ceiling = min(max(math.ceil(physical), -_WIDEST), _WIDEST - 1)
        column, bound = column.to_physical(), pl.lit(ceiling, dtype=pl.Int128)
    elif isinstance(physical, str):
        physical.encode()  # raises for half a surrogate pair, before Polars gets it
        column, bound = column.cast(pl.String), pl.lit(physical)
    else:
        bound = pl.lit(physical)
    less = column.is_null() | (column < bound)
    return less, never if isinstance(physical, Fraction) else (column == bound).fill_null(value=False)
