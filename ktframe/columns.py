"""The columns of a change or of the view that are not the user's: their names and types."""

from __future__ import annotations

import polars as pl

# Columns of a change or of the view that are not the user's. A NUL starts each, so that no field can be meant: JSON
# could spell one ("\u0000key"), but such a record is refused, and a declaration that names one is refused.
KEY = "\0key"
HASH = "\0hash"
PARTITION = "\0partition"
OFFSET = "\0offset"
TIMESTAMP = "\0timestamp"
REMOVED = "\0removed"
TOMBSTONE = "\0tombstone"
SIZE = "\0size"
LINE = "\0line"
RECORD_KEY = "\0record_key"
WINDOW = "\0window"
WINDOW_END = "\0window_end"
OPEN = "\0open"


def is_field(column: str) -> bool:
    """Say whether a column of the view is a field of the value, not one of ours."""
    return not column.startswith("\0")


BOOKKEEPING = pl.Schema(
    {HASH: pl.UInt64(), PARTITION: pl.Int32(), OFFSET: pl.Int64(), TIMESTAMP: pl.Int64()},
)
"""Columns that every row of the view carries beside its identity and its fields; timestamps are ms since 1970."""

BESIDE = pl.Schema(
    {
        WINDOW: pl.Int64(),
        RECORD_KEY: pl.Binary(),
        TOMBSTONE: pl.Boolean(),
        SIZE: pl.UInt32(),
    },
)
"""Columns that some identities add: the start of the window (ms), the record key as sent, whether the value was null,
and the bytes that the row takes in the store."""
