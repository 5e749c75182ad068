"""Polars frames by way of Arrow, for every format: the Arrow type of a column, and frames of arrays or of Python rows.

Nothing here reads payloads; who parses with Arrow does so in its own room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import polars as pl
import pyarrow as pa

from ktframe.formats.dtypes import as_instance, leaf_types

NATIVE_ERRORS: Final = (Exception, pl.exceptions.PanicException)
"""What Arrow and Polars may raise; a panic in Rust is not an Exception."""

_ROWS_PER_CALL = 1_000  # pa.array holds the GIL

_EXACT: Final[Mapping[type[pl.DataType], frozenset[type]]] = {
    pl.Null: frozenset({type(None)}),
    pl.Boolean: frozenset({bool, type(None)}),
    pl.Int64: frozenset({int, type(None)}),
    pl.Float64: frozenset({float, type(None)}),
    pl.String: frozenset({str, type(None)}),
}
"""Of values of these types alone Polars makes what Arrow makes, without its import of pandas, and sooner."""

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


@lru_cache(maxsize=1_024)  # every widened struct is a type of its own
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
    # By position: from_arrow renames a column that is called "".
    positions = [str(at) for at in range(len(arrays))]
    # A table without columns only keeps its number of rows if they are selected from one that has some.
    table = pa.table(arrays, positions) if positions else pa.table({"": pa.nulls(height)}).select([])
    frame = pl.DataFrame(pl.from_arrow(table))
    frame.columns = list(schema)
    if frame.schema != schema:
        frame = frame.cast({name: dtype for name, dtype in schema.items() if _has_categories(dtype)})
    if frame.schema != schema:
        message = f"Arrow made {frame.schema} of {schema}"
        raise TypeError(message)
    return frame


def frame_of_records(rows: Sequence[Mapping[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    """Return the frame of rows of Python values, of the types that ``pa.array`` takes; absent ones are null.

    Raises
    ------
    NATIVE_ERRORS
        When Arrow or Polars can't hold one of the values.
    """
    starts = range(0, max(len(rows), 1), _ROWS_PER_CALL)
    frames = [_frame_of_some(rows[start : start + _ROWS_PER_CALL], schema) for start in starts]
    return frames[0] if len(frames) == 1 else pl.concat(frames, rechunk=True)


def _frame_of_some(rows: Sequence[Mapping[str, Any]], schema: pl.Schema) -> pl.DataFrame:
    exact, arrays = dict[str, pl.Series](), dict[str, Any]()
    for name, dtype in schema.items():
        values = [row.get(name) for row in rows]
        kinds = _EXACT.get(type(dtype))
        if kinds is not None and kinds.issuperset(map(type, values)):
            exact[name] = pl.Series(name, values, dtype=dtype)
        else:
            # For a list, an empty one too, pyarrow imports pandas. Whether columns can be is tried with no rows.
            arrow = arrow_type(dtype)
            arrays[name] = pa.array(values, arrow) if rows else pa.nulls(0, arrow)
    if schema and not arrays:
        return pl.DataFrame(exact)
    others = frame_of(list(arrays.values()), pl.Schema({name: schema[name] for name in arrays}), len(rows))
    return others.with_columns(exact.values())[[*schema]] if exact else others


def _has_categories(dtype: pl.DataType) -> bool:
    return bool(leaf_types(dtype) & {pl.Enum, pl.Categorical})
