"""Looks after all bindings of a Context: has each of them checked every monitor interval, or sooner where that is due."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from typing import Final

from ktframe.clock import Clock, SystemClock
from ktframe.config.settings import RuntimeSettings
from ktframe.errors import KtframeError
from ktframe.events import BindingState, Reason
from ktframe.process.threads import has_ended, ours
from ktframe.sync.binding import TopicBinding

logger = logging.getLogger("ktframe.sync")

_LOOK_SECONDS: Final = 1.0
"""How long it sleeps at most: a broker that is back, and a computer that was asleep, are noticed after that."""
_JUMP_SECONDS: Final = 5.0
"""By how much the clocks may part ways between two looks; more means that the computer was asleep."""
_SLEPT: Final = "this computer was asleep"


class Watcher:
    """One thread that looks, and a short one for each check: a request that hangs keeps no other table from its check."""

    def __init__(
        self,
        runtime: RuntimeSettings,
        bindings: Callable[[], list[TopicBinding]],
        *,
        clock: Clock | None = None,
    ) -> None:
        self._runtime = runtime
        self._bindings = bindings
        self._clock = clock or SystemClock()
        self._stop = Event()
        self._wake = Event()
        self._thread: Thread | None = None
        self._checks: dict[TopicBinding, Thread] = {}
        self._asked: dict[TopicBinding, float] = {}
        self._looked = self._times()

    def start(self) -> None:
        """Start looking, unless it does so already."""
        if self._thread is None or not self._thread.is_alive():
            self._thread = Thread(target=ours(self._run), name="ktframe-monitor", daemon=True)
            self._thread.start()

    def reschedule(self) -> None:
        """Apply a changed monitor interval now."""
        self._wake.set()

    def stop(self, timeout: float) -> None:
        """Stop looking; wait ``timeout`` seconds in all for the checks under way. A second call does nothing."""
        self._stop.set()
        self._wake.set()
        deadline = time.monotonic() + timeout
        for thread in (self._thread, *self._checks.copy().values()):
            if thread is not None and thread.is_alive():
                has_ended(thread, max(0.0, deadline - time.monotonic()))

    def _run(self) -> None:
        self._looked = self._times()
        while not self._stop.is_set():
            is_due = self._wake.wait(min(self._runtime.monitor_interval, _LOOK_SECONDS))
            self._wake.clear()
            if self._stop.is_set():
                return
            try:
                self.look(is_due=is_due)
            except Exception:  # nobody else would look
                logger.exception("the monitor failed")

    def look(self, *, is_due: bool = False) -> None:
        """Start the checks that are due, all of them with ``is_due`` or when the computer was asleep."""
        steady, wall = self._looked
        self._looked = now, now_wall = self._times()
        has_slept = now_wall - wall - (now - steady) > _JUMP_SECONDS
        is_late = now_wall - wall > _LOOK_SECONDS + _JUMP_SECONDS  # so is a process that was stopped
        bindings = self._bindings()
        self._checks = {each: thread for each, thread in self._checks.items() if thread.is_alive()}
        self._asked = {each: self._asked.get(each, now) for each in bindings}
        for binding in bindings:
            trouble = binding.monitor.trouble
            # A refused login is for a read to try again, when somebody is there: accounts get locked.
            is_refused = trouble is not None and trouble[0] is Reason.AUTHENTICATION
            if is_refused or binding.state in (BindingState.FAILED, BindingState.STOPPED):
                continue
            if has_slept:
                binding.monitor.lose_sight((Reason.BROKER_UNREACHABLE, _SLEPT, None))
                binding.try_again()
            is_late_or_due = is_due or is_late or has_slept or self._is_due(binding, now)
            if is_late_or_due and binding not in self._checks:
                self._start_check(binding, now)

    def _is_due(self, binding: TopicBinding, now: float) -> bool:
        interval, trouble = self._runtime.monitor_interval, binding.monitor.trouble
        if trouble is not None or binding.contact.is_doubtful:
            interval = min(interval, _LOOK_SECONDS)
        return now - self._asked[binding] >= interval - min(interval, _LOOK_SECONDS) / 2

    def _start_check(self, binding: TopicBinding, now: float) -> None:
        thread = Thread(
            target=ours(_check), args=(binding,), name=f"ktframe-check-{binding.name}", daemon=True
        )
        self._checks[binding], self._asked[binding] = thread, now
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had; the next look tries again
            del self._checks[binding]
            logger.warning("%s: the lag can't be measured: %s", binding.name, error)

    def _times(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.now().timestamp()


def _check(binding: TopicBinding) -> None:
    try:
        binding.check()
    except KtframeError as error:
        logger.debug("%s: the lag can't be measured: %s", binding.name, error.fact)
    except Exception:
        logger.exception("%s: the monitor failed", binding.name)
