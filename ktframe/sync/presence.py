"""When the rows of each partition were last known to be as the log is: whether deletes may have been missed since.

On a compacted topic Kafka removes a tombstone ``delete.retention.ms`` after compaction came upon it. Who was at the end of
the log, and is there again within that time, has seen every delete; later there may be rows whose tombstone is gone
already. No Kafka, no store, no thread: it is told what was found out, and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Final

from ktframe.clock import Clock, now_ms
from ktframe.config.durations import describe_duration
from ktframe.fold.records import Position
from ktframe.kafka.survey import Cleanup

_DAY_MS: Final = 86_400_000
"""Kafka's default of ``delete.retention.ms``, which is assumed where the settings of a topic can't be read."""
_LEAST_MS: Final = 15_000
"""While reading goes on, only what is older counts as absence: the end is looked up every few seconds, not all the time.

It is also the pause of Kafka's cleaner by default, which has to come twice before a tombstone is gone.
"""
_LEAST_KEPT_MS: Final = 60_000
_UNCHANGED_MS: Final = 300_000
"""After a longer pause a topic that was not compacted may be."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by both clocks: the wall time (ms), and the monotonic one (s); None where another process took it."""

    wall: int
    monotonic: float | None = None


class Presence:
    """What one table knows of each partition. Any thread may call it; the binding's thread writes it to the store."""

    def __init__(self, clock: Clock) -> None:
        self.cleanup = Cleanup()
        """How the topic is cleaned up, as far as that is known."""
        self.kept_ms: int | None = None
        """For how long the topic keeps tombstones; None where no delete can be missed."""
        self.notices: dict[int, str] = {}
        """What must be said of partitions that took longer to load, or whose rows could not be read again."""
        self._is_assumed = False
        self._can_change = False
        """Whether deletes could be missed if the topic became compacted."""
        self._clock = clock
        self._lock = Lock()
        self._present: dict[int, Moment] = {}
        self._awaited: dict[int, tuple[int, Moment]] = {}
        """Ends that were not reached when they were looked up, and when that was."""
        self._loading: set[int] = set()
        """The partitions that are read from their start and have not reached an end yet."""
        self._flowed = self.now()
        """When a batch came last."""

    def now(self) -> Moment:
        """Return the time by both clocks."""
        return Moment(now_ms(self._clock), self._clock.monotonic())

    def known(self) -> dict[int, int]:
        """Return, by partition, the wall time (ms) to be stored with its position."""
        with self._lock:
            return {partition: moment.wall for partition, moment in self._present.items()}

    def attach(self, cleanup: Cleanup, stored: Mapping[int, Position], *, keeps_history: bool) -> None:
        """Take over what is stored, and how the topic is cleaned up.

        With ``keeps_history`` no delete can be missed: each record is a row of its own, which no later one removes.
        """
        if cleanup.policy is None:
            cleanup = self.cleanup  # what was known before, as a broker may be silent for once
        may_be_compacted = cleanup.policy is None or "compact" in cleanup.policy
        kept = _DAY_MS if cleanup.tombstones_ms is None else cleanup.tombstones_ms
        with self._lock:
            self.cleanup = cleanup
            self.kept_ms = kept if may_be_compacted and not keeps_history else None
            self._can_change = not keeps_history
            self._is_assumed = None in (cleanup.policy, cleanup.tombstones_ms)
            self._awaited.clear()
            known = self._present
            self._present = {
                partition: known.get(partition) or Moment(position.present or 0)
                for partition, position in stored.items()
                if partition in known or position.present is not None
            }
            self._loading &= self._present.keys()

    def go_back(self) -> None:
        """Forget when partitions were present, as the disk may have rows of before: ``attach`` takes what is stored with them."""
        with self._lock:
            self._present.clear()
            self._loading.clear()

    def missed(self, positions: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, str]:
        """Return the partitions whose deletes may have been missed, with the reason, of stored ``positions``.

        ``ends`` include open transactions. At the end nothing was written since: no compaction moves it.
        """
        if self.kept_ms is None:
            return {}
        with self._lock:
            now = self.now()
            reasons = {
                partition: self._reason(partition, now)
                for partition, position in positions.items()
                if position < ends.get(partition, position)
            }
        return {partition: reason for partition, reason in reasons.items() if reason is not None}

    def _reason(self, partition: int, now: Moment) -> str | None:
        kept_ms, seen = self.kept_ms or 0, self._present.get(partition)
        limit = kept_ms
        if partition in self._loading:  # not at an end yet, and does not begin again as long as it goes on
            seen, limit = self._flowed, max(kept_ms, _LEAST_MS)
        setting = f"delete.retention.ms is {_spelt(kept_ms)}"
        if self._is_assumed:
            setting = f"{_spelt(kept_ms)} is assumed: the topic's settings can't be read"
        if seen is None or _age(seen, now) < 0:
            fact = "it is not known how long the table was away" if seen is None else "the clock went back"
            return f"{fact}, and Kafka keeps deletes only for a time ({setting})"
        if _age(seen, now) <= limit:
            return None
        return (
            f"the table was away for {_spelt(_age(seen, now))}, longer than Kafka keeps deletes ({setting})"
        )

    def leave(self, partition: int, why: str) -> None:
        """Record that the rows of a partition stay though deletes may have been missed: what is stored says so next time."""
        with self._lock:
            self._present.pop(partition, None)
            self._loading.discard(partition)
            self.notices[partition] = (
                f"partition {partition}: {why}, and the log no longer has the records of all rows: rows that"
                " were deleted meanwhile may be shown"
            )

    def begin(self, partitions: Iterable[int], at: Moment) -> None:
        """Record that these partitions have no rows, and are read from now on."""
        partitions = set(partitions)
        with self._lock:
            if self._loading <= partitions:
                self._flowed = at
            for partition in partitions:
                self._present[partition] = at
                self._loading.add(partition)
                self.notices.pop(partition, None)

    def look(self, asked: Moment, ends: Mapping[int, int], positions: Mapping[int, int]) -> None:
        """Record ends of what is committed, as looked up since ``asked``, and the positions that were reached then."""
        with self._lock:
            for partition, end in ends.items():
                if partition not in self._present:
                    continue
                if positions.get(partition, 0) >= end:
                    self._arrive(partition, asked)
                else:
                    # The oldest one: on a busy topic later ends are never reached before they are old.
                    self._awaited.setdefault(partition, (end, asked))

    def advance(self, positions: Mapping[int, int]) -> None:
        """Record the positions that are reached now."""
        with self._lock:
            for partition, position in positions.items():
                end, asked = self._awaited.get(partition, (position + 1, None))
                if asked is not None and position >= end:
                    self._arrive(partition, asked)

    def _arrive(self, partition: int, asked: Moment) -> None:
        self._awaited.pop(partition, None)
        if partition in self._loading:
            self._loading.remove(partition)
            took, kept_ms = _age(self._present[partition], self.now()), self.kept_ms
            if kept_ms is not None and took > max(kept_ms, _LEAST_MS):
                # Not built anew: that would take as long again.
                self.notices[partition] = (
                    f"partition {partition} took {_spelt(took)} to load, longer than Kafka keeps deletes ({_spelt(kept_ms)}):"
                    " rows that were deleted meanwhile may be shown"
                )
        self._present[partition] = asked

    def has_missed(self, positions: Mapping[int, int]) -> bool:
        """Say whether deletes may have been missed before a batch, which would advance to ``positions``, came.

        A process that was stopped, a machine that slept, a client that found its broker again go on as if nothing had
        happened: only the clock tells.
        """
        with self._lock:
            now = self.now()
            flowed, self._flowed = self._flowed, now
            if self.kept_ms is None:
                # Meanwhile the topic may have become compacted, which is found out when it is opened again.
                return (
                    self._can_change
                    and _age(flowed, now) > _UNCHANGED_MS
                    and any(
                        _age(self._present.get(partition, now), now) > _UNCHANGED_MS
                        for partition in positions
                    )
                )
            limit = max(self.kept_ms, _LEAST_MS)
            # What is being loaded has not been at an end, but has come without a long pause.
            since = (
                flowed if partition in self._loading else self._present.get(partition)
                for partition in positions
            )
            return any(moment is not None and _age(moment, now) > limit for moment in since)

    def is_due(self, stored: Mapping[int, Position]) -> bool:
        """Say whether what is known should be written though no record came: a tenth of the time is the loss at a crash."""
        if self.kept_ms is None:
            return False
        period, known = max(self.kept_ms // 10, _LEAST_KEPT_MS), self.known()
        # Also what a clock that ran ahead has stored: else it would count as presence once that time has come.
        return any(p in known and abs(known[p] - (at.present or 0)) > period for p, at in stored.items())


def _age(moment: Moment, now: Moment) -> int:
    """Return how long ago it was (ms), by the clock that says more; negative where a wall clock went back.

    The monotonic clock stands still while a machine sleeps; the wall clock may be set.
    """
    by_wall = now.wall - moment.wall
    if moment.monotonic is None or now.monotonic is None:
        return by_wall
    return max(by_wall, round((now.monotonic - moment.monotonic) * 1000))


def _spelt(length_ms: int) -> str:
    return f"{length_ms} ms" if length_ms < 1000 else describe_duration(length_ms / 1000)  # noqa: PLR2004 - a second
