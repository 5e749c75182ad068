"""How often and how soon a binding tries again: exponential back-off, and the count of failures behind it."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from ktframe.clock import Clock
from ktframe.config.settings import RetryPolicy
from ktframe.sync.health import is_worth_retrying


class Restarts:
    """Runs one session after another; owned by the binding's thread, but any thread may ``hurry`` it."""

    def __init__(
        self, policy: RetryPolicy, clock: Clock, *, on_failure: Callable[[BaseException], object]
    ) -> None:
        self.failure: BaseException | None = None
        """What ended the last session, until one is well again."""
        self.failures = 0
        """How many sessions in a row have failed."""
        self.sessions = 0
        """How many sessions were begun."""
        self._policy = policy
        self._clock = clock
        self._on_failure = on_failure
        self._began = 0.0
        self._hurry = Event()

    def run(self, session: Callable[[], None]) -> None:
        """Run ``session``, and again after a failure that time may heal; raise the one that is too many."""
        policy = self._policy
        Retrying(
            retry=retry_if_exception(is_worth_retrying),
            stop=stop_after_attempt(policy.attempts),
            wait=wait_exponential(multiplier=policy.initial_delay, max=policy.max_delay)
            + wait_random(0, policy.jitter),
            sleep=self._sleep,
            after=self._count,
            before_sleep=self._report,
            reraise=True,
        )(self._counted, session)

    def hurry(self) -> None:
        """End the pause before the next session: there is reason to believe that it will be well."""
        self._hurry.set()

    def note_well(self) -> None:
        """Note that the session that runs does what it should."""
        self.failure = None

    def _counted(self, session: Callable[[], None]) -> None:
        self.sessions += 1
        self._began = self._clock.monotonic()
        session()

    def _count(self, attempt: RetryCallState) -> None:
        if self._clock.monotonic() - self._began >= self._policy.healthy_after:
            attempt.attempt_number = 1  # a healthy spell: faults far apart never add up
        self.failures = attempt.attempt_number
        self.failure = attempt.outcome.exception() if attempt.outcome else None

    def _report(self, _attempt: RetryCallState) -> None:
        if self.failure is not None:
            self._on_failure(self.failure)

    def _sleep(self, seconds: float) -> None:
        self._hurry.wait(seconds)
        self._hurry.clear()
