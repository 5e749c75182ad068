"""Reads whole batches of messages: Google's library normalizes the bytes, then ptars makes columns of them.

ptars alone makes mistakes: it shows both fields of a oneof, a map's key twice, a Timestamp of the year 9999 as one of
2262, and unknown values of closed enums, and it takes messages that Google's library refuses. So the bodies are joined to
one message with a list of them, which Google's library parses and serializes again before ptars reads it. And ptars gets
a schema of its own (``ptars_schema``) with nothing but numbers, text, bytes, lists and structs; everything else is made
of these here, in Arrow.

Where anything is in doubt the result is None, never an error: ``messages`` decides what is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ktframe.formats.arrow import arrow_type, frame_of
from ktframe.formats.errors import UncertainBatchError
from ktframe.formats.protobuf.imports import google
from ktframe.formats.protobuf.messages import json_text, schema_of
from ktframe.formats.protobuf.ptars_schema import column_name, handler, obstacle
from ktframe.formats.protobuf.schemas import CompiledSchema
from ktframe.formats.protobuf.types import NANOS, STRING, Field, Kind, has_required
from ktframe.formats.wire import varint_bytes

_ROWS_TAG = b"\x0a"  # field 1, with a length
_MOST_FRAMES: Final = 100_000


class BatchReader:
    """Reads batches of bodies of one type of message, or says that it can't."""

    def __init__(self, schema: CompiledSchema, fields: tuple[Field, ...]) -> None:
        self._schema = schema
        self._fields = fields
        self._dtypes = schema_of(fields)
        self._has_required = has_required(schema.message.DESCRIPTOR)
        self._frames: dict[int, bytes] = {}
        self.obstacle = obstacle(fields)
        """Why batches can't be read, None where they can."""
        self._handler = None if self.obstacle else handler(fields)

    def read(self, bodies: Sequence[bytes]) -> pl.DataFrame | None:
        """Return the rows of ``bodies``, None if any of them is in doubt."""
        if self._handler is None:
            return None
        try:
            batch = self._schema.batch.FromString(self._joined(bodies))
            batch.DiscardUnknownFields()
            if self._has_required and not batch.IsInitialized():
                return None
            # Not SerializeToString, which may crash: see ``missing_fields``.
            ordered = batch.SerializePartialToString()
            rows = self._handler.list_to_record_batch([ordered]).column(0).values
            if len(rows) != len(bodies):
                return None
            columns = [
                self._column(field, rows.field(column_name(at))) for at, field in enumerate(self._fields)
            ]
            return frame_of(columns, self._dtypes, len(bodies))
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return None

    def _joined(self, bodies: Sequence[bytes]) -> bytes:
        frames = self._frames
        parts: list[bytes] = []
        for body in bodies:
            size = len(body)
            frame = frames.get(size)
            if frame is None:
                frame = _ROWS_TAG + varint_bytes(size)
                if len(frames) < _MOST_FRAMES:
                    frames[size] = frame
            parts += (frame, body)
        return b"".join(parts)

    def _column(self, field: Field, array: Any) -> Any:
        if field.is_repeated:
            values = _by_key(array) if field.is_map else array.values
            return pa.ListArray.from_arrays(array.offsets, self._items(field, values))
        items = self._items(field, array)
        if field.default is not None and field.has_presence:
            return pc.fill_null(items, pa.scalar(field.default, items.type))
        return items

    def _items(self, field: Field, array: Any) -> Any:
        if field.kind is Kind.STRUCT:
            arrays = [
                self._column(inner, array.field(column_name(at))) for at, inner in enumerate(field.fields)
            ]
            mask = array.is_null()
            fields = [
                pa.field(inner.name, values.type) for inner, values in zip(field.fields, arrays, strict=True)
            ]
            return pa.StructArray.from_arrays(arrays, fields=fields, mask=mask) if fields else array
        if field.kind is Kind.JSON:
            message = google("message_factory").GetMessageClass(field.descriptor.message_type)
            texts = [
                None if body is None else json_text(message.FromString(body), self._schema.pool)
                for body in array.to_pylist()
            ]
            return pa.array(texts, pa.string())
        return _CONVERTERS[field.kind](field, array)


def _by_key(array: Any) -> Any:
    """Return the entries of maps, sorted by key within each map."""
    entries = array.values
    keys = entries.field(0)
    keys = keys.cast(pa.uint8()) if keys.type == pa.bool_() else keys
    places = pa.table([pc.list_parent_indices(array), keys], ["map", "key"])
    return entries.take(pc.sort_indices(places, [("map", "ascending"), ("key", "ascending")]))


def _scalar(field: Field, array: Any) -> Any:
    if field.encoding == STRING:
        array.validate(full=True)  # proto2 does not check for UTF-8
    return array


def _enum(field: Field, array: Any) -> Any:
    numbers = pa.array(list(field.names), pa.int32())
    names = pa.array(list(field.names.values()), pa.string()).take(pc.index_in(array, value_set=numbers))
    return pc.coalesce(names, array.cast(pa.string())) if names.null_count else names


def _wrapper(field: Field, array: Any) -> Any:
    return _scalar(field, array.flatten()[0])


def _timestamp(field: Field, array: Any) -> Any:
    seconds, nanos = array.flatten()
    _check(pc.and_(pc.greater_equal(nanos, 0), pc.less(nanos, NANOS)))
    return _nanoseconds(seconds, nanos).cast(arrow_type(field.item))


def _duration(field: Field, array: Any) -> Any:
    seconds, nanos = array.flatten()
    _check(pc.and_(pc.greater(nanos, -NANOS), pc.less(nanos, NANOS)))
    _check(pc.not_equal(pc.multiply(pc.sign(seconds), pc.sign(nanos)), -1))
    return _nanoseconds(seconds, nanos).cast(arrow_type(field.item))


def _nanoseconds(seconds: Any, nanos: Any) -> Any:
    scaled = pc.multiply_checked(seconds, pa.scalar(NANOS, pa.int64()))
    return pc.add_checked(scaled, nanos.cast(pa.int64()))


def _field_mask(field: Field, array: Any) -> Any:
    del field
    paths = array.field(0)
    paths.values.validate(full=True)
    # A new list array, because binary_join does not take lists whose items can't be null, such as ptars makes.
    joined = pc.binary_join(pa.ListArray.from_arrays(paths.offsets, paths.values), ",")
    return pc.if_else(array.is_valid(), joined, pa.scalar(None, joined.type))


_CONVERTERS: Final[Mapping[Kind, Any]] = {
    Kind.SCALAR: _scalar,
    Kind.ENUM: _enum,
    Kind.WRAPPER: _wrapper,
    Kind.TIMESTAMP: _timestamp,
    Kind.DURATION: _duration,
    Kind.FIELD_MASK: _field_mask,
}


def _check(mask: Any) -> None:
    if not pc.all(mask, min_count=0).as_py():
        message = "a value out of range"
        raise UncertainBatchError(message)
