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


def unpacked(payloads: Sequence[bytes]) -> Sequence[bytes]:
    """Return what is inside of the payloads, themselves where that can't be read; ``payloads`` where none is packed."""
    if not any(payload.startswith((BOM, GZIP)) for payload in payloads):
        return payloads
    return [_unpacked(payload) for payload in payloads]


def unpacked_bytes(payload: bytes) -> int:
    """Return how many bytes a payload takes when it is unpacked, as gzip says at its end, and no more than may be unpacked."""
    if not payload.startswith(GZIP):
        return len(payload)
    return min(max(len(payload), int.from_bytes(payload[-4:], "little")), LARGEST_BYTES)


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
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
            content = file.read(LARGEST_BYTES + 1)  # no more than shows that it is too large
    except (OSError, EOFError, zlib.error):
        return None, "gzip that is cut or damaged"
    if len(content) > LARGEST_BYTES:
        return None, f"gzip-compressed, with more than {LARGEST_BYTES // 2**20} MiB inside"
    return (None, "gzip inside of gzip") if content.startswith(GZIP) else (content, None)
