"""Encodes one value, as ``values`` makes it of a column, to the bytes of one type. The opposite of ``decode``."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any, TypeAlias

from ktframe.formats.avro.binary import long_bytes
from ktframe.formats.avro.decode import canonical_uuid
from ktframe.formats.avro.json_text import from_text
from ktframe.formats.avro.types import DAY_NS, KEY, TIME_UNIT_NS, VALUE, AvroSchema, AvroType, shortened
from ktframe.formats.errors import RefusedError

Encoder: TypeAlias = Callable[[Any, bytearray], None]
"""Appends the bytes of a value to a buffer, or raises RefusedError."""

_EXACT = Context(prec=4_000, traps=[InvalidOperation, Inexact])
_BITS = {"int": 31, "long": 63}
_FLOAT = struct.Struct("<f")
_DOUBLE = struct.Struct("<d")


def encoder(avro: AvroType, schema: AvroSchema) -> Encoder:  # noqa: PLR0911 - one for each kind
    """Return the encoder of the values of a type."""
    if avro.logical in {"decimal", "uuid"} or avro.logical in TIME_UNIT_NS:
        return _logical_encoder(avro)
    if avro.kind in {"int", "long"}:
        return _integer_encoder(avro.kind, 2 ** _BITS[avro.kind])
    if avro.kind in {"array", "map"}:
        return _list_encoder(avro, schema)
    if avro.kind == "record":
        return _record_encoder([(field.name, encoder(field.type, schema)) for field in avro.fields])
    if avro.kind == "union":
        return _union_encoder(avro, schema)
    if avro.kind == "enum":
        return _enum_encoder(avro)
    if avro.kind == "fixed":
        return _fixed_encoder(avro.size)
    if avro.kind == "reference":
        return _reference_encoder(avro, schema)
    return _PLAIN[avro.kind]


def _check_kind(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        kind_name = "null" if value is None else type(value).__name__
        raise RefusedError(
            str(value) if isinstance(value, RefusedError) else f"{kind_name}, but {what} is needed"
        )


def _put_null(value: Any, _: bytearray) -> None:
    if value is not None:
        message = str(value) if isinstance(value, RefusedError) else "it can only be null"
        raise RefusedError(message)


def _put_boolean(value: Any, out: bytearray) -> None:
    _check_kind(value, bool, "boolean")
    out.append(value)


def _put_float(value: Any, out: bytearray) -> None:
    if type(value) is not float:
        _check_kind(value, float, "float")
    try:
        out += _FLOAT.pack(value)
    except OverflowError:
        message = f"{value} is too large for a float"
        raise RefusedError(message) from None


def _put_double(value: Any, out: bytearray) -> None:
    if type(value) is not float:
        _check_kind(value, float, "double")
    out += _DOUBLE.pack(value)


def _put_bytes(value: Any, out: bytearray) -> None:
    if type(value) is not bytes:
        _check_kind(value, bytes, "bytes")
    out += long_bytes(len(value))
    out += value


def _put_text(value: Any, out: bytearray) -> None:
    if type(value) is not str:
        _check_kind(value, str, "string")
    raw = value.encode()
    out += long_bytes(len(raw))
    out += raw


_PLAIN: dict[str, Encoder] = {
    "null": _put_null,
    "boolean": _put_boolean,
    "float": _put_float,
    "double": _put_double,
    "bytes": _put_bytes,
    "string": _put_text,
}


def _integer_encoder(kind: str, end: int) -> Encoder:
    def put(value: Any, out: bytearray) -> None:
        if type(value) is not int:
            _check_kind(value, int, kind)
        if not -end <= value < end:
            message = f"{value} is beyond {'an int' if kind == 'int' else 'a long'}"
            raise RefusedError(message)
        out += long_bytes(value)

    return put


def _fixed_encoder(size: int) -> Encoder:
    def put(value: Any, out: bytearray) -> None:
        _check_kind(value, bytes, "fixed")
        if len(value) != size:
            message = f"{len(value)} bytes where {size} are fixed"
            raise RefusedError(message)
        out += value

    return put


def _enum_encoder(avro: AvroType) -> Encoder:
    indices = {symbol: long_bytes(index) for index, symbol in enumerate(avro.symbols)}

    def put(value: Any, out: bytearray) -> None:
        _check_kind(value, str, f"enum {avro.short_name}")
        if value not in indices:
            message = f"{shortened(value)} is not a value of enum {avro.short_name}"
            raise RefusedError(message)
        out += indices[value]

    return put


def _logical_encoder(avro: AvroType) -> Encoder:
    if avro.logical == "decimal":
        return _decimal_encoder(avro)
    if avro.logical == "uuid":
        return _uuid_encoder(avro)
    unit_ns = TIME_UNIT_NS[avro.logical or ""]

    def put(value: Any, out: bytearray) -> None:
        _check_kind(value, int, "time")
        if value % unit_ns or not 0 <= value < DAY_NS:
            message = f"a time of {value} ns is not a whole {avro.logical} within a day"
            raise RefusedError(message)
        out += long_bytes(value // unit_ns)

    return put


def _uuid_encoder(avro: AvroType) -> Encoder:
    def put(value: Any, out: bytearray) -> None:
        _check_kind(value, str, "UUID")
        text = canonical_uuid(value)
        if avro.kind == "fixed":
            out += bytes.fromhex(text.replace("-", ""))
        else:
            _put_text(text, out)

    return put


def _decimal_encoder(avro: AvroType) -> Encoder:
    put_bytes = _put_bytes if avro.kind == "bytes" else _fixed_encoder(avro.size)

    def put(value: Any, out: bytearray) -> None:
        unscaled = _unscaled(value, avro)
        # One bit more than the number needs, for its sign.
        shortest = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
        put_bytes(unscaled.to_bytes(avro.size or shortest, "big", signed=True), out)

    return put


def _unscaled(value: Any, avro: AvroType) -> int:
    if isinstance(value, str):
        try:
            value = _EXACT.create_decimal(value)
        except InvalidOperation:
            value = RefusedError(f"{shortened(value)} is not a decimal")
        except Inexact:
            value = RefusedError(f"{shortened(value)} has too many digits")
    _check_kind(value, Decimal, "decimal")
    # First of all, because a huge exponent would make endless digits.
    if not value.is_finite() or (value and value.adjusted() + avro.scale >= avro.precision):
        message = f"{value} has more than {avro.precision} digits with a scale of {avro.scale}"
        raise RefusedError(message)
    scaled = value.scaleb(avro.scale, _EXACT)
    if scaled and (scaled.adjusted() < 0 or scaled != scaled.to_integral_value()):
        message = f"{value} has more than {avro.scale} digits after the point"
        raise RefusedError(message)
    return int(scaled)


def _list_encoder(avro: AvroType, schema: AvroSchema) -> Encoder:
    put_item = encoder(avro.inner[0], schema)
    if avro.kind == "map":
        put_item = _record_encoder([(KEY, _put_text), (VALUE, put_item)])

    def put(value: Any, out: bytearray) -> None:
        if type(value) is not list:
            _check_kind(value, list, avro.kind)
        if value:
            out += long_bytes(len(value))
            for item in value:
                put_item(item, out)
        out.append(0)

    return put


def _record_encoder(fields: Sequence[tuple[str, Encoder]]) -> Encoder:
    def put(value: Any, out: bytearray) -> None:
        if type(value) is not dict:
            _check_kind(value, dict, "record")
        for name, put_field in fields:
            try:
                put_field(value[name], out)
            except RefusedError as error:
                message = f"{name}: {error}"
                raise RefusedError(message) from None

    return put


def _union_encoder(avro: AvroType, schema: AvroSchema) -> Encoder:
    branches = {
        avro.labels[index]: (long_bytes(index), encoder(branch, schema))
        for index, branch in avro.value_branches
    }
    null = None if avro.null_index is None else long_bytes(avro.null_index)
    only = next(iter(branches.values())) if len(branches) == 1 else None

    def put(value: Any, out: bytearray) -> None:
        taken = [] if value is None else [(only, value)] if only else _taken(value, branches)
        if not taken and null is not None:
            out += null
            return
        if len(taken) != 1:
            message = (
                f"{len(taken) or 'none'} of {', '.join(branches) or 'null'} are set, but exactly one must be"
            )
            raise RefusedError(message)
        (index, put_branch), inner = taken[0]
        out += index
        put_branch(inner, out)

    return put


def _taken(value: Any, branches: dict[str, tuple[bytes, Encoder]]) -> list[tuple[tuple[bytes, Encoder], Any]]:
    _check_kind(value, dict, "union")
    return [(branches[name], inner) for name, inner in value.items() if inner is not None]


def _reference_encoder(avro: AvroType, schema: AvroSchema) -> Encoder:
    # Made at the first value: the encoder of the record contains this one.
    record_encoder: list[Encoder] = []

    def put(value: Any, out: bytearray) -> None:
        _check_kind(value, str, f"{avro.short_name} as JSON")
        if not record_encoder:
            record_encoder.append(encoder(schema.records[avro.name], schema))
        record_encoder[0](from_text(avro, value, schema), out)

    return put
