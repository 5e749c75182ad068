"""Calls that Ctrl-C can't break, and what a thread is doing.

Python raises ``KeyboardInterrupt`` on the main thread only, between any two lines: also between the acquiring of a lock
and the ``try`` that would release it, in Python's own ``threading`` too. What must not be left half done runs on another
thread, and the main thread waits for it in the one way that leaves nothing behind.
"""

from __future__ import annotations

import _thread
import asyncio
import functools
import logging
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any, Final, Generic, ParamSpec, TypeAlias, TypeVar

from ktframe.errors import KtframeError
from ktframe.process.endings import is_leaving
from ktframe.process.forks import Owner, in_child, is_headless

logger = logging.getLogger("ktframe")
T = TypeVar("T")
P = ParamSpec("P")
Tell: TypeAlias = Callable[[Any], object]
"""What work calls now and then with its news; it raises ``AbandonedError`` once nobody waits for the work any more."""

_TELL_SECONDS: Final = 0.1
_OURS: Final = str(Path(__file__).parents[1])
_IDLE_SECONDS: Final = 60.0


_CANCELLED: ContextVar[list[bool] | None] = ContextVar("cancelled", default=None)
"""In work that a coroutine awaits: not empty once that was cancelled."""


class AbandonedError(BaseException):
    """Whoever waited for this call has gone. Nobody sees it: it only ends the work."""


class _Call(Generic[T]):
    """Work on a thread of its own, and its outcome."""

    def __init__(self, work: Callable[[Tell], T], on_end: Callable[[], object] | None = None) -> None:
        self._work = work
        self._on_end = on_end
        self._result: list[T] = []
        self._failure: list[BaseException] = []
        self.news: list[Any] = []
        self.is_abandoned = False
        self.has_ended = False
        self.is_done = (
            _thread.allocate_lock()
        )  # one lock, no Condition: interrupted, it leaves nothing to repair
        self.is_done.acquire()

    def run(self) -> None:
        """Do the work."""
        trace = threading.gettrace()
        if trace is not None:
            sys.settrace(trace)  # as threads that ``threading`` starts do, for debuggers and coverage
        try:
            self._result.append(self._work(self._tell))
        except BaseException as error:  # noqa: BLE001 - it is raised where the work is waited for
            self._failure.append(error)
        finally:
            self.has_ended = True
            self.is_done.release()
            if self._on_end is not None:
                self._on_end()

    def _tell(self, news: Any) -> None:
        if self.is_abandoned:
            raise AbandonedError
        self.news[:] = [news]

    def failure(self) -> BaseException | None:
        """Return the error by which the work has ended, once: one that its own traceback leads to would live on as garbage."""
        return self._failure.pop() if self._failure else None

    def result(self) -> T:
        """Return what the work has returned, once."""
        return self._result.pop()

    def last_word(self, patience: float) -> BaseException | None:
        """Return the error by which the work ends within ``patience`` seconds, or why it gave up; None for all else."""
        if not (self.has_ended or (patience and self.is_done.acquire(timeout=patience))):
            return None
        failure = self.failure()
        return failure.__cause__ if isinstance(failure, AbandonedError) else failure


class _Workers:
    """Threads that make calls, kept for the next ones: a new thread costs more than a short read."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[Callable[[], object]]] = []
        in_child(self._idle.clear)  # a forked process has none of these threads

    def begin(self, call: _Call[Any]) -> None:
        """Make ``call`` on a thread that is idle, or a new one.

        Raises
        ------
        RuntimeError
            When no thread is to be had.
        """
        run = functools.partial(copy_context().run, call.run)
        try:
            self._idle.pop().put(run)
        except IndexError:
            inbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
            # Not as an argument: the thread would keep it, with all that was read, for as long as it lives.
            inbox.put(run)
            # Not threading.Thread: interrupted while it starts, it would stay half started.
            _thread.start_new_thread(self._serve, (inbox,))

    def _serve(self, inbox: SimpleQueue[Callable[[], object]]) -> None:
        run = inbox.get()
        while True:
            run()
            del run  # what it has read
            self._idle.append(inbox)
            try:
                run = inbox.get(timeout=_IDLE_SECONDS)
            except Empty:
                with suppress(ValueError):
                    self._idle.remove(inbox)
                    return
                # Taken meanwhile: by a call that comes now, or by one that was interrupted before it could.
                try:
                    run = inbox.get(timeout=_IDLE_SECONDS)
                except Empty:
                    return


_WORKERS = _Workers()


def uninterrupted(work: Callable[[Tell], T], tell: Tell | None = None, *, patience: float | None = None) -> T:
    """Return what ``work`` returns; ``tell``, on this thread, gets the news that ``work`` tells.

    An interrupt of the main thread raises ``KeyboardInterrupt`` here at once, while ``work`` goes on to its end, or to the
    next time that it has something to tell. With ``patience`` it waits for that, for so many seconds, and has the error by
    which ``work`` ends as its cause. On other threads, which nothing interrupts, ``work`` just runs.
    """
    if threading.get_ident() != threading.main_thread().ident or is_headless():
        try:
            return work(_while_awaited(tell or ignore))
        except KtframeError:
            if is_leaving():
                sys.exit()  # Python ends daemon threads without a word; this one's table was closed for that
            raise
    call, owner = _Call(work), Owner("this call")
    try:
        try:
            _WORKERS.begin(call)
        except RuntimeError:  # no thread is to be had
            patience = None
            return work(tell or ignore)
        while not call.is_done.acquire(timeout=_TELL_SECONDS):
            owner.require_here()  # a handler of signals may have forked, and there is no such thread in the child
            if tell is not None and call.news:
                tell(call.news.pop())
    except BaseException as error:
        call.is_abandoned = True
        if patience is not None and isinstance(error, KeyboardInterrupt):
            raise error from call.last_word(patience)
        raise
    return _outcome(call)


def _outcome(call: _Call[T]) -> T:
    """Return what a call has returned, or raise its error.

    An error of ours says by itself what is wrong: its traceback is where the user called, without the lines that lead to it
    on the other thread. Those are in the log; what caused it keeps its own.
    """
    failure = call.failure()
    if failure is None:
        return call.result()
    if isinstance(failure, KtframeError):
        logger.debug("a call failed", exc_info=failure)
        failure = failure.with_traceback(None)
    try:
        raise failure
    finally:
        del failure


async def awaited(work: Callable[[], T]) -> T:
    """Await ``work`` on another thread; when that is cancelled, ``work`` ends the next time that it tells something.

    Not on a thread of asyncio: for those Python waits when it ends, however long they read.
    """
    loop = asyncio.get_running_loop()
    has_ended: asyncio.Future[None] = loop.create_future()

    def settle() -> None:
        if not has_ended.done():
            has_ended.set_result(None)

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle)

    cancelled: list[bool] = []
    token = _CANCELLED.set(cancelled)
    call = _Call(lambda _: work(), wake)
    try:
        _WORKERS.begin(call)
        await has_ended
    except BaseException:  # also when the loop is let go of
        cancelled.append(True)
        raise
    finally:
        with suppress(ValueError):  # then that is in another context
            _CANCELLED.reset(token)
    return _outcome(call)


def _while_awaited(tell: Tell) -> Tell:
    cancelled = _CANCELLED.get()
    if cancelled is None:
        return tell

    def tell_or_end(news: Any) -> None:
        if cancelled:
            raise AbandonedError
        tell(news)

    return tell_or_end


def ignore(_: object) -> None:
    """Do nothing with news."""


def uninterruptible(function: Callable[P, T]) -> Callable[P, T]:
    """Make every call of ``function`` ``uninterrupted``."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return uninterrupted(lambda _: function(*args, **kwargs))

    return call


_LOCAL = threading.local()


def ours(function: Callable[P, T]) -> Callable[P, T]:
    """Make ``function`` one that a thread of ours runs: there callbacks are called."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        _LOCAL.is_here = True
        return function(*args, **kwargs)

    return run


def has_ended(thread: threading.Thread, timeout: float) -> bool:
    """Wait ``timeout`` seconds for ``thread``, and return whether it has ended.

    A thread of ours does not wait: two whose callbacks close each other's tables would wait for ever. It says yes.
    """
    if hasattr(_LOCAL, "is_here"):
        return True
    thread.join(timeout)
    return not thread.is_alive()


def whereabouts(ident: int | None) -> str:
    """Return which thread that is, and the innermost line of ours that it is in: "ktframe-orders in apply (view.py:12)"."""
    threads = {thread.ident: thread.name for thread in threading.enumerate()}
    frame: FrameType | None = sys._current_frames().get(ident or 0)  # noqa: SLF001 - documented
    while frame is not None and not frame.f_code.co_filename.startswith(_OURS):
        frame = frame.f_back
    name = threads.get(ident, f"thread {ident}")
    if frame is None:
        return name
    return f"{name} in {frame.f_code.co_name} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
