"""Whole batches at once: Google's library judges and puts in order, ptars makes columns of what is in order.

ptars alone shows what is not so: both fields of a oneof where the last one counts, a map's key twice, a Timestamp of the
year 9999 as one of 2262, unknown values of closed enums, messages that Google's library refuses. So a batch of bodies,
framed as one list, is parsed and written again by Google's library, in which each of these ends one way or the other,
before ptars sees it. And ptars is shown a schema of its own, of numbers, text, bytes, lists and structs alone; what is
more than that is made of them here, in Arrow.

Whatever is not certain makes None, never an error: what is right is decided record by record in ``protobuf_records``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ktframe.formats.protobuf.imports import google
from ktframe.formats.protobuf.messages import arrow_type, frame_of, json_text
from ktframe.formats.protobuf.ptars_schema import column_name, handler, obstacle
from ktframe.formats.protobuf.schemas import CompiledSchema
from ktframe.formats.protobuf.types import STRING, Field, Kind, has_required
from ktframe.formats.wire import varint_bytes

_ROWS_TAG = b"\x0a"  # field 1, with a length
_NANOS = 1_000_000_000
_MOST_FRAMES: Final = 100_000


class BatchReader:
    """Reads many bodies of one message into a frame, or does not."""

    def __init__(self, schema: CompiledSchema, fields: tuple[Field, ...]) -> None:
        self._schema = schema
        self._fields = fields
        self._has_required = has_required(schema.message.DESCRIPTOR)
        self._frames: dict[int, bytes] = {}
        self.obstacle = obstacle(fields)
        """Why no batch can be read, None where they can."""
        self._handler = None if self.obstacle else handler(fields)

    def read(self, bodies: Sequence[bytes]) -> pl.DataFrame | None:
        """Return the rows of ``bodies`` if every one of them certainly is a message with values to show."""
        if self._handler is None:
            return None
        try:
            batch = self._schema.batch.FromString(self._framed(bodies))
            batch.DiscardUnknownFields()
            if self._has_required and not batch.IsInitialized():
                return None
            # Not SerializeToString: see ``missing_fields``.
            ordered = batch.SerializePartialToString()
            rows = self._handler.list_to_record_batch([ordered]).column(0).values
            if len(rows) != len(bodies):
                return None
            columns = [
                self._column(each, rows.field(column_name(at))) for at, each in enumerate(self._fields)
            ]
            return frame_of(pa.table(columns, [field.name for field in self._fields]), self._fields)
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            return None

    def _framed(self, bodies: Sequence[bytes]) -> bytes:
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
            inner = [self._column(each, array.field(column_name(at))) for at, each in enumerate(field.fields)]
            mask = array.is_null()
            fields = [pa.field(each.name, made.type) for each, made in zip(field.fields, inner, strict=True)]
            return pa.StructArray.from_arrays(inner, fields=fields, mask=mask) if fields else array
        if field.kind is Kind.JSON:
            message = google("message_factory").GetMessageClass(field.descriptor.message_type)
            texts = [
                None if body is None else json_text(message.FromString(body), self._schema.pool)
                for body in array.to_pylist()
            ]
            return pa.array(texts, pa.string())
        return _PARTS[field.kind](field, array)


def _by_key(array: Any) -> Any:
    """Return the entries of maps, those of each map in the order of their keys."""
    entries = array.values
    keys = entries.field(0)
    keys = keys.cast(pa.uint8()) if keys.type == pa.bool_() else keys
    places = pa.table([pc.list_parent_indices(array), keys], ["map", "key"])
    return entries.take(pc.sort_indices(places, [("map", "ascending"), ("key", "ascending")]))


def _scalar(field: Field, array: Any) -> Any:
    if field.encoding == STRING:
        array.validate(full=True)  # proto2 does not ask for UTF-8
    return array


def _enum(field: Field, array: Any) -> Any:
    numbers = pa.array(list(field.names), pa.int32())
    names = pa.array(list(field.names.values()), pa.string()).take(pc.index_in(array, value_set=numbers))
    return pc.coalesce(names, array.cast(pa.string())) if names.null_count else names


def _wrapper(field: Field, array: Any) -> Any:
    return _scalar(field, array.flatten()[0])


def _timestamp(field: Field, array: Any) -> Any:
    seconds, nanos = array.flatten()
    _check(pc.and_(pc.greater_equal(nanos, 0), pc.less(nanos, _NANOS)))
    return _nanoseconds(seconds, nanos).cast(arrow_type(field.item))


def _duration(field: Field, array: Any) -> Any:
    seconds, nanos = array.flatten()
    _check(pc.and_(pc.greater(nanos, -_NANOS), pc.less(nanos, _NANOS)))
    _check(pc.not_equal(pc.multiply(pc.sign(seconds), pc.sign(nanos)), -1))
    return _nanoseconds(seconds, nanos).cast(arrow_type(field.item))


def _nanoseconds(seconds: Any, nanos: Any) -> Any:
    scaled = pc.multiply_checked(seconds, pa.scalar(_NANOS, pa.int64()))
    return pc.add_checked(scaled, nanos.cast(pa.int64()))


def _field_mask(field: Field, array: Any) -> Any:
    del field
    paths = array.field(0)
    paths.values.validate(full=True)
    # Anew: there is no kernel for lists whose items can't be null, as ptars declares them.
    joined = pc.binary_join(pa.ListArray.from_arrays(paths.offsets, paths.values), ",")
    return pc.if_else(array.is_valid(), joined, pa.scalar(None, joined.type))


_PARTS: Final[Mapping[Kind, Any]] = {
    Kind.SCALAR: _scalar,
    Kind.ENUM: _enum,
    Kind.WRAPPER: _wrapper,
    Kind.TIMESTAMP: _timestamp,
    Kind.DURATION: _duration,
    Kind.FIELD_MASK: _field_mask,
}


def _check(mask: Any) -> None:
    if not pc.all(mask, min_count=0).as_py():
        message = "a record must be looked at"
        raise ValueError(message)
