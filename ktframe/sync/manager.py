"""The threads: one per started binding, and one that checks the lag of all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event, Lock, Thread

from ktframe.config.settings import RuntimeSettings
from ktframe.errors import ContextClosedError, KtframeError
from ktframe.events import BindingState
from ktframe.process.forks import rows_are_read
from ktframe.process.threads import has_ended, ours, whereabouts
from ktframe.store.protocol import StateStore
from ktframe.sync.binding import TopicBinding
from ktframe.sync.watcher import Watcher

logger = logging.getLogger("ktframe.sync")
_JOIN_SECONDS = 15.0


class BindingManager:
    """Starts, monitors and stops bindings. All threads are daemons: the interpreter never waits for them at its end."""

    def __init__(self, runtime: RuntimeSettings, *, close_store: Callable[[StateStore], None]) -> None:
        self._close_store = close_store
        self._lock = Lock()
        self._threads: dict[TopicBinding, Thread | None] = {}
        """The bindings that were started, or nearly so: without a thread."""
        self._pairing = Lock()
        # Every read looks here, also one in a callback: tuples that are replaced whole can be read without a lock.
        self._followers: dict[TopicBinding, tuple[TopicBinding, ...]] = {}
        """Bindings that start when another does."""
        self._stop = Event()
        self._watcher = Watcher(runtime, self.bindings)

    def start_together(self, leader: TopicBinding, follower: TopicBinding) -> None:
        """Start ``follower`` whenever ``leader`` is started, from now on."""
        with self._pairing:
            followers = self._followers.get(leader, ())
            if follower not in followers:
                self._followers[leader] = (*followers, follower)

    def start(self, binding: TopicBinding) -> None:
        """Start ``binding`` if it is not running, and its followers; one that has failed is tried again.

        Raises
        ------
        ContextClosedError
            When the connection was closed.
        """
        self._start_one(binding)
        for follower in self._followers.get(binding, ()):
            try:
                self._start_one(follower)
            except KtframeError as error:  # a read of the follower raises it again
                logger.warning("%s: %s", follower.name, error.fact)

    def _start_one(self, binding: TopicBinding) -> None:
        if self._is_running(binding) or binding.state is BindingState.STOPPED:
            return
        with self._lock:
            self._require_open(binding)
            self._threads.setdefault(binding, None)  # from here on ``close`` knows of it
        rows_are_read()
        binding.prepare()  # outside the lock: it asks the cluster, and may wait for a timeout
        old = self._threads.get(binding)
        # Of a failed binding it is about to end; another call may have started a new one meanwhile.
        if old is not None and not self._is_running(binding) and not has_ended(old, _JOIN_SECONDS):
            return
        with self._lock:
            self._require_open(binding)
            if not self._is_running(binding):
                self._start_threads(binding)
        binding.events.deliver()

    def _require_open(self, binding: TopicBinding) -> None:
        if self._stop.is_set() or binding.is_stopping:
            raise ContextClosedError(repr(binding.name))

    def _is_running(self, binding: TopicBinding) -> bool:
        """Ask the thread, not the state: a start may have ended half way."""
        thread = self._threads.get(binding)
        return thread is not None and thread.is_alive() and binding.state is not BindingState.FAILED

    def _start_threads(self, binding: TopicBinding) -> None:
        """Start the thread of ``binding`` and, before it, the one that checks the lag; the caller holds the lock."""
        self._watcher.start()
        thread = Thread(target=ours(binding.run), name=f"ktframe-{binding.name}", daemon=True)
        binding.life.begin()
        try:
            thread.start()
        except BaseException as error:
            binding.life.withdraw(error)
            raise
        self._threads[binding] = thread

    def bindings(self) -> list[TopicBinding]:
        """Return the bindings that were started."""
        with self._lock:
            return [binding for binding, thread in self._threads.items() if thread is not None]

    def reschedule(self) -> None:
        """Apply a changed monitor interval now."""
        self._watcher.reschedule()

    def stop(self, binding: TopicBinding) -> None:
        """Stop ``binding`` and close its store; returns when the store is free, also to who calls it second.

        In a callback, on a thread of ours, it waits for no thread: that ends after its callback, and can't write any more.

        Raises
        ------
        StoreError
            When a thread does not leave the store; it names that thread, and what it does. It is closed at the next call.
        """
        binding.stop()
        thread = self._threads.get(binding)
        if thread is not None and not has_ended(thread, _JOIN_SECONDS):
            place = whereabouts(thread.ident)
            logger.error("%s: a thread has not ended in %g s: %s", binding.name, _JOIN_SECONDS, place)
        try:
            binding.release(self._close_store)
        finally:
            with self._lock:
                self._threads.pop(binding, None)
            self._part(binding)
            binding.stopped()

    def _part(self, binding: TopicBinding) -> None:
        """Let nothing start ``binding`` with another any more."""
        with self._pairing:
            self._followers.pop(binding, None)
            for leader, followers in self._followers.items():
                self._followers[leader] = tuple(other for other in followers if other is not binding)

    def close(self) -> None:
        """Stop everything; a second call does nothing."""
        with self._lock:
            self._stop.set()
            bindings = list(self._threads)
        for binding in bindings:
            binding.stop()
        with ExitStack() as stack:
            for binding in bindings:
                stack.callback(self.stop, binding)
            stack.callback(self._watcher.stop, _JOIN_SECONDS)
