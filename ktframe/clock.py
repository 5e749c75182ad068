"""The clocks of this machine, behind a protocol, so that a test can use one that it advances itself."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Where the milliseconds of Kafka's timestamps start."""


class SystemClock:
    """The wall clock and the monotonic clock of this machine."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""
        return time.monotonic()


class Clock(Protocol):
    """Wall time and monotonic time."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards."""


def now_ms(clock: Clock) -> int:
    """Return the wall time in milliseconds since 1970, as in Kafka's timestamps."""
    return (clock.now() - EPOCH) // timedelta(milliseconds=1)
