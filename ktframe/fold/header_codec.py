"""The bytes of a record's headers beside a stored record. Pinned by golden-bytes tests.

======  =======================================================================
bytes   meaning, for each header in the order of the record
======  =======================================================================
4 + n   length, big-endian, and UTF-8 bytes of the name
4 + n   length and bytes of the value; length 2**32 - 1 stands for null
======  =======================================================================

The whole has its length (4 bytes) before it. A record without headers has none of this: a flag beside it says so.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from ktframe.formats.base import Headers

_LENGTH: Final = Struct(">I")
_NULL: Final = 0xFFFF_FFFF


def pack_headers(headers: Headers) -> bytes:
    """Return the bytes of headers, with their length before them; none where there are no headers."""
    if not headers:
        return b""
    pack = _LENGTH.pack
    parts = []
    for name, value in headers:
        raw = name.encode()
        parts += [pack(len(raw)), raw]
        parts += [pack(_NULL)] if value is None else [pack(len(value)), value]
    packed = b"".join(parts)
    return pack(len(packed)) + packed


def unpack_headers(raw: bytes, at: int) -> list[tuple[str, bytes | None]]:
    """Return the headers that ``pack_headers`` gave, from their length at ``at`` on."""
    at, end = at + _LENGTH.size, headers_end(raw, at)
    found: list[tuple[str, bytes | None]] = []
    while at < end:
        name, at = _part(raw, at)
        value, at = _part(raw, at)
        found.append(((name or b"").decode(), value))
    return found


def headers_end(raw: bytes, at: int) -> int:
    """Return where the headers end whose length is at ``at``."""
    return at + _LENGTH.size + int(_LENGTH.unpack_from(raw, at)[0])


def _part(raw: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(raw, at)
    start = at + _LENGTH.size
    return (None, start) if length == _NULL else (raw[start : start + length], start + length)
