"""Writes rows as Avro bodies, row by row, and only if every value fits exactly."""

from __future__ import annotations

from typing import Any

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.arrow import NATIVE_ERRORS
from ktframe.formats.avro.columns import columns_of, fields_of
from ktframe.formats.avro.encode import Encoder, encoder
from ktframe.formats.avro.schema import parse
from ktframe.formats.avro.types import AvroField
from ktframe.formats.avro.values import check_known, default_of, values_of
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.errors import RefusedError


class AvroWriter:
    """Writes rows as Avro datums (without a header) under one schema.

    Parameters
    ----------
    document
        The schema to write under.

    Raises
    ------
    SchemaError
        When it is not an Avro schema.

    Notes
    -----
    Takes what ``AvroReader`` shows, and what means exactly the same: integers of other widths up to 64 bits, integers up
    to 2**53 for floats and any for decimals, datetimes of another unit, categories for enums, structs without fields
    that have a default. Rounded are only a Float64 for a float, and numbers in the text of a record that contains itself.
    """

    def __init__(self, document: SchemaDocument) -> None:
        self._schema = parse(document)
        columns_of(self._schema)  # raises if a default is not a value of its field
        self._fields = fields_of(self._schema)
        self._encoders = [encoder(field.type, self._schema) for field in self._fields]

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the body of each row.

        A missing column is written as the default of its field, or as null where that is allowed.

        Raises
        ------
        SchemaError
            When a row does not fit the schema, naming the column and the row; nothing is written then.
        """
        check_known(rows.columns, [field.name for field in self._fields], "column")
        columns = [
            (field.name, put, self._values(rows, field))
            for field, put in zip(self._fields, self._encoders, strict=True)
        ]
        return [_body(columns, row) for row in range(rows.height)]

    def _values(self, rows: pl.DataFrame, field: AvroField) -> list[Any]:
        if field.name not in rows.columns:
            return [default_of(field, self._schema, field.name)] * rows.height
        try:
            array = rows.get_column(field.name).rechunk().to_arrow()
            return values_of(array, field.type, self._schema, field.name)
        except SchemaError:
            raise
        except NATIVE_ERRORS as error:
            message = f"column {field.name!r} of {rows.schema[field.name]} can't be written: {error}"
            raise SchemaError(message) from error


def _body(columns: list[tuple[str, Encoder, list[Any]]], row: int) -> bytes:
    out = bytearray()
    for name, put, values in columns:
        try:
            put(values[row], out)
        except RefusedError as error:
            message = f"column {name!r}, row {row}: {error}."
            raise SchemaError(message) from None
    return bytes(out)
