"""Infers the types of columns from the kinds of values that were seen in each field. Nothing here decodes.

Null widens to every type, and Int64 to Float64 while every integer is exact as a float, also in lists and structs; all
other pairs of kinds conflict (``dtypes.common_dtype`` has the same rule for types). Integers have the first of Int64,
UInt64 and Decimal(38, 0) that holds all that decide. ``inferred_schema`` goes by the records at hand alone; ``decision``
by those that decide for a whole topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ktframe.formats.dtypes import MOST_DIGITS, as_instance, struct_fields
from ktframe.formats.json.sightings import (
    BOOLEAN,
    HUGE,
    INTEGER,
    LAST,
    LIST,
    NEGATIVE,
    NUMBER,
    REAL,
    STRING,
    STRUCT,
    UNSIGNED,
    UNSURE,
    WIDE,
    Path,
    Sightings,
)

_COLUMN_KINDS = frozenset({NUMBER, BOOLEAN, STRING, LIST, STRUCT})
_IDENTITY_KINDS = frozenset({INTEGER, BOOLEAN, STRING})
_SIMPLE: dict[str | None, pl.DataType] = {
    None: pl.Null(),
    BOOLEAN: pl.Boolean(),
    STRING: pl.String(),
}


@dataclass(frozen=True, slots=True)
class InferenceRules:
    """Which fields don't simply get the commonest kind."""

    fixed: frozenset[str] = frozenset()
    """Declared fields: their types never change."""
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
    objects: frozenset[str] = frozenset()
    """Fields that no one may declare as text: a key or a time is looked for inside."""
    timed: frozenset[Path] = frozenset()
    """Fields that hold a time: their integers are Int64."""

    def is_exact(self, path: Path) -> bool:
        """Say whether a field is part of an identity, or is in one that is."""
        return self.are_all_exact or path[0] in self.exact or path in self.exact_paths

    def keeps_integers(self, path: Path) -> bool:
        """Say whether integers never become floats in a field."""
        return path[0] in self.integer or path in self.integer_paths


def inferred_schema(
    known: pl.Schema,
    records: Iterable[Mapping[str, Any]],
    rules: InferenceRules,
    whole: frozenset[Path] = frozenset(),
) -> pl.Schema:
    """Return ``known`` with its inferred types widened and new fields added, so that most of ``records`` fit.

    A column without a type gets the commonest kind, counted in records; among equals the one seen first. Integers
    beyond 2**53 and floats in one field exclude each other: the more frequent wins, floats when equal. A known Int64
    becomes Float64 if there are floats and no integer beyond 2**53, save at the paths in ``whole``. No other known type
    changes.
    """
    seen = Sightings()
    for number, record in enumerate(records):
        seen.add_record(record, 0, number)
    schema = dict(known)
    for name, field in seen.fields.items():
        if name not in rules.fixed:
            dtype = schema.get(name, pl.Null())
            schema[name] = FieldRules(rules, (name,), ties_by_place=False).widened(dtype, field, whole)
    return pl.Schema(schema)


@dataclass(frozen=True, slots=True)
class FieldRules:
    """The rules of the field at one path."""

    rules: InferenceRules
    path: Path
    ties_by_place: bool = True
    """Whether of equally many floats and integers that they would round those seen first are kept, or the floats."""

    def at(self, name: str | None) -> FieldRules:
        """Return the rules of a field inside; None stands for the items of a list."""
        return FieldRules(self.rules, (*self.path, name), self.ties_by_place)

    def widened(self, known: pl.DataType, seen: Sightings, whole: frozenset[Path]) -> pl.DataType:
        """Return ``known`` widened for what was seen of some records, of which it may hold others already."""
        if isinstance(known, pl.Null):
            return self.dtype(seen)
        if self.rules.is_exact(self.path):
            return known
        if isinstance(known, pl.Int64) and not self.keeps_integers and self.path not in whole:
            return pl.Float64() if seen.records(REAL) and not seen.records(WIDE) else known
        if isinstance(known, pl.List) and seen.items:
            return pl.List(self.at(None).widened(as_instance(known.inner), seen.items, whole))
        if isinstance(known, pl.Struct):
            fields = struct_fields(known)
            for name, inner in seen.fields.items():
                fields[name] = self.at(name).widened(fields.get(name, pl.Null()), inner, whole)
            return pl.Struct(fields)
        return known

    def dtype(self, seen: Sightings) -> pl.DataType:
        """Return the type of a column for all that was seen."""
        kind = self.kind(seen)
        if kind == LIST:
            return pl.List(pl.Null() if seen.items is None else self.at(None).dtype(seen.items))
        if kind == STRUCT:
            return pl.Struct({name: self.at(name).dtype(inner) for name, inner in seen.fields.items()})
        if kind == NUMBER and self.is_float(seen):
            return pl.Float64()
        return self.integer_dtype(seen) if kind in (NUMBER, INTEGER) else _SIMPLE[kind]

    def integer_dtype(self, seen: Sightings) -> pl.DataType:
        """Return the first of the types of integers that holds all that were seen."""
        # Not Int128: Arrow has none, and no other reader of it takes one.
        is_unsigned, is_huge = seen.records(UNSIGNED) > 0, seen.records(HUGE) > 0
        if self.path in self.rules.timed or not (is_unsigned or is_huge):
            return pl.Int64()
        return pl.Decimal(MOST_DIGITS, 0) if is_huge or seen.records(NEGATIVE) else pl.UInt64()

    def kind(self, seen: Sightings) -> str | None:
        """Return the commonest kind; of equally common ones that seen first."""
        return seen.commonest(_IDENTITY_KINDS if self.rules.is_exact(self.path) else _COLUMN_KINDS)

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
