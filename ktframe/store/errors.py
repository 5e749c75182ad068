"""Translates errors of RocksDB and of the file system into ktframe's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ktframe.errors import StoreCorruptError, StoreError, StoreLockedError

_HINTS = {
    errno.ENOSPC: "the disk is full: free some space, or use another state_dir",
    errno.EDQUOT: "the disk quota is used up: free some space, or use another state_dir",
    errno.EACCES: "this user may not read and write there: allow it to, or use another state_dir",
    errno.EPERM: "this user may not read and write there: allow it to, or use another state_dir",
    errno.EROFS: "the file system is read-only: make it writable again, or use another state_dir",
    errno.EMFILE: "this process has too many open files: raise its limit (ulimit -n)",
}


class FileMissingError(StoreCorruptError):
    """A file of the store, or its directory, is not there."""


class WriteStalledError(StoreError):
    """RocksDB can't flush fast enough and would have made the write wait."""


class StillUsedError(StoreError):
    """Threads do not leave a store that is to be closed: ``users`` says which, and what they do."""

    def __init__(self, path: str, users: str, seconds: float) -> None:
        super().__init__(path, f"it can't be closed: after {seconds:g} s it is still used by {users}.")

    @property
    def hint(self) -> str:
        """What helps."""
        return "make the same call again: it waits for that thread once more."


def closed_error(path: str) -> StoreError:
    """Return the error of a call on a closed store."""
    return StoreError(path, "it is closed.", is_closed=True)


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn an OSError into a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(str(path), _with_hint(error.errno, str(error))) from error


@contextmanager
def rocksdb_errors(path: Path) -> Iterator[None]:
    """Turn what rocksdict raises, mostly plain ``Exception`` with RocksDB's text, into a StoreError."""
    try:
        with file_errors(path):
            yield
    except StoreError:
        raise
    except BaseException as error:
        # A panic of rocksdict is not an Exception, and its class can't be imported.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise _of_rocksdb(str(path), str(error) or type(error).__name__) from error
        raise


def _of_rocksdb(path: str, text: str) -> StoreError:
    # Only the beginning of the text, or the text without the path: a topic may be called "lock" or "corruption".
    status = text.partition(":")[0].lower()
    plain = text.replace(path, "").lower()
    if "incomplete" in status:
        return WriteStalledError(path, text)
    if "lock hold by current process" in plain or "while lock file" in plain:
        return StoreLockedError(path, text)
    if "no such file" in plain:
        return FileMissingError(path, text)
    if "corruption" in status or "does not exist" in plain or "is a directory" in plain:
        return StoreCorruptError(path, text)
    code = next((code for code in _HINTS if os.strerror(code).lower() in plain), None)
    return StoreError(path, _with_hint(code, text))


def _with_hint(code: int | None, text: str) -> str:
    hint = _HINTS.get(code or 0)
    return f"{hint} ({text})" if hint else text
