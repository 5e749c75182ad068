"""Partition and offset as the identity: every event of a topic is a row, a tombstone too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ktframe.columns import KEY, OFFSET, PARTITION, SIZE, TOMBSTONE
from ktframe.fold.event_time import refuse_skewed
from ktframe.fold.identity import Assigned, KeyUse, RowLookup, Tombstone, hash_identities, stream_times
from ktframe.fold.identity_codec import encode_columns, encode_parts
from ktframe.fold.records import BatchContext, Changes
from ktframe.windows.retention import Retention


@dataclass(frozen=True, slots=True)
class StreamKey:
    """Kafka's KStream: nothing is ever replaced. ``retention`` drops the oldest events.

    A timestamp more than ``max_skew_ms`` ahead of the wall clock is refused: it would pass for the stream time.
    """

    max_skew_ms: int | None = None
    retention: Retention | None = None
    kind: str = "stream"
    columns: tuple[str, ...] = (PARTITION, OFFSET)
    user_key_columns: tuple[str, ...] = (PARTITION, OFFSET)
    extra_columns: tuple[str, ...] = (KEY, TOMBSTONE, SIZE)
    key_use: KeyUse = KeyUse.COLUMN
    tombstone: Tombstone = Tombstone.IS_ROW
    keeps_history: bool = True

    def assign(self, rows: pl.DataFrame, context: BatchContext) -> Assigned:
        """Return all rows, but those with a time far in the future."""
        kept, refused = refuse_skewed(rows, context.now, self.max_skew_ms)
        return Assigned(kept, refused, stream_times=stream_times(kept))

    def encode(self, rows: pl.DataFrame) -> pl.Series:
        """Return the canonical bytes of (partition, offset)."""
        return encode_columns(rows.select(self.columns))

    def hash(self, rows: pl.DataFrame, identities: Sequence[bytes] | pl.Series) -> pl.Series:  # noqa: ARG002
        """Return the hash of (partition, offset)."""
        return hash_identities(identities)

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:  # noqa: ARG002
        """Return no column: the stored row holds them."""
        return pl.DataFrame(height=len(identities))

    def lower_bound(self, partition: int, horizon: int) -> bytes:
        """Return the identity of offset ``horizon``."""
        return encode_parts((partition, horizon))

    def null_key_reason(self) -> str:
        """Never asked: every record has an offset."""
        raise NotImplementedError

    def resolve(self, changes: Changes, rows: RowLookup) -> Changes:  # noqa: ARG002 - the protocol's signature
        """Return ``changes``: a tombstone is an event."""
        return changes
