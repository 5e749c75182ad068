"""Decides whether a table is ready, how far it is behind, and how long it will take. No Kafka, no store, no thread.

Ready means: everything that was in the topic when reading began (or began again) is applied. Not ready any more means: what
was in the topic ``HYSTERESIS_CHECKS`` checks ago is still not applied; a table that keeps up with a busy topic always
has some offsets to go and stays ready. A table of whose topic Kafka tells nothing is not ready, and its lag is unknown.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import RLock
from types import MappingProxyType

from ktframe.clock import Clock
from ktframe.events import BindingState, Events, LagUpdated, PartitionLag, ReadyChanged, Reason
from ktframe.sync.missing import Missing
from ktframe.sync.sight import Explanation, Sight

logger = logging.getLogger("ktframe.monitor")
HYSTERESIS_CHECKS = 3
_RATE_WINDOW_SECONDS = 10.0
_CONDITIONS = {
    BindingState.CREATED: "not started",
    BindingState.RESTORING: "restoring",
    BindingState.READY: "ready",
    BindingState.LAGGING: "behind",
    BindingState.BACKING_OFF: "recovering",
    BindingState.FAILED: "failed",
    BindingState.STOPPED: "closed",
}
_READING = (BindingState.RESTORING, BindingState.READY, BindingState.LAGGING)
_NO_POSITIONS: Mapping[int, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True, repr=False)
class Readiness:
    """Whether a table is complete, and if not, why and for how long.

    Three measures, never mixed: ``total_lag`` in offsets, ``data_age`` in seconds since the newest applied record's
    timestamp, ``eta`` in seconds until caught up. Each is None while unknown. ``rate`` is in offsets per second.
    """

    name: str
    is_ready: bool
    reason: Reason
    state: BindingState
    total_lag: int | None
    partitions: tuple[PartitionLag, ...]
    data_age: float | None
    eta: float | None
    rate: float | None
    progress: float | None
    at: datetime
    detail: str = ""
    hint: str | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the table is ready, no row is stale, and hardly a record (1 % at most) was refused."""
        return self.is_ready and self.reason is Reason.READY

    @property
    def condition(self) -> str:
        """The condition in a word or two, the same in every repr, status and panel.

        "not started", "restoring", "ready", "incomplete" (ready, but for refused records or stale rows), "behind",
        "recovering" (after a failure, or because Kafka does not answer), "failed", "closed".
        """
        if self.state not in _READING:
            return _CONDITIONS[self.state]
        if not self.is_ready and self.reason not in (Reason.RESTORING, Reason.LAGGING):
            return _CONDITIONS[BindingState.BACKING_OFF]
        if self.state is BindingState.RESTORING:
            return _CONDITIONS[self.state]
        if not self.is_ready:
            return _CONDITIONS[BindingState.LAGGING]
        return _CONDITIONS[BindingState.READY] if self.is_complete else "incomplete"

    def __bool__(self) -> bool:
        return self.is_ready

    def __repr__(self) -> str:
        return f"Readiness({self})"

    def __str__(self) -> str:
        lag = "unknown lag" if self.total_lag is None else f"{self.total_lag:,} offsets behind"
        return f"{self.name}: {self.reason} ({self.detail or lag})"


class ReadyMonitor:
    """Monitors one binding: its thread reports positions; any thread may report end offsets and ask."""

    def __init__(self, name: str, events: Events, clock: Clock, *, interval: Callable[[], float]) -> None:
        self.name = name
        self._events = events
        self._clock = clock
        self._lock = RLock()
        self._positions: dict[int, int] = {}
        self._starts: dict[int, int] = {}
        self._targets: dict[int, int] | None = None
        self._ends: dict[int, int] = {}
        self._earlier_ends: deque[dict[int, int]] = deque(maxlen=HYSTERESIS_CHECKS)
        self._samples: deque[tuple[float, int]] = deque()
        self._newest: int | None = None
        self._is_ready = False
        self._is_over = False
        self._sight = Sight(clock, interval)
        self.rebuilt: Mapping[int, str] = {}
        """The partitions that are read again, with the reason, while reads find their rows from before."""
        self._last_lag: int | None = None

    @property
    def is_ready(self) -> bool:
        """Whether every partition has passed its target, and Kafka has told lately what there is."""
        with self._lock:
            return self._is_ready and self._sight.trouble is None

    @property
    def trouble(self) -> Explanation | None:
        """Why the lag is unknown, since Kafka does not tell it: reason, sentence and hint."""
        with self._lock:
            return self._sight.trouble

    @property
    def fault(self) -> str | None:
        """The error of the last question that Kafka did not answer; None once it has answered one."""
        return self._sight.fault

    @property
    def lost_at(self) -> float | None:
        """The monotonic time at which the lag became unknown; None while it is known."""
        return self._sight.lost_at

    def behind(self, ahead: Mapping[int, int] = _NO_POSITIONS) -> tuple[int, ...]:
        """Return the partitions that have not reached their target, even if ``ahead`` were applied as well."""
        with self._lock:
            positions = {**self._positions, **ahead}
            return tuple(p for p, end in (self._targets or {}).items() if positions.get(p, 0) < end)

    def lagging(self, ahead: Mapping[int, int] = _NO_POSITIONS) -> frozenset[int]:
        """Return the partitions that have not reached their last known end, even if ``ahead`` were applied as well."""
        with self._lock:
            positions = {**self._positions, **ahead}
            return frozenset(p for p, end in self._ends.items() if positions.get(p, 0) < end)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Hold the lock, then deliver events: callbacks run without it, so that they can't keep others from asking."""
        with self._lock:
            if not self._is_over and self._sight.expire():  # what is old by now was so before the change
                self._tell_lost()
            yield
        self._events.deliver()

    def begin(self, positions: Mapping[int, int], ends: Mapping[int, int]) -> None:
        """Start (again) at ``positions``; ready once past ``ends``."""
        with self._changing():
            if self._is_over:
                return
            self._positions, self._starts = dict(positions), dict(positions)
            self._targets = dict(ends)
            self._ends = dict(ends)
            self._earlier_ends.clear()
            self._samples.clear()
            self._sight.gain(self._clock.monotonic())
            self._decide()

    def observe(self, positions: Mapping[int, int], *, newest: int | None = None) -> None:
        """Record applied ``positions`` and the newest timestamp (ms) so far."""
        with self._changing():
            self._positions |= positions
            if newest is not None:
                self._newest = max(newest, self._newest or newest)
            now, done = self._clock.monotonic(), sum(self._positions.values())
            self._samples.append((now, done))
            self._forget_samples(now)
            self._decide()

    def see(self, ends: Mapping[int, int], asked: float | None = None) -> None:
        """Record end offsets that were ``asked`` for at a monotonic time and just told."""
        with self._changing():
            self._take(ends, asked)
            self._decide()

    def _take(self, ends: Mapping[int, int], asked: float | None) -> None:
        if self._sight.lost_at is not None:
            # Ready again: everything is applied that was there when Kafka answered again.
            self._targets = None if self._targets is None else dict(ends)
            self._earlier_ends.clear()
        self._ends = dict(ends)
        self._sight.gain(self._clock.monotonic() if asked is None else asked)

    def lose_sight(self, cause: Explanation, asked: float | None = None) -> None:
        """Record that Kafka did not tell the ends, and why: the lag is unknown and the table not ready until it does.

        ``asked`` is the monotonic time of the question; what is older than the last answer is forgotten.
        """
        with self._changing():
            at = self._clock.monotonic() if asked is None else asked
            if not self._is_over and self._sight.lose(cause, at):
                self._tell_lost()

    def expire(self) -> None:
        """Publish, once, that what is known of the ends is too old to be believed."""
        with self._changing():
            pass

    def _tell_lost(self) -> None:
        self._decide()
        if self._ends:
            previous = self._lag_of(self._ends) if self._last_lag is None else self._last_lag
            self._events.post(LagUpdated(None, previous, self._lags(), self._clock.now()))
            self._last_lag = None

    def check(self, ends: Mapping[int, int], asked: float | None = None) -> None:
        """Do what ``see`` does; publish the lag, and whether the table has fallen behind."""
        with self._changing():
            if self._is_over:
                return  # a question that was asked before
            self._take(ends, asked)
            if self._is_ready and len(self._earlier_ends) == HYSTERESIS_CHECKS:
                overdue = self._earlier_ends[0]
                if not self._has_passed(overdue):
                    self._targets = dict(ends)
            self._earlier_ends.append(dict(ends))
            self._decide()
            lag = self._lag_of(ends)
            self._events.post(LagUpdated(lag, self._last_lag, self._lags(), self._clock.now()))
            self._last_lag = lag

    def suspend(self, reason: Reason) -> None:
        """Record that reading has stopped, and why: the table is not ready until it begins again, if it ever does."""
        with self._changing():
            if self._is_over:
                return  # a thread that was late to end
            self._is_over = reason is Reason.STOPPED
            self._targets = None
            self._decide(reason)

    def _lag_of(self, ends: Mapping[int, int]) -> int:
        return sum(max(0, end - self._positions.get(partition, 0)) for partition, end in ends.items())

    def _has_passed(self, ends: Mapping[int, int]) -> bool:
        return all(self._positions.get(partition, 0) >= end for partition, end in ends.items())

    def _decide(self, otherwise: Reason = Reason.LAGGING) -> None:
        trouble = self._sight.trouble if self._sight.lost_at is not None else None
        is_ready = trouble is None and self._targets is not None and self._has_passed(self._targets)
        if is_ready == self._is_ready:
            return
        self._is_ready, otherwise = is_ready, otherwise if trouble is None else trouble[0]
        reason, lag = Reason.READY if is_ready else otherwise, self._total_lag()
        behind = "" if lag is None else f", {lag} offsets behind"
        description = "ready" if is_ready else f"not ready any more: {reason}{behind}"
        logger.info("%s is %s", self.name, description)
        self._events.post(ReadyChanged(is_ready, reason, lag, self._clock.now()))

    def _lags(self) -> tuple[PartitionLag, ...]:
        partitions = sorted({*self._positions, *self._ends})
        ends = self._ends if self._sight.trouble is None else {}
        return tuple(PartitionLag(p, self._positions.get(p, 0), ends.get(p)) for p in partitions)

    def _total_lag(self) -> int | None:
        lags = [lag.lag for lag in self._lags()]
        known = [lag for lag in lags if lag is not None]
        return sum(known) if known else None

    def _forget_samples(self, now: float) -> None:
        while self._samples and now - self._samples[0][0] > _RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def _rate(self) -> float | None:
        self._forget_samples(self._clock.monotonic())
        if len(self._samples) < 2:  # noqa: PLR2004 - a rate takes two points
            return None
        (first, done_first), (last, done_last) = self._samples[0], self._samples[-1]
        return (done_last - done_first) / (last - first) if last > first else None

    def _progress(self) -> float | None:
        if self._targets is None or self._sight.trouble is not None:
            return None
        span = sum(max(0, end - self._starts.get(p, 0)) for p, end in self._targets.items())
        left = sum(max(0, end - self._positions.get(p, 0)) for p, end in self._targets.items())
        return 1.0 if span == 0 else (span - left) / span

    def readiness(
        self,
        state: BindingState,
        failure: tuple[Reason, str, str | None] | None = None,
        missing: Missing | None = None,
    ) -> Readiness:
        """Return the readiness, given the binding's state, what made it fail, and what its rows lack."""
        with self._lock:
            total, rate, is_ready = self._total_lag(), self._rate(), self.is_ready
            if state in (BindingState.READY, BindingState.LAGGING):  # its thread is about to say so
                state = BindingState.READY if is_ready else BindingState.LAGGING
            reason, detail, hint = failure or self._explain(state, missing or Missing())
            now = self._clock.now()
            return Readiness(
                name=self.name,
                is_ready=is_ready and failure is None,
                reason=reason,
                state=state,
                total_lag=total,
                partitions=self._lags(),
                data_age=None if self._newest is None else now.timestamp() - self._newest / 1000,
                eta=0.0 if total == 0 else (total / rate if total and rate else None),
                rate=rate,
                progress=self._progress(),
                at=now,
                detail=detail,
                hint=hint,
            )

    def _explain(self, state: BindingState, missing: Missing) -> tuple[Reason, str, str | None]:
        if self.is_ready:
            is_full = missing.reason is None
            return missing.reason or Reason.READY, "" if is_full else f"{missing}: see errors()", missing.hint
        if state is BindingState.CREATED:
            return Reason.NOT_STARTED, "its rows have not been read yet", None
        if state is BindingState.STOPPED:
            return (
                Reason.STOPPED,
                "it was closed",
                "ask for it again, by ktframe.table(...) or ktframe.stream(...).",
            )
        if state in _READING and (trouble := self._sight.trouble) is not None:
            return trouble
        reason = Reason.LAGGING if state is BindingState.LAGGING else Reason.RESTORING
        return reason, _described(self.rebuilt), None


def _described(rebuilt: Mapping[int, str]) -> str:
    if not rebuilt:
        return ""
    which = f"partition {min(rebuilt)} is"
    if len(rebuilt) > 1:
        which = f"partitions {', '.join(map(str, sorted(rebuilt)))} are"
    why = "; ".join(dict.fromkeys(rebuilt.values()))
    return f"{which} read again, until which rows from before are shown: {why}"
