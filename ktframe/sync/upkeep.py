"""What a binding does from time to time while it reads: it flushes its store, and forgets what is not needed any more."""

from __future__ import annotations

from collections.abc import Callable

from ktframe.clock import Clock, now_ms
from ktframe.sync.materializer import Materializer

_TIDY_SECONDS = 60.0


class Upkeep:
    """Owned by the binding's thread."""

    def __init__(self, clock: Clock, flush_interval: Callable[[], float]) -> None:
        self._clock = clock
        self._flush_interval = flush_interval
        self._flushed = self._tidied = clock.monotonic()

    def do(self, materializer: Materializer, *, is_ready: bool, apply: Callable[[], None]) -> None:
        """Do what is due, after ``apply`` has written all that was read; ``is_ready`` says that all partitions are read."""
        now = self._clock.monotonic()
        # At half the interval, which leaves time for a batch and the flush: what is older than an interval is on disk.
        if now - self._flushed >= self._flush_interval() / 2:
            apply()
            if materializer.presence.is_due(materializer.positions()):
                materializer.keep_presence()
            materializer.store.flush()
            self._flushed = now
        if is_ready and now - self._tidied >= _TIDY_SECONDS:
            apply()
            at_ms = now_ms(self._clock)
            materializer.ages.note(materializer.view.positions(), at_ms)
            cleanup = materializer.presence.cleanup
            # Elsewhere a tombstone stays as long as other records; where reading resumes those are forgotten that went.
            if cleanup.policy is None or "compact" in cleanup.policy:
                materializer.forget_deletes(materializer.ages.before(at_ms, cleanup.tombstones_ms))
            self._tidied = now
