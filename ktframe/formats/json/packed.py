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


def _unpacked(payload: bytes) -> bytes:
    if payload.startswith(GZIP):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(payload)) as file:
                content = file.read(LARGEST_BYTES + 1)
        except (OSError, EOFError, zlib.error):
            return payload
        payload = payload if len(content) > LARGEST_BYTES else content
    return payload.removeprefix(BOM)
