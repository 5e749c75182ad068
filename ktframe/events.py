"""The events of a table, how to subscribe to them, and the states of a binding with their legal transitions."""

from __future__ import annotations

import logging
import os
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from threading import Lock, current_thread, main_thread
from typing import Any, TypeAlias, TypeVar

logger = logging.getLogger("ktframe.events")


class BindingState(StrEnum):
    """The state of a binding; see ``LEGAL`` for the legal transitions."""

    CREATED = "created"
    RESTORING = "restoring"
    READY = "ready"
    LAGGING = "lagging"
    """Not ready any more: records are missing, or Kafka does not tell how many there are."""
    BACKING_OFF = "backing_off"
    FAILED = "failed"
    STOPPED = "stopped"


class Reason(StrEnum):
    """Why a table is ready or is not."""

    READY = "READY"
    SCHEMA_CONFLICT = "SCHEMA_CONFLICT"
    """More than 1 % of the records disagree with the schema."""
    REFUSED = "REFUSED"
    """More than 1 % of the records, or all, were refused."""
    STALE_ROWS = "STALE_ROWS"
    """The newest record of some rows was refused."""
    NOT_STARTED = "NOT_STARTED"
    RESTORING = "RESTORING"
    LAGGING = "LAGGING"
    STALLED = "STALLED"
    BROKER_UNREACHABLE = "BROKER_UNREACHABLE"
    AUTHENTICATION = "AUTHENTICATION"
    AUTHORIZATION = "AUTHORIZATION"
    UNKNOWN_TOPIC = "UNKNOWN_TOPIC"
    STORE = "STORE"
    REGISTRY = "REGISTRY"
    ERROR = "ERROR"
    STOPPED = "STOPPED"


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """One partition: ``position`` is the next offset to apply, ``end`` is exclusive, ``lag`` is their distance.

    ``end`` and ``lag`` are None while the end is unknown.
    """

    partition: int
    position: int
    end: int | None

    @property
    def lag(self) -> int | None:
        """Offsets still to apply."""
        return None if self.end is None else max(0, self.end - self.position)


@dataclass(frozen=True, slots=True)
class ReadyChanged:
    """A table became ready, or fell behind."""

    is_ready: bool
    reason: Reason
    total_lag: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class LagUpdated:
    """The monitor measured the lag, in offsets; ``total`` None means that it is unknown from now on."""

    total: int | None
    previous: int | None
    partitions: tuple[PartitionLag, ...]
    at: datetime


@dataclass(frozen=True, slots=True)
class BindingStateChanged:
    """A binding went from one state to another."""

    old: BindingState
    new: BindingState
    reason: Reason
    error: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class RowsChanged:
    """Batches, one or several, were applied: how many of the rows that are shown they changed, and the positions after it."""

    rows: int
    position: dict[int, int]
    at: datetime


@dataclass(frozen=True, slots=True)
class TableRebuilt:
    """The rows of some partitions were made anew; ``partitions`` says why, for each.

    It comes when the new rows have taken the place of those from before; where these were dropped at once (the topic was
    recreated, or is read again for the types of its fields), when reading begins.
    """

    partitions: dict[int, str]
    at: datetime


Event: TypeAlias = ReadyChanged | LagUpdated | BindingStateChanged | RowsChanged | TableRebuilt
E = TypeVar("E", ReadyChanged, LagUpdated, BindingStateChanged, RowsChanged, TableRebuilt)


class Events:
    """The subscriptions of one table. Callbacks run on the thread that emits, and should be short."""

    def __init__(self) -> None:
        self._posted: deque[Event] = deque()
        self._delivering = Lock()
        # Only appended to, removed from and copied, each of which is atomic in Python: no lock is needed.
        self._callbacks: dict[type, list[Callable[[Any], None]]] = {
            kind: [] for kind in (ReadyChanged, LagUpdated, BindingStateChanged, RowsChanged, TableRebuilt)
        }

    def emit(self, event: Event) -> None:
        """Call everyone who has subscribed to events of this kind."""
        self.post(event)
        self.deliver()

    def post(self, event: Event) -> None:
        """Queue an event without calling anyone; for a caller that holds a lock which a callback could need."""
        self._posted.append(event)

    def deliver(self) -> None:
        """Emit the queued events in order; returns at once if another thread is doing so."""
        while self._posted and self._delivering.acquire(blocking=False):
            try:
                while self._posted:
                    event = self._posted.popleft()
                    callbacks = self._callbacks[type(event)]
                    for callback in callbacks.copy():
                        if callback in callbacks:  # unless one before it has ended its subscription
                            callback(event)
            finally:
                self._delivering.release()

    def subscribe(self, kind: type[E], callback: Callable[[E], object]) -> Callable[[], None]:
        """Call ``callback`` with every event of ``kind``; return a function that ends the subscription.

        An error in a callback is logged and reaches neither the other subscribers nor the table. Ending a subscription
        does not wait for a call that another thread is in. A process that a callback forks off ends with the callback.
        """
        callbacks = self._callbacks[kind]

        def guarded(event: E) -> None:
            process, code = os.getpid(), 0
            try:
                callback(event)
            except BaseException as error:
                # Polars' panics are no Exceptions. Ctrl-C comes on the main thread only, and is for whoever called.
                if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                    raise
                code = _code_of(error)
                if process == os.getpid() or not isinstance(error, SystemExit):
                    logger.exception("a callback for %s failed", kind.__name__)
            if process != os.getpid():
                _end_process(code)

        def unsubscribe() -> None:
            with suppress(ValueError):  # a second call does nothing
                callbacks.remove(guarded)

        callbacks.append(guarded)
        return unsubscribe


def _code_of(error: BaseException) -> int:
    """Return the exit code of a process that ends by ``error``, as Python has it."""
    code = error.code if isinstance(error, SystemExit) else 1
    return code if isinstance(code, int) else int(code is not None)


def _end_process(code: int) -> None:
    """End a process that was forked off in a callback: the thread that it is would go on to read, and to write the store."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # there may be none
            stream.flush()
    os._exit(code)


S = BindingState

LEGAL: dict[S, frozenset[S]] = {
    S.CREATED: frozenset({S.RESTORING, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.RESTORING: frozenset({S.CREATED, S.READY, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.READY: frozenset({S.LAGGING, S.RESTORING, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.LAGGING: frozenset({S.READY, S.RESTORING, S.BACKING_OFF, S.FAILED, S.STOPPED}),
    S.BACKING_OFF: frozenset({S.RESTORING, S.FAILED, S.STOPPED}),
    S.FAILED: frozenset({S.RESTORING, S.STOPPED}),
    S.STOPPED: frozenset(),
}


def check_transition(old: S, new: S) -> None:
    """Raise for an illegal transition, which is always a bug in the binding."""
    if new not in LEGAL[old]:
        message = f"a binding can't go from {old} to {new}"
        raise AssertionError(message)
