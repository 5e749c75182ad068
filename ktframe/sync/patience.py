"""How a call waits for a binding: as long as something moves, and no longer than it was told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Condition
from typing import TypeAlias

from ktframe.events import Reason
from ktframe.monitor import Clock, Readiness

OnWait: TypeAlias = Callable[[Readiness], object]
"""Called some ten times a second while a call waits."""

_WAKE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """``stall_timeout`` seconds may pass without progress, ``timeout`` in all."""

    stall_timeout: float
    timeout: float | None = None
    on_wait: OnWait | None = None

    def wait(
        self,
        is_done: Callable[[], bool],
        *,
        moved: Condition,
        marks: Callable[[], object],
        readiness: Callable[[], Readiness],
        clock: Clock,
    ) -> tuple[Reason, str] | None:
        """Return None once ``is_done``, else why it is not waited any longer.

        ``moved`` is told of every change, and held while ``is_done`` is asked; ``marks`` differ when there is progress.
        """
        began = changed = clock.monotonic()
        seen: object = None
        while True:
            with moved:
                if is_done():
                    return None
                moved.wait(_WAKE_SECONDS)
            now, found = clock.monotonic(), marks()
            if found != seen:
                seen, changed = found, now
            if now - changed > self.stall_timeout:
                return Reason.STALLED, f"no progress for {self.stall_timeout:g} s"
            if self.timeout is not None and now - began > self.timeout:
                return readiness().reason, f"not done after {self.timeout:g} s"
            if self.on_wait is not None:
                self.on_wait(readiness())
