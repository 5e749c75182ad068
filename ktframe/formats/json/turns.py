"""Reads parsed records in turn: each may give columns what those after it need, as far as there is room for more names.

What a record does to the columns takes as long as it has fields, however many columns there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import polars as pl

from ktframe.formats.base import Fault, Refusal
from ktframe.formats.dtypes import as_instance, struct_fields
from ktframe.formats.errors import ConflictError
from ktframe.formats.json.inference import FieldRules, InferenceRules, inferred_schema
from ktframe.formats.json.sightings import Path, wide_integers
from ktframe.formats.json.values import RowReader, row_reader

Read: TypeAlias = tuple[dict[int, dict[str, Any]], list[Refusal]]
"""The rows of the records that fit, by index, and why the others don't."""


def read_all(
    records: Mapping[int, Mapping[str, Any]], schema: Mapping[str, pl.DataType], rules: InferenceRules
) -> Read:
    """Read records that are to fit ``schema`` as it is."""
    read = row_reader(tuple(schema.items()), rules)
    rows: dict[int, dict[str, Any]] = {}
    unfit: list[Refusal] = []
    for index, record in records.items():
        try:
            rows[index] = read(record)
        except ConflictError as error:
            unfit.append(_refusal(index, error, rules))
    return rows, unfit


def _refusal(index: int, error: ConflictError, rules: InferenceRules) -> Refusal:
    fault = Fault.FIELD if rules.reserved.isdisjoint(error.fields) else Fault.NAME
    return Refusal(index, str(error), fault, error.fields)


def with_reasons(
    unfit: Iterable[Refusal],
    records: Mapping[int, Mapping[str, Any]],
    schema: Mapping[str, pl.DataType],
    rules: InferenceRules,
) -> list[Refusal]:
    """Return refusals for those of their fields that don't fit the columns of all: later records may have widened some."""
    is_full = rules.most is not None and len(schema.keys() - rules.fixed) >= rules.most
    read = row_reader(tuple(schema.items()), replace(rules, is_full=is_full))
    told = []
    for refusal in unfit:
        # Of one field it is about a value that does not fit yet, or it came too early.
        if len(refusal.fields) > 1 and not schema.keys().isdisjoint(refusal.fields):
            try:
                record = records[refusal.index]
                read({name: record[name] for name in record if name in refusal.fields})
            except ConflictError as error:
                told.append(_refusal(refusal.index, error, rules))
                continue
        told.append(refusal)
    return told


def read_in_turn(
    records: Mapping[int, Mapping[str, Any]],
    schema: pl.Schema,
    rules: InferenceRules,
    whole: frozenset[Path],
    decided: pl.Schema,
) -> Read:
    """Read one record after the other; each may widen the schema for those that follow."""
    # Where all together widen it so that each fits, no two of them disagree, and their order decides nothing. Large
    # integers, times, and an empty list among objects, have the type of the first record all the same.
    columns = _Columns(schema, rules, decided)
    if columns.may_hold(records.values()):
        wider = inferred_schema(schema, records.values(), rules, whole, decided)
        together, unfit = read_all(records, wider, rules)
        if not unfit and _typed_by_first(wider, rules) == _typed_by_first(schema, rules):
            return together, []
    rows: dict[int, dict[str, Any]] = {}
    unfit = []
    for index, record in records.items():
        try:
            rows[index] = columns.read(record, whole)
        except ConflictError as error:
            unfit.append(_refusal(index, error, rules))
            continue
        whole |= wide_integers(record)
    return rows, unfit


# --- columns that grow ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Fields:
    """The fields of a struct, or the columns themselves."""

    inner: dict[str, _Type]


@dataclass(slots=True)
class _Items:
    """The items of a list."""

    inner: _Type


_Type: TypeAlias = _Fields | _Items | pl.DataType
"""A type of which parts can be replaced: to make one of thousands of fields, or to compare it, takes long."""


@dataclass(slots=True)
class _Columns:
    """The columns so far, and how records are read with them."""

    schema: pl.Schema
    """The columns as they were when ``_reader`` was made."""
    rules: InferenceRules
    decided: pl.Schema
    _types: _Fields = field(init=False)
    _decided: _Fields = field(init=False)
    _reader: RowReader = field(init=False)
    _count: int = field(init=False)
    """How many columns are inferred."""
    _changed: set[str] = field(default_factory=set)
    """The columns that have changed since."""

    def __post_init__(self) -> None:
        self._types = _Fields({name: _parts(dtype) for name, dtype in self.schema.items()})
        self._decided = _Fields({name: _parts(dtype) for name, dtype in self.decided.items()})
        self._reader = row_reader(tuple(self.schema.items()), self.rules)
        self._count = len(self.schema.keys() - self.rules.fixed)

    def may_hold(self, records: Iterable[Mapping[str, Any]]) -> bool:
        """Say whether there may be room for the names of all records together."""
        rules = self.rules
        if rules.most is None:
            return True
        # Not one by one: those that are declared or named need no room.
        most = rules.most + sum(map(len, (rules.fixed, rules.exact, rules.timed, rules.objects)))
        names = {*self._types.inner}
        for record in records:
            names.update(record)
            if len(names) > most:
                return False
        return True

    def read(self, record: Mapping[str, Any], whole: frozenset[Path]) -> dict[str, Any]:
        """Return a record as a row, for which columns may be widened; else raise ConflictError."""
        if self._changed.isdisjoint(record):
            try:
                return self._reader(record)
            except ConflictError:
                pass
        known = _schema_for(self._types, record)
        try:
            return row_reader(tuple(known.items()), self.rules)(record)
        except ConflictError:
            pass
        self._check_room(record, known)
        decided = _schema_for(self._decided, record)
        wider = inferred_schema(known, [record], self.rules, whole, decided, is_capped=False)
        fitting = self._with_room(wider)
        rules = replace(self.rules, is_full=True) if len(fitting) < len(wider) else self.rules
        row = row_reader(tuple(fitting.items()), rules)(record)
        for name, dtype in fitting.items():
            if name not in known or dtype != known[name]:
                self._count += name not in known
                self._types.inner[name] = _widened(self._types.inner.get(name), dtype)
                self._changed.add(name)
        return row

    def _check_room(self, record: Mapping[str, Any], known: pl.Schema) -> None:
        """Raise ConflictError if a record fits but for names for which there is no room."""
        fitting, beyond = self._split(record, self._types, self._decided, ())
        if not beyond:
            return
        try:
            row_reader(tuple(known.items()), self.rules)(fitting)
        except ConflictError:
            return  # something else may be widened, or is unfit as well
        is_full = not beyond.keys() <= self._types.inner.keys()
        row_reader(tuple(known.items()), replace(self.rules, is_full=is_full))(beyond)

    def _split(
        self, value: Mapping[str, Any], known: _Fields, decided: _Type | None, path: Path
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the part of a record, or of an object that can be no map, that is known; and that for which there is no room."""
        base = decided.inner if isinstance(decided, _Fields) else {}
        rules = FieldRules(self.rules, path)
        most = rules.most_fields(len(base)) if path else self.rules.most
        count = len(known.inner) if path else self._count
        fitting: dict[str, Any] = {}
        beyond: dict[str, Any] = {}
        for name, item in value.items():
            at, inner = (*path, name), known.inner.get(name)
            if inner is None:
                if most is not None and count >= most and not self.rules.is_named(at):
                    beyond[name] = item
                count += 1
            elif isinstance(inner, _Fields) and type(item) is dict and at in self.rules.objects:
                fitting[name], more = self._split(item, inner, base.get(name), at)
                beyond |= {name: more} if more else {}
            else:
                fitting[name] = item
        return fitting, beyond

    def _with_room(self, wider: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
        """Return the columns of one record without those, or the fields of structs, for which there is no room."""
        columns, count = self._types.inner, self._count
        fitting = {}
        for name, dtype in wider.items():
            if name not in columns:
                has_room = self.rules.most is None or count < self.rules.most
                if not has_room and not self.rules.is_named((name,)):
                    continue
                count += 1
            inner = FieldRules(self.rules, (name,))
            fitting[name] = _roomy(dtype, columns.get(name), self._decided.inner.get(name), inner)
        return fitting


def _roomy(dtype: pl.DataType, known: _Type | None, decided: _Type | None, rules: FieldRules) -> pl.DataType:
    """Return a type of one record without the fields of structs for which there is no room beside those ``known``."""
    if isinstance(dtype, pl.List):
        inner, items = (each.inner if isinstance(each, _Items) else None for each in (known, decided))
        return pl.List(_roomy(as_instance(dtype.inner), inner, items, rules.at(None)))
    if not isinstance(dtype, pl.Struct):
        return dtype
    fields = known.inner if isinstance(known, _Fields) else {}
    base = decided.inner if isinstance(decided, _Fields) else {}
    count, most, fitting = len(fields), rules.most_fields(len(base)), {}
    for name, inner in struct_fields(dtype).items():
        if name not in fields:
            if count >= most and not rules.rules.is_named((*rules.path, name)):
                continue
            count += 1
        fitting[name] = _roomy(inner, fields.get(name), base.get(name), rules.at(name))
    return pl.Struct(fitting)


def _parts(dtype: pl.DataType) -> _Type:
    if isinstance(dtype, pl.Struct):
        return _Fields({name: _parts(inner) for name, inner in struct_fields(dtype).items()})
    return _Items(_parts(as_instance(dtype.inner))) if isinstance(dtype, pl.List) else dtype


def _widened(known: _Type | None, dtype: pl.DataType) -> _Type:
    """Return ``known`` with what ``dtype`` has, which may lack fields of structs."""
    if isinstance(known, _Fields) and isinstance(dtype, pl.Struct):
        for name, inner in struct_fields(dtype).items():
            known.inner[name] = _widened(known.inner.get(name), inner)
        return known
    if isinstance(known, _Items) and isinstance(dtype, pl.List):
        return _Items(_widened(known.inner, as_instance(dtype.inner)))
    return _parts(dtype)


def _schema_for(columns: _Fields, record: Mapping[str, Any]) -> pl.Schema:
    """Return the columns that a record has, of structs the fields that it has."""
    types = columns.inner
    return pl.Schema({name: _type_for(types[name], [record[name]]) for name in record if name in types})


def _type_for(known: _Type, values: Sequence[Any]) -> pl.DataType:
    if isinstance(known, _Items):
        return pl.List(
            _type_for(known.inner, [item for value in values if type(value) is list for item in value])
        )
    if not isinstance(known, _Fields):
        return known
    objects = [value for value in values if type(value) is dict]
    names = dict.fromkeys(name for value in objects for name in value if name in known.inner)
    fields = {
        name: _type_for(known.inner[name], [value[name] for value in objects if name in value])
        for name in names
    }
    return pl.Struct(fields)


def _typed_by_first(schema: pl.Schema, rules: InferenceRules) -> int:
    """Return at how many places in columns several records together may have another type than the first of them."""
    kinds = (pl.UInt64, pl.Decimal, pl.String, pl.Datetime) if rules.reads_times else (pl.UInt64, pl.Decimal)
    return sum(_places_by_first(dtype, kinds) for dtype in schema.values())


def _places_by_first(dtype: pl.DataType, kinds: tuple[type[pl.DataType], ...]) -> int:
    if isinstance(dtype, pl.List):
        return _places_by_first(as_instance(dtype.inner), kinds)
    if isinstance(dtype, pl.Struct):
        return 1 + sum(_places_by_first(inner, kinds) for inner in struct_fields(dtype).values())
    return int(isinstance(dtype, kinds))
