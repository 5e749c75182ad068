"""The columns of a schema with their defaults, and the frame of decoded values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from ktframe.errors import SchemaError
from ktframe.formats.arrow import NATIVE_ERRORS, arrow_type, frame_of
from ktframe.formats.avro.decode import Decoder
from ktframe.formats.avro.encode import encoder
from ktframe.formats.avro.json_text import from_default
from ktframe.formats.avro.types import KEY, VALUE, AvroField, AvroSchema, AvroType, dtype_of
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.bodies import NO_DEFAULT, Column
from ktframe.formats.dtypes import as_instance


def fields_of(schema: AvroSchema) -> tuple[AvroField, ...]:
    """Return the fields of a schema; one field ``value`` where it is not a record."""
    is_record = schema.root.kind == "record"
    return schema.root.fields if is_record else (AvroField(VALUE_COLUMN, schema.root),)


def columns_of(schema: AvroSchema) -> tuple[Column, ...]:
    """Return the columns of a schema.

    Raises
    ------
    SchemaError
        When a default is not a value of its field, or can't be held in a column.
    """
    return tuple(_column(field, schema) for field in fields_of(schema))


def _column(field: AvroField, schema: AvroSchema) -> Column:
    dtype = dtype_of(field.type)
    default = NO_DEFAULT if field.default is NO_DEFAULT else _default_shown(field, dtype, schema)
    return Column(field.name, dtype, default, field.aliases, _inner_columns(field.type, schema))


def _default_shown(field: AvroField, dtype: pl.DataType, schema: AvroSchema) -> Any:
    """Return what the column shows for a record without the field: its default, encoded and decoded as a body would be."""
    body = bytearray()
    try:
        encoder(field.type, schema)(from_default(field.type, field.default, schema), body)
        value = Decoder(AvroSchema(field.type, schema.records)).decode(bytes(body))
        shown = build_frame([value], pl.Schema({VALUE_COLUMN: dtype}), is_record=False)
        return shown[VALUE_COLUMN].cast(_exact_in_python(dtype)).to_list()[0]
    except NATIVE_ERRORS as error:
        message = f"the default of field {field.name!r} is not a value of its type: {error}"
        raise SchemaError(message) from None


def _exact_in_python(dtype: pl.DataType) -> pl.DataType:
    """Return ``dtype`` with integers instead of nanosecond datetimes, which Python's datetimes would round."""
    if isinstance(dtype, pl.List):
        return pl.List(_exact_in_python(as_instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _exact_in_python(as_instance(field.dtype)) for field in dtype.fields})
    is_finer = isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"
    return pl.Int64() if is_finer else dtype


def _inner_columns(avro: AvroType, schema: AvroSchema) -> tuple[Column, ...]:
    if avro.kind == "record":
        return tuple(_column(field, schema) for field in avro.fields)
    if avro.kind == "map":
        entry = (AvroField(KEY, AvroType("string")), AvroField(VALUE, avro.inner[0]))
        return tuple(_column(field, schema) for field in entry)
    if avro.kind == "array":
        return _inner_columns(avro.inner[0], schema)
    if len(avro.value_branches) > 1:
        branches = [AvroField(avro.labels[index], branch) for index, branch in avro.value_branches]
        return tuple(_column(field, schema) for field in branches)
    return _inner_columns(avro.value_branches[0][1], schema) if avro.value_branches else ()


def build_frame(values: Sequence[Any], schema: pl.Schema, *, is_record: bool) -> pl.DataFrame:
    """Return the frame of decoded values: records with the columns of ``schema``, or values of its only column."""
    columns = [[record[name] for record in values] for name in schema] if is_record else [values]
    dtypes = [arrow_type(dtype) for dtype in schema.dtypes()]
    arrays = [pa.array(column, dtype) for column, dtype in zip(columns, dtypes, strict=True)]
    return frame_of(arrays, schema, len(values))
