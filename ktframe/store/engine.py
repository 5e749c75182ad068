"""An ordered map of bytes in RocksDB. The only module that imports rocksdict.

Every write is one batch to one column family, with RocksDB's write-ahead log off. Kafka is the log: after a crash
RocksDB comes back as a consistent prefix of the batches, so rows and positions always agree. A single write with the
log on would break that, which is why ``write`` is the only way to write.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from threading import Condition, get_ident
from typing import TypeAlias, cast

from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreError
from ktframe.gc_pause import cyclic_gc_paused
from ktframe.process.threads import whereabouts
from ktframe.store.errors import (
    FileMissingError,
    StillUsedError,
    WriteStalledError,
    closed_error,
    file_errors,
    rocksdb_errors,
)
from ktframe.store.manifest import check_manifest
from ktframe.store.protocol import CHUNK_ROWS

Batch: TypeAlias = WriteBatch
"""The batch that the callback of ``write`` fills."""

DATA = "rocksdb"
"""The directory of RocksDB's files, inside that of a store."""
_SPACE_BYTES = 1 << 20
"""What a disk must take before a store on it is opened again."""

_CLOSE_SECONDS = 15.0
"""How long closing waits for the calls under way."""


class SharedMemory:
    """The block cache and the write buffers that all stores of a Context share."""

    def __init__(self, options: StoreOptions) -> None:
        self.cache = Cache(options.block_cache_bytes)
        # No stalls: a stalled write holds the interpreter's lock.
        self.buffers = WriteBufferManager(16 * options.write_buffer_bytes, allow_stall=False)


class Engine:
    """An open RocksDB, in ``rocksdb/`` of a store's directory. Any thread may read, flush or close; one writes.

    ``close`` waits for the calls that are under way; later calls raise StoreError.
    """

    def __init__(
        self, path: Path, options: StoreOptions, memory: SharedMemory, *, create: bool = False
    ) -> None:
        self.path = path
        self._was_refused = False
        """Whether a write was refused: RocksDB refuses all others from then on, whatever becomes of the disk."""
        self.refusal: StoreError | None = None
        """Why RocksDB, which was closed, could not be opened again."""
        self._options = options
        self._memory = memory
        self._idle = Condition()
        self._users: list[int] = []
        """The threads that are in a call."""
        self._is_reopening = False
        self._is_open = True
        self._is_released = False
        self._write_options = WriteOptions()
        # A property, though rocksdict's stub says method. A test checks that no log file is written.
        self._write_options.disable_wal = True  # type: ignore[assignment, method-assign]
        self._write_options.no_slowdown = True
        with rocksdb_errors(path):
            self._db = self._open(create=create)

    def _open(self, *, create: bool = False) -> Rdict:
        rocks = _rocksdb_options(self._options, self._memory, create=create)
        check_manifest(self.path, self.path / DATA)
        # Without the third argument a re-open silently ignores every option of the column family.
        db = Rdict(str(self.path / DATA), rocks, {"default": rocks})
        self._place = _place_of(self.path)
        return db

    def get(self, key: bytes) -> bytes | None:
        """Return the value of ``key``."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each of ``keys``."""
        values: list[bytes | None] = []
        for start in range(0, len(keys), CHUNK_ROWS):
            with self._in_use() as db:
                values += cast(list[bytes | None], db.get(list(keys[start : start + CHUNK_ROWS])))
        return values

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[list[bytes], list[bytes]]]:
        """Yield (keys, values) of ``start <= key < end`` in chunks; no iterator lives across a ``yield``."""
        while True:
            with self._in_use() as db, cyclic_gc_paused():
                bounds = ReadOptions()
                bounds.set_iterate_upper_bound(end)
                items = cast(Iterator[tuple[bytes, bytes]], db.items(from_key=start, read_opt=bounds))
                pairs = list(islice(items, CHUNK_ROWS))
                del items
                next_key = pairs[-1][0] + b"\0" if pairs else start
                if len(pairs) < CHUNK_ROWS:
                    _check_end(db, next_key, bounds)
            if pairs:
                keys, values = zip(*pairs, strict=True)
                yield list(keys), list(values)
            if len(pairs) < CHUNK_ROWS:
                return
            start = next_key

    def write(self, build: Callable[[Batch], None]) -> None:
        """Write what ``build`` puts into a batch, atomically."""
        while True:
            batch = Batch(raw_mode=True)
            build(batch)
            try:
                with self._changing() as db:
                    db.write(batch, self._write_options)
            except WriteStalledError:
                # A flush waits without holding the interpreter's lock. The refused write has consumed its batch: build another.
                self.flush()
            else:
                return

    def last_write(self) -> int:
        """Return the number of the last put or delete. They are counted; after a crash the last one left has its number."""
        with self._in_use() as db:
            return int(db.latest_sequence_number())

    def compact(self, start: bytes, end: bytes) -> None:
        """Free the disk space of the deleted keys of a range."""
        with self._changing() as db:
            db.compact_range(start, end)

    def flush(self) -> None:
        """Make everything written so far survive a crash."""
        with self._changing() as db:
            if not self._is_in_place():  # RocksDB itself would not notice before it has something to write
                raise self._removed()
            db.flush()

    def reopen(self, restore: Callable[[], object] = lambda: None) -> None:
        """Close RocksDB and open it again, for it to write after an error of the disk; calls of others wait meanwhile.

        What was not flushed is gone then, rows and positions alike. While the disk still refuses, nothing is closed: rows
        can be read. ``restore`` is called in between, and may put the directory back.
        """
        with self._idle:
            self.check_open()
            if self._is_in_place():
                _check_disk(self.path)
            self._is_reopening = True
            try:
                self._idle.wait_for(lambda: not self._users)
                self.check_open()  # closed meanwhile, it stays so
                self._release()
                with rocksdb_errors(self.path):
                    restore()
                    self._db = self._open()
            except StoreError as error:
                self.refusal = error
                raise
            finally:
                self._is_reopening = False
                self._idle.notify_all()
            self.refusal, self._was_refused, self._is_released = None, False, False

    @property
    def has_failed(self) -> bool:
        """Whether it must be opened again: a write was refused, or its files are gone."""
        return self._was_refused or not self._is_in_place()

    def check_open(self) -> None:
        """Raise StoreError once ``close`` was called."""
        if not self._is_open:
            raise closed_error(str(self.path))

    def close(self) -> None:
        """Flush and release the directory, the latter even if flushing fails; a second call does nothing.

        After a write was refused, or where the directory is gone, nothing is flushed: Kafka has what is missing.

        Raises
        ------
        StoreError
            When a call under way does not end; it names the thread. No new call is let in, and a second ``close`` tries again.
        """
        with self._idle:
            self._is_open = False
            # rocksdict refuses to close while a call is under way.
            if not self._idle.wait_for(lambda: not self._users, _CLOSE_SECONDS):
                users = " and ".join(map(whereabouts, self._users))
                raise StillUsedError(str(self.path), users, _CLOSE_SECONDS)
            self._users.append(get_ident())  # who comes second waits, too
        try:
            if not self._is_released and not self.has_failed:
                with rocksdb_errors(self.path):
                    self._db.flush()
        finally:
            self._release()
            self._leave()

    def _release(self) -> None:
        if not self._is_released:
            self._is_released = True
            # It flushes first, says what came of that, and closes in any case.
            with suppress(StoreError), rocksdb_errors(self.path):
                self._db.close()

    def _is_in_place(self) -> bool:
        return _place_of(self.path) == self._place

    def _removed(self) -> StoreError:
        return StoreError(str(self.path), "files of it were removed while it was open: it is made anew.")

    @contextmanager
    def _changing(self) -> Iterator[Rdict]:
        """Lend the database to a call that writes, and note if the disk refuses."""
        try:
            with self._in_use() as db:
                yield db
        except WriteStalledError:
            raise
        except StoreError as error:
            if not error.is_closed:
                self._was_refused = True
                if isinstance(error, FileMissingError) or not self._is_in_place():
                    raise self._removed() from error
            raise

    @contextmanager
    def _in_use(self) -> Iterator[Rdict]:
        """Lend the database to one call, and keep it open meanwhile."""
        with self._idle:
            self._idle.wait_for(lambda: not self._is_reopening)
            self.check_open()
            if self.refusal is not None:
                raise copy(self.refusal)
            self._users.append(get_ident())
        try:
            with rocksdb_errors(self.path):
                yield self._db
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._idle:
            self._users.remove(get_ident())
            self._idle.notify_all()


def _check_end(db: Rdict, start: bytes, bounds: ReadOptions) -> None:
    """Raise if what follows ``start`` can't be read: ``items()`` takes a damaged block for the end."""
    cursor = db.iter(bounds)
    try:
        cursor.seek(start)
        cursor.status()
    finally:
        del cursor  # or the error's traceback would hold it, and a live iterator keeps the directory locked


def _place_of(path: Path) -> tuple[int, int] | None:
    """Return what tells the directory of RocksDB's files from any other, None where there is none."""
    try:
        found = (path / DATA).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_disk(path: Path) -> None:
    """Raise StoreError unless a file can be written there."""
    with file_errors(path), TemporaryFile(dir=path / DATA) as probe:
        probe.write(bytes(_SPACE_BYTES))
        probe.flush()
        os.fsync(probe.fileno())


def _rocksdb_options(options: StoreOptions, memory: SharedMemory, *, create: bool) -> Options:
    table = BlockBasedOptions()
    table.set_block_cache(memory.cache)
    table.set_cache_index_and_filter_blocks(True)
    if options.bloom_bits:
        table.set_bloom_filter(options.bloom_bits, False)
    # Always raw mode: the default mode unpickles what it reads, so that a store from someone else could run code.
    rocks = Options(raw_mode=True)
    rocks.create_if_missing(create)
    rocks.set_block_based_table_factory(table)
    rocks.set_write_buffer_size(options.write_buffer_bytes)
    rocks.set_max_write_buffer_number(6)
    rocks.set_write_buffer_manager(memory.buffers)
    rocks.set_compression_type(getattr(DBCompressionType, options.compression)())
    rocks.set_max_background_jobs(2)
    # RocksDB's own LOG. Each one begins with all options, 30 KB: below that it would begin a new one at every line.
    rocks.set_max_log_file_size(98_304)
    rocks.set_keep_log_file_num(2)
    return rocks
