"""How rows of the view look to the user: names, order and types of the columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from ktframe.errors import ConfigurationError
from ktframe.identity import Identity
from ktframe.records import KEY, OFFSET, PARTITION, TIMESTAMP, QuarantinedRecord

_DEFAULT_KEY_NAME = "key"
_TIME = pl.Datetime("ms", "UTC")
_METADATA = (
    (PARTITION, "partition", pl.Int32()),
    (OFFSET, "offset", pl.Int64()),
    (TIMESTAMP, "timestamp", _TIME),
)


@dataclass(frozen=True, slots=True)
class Presentation:
    """Names the columns of one table; ``key_name`` None hides the record key."""

    identity: Identity
    key_name: str | None = _DEFAULT_KEY_NAME

    def columns(self, fields: pl.Schema, *, metadata: bool = False) -> list[pl.Expr]:
        """Return what to select from the view: the key, the fields, then metadata where wanted.

        A field that is called like one of ours keeps its name; ours then starts with ``record_``.
        """
        shown = [pl.col(name) for name in fields]
        if KEY in self.identity.columns and self.key_name is not None:
            shown.insert(0, pl.col(KEY).alias(self._key_name(fields)))
        if metadata:
            shown += [
                pl.col(column).cast(dtype).alias(f"record_{name}" if name in fields else name)
                for column, name, dtype in _METADATA
            ]
        return shown

    def _key_name(self, fields: pl.Schema) -> str:
        name = self.key_name or _DEFAULT_KEY_NAME
        if name not in fields:
            return name
        if name == _DEFAULT_KEY_NAME:
            return f"record_{name}"
        message = f"key_name={name!r} is also a field of the value."
        raise ConfigurationError(message, "choose another key_name, or None to hide the record key.")

    def frame(self, rows: pl.DataFrame, fields: pl.Schema, *, metadata: bool = False) -> pl.DataFrame:
        """Return ``rows`` of the view as the user sees them."""
        return rows.select(self.columns(fields, metadata=metadata))

    def keys(self, rows: pl.DataFrame) -> list[Any]:
        """Return the key of each row: a value, or a tuple where the key is composite."""
        columns = rows.select(self.identity.columns)
        return columns.to_series().to_list() if columns.width == 1 else columns.rows()

    def between(self, start: object, end: object) -> pl.Expr:
        """Return the filter for ``start <= key < end``; None leaves a side open."""
        condition = pl.lit(value=True)
        if start is not None:
            condition &= ~self._below(start)
        if end is not None:
            condition &= self._below(end)
        return condition

    def _below(self, bound: object) -> pl.Expr:
        parts = bound if isinstance(bound, tuple) else (bound,)
        pairs = list(zip(self.identity.columns, parts, strict=False))
        below = pl.lit(value=False)
        for name, part in reversed(pairs):
            below = (pl.col(name) < part) | ((pl.col(name) == part) & below)
        return below


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
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col("timestamp").cast(_TIME))
