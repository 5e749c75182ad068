"""Which rows were written since the decoded rows of a store were kept: when these are decoded, the others need not be.

Each write of rows has an entry in the same batch: the number of the last write before it, how many writes the batch counts for,
and the rows. So a write without an entry, of whatever kind and by whatever version of ktframe, leaves a gap that is noticed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from struct import Struct
from typing import Final

import polars as pl

from ktframe.columns import IDENTITY, PARTITION
from ktframe.store import layout
from ktframe.store.engine import Batch, Engine
from ktframe.store.protocol import ChangedRows

MOST_ROWS: Final = 100_000
"""With more of them nothing is noted any longer: to decode them takes a second."""
_NO_LINES = pl.DataFrame()
_COUNT = Struct(">I")
_ROW = Struct(">II")


class ChangeLog:
    """The entries of one store. The binding's thread calls it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._last_write: int | None = None
        """The number of the last write, which has an entry, as have all others since rows were kept; None: not all have."""
        self._rows = 0

    @property
    def is_whole(self) -> bool:
        """Whether everything that was written since the rows were kept has an entry."""
        return self._last_write == self._engine.last_write()

    def is_at(self, write: int) -> bool:
        """Say whether everything up to this write has an entry, and nothing was written after it."""
        return write == self._last_write

    def begin(self, write: int) -> None:
        """Note what is written after this write: all before it is kept."""
        self._last_write, self._rows = write, 0

    def stop(self) -> None:
        """Note nothing any longer."""
        self._last_write = None

    def write(self, build: Callable[[Batch], None], lines: pl.DataFrame = _NO_LINES) -> None:
        """Write what ``build`` puts into a batch, and the entry of its rows (``lines``), unless something before it has none."""
        if not self.is_whole or self._rows + lines.height > MOST_ROWS:
            self.stop()

        def build_all(batch: Batch) -> None:
            build(batch)
            if self._last_write is not None:
                batch.put(layout.changed_key(self._last_write), _packed(len(batch) + 1, lines))

        self._engine.write(build_all)
        if self._last_write is not None:
            self._last_write = self._engine.last_write()
            self._rows += lines.height

    def since(self, write: int) -> ChangedRows | None:
        """Return the rows that were written since this write, and go on from there; None where it is not known of all.

        Rows that are no longer there are among them.
        """
        self.stop()
        try:
            changed = self._read(write)
        except struct.error:
            return None
        if changed is not None:
            self.begin(self._engine.last_write())
            self._rows = sum(map(len, changed.values()))
        return changed

    def _read(self, write: int) -> ChangedRows | None:
        changed: dict[int, dict[bytes, None]] = {}
        for keys, values in self._engine.scan(*layout.CHANGED_RANGE):
            for key, value in zip(keys, values, strict=True):
                if layout.changed_after(key) != write:
                    return None
                (count,) = _COUNT.unpack_from(value)
                write, at = write + count, _COUNT.size
                while at < len(value):
                    partition, length = _ROW.unpack_from(value, at)
                    at += _ROW.size + length
                    changed.setdefault(partition, {})[value[at - length : at]] = None
        if write != self._engine.last_write():
            return None
        return {partition: [*identities] for partition, identities in changed.items()}


def forget(batch: Batch) -> None:
    """Remove all entries."""
    batch.delete_range(*layout.CHANGED_RANGE)


def _packed(writes: int, lines: pl.DataFrame) -> bytes:
    rows = lines.select(PARTITION, IDENTITY).iter_rows() if lines.height else ()
    parts = [_ROW.pack(partition, len(identity)) + identity for partition, identity in rows]
    return _COUNT.pack(writes) + b"".join(parts)
