"""Asking Kafka for the ends of a topic, and what follows when it does not answer, and when it answers again.

The monitor asks from time to time, and every fresh read does. Both go through here, so that none of them knows less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from ktframe.clock import Clock
from ktframe.errors import ContextClosedError
from ktframe.sync.health import explain
from ktframe.sync.monitor import ReadyMonitor


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
        self._heard_at: float | None = None

    def opened(self) -> None:
        """Record that a reader was opened: it has heard nothing yet."""
        self._heard_at = None

    def heard(self) -> None:
        """Record that the reader got something, be it only the end of a partition."""
        self._heard_at = self._clock.monotonic()

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
        if lost_at is None:
            return
        self._try_again()
        # A connection may be dead without knowing: the client would wait for its answer for a minute. One that had nothing
        # since it was opened is left alone, or on a slow network it would be opened again and again.
        if self._heard_at is not None and self._heard_at < lost_at:
            self._reopen()
