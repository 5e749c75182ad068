"""A clock that only moves when a test says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class ManualClock:
    """Stands still until ``advance`` or ``sleep`` is called."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._passed = self._slept = 0.0

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._passed += seconds

    def sleep(self, seconds: float) -> None:
        """Let wall time pass alone, as while a computer sleeps."""
        self._slept += seconds

    def now(self) -> datetime:
        """Return the wall time."""
        return self._start + timedelta(seconds=self._passed + self._slept)

    def monotonic(self) -> float:
        """Return the seconds that have passed."""
        return self._passed
