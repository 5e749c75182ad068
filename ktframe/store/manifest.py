"""Looks at the files by which RocksDB finds all others, before it does: what would hang it or fill the memory is an error.

RocksDB notices nearly every damage by itself, from checksums. But it reads a manifest for ever that has a record of a kind
which only recycled write-ahead logs have, and files that should hold one line into memory, however long they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ktframe.errors import StoreCorruptError

_SHORT: Final = ("CURRENT", "IDENTITY", "rocksdict-config.json")
_SHORT_BYTES: Final = 65_536
_BLOCK: Final = 32_768
_HEADER: Final = 7
"""Of a record: checksum u32, length u16, kind u8; see "Write Ahead Log File Format" in RocksDB's wiki."""
_KINDS: Final = range(1, 5)
"""Whole, first, middle, last."""


def check_manifest(path: Path, data: Path) -> None:
    """Check the files in ``data``, RocksDB's directory in the store at ``path``; what is missing is RocksDB's to say.

    Raises
    ------
    StoreCorruptError
        When RocksDB might not come back from reading them.
    """
    try:
        for name in _SHORT:
            short = data / name
            if short.exists() and short.stat().st_size > _SHORT_BYTES:
                raise StoreCorruptError(str(path), f"{name} is no longer a short file")
        manifest = data / (data / "CURRENT").read_text(errors="replace").strip()
        if not manifest.name.startswith("MANIFEST-") or manifest.parent != data:
            return
        with manifest.open("rb") as file:
            while block := file.read(_BLOCK):
                _check_block(path, manifest.name, block)
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return  # another process may have the store open, and replace its manifest just now


def _check_block(path: Path, name: str, block: bytes) -> None:
    at = 0
    while at + _HEADER <= len(block):
        length = int.from_bytes(block[at + 4 : at + 6], "little")
        kind = block[at + 6]
        if kind == length == 0:
            return  # allocated, and not written yet
        if kind not in _KINDS:
            raise StoreCorruptError(str(path), f"{name} is damaged: it has a record of kind {kind}")
        at += _HEADER + length
