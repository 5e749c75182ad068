"""Reads Avro bodies into a frame: whole batches natively, and the rest one by one with the strict decoder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import polars as pl

from ktframe.formats.arrow import NATIVE_ERRORS, frame_of
from ktframe.formats.avro.batches import NativeReader, obstacle
from ktframe.formats.avro.bounds import has_cheap_items
from ktframe.formats.avro.columns import build_frame, columns_of
from ktframe.formats.avro.decode import Decoder
from ktframe.formats.avro.labels import fields_in
from ktframe.formats.avro.schema import parse
from ktframe.formats.batches import frame_of_rows, read_whole_or_apart
from ktframe.formats.bodies import BodiesRead, Column, SchemaDocument
from ktframe.formats.errors import RefusedError
from ktframe.formats.rules import FieldFacts

_FEW = 24
"""So few bodies are read faster one by one than natively."""

_ROWS_PER_FRAME, _BYTES_PER_FRAME = 1_000, 2**20
"""How much is read one by one before a frame is made of it: Python's objects are large, and pa.array holds the GIL."""


class AvroReader:
    """Reads Avro datums (without a header) that were written under one schema.

    Parameters
    ----------
    document
        The writer schema.

    Raises
    ------
    SchemaError
        When it is not an Avro schema.
    ConfigurationError
        When polars-avro is not installed.

    Notes
    -----
    *Refused* are bodies with a byte too few or too many; with text that is not UTF-8; with a time of day, an enum, a
    union branch, a UUID or a decimal out of range; nested deeper than 64 levels; with more than 10,000 items that take
    no bytes; and with nearly empty items in more than 20,000 cells plus 32 a byte.

    *Columns*: enums and UUIDs are text. Maps are lists of ``key`` and ``value`` in the order written. A union of several
    types is a struct with a field for each, all null but one. A record that contains itself is JSON text (see
    ``recursive``). A decimal of more than 38 digits is text. A decimal of more than 1,000 digits, and an unknown logical
    type, are shown as stored.
    """

    def __init__(self, document: SchemaDocument) -> None:
        self._schema = parse(document)
        self._columns = columns_of(self._schema)
        self._dtypes = pl.Schema({column.name: column.dtype for column in self._columns})
        self._is_record = self._schema.root.kind == "record"
        reason = obstacle(self._schema.root)
        self._note = f"{reason}: record by record" if reason else None
        native = NativeReader(self._schema.root) if reason is None else None
        self._native = native
        # A decoder that counts cheap items can't be shared by calls in two threads.
        self._decoder = None if has_cheap_items(self._schema.root) else Decoder(self._schema)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields of the schema, or one column ``value`` where it is not a record."""
        return self._columns

    @property
    def note(self) -> str | None:
        """Why bodies are read one by one; None where they are read in batches."""
        return self._note

    def fields(self) -> Iterator[FieldFacts]:
        """Yield the fields of the schema, those inside of others too."""
        return fields_in(self._schema)

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Read ``bodies``, some ten thousand at most, into ``columns``."""
        return read_whole_or_apart(bodies, self._read_batch, self._read_one_by_one)

    def _read_batch(self, bodies: Sequence[bytes]) -> pl.DataFrame | None:
        return None if len(bodies) <= _FEW else self._read_natively(bodies)

    def _read_natively(self, bodies: Sequence[bytes]) -> pl.DataFrame | None:
        array = self._native.read(bodies) if self._native is not None else None
        if array is None:
            return None
        arrays = [array.field(at) for at in range(len(self._dtypes))] if self._is_record else [array]
        try:
            return frame_of(arrays, self._dtypes, len(bodies))
        except NATIVE_ERRORS:
            return None

    def _read_one_by_one(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Decode the bodies with the strict decoder; ``read`` must give the same."""
        decode = (self._decoder or Decoder(self._schema)).decode
        parts: list[BodiesRead] = []
        refused: dict[int, str] = {}
        values: dict[int, Any] = {}
        size = 0
        for index, body in enumerate(bodies):
            try:
                values[index] = decode(body)
            except RefusedError as error:
                refused[index] = str(error)
            size += len(body)
            if size > _BYTES_PER_FRAME or len(values) == _ROWS_PER_FRAME:
                parts.append(frame_of_rows(values, self._dtypes, self._frame))
                values, size = {}, 0
        parts.append(frame_of_rows(values, self._dtypes, self._frame))
        refused |= dict(chain.from_iterable(part.refused.items() for part in parts))
        frames = [part.frame for part in parts]
        return BodiesRead(pl.concat(frames, rechunk=True) if len(frames) > 1 else frames[0], refused)

    def _frame(self, values: Sequence[Any]) -> pl.DataFrame | None:
        try:
            return build_frame(values, self._dtypes, is_record=self._is_record)
        except NATIVE_ERRORS:
            return None
