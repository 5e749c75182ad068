"""The position and the status of a table, as users see them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final

import polars as pl

from ktframe.events import BindingState
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.event_time import as_datetime
from ktframe.fold.learned import SAMPLE_RECORDS
from ktframe.sync.binding import TopicBinding
from ktframe.sync.health import BindingHealth, explain
from ktframe.sync.materializer import Materializer
from ktframe.sync.missing import Missing, counted, were
from ktframe.sync.monitor import Readiness
from ktframe.sync.progress import describe


@dataclass(frozen=True, slots=True, repr=False)
class TablePosition:
    """How far a table has read: ``offsets`` are the next ones to apply, per partition.

    ``held_back`` counts offsets after the start of transactions that are still open: they are not waited for.
    """

    offsets: dict[int, int]
    stream_time: datetime | None
    lag: int | None
    state: BindingState
    held_back: int
    stream_times: dict[int, datetime | None] = field(default_factory=dict)
    """The greatest timestamp of each partition."""
    idle: tuple[int, ...] = ()
    """Partitions without new records: windows become final without waiting for them."""
    notices: tuple[str, ...] = ()
    """Why rows may be missing: where reading began, what the log has lost, what retention has dropped."""

    def __repr__(self) -> str:
        shown = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "stream_times"}
        parts = (f"{name}={_moment(value)}" for name, value in shown.items() if value not in ((), None))
        return f"TablePosition({', '.join(parts)})"


@dataclass(frozen=True, slots=True)
class TableStatus:
    """The status of a table; ``rows`` counts those in the view now, whether fresh or not."""

    name: str
    readiness: Readiness
    health: BindingHealth
    rows: int
    refused: int
    conflicts: int
    contested: int
    """Keys that have rows, or a row and a tombstone, in several partitions; the newest word counts."""
    sees_deletes: bool
    """False when a row has a null record key: no tombstone can ever delete it."""
    late: int = 0
    """Records that came after their window had closed."""
    notices: tuple[str, ...] = ()
    """Why rows may be missing: where reading began, what the log has lost, what retention has dropped."""
    formats: str = ""
    """The formats of keys and values that were detected, where they were not declared."""
    stale: int = 0
    """Rows whose newest record was refused; they are hidden, unless the table was asked for with ``stale="show"``."""
    records: int = 0
    """Records that were applied, the refused ones among them; of a stream with ``explode=True`` it is objects that count."""
    left_out: int = 0
    """How many of them ``where=`` has left out."""

    def __str__(self) -> str:
        lines = [f"{describe(self.readiness)}: {counted(self.rows, 'row')}"]
        if self.formats:
            lines.append(self.formats)
        if self.refused:
            of = (
                f"{self.refused:,} of {self.records:,} records"
                if self.records
                else counted(self.refused, "record")
            )
            was = f"{of} {were(self.refused)} refused, {self.conflicts:,} of them for the schema"
            lines.append(f'{was}: errors(by="reason")')
        if self.stale:
            lines.append(f"the newest record of {counted(self.stale, 'row')} was refused: errors(stale=True)")
        if self.contested:
            have = "key has" if self.contested == 1 else "keys have"
            lines.append(f"{self.contested:,} {have} rows in several partitions; the newest row is shown")
        if not self.sees_deletes:
            lines.append("some rows have no record key: no tombstone can delete them")
        if self.late:
            whose = "its" if self.late == 1 else "their"
            lines.append(f"{counted(self.late, 'record')} {were(self.late)} late for {whose} window: late()")
        lines.extend(self.notices)
        if self.health.last_error:
            lines.append(f"last error: {self.health.last_error}")
        if self.readiness.hint:
            lines.append(f"Hint: {self.readiness.hint}")
        return "\n".join(lines)


def _moment(value: object) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else str(value)


@dataclass(frozen=True, slots=True)
class Preview:
    """The status and the first rows of a table now, without waiting; no rows before reading began."""

    status: TableStatus
    head: pl.DataFrame


@dataclass(frozen=True, slots=True)
class RecentRows:
    """The rows that changed last, the newest first; ``positions`` are the next offsets after them."""

    rows: pl.DataFrame
    places: list[tuple[int, int]]
    """Partition and offset of the record that each row comes from."""
    positions: dict[int, int]
    provisional: list[bool]
    """Whether each row's window is still open."""
    total: int
    """How many rows the table has."""


def status_of(
    binding: TopicBinding, materializer: Materializer | None, *, rows: int, missing: Missing | None = None
) -> TableStatus:
    """Return the status of a binding; ``materializer`` is None before it was started, ``missing`` what its rows lack."""
    readiness = binding.readiness(missing)
    health = _health_of(binding, readiness)
    if materializer is None:
        return TableStatus(binding.name, readiness, health, 0, 0, 0, 0, sees_deletes=True)
    missing = missing or Missing.of(materializer, binding.topic)
    positions = materializer.store.positions().values()
    return TableStatus(
        name=binding.name,
        readiness=readiness,
        health=health,
        rows=rows,
        refused=missing.refused,
        conflicts=missing.conflicts,
        stale=missing.stale,
        records=missing.records,
        left_out=sum(position.left_out for position in positions),
        contested=materializer.view.contested,
        sees_deletes=materializer.sees_deletes,
        late=sum(position.late for position in positions),
        notices=notices(binding, materializer),
        formats=detected_formats(materializer),
    )


def _health_of(binding: TopicBinding, readiness: Readiness) -> BindingHealth:
    failure = binding.retry.failure
    return BindingHealth(
        state=binding.state,
        reason=readiness.reason,
        last_error=binding.monitor.fault if failure is None else explain(failure)[1],
        consecutive_failures=0 if failure is None else binding.retry.failures,
        restarts=max(0, binding.retry.sessions - 1),
        rate=readiness.rate,
        last_record_at=as_datetime(binding.activity.newest),
    )


def detected_formats(materializer: Materializer) -> str:
    """Return the formats of keys and values that were detected, where they were not declared."""
    decoder, schema = materializer.decoder, materializer.schema
    parts = [("values", decoder.value_schemas, decoder.fields(schema))]
    if decoder.decodes_keys:
        parts.insert(0, ("keys", decoder.key_schemas, decoder.key_schema(schema)))
    texts = ((part, schemas.describe(known)) for part, schemas, known in parts if schemas is not None)
    return "; ".join(f"{part}: {text}" for part, text in texts if text is not None)


TOMBSTONES_OF_ONE: Final = "tombstones deleted rows of their own partition only"
"""Begins the notice of a table whose key is not the record key."""


def notices(binding: TopicBinding, materializer: Materializer) -> tuple[str, ...]:
    """Return why rows of the topic may be missing, each reason in a few words."""
    reasons = []
    if binding.beginning.skipped_before is not None:
        moment = as_datetime(binding.beginning.skipped_before)
        by = "" if materializer.decoder.time is None else " by the records' timestamps"
        reasons.append(f"partial: from {moment:%Y-%m-%d %H:%M:%S} UTC on{by}")
    replaced = None if materializer.replacement is None else materializer.replacement.notice
    reasons += [replaced] if replaced else []
    learned = materializer.learned
    if learned.differing:
        reasons.append(f"records that came later decide the type of {learned.differing} otherwise: relearn()")
    if learned.by_arrival:
        first = f"the first {SAMPLE_RECORDS:,} records of each partition don't show the type of"
        reasons.append(f"{first} {learned.by_arrival}: the records that were read first decide")
    reasons += [notice for _, notice in sorted(materializer.presence.notices.items())]
    positions = sorted(materializer.store.positions().items())
    reasons += [
        f"{position.lost:,} offsets of partition {partition} were lost before they were read"
        for partition, position in positions
        if position.lost
    ]
    dropped = sum(position.dropped for _, position in positions)
    reasons += [f"retention has dropped {dropped:,} older rows"] if dropped else []
    horizons = [position.horizon for _, position in positions if position.horizon is not None]
    if horizons and materializer.decoder.is_windowed:
        reasons.append(f"windows before {as_datetime(max(horizons)):%Y-%m-%d %H:%M:%S} UTC are not kept")
    if "compact" in (materializer.presence.cleanup.policy or ""):
        reasons += _lost_by_compaction(materializer.decoder)
    left_out = sum(position.left_out for _, position in positions)
    reasons += [f"where= has left out {counted(left_out, 'record')}"] if left_out else []
    if materializer.key_deletes and len(positions) > 1:
        reasons.append(
            f"{TOMBSTONES_OF_ONE} ({materializer.key_deletes:,} so far): no field is the record key"
        )
    if binding.contact.held_back:
        have = "offset follows" if binding.contact.held_back == 1 else "offsets follow"
        reasons.append(
            f"{binding.contact.held_back:,} {have} the start of an open transaction: not waited for"
        )
    return tuple(reasons)


def _lost_by_compaction(decoder: TopicDecoder) -> list[str]:
    """Return what a compacted topic may lack: Kafka keeps the newest record of a record key, and no other."""
    if decoder.is_windowed or decoder.identity.keeps_history:
        return ["the topic is compacted: older records of a key may be gone"]
    if decoder.identity.key_fields:
        return ["the topic is compacted by its record key: rows of older records may be missing"]
    return []
