"""A topic bound to its store: reads, applies, recovers, until it is stopped.

One thread runs it. Any thread may wait for it, and stop it.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from threading import Condition, Event
from typing import TypeAlias

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    wait_exponential_jitter,
)

from ktframe.errors import KtframeError, NotReadyError, UnknownTopicError
from ktframe.events import BindingState, BindingStateChanged, Events, Reason, RowsChanged
from ktframe.kafka.cluster import Cluster
from ktframe.kafka.reader import BATCH_RECORDS, Reader
from ktframe.monitor import Clock, Readiness, ReadyMonitor
from ktframe.records import RecordBatch
from ktframe.settings import RetryPolicy
from ktframe.sync.health import BindingHealth, explain, is_worth_retrying
from ktframe.sync.materializer import Materializer
from ktframe.sync.resume import plan_resume
from ktframe.sync.states import check_transition

logger = logging.getLogger("ktframe.sync")

OnWait: TypeAlias = Callable[[Readiness], object]
"""Called some ten times a second while a call waits."""

_WAKE_SECONDS = 0.1
_FIRST_BATCH_SECONDS = 1.0
_COMMIT_SECONDS = 0.1


class TopicBinding:
    """Keeps one ``Materializer`` in step with its topic.

    ``open_reader`` and ``open_materializer`` are called by the binding's thread and by ``start`` respectively, so
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
        self._retry = retry
        self._flush_interval = flush_interval
        self._moved = Condition()
        self._stop = Event()
        self._reopen = Event()
        self._is_attached = False
        self._failure: BaseException | None = None
        self._failures = 0
        self._sessions = 0
        self._session_began = 0.0
        self._last_flush = clock.monotonic()
        self._newest: int | None = None

    # --- the binding's thread -------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Open the store; the caller's thread, so that what can't work fails where it was asked for."""
        self._cluster.topic(self.topic)
        self.materializer = self._open_materializer()

    def run(self) -> None:
        """Read until stopped or failed for good; the binding's own thread."""
        try:
            assert self.materializer is not None  # noqa: S101 - prepare() came first
            self._enter(BindingState.RESTORING, Reason.RESTORING)
            self.materializer.load()
            while not self._stop.is_set():
                self._reopen.clear()
                Retrying(
                    retry=retry_if_exception(is_worth_retrying),
                    stop=stop_after_attempt(self._retry.attempts),
                    wait=wait_exponential_jitter(
                        self._retry.initial_delay, self._retry.max_delay, jitter=self._retry.jitter
                    ),
                    sleep=sleep_using_event(self._stop),
                    after=self._note_failure,
                    before_sleep=self._back_off,
                    reraise=True,
                )(self._session)
        except Exception as error:  # noqa: BLE001 - whatever it was, readers must learn it
            self._fail(error)

    def _session(self) -> None:
        """Read from where the store stands until stopped, asked to reopen, or an error."""
        if self._stop.is_set():
            return
        self._sessions += 1
        self._session_began = self._clock.monotonic()
        self._enter(BindingState.RESTORING, Reason.RESTORING)
        positions = self._attach()
        reader = self._open_reader()
        try:
            reader.assign(positions)
            while not self._stop.is_set() and not self._reopen.is_set():
                batch = self._next_batch(reader)
                if batch is not None:
                    self._apply(batch)
                self._flush_when_due()
        finally:
            reader.close()

    def _attach(self) -> dict[int, int]:
        """Compare the store with the topic, drop what is no longer true, and return where to read on."""
        materializer = self._required()
        self._is_attached = False
        facts = self._cluster.topic(self.topic)
        partitions, topic_id = range(facts.partitions), facts.topic_id
        starts = self._cluster.start_offsets(self.topic, partitions)
        written = self._cluster.end_offsets(self.topic, partitions, committed=False)
        store = materializer.store
        stored = {partition: position.offset for partition, position in store.positions().items()}
        is_recreated = None not in (store.topic_id, topic_id) and store.topic_id != topic_id
        plan = plan_resume(stored, starts, written, is_recreated=is_recreated)
        for partition, why in plan.forget.items():
            logger.warning("%s[%d] is built again from the start of the log: %s", self.topic, partition, why)
        if plan.forget or store.topic_id != topic_id:
            materializer.forget(None if is_recreated else sorted(plan.forget), topic_id=topic_id)
        materializer.advance(plan.positions)
        self.monitor.begin(plan.positions, self._cluster.end_offsets(self.topic, partitions))
        with self._moved:
            self._is_attached = True
            self._moved.notify_all()
        self._follow_readiness()
        return plan.positions

    def _next_batch(self, reader: Reader) -> RecordBatch | None:
        batch = reader.poll()
        if batch is None or not self._required().is_schema_open:
            return batch
        # The fields are inferred from the first batch: the more records it has, the better.
        deadline = self._clock.monotonic() + _FIRST_BATCH_SECONDS
        while len(batch) < BATCH_RECORDS and self._clock.monotonic() < deadline and not self._stop.is_set():
            more = reader.poll()
            if more is None:
                break
            batch += more
        return batch

    def _apply(self, batch: RecordBatch) -> None:
        materializer = self._required()
        if not len(batch):
            materializer.advance(batch.positions)
            changed = 0
        else:
            changes = materializer.apply(batch)
            changed = len(changes)
            newest = max(changes.stream_times.values(), default=None)
            self._newest = newest if self._newest is None else max(self._newest, newest or self._newest)
        self.monitor.observe(batch.positions, records=len(batch), newest=self._newest)
        conflicts = sum(position.conflicts for position in materializer.store.positions().values())
        self.monitor.note_conflicts(conflicts, "pass schema={...} with the dtypes you want, or see errors()")
        with self._moved:
            self._moved.notify_all()
        self._follow_readiness()
        if changed:
            self.events.emit(RowsChanged(changed, materializer.view.positions(), self._clock.now()))

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
        level = logging.ERROR if state is BindingState.FAILED else logging.INFO
        logger.log(level, "%s: %s -> %s%s", self.topic, old, state, f" ({error})" if error else "")
        self.events.emit(BindingStateChanged(old, state, reason, error, self._clock.now()))
        with self._moved:
            self._moved.notify_all()

    def _follow_readiness(self) -> None:
        """Let the state say what the monitor found."""
        if self.monitor.is_ready:
            self._enter(BindingState.READY, Reason.READY)
            self._failure = None
        elif self.state is BindingState.READY:
            self._enter(BindingState.LAGGING, Reason.LAGGING)

    def _note_failure(self, attempt: RetryCallState) -> None:
        if self._clock.monotonic() - self._session_began >= self._retry.healthy_after:
            attempt.attempt_number = 1  # a healthy spell: faults far apart never add up
        self._failures = attempt.attempt_number
        self._failure = attempt.outcome.exception() if attempt.outcome else None
        self.monitor.suspend()

    def _back_off(self, _attempt: RetryCallState) -> None:
        assert self._failure is not None  # noqa: S101 - _note_failure came first
        reason, detail, _ = explain(self._failure)
        self._enter(BindingState.BACKING_OFF, reason, detail)

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self.monitor.suspend()
        logger.debug("%s failed", self.topic, exc_info=error)
        reason, detail, _ = explain(error)
        self._enter(BindingState.FAILED, reason, detail)

    # --- any thread -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Measure the lag, and look whether the topic is still the one that is read."""
        partitions = self._look_again()
        ends = self._cluster.end_offsets(self.topic, partitions)
        written = self._cluster.end_offsets(self.topic, partitions, committed=False)
        self.held_back = sum(max(0, written[partition] - end) for partition, end in ends.items())
        self.monitor.check(ends)
        self._follow_checked()

    def _look_again(self) -> range:
        """Return the topic's partitions; have it opened again if there are new ones, or if it is another topic."""
        try:
            facts = self._cluster.topic(self.topic)
        except UnknownTopicError:
            self._reopen.set()
            raise
        store = self._required().store
        if self._is_attached and (facts.topic_id != store.topic_id or facts.partitions != len(store.positions())):
            # Kafka would let us read on at the old offset in the new topic: only its id tells them apart.
            with self._moved:
                self._is_attached = False
            self._reopen.set()
        return range(facts.partitions)

    def _follow_checked(self) -> None:
        if self.state in (BindingState.READY, BindingState.LAGGING):
            self._follow_readiness()

    def wait_until_fresh(self, *, stall_timeout: float, on_wait: OnWait | None = None) -> None:
        """Return once the view holds everything that is in the topic now.

        Raises
        ------
        NotReadyError
            When no progress is made for ``stall_timeout`` seconds, naming the partitions that are behind.
        KtframeError
            What made the binding fail, or the cluster unable to answer.
        """
        partitions = self._look_again()
        written = self._cluster.end_offsets(self.topic, partitions, committed=False)
        ends = self._cluster.end_offsets(self.topic, partitions)
        deadline = self._clock.monotonic() + _COMMIT_SECONDS
        while any(end < written[p] for p, end in ends.items()) and self._clock.monotonic() < deadline:
            # commit_transaction() may return some milliseconds before its records count as committed.
            self._stop.wait(_COMMIT_SECONDS / 10)
            ends = self._cluster.end_offsets(self.topic, partitions)
        self.wait_for(ends, stall_timeout=stall_timeout, on_wait=on_wait)

    def wait_until_ready(
        self, *, stall_timeout: float, timeout: float | None = None, on_wait: OnWait | None = None
    ) -> None:
        """Return once everything that was in the topic when reading began is in the view."""
        self._wait(
            lambda: self.monitor.is_ready, self.monitor.behind, stall_timeout=stall_timeout, timeout=timeout, on_wait=on_wait
        )

    def wait_for(self, ends: Mapping[int, int], *, stall_timeout: float, on_wait: OnWait | None = None) -> None:
        """Return once the view has passed ``ends``."""

        def behind() -> tuple[int, ...]:
            positions = self._positions()
            return tuple(partition for partition, end in ends.items() if positions.get(partition, 0) < end)

        self._wait(
            lambda: self._is_attached and not behind(), behind, stall_timeout=stall_timeout, on_wait=on_wait
        )

    def _wait(
        self,
        is_done: Callable[[], bool],
        behind: Callable[[], tuple[int, ...]],
        *,
        stall_timeout: float,
        timeout: float | None = None,
        on_wait: OnWait | None,
    ) -> None:
        """Wait as long as something moves; ``timeout`` bounds the whole wait, in seconds."""
        began = moved = self._clock.monotonic()
        seen: object = None
        while True:
            with self._moved:
                if is_done():
                    return
                self._raise_if_over(behind())
                self._moved.wait(_WAKE_SECONDS)
            now = self._clock.monotonic()
            marks = (self.state, self._is_attached, self._positions())
            if marks != seen:
                seen, moved = marks, now
            if now - moved > stall_timeout:
                raise self._not_ready(behind(), Reason.STALLED, f"no progress for {stall_timeout:g} s")
            if timeout is not None and now - began > timeout:
                raise self._not_ready(behind(), self.readiness().reason, f"not done after {timeout:g} s")
            if on_wait is not None:
                on_wait(self.readiness())

    def _positions(self) -> dict[int, int]:
        return {} if self.materializer is None else self.materializer.view.positions()

    def _raise_if_over(self, behind: tuple[int, ...]) -> None:
        if self.state is BindingState.FAILED:
            assert self._failure is not None  # noqa: S101 - _fail sets it first
            if isinstance(self._failure, KtframeError):
                raise copy.copy(self._failure) from self._failure
            raise self._not_ready(behind, *explain(self._failure)[:2]) from self._failure
        if self.state is BindingState.STOPPED:
            raise self._not_ready(behind, Reason.STOPPED, "it was closed while this call waited")

    def _not_ready(self, behind: tuple[int, ...], reason: Reason, detail: str) -> NotReadyError:
        failure = f"; the last error was: {explain(self._failure)[1]}" if self._failure else ""
        remedy = "to_polars(fresh=False) answers with what is there; status() tells more."
        return NotReadyError(self.topic, reason, detail + failure, behind, remedy)

    def readiness(self) -> Readiness:
        """Return where the table stands; never waits."""
        unwell = self.state in (BindingState.FAILED, BindingState.BACKING_OFF) and self._failure is not None
        return self.monitor.readiness(self.state, explain(self._failure) if unwell and self._failure else None)

    def health(self) -> BindingHealth:
        """Return how the binding fares; never waits."""
        readiness = self.readiness()
        newest = None if self._newest is None else datetime.fromtimestamp(self._newest / 1000, UTC)
        error = None if self._failure is None else explain(self._failure)[1]
        failures = self._failures if self._failure is not None else 0
        restarts = max(0, self._sessions - 1)
        return BindingHealth(self.state, readiness.reason, error, failures, restarts, readiness.rate, newest)

    def stop(self) -> None:
        """Ask the thread to end; it does within a poll."""
        self._stop.set()

    def stopped(self) -> None:
        """Note that the thread has ended for good."""
        if self.state is not BindingState.STOPPED:
            self._enter(BindingState.STOPPED, Reason.STOPPED)
        self.monitor.suspend()

    def _required(self) -> Materializer:
        assert self.materializer is not None  # noqa: S101 - prepare() came first
        return self.materializer
