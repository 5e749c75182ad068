"""What was written to one topic and acknowledged, partition by partition, and what of it the log still has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Kind(Enum):
    """What the value of a record is: a JSON object, null, or bytes that are no JSON."""

    ROW = "row"
    TOMBSTONE = "tombstone"
    BROKEN = "broken"


class Fate(Enum):
    """Whether readers of committed records may see a record."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Record:
    """An acknowledged record; ``number`` is its own, whatever happens to offsets; ``name`` is the field ``id``."""

    number: int
    partition: int
    offset: int
    time: int
    key: str | None
    kind: Kind
    name: str | None

    def __str__(self) -> str:
        return f"#{self.number} [{self.partition}]@{self.offset} t={self.time} {self.key} {self.kind.value} {self.name}"


@dataclass(frozen=True, slots=True)
class Loss:
    """Visible records that left a partition: ``cause`` is "made anew", "put back", "deleted" or "compacted"."""

    cause: str
    records: frozenset[Record]


@dataclass(slots=True)
class PartitionLog:
    """One partition: the records that are in the log now, those that left it, and what became of transactions."""

    records: dict[int, Record] = field(default_factory=dict)
    fates: dict[int, Fate] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    deleted: dict[int, Record] = field(default_factory=dict)
    """What was deleted and may come back: Kafka writes the start of a log down once a minute, and when it is stopped."""

    def add(self, record: Record, fate: Fate = Fate.COMMITTED) -> None:
        """Note an acknowledged record."""
        assert record.offset not in self.records, f"two records at one offset: {record}"
        self.records[record.offset] = record
        self.fates[record.number] = fate

    @property
    def first_open(self) -> int | None:
        """The offset from which on nothing is committed yet, None where no transaction is open."""
        opened = (at for at, record in self.records.items() if self.fates[record.number] is Fate.OPEN)
        return min(opened, default=None)

    def visible(self) -> tuple[Record, ...]:
        """Return the records that a reader of committed ones may see now, by offset."""
        limit = self.first_open
        return tuple(
            record
            for offset, record in sorted(self.records.items())
            if self.fates[record.number] is Fate.COMMITTED and (limit is None or offset < limit)
        )

    def lose(self, cause: str, records: Iterable[Record]) -> None:
        """Take records out of the log; only those that could be seen are a loss."""
        gone, seen = list(records), set(self.visible())
        self.losses.append(Loss(cause, frozenset(seen.intersection(gone))))
        for record in gone:
            del self.records[record.offset]
        if cause == "deleted":
            self.deleted |= {record.offset: record for record in gone}
        elif cause != "compacted":
            self.deleted.clear()

    def come_back(self, first: int) -> None:
        """Note that what was deleted from an offset on is there again: nothing of it was lost."""
        found = {offset: record for offset, record in self.deleted.items() if offset >= first}
        self.records |= found
        back = frozenset(found.values())
        self.losses = [Loss(loss.cause, loss.records - back) for loss in self.losses]
        self.deleted.clear()


Topic = dict[int, PartitionLog]
Logs = Mapping[int, tuple[Record, ...]]
"""The records of each partition that a store has applied, or should have, by offset."""
