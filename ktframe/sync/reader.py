"""The reading side of a binding: starts it at the first read, waits until it is up to date, shows the progress."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar

from ktframe.clock import Clock, SystemClock, now_ms
from ktframe.config.durations import parse_duration_ms
from ktframe.errors import ContextClosedError, StoreError
from ktframe.events import BindingState
from ktframe.process.forks import Owner
from ktframe.process.threads import uninterrupted, uninterruptible
from ktframe.sync.barrier import Barrier, OnWait
from ktframe.sync.binding import TopicBinding
from ktframe.sync.history import LagHistory
from ktframe.sync.manager import BindingManager
from ktframe.sync.materializer import Materializer
from ktframe.sync.monitor import Readiness
from ktframe.sync.progress import Progress

T = TypeVar("T")


class BindingReader:
    """Reads from one binding, for one or several tables. Any thread may call it."""

    def __init__(
        self,
        binding: TopicBinding,
        barrier: Barrier,
        bindings: BindingManager,
        *,
        stall_timeout: float,
        clock: Clock | None = None,
    ) -> None:
        self._owner = Owner(
            repr(binding.name)
        )  # first: it says why none of this can be sent to another process
        self.binding = binding
        self.history = LagHistory(binding.events)
        self.clock = clock or SystemClock()
        self._barrier = barrier
        self._bindings = bindings
        self._stall_timeout = stall_timeout

    @uninterruptible
    def started(self, *, restart: bool = False) -> Materializer:
        """Start the binding unless it runs, and return its rows; with ``restart`` also one that has failed."""
        self._owner.require_here()
        final = (BindingState.STOPPED,) if restart else (BindingState.STOPPED, BindingState.FAILED)
        if self.binding.state not in final:
            self._bindings.start(self.binding)
        materializer = self.binding.materializer
        if materializer is None or self.binding.state is BindingState.STOPPED:
            raise ContextClosedError(repr(self.binding.name))
        return materializer

    def present(self) -> Materializer | None:
        """Return the rows if the binding was started, without starting it."""
        self._owner.require_here()
        has_rows = self.binding.state not in (BindingState.CREATED, BindingState.STOPPED)
        return self.binding.materializer if has_rows else None

    def read(self, take: Callable[[Materializer], T], *, fresh: bool) -> T:
        """Return what ``take`` returns: once everything that is in the topic now is in the view, or at once.

        Raises
        ------
        ContextClosedError
            When the table is closed, or is being closed meanwhile.
        """
        return self._with_progress(lambda on_wait: self._read(take, on_wait, fresh=fresh), shown=fresh)

    def _read(self, take: Callable[[Materializer], T], on_wait: OnWait, *, fresh: bool) -> T:
        materializer = self.started(restart=fresh)
        try:
            if not fresh:
                self._barrier.wait_until_loaded(stall_timeout=self._stall_timeout, on_wait=on_wait)
                return materializer.exchange.read(lambda: take(materializer))
            return self._barrier.read_fresh(take, stall_timeout=self._stall_timeout, on_wait=on_wait)
        except StoreError as error:
            if error.is_closed:
                raise ContextClosedError(repr(self.binding.name)) from error
            raise

    def wait_until_passed(self, ends: Mapping[int, int]) -> None:
        """Wait until the records before ``ends`` (an offset per partition) are in the view."""

        def wait(on_wait: OnWait) -> None:
            self.started(restart=True)
            self._barrier.wait_until_passed(ends, stall_timeout=self._stall_timeout, on_wait=on_wait)

        self._with_progress(wait, shown=True)

    def wait_until_ready(self, timeout: float | str | timedelta | None, *, progress: bool) -> Readiness:
        """Wait until everything that was in the topic when reading began is in the view."""
        seconds = None if timeout is None else parse_duration_ms(timeout) / 1000

        def wait(on_wait: OnWait) -> Readiness:
            self.started(restart=True)
            self._barrier.wait_until_ready(
                stall_timeout=self._stall_timeout, timeout=seconds, on_wait=on_wait
            )
            return self.binding.readiness()

        return self._with_progress(wait, shown=progress)

    def relearn(self) -> None:
        """Forget what decides the types of fields, and begin to read the topic again."""
        self.started(restart=True)
        self.binding.relearn()

    def now_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        return now_ms(self.clock)

    def idle_partitions(self, idle_after: float) -> tuple[int, ...]:
        """Return the partitions that have had no record for ``idle_after`` seconds, since reading began.

        A partition that is known to have unread records is not idle, nor is any while the binding does not read or Kafka
        does not tell what there is.
        """
        is_reading = self.binding.state in (BindingState.READY, BindingState.LAGGING)
        if not is_reading or self.binding.attached is None or self.binding.monitor.trouble is not None:
            return ()
        quiet, lagging = self.binding.activity.quiet(), self.binding.monitor.lagging()
        return tuple(p for p, seconds in quiet.items() if seconds >= idle_after and p not in lagging)

    def _with_progress(self, wait: Callable[[OnWait], T], *, shown: bool) -> T:
        """Return what ``wait`` returns, and show the progress that it tells of."""
        if not shown:
            return uninterrupted(wait)
        progress = Progress()
        try:
            return uninterrupted(wait, progress)
        finally:
            if progress.is_shown:
                progress.close(uninterrupted(lambda _: self.binding.readiness()))
