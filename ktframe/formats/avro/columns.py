"""Avro values to frames: the columns that a schema has, and the frame of decoded values or of Arrow arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from ktframe.errors import SchemaError
from ktframe.formats.arrow import NATIVE_ERRORS
from ktframe.formats.avro.binary import RefusedError
from ktframe.formats.avro.decode import Decoder
from ktframe.formats.avro.encode import encoder
from ktframe.formats.avro.json_text import from_default
from ktframe.formats.avro.types import KEY, VALUE, AvroField, AvroSchema, AvroType, arrow_of, dtype_of
from ktframe.formats.base import VALUE_COLUMN
from ktframe.formats.bodies import NO_DEFAULT, Column
from ktframe.formats.dtypes import instance


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
    """Return what a column shows for a body that has the default of its field."""
    body = bytearray()
    try:
        encoder(field.type, schema)(from_default(field.type, field.default, schema), body)
        value = Decoder(AvroSchema(field.type, schema.records)).decode(bytes(body))
        shown = build_frame([value], pl.Schema({VALUE_COLUMN: dtype}), is_record=False)
        return shown[VALUE_COLUMN].cast(_exact_in_python(dtype)).to_list()[0]
    except (RefusedError, *NATIVE_ERRORS) as error:
        message = f"the default of field {field.name!r} is none of its values: {error}"
        raise SchemaError(message) from None


def _exact_in_python(dtype: pl.DataType) -> pl.DataType:
    """Return ``dtype`` with integers for what Python's datetimes would round; Polars takes them for the same."""
    if isinstance(dtype, pl.List):
        return pl.List(_exact_in_python(instance(dtype.inner)))
    if isinstance(dtype, pl.Struct):
        return pl.Struct({each.name: _exact_in_python(instance(each.dtype)) for each in dtype.fields})
    is_finer = isinstance(dtype, pl.Datetime) and dtype.time_unit == "ns"
    return pl.Int64() if is_finer else dtype


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
    columns = [[each[name] for each in values] for name in schema] if is_record else [values]
    dtypes = [arrow_of(dtype) for dtype in schema.dtypes()]
    arrays = [pa.array(column, dtype) for column, dtype in zip(columns, dtypes, strict=True)]
    return frame_of(arrays, schema, len(values))


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
