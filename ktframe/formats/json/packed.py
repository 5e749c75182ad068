"""Payloads that hold JSON inside of something else: compressed by gzip, or behind a byte order mark."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final

BOM: Final = b"\xef\xbb\xbf"
GZIP: Final = b"\x1f\x8b"
LARGEST_BYTES: Final = 2**26
"""What is larger when it is decompressed stays as it is: a few kB could fill the memory."""

_WITH_HEADER: Final = 31
"""The ``wbits`` of zlib for gzip, whose check sums it compares."""
_STEP: Final = 4_096
"""So many bytes are decompressed at once, to no more than a thousand times as many."""


def unpacked(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Return what is inside of the payloads, themselves where that can't be read; ``payloads`` where none is packed."""
    if not any(payload.startswith((BOM, GZIP)) for payload in payloads):
        return payloads
    return [_unpacked(payload) for payload in payloads]


def unpacked_bytes(payload: bytes) -> int:
    """Return how many bytes a payload takes when it is unpacked, and no more than may be unpacked."""
    # Not what gzip says at its end: that is the last of several members, or a lie.
    if not payload.startswith(GZIP):
        return len(payload)
    size = 0
    try:
        for part in _parts(payload):
            size += len(part)
            if size > LARGEST_BYTES:
                return LARGEST_BYTES
    except (EOFError, zlib.error):
        return len(payload)
    return max(len(payload), size)


def why_packed(payload: bytes) -> str | None:
    """Return why what is inside of a payload of gzip can't be read; None where it is at hand."""
    return _opened(payload)[1]


def _unpacked(payload: bytes) -> bytes:
    if payload.startswith(GZIP):
        content, _ = _opened(payload)
        payload = (
            payload if content is None else content
        )  # what can't be read stays, for the reason of its refusal
    return payload.removeprefix(BOM)


def _opened(payload: bytes) -> tuple[bytes, None] | tuple[None, str]:
    """Return what is inside of gzip, or why that can't be read."""
    parts, size = list[bytes](), 0
    try:
        for part in _parts(payload):
            parts.append(part)
            size += len(part)
            if size > LARGEST_BYTES:
                return None, f"gzip-compressed, with more than {LARGEST_BYTES // 2**20} MiB inside"
    except (EOFError, zlib.error):
        return None, "gzip that is cut or damaged"
    content = b"".join(parts)
    return (None, "gzip inside of gzip") if content.startswith(GZIP) else (content, None)


def _parts(payload: bytes) -> Iterator[bytes]:
    """Yield what is inside of gzip, which may have several members and zeros behind each; EOFError where it is cut."""
    # Not Python's gzip, which takes twenty times as long for a payload of a few hundred bytes.
    view, at, end = memoryview(payload), 0, len(payload)
    while at < end:
        member = zlib.decompressobj(_WITH_HEADER)
        while not member.eof:
            if at >= end:
                raise EOFError
            given = view[at : at + _STEP]
            yield member.decompress(given)
            at += len(given) - len(member.unused_data)
        while at < end and payload[at] == 0:
            at += 1
