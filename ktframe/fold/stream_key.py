"""Partition and offset as the identity, Kafka's KStream; and with them the number of an object in its record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from ktframe.columns import ITEM, KEY, OFFSET, PARTITION, SIZE, TOMBSTONE
from ktframe.fold.event_time import RECORD_TIME, EventTime
from ktframe.fold.identity import Identity, KeyUse, Tombstone
from ktframe.fold.identity_codec import decode_column, encode_parts
from ktframe.windows.retention import Retention


@dataclass(frozen=True, slots=True)
class StreamKey(Identity):
    """Every record is a row, a tombstone too, and none is ever replaced; ``retention`` drops the oldest.

    A timestamp more than ``max_skew_ms`` ahead of the wall clock is refused: it would pass for the stream time.
    """

    max_skew_ms: int | None = None
    retention: Retention | None = None
    time: EventTime = RECORD_TIME

    kind: ClassVar[str] = "stream"
    columns: ClassVar[tuple[str, ...]] = (PARTITION, OFFSET)
    extra_columns: ClassVar[tuple[str, ...]] = (KEY, TOMBSTONE, SIZE)
    key_use: ClassVar[KeyUse] = KeyUse.COLUMN
    tombstone: ClassVar[Tombstone] = Tombstone.IS_ROW
    keeps_history: ClassVar[bool] = True


_ENCODED_PLACE_BYTES = len(encode_parts((0, 0)))


@dataclass(frozen=True, slots=True)
class ItemKey(StreamKey):
    """Every object of every record is a row: those of one record are told apart by their numbers, from 0."""

    columns: ClassVar[tuple[str, ...]] = (PARTITION, OFFSET, ITEM)
    takes_apart: ClassVar[bool] = True

    def decode(self, identities: Sequence[bytes], dtypes: pl.Schema) -> pl.DataFrame:
        """Return the numbers of objects in their records; rows hold the rest by themselves."""
        encoded = pl.Series(identities, dtype=pl.Binary)
        return decode_column(encoded.bin.slice(_ENCODED_PLACE_BYTES), dtypes[ITEM]).alias(ITEM).to_frame()
