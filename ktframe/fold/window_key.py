"""Window and key as the identity: the latest row per key per window.

A tombstone acts in its own window only, and leaves a marker there: a larger window that is derived from this one must
know that the key was deleted, and when.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ktframe.columns import KEY, LINE, PARTITION, RECORD_KEY, TIMESTAMP, WINDOW, WINDOW_CLOSE_TIME, WINDOW_END
from ktframe.fold.event_time import refuse_skewed, refuse_timeless
from ktframe.fold.field_key import FieldKey
from ktframe.fold.identity import Assigned, KeyUse, RowLookup, Tombstone, hash_identities, stream_times
from ktframe.fold.identity_codec import decode_column, encode_columns, encode_part
from ktframe.fold.record_key import RecordKey
from ktframe.fold.records import BatchContext, Changes
from ktframe.windows.fixed import Windows
from ktframe.windows.retention import Retention

_ENCODED_WINDOW_BYTES = len(encode_part(0))


@dataclass(frozen=True, slots=True)
class WindowKey:
    """The key of a table, once per window.

    With ``grace_ms`` a record is late for a window that ends no later than stream time - grace (Kafka's rule, by
    partition; the record itself counts); without, windows never close. ``time`` names the field that the event time
    comes from, for messages. Where fields of the value are the key, the record key is part of the identity as well:
    that lets a tombstone find, in a larger window too, the rows whose newest record carried it.
    """

    key: RecordKey | FieldKey
    windows: Windows
    grace_ms: int | None = None
    max_skew_ms: int | None = None
    time: str | None = None
    retention: Retention | None = None
    tombstone: Tombstone = Tombstone.MARKS
    keeps_history: bool = False

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
    def extra_columns(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    @property
    def key_use(self) -> KeyUse:
        """As the table's, but that its bytes are part of the identity where fields are the key."""
        return KeyUse.PART_OF_IDENTITY if isinstance(self.key, FieldKey) else KeyUse.IDENTITY

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:
        """Put each record into its windows; a record in several hopping windows becomes several rows."""
        assigned = self.key.assign(rows, context)
        timed, timeless = refuse_timeless(assigned.rows, self.time)
        timed, skewed = refuse_skewed(timed, context.now, self.max_skew_ms)
        refused = [*assigned.refused, *timeless, *skewed]
        times = stream_times(timed)
        rows = self.windows.assign(self._with_close_time(timed, context), TIMESTAMP)
        late = rows.clear()
        if self.grace_ms is not None:
            is_late = pl.col(WINDOW_END) <= pl.col(WINDOW_CLOSE_TIME)
            late, rows = rows.filter(is_late), rows.filter(~is_late)
        rows, expired = _without_expired(rows, context)
        rows = rows.drop(WINDOW_END, WINDOW_CLOSE_TIME, strict=False)
        return Assigned(rows, refused, late.select(LINE, WINDOW), times, expired)

    def _with_close_time(self, rows: pl.DataFrame, context: BatchContext) -> pl.DataFrame:
        """Add, with grace, the moment up to which windows had closed when each record came."""
        if self.grace_ms is None:
            return rows
        before = pl.col(PARTITION).replace_strict(
            dict(context.stream_times), default=None, return_dtype=pl.Int64
        )
        now = pl.max_horizontal(pl.col(TIMESTAMP).cum_max().over(PARTITION), before)
        return rows.with_columns((now - self.grace_ms).alias(WINDOW_CLOSE_TIME))

    def encode(self, rows: pl.DataFrame) -> pl.Series:
        """Return the canonical bytes of window and key: in order of windows first."""
        return encode_columns(rows.select(self.columns))

    def hash(self, rows: pl.DataFrame, identities: Sequence[bytes] | pl.Series) -> pl.Series:
        """Return the hash of what is shown."""
        if self.columns == self.user_key_columns:
            return hash_identities(identities)
        return hash_identities(encode_columns(rows.select(self.user_key_columns)))

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:
        """Return the window's start, and the key where the value does not hold it."""
        encoded = pl.Series(identities, dtype=pl.Binary)
        starts = decode_column(encoded.bin.slice(0, _ENCODED_WINDOW_BYTES), pl.Int64()).alias(WINDOW)
        if KEY not in self.columns:
            return starts.to_frame()
        keys = encoded.bin.slice(_ENCODED_WINDOW_BYTES)
        return pl.DataFrame([starts, decode_column(keys, dtypes[KEY]).alias(KEY)])

    def lower_bound(self, partition: int, horizon: int) -> bytes:  # noqa: ARG002 - each partition has rows of its own
        """Return what the identities of the window that starts at ``horizon`` start with."""
        return encode_part(horizon)

    def null_key_reason(self) -> str:
        """Say why a record has no key."""
        return self.key.null_key_reason()

    def resolve(self, changes: Changes, rows: RowLookup) -> Changes:  # noqa: ARG002 - the protocol's signature
        """Return ``changes``: markers are resolved when rows are shown."""
        return changes


def _without_expired(rows: pl.DataFrame, context: BatchContext) -> tuple[pl.DataFrame, dict[int, int]]:
    """Return the rows of windows that retention keeps, and how many of each partition it does not."""
    if not context.horizons:
        return rows, {}
    kept_from = pl.col(PARTITION).replace_strict(dict(context.horizons), default=None, return_dtype=pl.Int64)
    is_kept = (pl.col(WINDOW) >= kept_from).fill_null(value=True)
    expired = rows.filter(~is_kept)
    return rows.filter(is_kept), dict(expired[PARTITION].value_counts().iter_rows())
