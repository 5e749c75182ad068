"""Message indexes: which message of its file a payload is.

A file may have many messages. Confluent's wire format says by a list of places, in front of the body, which of them it is:
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from ktframe.formats.base import Headers

_FIRST = (0,)
_LONGEST_VARINT = 5
_LARGEST_INDEX = 2**31


def parse_indexes(body: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the message indexes at the start of ``body``, and what stands behind them.

    Raises
    ------
    ValueError
        When no list of indexes stands there.
    """
    count, at = _zigzag(body, 0)
    if count == 0:  # short for the most frequent list
        return _FIRST, body[at:]
    if not 0 < count <= len(body) - at:
        message = f"a list of {count} message indexes in {len(body)} bytes"
        raise ValueError(message)
    indexes = []
    for _ in range(count):
        index, at = _zigzag(body, at)
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
        When there is none, or one that can't be an index.
    """
    if not indexes or not all(0 <= index < _LARGEST_INDEX for index in indexes):
        message = f"message indexes {tuple(indexes)}"
        raise ValueError(message)
    if tuple(indexes) == _FIRST:
        return b"\0"
    return b"".join(map(_packed, (len(indexes), *indexes)))


def _zigzag(body: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, as Protobuf's sint32 is encoded, and where it ends."""
    number = 0
    for place, byte in enumerate(body[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            if number >= 2 * _LARGEST_INDEX:
                break
            return (number >> 1) ^ -(number & 1), at + place + 1
    message = "message indexes that are cut off or malformed"
    raise ValueError(message)


def _packed(number: int) -> bytes:
    number <<= 1
    parts = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


VALUE_HEADER: Final = "__value_schema_id"
KEY_HEADER: Final = "__key_schema_id"
_BY_ID, _BY_GUID = 0, 1

ID_BYTES: Final = 5
"""How many bytes an id takes, with the mark before it."""

LARGEST_MARK: Final = _BY_GUID
_GUID_BYTES: Final = 17
_NO_ID: Final = bytes(ID_BYTES)


def schema_name(payload: bytes) -> bytes:
    """Return what names the schema at the start of ``payload``, no bytes where nothing does.

    An id of zero names none: registries count from one, and small numbers begin with zeros.
    """
    kind = payload[:1]
    if kind == b"\0":
        name = payload[:ID_BYTES]
        return name if len(name) == ID_BYTES and name != _NO_ID else b""
    if kind == b"\1" and len(payload) >= _GUID_BYTES:
        return payload[:_GUID_BYTES]
    return b""


def id_name(schema_id: int) -> bytes:
    """Return how a payload names the schema with this id."""
    return bytes([_BY_ID]) + schema_id.to_bytes(4, "big")


def schema_id_of(name: bytes) -> int | None:
    """Return the id in ``name``, None where it holds a GUID."""
    return int.from_bytes(name[1:], "big") if name[0] == _BY_ID else None


def guid_of(name: bytes) -> str:
    """Return the GUID in ``name``, as text."""
    return str(uuid.UUID(bytes=name[1:]))


def spelt(name: bytes) -> str:
    """Return ``name`` as people read it: "schema id 17", or with its GUID."""
    number = schema_id_of(name)
    return f"schema GUID {guid_of(name)}" if number is None else f"schema id {number}"


def with_header_schema(payload: bytes | None, headers: Headers, header: str) -> bytes | None:
    """Return ``payload`` behind what ``header`` says of its schema, unchanged where no such header names one."""
    if payload is None or not headers:
        return payload
    found = next((value for name, value in headers if name == header), None)
    return payload if found is None or not _is_whole(found) else found + payload


def without_header_schema(payload: bytes, message: bytes = b"") -> tuple[bytes, bytes | None]:
    """Return what ``with_header_schema`` made ``payload`` of: the payload, and what the header said (None: nothing).

    ``message`` are the message indexes that such headers have, as last seen.
    """
    name = schema_name(payload)
    if not name or schema_id_of(name) is not None:
        return payload, None
    said = name + message if payload.startswith(name + message) else name
    return payload[len(said) :], said


@lru_cache(maxsize=256)
def _is_whole(header: bytes) -> bool:
    """Say whether a header is a GUID with, at most, a list of message indexes: what is shorter takes from the payload."""
    if header[:1] != bytes([_BY_GUID]) or len(header) < _GUID_BYTES:
        return False
    if len(header) == _GUID_BYTES:
        return True
    try:
        return not parse_indexes(header[_GUID_BYTES:])[1]
    except ValueError:
        return False
