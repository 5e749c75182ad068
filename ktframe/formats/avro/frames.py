"""Avro values to frames: the columns that a schema has, and the frame of decoded values or of Arrow arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from ktframe.errors import SchemaError
from ktframe.formats.avro.json import from_default
from ktframe.formats.avro.types import KEY, VALUE, AvroField, AvroSchema, AvroType, arrow_of, dtype_of
from ktframe.formats.avro.wire import RefusedError
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.documents import NO_DEFAULT, Column
from ktframe.formats.json_arrow import NATIVE_ERRORS

_ROWS_PER_CALL = 1_000  # pa.array holds the GIL


def fields_of(schema: AvroSchema) -> tuple[AvroField, ...]:
    """Return the fields of a schema; one called ``value`` where it is no record."""
    is_record = schema.root.kind == "record"
    return schema.root.fields if is_record else (AvroField(VALUE_COLUMN, schema.root),)


def columns_of(schema: AvroSchema) -> tuple[Column, ...]:
    """Return the columns of a schema.

    Raises
    ------
    SchemaError
        When a default is no value of its field, or none that Python can show.
    """
    return tuple(_column(each, schema) for each in fields_of(schema))


def _column(field: AvroField, schema: AvroSchema) -> Column:
    dtype = dtype_of(field.type)
    default = NO_DEFAULT if field.default is NO_DEFAULT else _shown(field, dtype, schema)
    return Column(field.name, dtype, default, field.aliases, _inner(field.type, schema))


def _shown(field: AvroField, dtype: pl.DataType, schema: AvroSchema) -> Any:
    """Return what a column shows for the default of its field."""
    try:
        value = from_default(field.type, field.default, schema)
        return build_frame([value], pl.Schema({VALUE_COLUMN: dtype}), is_record=False)[
            VALUE_COLUMN
        ].to_list()[0]
    except (RefusedError, *NATIVE_ERRORS) as error:
        message = f"the default of field {field.name!r} is none of its values: {error}"
        raise SchemaError(message) from None


def _inner(avro: AvroType, schema: AvroSchema) -> tuple[Column, ...]:
    if avro.kind == "record":
        return tuple(_column(each, schema) for each in avro.fields)
    if avro.kind == "map":
        entry = (AvroField(KEY, AvroType("string")), AvroField(VALUE, avro.inner[0]))
        return tuple(_column(each, schema) for each in entry)
    if avro.kind == "array":
        return _inner(avro.inner[0], schema)
    if len(avro.carried) > 1:
        branches = [AvroField(avro.labels[index], branch) for index, branch in avro.carried]
        return tuple(_column(each, schema) for each in branches)
    return _inner(avro.carried[0][1], schema) if avro.carried else ()


def build_frame(values: Sequence[Any], schema: pl.Schema, *, is_record: bool) -> pl.DataFrame:
    """Return the frame of decoded values: records of the columns of ``schema``, or values of its only column."""
    parts = list(_parts(values, schema, is_record=is_record))
    return pl.concat(parts, rechunk=True) if len(parts) > 1 else parts[0]


def _parts(values: Sequence[Any], schema: pl.Schema, *, is_record: bool) -> Iterator[pl.DataFrame]:
    for start in range(0, max(len(values), 1), _ROWS_PER_CALL):
        some = values[start : start + _ROWS_PER_CALL]
        columns = [[each[name] for each in some] for name in schema] if is_record else [some]
        dtypes = [arrow_of(dtype) for dtype in schema.dtypes()]
        arrays = [pa.array(column, dtype) for column, dtype in zip(columns, dtypes, strict=True)]
        yield frame_of(arrays, schema, len(some))


def frame_of(arrays: Sequence[Any], schema: pl.Schema, height: int) -> pl.DataFrame:
    """Return the frame of Arrow arrays, one for each column of ``schema``.

    Raises
    ------
    TypeError
        When the arrays are of other types.
    """
    # A table without columns forgets how many rows it has unless they are cut from one that has some; and
    # from_arrow() renames a column that is called "".
    positions = [str(at) for at in range(len(arrays))]
    table = pa.table([*arrays, pa.nulls(height)], [*positions, "height"]).select(positions)
    frame = pl.DataFrame(pl.from_arrow(table))
    frame.columns = list(schema)
    if frame.schema != schema:
        message = f"Arrow made {frame.schema} of {schema}"
        raise TypeError(message)
    return frame
