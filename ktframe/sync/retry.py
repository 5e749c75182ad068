"""How long and how soon a binding tries again after a failure: exponential back-off with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from threading import Event

from ktframe.clock import Clock
from ktframe.config.settings import RetryPolicy
from ktframe.sync.health import is_from_outside, is_worth_retrying

_ODD_FAILURES = 5
"""After so many in a row an error that no outage explains is one that will stay."""


class Retry:
    """Runs a session again and again; owned by the binding's thread, but any thread may ``wake`` it."""

    def __init__(
        self, policy: RetryPolicy, clock: Clock, *, on_failure: Callable[[BaseException], object]
    ) -> None:
        self.failure: BaseException | None = None
        """What ended the last session, until one is healthy again."""
        self.failures = 0
        """How many sessions in a row have failed."""
        self.sessions = 0
        """How many sessions were begun."""
        self._policy = policy
        self._clock = clock
        self._on_failure = on_failure
        self._wake = Event()

    def run(self, session: Callable[[], None]) -> None:
        """Run ``session``, again after each failure that may pass, until it returns; raise what stays."""
        failures, odd, delay = 0, 0, self._policy.initial_delay
        while True:
            self.sessions += 1
            began = self._clock.monotonic()
            try:
                return session()
            except Exception as error:
                if not is_worth_retrying(error):
                    raise
                if self._clock.monotonic() - began >= self._policy.healthy_after:
                    # After a healthy spell the count starts again: faults that are far apart never add up.
                    failures, odd, delay = 0, 0, self._policy.initial_delay
                failures += 1
                odd = 0 if is_from_outside(error) else odd + 1
                self.failures, self.failure = failures, error
                if failures == self._policy.attempts or (
                    self._policy.attempts is None and odd == _ODD_FAILURES
                ):
                    raise
                self._on_failure(error)
            self._wake.wait(delay + random.uniform(0, self._policy.jitter))  # noqa: S311 - not cryptography
            self._wake.clear()
            delay = min(2 * delay, self._policy.max_delay)

    def wake(self) -> None:
        """End the pause before the next session: there is reason to believe that it will succeed."""
        self._wake.set()

    def clear_failure(self) -> None:
        """Forget the last failure: the session that runs is healthy."""
        self.failure = None
