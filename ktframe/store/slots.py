"""The slots of a store in RocksDB: each holds the rows of one partition; what is known of them without reading these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ktframe.columns import PARTITION
from ktframe.fold.records import Changes, Position, RefusedRecord, StaleMarks
from ktframe.store import layout
from ktframe.store.engine import Batch, Engine
from ktframe.store.layout import RefusedPlace
from ktframe.store.protocol import REFUSED_KEPT, Causes, Rebuild, advanced, with_refused

Surplus: TypeAlias = Mapping[int, Sequence[RefusedPlace]]
"""The places of late and refused records that make room for newer ones, by kind."""

_WRITE_LINES = 50_000
"""So many lines are written at once, unless one partition has more: 12 ms, in which no other thread runs."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot, by its number."""

    number: int
    position: Position = field(default_factory=lambda: Position(0))
    kept: Mapping[int, tuple[RefusedPlace, ...]] = field(default_factory=dict)
    """The places of the late and of the refused records that are kept, by kind, the oldest first."""
    causes: Causes = field(default_factory=dict)
    is_marked: bool = False
    """Whether there may be marks of refused records."""

    @classmethod
    def read(cls, engine: Engine, number: int) -> Slot:
        """Return what there is in a slot."""
        head = layout.prefix(number, layout.CAUSE)
        return cls(
            number,
            layout.unpack_position(engine.get(layout.prefix(number, layout.POSITION)) or b""),
            {
                kind: tuple(
                    layout.refused_place(key) for keys, _ in scan(engine, number, kind) for key in keys
                )
                for kind in (layout.LATE, layout.REFUSED)
            },
            {
                key[len(head) :].decode(): layout.unpack_cause(value)
                for keys, values in scan(engine, number, layout.CAUSE)
                for key, value in zip(keys, values, strict=True)
            },
            any(keys for keys, _ in scan(engine, number, layout.STALE)),
        )

    def keep(
        self, kind: int, records: Sequence[RefusedRecord], most: int
    ) -> tuple[Slot, Sequence[RefusedPlace]]:
        """Return this with late or refused records, ``most`` of a kind, and the places of those that make room."""
        places = (*self.kept.get(kind, ()), *((record.offset, record.index) for record in records))
        surplus = max(0, len(places) - most)
        return replace(self, kept={**self.kept, kind: places[surplus:]}), places[:surplus]

    def put(self, batch: Batch, causes: Causes) -> None:
        """Put the position, and the causes that are others than these so far."""
        batch.put(layout.prefix(self.number, layout.POSITION), layout.pack_position(self.position))
        for name, cause in self.causes.items():
            if causes.get(name) != cause:
                batch.put(layout.prefix(self.number, layout.CAUSE) + name.encode(), layout.pack_cause(cause))


@dataclass(frozen=True, slots=True)
class Slots:
    """The slots of all partitions: ``shown`` are those that reads find, ``rebuilt`` those that will take their place."""

    shown: Mapping[int, Slot] = field(default_factory=dict)
    rebuilt: Mapping[int, Slot] = field(default_factory=dict)
    reasons: Mapping[int, str] = field(default_factory=dict)
    """Why partitions are rebuilt."""

    @classmethod
    def read(cls, engine: Engine) -> Slots:
        """Return what there is in a store."""
        shown, rebuilt, reasons = dict[int, Slot](), dict[int, Slot](), dict[int, str]()
        for keys, values in scan(engine, 0, layout.POSITION):
            for key, value in zip(keys, values, strict=True):
                shown[layout.unpack_u32(key)] = Slot.read(engine, layout.unpack_u32(value))
        for keys, values in scan(engine, 0, layout.REBUILDING):
            for key, value in zip(keys, values, strict=True):
                number, reasons[layout.unpack_u32(key)] = layout.unpack_rebuilding(value)
                rebuilt[layout.unpack_u32(key)] = Slot.read(engine, number)
        return cls(shown, rebuilt, reasons)

    @property
    def written(self) -> dict[int, Slot]:
        """The slots that are written to."""
        return {**self.shown, **self.rebuilt}

    @property
    def unused(self) -> int:
        """A number that no slot has."""
        return (
            max((slot.number for slots in (self.shown, self.rebuilt) for slot in slots.values()), default=0)
            + 1
        )

    def rebuilds(self) -> dict[int, Rebuild]:
        """Return the partitions that are being rebuilt."""
        return {p: Rebuild(why, self.rebuilt[p].position) for p, why in self.reasons.items()}

    def having(self, written: Mapping[int, Slot]) -> Slots:
        """Return these after a write: with other contents of slots that are written to, and with new ones."""
        return replace(
            self,
            shown={**self.shown, **{p: slot for p, slot in written.items() if p not in self.rebuilt}},
            rebuilt={p: written.get(p, slot) for p, slot in self.rebuilt.items()},
        )

    def without(self, partitions: Sequence[int]) -> tuple[Slots, list[Slot]]:
        """Return these without some partitions, and the slots that are not needed any more."""
        left = Slots(
            {p: slot for p, slot in self.shown.items() if p not in partitions},
            {p: slot for p, slot in self.rebuilt.items() if p not in partitions},
            {p: why for p, why in self.reasons.items() if p not in partitions},
        )
        slots = (*self.shown.items(), *self.rebuilt.items())
        return left, [slot for p, slot in slots if p in partitions]

    def rebuilding(self, partitions: Mapping[int, Rebuild]) -> tuple[Slots, list[Slot]]:
        """Return these with empty slots into which partitions are read again, and the slots that are not needed any more."""
        new = {
            p: Slot(self.unused + number, rebuild.position)
            for number, (p, rebuild) in enumerate(partitions.items())
        }
        reasons = {p: rebuild.why for p, rebuild in partitions.items()}
        gone = [slot for p, slot in self.rebuilt.items() if p in partitions]
        return Slots(self.shown, {**self.rebuilt, **new}, {**self.reasons, **reasons}), gone

    def switched(self) -> tuple[Slots, list[Slot]]:
        """Return these with the rebuilt slots shown, and the slots that are not needed any more."""
        return Slots(self.written), [self.shown[p] for p in self.rebuilt if p in self.shown]


def scan(engine: Engine, slot: int, kind: int) -> Iterator[tuple[list[bytes], list[bytes]]]:
    """Yield chunks of the keys and values of one kind in a slot."""
    return engine.scan(layout.prefix(slot, kind), layout.prefix_end(slot, kind))


def stale_marks(engine: Engine, slots: Mapping[int, Slot]) -> StaleMarks:
    """Return the marks of refused records in the slots of partitions."""
    marks: list[tuple[int, bytes, int, int | None]] = []
    for partition, slot in sorted((p, slot) for p, slot in slots.items() if slot.is_marked):
        head = layout.prefix(slot.number, layout.STALE)
        for keys, values in scan(engine, slot.number, layout.STALE):
            places = map(layout.unpack_stale, values)
            marks += [(partition, key[len(head) :], *place) for key, place in zip(keys, places, strict=True)]
    return StaleMarks(*(list(column) for column in zip(*marks, strict=True)))


def put_slots(batch: Batch, before: Slots, after: Slots, gone: Sequence[Slot]) -> None:
    """Put which slots partitions have after a change, and remove what is in the slots that are ``gone``."""
    for slot in gone:
        batch.delete_range(*layout.slot_range(slot.number))
    for p in before.shown.keys() - after.shown.keys():
        batch.delete(layout.partition_key(p))
    for p in before.rebuilt.keys() - after.rebuilt.keys():
        batch.delete(layout.rebuilding_key(p))
    for p, slot in after.shown.items():
        if p not in before.shown or before.shown[p].number != slot.number:
            batch.put(layout.partition_key(p), layout.pack_u32(slot.number))
    for p, slot in after.rebuilt.items():
        if p not in before.rebuilt or before.rebuilt[p].number != slot.number:
            batch.put(layout.rebuilding_key(p), layout.pack_rebuilding(slot.number, after.reasons[p]))
            batch.put(layout.prefix(slot.number, layout.POSITION), layout.pack_position(slot.position))


def applied(
    known: Mapping[int, Slot],
    changes: Changes,
    positions: Mapping[int, int],
    by_kind: Mapping[int, Sequence[RefusedRecord]],
) -> tuple[dict[int, Slot], dict[int, Surplus]]:
    """Return the slots after ``changes``, and the places of the late and refused records that make room, by kind."""
    moved = advanced({partition: slot.position for partition, slot in known.items()}, changes, positions)
    causes = with_refused({partition: slot.causes for partition, slot in known.items()}, changes.refused)
    marked = set(changes.stale[PARTITION] if changes.stale.height else ())
    after = {
        p: replace(
            slot,
            position=moved[p],
            causes=causes.get(p, slot.causes),
            is_marked=slot.is_marked or p in marked,
        )
        for p, slot in known.items()
    }
    surplus: dict[int, dict[int, Sequence[RefusedPlace]]] = {p: {} for p in known}
    for kind, records in by_kind.items():
        for partition in {record.partition for record in records}:
            mine = [record for record in records if record.partition == partition]
            after[partition], surplus[partition][kind] = after[partition].keep(kind, mine, REFUSED_KEPT)
    return after, dict(surplus)


def shares_of(changes: Changes, partitions: Iterable[int]) -> list[list[int]]:
    """Return which partitions are written together: RocksDB's write holds the interpreter's lock, for as long as it has lines."""
    if len(changes) <= _WRITE_LINES:
        return [list(partitions)]
    lines = dict(changes.partitions.value_counts().iter_rows())
    shares: list[list[int]] = [[]]
    room = _WRITE_LINES
    for partition in partitions:
        count = lines.get(partition, 0)
        if count > room and shares[-1]:
            shares.append([])
            room = _WRITE_LINES
        shares[-1].append(partition)
        room -= count
    return shares
