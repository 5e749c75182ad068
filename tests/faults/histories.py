"""Which records a reader's store may have applied: what was there when it read, for each partition alone.

A store reads a partition on from where it stands, or anew from the start of the log. So what it has applied is what it had,
plus what the log has behind that; or all that the log has now. Where something else was possible (a reader that was killed
has what it had flushed), all possibilities are kept, and the frames that are read rule them out. Nothing else is accepted:
where records were lost that a store had not seen, and whose loss it can't make good, only reading anew is right.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from faults.log import Kind, Loss, PartitionLog, Record, Topic

FLUSHED_SECONDS = 1.5
"""Readers flush their stores three times a second."""
MOST = 2_000
VAGUE = 8


@dataclass(frozen=True, slots=True)
class History:
    """What may have been applied of one partition, up to ``position``; the losses before ``losses`` are dealt with.

    ``lost`` counts the offsets that a stream missed for good, None where that can't be known.
    """

    records: tuple[Record, ...] = ()
    position: int | None = 0
    losses: int = 0
    lost: int | None = 0
    is_anew: bool = False
    synced: int = 0
    """How many of the records there were when everything had been waited for: they are on disk ``FLUSHED_SECONDS`` later."""

    @property
    def next(self) -> int:
        """The first offset that it has certainly not passed."""
        after = self.records[-1].offset + 1 if self.records else 0
        return after if self.position is None else max(after, self.position)

    def before(self, count: int) -> History:
        """Return this after its first ``count`` records only."""
        return replace(self, records=self.records[:count], position=None, lost=None)


class StoreHistories:
    """The possible histories of one store, by partition. ``keeps_history``: it is a stream, whose rows no loss concerns."""

    def __init__(self, *, keeps_history: bool) -> None:
        self.keeps_history = keeps_history
        self._synced_at = 0.0
        self.possible: dict[int, frozenset[History]] = {}

    @property
    def is_vague(self) -> bool:
        """Whether there are so many possibilities that reading should rule some out."""
        return any(len(some) > VAGUE for some in self.possible.values())

    def read_on(self, topic: Topic) -> None:
        """Allow for a reader that runs and was not waited for: it may have read any part of what is new."""
        for partition, log in topic.items():
            found = set()
            for history in self._of(partition):
                more = self._more(history, log)
                longest = replace(history, records=(*history.records, *more))
                found |= {
                    longest.before(count)
                    for count in range(len(history.records) + 1, len(longest.records) + 1)
                }
                found.add(history if not more else replace(history, position=None))
                if history.losses < len(log.losses):  # it may have begun to read anew
                    anew = self._anew(log, 0)
                    found |= {anew.before(count) for count in range(len(anew.records) + 1)}
            self._set(partition, found)

    def fall_back(self) -> None:
        """Allow for a reader that was killed: its store has what was flushed, the first part of what was applied."""
        is_flushed = time.monotonic() - self._synced_at > FLUSHED_SECONDS
        for partition, histories in self.possible.items():
            parts = {
                each.before(count)
                for each in histories
                for count in range(each.synced if is_flushed else 0, len(each.records) + 1)
            }
            self._set(partition, parts | set(histories))

    def after_reading(
        self, topic: Topic, ends: dict[int, int], starts: dict[int, int]
    ) -> dict[int, frozenset[History]]:
        """Return what may be applied once everything that is visible was waited for."""
        found = {}
        for partition, log in topic.items():
            options = {self._anew(log, ends[partition])}
            for history in self._of(partition):
                if not self._must_read_anew(history, log.losses[history.losses :]):
                    options.add(self._read_to_the_end(history, log, ends[partition], starts[partition]))
            found[partition] = frozenset(options)
        return found

    def are(self, found: dict[int, frozenset[History]]) -> None:
        """Go on with these."""
        self._synced_at = time.monotonic()
        self.possible = {
            partition: frozenset(replace(each, is_anew=False, synced=len(each.records)) for each in some)
            for partition, some in found.items()
        }

    def _of(self, partition: int) -> frozenset[History]:
        return self.possible.get(partition, frozenset({History()}))

    def _set(self, partition: int, found: Iterable[History]) -> None:
        self.possible[partition] = frozenset(found)
        assert len(self.possible[partition]) <= MOST, "too many possibilities to tell right from wrong"

    def _more(self, history: History, log: PartitionLog) -> list[Record]:
        return [record for record in log.visible() if record.offset >= history.next]

    def _anew(self, log: PartitionLog, end: int) -> History:
        return History(log.visible(), end, len(log.losses), 0, is_anew=True)

    def _read_to_the_end(self, history: History, log: PartitionLog, end: int, start: int) -> History:
        gap = max(0, start - history.next)
        exact = history.lost is not None and (gap == 0 or history.position is not None)
        lost = (history.lost or 0) + gap if exact else None
        records = (*history.records, *self._more(history, log))
        return History(records, end, len(log.losses), lost if self.keeps_history else 0)

    def _must_read_anew(self, history: History, losses: list[Loss]) -> bool:
        """Say whether the rows of a history can't be those of the log any more, whatever is read behind them."""
        applied = set(history.records)
        for loss in losses:
            if loss.cause == "made anew" or (loss.cause == "put back" and applied & loss.records):
                return True
            unseen = {each for each in loss.records - applied if each.offset >= history.next}
            if self.keeps_history:
                continue
            if loss.cause == "deleted" and unseen:
                return True
            # What compaction removes, a later record of its key replaces; but for a tombstone.
            if loss.cause == "compacted" and any(each.kind is Kind.TOMBSTONE for each in unseen):
                return True
        return False
