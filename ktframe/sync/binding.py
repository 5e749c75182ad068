"""A topic bound to its store: reads, applies, recovers, until it is stopped.

One thread runs it, and alone changes its state while it lives. Any thread may wait for it, and stop it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Condition, Event, Lock
from typing import TypeVar

from ktframe.errors import KtframeError, NotReadyError, UnknownTopicError
from ktframe.events import BindingState, BindingStateChanged, Events, Reason, RowsChanged
from ktframe.kafka.cluster import Cluster, TopicFacts
from ktframe.kafka.reader import BATCH_RECORDS, Reader
from ktframe.monitor import Clock, Readiness, ReadyMonitor
from ktframe.records import RecordBatch
from ktframe.settings import RetryPolicy
from ktframe.sync.health import BindingHealth, explain
from ktframe.sync.materializer import Materializer
from ktframe.sync.patience import OnWait, Patience
from ktframe.sync.restarts import Restarts
from ktframe.sync.resume import resume
from ktframe.sync.states import check_transition

logger = logging.getLogger("ktframe.sync")

T = TypeVar("T")

_FIRST_BATCH_SECONDS = 1.0
_COMMIT_SECONDS = 0.1
_LEVELS = {BindingState.BACKING_OFF: logging.WARNING, BindingState.FAILED: logging.ERROR}


class TopicBinding:
    """Keeps one ``Materializer`` in step with its topic.

    ``open_reader`` and ``open_materializer`` are called by the binding's thread and by ``prepare`` respectively, so
    that nothing is opened before somebody asks for rows.
    """

    def __init__(
        self,
        topic: str,
        *,
        cluster: Cluster,
        open_materializer: Callable[[], Materializer],
        open_reader: Callable[[], Reader],
        events: Events,
        clock: Clock,
        retry: RetryPolicy,
        flush_interval: Callable[[], float],
    ) -> None:
        self.topic = topic
        self.events = events
        self.monitor = ReadyMonitor(topic, events, clock)
        self.state = BindingState.CREATED
        self.materializer: Materializer | None = None
        self.held_back = 0
        """Offsets behind the first record of an open transaction, at the last check: not waited for."""
        self._cluster = cluster
        self._open_materializer = open_materializer
        self._open_reader = open_reader
        self._clock = clock
        self._restarts = Restarts(retry, clock, on_failure=self._back_off)
        self._flush_interval = flush_interval
        self._preparing = Lock()
        self._moved = Condition()
        self._stop = Event()
        self._reopen = Event()
        self._is_loaded = False
        self._attached: TopicFacts | None = None
        """The topic that the view is a picture of; None while that is being found out."""
        self._last_flush = clock.monotonic()
        self._newest: int | None = None

    # --- before and after the thread's life -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Open the store; the caller's thread, so that what can't work fails where it was asked for."""
        with self._preparing:
            if self.materializer is None:
                self._cluster.topic(self.topic)
                self.materializer = self._open_materializer()

    def begin(self) -> None:
        """Note that the thread is about to run: from here on an earlier failure is history."""
        self._enter(BindingState.RESTORING, Reason.RESTORING)

    def stop(self) -> None:
        """Ask the thread to end; it does within a poll."""
        self._stop.set()
        self._restarts.hurry()

    def stopped(self) -> None:
        """Note that the thread has ended for good."""
        self._enter(BindingState.STOPPED, Reason.STOPPED)
        self.monitor.suspend(Reason.STOPPED)

    # --- the binding's thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read until stopped or failed for good; the binding's own thread."""
        try:
            while not self._stop.is_set():
                self._reopen.clear()
                self._restarts.run(self._session)
        except BaseException as error:  # noqa: BLE001 - whatever it was (a panic too), readers must learn it
            if not self._stop.is_set():
                self._fail(error)

    def _session(self) -> None:
        """Read from where the store stands until stopped, asked to reopen, or an error."""
        if self._stop.is_set():
            return
        self._enter(BindingState.RESTORING, Reason.RESTORING)
        positions = self._attach()
        reader = self._open_reader()
        try:
            reader.assign(positions)
            while not self._stop.is_set() and not self._reopen.is_set():
                batch = self._next_batch(reader)
                if batch is not None:
                    self._apply(batch)
                self._follow_readiness()
                self._flush_when_due()
        finally:
            reader.close()

    def _attach(self) -> dict[int, int]:
        """Bring the store in line with the topic, and return where to read on."""
        self._attached = None
        self._required().reconcile()
        self._is_loaded = True
        self._tell()
        found = resume(self._required(), self._cluster, self.topic)
        ends = self._cluster.end_offsets(self.topic, found.positions)
        self.monitor.begin(found.positions, ends, records=found.passed)
        self._attached = found.facts
        self._tell()
        return found.positions

    def _next_batch(self, reader: Reader) -> RecordBatch | None:
        batch = reader.poll()
        if batch is None or not self._required().is_schema_open:
            return batch
        # The fields are inferred from the first batch: the more of what is there it has, the better.
        deadline = self._clock.monotonic() + _FIRST_BATCH_SECONDS
        while len(batch) < BATCH_RECORDS and self.monitor.behind(batch.positions) and not self._stop.is_set():
            more = reader.poll()
            if more is None or self._clock.monotonic() > deadline:
                return batch if more is None else batch + more
            batch += more
        return batch

    def _apply(self, batch: RecordBatch) -> None:
        materializer = self._required()
        changed = 0
        if len(batch):
            changes = materializer.apply(batch)
            changed = len(changes)
            times = (self._newest, *changes.stream_times.values())
            self._newest = max((time for time in times if time is not None), default=None)
        else:
            materializer.advance(batch.positions)
        self.monitor.observe(batch.positions, records=len(batch), newest=self._newest)
        self._tell()
        if changed:
            self.events.emit(RowsChanged(changed, materializer.view.positions(), self._clock.now()))

    def _tell(self) -> None:
        """Let everybody know what the store holds now."""
        conflicts = sum(position.conflicts for position in self._required().store.positions().values())
        self.monitor.note_conflicts(conflicts, "pass schema={...} with the dtypes you want, or see errors()")
        self._follow_readiness()
        with self._moved:
            self._moved.notify_all()

    def _flush_when_due(self) -> None:
        now = self._clock.monotonic()
        if now - self._last_flush >= self._flush_interval():
            self._required().store.flush()
            self._last_flush = now

    # --- states ---------------------------------------------------------------------------------------------------

    def _enter(self, state: BindingState, reason: Reason, error: str | None = None) -> None:
        if state is self.state:
            return
        check_transition(self.state, state)
        old, self.state = self.state, state
        level = _LEVELS.get(state, logging.INFO)
        logger.log(level, "%s: %s -> %s%s", self.topic, old, state, f" ({error})" if error else "")
        self.events.emit(BindingStateChanged(old, state, reason, error, self._clock.now()))
        with self._moved:
            self._moved.notify_all()

    def _follow_readiness(self) -> None:
        """Let the state say what the monitor found."""
        if self.monitor.is_ready:
            self._enter(BindingState.READY, Reason.READY)
            self._restarts.note_well()
        elif self.state is BindingState.READY:
            self._enter(BindingState.LAGGING, Reason.LAGGING)

    def _back_off(self, failure: BaseException) -> None:
        reason, detail, _ = explain(failure)
        self.monitor.suspend(reason)
        self._enter(BindingState.BACKING_OFF, reason, detail)

    def _fail(self, failure: BaseException) -> None:
        self._restarts.failure = failure
        reason, detail, _ = explain(failure)
        self.monitor.suspend(reason)
        logger.debug("%s failed", self.topic, exc_info=failure)
        self._enter(BindingState.FAILED, reason, detail)

    # --- any thread -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Measure the lag, and look whether the topic is still the one that is read."""
        partitions = range(self._look_again().partitions)
        ends = self._cluster.end_offsets(self.topic, partitions)
        written = self._cluster.end_offsets(self.topic, partitions, committed=False)
        self.held_back = sum(max(0, written[partition] - end) for partition, end in ends.items())
        self.monitor.check(ends)

    def _look_again(self) -> TopicFacts:
        """Return the topic as it is; have it opened again if it has new partitions, or if it is another topic."""
        try:
            facts = self._cluster.topic(self.topic)
        except UnknownTopicError:
            self._reopen.set()
            raise
        if self._attached not in (None, facts):
            # Kafka would let us read on at the old offset in the new topic: only its id tells them apart.
            self._attached = None
            self._reopen.set()
        return facts

    def read_fresh(
        self, take: Callable[[Materializer], T], *, stall_timeout: float, on_wait: OnWait | None = None
    ) -> T:
        """Return what ``take`` finds once everything that is in the topic now is there; see ``wait_until_fresh``."""
        materializer = self._required()
        while True:
            generation = materializer.generation
            self.wait_until_fresh(stall_timeout=stall_timeout, on_wait=on_wait)
            taken = take(materializer)
            if materializer.generation == generation:  # else rows went between the wait and the look
                return taken

    def wait_until_fresh(self, *, stall_timeout: float, on_wait: OnWait | None = None) -> None:
        """Return once the view holds everything that is in the topic now.

        Raises
        ------
        NotReadyError
            When no progress is made for ``stall_timeout`` seconds, naming the partitions that are behind.
        KtframeError
            What made the binding fail, or the cluster unable to answer.
        """
        patience = Patience(stall_timeout, on_wait=on_wait)
        while True:
            facts = self._look_again()
            ends = self._committed_ends(range(facts.partitions))
            if self.state is BindingState.BACKING_OFF:
                self._restarts.hurry()  # the cluster answers
            if self._wait_for(ends, facts, patience).topic_id == facts.topic_id:
                return

    def _committed_ends(self, partitions: range) -> dict[int, int]:
        written = self._cluster.end_offsets(self.topic, partitions, committed=False)
        ends = self._cluster.end_offsets(self.topic, partitions)
        deadline = self._clock.monotonic() + _COMMIT_SECONDS
        while any(end < written[p] for p, end in ends.items()) and self._clock.monotonic() < deadline:
            # commit_transaction() may return some milliseconds before its records count as committed.
            self._stop.wait(_COMMIT_SECONDS / 10)
            ends = self._cluster.end_offsets(self.topic, partitions)
        return ends

    def wait_until_loaded(self, *, stall_timeout: float) -> None:
        """Return once the view holds what the store held when it was opened; no cluster is asked."""
        self._wait(Patience(stall_timeout), lambda: self._is_loaded, tuple)

    def wait_until_ready(
        self, *, stall_timeout: float, timeout: float | None = None, on_wait: OnWait | None = None
    ) -> None:
        """Return once everything that was in the topic when reading began is in the view."""
        patience = Patience(stall_timeout, timeout, on_wait)
        self._wait(patience, lambda: self.monitor.is_ready, self.monitor.behind)

    def _wait_for(self, ends: Mapping[int, int], facts: TopicFacts, patience: Patience) -> TopicFacts:
        """Return the topic of the view once this has passed ``ends`` of ``facts``, or is of another topic."""
        seen = facts

        def behind() -> tuple[int, ...]:
            positions = self._positions()
            return tuple(partition for partition, end in ends.items() if positions.get(partition, 0) < end)

        def is_done() -> bool:
            nonlocal seen
            if self._attached is None:
                return False
            seen = self._attached
            return seen.topic_id != facts.topic_id or not behind()

        self._wait(patience, is_done, behind)
        return seen

    def _wait(
        self, patience: Patience, is_done: Callable[[], bool], behind: Callable[[], tuple[int, ...]]
    ) -> None:
        def is_over() -> bool:
            if is_done():
                return True
            self._raise_if_over(behind())
            return False

        given_up = patience.wait(
            is_over,
            moved=self._moved,
            marks=lambda: (self.state, self._attached, self._positions()),
            readiness=self.readiness,
            clock=self._clock,
        )
        if given_up is not None:
            raise self._not_ready(behind(), *given_up)

    def _positions(self) -> dict[int, int]:
        return {} if self.materializer is None else self.materializer.view.positions()

    def _raise_if_over(self, behind: tuple[int, ...]) -> None:
        failure = self._restarts.failure
        if self.state is BindingState.FAILED and failure is not None:
            if isinstance(failure, KtframeError):
                raise copy.copy(failure) from failure
            raise self._not_ready(behind, *explain(failure)[:2]) from failure
        if self.state is BindingState.STOPPED:
            raise self._not_ready(behind, Reason.STOPPED, "it was closed while this call waited")

    def _not_ready(self, behind: tuple[int, ...], reason: Reason, detail: str) -> NotReadyError:
        failure = self._restarts.failure
        last = f"; the last error was: {explain(failure)[1]}" if failure and reason is Reason.STALLED else ""
        remedy = "to_polars(fresh=False) answers with what is there; status() tells more."
        return NotReadyError(self.topic, reason, detail + last, behind, remedy)

    def readiness(self) -> Readiness:
        """Return where the table stands; never waits."""
        failure = self._restarts.failure
        is_unwell = failure is not None and self.state in (BindingState.FAILED, BindingState.BACKING_OFF)
        return self.monitor.readiness(self.state, explain(failure) if failure and is_unwell else None)

    def health(self) -> BindingHealth:
        """Return how the binding fares; never waits."""
        failure, readiness = self._restarts.failure, self.readiness()
        return BindingHealth(
            state=self.state,
            reason=readiness.reason,
            last_error=None if failure is None else explain(failure)[1],
            consecutive_failures=0 if failure is None else self._restarts.failures,
            restarts=max(0, self._restarts.sessions - 1),
            rate=readiness.rate,
            last_record_at=None if self._newest is None else datetime.fromtimestamp(self._newest / 1000, UTC),
        )

    def _required(self) -> Materializer:
        assert self.materializer is not None  # noqa: S101 - prepare() came first
        return self.materializer
