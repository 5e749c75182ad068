"""How rows of the view look to the user: names, order and types of the columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import polars as pl

from ktframe.encoding import physical_part
from ktframe.errors import ConfigurationError
from ktframe.eventtime import SHOWN_TIME, as_shown_times
from ktframe.identity import Identity
from ktframe.records import KEY, OFFSET, PARTITION, TIMESTAMP, QuarantinedRecord

_DEFAULT_KEY_NAME = "key"
_WIDEST = 1 << 127
_METADATA = (
    (PARTITION, "partition", pl.Int32()),
    (OFFSET, "offset", pl.Int64()),
    (TIMESTAMP, "timestamp", SHOWN_TIME),
)


@dataclass(frozen=True, slots=True)
class Presentation:
    """Names the columns of one table; ``key_name`` None hides the record key."""

    identity: Identity
    key_name: str | None = _DEFAULT_KEY_NAME

    def columns(self, fields: pl.Schema, *, metadata: bool = False) -> list[pl.Expr]:
        """Return what to select from the view: the key, the fields, then metadata where wanted.

        A field keeps its name. Ours that is called like a column before it starts with ``record_``, as often as it
        takes.
        """
        taken = set(fields)
        shown = [pl.col(name) for name in fields]
        if self._shows_key():
            shown.insert(0, pl.col(KEY).alias(_claim(str(self.key_name), taken)))
        if metadata:
            shown += [
                _metadata_column(column, dtype).alias(_claim(name, taken))
                for column, name, dtype in _METADATA
            ]
        return shown

    def _shows_key(self) -> bool:
        return KEY in self.identity.columns and self.key_name is not None

    def frame(
        self, rows: pl.DataFrame, fields: pl.Schema, *, metadata: bool = False, strict: bool = True
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

    def keys(self, rows: pl.DataFrame) -> list[Any]:
        """Return the key of each row: a value, or a tuple where the key is composite."""
        columns = rows.select(self.identity.columns)
        return columns.to_series().to_list() if columns.width == 1 else columns.rows()

    def within(self, rows: pl.DataFrame, start: object, end: object) -> pl.DataFrame:
        """Return the rows with ``start <= key < end`` in key order; None leaves a side open.

        A null part comes before every value. A tuple with fewer parts than the key comes before all keys that begin
        with it.

        Raises
        ------
        ConfigurationError
            When a bound has more parts than the key, or one of another kind.
        """
        dtypes = rows.select(self.identity.columns).schema
        condition = pl.lit(value=True)
        if start is not None:
            condition &= ~_below(start, dtypes)
        if end is not None:
            condition &= _below(end, dtypes)
        return rows.filter(condition).sort(self.identity.columns, nulls_last=False)


def _claim(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"record_{name}"
    taken.add(name)
    return name


def _metadata_column(column: str, dtype: pl.DataType) -> pl.Expr:
    return as_shown_times(pl.col(column)) if dtype == SHOWN_TIME else pl.col(column).cast(dtype)


def _below(bound: object, dtypes: pl.Schema) -> pl.Expr:
    """Return the condition (never null) for keys before ``bound``."""
    parts = bound if isinstance(bound, tuple) else (bound,)
    below = pl.lit(value=False)
    try:
        pairs = list(zip(list(dtypes.items())[: len(parts)], parts, strict=True))
        for (name, dtype), part in reversed(pairs):
            less, equal = _compared(pl.col(name), dtype, part)
            below = less | (equal & below)
    except (TypeError, ValueError) as error:
        shape = ", ".join(
            f"{'the record key' if name == KEY else repr(name)} ({dtype})" for name, dtype in dtypes.items()
        )
        message = f"{bound!r} can't be compared with a key, which is {shape}."
        remedy = (
            "give a value of that type; for a composite key a tuple of its parts, or of the first of them."
        )
        raise ConfigurationError(message, remedy) from error
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


def quarantine_frame(records: Sequence[QuarantinedRecord]) -> pl.DataFrame:
    """Return quarantined records as ``partition, offset, timestamp, key, value, reason``."""
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
