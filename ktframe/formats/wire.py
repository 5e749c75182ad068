"""Confluent's wire formats: the bytes of a payload that name its schema, before the body.

A *schema reference* names a schema: byte 0 and a four-byte id, or byte 1 and the 16 bytes of a GUID. It stands at the
start of the payload, or in a header of the record. Under a Protobuf schema *message indexes* follow, which say which
message of the file the body is. What looks schemas up by their references is in ``schemas``.

https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ktframe.formats.base import Headers

VALUE_HEADER: Final = "__value_schema_id"
KEY_HEADER: Final = "__key_schema_id"

_BY_ID, _BY_GUID = 0, 1
LARGEST_MAGIC_BYTE: Final = _BY_GUID
"""Payloads with a schema reference begin with a byte up to this one; JSON never does, and text hardly ever."""

ID_REF_BYTES: Final = 5
_GUID_REF_BYTES: Final = 17
_NO_ID: Final = bytes(ID_REF_BYTES)

FIRST_MESSAGE: Final = b"\0"
"""The message indexes of the first message of a Protobuf schema."""

_FIRST_INDEXES = (0,)
_LONGEST_VARINT = 5
_LARGEST_INDEX = 2**31


def schema_ref_of(payload: bytes) -> bytes:
    """Return the schema reference at the start of ``payload``, no bytes where there is none."""
    kind = payload[:1]
    if kind == b"\0":
        ref = payload[:ID_REF_BYTES]
        # Registries count from one, and a plain payload that is a small number begins with zeros.
        return ref if len(ref) == ID_REF_BYTES and ref != _NO_ID else b""
    if kind == b"\1" and len(payload) >= _GUID_REF_BYTES:
        return payload[:_GUID_REF_BYTES]
    return b""


def id_ref(schema_id: int) -> bytes:
    """Return the reference to the schema with this id."""
    return bytes([_BY_ID]) + schema_id.to_bytes(4, "big")


def schema_id_of(schema_ref: bytes) -> int | None:
    """Return the id in a schema reference, None where it holds a GUID."""
    return int.from_bytes(schema_ref[1:], "big") if schema_ref[0] == _BY_ID else None


def guid_of(schema_ref: bytes) -> str:
    """Return the GUID in a schema reference, as text."""
    return str(uuid.UUID(bytes=schema_ref[1:]))


def describe_ref(schema_ref: bytes) -> str:
    """Return a schema reference as text: ``schema id 17``, or ``schema GUID`` and the GUID."""
    schema_id = schema_id_of(schema_ref)
    return f"schema GUID {guid_of(schema_ref)}" if schema_id is None else f"schema id {schema_id}"


def with_header_ref(payload: bytes | None, headers: Headers, header: str) -> bytes | None:
    """Return ``payload`` with the schema reference from ``header`` put before it; unchanged where there is none."""
    if payload is None or not headers:
        return payload
    content = next((value for name, value in headers if name == header), None)
    return payload if content is None or not _is_guid_ref(content) else content + payload


def without_header_ref(payload: bytes, message: bytes = b"") -> tuple[bytes, bytes | None]:
    """Undo ``with_header_ref``: return the payload, and the content of the header (None where there was no header).

    ``message`` are the message indexes that such headers end with.
    """
    schema_ref = schema_ref_of(payload)
    if not schema_ref or schema_id_of(schema_ref) is not None:
        return payload, None
    content = schema_ref + message if payload.startswith(schema_ref + message) else schema_ref
    return payload[len(content) :], content


@lru_cache(maxsize=256)
def _is_guid_ref(header: bytes) -> bool:
    """Say whether the content of a header is a GUID, alone or with whole message indexes, and nothing more."""
    # Anything shorter would take its last bytes from the payload.
    if header[:1] != bytes([_BY_GUID]) or len(header) < _GUID_REF_BYTES:
        return False
    if len(header) == _GUID_REF_BYTES:
        return True
    try:
        return not parse_indexes(header[_GUID_REF_BYTES:])[1]
    except ValueError:
        return False


def parse_indexes(body: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the message indexes at the start of ``body``, and the bytes after them.

    Raises
    ------
    ValueError
        When no list of indexes stands there.
    """
    count, at = _read_index(body, 0)
    if count == 0:  # short for the most frequent list
        return _FIRST_INDEXES, body[at:]
    if not 0 < count <= len(body) - at:
        message = f"a list of {count} message indexes in {len(body)} bytes"
        raise ValueError(message)
    indexes = []
    for _ in range(count):
        index, at = _read_index(body, at)
        if index < 0:
            message = f"a message index of {index}"
            raise ValueError(message)
        indexes.append(index)
    return tuple(indexes), body[at:]


def pack_indexes(indexes: Sequence[int]) -> bytes:
    """Return the bytes that ``parse_indexes`` reads as ``indexes``.

    Raises
    ------
    ValueError
        When the list is empty, or has a number that can't be an index.
    """
    if not indexes or not all(0 <= index < _LARGEST_INDEX for index in indexes):
        message = f"message indexes {tuple(indexes)}"
        raise ValueError(message)
    if tuple(indexes) == _FIRST_INDEXES:
        return FIRST_MESSAGE
    return b"".join(varint_bytes(number << 1) for number in (len(indexes), *indexes))


def _read_index(body: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, encoded as Protobuf's sint32, and the position after it."""
    number = 0
    for place, byte in enumerate(body[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            if number >= 2 * _LARGEST_INDEX:
                break
            return (number >> 1) ^ -(number & 1), at + place + 1
    message = "message indexes that are cut off or malformed"
    raise ValueError(message)


def varint_bytes(number: int) -> bytes:
    """Return a number that is not negative as a varint: seven bits a byte, the lowest first."""
    if number < 0x80:  # noqa: PLR2004 - the first number of two bytes
        return bytes((number,))
    written = bytearray()
    while number >= 0x80:  # noqa: PLR2004
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
