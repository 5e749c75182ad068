"""Rows as Protobuf messages."""

from __future__ import annotations

import polars as pl

from ktframe.formats.documents import SchemaDocument
from ktframe.formats.protobuf.rows import RowWriter
from ktframe.formats.protobuf.schemas import compiled
from ktframe.formats.protobuf.types import fields_of


class ProtobufWriter:
    """Writes messages of one type; takes and raises what ``ProtobufReader`` does."""

    def __init__(self, document: SchemaDocument, indexes: tuple[int, ...]) -> None:
        schema = compiled(document, indexes)
        self._rows = RowWriter(schema, fields_of(schema.message.DESCRIPTOR))

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the body of each row, by the names of its columns; null is a field that is not set.

        Raises
        ------
        SchemaError
            When a row does not fit the schema, naming the column and the row; nothing is written then.
        """
        return self._rows.write(rows)
