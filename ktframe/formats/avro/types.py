"""Avro types as a tree with every name resolved, and what they are as columns of Polars and arrays of Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa

from ktframe.formats.bodies import NO_DEFAULT
from ktframe.formats.dtypes import instance

DEEPEST = 64
"""Levels of records, arrays and maps, in a schema and in a value."""

LARGEST_PRECISION = 38
"""Digits that a decimal column holds."""

KEY, VALUE = "key", "value"
"""Fields of the entries of a map, which is a list of them."""


@dataclass(frozen=True, slots=True, eq=False)
class AvroType:
    """One type of a schema.

    ``kind`` is Avro's name of the type, or ``reference`` for a record inside of itself, which ``name`` names.
    ``logical`` is only set where it changes the column. ``inner`` are the items of an array, the values of a map or
    the branches of a union, whose names as fields of a struct are ``labels``.

    ``smallest`` is how many bytes a value takes at the least; ``width`` how many columns a value is shown in.
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
    smallest: int = field(init=False)
    width: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "smallest", _smallest(self))
        object.__setattr__(self, "width", _width(self))

    @property
    def short_name(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition(".")[2]

    @property
    def carried(self) -> tuple[tuple[int, AvroType], ...]:
        """The branches of a union that hold a value, with their indices."""
        return tuple((index, branch) for index, branch in enumerate(self.inner) if branch.kind != "null")

    @property
    def null_index(self) -> int | None:
        """The index of a union's branch ``null``."""
        return next((index for index, branch in enumerate(self.inner) if branch.kind == "null"), None)


def _smallest(avro: AvroType) -> int:
    if avro.kind == "null":
        return 0
    if avro.kind == "fixed":
        return avro.size
    if avro.kind == "record":
        return sum(each.type.smallest for each in avro.fields)
    return {"float": 4, "double": 8}.get(avro.kind, 1)


def _width(avro: AvroType) -> int:
    if avro.kind == "record":
        return sum(each.type.width for each in avro.fields)
    if avro.kind == "union":
        return max(1, sum(branch.width for _, branch in avro.carried))
    return 1


@dataclass(frozen=True, slots=True, eq=False)
class AvroField:
    """A field of a record; ``default`` is as the schema has it, in JSON."""

    name: str
    type: AvroType
    default: Any = NO_DEFAULT
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AvroSchema:
    """A schema with the records that contain themselves, by name."""

    root: AvroType
    records: Mapping[str, AvroType] = field(default_factory=dict)


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
"""Nanoseconds, which are the unit of a time column, in one unit of a time of day."""

DAY_NS = 86_400 * 10**9
UNITS_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}


def dtype_of(avro: AvroType) -> pl.DataType:  # noqa: PLR0911 - one for each kind
    """Return the type of the column that shows values of ``avro``."""
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
        return pl.Struct({each.name: dtype_of(each.type) for each in avro.fields})
    if avro.kind != "union":
        return _DTYPES[avro.kind]
    branches = avro.carried
    if len(branches) > 1:
        return pl.Struct({avro.labels[index]: dtype_of(branch) for index, branch in branches})
    return dtype_of(branches[0][1]) if branches else pl.Null()


def shortened(value: Any) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004


def parts_of(avro: AvroType) -> Iterator[tuple[str, AvroType]]:
    """Yield the types that ``avro`` is made of, each with the name of its field or nothing."""
    yield from ((each.name, each.type) for each in avro.fields)
    yield from (("", each) for each in avro.inner)


def walk(avro: AvroType) -> Iterator[AvroType]:
    """Yield ``avro`` and every type inside."""
    yield avro
    for _, part in parts_of(avro):
        yield from walk(part)


_ARROW: dict[type[pl.DataType], pa.DataType] = {
    pl.Null: pa.null(),
    pl.Boolean: pa.bool_(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.Float32: pa.float32(),
    pl.Float64: pa.float64(),
    pl.String: pa.string(),
    pl.Binary: pa.binary(),
    pl.Date: pa.date32(),
    pl.Time: pa.time64("ns"),
}


@cache
def arrow_of(dtype: pl.DataType) -> pa.DataType:
    """Return the Arrow type that a column of ``dtype`` is made from."""
    if isinstance(dtype, pl.List):
        return pa.list_(arrow_of(instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pa.struct([(each.name, arrow_of(instance(each.dtype))) for each in dtype.fields])
    if isinstance(dtype, pl.Datetime):
        return pa.timestamp(dtype.time_unit, dtype.time_zone)
    if isinstance(dtype, pl.Decimal):
        return pa.decimal128(dtype.precision or LARGEST_PRECISION, dtype.scale)
    return _ARROW[type(dtype)]
