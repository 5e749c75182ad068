"""Decoded rows that are kept beside the stored ones, so that the next open need not decode them: files, and a note of them.

The note lies in the store, and says which write it is itself. RocksDB numbers its writes, and comes back from a crash with
a prefix of them. So where the note is there, and the last write is the note, the store holds exactly what the files were
made of: nothing was written since, by no version of ktframe. Where rows were written since, and nothing else, a log tells which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Final
from weakref import ReferenceType, ref

import orjson
import polars as pl
import pyarrow as pa

from ktframe.store.change_log import ChangeLog, forget
from ktframe.store.engine import Batch
from ktframe.store.layout import put_metadata
from ktframe.store.protocol import DecodedRows
from ktframe.store.view_files import (
    DamagedFileError,
    FrameFile,
    keep_only,
    make_lasting,
    map_frame,
    write_frame,
)

logger = logging.getLogger("ktframe.store")
NOTE: Final = "view"
"""The name in slot 0 of the note."""
_DIRECTORY: Final = "view"
_NOTE_WRITES: Final = 2
"""How many writes ``Note.put`` counts for: the note is the last of them."""
_CHECKS_AT_ONCE: Final = 4


@dataclass(frozen=True, slots=True)
class Note:
    """Which ``files`` hold the frames of a view, by their names; of empty frames there is none."""

    write: int
    """The number of the write that the note is."""
    made_by: str
    sees_deletes: bool
    files: Mapping[str, FrameFile]

    def pack(self) -> bytes:
        """Return the stored bytes: a JSON object."""
        return orjson.dumps(self)

    @classmethod
    def after(cls, last_write: int, view: DecodedRows, files: Mapping[str, FrameFile]) -> Note:
        """Return the note of files with the rows of ``view``, as ``put`` writes it after this write."""
        return cls(last_write + _NOTE_WRITES, view.made_by, view.sees_deletes, files)

    def is_of(self, raw: bytes | None) -> bool:
        """Say whether the note that was written last names the same, and nothing was written since."""
        return raw == replace(self, write=self.write - _NOTE_WRITES).pack()

    def put(self, batch: Batch) -> None:
        """Put the note into a batch that has nothing else, and forget what was changed before it."""
        forget(batch)
        put_metadata(batch, {NOTE: self.pack()})

    @classmethod
    def unpack(cls, raw: bytes) -> Note:
        """Return the note that ``pack`` gave; ValueError, TypeError or KeyError where it is of another format."""
        values = orjson.loads(raw)
        files = {kind: FrameFile(**file) for kind, file in values.pop("files").items()}
        return cls(**values, files=files)


@dataclass(slots=True)
class _Known:
    """A frame that is in a file: while a view has it, the file is not written again."""

    frame: ReferenceType[pl.DataFrame]
    file: FrameFile
    is_lasting: bool
    lies_there: bool
    """Whether the frame has no copy in memory, so that the file stays as long as the frame."""


class ViewFiles:
    """The files of one store, in ``view/``.

    The binding's thread calls it; ``spill`` any thread that reads.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._directory = store / _DIRECTORY
        self._lock = Lock()
        """Held while files are written or removed: what is being written nobody has yet."""
        self._known: list[_Known] = []
        self._kept: set[str] | None = None
        """The names of the files that the note names; None before they were looked at."""
        self._is_open = True
        self._is_refused = False
        """Whether the disk has refused the rows that were to be put there last, which was said."""

    def spill(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Return ``frame`` as it lies in a new file; None where the disk refuses it. A crash may take the file."""
        with self._lock:
            if not self._is_open:  # the files may be another one's by now
                return None
            self._remove_unused()
            try:
                # Those before it meanwhile: what a note names lasts, and nobody is to wait for all of them then.
                for known in self._known:
                    self._make_lasting(known)
                file = write_frame(self._directory, "part", frame.rechunk(), is_lasting=False)
                mapped = map_frame(self._directory, file, is_checked=False)
            except (OSError, DamagedFileError, pa.ArrowException, pl.exceptions.PolarsError) as error:
                level = logging.DEBUG if self._is_refused else logging.WARNING
                logger.log(level, "store %s: rows stay in memory: %s", self._store, error)
                self._is_refused = True
                return None
            self._is_refused = False
            if mapped.schema != frame.schema:  # of a type that does not come back
                return None
            self._known.append(_Known(ref(mapped), file, is_lasting=False, lies_there=True))
            return mapped

    def write(self, frames: Mapping[str, pl.DataFrame]) -> dict[str, FrameFile] | None:
        """Return files with these frames, which are written where they are not yet; None where that failed."""
        files: dict[str, FrameFile] = {}
        with self._lock:
            try:
                for kind, frame in frames.items():
                    if frame.height:
                        files[kind] = self._lasting_file(frame) or self._new_file(kind, frame)
            except (OSError, pa.ArrowException) as error:
                logger.warning(
                    "store %s: its rows will be decoded again at the next open: %s", self._store, error
                )
                self._kept = set()
                self._remove_unused()
                return None
            # Beside those of the note, until ``keep``.
            self._kept = {*(self._kept or ()), *(file.name for file in files.values())}
        return files

    def _new_file(self, kind: str, frame: pl.DataFrame) -> FrameFile:
        file = write_frame(self._directory, kind, frame)
        self._known.append(_Known(ref(frame), file, is_lasting=True, lies_there=False))
        return file

    def _lasting_file(self, frame: pl.DataFrame) -> FrameFile | None:
        """Return the file that ``frame`` lies in, if there is one."""
        for known in self._known:
            if known.frame() is frame and (self._directory / known.file.name).is_file():
                self._make_lasting(known)
                return known.file
        return None

    def _make_lasting(self, known: _Known) -> None:
        if not known.is_lasting:
            make_lasting(self._directory, known.file)
            known.is_lasting = True

    def read(self, raw: bytes | None, log: ChangeLog, made_by: str) -> DecodedRows | None:
        """Return the frames by the note ``raw``; None where they are not what the ``log`` can tell from, or a file is damaged.

        Files of no use are removed.
        """
        view = None if raw is None else self._read(raw, log, made_by)
        if view is None:
            log.stop()
            self.keep({})
        return view

    def _read(self, raw: bytes, log: ChangeLog, made_by: str) -> DecodedRows | None:
        try:
            note = Note.unpack(raw)
        except (ValueError, TypeError, KeyError, AttributeError):  # another version's
            return None
        changed = log.since(note.write) if note.made_by == made_by else None
        if changed is None:
            return None
        with ThreadPoolExecutor(_CHECKS_AT_ONCE) as pool:
            mapped = list(pool.map(self._mapped, note.files.values()))
        frames = {kind: frame for kind, frame in zip(note.files, mapped, strict=True) if frame is not None}
        if len(frames) < len(mapped):
            return None
        with self._lock:
            self._known += [
                _Known(ref(frames[kind]), file, is_lasting=True, lies_there=True)
                for kind, file in note.files.items()
            ]
        self.keep(note.files)
        is_current = log.is_at(note.write)
        return DecodedRows(
            frames, made_by, sees_deletes=note.sees_deletes, changed=None if is_current else changed
        )

    def _mapped(self, file: FrameFile) -> pl.DataFrame | None:
        """Return the frame in a file; None where there is none."""
        try:
            return map_frame(self._directory, file)
        except FileNotFoundError:  # a crash may have come between its removal and the next note
            logger.info("store %s is decoded: %s is not there", self._store, file.name)
        except (DamagedFileError, OSError) as error:
            logger.warning("store %s is decoded: %s is damaged: %s", self._store, file.name, error)
        return None

    def keep(self, files: Mapping[str, FrameFile]) -> None:
        """Remove all but these files, and those that rows lie in."""
        with self._lock:
            self._kept = {file.name for file in files.values()}
            self._remove_unused()

    def close(self) -> None:
        """Write and remove nothing any more; what the note does not name goes, since the next open would remove it."""
        with self._lock:
            if self._is_open:
                self._known, self._is_open = [], False
                self._remove_unused()

    def _remove_unused(self) -> None:
        if self._kept is None:
            return
        self._known = [known for known in self._known if known.frame() is not None]
        in_use = (known.file.name for known in self._known if known.lies_there)
        keep_only(self._directory, self._kept.union(in_use))
