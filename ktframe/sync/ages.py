"""For how long a table has had what it has: which offsets were applied longer ago than Kafka keeps tombstones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from ktframe.fold.records import Position

_STEP_MS: Final = 3_600_000
_DAY_MS: Final = 86_400_000


class Ages:
    """Remembers, about once an hour, how far each partition was read. Owned by the binding's thread."""

    def __init__(self) -> None:
        self._steps: dict[int, deque[tuple[int, int]]] = {}
        """Wall times (ms) with the offset that was reached then, by partition, oldest first."""

    def opened(self, positions: Mapping[int, Position]) -> None:
        """Begin with what a store has: all of it was there when its partition was last read to the end."""
        self._steps = {
            p: deque([(at.present, at.offset)]) for p, at in positions.items() if at.present is not None
        }

    def forget(self, partitions: Iterable[int]) -> None:
        """Forget partitions whose records are read again."""
        for partition in partitions:
            self._steps.pop(partition, None)

    def note(self, positions: Mapping[int, int], now_ms: int) -> None:
        """Record how far the partitions are read now."""
        for partition, offset in positions.items():
            steps = self._steps.setdefault(partition, deque())
            if not steps or now_ms - steps[-1][0] >= _STEP_MS:
                steps.append((now_ms, offset))

    def before(self, now_ms: int, kept_ms: int | None) -> dict[int, int]:
        """Return the offset of each partition before which all was applied more than ``kept_ms`` (None: a day) ago."""
        oldest, found = now_ms - (_DAY_MS if kept_ms is None else kept_ms), dict[int, int]()
        for partition, steps in self._steps.items():
            while steps and steps[0][0] < oldest:
                found[partition] = steps.popleft()[1]
        return found
