"""Frames in files that are mapped into memory: uncompressed Arrow IPC, which Polars reads in place.

No name of a file is ever used twice, and a complete file is never written to: whoever has one mapped keeps it, also after
it was removed. What a file must hold is kept elsewhere, as its ``FrameFile``; files that nobody names are removed.
"""

from __future__ import annotations

import os
import secrets
import time
import zlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

import polars as pl
import pyarrow as pa

WRITE_SECONDS: Final = 10.0
"""How long a file may take: whoever closes a table waits for it."""
_PIECE_BYTES: Final = 1 << 26
_NEWEST: Final = pl.CompatLevel.newest()


class DamagedFileError(Exception):
    """A file is not as it was written."""


@dataclass(frozen=True, slots=True)
class FrameFile:
    """A file as it was written: its length, and the CRC-32 of all its bytes."""

    name: str
    size: int
    crc: int


class _Sink:
    """A file that Arrow writes to, with its checksum; it gives up on a disk that is too slow."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)  # exclusively: another file of this name might be mapped
        self._until = time.monotonic() + WRITE_SECONDS
        self.size = self.crc = self._unsynced = 0

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        written = len(rest)
        while rest:
            if time.monotonic() > self._until:
                message = f"the disk is too slow: it takes longer than {WRITE_SECONDS:g} s"
                raise OSError(message)
            piece = rest[: self._file.write(rest[: _PIECE_BYTES - self._unsynced])]
            self.crc = zlib.crc32(piece, self.crc)
            rest = rest[len(piece) :]
            self._unsynced += len(piece)
            if self._unsynced >= _PIECE_BYTES:
                self.flush()  # or all of it would have to be waited for at the end, however long that takes
        self.size += written
        return written

    def flush(self) -> None:
        self._unsynced = 0
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def write_frame(directory: Path, kind: str, frame: pl.DataFrame, *, is_lasting: bool = True) -> FrameFile:
    """Write ``frame`` to a new file; ``kind`` is what its name begins with. If it ``is_lasting`` it survives a crash.

    Raises
    ------
    OSError, pyarrow.ArrowException
        When the disk refuses, or Arrow has no such type. Nothing is left then.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / f"{kind}-{secrets.token_hex(8)}.arrow"
    frame.clear().to_arrow(compat_level=_NEWEST)  # raises for types that Arrow does not have
    try:
        sink = _Sink(path)
        try:
            # By Polars: Arrow writes the texts that several chunks share once for each of them.
            frame.write_ipc(
                cast("IO[bytes]", sink),
                compression="uncompressed",
                compat_level=_NEWEST,
                record_batch_size=frame.height if frame.n_chunks() == 1 else None,
            )
            if is_lasting:
                sink.flush()
        finally:
            sink.close()
    except BaseException:
        with suppress(OSError):
            path.unlink()
        raise
    return FrameFile(path.name, sink.size, sink.crc)


def make_lasting(directory: Path, file: FrameFile) -> None:
    """Have a file survive a crash from now on."""
    descriptor = os.open(directory / file.name, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def map_frame(directory: Path, file: FrameFile, *, is_checked: bool = True) -> pl.DataFrame:
    """Return the frame in a file, whose columns lie in the file and not in memory.

    If it ``is_checked`` all bytes are looked at, which takes 0.4 s for a gigabyte that the system has in its cache: Polars
    trusts what it maps, and would answer from a damaged file, or end the process.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    DamagedFileError
        When it can't be read, or is not as it was written.
    """
    path = directory / file.name
    if (size := path.stat().st_size) != file.size:
        message = f"it has {size} bytes, not {file.size}"
        raise DamagedFileError(message)
    try:
        with pa.memory_map(str(path)) as mapped:
            content = mapped.read_buffer()
        if is_checked and zlib.crc32(content) != file.crc:
            message = "its checksum is another one"
            raise DamagedFileError(message)
        table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    except (OSError, pa.ArrowException) as error:
        raise DamagedFileError(str(error)) from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table gives a frame
    frame.columns = table.column_names  # Polars gives a name to a column whose name is empty
    return frame


def keep_only(directory: Path, names: Collection[str]) -> None:
    """Remove the other files, those that a crash has left half written among them."""
    with suppress(OSError):
        for path in directory.iterdir():
            if path.name not in names:
                # Windows keeps a file that is mapped: it is removed at a later open.
                with suppress(OSError):
                    path.unlink()
