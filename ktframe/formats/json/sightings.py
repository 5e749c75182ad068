"""Counts of the kinds of JSON values that were seen in each field, record by record or in whole columns.

Counts of different records add up in any order. What follows from them is decided in ``inference``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from itertools import count
from typing import Any, Final, TypeAlias

import orjson
import polars as pl

from ktframe.formats.dtypes import LARGEST_EXACT, MOST_DIGITS

INT64_MIN, INT64_MAX, UINT64_MAX = -(2**63), 2**63 - 1, 2**64 - 1
NUMBER: Final = "number"
INTEGER: Final = "integer"
NEGATIVE: Final = "negative"
"""An integer below 0."""
WIDE: Final = "wide"
"""An integer beyond 2**53."""
UNSIGNED: Final = "unsigned"
"""An integer that only a UInt64 holds."""
HUGE: Final = "huge"
"""An integer that only a Decimal holds."""
ENDLESS: Final = "endless"
"""An integer that no column of numbers holds."""
REAL: Final = "real"
UNSURE: Final = "unsure"
"""A whole number in a column of floats, which may have been sent as an integer."""
BOOLEAN: Final = "boolean"
STRING: Final = "string"
LIST: Final = "list"
STRUCT: Final = "struct"
NULL: Final = "null"
"""Not counted; only its place is kept."""

EMPTY: Final = "[]"
"""How ``add_names`` counts an object without names."""

_KIND_OF: Final = {bool: BOOLEAN, str: STRING, list: LIST, dict: STRUCT}
_KIND_OF_TYPE: Final = {pl.Boolean: BOOLEAN, pl.String: STRING, pl.List: LIST, pl.Struct: STRUCT}

Place: TypeAlias = tuple[int, int, int]
"""Partition and offset of a record, and the number of the value in it."""

LAST: Final[Place] = (2**63, 0, 0)
"""After all places: where something is that has none."""

Path: TypeAlias = tuple[str | None, ...]
"""The names that lead to a field; None stands for the items of a list."""


class Sightings:
    """In how many records each kind was seen at one path, and where first; several times in one record count once."""

    __slots__ = ("_latest", "fields", "items", "kinds")

    def __init__(self) -> None:
        self.kinds: dict[str, tuple[int, Place | None]] = {}
        self.fields: dict[str, Sightings] = {}
        self.items: Sightings | None = None
        self._latest: dict[str, tuple[int, int]] = {}

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
        if self.items is not None:
            yield from self.items.walk((*path, None))

    # --- records --------------------------------------------------------------------------------------------------

    def add_record(
        self, record: Mapping[str, Any], partition: int, offset: int, *, with_nulls: bool = True
    ) -> None:
        """Count the fields of an object; ``with_nulls`` also notes where fields are null."""
        numbers = count()
        for name, value in record.items():
            if value is not None or with_nulls:
                _at(self.fields, name).add(value, (partition, offset), numbers, with_nulls=with_nulls)

    def add_names(self, record: Mapping[str, Any], partition: int, offset: int) -> None:
        """Count which names an object has, all together."""
        self._note(orjson.dumps(sorted(record)).decode(), 1, (partition, offset, 0))

    @property
    def commonest_names(self) -> frozenset[str]:
        """The names that most objects with names had; of those that equally many had, the ones seen first."""
        names = self.commonest(self.kinds.keys() - {EMPTY})
        return frozenset(() if names is None else orjson.loads(names))

    def commonest(self, kinds: Collection[str]) -> str | None:
        """Return the commonest of ``kinds``; of equally common ones that seen first, None where none was seen."""
        seen = ((kind, *self.kinds[kind]) for kind in self.kinds if kind in kinds)
        ranked = [(-records, place or LAST, kind) for kind, records, place in seen]
        return min(ranked)[2] if ranked else None

    def add(self, value: Any, record: tuple[int, int], numbers: Iterator[int], *, with_nulls: bool) -> None:
        """Count a value of ``record``; ``numbers`` counts the values in it."""
        place = (*record, next(numbers))
        if value is None:
            if with_nulls:
                self._note(NULL, 0, place)
            return
        kind = _KIND_OF.get(type(value), NUMBER)
        if kind is NUMBER:
            self._add_number(value, record, place)
            return
        self._count(kind, record, place)
        if kind is STRUCT:
            for name, item in value.items():
                if item is not None or with_nulls:
                    _at(self.fields, name).add(item, record, numbers, with_nulls=with_nulls)
        elif kind is LIST:
            self.items = self.items or Sightings()
            for item in value:
                self.items.add(item, record, numbers, with_nulls=with_nulls)

    def _add_number(self, value: Any, record: tuple[int, int], place: Place) -> None:
        self._count(NUMBER, record, place)
        if not isinstance(value, int):
            self._count(REAL, record, place)
            return
        self._count(INTEGER, record, place)
        if value < 0:
            self._count(NEGATIVE, record, place)
        if abs(value) > LARGEST_EXACT:
            self._count(WIDE, record, place)
            if not INT64_MIN <= value <= INT64_MAX:
                self._count(_beyond_int64(value), record, place)

    def _count(self, kind: str, record: tuple[int, int], place: Place) -> None:
        if self._latest.get(kind) != record:
            self._latest[kind] = record
            self._note(kind, 1, place)

    def _note(self, kind: str, records: int, place: Place | None) -> None:
        known, first = self.kinds.get(kind, (0, None))
        self.kinds[kind] = (known + records, _first(first, place))

    # --- columns --------------------------------------------------------------------------------------------------

    def add_column(self, values: pl.Series, records: pl.Series | None = None) -> None:
        """Count a column of inferred type; ``records`` says which record each value is from (None: each its own)."""
        if values.null_count():
            is_there = values.is_not_null()
            values = values.filter(is_there)
            records = None if records is None else records.filter(is_there)
        if not len(values) or values.dtype == pl.Null:
            return
        kind = _KIND_OF_TYPE.get(type(values.dtype), NUMBER)
        self._note(kind, _distinct(values, records), None)
        if kind is NUMBER:
            self._add_numbers(values, records)
        elif kind is STRUCT:
            for part in values.struct.fields:
                column = values.struct.field(part)
                if column.null_count() < len(column):
                    _at(self.fields, part).add_column(column, records)
        elif kind is LIST:
            numbers = pl.Series(range(len(values)), dtype=pl.UInt32) if records is None else records
            numbers, items = _items(numbers, values)
            if len(items):
                self.items = self.items or Sightings()
                self.items.add_column(items, numbers)

    def _add_numbers(self, values: pl.Series, records: pl.Series | None) -> None:
        if values.dtype == pl.Float64:
            is_real = (values != values.floor()) | ~values.is_finite()
            counts = {REAL: _distinct(values, records, is_real), UNSURE: _distinct(values, records)}
            counts[UNSURE] -= counts[REAL]
        else:
            masks = _integer_masks(values)
            counts = {kind: _distinct(values, records, mask) for kind, mask in masks.items()}
            counts[INTEGER] = _distinct(values, records)
        for kind, number in counts.items():
            if number:
                self._note(kind, number, None)

    # --- together -------------------------------------------------------------------------------------------------

    def plus(self, other: Sightings) -> Sightings:
        """Return the counts of both."""
        both = Sightings()
        both.kinds = dict(self.kinds)
        for kind, (records, place) in other.kinds.items():
            both._note(kind, records, place)
        both.fields = dict(self.fields)
        for name, seen in other.fields.items():
            both.fields[name] = both.fields[name].plus(seen) if name in both.fields else seen
        both.items = self.items
        if other.items is not None:
            both.items = other.items if self.items is None else self.items.plus(other.items)
        return both

    def as_json(self) -> dict[str, Any]:
        """Return the counts as an object that can be written as JSON."""
        fields = {name: seen.as_json() for name, seen in self.fields.items()}
        items = None if self.items is None else self.items.as_json()
        return {"kinds": self.kinds, "fields": fields, "items": items}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Sightings:
        """Return the counts that ``as_json`` gave."""
        seen = cls()
        seen.kinds = {
            kind: (records, None if place is None else (place[0], place[1], place[2]))
            for kind, (records, place) in value["kinds"].items()
        }
        seen.fields = {name: cls.from_json(inner) for name, inner in value["fields"].items()}
        seen.items = None if value["items"] is None else cls.from_json(value["items"])
        return seen


def unseen(values: pl.Series, records: pl.Series, seen: Sightings) -> set[int]:
    """Return the first records (by number, ascending in ``records``) of the kinds in a column that ``seen`` lacks.

    Where these are floats it returns all records: in a column an integer looks like them.
    """
    if values.null_count() == len(values) or values.dtype == pl.Null:
        return set()
    kind = _KIND_OF_TYPE.get(type(values.dtype), NUMBER)
    firsts = set()
    if kind not in seen.kinds:
        firsts.add(records.filter(values.is_not_null())[0])
    if WIDE not in seen.kinds and (values.dtype.is_integer() or values.dtype.is_decimal()):
        wide = _integer_masks(values).get(WIDE)
        firsts |= set() if wide is None else set(records.filter(wide).head(1))
    if values.dtype == pl.Float64 and REAL not in seen.kinds:
        firsts |= set(records.filter(values.is_not_null()))
    if kind is STRUCT:
        for part in values.struct.fields:
            firsts |= unseen(values.struct.field(part), records, seen.fields.get(part, _NOTHING))
    elif kind is LIST:
        numbers, items = _items(records, values)
        firsts |= unseen(items, numbers, seen.items or _NOTHING)
    return firsts


def _beyond_int64(value: int) -> str:
    if 0 <= value <= UINT64_MAX:
        return UNSIGNED
    return HUGE if abs(value) < 10**MOST_DIGITS else ENDLESS


def _integer_masks(values: pl.Series) -> dict[str, pl.Series]:
    """Return where a column of integers, an Int64, UInt64 or Decimal, has those of each special kind that it has."""
    low: Any = values.min()
    high: Any = values.max()
    if low is None:
        return {}
    masks = {}
    # A UInt64 can't be compared with what is below 0: only where there is something to find.
    if low < 0:
        masks[NEGATIVE] = values < 0
    if high > LARGEST_EXACT:
        masks[WIDE] = values > LARGEST_EXACT
    if low < -LARGEST_EXACT:
        is_low = values < -LARGEST_EXACT
        masks[WIDE] = masks[WIDE] | is_low if WIDE in masks else is_low
    if high > INT64_MAX:
        masks[UNSIGNED] = values > INT64_MAX
    if high > UINT64_MAX:
        masks[HUGE] = values > UINT64_MAX
        masks[UNSIGNED] &= ~masks[HUGE]
    if low < INT64_MIN:
        is_low = values < INT64_MIN
        masks[HUGE] = masks[HUGE] | is_low if HUGE in masks else is_low
    return masks


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


def _items(records: pl.Series, lists: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return the items of ``lists``, and for each the record that it is from."""
    items = pl.DataFrame({"r": records, "v": lists}).filter(pl.col("v").list.len() > 0).explode("v")
    return items["r"], items["v"]


def _distinct(values: pl.Series, records: pl.Series | None, mask: pl.Series | None = None) -> int:
    if records is None:
        return len(values) if mask is None else int(mask.sum())
    return records.n_unique() if mask is None else records.filter(mask).n_unique()


def _first(one: Place | None, other: Place | None) -> Place | None:
    if one is None or other is None:
        return one or other
    return min(one, other)


def _at(sightings: dict[str, Sightings], name: str) -> Sightings:
    seen = sightings.get(name)
    if seen is None:
        seen = sightings[name] = Sightings()
    return seen


_NOTHING: Final = Sightings()
_NO_PATHS: Final = frozenset[Path]()
