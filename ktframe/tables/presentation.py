"""How rows of the view look to the user: names, order and types of the columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, TypeAlias

import polars as pl

from ktframe.columns import KEY, OFFSET, PARTITION, TIMESTAMP, TOMBSTONE, WINDOW, WINDOW_END, is_field
from ktframe.errors import ConfigurationError
from ktframe.fold.event_time import SHOWN_TIME, as_shown_times
from ktframe.fold.identity_codec import physical_part
from ktframe.fold.record_key import struct_schema
from ktframe.fold.records import RefusedRecord

Metadata: TypeAlias = bool | str | Sequence[str]
"""Which columns about the record to add: all, none, or those named."""

_DEFAULT_KEY_NAME = "key"
_WIDEST = 1 << 127


class _Shown(NamedTuple):
    column: str
    name: str
    dtype: pl.DataType | None = None

    def expression(self, name: str) -> pl.Expr:
        column = pl.col(self.column)
        if self.dtype is None:
            return column.alias(name)
        shown = as_shown_times(column) if self.dtype == SHOWN_TIME else column.cast(self.dtype)
        return shown.alias(name)


_WINDOW = (_Shown(WINDOW, "window_start", SHOWN_TIME), _Shown(WINDOW_END, "window_end", SHOWN_TIME))

_RECORD = (
    _Shown(PARTITION, "partition", pl.Int32()),
    _Shown(OFFSET, "offset", pl.Int64()),
    _Shown(TIMESTAMP, "timestamp", SHOWN_TIME),
)

_EVENT = (*_RECORD, _Shown(KEY, "key"), _Shown(TOMBSTONE, "is_tombstone", pl.Boolean()))


@dataclass(frozen=True, slots=True)
class Presentation:
    """Names the columns of one table; ``key`` are the columns that make its key, ``key_name`` None hides the record key.

    The rows of a stream (``is_stream``) show their key among the metadata. ``is_windowed`` puts the window first.
    """

    key: tuple[str, ...]
    key_name: str | None = _DEFAULT_KEY_NAME
    is_windowed: bool = False
    is_stream: bool = False

    def names(self, fields: pl.Schema, *, metadata: Metadata = False) -> dict[str, _Shown | None]:
        """Return the columns of a frame in order, each with what it shows (None: the field of its name).

        A field keeps its name. Ours that is called like a column before it starts with ``record_``, as often as it
        takes.
        """
        taken = set(fields)
        shown: dict[str, _Shown | None] = {}
        if self.is_windowed:
            shown |= {claim(each.name, taken): each for each in _WINDOW}
        if self._shows_key():
            shown[claim(str(self.key_name), taken)] = _Shown(KEY, str(self.key_name))
        shown |= dict.fromkeys(fields)
        wanted = self._metadata(metadata)
        return shown | {claim(each.name, taken): each for each in wanted}

    def _metadata(self, metadata: Metadata) -> list[_Shown]:
        known = {each.name: each for each in (_EVENT if self.is_stream else _RECORD)}
        if isinstance(metadata, bool):
            return list(known.values()) if metadata else []
        wanted = [metadata] if isinstance(metadata, str) else list(metadata)
        unknown = [name for name in wanted if name not in known]
        if unknown:
            message = f"metadata={metadata!r}: there is no {unknown[0]!r} about a record."
            raise ConfigurationError(message, f"choose from {', '.join(known)}, or True for all.")
        return [known[name] for name in wanted]

    def _shows_key(self) -> bool:
        return KEY in self.key and self.key_name is not None and not self.is_stream

    def columns(self, fields: pl.Schema, *, metadata: Metadata = False) -> list[pl.Expr]:
        """Return what to select from the view."""
        names = self.names(fields, metadata=metadata).items()
        return [pl.col(name) if each is None else each.expression(name) for name, each in names]

    def expressions(self, fields: pl.Schema) -> dict[str, pl.Expr]:
        """Return all columns that there are, by the name under which an expression can ask for them."""
        return dict(zip(self.names(fields, metadata=True), self.columns(fields, metadata=True), strict=True))

    def window_names(self, fields: pl.Schema) -> set[str]:
        """Return the names under which a frame shows its window."""
        names = self.names(fields).items()
        return {name for name, each in names if each is not None and each.column in (WINDOW, WINDOW_END)}

    def aggregates(self, found: pl.DataFrame) -> pl.DataFrame:
        """Return aggregates per ``WINDOW`` and ``WINDOW_END`` with these named as users see them."""
        others = [name for name in found.columns if is_field(name)]
        taken = set(others)
        windows = [each.expression(claim(each.name, taken)) for each in _WINDOW]
        return found.select(*windows, *others)

    def frame(
        self, rows: pl.DataFrame, fields: pl.Schema, *, metadata: Metadata = False, strict: bool = True
    ) -> pl.DataFrame:
        """Return ``rows`` of the view as the user sees them.

        Raises
        ------
        ConfigurationError
            When the key_name that the user chose is also a field; without ``strict`` it steps aside as ours do.
        """
        if strict and self._shows_key() and self.key_name != _DEFAULT_KEY_NAME and self.key_name in fields:
            message = f"key_name={self.key_name!r} is also a field of the value."
            raise ConfigurationError(message, "choose another key_name, or None to hide the record key.")
        return rows.select(self.columns(fields, metadata=metadata))

    def with_windows(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows``, of which there are none, with the columns that a window has."""
        if not self.is_windowed:
            return rows
        return rows.with_columns(pl.lit(None, dtype=pl.Int64).alias(name) for name in (WINDOW, WINDOW_END))

    def key_columns(self, fields: pl.Schema) -> list[str]:
        """Return the names under which a frame shows what tells its rows apart.

        Raises
        ------
        ConfigurationError
            When the frame hides the record key.
        """
        if KEY in self.key and self.key_name is None:
            message = "key_name=None hides what tells the rows apart."
            raise ConfigurationError(message, "ask for the table with another key_name.")
        wanted = {WINDOW, WINDOW_END, KEY}
        ours = [
            name for name, each in self.names(fields).items() if each is not None and each.column in wanted
        ]
        return [*ours, *(name for name in self.key if is_field(name))]

    def keys(self, rows: pl.DataFrame) -> list[Any]:
        """Return the key of each row: a value, or a tuple where the key is composite."""
        columns = rows.select(expression for expression, _, _ in self._parts(rows.schema))
        return columns.to_series().to_list() if columns.width == 1 else columns.rows()

    def _parts(self, schema: pl.Schema) -> list[tuple[pl.Expr, pl.DataType, str]]:
        """Return the parts of the key, their types, and their names for people: those of a record key's fields."""
        parts: list[tuple[pl.Expr, pl.DataType, str]] = []
        for name in self.key:
            dtype = schema[name]
            if isinstance(dtype, pl.Struct):
                inner = struct_schema(dtype).items()
                parts += [(pl.col(name).struct.field(field), kind, repr(field)) for field, kind in inner]
            else:
                parts.append((pl.col(name), dtype, "the record key" if name == KEY else repr(name)))
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
        """Return the rows whose key is ``key``, as ``get`` takes it: none where the column can't hold it."""
        parts = key if isinstance(key, tuple) else (key,)
        columns = self._parts(rows.schema)
        if len(parts) != len(columns):
            return rows.clear()
        try:
            pairs = zip(columns, parts, strict=True)
            equal = [_compared(column, dtype, part)[1] for (column, dtype, _), part in pairs]
        except (TypeError, ValueError):
            return rows.clear()
        return rows.filter(equal)


def fields_of(rows: pl.DataFrame) -> pl.Schema:
    """Return the fields of the value among the columns of a view."""
    return pl.Schema({name: dtype for name, dtype in rows.schema.items() if is_field(name)})


def claim(name: str, taken: set[str]) -> str:
    """Return ``name``, with ``record_`` before it as often as it takes to be new, and note it as taken."""
    while name in taken:
        name = f"record_{name}"
    taken.add(name)
    return name


def _below(bound: object, key: Sequence[tuple[pl.Expr, pl.DataType, str]]) -> pl.Expr:
    """Return the condition (never null) for keys before ``bound``."""
    parts = bound if isinstance(bound, tuple) else (bound,)
    below = pl.lit(value=False)
    try:
        pairs = list(zip(key[: len(parts)], parts, strict=True))
        for (column, dtype, _), part in reversed(pairs):
            less, equal = _compared(column, dtype, part)
            below = less | (equal & below)
    except (TypeError, ValueError) as error:
        shape = ", ".join(f"{name} ({dtype})" for _, dtype, name in key)
        message = f"{bound!r} can't be compared with a key, which is {shape}."
        hint = "give a value of that type; for a composite key a tuple of its parts, or of the first of them."
        raise ConfigurationError(message, hint) from error
    return below


def _compared(column: pl.Expr, dtype: pl.DataType, part: object) -> tuple[pl.Expr, pl.Expr]:
    """Return the conditions for values before ``part`` and for values that are ``part``."""
    never = pl.lit(value=False)
    if part is None:
        return never, column.is_null()
    if dtype == pl.Null:
        return pl.lit(value=True), never
    physical = physical_part(part, dtype)
    if isinstance(dtype, pl.Enum):
        physical = dtype.categories.to_list().index(physical)
    if isinstance(physical, int | Fraction) and not isinstance(physical, bool):
        ceiling = min(max(math.ceil(physical), -_WIDEST), _WIDEST - 1)
        column, value = column.to_physical(), pl.lit(ceiling, dtype=pl.Int128)
    elif isinstance(physical, str):
        physical.encode()  # or Polars would be the one to find half a surrogate pair
        column, value = column.cast(pl.String), pl.lit(physical)
    else:
        value = pl.lit(physical)
    less = column.is_null() | (column < value)
    return less, never if isinstance(physical, Fraction) else (column == value).fill_null(value=False)


def refused_frame(records: Sequence[RefusedRecord]) -> pl.DataFrame:
    """Return refused records as ``partition, offset, timestamp, key, value, reason``."""
    schema = {
        "partition": pl.Int32,
        "offset": pl.Int64,
        "timestamp": pl.Int64,
        "key": pl.Binary,
        "value": pl.Binary,
        "reason": pl.String,
    }
    rows = [(r.partition, r.offset, r.timestamp, r.key, r.value, r.reason) for r in records]
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        as_shown_times(pl.col("timestamp")).alias("timestamp")
    )
