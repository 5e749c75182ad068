"""The Arrow type of each Polars type, and frames of Arrow arrays or of rows of Python values, for every format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.json as pj

from ktframe.formats.dtypes import as_instance, leaf_types

WHITESPACE = b" \t\r\n"
"""What JSON allows around a value."""

_ROWS_PER_CALL = 1_000  # pa.array holds the GIL
_LARGEST_BLOCK_BYTES = 2**30
_UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

NATIVE_ERRORS = (Exception, pl.exceptions.PanicException)
"""What Arrow and Polars may raise; a panic in Rust is not an Exception."""

_ARROW: dict[type[pl.DataType], pa.DataType] = {
    pl.Null: pa.null(),
    pl.Boolean: pa.bool_(),
    pl.Int8: pa.int8(),
    pl.Int16: pa.int16(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.UInt8: pa.uint8(),
    pl.UInt16: pa.uint16(),
    pl.UInt32: pa.uint32(),
    pl.UInt64: pa.uint64(),
    pl.Float32: pa.float32(),
    pl.Float64: pa.float64(),
    pl.String: pa.string(),
    pl.Binary: pa.binary(),
    pl.Enum: pa.string(),
    pl.Categorical: pa.string(),
    pl.Date: pa.date32(),
    pl.Time: pa.time64("ns"),
}

_PARSED_AS: dict[type[pl.DataType], pa.DataType] = {
    **_ARROW,
    # Arrow's JSON reader takes a missing offset for UTC and a date for a number of days; its casts do neither.
    pl.Date: pa.string(),
    pl.Datetime: pa.string(),
    # Parsed as float32 an overflow would be an infinity.
    pl.Float32: pa.float64(),
}


@cache
def arrow_type(dtype: pl.DataType) -> pa.DataType:
    """Return the Arrow type of the arrays that a column of ``dtype`` is built from."""
    if isinstance(dtype, pl.List):
        return pa.list_(arrow_type(as_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pa.struct([(field.name, arrow_type(as_instance(field.dtype))) for field in dtype.fields])
    if isinstance(dtype, pl.Datetime):
        return pa.timestamp(dtype.time_unit, dtype.time_zone)
    if isinstance(dtype, pl.Duration):
        return pa.duration(dtype.time_unit)
    if isinstance(dtype, pl.Decimal):
        return pa.decimal128(dtype.precision or 38, dtype.scale)
    return _ARROW[type(dtype)]


def frame_of(arrays: Sequence[Any], schema: pl.Schema, height: int) -> pl.DataFrame:
    """Return the frame of Arrow arrays, one for each column of ``schema``.

    Raises
    ------
    TypeError
        When the arrays are of other types.
    """
    # The column "height" keeps the number of rows where there is no other; positions, because from_arrow renames a column
    # that is called "".
    positions = [str(at) for at in range(len(arrays))]
    table = pa.table([*arrays, pa.nulls(height)], [*positions, "height"]).select(positions)
    frame = pl.DataFrame(pl.from_arrow(table))
    frame.columns = list(schema)
    if frame.schema != schema:
        message = f"Arrow made {frame.schema} of {schema}"
        raise TypeError(message)
    return frame


@dataclass(frozen=True, slots=True)
class _Plan:
    """A schema as Arrow needs it: the types to parse as and the types to cast to."""

    schema: pl.Schema
    target: pa.Schema
    parse_options: pj.ParseOptions | None
    is_cast: bool
    has_categories: bool
    checked: tuple[int, ...]


def build_frame(rows: Sequence[Mapping[str, Any]], schema: pl.Schema) -> pl.DataFrame | None:
    """Return the frame of rows that a row reader of ``schema`` made, or None if Arrow can't hold one of them."""
    plan = _plan(tuple(schema.items()))
    try:
        return pl.concat([_frame(table, plan) for table in _tables(rows, plan)], rechunk=True)
    except NATIVE_ERRORS:
        return None


def empty_frame(schema: pl.Schema) -> pl.DataFrame:
    """Return a frame without rows."""
    return _frame(_plan(tuple(schema.items())).target.empty_table(), _plan(tuple(schema.items())))


def _tables(rows: Sequence[Mapping[str, Any]], plan: _Plan) -> Iterator[pa.Table]:
    for start in range(0, max(len(rows), 1), _ROWS_PER_CALL):
        some = rows[start : start + _ROWS_PER_CALL]
        if not plan.schema:
            # A table without columns forgets how many rows it has unless they are cut from one that has some.
            yield pa.table({"": pa.nulls(len(some))}).select([])
            continue
        columns = zip(plan.schema, plan.target.types, strict=True)
        arrays = [pa.array([row.get(name) for row in some], dtype) for name, dtype in columns]
        yield pa.Table.from_arrays(arrays, schema=plan.target)


def _frame(table: pa.Table, plan: _Plan) -> pl.DataFrame:
    # from_arrow() renames a column that is called "".
    positions = [str(index) for index in range(table.num_columns)]
    frame = pl.DataFrame(pl.from_arrow(table.rename_columns(positions)))
    frame.columns = list(plan.schema)
    frame = frame.cast(plan.schema) if plan.has_categories else frame
    if frame.schema != plan.schema:
        message = f"Arrow made {frame.schema} of {plan.schema}"
        raise TypeError(message)
    return frame


@lru_cache(maxsize=64)
def _plan(columns: tuple[tuple[str, pl.DataType], ...]) -> _Plan:
    schema = pl.Schema(columns)
    target = pa.schema([(name, arrow_type(dtype)) for name, dtype in columns])
    kinds = {name: leaf_types(dtype) for name, dtype in columns}
    every = frozenset[type[pl.DataType]]().union(*kinds.values())
    parsed = None
    # Arrow has no cast from text to a time of day, and lets decimals overflow (1e36 with two digits after the point).
    if not every & {pl.Decimal, pl.Time}:
        parsed = pa.schema([(name, _parsed_type(dtype)) for name, dtype in columns])
    options = parsed and pj.ParseOptions(explicit_schema=parsed, unexpected_field_behavior="error")
    checked = [
        index
        for index, name in enumerate(kinds)
        if kinds[name] & {pl.Float32, pl.Float64, pl.Date, pl.Datetime}
    ]
    return _Plan(
        schema, target, options, parsed != target, bool(every & {pl.Enum, pl.Categorical}), tuple(checked)
    )


def _parsed_type(dtype: pl.DataType) -> pa.DataType:
    """Return the type as which Arrow's JSON reader parses a column of ``dtype``, before a cast."""
    if isinstance(dtype, pl.List):
        return pa.list_(_parsed_type(as_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pa.struct([(field.name, _parsed_type(as_instance(field.dtype))) for field in dtype.fields])
    return _PARSED_AS.get(type(dtype)) or arrow_type(dtype)
