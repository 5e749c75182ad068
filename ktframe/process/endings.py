"""What must be closed when nobody holds its owner any more, and before the process ends."""

from __future__ import annotations

import _thread
import atexit
import logging
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Final

logger = logging.getLogger("ktframe")
_MAIN_THREAD_SECONDS: Final = 15.0
_LEAVING: Final[list[bool]] = []


def is_leaving() -> bool:
    """Whether the process ends: what daemon threads are told from now on, they would print."""
    return bool(_LEAVING)


class Ending:
    """Calls ``end`` when ``owner`` was collected as garbage or the process ends, until it is detached.

    ``end`` must not refer to ``owner``, and takes a second call that waits for the first.
    """

    def __init__(self, owner: object, end: Callable[[], object]) -> None:
        self._end = end
        self._collected = weakref.finalize(owner, self._begin)
        self._collected.atexit = False
        atexit.register(self._leave)

    def detach(self) -> None:
        """Leave it to the caller to call ``end``."""
        self._collected.detach()
        atexit.unregister(self._leave)

    def _leave(self) -> None:
        _LEAVING.append(True)
        self._end()

    def _begin(self) -> None:
        # Not here: garbage is collected between any two lines of any thread, also where it holds a lock that ``end`` needs.
        has_ended = _thread.allocate_lock()
        has_ended.acquire()
        with suppress(RuntimeError):  # no thread is to be had: the end of the process is left
            _thread.start_new_thread(self._run, (has_ended,))
            if threading.current_thread() is threading.main_thread():
                # It holds no lock of ours (see ``threads``), and may be about to open again what is being closed.
                has_ended.acquire(timeout=_MAIN_THREAD_SECONDS)

    def _run(self, has_ended: _thread.LockType) -> None:
        try:
            self._end()
            atexit.unregister(self._leave)
        except Exception:  # nobody is there to see it
            logger.exception("a connection that nobody holds any more can't be closed")
        finally:
            has_ended.release()
