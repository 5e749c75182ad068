"""Partition and offset as the identity: Kafka's KStream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ktframe.columns import KEY, OFFSET, PARTITION, SIZE, TOMBSTONE
from ktframe.fold.event_time import RECORD_TIME, EventTime
from ktframe.fold.identity import Identity, KeyUse, Tombstone
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
