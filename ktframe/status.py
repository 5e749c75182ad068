"""Where a table stands and how it is, as a user asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ktframe.events import BindingState
from ktframe.monitor import Readiness
from ktframe.progress import describe
from ktframe.sync.health import BindingHealth


@dataclass(frozen=True, slots=True)
class TablePosition:
    """Where a table stands: ``offsets`` are the next ones to apply, per partition.

    ``held_back`` counts offsets behind the start of transactions that are still open: they are not waited for.
    """

    offsets: dict[int, int]
    stream_time: datetime | None
    lag: int | None
    state: BindingState
    held_back: int


@dataclass(frozen=True, slots=True)
class TableStatus:
    """A table's condition at a glance; ``rows`` are those in the view now, whether fresh or not."""

    name: str
    readiness: Readiness
    health: BindingHealth
    rows: int
    quarantined: int
    conflicts: int
    contested: int
    """Keys that have rows in several partitions; the newest is shown."""
    sees_deletes: bool
    """False when a row was seen whose record key is null: no tombstone can ever delete it."""

    def __str__(self) -> str:
        lines = [f"{describe(self.readiness)}: {self.rows:,} rows"]
        if self.quarantined:
            lines.append(
                f"{self.quarantined:,} records are quarantined, {self.conflicts:,} of them for the schema: errors()"
            )
        if self.contested:
            lines.append(f"{self.contested:,} keys have rows in several partitions; the newest row is shown")
        if not self.sees_deletes:
            lines.append("rows without a record key were read: deletes of these can't be seen")
        if self.health.last_error:
            lines.append(f"last error: {self.health.last_error}")
        if self.readiness.remedy:
            lines.append(f"Hint: {self.readiness.remedy}")
        return "\n".join(lines)
