"""Counts of the kinds of JSON values that were seen in each field, record by record or in whole columns.

Counts of different records add up in any order. What follows from them is decided in ``inference``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import reduce
from itertools import count
from typing import Any, Final, TypeAlias

import orjson
import polars as pl

from ktframe.formats.dtypes import LARGEST_EXACT, MOST_DIGITS
from ktframe.formats.json.kinds import (
    FILLED,
    INT64_MAX,
    INT64_MIN,
    INTEGER,
    KIND_OF,
    KIND_OF_TYPE,
    LIST,
    NEGATIVE,
    NULL,
    NUMBER,
    REAL,
    RECORD,
    STRING,
    STRUCT,
    TIMELESS,
    UNSURE,
    WIDE,
    distinct,
    integer_masks,
    is_empty,
    items_of,
    size_beyond_int64,
)
from ktframe.formats.json.times import time_kinds, time_kinds_of

MOST_NAMES: Final = 2_000
"""An object with more names than that is a map: its values are counted all together."""

EMPTY: Final = "[]"
"""How ``add_names`` counts an object without names."""

Place: TypeAlias = tuple[int, int, int]
"""Partition and offset of a record, and the number of the value in it."""
Name: TypeAlias = tuple[int, int, int]
"""Partition and offset of a record, and the number of the object in it that is counted as a record."""

_OBJECT_VALUES: Final = 2**32
"""The numbers of the values of an object are fewer, so that those of the next one in the record come behind."""

LAST: Final[Place] = (2**63, 0, 0)
"""After all places: where something is that has none."""

Path: TypeAlias = tuple[str | None, ...]
"""The names that lead to a field; None stands for the items of a list."""


class _Record:
    """A record while it is counted: its name, whether nulls and times are, and the objects to collapse."""

    __slots__ = ("_numbers", "crowded", "name", "with_nulls", "with_times")

    def __init__(self, name: Name, *, with_nulls: bool, with_times: bool) -> None:
        self.name = name
        self.with_nulls = with_nulls
        self.with_times = with_times
        self.crowded: list[Sightings] = []
        self._numbers = count(name[2] * _OBJECT_VALUES)

    def next_place(self) -> Place:
        """Return the place of the next value."""
        return (self.name[0], self.name[1], next(self._numbers))


class Sightings:
    """In how many records each kind was seen at one path, and where first; several times in one record count once.

    ``kept`` are the paths of objects from here on whose names are columns, however many there are.
    """

    __slots__ = ("_latest", "entries", "fields", "items", "kept", "kinds")

    def __init__(self, kept: frozenset[Path] = frozenset()) -> None:
        self.kept = kept
        self.kinds: dict[str, tuple[int, Place | None]] = {}
        self.fields: dict[str, Sightings] = {}
        self.items: Sightings | None = None
        self.entries: Sightings | None = None
        """The values under all names together, each of which counts, where there are too many: ``fields`` is empty then."""
        self._latest: dict[str, Name] = {}

    def records(self, kind: str) -> int:
        """Return in how many records the kind was seen."""
        return self.kinds[kind][0] if kind in self.kinds else 0

    def first(self, kind: str) -> Place | None:
        """Return where the kind was first; None where that is not known."""
        return self.kinds[kind][1] if kind in self.kinds else None

    @property
    def place(self) -> Place | None:
        """Where the field was first, also as a null; None where that is not known."""
        return min((place for _, place in self.kinds.values() if place is not None), default=None)

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, Sightings]]:
        """Yield the sightings at this path and at all paths below."""
        yield path, self
        for name, seen in self.fields.items():
            yield from seen.walk((*path, name))
        for inner in (self.items, self.entries):
            if inner is not None:
                yield from inner.walk((*path, None))

    # --- records --------------------------------------------------------------------------------------------------

    def add_record(
        self,
        record: Mapping[str, Any],
        partition: int,
        offset: int,
        index: int = 0,
        *,
        with_nulls: bool = True,
        with_times: bool = False,
        only: Collection[str] | None = None,
    ) -> None:
        """Count the fields of an object, the one of this ``index`` in its record, or ``only`` those.

        ``with_nulls`` also notes where fields are null, ``with_times`` which text is a time.
        """
        counted = _Record((partition, offset, index), with_nulls=with_nulls, with_times=with_times)
        others = Sightings(self.kept)
        if only is None:
            self._note(RECORD, 1, (partition, offset, index * _OBJECT_VALUES))
        for name, value in record.items():
            if value is not None or with_nulls:
                seen = self if only is None or name in only else others
                seen.at(name).add(value, counted)
        for crowded in counted.crowded:
            crowded.collapse()

    def add_names(self, record: Mapping[str, Any], partition: int, offset: int, index: int = 0) -> None:
        """Count which names an object has, all together."""
        place = (partition, offset, index * _OBJECT_VALUES)
        self._note(orjson.dumps(sorted(record)).decode(), 1, place)

    @property
    def commonest_names(self) -> frozenset[str]:
        """The names that most objects with names had; of those that equally many had, the ones seen first."""
        names = self.commonest(self.kinds.keys() - {EMPTY, RECORD})
        return frozenset(() if names is None else orjson.loads(names))

    def commonest(self, kinds: Collection[str]) -> str | None:
        """Return the commonest of ``kinds``; of equally common ones that seen first, None where none was seen."""
        seen = ((kind, *self.kinds[kind]) for kind in self.kinds if kind in kinds)
        ranked = [(-records, place or LAST, kind) for kind, records, place in seen]
        return min(ranked)[2] if ranked else None

    def add(self, value: Any, record: _Record) -> None:
        """Count a value of ``record``."""
        place = record.next_place()
        if value is None:
            if record.with_nulls:
                self._note(NULL, 0, place)
            return
        kind = KIND_OF.get(type(value), NUMBER)
        if kind is NUMBER:
            self._add_number(value, record.name, place)
            return
        self._count(kind, record.name, place)
        if kind is STRUCT:
            self._add_fields(value, record)
        elif kind is LIST:
            if value:
                self._count(FILLED, record.name, place)
            self.items = self.items or Sightings()
            for item in value:
                self.items.add(item, record)
        # Whether there is any decides, not how many.
        elif kind is STRING and record.with_times and TIMELESS not in self.kinds:
            for special in time_kinds(value):
                self._count(special, record.name, place)

    def _add_fields(self, value: Mapping[str, Any], record: _Record) -> None:
        for name, item in value.items():
            if item is not None or record.with_nulls:
                self.at(name).add(item, record)
        if self.entries is not None or len(self.fields) > MOST_NAMES:
            # Not now: another object of the record may have the same names, and each counts once a record.
            record.crowded.append(self)

    def _add_number(self, value: Any, record: Name, place: Place) -> None:
        self._count(NUMBER, record, place)
        if not isinstance(value, int):
            self._count(REAL, record, place)
            return
        if abs(value) < 10**MOST_DIGITS:
            self._count(INTEGER, record, place)
        if value < 0:
            self._count(NEGATIVE, record, place)
        if abs(value) > LARGEST_EXACT:
            self._count(WIDE, record, place)
            if not INT64_MIN <= value <= INT64_MAX:
                self._count(size_beyond_int64(value), record, place)

    def _count(self, kind: str, record: Name, place: Place) -> None:
        if self._latest.get(kind) != record:
            self._latest[kind] = record
            self._note(kind, 1, place)

    def _note(self, kind: str, records: int, place: Place | None) -> None:
        known, first = self.kinds.get(kind, (0, None))
        self.kinds[kind] = (known + records, _first(first, place))

    # --- columns --------------------------------------------------------------------------------------------------

    def add_records(self, count: int) -> None:
        """Count records whose fields are counted column by column."""
        if count:
            self._note(RECORD, count, None)

    def add_column(
        self, values: pl.Series, records: pl.Series | None = None, *, with_times: bool = False
    ) -> None:
        """Count a column of inferred type; ``records`` says which record each value is from (None: each its own).

        ``with_times`` also counts which text is a time.
        """
        if values.null_count():
            is_there = values.is_not_null()
            values = values.filter(is_there)
            records = None if records is None else records.filter(is_there)
        if not len(values) or values.dtype == pl.Null:
            return
        kind = KIND_OF_TYPE.get(type(values.dtype), NUMBER)
        self._note(kind, distinct(values, records), None)
        if kind is NUMBER:
            self._add_numbers(values, records)
        elif kind is STRUCT:
            self._add_parts(values, records, with_times=with_times)
        elif kind is LIST:
            numbers = pl.Series(range(len(values)), dtype=pl.UInt32) if records is None else records
            numbers, items = items_of(numbers, values)
            if len(items):
                self._note(FILLED, numbers.n_unique(), None)
                self.items = self.items or Sightings()
                self.items.add_column(items, numbers, with_times=with_times)
        elif kind is STRING and with_times:
            for special in time_kinds_of(values):
                self._note(special, 1, None)

    def _add_parts(self, values: pl.Series, records: pl.Series | None, *, with_times: bool) -> None:
        # All at once: each for itself takes Polars as long as there are fields.
        for column in values.struct.unnest():
            if column.null_count() < len(column):
                self.at(column.name).add_column(column, records, with_times=with_times)
        self.collapse()

    def _add_numbers(self, values: pl.Series, records: pl.Series | None) -> None:
        if values.dtype == pl.Float64:
            is_real = (values != values.floor()) | ~values.is_finite()
            counts = {REAL: distinct(values, records, is_real), UNSURE: distinct(values, records)}
            counts[UNSURE] -= counts[REAL]
        else:
            masks = integer_masks(values)
            counts = {kind: distinct(values, records, mask) for kind, mask in masks.items()}
            counts[INTEGER] = distinct(values, records)
        for kind, number in counts.items():
            if number:
                self._note(kind, number, None)

    # --- together -------------------------------------------------------------------------------------------------

    def plus(self, other: Sightings) -> Sightings:
        """Return the counts of both."""
        both = Sightings(self.kept | other.kept)
        both.kinds = dict(self.kinds)
        for kind, (records, place) in other.kinds.items():
            both._note(kind, records, place)
        both.fields = dict(self.fields)
        for name, seen in other.fields.items():
            both.fields[name] = both.fields[name].plus(seen) if name in both.fields else seen
        both.items = _sum(self.items, other.items)
        both.entries = _sum(self.entries, other.entries)
        both.collapse()
        return both

    def all_entries(self) -> Sightings:
        """Return the counts of the values under all names together, each of which counts."""
        return reduce(Sightings.plus, self.fields.values(), self.entries or Sightings())

    def at(self, name: str) -> Sightings:
        """Return where the values of a field are counted."""
        seen = self.fields.get(name)
        if seen is None:
            seen = self.fields[name] = Sightings(kept_below(self.kept, name))
        return seen

    def collapse(self) -> None:
        """Put the values of an object with too many names together; those of one that has had too many, each time."""
        # The record itself is no map: it is counted in no kind.
        if () in self.kept or STRUCT not in self.kinds:
            return
        if self.fields and (self.entries is not None or len(self.fields) > MOST_NAMES):
            self.entries, self.fields = self.all_entries(), {}

    def as_json(self) -> dict[str, Any]:
        """Return the counts as an object that can be written as JSON."""
        fields = {name: seen.as_json() for name, seen in self.fields.items()}
        items = None if self.items is None else self.items.as_json()
        entries = None if self.entries is None else self.entries.as_json()
        kept = {"kept": True} if () in self.kept else {}
        return {"kinds": self.kinds, "fields": fields, "items": items, "entries": entries, **kept}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sightings:
        """Return the counts that ``as_json`` gave."""
        seen = cls(frozenset({()}) if value.get("kept") else frozenset())
        seen.kinds = {
            kind: (records, None if place is None else (place[0], place[1], place[2]))
            for kind, (records, place) in value["kinds"].items()
        }
        seen.fields = {name: cls.from_json(inner) for name, inner in value["fields"].items()}
        seen.items = None if value["items"] is None else cls.from_json(value["items"])
        seen.entries = None if value["entries"] is None else cls.from_json(value["entries"])
        return seen


def unseen(values: pl.Series, records: pl.Series, seen: Sightings) -> set[int]:
    """Return the first records (by number, ascending in ``records``) of the kinds in a column that ``seen`` lacks.

    Where these are floats it returns all records: in a column an integer looks like them.
    """
    if values.null_count() == len(values) or values.dtype == pl.Null:
        return set()
    kind = KIND_OF_TYPE.get(type(values.dtype), NUMBER)
    firsts = set()
    if kind not in seen.kinds:
        firsts.add(records.filter(values.is_not_null())[0])
    if WIDE not in seen.kinds and (values.dtype.is_integer() or values.dtype.is_decimal()):
        wide = integer_masks(values).get(WIDE)
        firsts |= set() if wide is None else set(records.filter(wide).head(1))
    if values.dtype == pl.Float64 and REAL not in seen.kinds:
        firsts |= set(records.filter(values.is_not_null()))
    if kind is STRUCT:
        # An empty list may have become an object without fields.
        firsts |= set(records.filter(is_empty(values)))
        for column in values.struct.unnest():
            firsts |= unseen(column, records, seen.fields.get(column.name, _NOTHING))
    elif kind is LIST:
        numbers, items = items_of(records, values)
        if FILLED not in seen.kinds:
            firsts |= set(numbers.head(1))
        firsts |= unseen(items, numbers, seen.items or _NOTHING)
    return firsts


def kept_below(kept: frozenset[Path], name: str) -> frozenset[Path]:
    """Return the paths of ``kept`` that lead through a field, from that on."""
    return frozenset(path[1:] for path in kept if path and path[0] == name) if kept else kept


def wide_integers(value: Any, path: Path = ()) -> frozenset[Path]:
    """Return the paths in a value where it has an integer beyond 2**53."""
    if type(value) is int:
        return frozenset({path}) if abs(value) > LARGEST_EXACT else _NO_PATHS
    inner: list[tuple[str | None, Any]] = []
    if type(value) is dict:
        inner = list(value.items())
    elif type(value) is list:
        inner = [(None, item) for item in value]
    return _NO_PATHS.union(*(wide_integers(item, (*path, name)) for name, item in inner))


def _sum(one: Sightings | None, other: Sightings | None) -> Sightings | None:
    if one is None or other is None:
        return one or other
    return one.plus(other)


def _first(one: Place | None, other: Place | None) -> Place | None:
    if one is None or other is None:
        return one or other
    return min(one, other)


_NOTHING: Final = Sightings()
_NO_PATHS: Final = frozenset[Path]()
