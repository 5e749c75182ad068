"""Asking Kafka for the ends of a topic, and what follows when it does not answer, and when it answers again.

The monitor asks from time to time, and every fresh read does. Both go through here, so that none of them knows less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from ktframe.clock import Clock
from ktframe.errors import ContextClosedError
from ktframe.sync.health import explain
from ktframe.sync.monitor import ReadyMonitor

_PATIENCE_SECONDS: Final = 3.0
"""How long a reader may have nothing though there is more to read; twice as long after each time it was opened for that."""


class Contact:
    """The contact of one binding with Kafka: its thread tells what the open reader hears, any thread may ask.

    ``try_again`` is called when Kafka answers again, ``reopen`` when the reader may be dead besides.
    """

    def __init__(
        self,
        monitor: ReadyMonitor,
        clock: Clock,
        *,
        try_again: Callable[[], None],
        reopen: Callable[[], None],
    ) -> None:
        self._monitor = monitor
        self._clock = clock
        self._try_again = try_again
        self._reopen = reopen
        self._has_heard = False
        self._quiet_since: float | None = None
        self._waits_since: float | None = None
        self._patience = _PATIENCE_SECONDS

    @property
    def is_doubtful(self) -> bool:
        """Whether the reader is quiet though there is more to read: it may be dead, or about to get it."""
        return self._waits_since is not None

    def closed(self) -> None:
        """Record that the reader was closed; the next one has heard nothing yet."""
        self._has_heard, self._quiet_since, self._waits_since = False, None, None

    def heard(self) -> None:
        """Record that the reader got something, be it only the end of a partition."""
        self._has_heard, self._quiet_since, self._waits_since = True, None, None

    def quiet(self) -> None:
        """Record that the reader has waited, and got nothing."""
        if self._quiet_since is None:
            self._quiet_since = self._clock.monotonic()

    @contextmanager
    def asking(self) -> Iterator[float]:
        """Yield the monotonic time at which Kafka is asked; an error in here makes the lag unknown."""
        asked = self._clock.monotonic()
        try:
            yield asked
        except ContextClosedError:
            raise
        except Exception as error:
            self._monitor.lose_sight(explain(error), asked)
            raise

    def answered(self, ends: Mapping[int, int], asked: float, *, is_check: bool = False) -> None:
        """Record the ends that were ``asked`` for; if Kafka was out of sight, go on at once."""
        lost_at = self._monitor.lost_at
        if is_check:
            self._monitor.check(ends, asked)
        else:
            self._monitor.see(ends, asked)
        if lost_at is not None:
            self._try_again()
        if self._is_dead(lost_at):
            self._reopen()

    def _is_dead(self, lost_at: float | None) -> bool:
        """Say whether the reader's connection may be dead without its knowing: the client would wait for a minute."""
        quiet, now = self._quiet_since, self._clock.monotonic()
        if not self._monitor.lagging():
            self._waits_since, self._patience = None, _PATIENCE_SECONDS
        elif quiet is not None and self._waits_since is None:
            self._waits_since = now
        if quiet is None:
            return False
        # One that had nothing since it was opened is left alone, or on a slow network it would be opened again and again.
        if lost_at is not None and quiet < lost_at and self._has_heard:
            return True
        if self._waits_since is None or now - self._waits_since < self._patience:
            return False
        self._waits_since, self._patience = None, 2 * self._patience
        return True
