"""What a forked process may use of what its parent has made: nothing, and it is told so at once.

A fork copies memory, but no threads: locks stay held for ever, and Kafka's client, RocksDB and Polars wait for threads that
are not there. What was made before a fork must not even be destroyed in the child: that would wait for them, or write.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from pickle import PicklingError
from typing import Final, NoReturn
from weakref import WeakSet

import polars as pl

from ktframe.errors import ContextError

_POLARS_SECONDS: Final = 10.0
"""How long Polars may take for a frame of one row; without its threads it would take for ever."""


@dataclass(eq=False)
class ForkedError(ContextError):
    """An object was made before this process was forked off; ``is_lame`` if it can't make another one either."""

    name: str
    is_lame: bool = False

    @property
    def fact(self) -> str:
        """What went wrong."""
        if self.is_lame:
            why = (
                "was forked off one that had read rows or used Polars: threads that these need are not in it."
            )
            return f"{self.name} can't be used in this process, which {why}"
        return f"{self.name} belongs to the process that this one was forked off."

    @property
    def hint(self) -> str:
        """What helps."""
        spawn = 'start processes by the method "spawn": multiprocessing.get_context("spawn")'
        return f"{spawn}." if self.is_lame else f"{spawn}, or call ktframe.connect(...) again in this one."


@dataclass(eq=False)
class _ThisProcess:
    has_read: bool = False
    """Whether we have ever started threads of Polars and RocksDB."""
    has_polars: bool = False
    """Whether somebody else had started those of Polars at the last fork, as far as the system tells."""
    is_lame: bool = False
    """Whether they were in the parent, and so are missing here for good."""
    ends_early: bool = False
    """Whether this process ends without the destructors of RocksDB."""
    is_proven: bool = True
    """Whether Polars is known to work here, unless ``is_lame``: whoever uses it beside us may have started its threads."""
    is_headless: bool = False
    """Whether it was forked off on another thread than the main one: it ends when its last thread does, not before."""
    kept: WeakSet[object] = field(default_factory=WeakSet)

    def forks(self) -> None:
        """Note on which thread the fork is, and what runs, in the parent."""
        _FORK.is_on_main = threading.current_thread() is threading.main_thread()
        self.has_polars |= self.has_read or _polars_runs()

    def forked(self) -> None:
        """Begin anew, in the child."""
        self.is_headless |= not _FORK.is_on_main
        self.is_proven = False
        for each in list(self.kept):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(each))
        if self.has_read and not self.ends_early:
            self.ends_early = True
            _end_without_destructors()
        self.is_lame |= self.has_read or self.has_polars

    def prove(self) -> None:
        """Find out whether Polars works here."""
        self.is_lame |= not self.is_proven and not self.is_lame and not _polars_works()
        self.is_proven = True


def _polars_runs() -> bool:
    """Say whether there are threads of Polars' pool; where the system does not tell that, no."""
    for name in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # one that has just ended
            if re.match(r"polars-\d", name.read_text()):
                return True
    return False


def _polars_works() -> bool:
    has_ended = threading.Event()

    def work() -> None:
        pl.DataFrame({"a": [1]}).lazy().select(pl.col("a") + 1).collect()
        has_ended.set()

    threading.Thread(target=work, name="ktframe-fork", daemon=True).start()
    return has_ended.wait(_POLARS_SECONDS)


def _end_without_destructors() -> None:
    """Have this process end as soon as Python has ended: RocksDB's destructors would wait for threads that are not here."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):  # of glibc: calls _exit(code) before what was registered before the fork
        libc.on_exit(libc._exit, None)  # noqa: SLF001 - it is C's


_HERE = _ThisProcess()
_FORK = threading.local()


def in_child(function: Callable[[], object]) -> None:
    """Call ``function`` in every process that is forked off this one, at once."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def keep_in_children(thing: object) -> None:
    """Never destroy ``thing``, and what it refers to, in a forked process, not even at its exit."""
    _HERE.kept.add(thing)


def is_headless() -> bool:
    """Whether this process goes on for as long as any thread does, since it was forked off on one that was not the main one."""
    return _HERE.is_headless


def rows_are_read() -> None:
    """Remember that from now on a process that is forked off this one can't read rows."""
    _HERE.has_read = True


class Owner:
    """The process that made an object."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._pid = os.getpid()

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return self._pid == os.getpid()

    def __reduce__(self) -> NoReturn:
        # Pools of processes send what a function uses; what has an owner can't be sent.
        message = (
            f"{self._name} can't be sent to another process: send a frame of its rows, or connect there too."
        )
        raise PicklingError(message)

    def require_here(self) -> None:
        """Raise where this process was forked off that one.

        Raises
        ------
        ForkedError
            With what helps.
        """
        if not self.is_here:
            raise ForkedError(self._name, _HERE.is_lame)


def require_threads(name: str) -> None:
    """Raise where rows can't be read, because of what was done before a fork: ``name`` is what needs them.

    Raises
    ------
    ForkedError
        With what helps.
    """
    _HERE.prove()
    if _HERE.is_lame:
        raise ForkedError(name, is_lame=True)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_HERE.forks)
in_child(_HERE.forked)
