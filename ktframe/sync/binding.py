"""A topic bound to its store: the loop that reads, applies and recovers until it is stopped.

One thread runs it, and only that thread changes its state while it runs. Any thread may wait for it and stop it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from threading import Condition, Event, Lock

from ktframe.clock import Clock, now_ms
from ktframe.config.moments import Start
from ktframe.config.settings import RetryPolicy
from ktframe.errors import BrokerUnreachableError, ContextClosedError
from ktframe.events import BindingState, Events, Reason, RowsChanged, TableRebuilt
from ktframe.fold.begun import begun, cut, is_large
from ktframe.fold.records import RecordBatch
from ktframe.kafka.protocol import Cluster, TopicFacts
from ktframe.kafka.reader import Reader
from ktframe.store.protocol import StateStore
from ktframe.sync.activity import Activity
from ktframe.sync.beginning import Beginning
from ktframe.sync.callbacks import runs
from ktframe.sync.contact import Contact
from ktframe.sync.goals import Goals
from ktframe.sync.health import explain
from ktframe.sync.lifecycle import Lifecycle
from ktframe.sync.materializer import Materializer
from ktframe.sync.missing import Missing
from ktframe.sync.monitor import Readiness, ReadyMonitor
from ktframe.sync.read_ahead import FULL_BATCH, ReadAhead, first_batch
from ktframe.sync.relearning import Relearning
from ktframe.sync.resume import must_resume, resume
from ktframe.sync.retry import Retry
from ktframe.sync.upkeep import Upkeep

logger = logging.getLogger("ktframe.sync")


class TopicBinding:
    """Keeps one ``Materializer`` in step with its topic.

    ``open_reader`` and ``open_materializer`` are called by the binding's thread and by ``prepare`` respectively, so
    that nothing is opened before rows are read.
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
        monitor_interval: Callable[[], float],
        name: str | None = None,
        start: Start | None = None,
    ) -> None:
        self.topic = topic
        self.name = name or topic
        self.beginning = Beginning(start)
        self.events = events
        self.monitor = ReadyMonitor(self.name, events, clock, interval=monitor_interval)
        self.life = Lifecycle(self.name, events, clock)
        self.materializer: Materializer | None = None
        self.is_loaded = False
        """Whether the stored rows are in the view."""
        self.attached: TopicFacts | None = None
        """The topic that the view shows; None while that is being found out."""
        self.activity = Activity(clock)
        self._relearning = Relearning(topic, cluster)
        self.retry = Retry(retry, clock, on_failure=self._back_off)
        self._reader: Reader | None = None
        self._cluster = cluster
        self._open_materializer = open_materializer
        self._open_reader = open_reader
        self._clock = clock
        self._preparing = Lock()
        self._stop = Event()
        self._reopen = Event()
        self.contact = Contact(
            topic,
            cluster,
            self.monitor,
            clock,
            attached=lambda: self.attached,
            try_again=self.try_again,
            reopen=self._reopen.set,
            read_again=self._read_again,
        )
        self.goals = Goals()
        self._upkeep = Upkeep(clock, flush_interval)
        self._ends: Mapping[int, int] = {}
        """The ends of what was committed when reading began."""

    @property
    def state(self) -> BindingState:
        """The state that it is in."""
        return self.life.state

    @property
    def changed(self) -> Condition:
        """Notified whenever positions or the state change."""
        return self.life.changed

    @property
    def is_stopping(self) -> bool:
        """Whether ``stop`` was called."""
        return self._stop.is_set()

    # --- before and after the thread's life -----------------------------------------------------------------------

    def prepare(self) -> None:
        """Open the store, on the caller's thread, so that the caller gets the error if that fails, or was stopped."""
        if self.materializer is None:
            self._cluster.topic(self.topic)  # outside the lock: closing need not wait for the cluster
        with self._preparing:
            if self.is_stopping:
                raise ContextClosedError(repr(self.name))
            if self.materializer is None:
                self.materializer = self._open_materializer()

    def release(self, close_store: Callable[[StateStore], object]) -> None:
        """Close the store, if one is open, after ``stop``: from then on nothing can be written, by whatever thread."""
        with self._preparing:
            if self.materializer is not None:
                close_store(self.materializer.store)

    def stop(self) -> None:
        """Ask the thread to end; it ends after its current poll."""
        self._stop.set()
        self.retry.wake()

    def stopped(self) -> None:
        """Enter STOPPED, after the thread has ended."""
        self.life.enter(BindingState.STOPPED, Reason.STOPPED)
        self.monitor.suspend(Reason.STOPPED)

    # --- the binding's thread -------------------------------------------------------------------------------------

    def run(self) -> None:
        """Read until stopped or failed for good; the binding's own thread."""
        runs(self)
        try:
            while not self._stop.is_set():
                self._reopen.clear()
                self.retry.run(self._session)
            if self.is_loaded:
                self._upkeep.settle(self.required())
        except BaseException as error:  # noqa: BLE001 - readers must learn of any error, a panic too
            if not self._stop.is_set():
                self._fail(error)

    def _session(self) -> None:
        """Read from the stored positions until stopped, asked to reopen, or an error."""
        if self._stop.is_set():
            return
        self.life.enter(BindingState.RESTORING, Reason.RESTORING)
        try:
            positions = self._attach()
            reader = self._opened_reader()
            reader.assign(positions)
            while not self._stop.is_set() and not self._reopen.is_set():
                batch = self._next_batch(reader)
                if batch is None:
                    self._apply()
                    self.contact.quiet()
                else:
                    self.contact.heard()
                    with self.activity.working():
                        self._take(batch)
                self._follow_readiness()
                self._upkeep.do(self.required(), is_ready=self.monitor.is_ready, apply=self._apply)
        finally:
            self._end_session()

    def _end_session(self) -> None:
        """Apply what was read before an error, so that the next session goes on behind it, and close the reader."""
        try:
            if self._stop.is_set():
                self.required().piece.clear()
            self._apply()
        finally:
            self.contact.closed()
            if self._reader is not None:
                self._reader.close()
                self._reader = None

    def _opened_reader(self) -> Reader:
        """Return the reader of this session."""
        if self._reader is None:
            in_parts = partial(cut, decoder=self.required().decoder)
            self._reader = ReadAhead(self._open_reader(), self._begun, in_parts)
        return self._reader

    def _attach(self) -> dict[int, int]:
        """Bring the store in line with the topic, and return where to read on."""
        self.attached = None
        materializer = self.required()
        emptied = materializer.recover()
        learned = materializer.learned
        if learned.differing and not self.is_loaded:
            self._relearning.ask_for(materializer, learned, is_ready=False)
        emptied |= self._relearning.begin(materializer)
        self.beginning.look_up(now_ms(self._clock))
        with self.activity.working():
            materializer.reconcile()
        self.is_loaded = True
        self._announce()
        resumed = resume(
            materializer,
            self._cluster,
            self.topic,
            self.beginning,
            first_records=lambda offsets: self._opened_reader().first_records(offsets, self._stop.is_set),
        )
        self.beginning.passed(skips_records=resumed.skips_records)
        emptied |= resumed.emptied
        if emptied:
            self.events.emit(TableRebuilt(emptied, self._clock.now()))
        self.activity.begin(resumed.positions, anew=emptied.keys() | materializer.store.rebuilds())
        asked = materializer.presence.now()
        ends = self._cluster.end_offsets(self.topic, resumed.positions)
        materializer.presence.look(asked, ends, resumed.positions)
        self._ends = ends
        self.monitor.rebuilt = {p: rebuild.why for p, rebuild in materializer.store.rebuilds().items()}
        materializer.switch(ends)
        self._tell(resumed.dropped or None)
        self.monitor.begin(resumed.positions, ends)
        self.attached = resumed.facts
        self.contact.follow_leaders(materializer)
        if self._relearning.is_due:  # asked for meanwhile, on another thread
            self.attached = None
        self._announce()
        return resumed.positions

    def _next_batch(self, reader: Reader) -> RecordBatch | None:
        if not self.required().is_schema_open:
            return reader.poll()
        return first_batch(
            reader,
            self._clock,
            lambda batch: self._is_behind(batch.positions) and not is_large(batch, self.required().decoder),
        )

    def _is_behind(self, positions: Mapping[int, int]) -> bool:
        return bool(self.monitor.behind(positions)) and not self._stop.is_set()

    def _begun(self, batch: RecordBatch) -> RecordBatch:
        """Return ``batch``; if more is there to be read meanwhile, what can be is begun."""
        rows = self.required()
        return begun(batch, rows.decoder, rows.schema) if self._is_behind(batch.positions) else batch

    def _take(self, batch: RecordBatch) -> None:
        """Decode ``batch``, and apply it now unless it may wait for those that follow."""
        if must_resume(self.required(), batch):
            self._read_again()
            return
        self.activity.heard(batch.partitions)
        for part in self.required().decoder.parts(batch):
            self._take_part(part)
            if self._reopen.is_set():  # what it has taught may have the whole topic read again
                break

    def _take_part(self, batch: RecordBatch) -> None:
        materializer = self.required()
        if not batch:
            self._apply()
            materializer.advance(batch.positions)
            self._applied(batch.positions, None)
        else:
            changes = materializer.decode(batch)
            may_wait = materializer.piece.may_take(changes, materializer.schema)
            if materializer.piece and not may_wait:
                self._apply()
                changes = materializer.decode(batch)
            is_ready = self.monitor.is_ready
            if self._relearning.ask_if_outdated(materializer, changes.learned, is_ready=is_ready):
                self._read_again()
                return
            may_wait &= len(batch) >= FULL_BATCH
            materializer.collect(batch, changes)
            if not may_wait or materializer.piece.is_full or self._is_awaited(materializer.piece.positions):
                self._apply()
        if len(batch) < FULL_BATCH:  # nothing more is waiting to be read
            materializer.written.merge_when_idle()  # last: whoever waited for the batch does not wait for this

    def _is_awaited(self, positions: Mapping[int, int]) -> bool:
        """Say whether somebody waits for nothing more than what is before ``positions``, or there is nothing more."""
        are_ready = bool(self.monitor.behind()) and not self.monitor.behind(positions)
        there = {**self.required().written.positions(), **positions}
        return are_ready or not self.monitor.lagging(positions) or self.goals.are_reached(there)

    def _apply(self) -> None:
        """Apply what was read and decoded, if there is any."""
        materializer = self.required()
        if not materializer.piece:
            return
        positions = materializer.piece.positions
        with self.activity.working():
            changes = materializer.apply()
            self.activity.applied(changes.stream_times.values())
            self._applied(positions, materializer.written.count_shown(changes.frame) if changes else None)

    def _applied(self, positions: Mapping[int, int], changed: int | None) -> None:
        """Publish that everything before ``positions`` is applied, which ``changed`` so many rows."""
        materializer = self.required()
        materializer.presence.advance(positions)
        materializer.switch(self._ends)
        self.monitor.observe(positions, newest=self.activity.newest)
        self._announce()
        self._tell(changed)

    def _tell(self, rows: int | None) -> None:
        """Publish that a batch has come that changed so many ``rows``, and that those of some partitions were made anew."""
        switched = self.required().switched()
        if switched is not None:
            rows = switched.rows + (rows or 0)
            self.monitor.rebuilt = {}
            self.events.emit(TableRebuilt(switched.reasons, self._clock.now()))
        if rows is not None:
            self.events.emit(RowsChanged(rows, self.required().written.positions(), self._clock.now()))

    def _read_again(self) -> None:
        """Have the topic opened again; whoever waits for rows waits until then, and nothing says that it is ready."""
        self._reopen.set()
        self.attached = None
        self.monitor.suspend(Reason.RESTORING)

    def _announce(self) -> None:
        """Update the state, and wake everyone who waits for positions."""
        self._follow_readiness()
        self.life.tell()

    # --- states ---------------------------------------------------------------------------------------------------

    def _follow_readiness(self) -> None:
        """Enter READY or LAGGING as the monitor decides."""
        self.monitor.expire()
        if self.monitor.is_ready:
            self.life.enter(BindingState.READY, Reason.READY)
            self.retry.clear_failure()
        elif self.state is BindingState.READY:
            trouble = self.monitor.trouble
            self.life.enter(BindingState.LAGGING, *((Reason.LAGGING,) if trouble is None else trouble[:2]))

    def _back_off(self, failure: BaseException) -> None:
        reason, detail, _ = explain(failure)
        self.attached = None  # the log must be compared before reads are answered again
        if isinstance(failure, BrokerUnreachableError):
            self.monitor.lose_sight(explain(failure))
        self.monitor.suspend(reason)
        # One warning for an outage, however long it takes.
        self.life.enter(BindingState.BACKING_OFF, reason, detail, is_news=self.retry.failures == 1)

    def _fail(self, failure: BaseException) -> None:
        self.retry.failure, self.contact.held_back = failure, 0
        reason, detail, _ = explain(failure)
        self.monitor.suspend(reason)
        logger.debug("%s failed", self.name, exc_info=failure)
        self.life.enter(BindingState.FAILED, reason, detail)

    # --- any thread -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Measure the lag, and check that the topic is still the one that is being read."""
        self.contact.ask(self.required(), is_check=True)

    def try_again(self) -> None:
        """Begin the next attempt to read now, if one is being waited for: there is reason to believe that it succeeds."""
        if self.state is BindingState.BACKING_OFF:
            self.retry.wake()

    def relearn(self) -> None:
        """Forget what was learned, and read the topic again; reads wait from now on until that is done."""
        self._relearning.ask()
        self._read_again()

    def readiness(self, missing: Missing | None = None) -> Readiness:
        """Return whether the table is ready, and if not, why; never waits.

        ``missing`` is what the rows that are shown lack, where these are not simply those of the store.
        """
        failure = self.retry.failure
        has_failed = failure is not None and self.state in (BindingState.FAILED, BindingState.BACKING_OFF)
        if missing is None and self.monitor.is_ready and self.materializer is not None:
            missing = Missing.of(self.materializer, self.topic)
        return self.monitor.readiness(
            self.state, explain(failure) if failure and has_failed else None, missing
        )

    def required(self) -> Materializer:
        """Return what ``prepare`` opened."""
        assert self.materializer is not None  # noqa: S101 - prepare() came first
        return self.materializer
