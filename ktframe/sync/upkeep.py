"""What a binding does from time to time while it reads: flush its store, keep its decoded rows, give memory back."""

from __future__ import annotations

from collections.abc import Callable

from ktframe.clock import Clock, now_ms
from ktframe.process.memory import give_back
from ktframe.sync.materializer import Materializer

_TIDY_SECONDS = 60.0
_FLUSH_SHARE = 0.7
_KEEP_PAUSE = 1_000
"""So many times as long as rows took to be kept they are not kept again: until then, a kill has them decoded."""

_CALM_SECONDS = 1.0
_MANY_RECORDS = 10_000
_LATER = 8
_MOST_CALM_SECONDS = 100.0


class _Leftovers:
    """When the memory that a load has left behind is given back: a second after it, and again after eight times as long.

    Rows are merged, put on disk and let go of meanwhile, and the reader's own client is.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._applied = -_MANY_RECORDS  # what was on disk is loaded first
        self._pause = self._due = 0.0

    def look(self, applied: int) -> None:
        """Give back what is due; so many records were ``applied`` since the table was opened."""
        now = self._clock.monotonic()
        if applied - self._applied >= _MANY_RECORDS:
            self._applied = applied
            self._pause, self._due = _CALM_SECONDS, now + _CALM_SECONDS
        elif self._pause < _MOST_CALM_SECONDS and now >= self._due:
            give_back()
            self._pause *= _LATER
            self._due = now + self._pause


class Upkeep:
    """Owned by the binding's thread."""

    def __init__(self, clock: Clock, flush_interval: Callable[[], float]) -> None:
        self._clock = clock
        self._flush_interval = flush_interval
        self._flushed = self._tidied = self._next_keep = clock.monotonic()
        self._seen: dict[int, int] = {}
        """How far the partitions were read when it last tidied."""
        self._leftovers = _Leftovers(clock)

    def do(self, materializer: Materializer, *, is_ready: bool, apply: Callable[[], None]) -> None:
        """Do what is due, after ``apply`` has written all that was read; ``is_ready`` says that all partitions are read."""
        now = self._clock.monotonic()
        # Before the interval is over, which leaves time for a batch and the flush: what is older than it is on disk.
        if now - self._flushed >= self._flush_interval() * _FLUSH_SHARE:
            apply()
            if materializer.presence.is_due(materializer.positions()):
                materializer.keep_presence()
            materializer.store.flush()
            self._flushed = now
        if is_ready and (now - self._tidied >= _TIDY_SECONDS or self._is_cheap_to_keep(materializer)):
            apply()
            at_ms = now_ms(self._clock)
            materializer.ages.note(materializer.view.positions(), at_ms)
            cleanup = materializer.presence.cleanup
            # Elsewhere a tombstone stays as long as other records; where reading resumes those are forgotten that went.
            if cleanup.policy is None or "compact" in cleanup.policy:
                materializer.forget_deletes(materializer.ages.before(at_ms, cleanup.tombstones_ms))
            self._keep_when_due(materializer)
            self._tidied = now
        if is_ready:
            self._leftovers.look(materializer.applied)

    def _is_cheap_to_keep(self, materializer: Materializer) -> bool:
        """Say whether rows are to be kept at once: most lie in files, of which a kill would leave none to be found."""
        is_kept, can_be = materializer.store.is_view_kept, self._clock.monotonic() >= self._next_keep
        return materializer.view.lies_in_files and not is_kept and can_be

    def _keep_when_due(self, materializer: Materializer) -> None:
        """Keep the rows while the process may still be killed: once nothing has come for a while, or none are kept."""
        positions, began = materializer.written.positions(), self._clock.monotonic()
        is_calm, self._seen = positions == self._seen, positions
        if (is_calm or not materializer.store.is_view_kept) and began >= self._next_keep:
            materializer.keep_rows()
            materializer.store.flush()
            done = self._clock.monotonic()
            self._next_keep = done + (done - began) * _KEEP_PAUSE

    @staticmethod
    def settle(materializer: Materializer) -> None:
        """Write what the next open needs: when each partition was last at its end, and the decoded rows."""
        materializer.keep_presence()
        materializer.keep_rows()
