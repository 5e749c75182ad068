"""The tree of Avro types that ``schema`` makes of a schema, and the Polars types of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any

import polars as pl

from ktframe.formats.bodies import NO_DEFAULT

DEEPEST = 64
"""How many levels of records, arrays and maps a schema or a value may have."""

LARGEST_PRECISION = 38
"""Digits that a decimal column holds."""

KEY, VALUE = "key", "value"
"""The fields of a map's entries: a map is shown as a list of structs."""


@dataclass(frozen=True, slots=True, eq=False)
class AvroType:
    """One type of a schema, with all named types written out.

    Attributes
    ----------
    kind
        Avro's name of the type; ``"reference"`` where a record contains itself, with that record's ``name``.
    logical
        The logical type, where it changes the column.
    inner
        The items of an array, the values of a map, or the branches of a union.
    labels
        The names of a union's branches as fields of a struct.
    smallest
        The fewest bytes that a value takes.
    width
        The number of columns, nested ones included, that a value is shown in.
    """

    kind: str
    logical: str | None = None
    name: str = ""
    size: int = 0
    precision: int = 0
    scale: int = 0
    symbols: tuple[str, ...] = ()
    fields: tuple[AvroField, ...] = ()
    inner: tuple[AvroType, ...] = ()
    labels: tuple[str, ...] = ()
    smallest: int = dataclass_field(init=False)
    width: int = dataclass_field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "smallest", _smallest(self))
        object.__setattr__(self, "width", _width(self))

    @property
    def short_name(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition(".")[2]

    @property
    def value_branches(self) -> tuple[tuple[int, AvroType], ...]:
        """The branches of a union other than ``null``, with their indices."""
        return tuple((index, branch) for index, branch in enumerate(self.inner) if branch.kind != "null")

    @property
    def null_index(self) -> int | None:
        """The index of a union's branch ``null``, None where it has none."""
        return next((index for index, branch in enumerate(self.inner) if branch.kind == "null"), None)


def _smallest(avro: AvroType) -> int:
    if avro.kind == "null":
        return 0
    if avro.kind == "fixed":
        return avro.size
    if avro.kind == "record":
        return sum(field.type.smallest for field in avro.fields)
    return {"float": 4, "double": 8}.get(avro.kind, 1)


def _width(avro: AvroType) -> int:
    if avro.kind == "record":
        return sum(field.type.width for field in avro.fields)
    if avro.kind == "union":
        return max(1, sum(branch.width for _, branch in avro.value_branches))
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class AvroField:
    """A field of a record; ``default`` is the JSON value in the schema, ``tags`` are those of ``confluent:tags``."""

    name: str
    type: AvroType
    default: Any = NO_DEFAULT
    aliases: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema; ``records`` are the records that contain themselves, by full name."""

    root: AvroType
    records: Mapping[str, AvroType] = dataclass_field(default_factory=dict)


_DTYPES: dict[str, pl.DataType] = {
    "null": pl.Null(),
    "boolean": pl.Boolean(),
    "int": pl.Int32(),
    "long": pl.Int64(),
    "float": pl.Float32(),
    "double": pl.Float64(),
    "string": pl.String(),
    "bytes": pl.Binary(),
    "fixed": pl.Binary(),
    "enum": pl.String(),
    "reference": pl.String(),
}

_LOGICAL_DTYPES: dict[str, pl.DataType] = {
    "uuid": pl.String(),
    "date": pl.Date(),
    "time-millis": pl.Time(),
    "time-micros": pl.Time(),
    "timestamp-millis": pl.Datetime("ms", "UTC"),
    "timestamp-micros": pl.Datetime("us", "UTC"),
    "timestamp-nanos": pl.Datetime("ns", "UTC"),
    "local-timestamp-millis": pl.Datetime("ms"),
    "local-timestamp-micros": pl.Datetime("us"),
    "local-timestamp-nanos": pl.Datetime("ns"),
}

TIME_UNIT_NS = {"time-millis": 10**6, "time-micros": 10**3}
"""How many nanoseconds, the unit of a time column, one unit of a time of day has."""

DAY_NS = 86_400 * 10**9
UNITS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def dtype_of(avro: AvroType) -> pl.DataType:  # noqa: PLR0911 - one for each kind
    """Return the type of a column of values of ``avro``."""
    if avro.logical == "decimal":
        is_small = avro.precision <= LARGEST_PRECISION
        return pl.Decimal(avro.precision, avro.scale) if is_small else pl.String()
    if avro.logical:
        return _LOGICAL_DTYPES[avro.logical]
    if avro.kind == "array":
        return pl.List(dtype_of(avro.inner[0]))
    if avro.kind == "map":
        return pl.List(pl.Struct({KEY: pl.String(), VALUE: dtype_of(avro.inner[0])}))
    if avro.kind == "record":
        return pl.Struct({field.name: dtype_of(field.type) for field in avro.fields})
    if avro.kind != "union":
        return _DTYPES[avro.kind]
    branches = avro.value_branches
    if len(branches) > 1:
        return pl.Struct({avro.labels[index]: dtype_of(branch) for index, branch in branches})
    return dtype_of(branches[0][1]) if branches else pl.Null()


def shortened(value: Any) -> str:
    """Return the repr of a value for an error message, cut to 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004


def parts_of(avro: AvroType) -> Iterator[tuple[str, AvroType]]:
    """Yield the types directly inside ``avro``, with the name of the field, or with ``""``."""
    yield from ((field.name, field.type) for field in avro.fields)
    yield from (("", part) for part in avro.inner)


def walk(avro: AvroType) -> Iterator[AvroType]:
    """Yield ``avro`` and every type inside it."""
    yield avro
    for _, part in parts_of(avro):
        yield from walk(part)
