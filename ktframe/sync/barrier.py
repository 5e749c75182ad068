"""How a caller waits until the view of a binding is complete, or learns that it will not be.

Any thread may wait. Nothing here reads records or changes a row.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from ktframe.clock import Clock
from ktframe.errors import KtframeError, NotReadyError, StoreError
from ktframe.events import BindingState, Reason
from ktframe.kafka.protocol import TopicFacts
from ktframe.sync.binding import TopicBinding
from ktframe.sync.callbacks import waiting_for
from ktframe.sync.health import explain
from ktframe.sync.materializer import Materializer
from ktframe.sync.monitor import Readiness

OnWait: TypeAlias = Callable[[Readiness], object]
"""Called about ten times a second while a call waits."""

_WAKE_SECONDS = 0.1
_LONGER_WHILE_OTHERS_MOVE = 3
_LONGER_AT_WORK = 10


@dataclass(frozen=True, slots=True)
class WaitPolicy:
    """How long to wait: ``stall_timeout`` seconds without progress, ``timeout`` in all."""

    stall_timeout: float
    timeout: float | None = None
    on_wait: OnWait | None = None


T = TypeVar("T")


class _Moves:
    """When each partition last made progress, as seen by one who waits.

    All make progress when a failure is over, and when another topic is being read. A failed attempt to go on is none, nor
    is the next attempt: these are made for as long as an outage takes. Of the time in which this process is at work on
    rows that have arrived only a tenth counts: a slow computer is no broker that sends nothing.
    """

    def __init__(self, now: float) -> None:
        self._looked = now
        self._waited = self._began = self._latest = 0.0
        self._attached: TopicFacts | None = None
        self._was_failing = False
        self._positions: Mapping[int, int] = {}
        self._moved: dict[int, float] = {}

    def look(
        self,
        now: float,
        attached: TopicFacts | None,
        positions: Mapping[int, int],
        *,
        is_failing: bool,
        is_working: bool,
    ) -> None:
        """Record what there is ``now``."""
        self._waited += (now - self._looked) / (_LONGER_AT_WORK if is_working else 1)
        self._looked = now
        is_another = attached is not None and attached != self._attached
        if is_another or (self._was_failing and not is_failing):
            self._began = self._latest = self._waited
            self._moved.clear()
        moved = [partition for partition, at in positions.items() if self._positions.get(partition) != at]
        if moved:
            self._latest = self._waited
            self._moved |= dict.fromkeys(moved, self._waited)
        self._attached = attached or self._attached
        self._was_failing, self._positions = is_failing, positions

    def stuck(self, stall_timeout: float, behind: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the partitions of ``behind`` that make no progress, None while there is progress.

        Where others move, a partition gets longer: Kafka's client hands out long runs of one partition after another.
        """
        if self._waited - self._latest > stall_timeout:
            return behind
        limit = _LONGER_WHILE_OTHERS_MOVE * stall_timeout
        return tuple(p for p in behind if self._waited - self._moved.get(p, self._began) > limit) or None


class Barrier:
    """Waits for one binding."""

    def __init__(self, binding: TopicBinding, clock: Clock) -> None:
        self._binding = binding
        self._clock = clock

    def read_fresh(
        self, take: Callable[[Materializer], T], *, stall_timeout: float, on_wait: OnWait | None = None
    ) -> T:
        """Return what ``take`` returns once everything that is in the topic now is in the view; see ``wait_until_fresh``."""
        materializer = self._binding.required()
        while True:
            generation = materializer.exchange.generation
            self.wait_until_fresh(stall_timeout=stall_timeout, on_wait=on_wait)
            result = take(materializer)
            # Another generation: rows were removed between the wait and the read.
            if materializer.exchange.generation == generation:
                return result

    def wait_until_fresh(self, *, stall_timeout: float, on_wait: OnWait | None = None) -> None:
        """Return once the view holds everything that is in the topic now.

        Raises
        ------
        NotReadyError
            When no progress is made for ``stall_timeout`` seconds, naming the partitions that are behind.
        KtframeError
            The error that made the binding fail, or that of the cluster when it can't be asked.
        """
        policy, rows = WaitPolicy(stall_timeout, on_wait=on_wait), self._binding.required()
        while True:
            facts, ends = self._binding.contact.ask(rows)
            self._binding.try_again()  # the cluster answers
            if self._wait_for(ends, facts, policy).topic_id == facts.topic_id:
                return

    def wait_until_passed(
        self, ends: Mapping[int, int], *, stall_timeout: float, on_wait: OnWait | None = None
    ) -> None:
        """Return once the view holds the records before ``ends``; raises as ``wait_until_fresh`` does."""
        with self._binding.contact.asking():
            facts = self._binding.contact.look_again()
        self._wait_for(ends, facts, WaitPolicy(stall_timeout, on_wait=on_wait))

    def wait_until_loaded(self, *, stall_timeout: float, on_wait: OnWait | None = None) -> None:
        """Return once the stored rows are in the view; the cluster is not asked."""
        self._wait(WaitPolicy(stall_timeout, on_wait=on_wait), lambda: self._binding.is_loaded, tuple)

    def wait_until_ready(
        self, *, stall_timeout: float, timeout: float | None = None, on_wait: OnWait | None = None
    ) -> None:
        """Return once everything that was in the topic when reading began is in the view."""
        policy = WaitPolicy(stall_timeout, timeout, on_wait)
        self._wait(policy, lambda: self._binding.monitor.is_ready, self._binding.monitor.behind)

    def _wait_for(self, ends: Mapping[int, int], facts: TopicFacts, policy: WaitPolicy) -> TopicFacts:
        """Return the facts of the topic once the view has passed ``ends``, or once the topic was recreated."""
        current = facts

        def behind() -> tuple[int, ...]:
            positions = self._positions()
            return tuple(partition for partition, end in ends.items() if positions.get(partition, 0) < end)

        def is_done() -> bool:
            nonlocal current
            if self._binding.attached is None:
                return False
            current = self._binding.attached
            return current.topic_id != facts.topic_id or not behind()

        with self._binding.goals.waiting_for(ends):
            self._wait(policy, is_done, behind)
        return current

    def _wait(
        self, policy: WaitPolicy, is_done: Callable[[], bool], behind: Callable[[], tuple[int, ...]]
    ) -> None:
        """Return once ``is_done``; raise when the binding has ended or the policy's time is over."""
        began = self._clock.monotonic()
        moves = _Moves(began)
        earlier = self._binding.retry.failure
        while True:
            with waiting_for(self._binding) as waits_for_itself, self._binding.changed:
                if is_done():
                    return
                self._raise_if_over(behind(), earlier)
                if waits_for_itself:
                    what = "a callback waits for rows that its own thread has to read"
                    raise self._not_ready(behind(), Reason.STALLED, what)
                self._binding.changed.wait(_WAKE_SECONDS)
            now = self._clock.monotonic()
            is_failing = self._binding.retry.failure is not None
            is_working = self._binding.activity.is_working
            rows = self._binding.required()
            # What is read again is progress, too, and what waits to be written with what follows.
            written = rows.written.positions() | rows.piece.positions
            moves.look(now, self._binding.attached, written, is_failing=is_failing, is_working=is_working)
            stuck = moves.stuck(policy.stall_timeout, behind())
            if stuck is not None:
                raise self._not_ready(stuck, Reason.STALLED, f"no progress for {policy.stall_timeout:g} s")
            if policy.timeout is not None and now - began > policy.timeout:
                reason = self._binding.readiness().reason
                raise self._not_ready(behind(), reason, f"not done after {policy.timeout:g} s")
            if policy.on_wait is not None:
                policy.on_wait(self._binding.readiness())

    def _positions(self) -> dict[int, int]:
        return self._binding.required().view.positions()

    def _raise_if_over(self, behind: tuple[int, ...], earlier: BaseException | None) -> None:
        failure = self._binding.retry.failure
        # A disk is tried again and again too, but only its user can make space: not after a wait. An error from before this
        # call may be over.
        needs_user = isinstance(failure, StoreError) and failure is not earlier
        if failure is not None and (self._binding.state is BindingState.FAILED or needs_user):
            if isinstance(failure, KtframeError):
                raise copy.copy(failure) from failure
            raise self._not_ready(behind, *explain(failure)[:2]) from failure
        if self._binding.state is BindingState.STOPPED:
            raise self._not_ready(behind, Reason.STOPPED, "it was closed while this call waited")

    def _not_ready(self, behind: tuple[int, ...], reason: Reason, detail: str) -> NotReadyError:
        failure, trouble = self._binding.retry.failure, self._binding.monitor.trouble
        cause = explain(failure) if failure else trouble
        last = f"; the last error was: {cause[1]}" if cause and reason is Reason.STALLED else ""
        hint: str | None = "to_polars(fresh=False) answers with what is there; status() tells more."
        if reason is Reason.STOPPED:
            hint = self._binding.readiness().hint
        return NotReadyError(self._binding.name, reason, detail + last, behind, hint)
