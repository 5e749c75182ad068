"""Decides the types of the fields of a topic by what was seen in its first records, in whatever order these were read.

``inference`` has the rules; here are the types of all fields, their order, and whether those of earlier rows still agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import polars as pl

from ktframe.formats.dtypes import LARGEST_EXACT, as_instance, common_dtype, struct_fields
from ktframe.formats.json.forms import NO_FORMS, Forms, is_open
from ktframe.formats.json.inference import FieldRules, InferenceRules, settles
from ktframe.formats.json.kinds import (
    BOOLEAN,
    INTEGER,
    LIST,
    NUMBER,
    REAL,
    STRING,
    STRUCT,
    UNSURE,
    VALUE_KINDS,
    WIDE,
)
from ktframe.formats.json.shapes import shaped
from ktframe.formats.json.sightings import LAST, Path, Place, Sightings
from ktframe.formats.resolution import rounding

_KIND_OF = {
    pl.Boolean: BOOLEAN,
    pl.String: STRING,
    pl.Datetime: STRING,
    pl.Int64: NUMBER,
    pl.UInt64: NUMBER,
    pl.Decimal: NUMBER,
    pl.Float64: NUMBER,
    pl.List: LIST,
    pl.Struct: STRUCT,
}
_NOTHING = Sightings()


@dataclass(frozen=True)
class Decision:
    """The types of the fields of a topic, as all records decide that ``seen`` has counted."""

    seen: Sightings
    rules: InferenceRules
    accepted_wide: frozenset[Path] = frozenset()
    """Where integers beyond 2**53 were accepted: no float can come there any more."""

    in_force: Forms = NO_FORMS
    """The forms that values have in the columns so far; see ``for_rows_of``."""

    @cached_property
    def schema(self) -> pl.Schema:
        """The type of each field that was seen, in the order in which they first came."""
        dtypes = {name: field.dtype(seen) for name, field, seen in self._fields}
        return pl.Schema({name: _ordered(dtypes[name], seen) for name, _, seen in self._fields})

    @cached_property
    def _shaped(self) -> list[tuple[str, FieldRules, Sightings, Forms]]:
        columns = sorted(FieldRules(self.rules).columns(self.seen), key=_by_place)
        fields = [(name, FieldRules(self.rules, (name,)), seen) for name, seen in columns]
        return [(name, field, *shaped(seen, field)) for name, field, seen in fields]

    @cached_property
    def _fields(self) -> list[tuple[str, FieldRules, Sightings]]:
        return [(name, field, shape) for name, field, shape, _ in self._shaped]

    @cached_property
    def _shapes(self) -> dict[str, Sightings]:
        return {name: shape for name, _, shape in self._fields}

    @cached_property
    def is_crowded(self) -> bool:
        """Whether the records have more names than become columns."""
        return FieldRules(self.rules).is_crowded(self.seen)

    @property
    def most(self) -> int:
        """How many columns there may be, those that are named apart: names that never settle would make columns without end."""
        return FieldRules(self.rules).most_columns(self.seen, len(self._shapes))

    @property
    def settles(self) -> bool:
        """Whether names are not others in each record, at the top and wherever they can't become entries of a map."""
        inner = self.seen.walk() if self.rules.objects else ()
        return settles(self.seen) and all(settles(seen) for path, seen in inner if path in self.rules.objects)

    @cached_property
    def forms(self) -> Forms:
        """The forms that values have by all that was seen."""
        return NO_FORMS.union(*(forms for *_, forms in self._shaped))

    def for_rows_of(self, schema: pl.Schema) -> Decision:
        """Return this decision with the forms in force that go with rows of ``schema``: there what they have, else new ones."""
        in_force = set(self.in_force)
        for path, form in sorted(self.forms, key=lambda pair: len(pair[0])):
            is_outer_in_force = all(
                outer in in_force for outer in self.forms if path[: len(outer[0])] == outer[0] != path
            )
            if is_open(schema, path) and is_outer_in_force:
                in_force.add((path, form))
        return self if in_force == self.in_force else replace(self, in_force=frozenset(in_force))

    @cached_property
    def whole(self) -> frozenset[Path]:
        """The paths where integers are kept although there are floats, or there would be."""
        return self.accepted_wide | {
            field.path
            for field, seen in self._everywhere()
            if (seen.records(WIDE) or (field.keeps_integers and seen.records(INTEGER)))
            and not field.is_float(seen)
        }

    def _everywhere(self) -> Iterator[tuple[FieldRules, Sightings]]:
        """Yield what was seen at each path, with its rules."""
        for name, _, top in self._fields:
            for path, seen in top.walk((name,)):
                yield FieldRules(self.rules, path), seen

    @property
    def is_uncertain(self) -> bool:
        """Whether the records must be counted one by one to decide."""
        # Also of what was seen, not only of its shapes: of which kind most numbers are decides whether kinds compete.
        return any(
            FieldRules(self.rules, path).is_uncertain(seen)
            for name, _, shape in self._fields
            for top in (self.seen.fields[name], shape)
            for path, seen in top.walk((name,))
        )

    def widened(self, known: pl.Schema) -> pl.Schema:
        """Return ``known`` with all fields that were seen, so far as their types agree with it."""
        schema = dict(known)
        for name, dtype in self.schema.items():
            have = schema.get(name, pl.Null())
            both = common_dtype(have, dtype) if self._agrees(name, have) else None
            schema[name] = have if both is None else both
        return pl.Schema(schema)

    def with_floats(self, known: pl.Schema) -> pl.Schema:
        """Return the columns of ``known``, with Float64 where floats are kept."""
        schema = dict(known)
        for name, field, seen in self._fields:
            if name in schema and self._agrees(name, schema[name]):
                schema[name] = _with_floats(schema[name], seen, field)
        return pl.Schema(schema)

    def fitted(self, known: pl.Schema) -> pl.Schema:
        """Return the columns of ``known`` as decided: with the types of numbers and text that were decided, and all in their order."""
        fixed = {name: dtype for name, dtype in known.items() if name in self.rules.fixed}
        names = sorted(known.keys() - fixed.keys(), key=lambda name: _by_place((name, self._seen(name))))
        fields = {
            name: _ordered(
                _with_decided(dtype, self._seen(name), FieldRules(self.rules, (name,))), self._seen(name)
            )
            for name, dtype in self.with_floats(known).items()
        }
        return pl.Schema({**fixed, **{name: fields[name] for name in names}})

    def _seen(self, name: str) -> Sightings:
        return self._shapes.get(name, _NOTHING)

    def disagreement(self, known: pl.Schema) -> str | None:
        """Return the first field whose type in ``known`` is not what was decided; None where all agree."""
        others = {path[0] for path, _ in self._other_forms(known)}
        if self.is_crowded:
            others |= {name for name in known if not self._may_be_column(name)}
        return next((name for name in known if name in others or not self._agrees(name, known[name])), None)

    def _may_be_column(self, name: str) -> bool:
        return name in self._shapes or name in self.rules.fixed or self.rules.is_named((name,))

    def _other_forms(self, known: pl.Schema) -> Forms:
        """Return the forms in which those in force differ from what was decided, where there are values."""
        differing = self.in_force.symmetric_difference(self.forms)
        return frozenset(
            (path, form)
            for path, form in differing
            if not is_open(known, path) and _kind_at(self._shapes.get(path[0] or ""), path)
        )

    def _agrees(self, name: str, dtype: pl.DataType) -> bool:
        if name not in self._shapes:
            return True
        return self._all_agree(dtype, self._shapes[name], FieldRules(self.rules, (name,)))

    def _all_agree(self, dtype: pl.DataType, seen: Sightings, field: FieldRules) -> bool:
        kind = field.kind(seen)
        if kind is None or isinstance(dtype, pl.Null):
            return True
        if _KIND_OF.get(type(dtype)) != (NUMBER if kind == INTEGER else kind):
            return False
        if kind in (NUMBER, INTEGER):
            return self._numbers_agree(dtype, seen, field)
        if kind == STRING:
            return dtype == field.text_dtype(seen)
        if isinstance(dtype, pl.List):
            inner = as_instance(dtype.inner)
            return seen.items is None or self._all_agree(inner, seen.items, field.at(None))
        fields = struct_fields(dtype) if isinstance(dtype, pl.Struct) else {}
        return self._are_columns(fields, seen, field) and all(
            self._all_agree(inner, seen.fields[name], field.at(name))
            for name, inner in fields.items()
            if name in seen.fields
        )

    def _are_columns(self, names: Iterable[str], seen: Sightings, field: FieldRules) -> bool:
        """Say whether ``names`` are columns of an object, or may be: those that are named, though nothing was seen of them."""
        if not field.is_crowded(seen):
            return True
        columns = dict(field.columns(seen))
        return all(name in columns or self.rules.is_named((*field.path, name)) for name in names)

    def _numbers_agree(self, dtype: pl.DataType, seen: Sightings, field: FieldRules) -> bool:
        if field.is_float(seen):
            # Integers that came later may have been accepted as they are.
            is_open = isinstance(dtype, pl.Int64) and field.path not in self.accepted_wide
            return is_open or isinstance(dtype, pl.Float64)
        if isinstance(dtype, pl.Float64):
            # Not decided yet where no integer is beyond 2**53: floats that came later may have widened the column.
            return field.path not in self.whole
        return dtype == field.integer_dtype(seen)

    def is_open(self, name: str) -> bool:
        """Say whether nothing was seen of a field but nulls."""
        return name not in self.rules.fixed and FieldRules(self.rules, (name,)).kind(self._seen(name)) is None

    def is_open_for_floats(self, name: str) -> bool:
        """Say whether a field has shown integers alone that are exact as floats: floats and others exclude each other."""
        seen = self._seen(name)
        is_number = name not in self.rules.fixed and FieldRules(self.rules, (name,)).kind(seen) == NUMBER
        return is_number and not any(map(seen.records, (REAL, UNSURE, WIDE)))

    def change_from(self, earlier: Decision) -> str | None:
        """Return the first field that had another kind before more was seen, or was no column; None where kinds were only added."""
        changed = {
            path[0]
            for path, _ in earlier.forms.symmetric_difference(self.forms)
            if _kind_at(earlier._shapes.get(path[0] or ""), path)
        }
        refused = earlier.seen.fields.keys() - self.rules.fixed if earlier.is_crowded else ()
        return next(
            (
                name
                for name, field, seen in self._fields
                if (
                    name in earlier._shapes
                    and (name in changed or _changes(earlier._shapes[name], seen, field))
                )
                or (name not in earlier._shapes and name in refused)
            ),
            None,
        )


def wide_paths(rows: pl.DataFrame, schema: pl.Schema, known: frozenset[Path]) -> frozenset[Path]:
    """Return the paths of ``schema`` beyond the ``known`` ones where ``rows`` have an integer beyond 2**53."""
    found: set[Path] = set()
    for name, dtype in schema.items():
        if not _integer_paths(dtype, (name,)) <= known and _has_wide(rows[name]):
            seen = Sightings()
            seen.add_column(rows[name])
            found |= {path for path, inner in seen.walk((name,)) if inner.records(WIDE)}
    return frozenset(found)


def _has_wide(values: pl.Series) -> bool:
    if isinstance(values.dtype, pl.Int64):
        return not -LARGEST_EXACT <= (values.min() or 0) <= (values.max() or 0) <= LARGEST_EXACT  # type: ignore[operator]
    check = rounding(pl.col(values.name), values.dtype, _as_floats(values.dtype))
    return check is not None and bool(values.to_frame().select(check.any()).item())


@lru_cache(maxsize=1_024)
def _integer_paths(dtype: pl.DataType, path: Path) -> frozenset[Path]:
    if isinstance(dtype, pl.List):
        return _integer_paths(as_instance(dtype.inner), (*path, None))
    if isinstance(dtype, pl.Struct):
        inner = struct_fields(dtype).items()
        return frozenset().union(*(_integer_paths(kind, (*path, name)) for name, kind in inner))
    return frozenset({path}) if isinstance(dtype, pl.Int64) else frozenset()


def _as_floats(dtype: pl.DataType) -> pl.DataType:
    if isinstance(dtype, pl.List):
        return pl.List(_as_floats(as_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({name: _as_floats(inner) for name, inner in struct_fields(dtype).items()})
    return pl.Float64() if isinstance(dtype, pl.Int64) else dtype


def _kind_at(shape: Sightings | None, path: Path) -> bool:
    """Say whether any value that is not null was seen at a path below a field of this shape."""
    for name in path[1:]:
        if shape is None:
            return False
        shape = shape.items if name is None else shape.fields.get(name)
    return shape is not None and not VALUE_KINDS.isdisjoint(shape.kinds)


def _changes(old: Sightings, new: Sightings, field: FieldRules) -> bool:
    before, after = field.kind(old), field.kind(new)
    if before is None or before != after:
        return before is not None
    if after in (NUMBER, INTEGER):
        return _number_changes(old, new, field)
    if after == STRING:
        return field.text_dtype(old) != field.text_dtype(new)
    if after == LIST:
        return (
            old.items is not None and new.items is not None and _changes(old.items, new.items, field.at(None))
        )
    return after == STRUCT and (
        _has_taken_in(old, new, field)
        or any(
            name in new.fields and _changes(seen, new.fields[name], field.at(name))
            for name, seen in old.fields.items()
        )
    )


def _has_taken_in(old: Sightings, new: Sightings, field: FieldRules) -> bool:
    """Say whether a name is a column that was seen before but was one too many."""
    if not field.is_crowded(old):
        return False
    refused = old.fields.keys() - dict(field.columns(old)).keys()
    return any(name in refused for name, _ in field.columns(new))


def _number_changes(old: Sightings, new: Sightings, field: FieldRules) -> bool:
    is_float = field.is_float(new)
    decided = old.records(REAL) + old.records(UNSURE) + old.records(WIDE)
    decided += old.records(INTEGER) if field.keeps_integers else 0
    if decided > 0 and field.is_float(old) != is_float:
        return True
    return not is_float and old.records(INTEGER) > 0 and field.integer_dtype(old) != field.integer_dtype(new)


def _with_floats(dtype: pl.DataType, seen: Sightings, field: FieldRules) -> pl.DataType:
    if isinstance(dtype, pl.Int64) and field.kind(seen) == NUMBER and field.is_float(seen):
        return pl.Float64()
    if isinstance(dtype, pl.List) and seen.items is not None:
        return pl.List(_with_floats(as_instance(dtype.inner), seen.items, field.at(None)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct(
            {
                name: _with_floats(inner, seen.fields[name], field.at(name)) if name in seen.fields else inner
                for name, inner in struct_fields(dtype).items()
            }
        )
    return dtype


def _with_decided(dtype: pl.DataType, seen: Sightings, field: FieldRules) -> pl.DataType:
    """Return ``dtype`` with the types of integers and text that all that were seen have, also those that were refused."""
    if isinstance(dtype, pl.String | pl.Datetime):
        return field.text_dtype(seen) if field.kind(seen) == STRING else dtype
    if isinstance(dtype, pl.Int64 | pl.UInt64 | pl.Decimal):
        is_integer = seen.records(INTEGER) > 0 and field.kind(seen) in (NUMBER, INTEGER)
        return field.integer_dtype(seen) if is_integer and not field.is_float(seen) else dtype
    if isinstance(dtype, pl.List):
        return pl.List(_with_decided(as_instance(dtype.inner), seen.items or _NOTHING, field.at(None)))
    if isinstance(dtype, pl.Struct):
        fields = struct_fields(dtype).items()
        return pl.Struct(
            {
                name: _with_decided(inner, seen.fields.get(name, _NOTHING), field.at(name))
                for name, inner in fields
            }
        )
    return dtype


def _ordered(dtype: pl.DataType, seen: Sightings) -> pl.DataType:
    """Return ``dtype`` with the fields of structs in the order in which they first came."""
    if isinstance(dtype, pl.List):
        return pl.List(_ordered(as_instance(dtype.inner), seen.items or _NOTHING))
    if isinstance(dtype, pl.Struct):
        fields = {
            name: _ordered(inner, seen.fields.get(name, _NOTHING))
            for name, inner in struct_fields(dtype).items()
        }
        names = sorted(fields, key=lambda name: _by_place((name, seen.fields.get(name, _NOTHING))))
        return pl.Struct({name: fields[name] for name in names})
    return dtype


def _by_place(item: tuple[str, Sightings]) -> tuple[Place, str]:
    """Order fields by where they first came; by name, and last, those of which that is not known."""
    name, seen = item
    return seen.place or LAST, name
