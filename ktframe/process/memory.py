"""Memory that is free in this process, and how little of it is kept from others.

glibc gives freed memory back only from the end of a heap, and makes up to eight heaps for each core: what loads have used
stays, a little in each. Elsewhere than with glibc nothing is done here.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from threading import Lock
from typing import Any, Final

_M_ARENA_MAX: Final = -8
"""glibc's name of the number of heaps in ``mallopt``."""
_MOST_HEAPS: Final = 4
_PAUSE_SECONDS: Final = 1.0
_PAUSE: Final = 100
"""So many times as long as it took nothing is given back again: what others of this process have freed is looked through too."""
_OWN_SETTINGS: Final = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


class _Trimming:
    """Gives back what glibc has; one thread at a time, and seldom: many tables have loaded at once, and one of them is enough."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._next = 0.0

    def trim(self, libc: Any) -> None:
        """Give back what is free, unless that was done just now."""
        began = time.monotonic()
        if began < self._next or not self._lock.acquire(blocking=False):
            return
        try:
            libc.malloc_trim(0)
        finally:
            done = time.monotonic()
            self._next = done + max(_PAUSE_SECONDS, _PAUSE * (done - began))
            self._lock.release()


_TRIMMING = _Trimming()


def _libc() -> Any:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def limit_heaps() -> None:
    """Have glibc make four heaps at most for the threads of this process, two on two cores, unless its user has set that.

    Polars and Arrow have heaps of their own; what Python's threads allocate is done under the interpreter's lock.
    """
    libc = _libc()
    if hasattr(libc, "mallopt") and not any(name in os.environ for name in _OWN_SETTINGS):
        libc.mallopt(_M_ARENA_MAX, max(2, min(_MOST_HEAPS, os.cpu_count() or 1)))


def give_back() -> None:
    """Give the system what is free; of Arrow's memory what is free in the heap of this thread. Takes some 20 ms, without the lock."""
    pyarrow = sys.modules.get("pyarrow")
    if pyarrow is not None:
        pyarrow.default_memory_pool().release_unused()
    libc = _libc()
    if hasattr(libc, "malloc_trim"):
        _TRIMMING.trim(libc)
