"""The record key as the identity: Kafka's KTable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ktframe.columns import KEY
from ktframe.fold.identity import Identity, KeyUse, Tombstone


@dataclass(frozen=True, slots=True)
class RecordKey(Identity):
    """The latest row per record key; a tombstone removes the row of its key.

    In a topic of several partitions it leaves a marker: an older row of the key may be in another one, or come from there.
    """

    kind: ClassVar[str] = "table"
    columns: ClassVar[tuple[str, ...]] = (KEY,)
    key_use: ClassVar[KeyUse] = KeyUse.IDENTITY
    tombstone: ClassVar[Tombstone] = Tombstone.MARKS
