"""Decoded rows that are kept beside the stored ones, so that the next open need not decode them: files, and a note of them.

The note lies in the store, and says which write it is itself. RocksDB numbers its writes, and comes back from a crash with
a prefix of them. So where the note is there, and the last write is the note, the store holds exactly what the files were
made of: nothing was written since, by no version of ktframe. Where rows were written since, and nothing else, a log tells which.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from weakref import ReferenceType, ref

import orjson
import polars as pl
import pyarrow as pa

from ktframe.store.change_log import ChangeLog, forget
from ktframe.store.engine import Batch
from ktframe.store.layout import put_metadata
from ktframe.store.protocol import DecodedRows
from ktframe.store.view_files import DamagedFileError, FrameFile, keep_only, map_frame, write_frame

logger = logging.getLogger("ktframe.store")
NOTE: Final = "view"
"""The name in slot 0 of the note."""
_DIRECTORY: Final = "view"
_NOTE_WRITES: Final = 2
"""How many writes ``Note.put`` counts for: the note is the last of them."""


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


class ViewFiles:
    """The files of one store, in ``view/``. The binding's thread calls it."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._directory = store / _DIRECTORY
        self._known: dict[str, tuple[ReferenceType[pl.DataFrame], FrameFile]] = {}
        """The frames that were mapped or written last, by name: while a view still has one, its file is not written again."""

    def write(self, frames: Mapping[str, pl.DataFrame]) -> dict[str, FrameFile] | None:
        """Return files with these frames, which are written where they are not yet; None where that failed."""
        files: dict[str, FrameFile] = {}
        try:
            for kind, frame in frames.items():
                if frame.height:
                    files[kind] = self._known_file(kind, frame) or write_frame(self._directory, kind, frame)
        except (OSError, pa.ArrowException) as error:
            logger.warning(
                "store %s: its rows will be decoded again at the next open: %s", self._store, error
            )
            self.remove()
            return None
        self._known = {kind: (ref(frames[kind]), file) for kind, file in files.items()}
        return files

    def _known_file(self, kind: str, frame: pl.DataFrame) -> FrameFile | None:
        known, file = self._known.get(kind, (None, None))
        is_there = file is not None and (self._directory / file.name).is_file()
        return file if is_there and known is not None and known() is frame else None

    def read(self, raw: bytes | None, log: ChangeLog, made_by: str) -> DecodedRows | None:
        """Return the frames by the note ``raw``; None where they are not what the ``log`` can tell from, or a file is damaged.

        Files of no use are removed.
        """
        view = None if raw is None else self._read(raw, log, made_by)
        if view is None:
            log.stop()
            self.remove()
        return view

    def _read(self, raw: bytes, log: ChangeLog, made_by: str) -> DecodedRows | None:
        try:
            note = Note.unpack(raw)
        except (ValueError, TypeError, KeyError, AttributeError):  # another version's
            return None
        changed = log.since(note.write) if note.made_by == made_by else None
        if changed is None:
            return None
        frames: dict[str, pl.DataFrame] = {}
        for kind, file in note.files.items():
            try:
                frames[kind] = map_frame(self._directory, file)
            except FileNotFoundError:  # a crash may have come between its removal and the next note
                logger.info("store %s is decoded: %s is not there", self._store, file.name)
                return None
            except (DamagedFileError, OSError) as error:
                logger.warning("store %s is decoded: %s is damaged: %s", self._store, file.name, error)
                return None
        self._known = {kind: (ref(frame), note.files[kind]) for kind, frame in frames.items()}
        self.keep(note.files)
        is_current = log.is_at(note.write)
        return DecodedRows(
            frames, made_by, sees_deletes=note.sees_deletes, changed=None if is_current else changed
        )

    def keep(self, files: Mapping[str, FrameFile]) -> None:
        """Remove all but these files."""
        keep_only(self._directory, {file.name for file in files.values()})

    def remove(self) -> None:
        """Remove all files."""
        self._known = {}
        self.keep({})
