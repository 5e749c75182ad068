"""Calls that an interrupt can't break: what the caller gets, what the work does, and what is left of it."""

from __future__ import annotations

import _thread
import signal
import threading
import weakref
from contextvars import ContextVar
from threading import Event
from typing import Any

import pytest
from support.waiting import wait_until

from ktframe.process import threads
from ktframe.process.threads import AbandonedError, Tell, uninterrupted, uninterruptible, whereabouts


def test_work_of_the_main_thread_runs_on_another() -> None:
    """The main thread gets what the work returns or raises; work of other threads stays where it is."""
    worker = uninterrupted(lambda _: threading.get_ident())
    assert worker != threading.get_ident()
    with pytest.raises(KeyError, match="gone"):
        uninterrupted(lambda _: {}["gone"])
    places: list[tuple[int, int]] = []

    def elsewhere() -> None:
        places.append((threading.get_ident(), uninterrupted(lambda _: threading.get_ident())))

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert places[0][0] == places[0][1]


def test_an_interrupt_leaves_the_work_whole() -> None:
    """The caller is interrupted at once, the work goes on to its end, though it may have waited for a lock."""
    begun, go_on, done = Event(), Event(), Event()

    def work(_: Tell) -> None:
        begun.set()
        signal.raise_signal(signal.SIGINT)
        go_on.wait(30)
        done.set()

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work)
    assert (begun.is_set(), done.is_set()) == (True, False)
    go_on.set()
    assert done.wait(30)


def test_work_that_tells_ends_after_an_interrupt() -> None:
    """News reach the calling thread; once that was interrupted, telling more ends the work."""
    told: list[tuple[int, str]] = []
    ended: list[type[BaseException]] = []

    def work(tell: Tell) -> None:
        try:
            tell("first")
            wait_until(lambda: bool(told), "the first news to be heard")
            signal.raise_signal(signal.SIGINT)
            while True:
                tell("more")
        except BaseException as error:
            ended.append(type(error))
            raise

    with pytest.raises(KeyboardInterrupt):
        uninterrupted(work, lambda news: told.append((threading.get_ident(), news)))
    wait_until(lambda: bool(ended), "the work to end")
    assert (told[0], ended) == ((threading.get_ident(), "first"), [AbandonedError])


def test_without_a_thread_the_work_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread is to be had, the call is made all the same, and news are told."""

    def refuse(*_: Any) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    told: list[str] = []
    monkeypatch.setattr(threads._WORKERS, "_idle", [])
    monkeypatch.setattr(_thread, "start_new_thread", refuse)
    assert uninterrupted(lambda tell: (tell("news"), threading.get_ident())[1], told.append) == (
        threading.get_ident()
    )
    assert told == ["news"]


def test_the_context_of_the_caller_is_that_of_the_work() -> None:
    """Context variables of the caller, such as those of a framework, have their values in the work."""
    variable = ContextVar("variable", default=0)
    variable.set(7)

    @uninterruptible
    def look() -> int:
        return variable.get()

    assert (look(), look.__name__) == (7, "look")


def test_a_thread_is_named_with_the_line_of_ours_that_it_is_in() -> None:
    """What a thread does is its name, and a function of ours, a file and a line, where it is in one."""
    place = uninterrupted(lambda _: whereabouts(threading.main_thread().ident))
    assert place.startswith("MainThread in uninterrupted (threads.py:")
    assert whereabouts(-1) == "thread -1"


def test_a_thread_that_is_kept_keeps_nothing_of_its_calls() -> None:
    """What a call has read is let go with the caller, though its thread waits for the next one."""

    class Rows:
        """What is read."""

    threads._WORKERS._idle.clear()  # so that a new thread makes the first call
    for _ in range(2):
        rows = Rows()
        kept = weakref.ref(rows)
        assert uninterrupted(lambda _, rows=rows: rows) is rows
        del rows
        wait_until(lambda kept=kept: kept() is None, "what was read to be let go")
