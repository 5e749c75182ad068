"""Payloads that hold JSON inside of something else: compressed by gzip, or behind a byte order mark."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Sequence
from typing import Final

BOM: Final = b"\xef\xbb\xbf"
GZIP: Final = b"\x1f\x8b"
LARGEST_BYTES: Final = 2**26
"""What is larger when it is decompressed stays as it is: a few kB could fill the memory."""

_DAMAGED: Final = (OSError, EOFError, zlib.error)


def unpacked(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Return what is inside of the payloads, themselves where that can't be read; ``payloads`` where none is packed."""
    if not any(payload.startswith((BOM, GZIP)) for payload in payloads):
        return payloads
    return [_unpacked(payload) for payload in payloads]


def why_packed(payload: bytes) -> str | None:
    """Return why what is inside of a payload of gzip can't be read; None where it is at hand."""
    try:
        content = _content(payload)
    except _DAMAGED:
        return "gzip that is cut or damaged"
    if len(content) > LARGEST_BYTES:
        return f"gzip-compressed, with more than {LARGEST_BYTES // 2**20} MiB inside"
    return "gzip inside of gzip" if content.startswith(GZIP) else None


def _unpacked(payload: bytes) -> bytes:
    if payload.startswith(GZIP):
        try:
            content = _content(payload)
        except _DAMAGED:
            return payload
        # What is packed twice stays as it was sent, for the reason of its refusal.
        payload = payload if len(content) > LARGEST_BYTES or content.startswith(GZIP) else content
    return payload.removeprefix(BOM)


def _content(payload: bytes) -> bytes:
    """Return what is inside, and of that no more than shows that it is too large."""
    with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
        return file.read(LARGEST_BYTES + 1)
