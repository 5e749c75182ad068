"""Whether Kafka has answered lately: what is known of the ends of a topic is news for a while only. No thread, no lock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeAlias

from ktframe.clock import Clock
from ktframe.events import Reason

MOST_INTERVALS: Final = 3
"""News is older than that many monitor intervals at no time, but where answers regularly take as long."""
_LEAST_SECONDS: Final = 2.0
"""Below this a busy computer could not be told from a broker that is silent."""

Explanation: TypeAlias = tuple[Reason, str, str | None]
"""A reason, a sentence and a hint."""


class Sight:
    """When Kafka last told the ends of a topic, and why it does not now.

    ``interval`` returns the seconds between two questions. What the clocks say is compared at each look, so that old news
    is not believed while whoever should ask waits for an answer. Of wall clock and monotonic clock the one counts by which
    more time has passed: the monotonic one stands still while the computer sleeps.
    """

    def __init__(self, clock: Clock, interval: Callable[[], float]) -> None:
        self.lost_at: float | None = None
        """The monotonic time at which it was said that the news is old, or can't be had; None while there is news."""
        self._clock = clock
        self._interval = interval
        self._seen: tuple[float, datetime] | None = None
        self._seen_interval = self._took = self._last_took = 0.0
        self._cause: Explanation | None = None

    @property
    def trouble(self) -> Explanation | None:
        """Why the ends are unknown; None while what is known of them is news."""
        if self.lost_at is None and not self._is_old():
            return None
        reason, fact, hint = self._cause or (Reason.BROKER_UNREACHABLE, "", None)
        if reason is not Reason.BROKER_UNREACHABLE or self._seen is None:
            return reason, fact, hint
        return reason, f"Kafka has not answered since {self._seen[1]:%Y-%m-%d %H:%M:%S} UTC", hint

    @property
    def fault(self) -> str | None:
        """What kept Kafka's answer away, in a sentence; None while there is news, and where nothing but silence is known."""
        return None if self._cause is None else self._cause[1]

    def gain(self, asked: float) -> None:
        """Record an answer to what was ``asked`` at that monotonic time."""
        now = self._clock.monotonic()
        # Two in a row are slow where answers are; a single one came late because there was an outage.
        self._took, self._last_took = min(self._last_took, now - asked), now - asked
        self._seen, self._seen_interval = (now, self._clock.now()), self._interval()
        self.lost_at = self._cause = None

    def lose(self, cause: Explanation | None, asked: float) -> bool:
        """Record that what was ``asked`` got no answer, and why; return whether there was news until now.

        It says nothing when something that was asked at the same time or later got one.
        """
        if self.lost_at is None and self._seen is not None and self._seen[0] > asked:
            return False
        had_news, self._cause = self.lost_at is None, cause or self._cause
        self.lost_at = self._clock.monotonic() if self.lost_at is None else self.lost_at
        return had_news

    def expire(self) -> bool:
        """Record that the news is old, if it is; return whether that is new."""
        return self.lost_at is None and self._is_old() and self.lose(None, self._clock.monotonic())

    def _is_old(self) -> bool:
        if self._seen is None:
            return False
        steady, wall = self._seen
        age = max(self._clock.monotonic() - steady, (self._clock.now() - wall).total_seconds())
        interval = max(self._interval(), self._seen_interval)
        # A slow answer is none that is missing: the next one is there after an interval and as long as the last one took.
        return age > max(MOST_INTERVALS * interval, 2 * (interval + self._took), _LEAST_SECONDS)
