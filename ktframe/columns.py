"""Names and types of ktframe's own columns: those of changes and of the view that are not the user's fields."""

# All are made here, so that no two mean different things in one frame.

from __future__ import annotations

from typing import Final

import polars as pl

OWN_PREFIX: Final = "\x01"
"""The first character of every own name. No field can have it: formats refuse such records, declarations raise."""


def own_name(name: str) -> str:
    """Return the name of an own column."""
    return OWN_PREFIX + name


def is_field(column: str) -> bool:
    """Say whether a column is a field of the user's, not an own one."""
    return not column.startswith(OWN_PREFIX)


# --- of every row -----------------------------------------------------------------------------------------------------

HASH: Final = own_name("hash")
PARTITION: Final = own_name("partition")
OFFSET: Final = own_name("offset")
TIMESTAMP: Final = own_name("timestamp")

BOOKKEEPING: Final = pl.Schema(
    {HASH: pl.UInt64(), PARTITION: pl.Int32(), OFFSET: pl.Int64(), TIMESTAMP: pl.Int64()},
)
"""Columns that every row of the view has besides its identity and its fields; timestamps are ms since 1970."""

# --- of some identities -----------------------------------------------------------------------------------------------

KEY: Final = own_name("key")
"""The decoded record key: a plain value, or a struct where keys have several fields."""
WINDOW: Final = own_name("window")
"""The start of a window, in ms since 1970."""
WINDOW_END: Final = own_name("window_end")
RECORD_KEY: Final = own_name("record_key")
"""The bytes of the record key, as sent."""
TOMBSTONE: Final = own_name("tombstone")
"""Whether the record's value was null."""
HEADERS: Final = own_name("headers")
"""All headers of the record: a list of structs of ``key`` and ``value``, empty where there are none."""
ITEM: Final = own_name("item")
"""The number of the object in its record, from 0, where each object of a record is a row."""
SIZE: Final = own_name("size")
"""The bytes that the row takes in the store."""

EXTRA_COLUMNS: Final = pl.Schema(
    {
        WINDOW: pl.Int64(),
        ITEM: pl.Int32(),
        RECORD_KEY: pl.Binary(),
        TOMBSTONE: pl.Boolean(),
        SIZE: pl.UInt32(),
    },
)
"""Columns that some identities add to the view."""

# --- of changes -------------------------------------------------------------------------------------------------------

LINE: Final = own_name("line")
"""The number of a record in its batch."""
IDENTITY: Final = own_name("identity")
"""The canonical bytes of the identity."""
STORED: Final = own_name("stored")
"""The row as the store keeps it; null removes it."""
FLAGS: Final = own_name("flags")
"""The first byte of a stored row. This column and the next two are packed into ``STORED`` when a row is written."""
SENT_AT: Final = own_name("sent_at")
"""The record's own timestamp (ms), 0 where it has none."""
BODY: Final = own_name("body")
"""The record key, headers and value of a stored row, behind its timestamp and offset; null removes the row."""
DELETED_BY: Final = own_name("deleted_by")
"""The record key whose tombstone deletes the row, where that is not the identity."""
UNPACKED: Final = (FLAGS, SENT_AT, BODY)
STORE_COLUMNS: Final = (IDENTITY, STORED, *UNPACKED, DELETED_BY)
"""The columns of changes that are for the store alone."""
REMOVED: Final = own_name("removed")
"""Whether the line removes its row."""
STALE: Final = own_name("stale")
"""Whether the line is a refused record whose identity is known: it makes older rows of that identity stale."""
REMOVED_UNTIL: Final = own_name("removed_until")
"""The offset up to which markers remove the rows of a record key."""

# --- of windows over events -------------------------------------------------------------------------------------------

WINDOW_CLOSE_TIME: Final = own_name("window_close_time")
"""Kafka's ``windowCloseTime``, stream time minus grace, as a record arrived (ms): windows that ended before take nothing."""
SMALL_WINDOW: Final = own_name("small_window")
"""The start of a window that becomes part of a larger one."""
GROUP: Final = own_name("group")
"""The number of a row's group: rows with equal values in the columns that group, null equal to null."""
ROW: Final = own_name("row")
OPEN: Final = own_name("open")
"""Whether a window may still change."""
FINAL: Final = own_name("final")
"""Whether a window has closed."""

SESSION_LIMIT: Final = own_name("session_limit")
ISLAND: Final = own_name("island")
"""The number of a run of events, or of sessions, that later ones can't join to another run."""
STRETCH: Final = own_name("stretch")
"""The number of the run of events of an island, up to the next doubtful one."""

OWN_WINDOW: Final = own_name("own_window")
"""The start of the sliding window that an event makes by itself: the one that ends with it, or [0, difference]."""
LATE_FOR_OWN_WINDOW: Final = own_name("late_for_own_window")
DROPPED: Final = own_name("dropped")
"""Whether an event is in no window, because all that would hold it had closed."""
INDEX: Final = own_name("index")
FIRST: Final = own_name("first")
LAST: Final = own_name("last")
PARTLY_LATE: Final = own_name("partly_late")
"""Whether some row in a window came too late for it."""
BATCH: Final = own_name("batch")

# --- of differences ---------------------------------------------------------------------------------------------------

OLD_ROW: Final = own_name("old_row")
NEW_ROW: Final = own_name("new_row")
HAS_ROW: Final = own_name("has_row")
