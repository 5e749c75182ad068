"""Infers the types of columns from the kinds of values that were seen in each field. Nothing here decodes.

Null widens to every type, and Int64 to Float64 while every integer is exact as a float, also in lists and structs; all
other pairs of kinds conflict (``dtypes.common_dtype`` has the same rule for types). Integers have the first of Int64,
UInt64 and Decimal(38, 0) that holds all that decide. Text is a time where ``times=`` asks for times and all that decide
are ISO 8601 times with an offset. ``inferred_schema`` goes by the records at hand alone; ``decision``
by those that decide for a whole topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import polars as pl

from ktframe.formats.dtypes import MOST_DIGITS, as_instance, struct_fields
from ktframe.formats.json.kinds import (
    BOOLEAN,
    ENDLESS,
    FAR,
    FILLED,
    FINE,
    HUGE,
    INTEGER,
    LIST,
    NEGATIVE,
    NUMBER,
    REAL,
    RECORD,
    STRING,
    STRUCT,
    TIMELESS,
    UNSIGNED,
    UNSURE,
    VALUE_KINDS,
    WIDE,
)
from ktframe.formats.json.sightings import LAST, MOST_NAMES, Path, Sightings

MOST_NEW: Final = 100
"""So many names an object may get besides those that were decided: more are refused."""

_FEWEST_ODD, _ODD_SHARE = 2, 100
"""So many records of other kinds, and at least one in so many, are not odd ones any more."""
_MOST_OF_ANY, _SPARSE = 64, 16
"""An object with more names than that is a map if on the average one in more than so many is there."""
_NOTHING = Sightings()
_IDENTITY_KINDS = frozenset({INTEGER, BOOLEAN, STRING})
_SIMPLE: dict[str | None, pl.DataType] = {
    None: pl.Null(),
    BOOLEAN: pl.Boolean(),
}


@dataclass(frozen=True, slots=True)
class InferenceRules:
    """Which fields don't simply get the commonest kind."""

    fixed: frozenset[str] = frozenset()
    """Declared fields: their types never change."""
    reserved: frozenset[str] = frozenset()
    """Names of other columns, which no field can have."""
    exact: frozenset[str] = frozenset()
    """Fields of an identity: String, integers or Boolean only."""
    are_all_exact: bool = False
    """Whether every field is part of an identity, as in a record key."""
    integer: frozenset[str] = frozenset()
    """Fields whose integers never become floats, at any depth."""
    exact_paths: frozenset[Path] = frozenset()
    """Nested fields of an identity."""
    integer_paths: frozenset[Path] = frozenset()
    """Nested fields whose integers never become floats."""
    objects: frozenset[Path] = frozenset()
    """Fields that no one may declare as text: a key or a time is looked for inside."""
    timed: frozenset[Path] = frozenset()
    """Fields that hold a time: their integers are Int64."""
    reads_times: bool = False
    """Whether text that is a time becomes one, where it is no part of an identity."""
    most: int | None = None
    """So many columns are inferred, and those that are named; None: as many as there are."""
    is_full: bool = False
    """Whether there are so many."""

    def is_exact(self, path: Path) -> bool:
        """Say whether a field is part of an identity, or is in one that is."""
        return self.are_all_exact or path[0] in self.exact or path in self.exact_paths

    def is_named(self, path: Path) -> bool:
        """Say whether a field is part of an identity or a time, or one of these is inside of it."""
        return self.is_exact(path) or path in self.timed or path in self.objects

    def keeps_integers(self, path: Path) -> bool:
        """Say whether integers never become floats in a field."""
        return path[0] in self.integer or path in self.integer_paths


def inferred_schema(
    known: pl.Schema,
    records: Iterable[Mapping[str, Any]],
    rules: InferenceRules,
    whole: frozenset[Path] = frozenset(),
    decided: Mapping[str, pl.DataType] | None = None,
    *,
    is_capped: bool = True,
) -> pl.Schema:
    """Return ``known`` with its inferred types widened and new fields added, so that most of ``records`` fit.

    A column without a type gets the commonest kind, counted in records; among equals the one seen first. Integers
    beyond 2**53 and floats in one field exclude each other: the more frequent wins, floats when equal. A known Int64
    becomes Float64 if there are floats and no integer beyond 2**53, save at the paths in ``whole``. No other known type
    changes. With the types that were ``decided``, an empty list is an object where these are objects, and if ``is_capped``,
    an object gets no more than ``MOST_NEW`` further names: the names of maps would make columns without end.
    """
    seen = Sightings(rules.objects)
    for number, record in enumerate(records):
        seen.add_record(record, 0, number, with_times=rules.reads_times)
    schema = dict(known)
    columns = None if decided is not None else dict(FieldRules(rules).columns(seen))
    count = len(schema.keys() - rules.fixed)
    for name, field in seen.fields.items():
        if name in rules.fixed:
            continue
        if name not in schema:
            has_room = not is_capped or rules.most is None or count < rules.most or rules.is_named((name,))
            if not has_room or not (columns is None or name in columns):
                continue
            count += 1
        dtype = schema.get(name, pl.Null())
        base = None if decided is None else decided.get(name, pl.Null())
        field_rules = FieldRules(rules, (name,), ties_by_place=False, is_capped=is_capped)
        schema[name] = field_rules.widened(dtype, field, whole, base)
    return pl.Schema(schema)


@dataclass(frozen=True, slots=True)
class FieldRules:
    """The rules of the field at one path; without one, of the records themselves."""

    rules: InferenceRules
    path: Path = ()
    ties_by_place: bool = True
    """Whether of equally many floats and integers that they would round those seen first are kept, or the floats."""

    is_capped: bool = True
    """Whether objects get only so many names besides those that were decided."""

    def at(self, name: str | None) -> FieldRules:
        """Return the rules of a field inside; None stands for the items of a list."""
        return replace(self, path=(*self.path, name))

    def widened(
        self,
        known: pl.DataType,
        seen: Sightings,
        whole: frozenset[Path],
        decided: pl.DataType | None = None,
    ) -> pl.DataType:
        """Return ``known`` widened for what was seen of some records, of which it may hold others already."""
        if isinstance(known, pl.Null):
            is_empty = isinstance(decided, pl.Struct) and not seen.records(FILLED)
            kind = STRUCT if is_empty and seen.records(LIST) else self.kind(seen)
            if decided is None or kind not in (STRUCT, LIST):
                return self.dtype(seen)
            known = pl.Struct([]) if kind == STRUCT else pl.List(pl.Null())
        if self.rules.is_exact(self.path):
            return known
        if isinstance(known, pl.Int64) and not self.keeps_integers and self.path not in whole:
            return pl.Float64() if seen.records(REAL) and not seen.records(WIDE) else known
        if isinstance(known, pl.List) and seen.items:
            items = as_instance(decided.inner) if isinstance(decided, pl.List) else decided and pl.Null()
            return pl.List(self.at(None).widened(as_instance(known.inner), seen.items, whole, items))
        if isinstance(known, pl.Struct):
            return self._widened_struct(known, seen, whole, decided)
        return known

    def _widened_struct(
        self,
        known: pl.Struct,
        seen: Sightings,
        whole: frozenset[Path],
        decided: pl.DataType | None,
    ) -> pl.DataType:
        fields = struct_fields(known)
        before = dict(fields)
        base = struct_fields(decided) if isinstance(decided, pl.Struct) else {}
        most = MOST_NAMES if decided is None else self.most_fields(len(base))
        for name, inner in seen.fields.items():
            is_named = self.rules.is_named((*self.path, name))
            if name in fields or len(fields) < most or not self.is_capped or is_named:
                known_inner = fields.get(name, pl.Null())
                inner_base = None if decided is None else base.get(name, pl.Null())
                fields[name] = self.at(name).widened(known_inner, inner, whole, inner_base)
        # To make a type of many fields, and to compare it, takes long.
        is_same = len(fields) == len(before) and all(fields[name] is before[name] for name in before)
        return known if is_same else pl.Struct(fields)

    def most_fields(self, decided: int) -> int:
        """Return how many names an object may have of which so many were decided."""
        most = decided + MOST_NEW
        return max(decided, min(most, MOST_NAMES)) if self.path in self.rules.objects else most

    def dtype(self, seen: Sightings) -> pl.DataType:
        """Return the type of a column for all that was seen."""
        kind = self.kind(seen)
        if kind == LIST:
            return pl.List(pl.Null() if seen.items is None else self.at(None).dtype(seen.items))
        if kind == STRUCT:
            return pl.Struct({name: self.at(name).dtype(inner) for name, inner in self.columns(seen)})
        if kind == NUMBER and self.is_float(seen):
            return pl.Float64()
        if kind == STRING:
            return self.text_dtype(seen)
        return self.integer_dtype(seen) if kind in (NUMBER, INTEGER) else _SIMPLE[kind]

    def is_crowded(self, seen: Sightings) -> bool:
        """Say whether an object that can be no map, or the record itself, has more names than become columns."""
        if self.path in self.rules.objects:
            return len(seen.fields) > MOST_NAMES
        if self.path or len(seen.fields) <= MOST_NAMES:
            return False
        # Records of thousands of fields that most of them have are as they should be.
        inferred = self.inferred(seen)
        values = sum(map(_values, inferred.values()))
        return len(inferred) > MOST_NAMES and len(inferred) * seen.records(RECORD) > _SPARSE * values

    def columns(self, seen: Sightings) -> Iterable[tuple[str, Sightings]]:
        """Return the fields of an object that are columns: so many of those that came first, where it is crowded."""
        inferred = self.inferred(seen)
        if not self.is_crowded(seen):
            return inferred.items()
        first = sorted(inferred.items(), key=lambda field: (field[1].place or LAST, field[0]))[:MOST_NAMES]
        named = {name: inferred[name] for name in inferred if self.rules.is_named((*self.path, name))}
        return {**dict(first), **named}.items()

    def inferred(self, seen: Sightings) -> Mapping[str, Sightings]:
        """Return the fields of an object whose types are inferred."""
        if self.path or self.rules.fixed.isdisjoint(seen.fields):
            return seen.fields
        return {name: inner for name, inner in seen.fields.items() if name not in self.rules.fixed}

    def most_columns(self, seen: Sightings, known: int) -> int:
        """Return how many columns records may get in all, of which so many are ``known`` by what was seen."""
        return known if self.is_crowded(seen) else max(MOST_NAMES, known + MOST_NEW)

    def text_dtype(self, seen: Sightings) -> pl.DataType:
        """Return the type of text: a time in UTC where all that was seen are times that one column holds."""
        # A key stays as it is written: the same moment is sent in many ways.
        are_times = self.rules.reads_times and not self.rules.is_exact(self.path)
        is_fine = seen.records(FINE) > 0
        if not are_times or seen.records(TIMELESS) or (is_fine and seen.records(FAR)):
            return pl.String()
        return pl.Datetime("ns" if is_fine else "us", "UTC")

    def integer_dtype(self, seen: Sightings) -> pl.DataType:
        """Return the first of the types of integers that holds all that were seen."""
        # Not Int128: Arrow has none, and no other reader of it takes one.
        is_unsigned, is_huge = seen.records(UNSIGNED) > 0, seen.records(HUGE) > 0
        if self.path in self.rules.timed or not (is_unsigned or is_huge):
            return pl.Int64()
        return pl.Decimal(MOST_DIGITS, 0) if is_huge or seen.records(NEGATIVE) else pl.UInt64()

    def kind(self, seen: Sightings) -> str | None:
        """Return the commonest kind; of equally common ones that seen first."""
        if self.rules.is_exact(self.path):
            return seen.commonest(_IDENTITY_KINDS)
        if self.path in self.rules.objects and seen.records(STRUCT):
            return STRUCT  # however rare: what is named is inside
        kinds = VALUE_KINDS
        if STRUCT in seen.kinds:
            kinds = kinds - {LIST} | {FILLED}
        kind = seen.commonest(kinds)
        return LIST if kind == FILLED else kind

    def competes(self, seen: Sightings) -> bool:
        """Say whether a column of the commonest kind would refuse more than some odd records."""
        if self.rules.is_named(self.path):
            return False
        kind = self.kind(seen)
        others = sum(seen.records(other) for other in VALUE_KINDS - {kind})
        if kind == STRUCT:
            others -= seen.records(LIST) - seen.records(FILLED)
        elif kind == NUMBER:
            # Whatever was asked for: who keeps integers for the sake of rows that are there decides nothing for others.
            reals, wide = seen.records(REAL), seen.records(WIDE)
            is_float = reals > 0 and reals + seen.records(UNSURE) >= wide
            others += wide if is_float else reals + seen.records(ENDLESS)
        every = sum(map(seen.records, VALUE_KINDS))
        return others >= _FEWEST_ODD and others * _ODD_SHARE >= every

    def is_map(self, seen: Sightings) -> bool:
        """Say whether the names of an object don't settle: most of them are in few of the objects."""
        # What a key or a time is inside of is none; an object in the place of a time is no time either way.
        if self.path in self.rules.objects or self.kind(seen) != STRUCT:
            return False
        values = [_values(inner) for inner in seen.fields.values()]
        names = len(values) - values.count(0)
        is_sparse = names > _MOST_OF_ANY and names * seen.records(STRUCT) > _SPARSE * sum(values)
        return seen.entries is not None or is_sparse

    @property
    def keeps_integers(self) -> bool:
        """Whether integers never become floats here."""
        return self.rules.keeps_integers(self.path)

    def is_float(self, seen: Sightings) -> bool:
        """Say whether floats are kept where numbers are seen, not the integers that a float would round."""
        if self.rules.is_exact(self.path) or (self.keeps_integers and seen.records(INTEGER)):
            return False
        reals, wide = seen.records(REAL) + seen.records(UNSURE), seen.records(WIDE)
        if reals != wide or not self.ties_by_place:
            return reals > 0 and reals >= wide
        return reals > 0 and (seen.first(REAL) or LAST) < (seen.first(WIDE) or LAST)

    def is_uncertain(self, seen: Sightings) -> bool:
        """Say whether that depends on which whole numbers in a column of floats were sent as integers."""
        if not seen.records(UNSURE):
            return False
        return self.keeps_integers or seen.records(WIDE) >= seen.records(REAL)


def settles(seen: Sightings) -> bool:
    """Say whether an object has few names that only one record has."""
    return sum(_values(inner) == 1 for inner in seen.fields.values()) <= _MOST_OF_ANY


def has_many(seen: Sightings, rules: InferenceRules, times: int = 1) -> bool:
    """Say whether the records, or an object that can be no map, have (so many times) more names than become columns."""
    return any(len(at.fields) > times * MOST_NAMES for _, at in _places(seen, rules))


def first_crowding(
    seen: Sightings, records: Iterable[Mapping[str, Any] | None], rules: InferenceRules
) -> int | None:
    """Return the number of the first of ``records`` with which names have become too many to be columns; ``seen`` was before.

    So it is the same however they are cut. None of them may be there.
    """
    names = {
        path: {name for name, inner in FieldRules(rules, path).inferred(at).items() if _values(inner)}
        for path, at in _places(seen, rules)
    }
    top = FieldRules(rules).inferred(seen)
    count, values = seen.records(RECORD), sum(map(_values, top.values()))
    for number, record in enumerate(records):
        if record is None:
            continue
        for path, some in names.items():
            found = _names_at(record, path, rules)
            some.update(found)
            is_many = len(some) > MOST_NAMES
            if not path:
                count, values = count + 1, values + len(found)
                is_many = is_many and len(some) * count > _SPARSE * values
            if is_many:
                return number
    return None


def _places(seen: Sightings, rules: InferenceRules) -> Iterator[tuple[Path, Sightings]]:
    """Yield what was seen of the records themselves, and of the objects that can be no maps."""
    yield (), seen
    for path in rules.objects:
        at = seen
        for name in path:
            at = at.fields.get(name or "", _NOTHING)
        yield path, at


def _names_at(record: Mapping[str, Any], path: Path, rules: InferenceRules) -> list[str]:
    """Return the names of the object at a path that have a value, at the top those whose types are inferred."""
    value: Any = record
    for name in path:
        value = value.get(name) if type(value) is dict else None
    if type(value) is not dict:
        return []
    return [name for name, item in value.items() if item is not None and (path or name not in rules.fixed)]


def _values(seen: Sightings) -> int:
    """Return in how many records a field was not null."""
    return sum(map(seen.records, VALUE_KINDS))
