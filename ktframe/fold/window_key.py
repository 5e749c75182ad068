"""Window and key as the identity: the latest row per key per window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from ktframe.columns import (
    LINE,
    PARTITION,
    RECORD_KEY,
    STALE,
    TIMESTAMP,
    WINDOW,
    WINDOW_CLOSE_TIME,
    WINDOW_END,
)
from ktframe.fold.event_time import RECORD_TIME, EventTime, refuse_skewed, refuse_timeless
from ktframe.fold.field_key import FieldKey
from ktframe.fold.identity import Assigned, Identity, KeyUse, Tombstone, stream_times, without_stale
from ktframe.fold.record_key import RecordKey
from ktframe.fold.records import BatchContext
from ktframe.windows.base import Windows
from ktframe.windows.retention import Retention


@dataclass(frozen=True, slots=True)
class WindowKey(Identity):
    """The key of a table, once per window.

    With ``grace_ms`` a record is late for a window that ends no later than stream time - grace (Kafka's rule, by
    partition; the record itself counts); without, windows never close. ``time`` is where the event
    time comes from, for messages.

    A tombstone acts in its own window only, and leaves a marker there: a larger window that is made of this one must
    know that the key was deleted, and when. Where fields of the value are the key, the record key is part of the
    identity as well: that lets a tombstone find, in a larger window too, the rows whose newest record carried it.
    """

    key: RecordKey | FieldKey
    windows: Windows
    grace_ms: int | None = None
    max_skew_ms: int | None = None
    time: EventTime = RECORD_TIME
    retention: Retention | None = None

    tombstone: ClassVar[Tombstone] = Tombstone.MARKS

    @property
    def kind(self) -> str:
        """Prefix of the store's directory, with the size."""
        return f"window-{self.windows.name}"

    @property
    def columns(self) -> tuple[str, ...]:
        """The window's start (ms) and the key; with key fields, the record key between them."""
        if isinstance(self.key, FieldKey):
            return (WINDOW, RECORD_KEY, *self.key.columns)
        return (WINDOW, *self.key.columns)

    @property
    def user_key_columns(self) -> tuple[str, ...]:
        """The window's start and the key."""
        return (WINDOW, *self.key.columns)

    @property
    def key_fields(self) -> tuple[str, ...]:
        """Those of the table's key."""
        return self.key.key_fields

    @property
    def key_use(self) -> KeyUse:
        """As the table's, but that its bytes are part of the identity where fields are the key."""
        return KeyUse.PART_OF_IDENTITY if isinstance(self.key, FieldKey) else KeyUse.IDENTITY

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:
        """Put each record into its windows; a record in several hopping windows becomes several rows."""
        keyed, keyless = self.key.with_key(rows)
        timed, timeless = refuse_timeless(keyed, self.time)
        timed, skewed = refuse_skewed(timed, context.now_ms, self.max_skew_ms, self.time)
        times = stream_times(timed)
        rows = self.windows.assign(self._with_close_time(timed, context), TIMESTAMP)
        late = rows.clear()
        if self.grace_ms is not None:
            is_late = (pl.col(WINDOW_END) <= pl.col(WINDOW_CLOSE_TIME)).fill_null(value=False)
            late, rows = without_stale(rows.filter(is_late)), rows.filter(~is_late)
        rows, expired = _without_expired(rows, context)
        rows = rows.drop(WINDOW_END, WINDOW_CLOSE_TIME, strict=False)
        return Assigned(rows, [*keyless, *timeless, *skewed], late[[LINE, WINDOW]], times, expired)

    def _with_close_time(self, rows: pl.DataFrame, context: BatchContext) -> pl.DataFrame:
        """Add, with grace, the time up to which windows had closed when each record came."""
        if self.grace_ms is None:
            return rows
        before = pl.col(PARTITION).replace_strict(
            dict(context.stream_times), default=None, return_dtype=pl.Int64
        )
        times = pl.col(TIMESTAMP)
        if STALE in rows.columns:  # refused records do not advance the stream time
            times = pl.when(STALE).then(None).otherwise(times)
        stream_time = pl.max_horizontal(times.cum_max().forward_fill().over(PARTITION), before)
        return rows.with_columns((stream_time - self.grace_ms).alias(WINDOW_CLOSE_TIME))


def _without_expired(rows: pl.DataFrame, context: BatchContext) -> tuple[pl.DataFrame, dict[int, int]]:
    """Return the rows of windows that retention keeps, and how many of each partition it does not."""
    if not context.horizons:
        return rows, {}
    kept_from = pl.col(PARTITION).replace_strict(dict(context.horizons), default=None, return_dtype=pl.Int64)
    is_kept = (pl.col(WINDOW) >= kept_from).fill_null(value=True)
    expired = without_stale(rows.filter(~is_kept))
    return rows.filter(is_kept), dict(expired[PARTITION].value_counts().iter_rows())
