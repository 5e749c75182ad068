"""Infers the types of columns from JSON values, by counting the kinds of values in each field.

Null widens to every type, and Int64 to Float64 while every integer is exact as a float, also in lists and structs; all
other pairs of kinds conflict (``dtypes.common_dtype`` has the same rule for types). Nothing here decodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from ktframe.formats.dtypes import LARGEST_EXACT, as_instance

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
_NUMBER, _INTEGER, _WIDE, _REAL = "number", "integer", "wide integer", "real"
_BOOLEAN, _STRING, _LIST, _STRUCT = "boolean", "string", "list", "struct"
_KIND_OF = {bool: _BOOLEAN, str: _STRING, list: _LIST, dict: _STRUCT}
_COLUMN_KINDS = frozenset({_NUMBER, _BOOLEAN, _STRING, _LIST, _STRUCT})
_IDENTITY_KINDS = frozenset({_INTEGER, _BOOLEAN, _STRING})


@dataclass(frozen=True, slots=True)
class InferenceRules:
    """Which top-level fields don't simply get the commonest kind."""

    fixed: frozenset[str] = frozenset()
    """Declared fields: their types never change."""
    exact: frozenset[str] = frozenset()
    """Fields of an identity: String, Int64 or Boolean only."""
    are_all_exact: bool = False
    """Whether every field is part of an identity, as in a record key."""
    integer: frozenset[str] = frozenset()
    """Fields whose integers never become floats, at any depth."""


def inferred_schema(
    known: pl.Schema, records: Iterable[Mapping[str, Any]], rules: InferenceRules
) -> pl.Schema:
    """Return ``known`` with its inferred types widened and new fields added, so that most of ``records`` fit.

    A column without a type gets the commonest kind, counted in records; among equals the one seen first. Integers
    beyond 2**53 and floats in one field exclude each other: the more frequent wins, floats when equal. A known Int64
    becomes Float64 if there are floats and no integer beyond 2**53. No other known type changes.
    """
    sightings: dict[str, _Sightings] = {}
    for number, record in enumerate(records):
        for name, value in record.items():
            if name not in rules.fixed:
                _at(sightings, name).add(value, number)
    schema = dict(known)
    for name, seen in sightings.items():
        dtype = schema.get(name, pl.Null())
        if rules.are_all_exact or name in rules.exact:
            schema[name] = seen.identity_dtype(dtype)
        else:
            schema[name] = seen.dtype(dtype, keeps_integers=name in rules.integer)
    return pl.Schema(schema)


class _Sightings:
    """In how many records each kind was seen at one path; several times in one record count once."""

    __slots__ = ("_latest", "fields", "items", "records")

    def __init__(self) -> None:
        self.records: dict[str, int] = {}
        self.fields: dict[str, _Sightings] = {}
        self.items: _Sightings | None = None
        self._latest: dict[str, int] = {}

    def add(self, value: Any, record: int) -> None:
        if value is None:
            return
        kind = _KIND_OF.get(type(value), _NUMBER)
        if kind is _NUMBER:
            self._add_number(value, record)
            return
        self._count(kind, record)
        if kind is _STRUCT:
            for name, item in value.items():
                _at(self.fields, name).add(item, record)
        elif kind is _LIST:
            self.items = self.items or _Sightings()
            for item in value:
                self.items.add(item, record)

    def _add_number(self, value: Any, record: int) -> None:
        if not isinstance(value, int):
            self._count(_REAL, record)
        elif INT64_MIN <= value <= INT64_MAX:
            self._count(_INTEGER, record)
            if abs(value) > LARGEST_EXACT:
                self._count(_WIDE, record)
        else:
            return  # no inferred type holds it, so it does not count
        self._count(_NUMBER, record)

    def _count(self, kind: str, record: int) -> None:
        if self._latest.get(kind) != record:
            self._latest[kind] = record
            self.records[kind] = self.records.get(kind, 0) + 1

    def dtype(self, known: pl.DataType, *, keeps_integers: bool) -> pl.DataType:
        if isinstance(known, pl.Null):
            return self._new_dtype(keeps_integers=keeps_integers)
        if isinstance(known, pl.Int64) and not keeps_integers:
            return pl.Float64() if _REAL in self.records and _WIDE not in self.records else known
        if isinstance(known, pl.List) and self.items:
            return pl.List(self.items.dtype(as_instance(known.inner), keeps_integers=keeps_integers))
        if isinstance(known, pl.Struct):
            fields = {field.name: as_instance(field.dtype) for field in known.fields}
            for name, seen in self.fields.items():
                fields[name] = seen.dtype(fields.get(name, pl.Null()), keeps_integers=keeps_integers)
            return pl.Struct(fields)
        return known

    def _new_dtype(self, *, keeps_integers: bool) -> pl.DataType:
        kind = self._commonest(_COLUMN_KINDS)
        if kind == _LIST:
            return self.dtype(pl.List(pl.Null()), keeps_integers=keeps_integers)
        if kind == _STRUCT:
            return self.dtype(pl.Struct([]), keeps_integers=keeps_integers)
        if kind == _NUMBER:
            reals, wide = self.records.get(_REAL, 0), self.records.get(_WIDE, 0)
            is_integer = not reals or wide > reals or (keeps_integers and _INTEGER in self.records)
            return pl.Int64() if is_integer else pl.Float64()
        return _SIMPLE[kind]

    def identity_dtype(self, known: pl.DataType) -> pl.DataType:
        return _SIMPLE[self._commonest(_IDENTITY_KINDS)] if isinstance(known, pl.Null) else known

    def _commonest(self, kinds: frozenset[str]) -> str | None:
        # max() takes the first of equals and a dict keeps the order of insertion: ties go to the kind seen first.
        seen = [kind for kind in self.records if kind in kinds]
        return max(seen, key=self.records.__getitem__, default=None)


_SIMPLE: dict[str | None, pl.DataType] = {
    None: pl.Null(),
    _BOOLEAN: pl.Boolean(),
    _STRING: pl.String(),
    _INTEGER: pl.Int64(),
}


def _at(sightings: dict[str, _Sightings], name: str) -> _Sightings:
    seen = sightings.get(name)
    if seen is None:
        seen = sightings[name] = _Sightings()
    return seen
