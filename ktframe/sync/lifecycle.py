"""The states of a binding: which one it is in, who is told when it changes, and how a start is taken back."""

from __future__ import annotations

import logging
from threading import Condition

from ktframe.clock import Clock
from ktframe.events import BindingState, BindingStateChanged, Events, Reason, check_transition
from ktframe.sync.health import explain

logger = logging.getLogger("ktframe.sync")
_LEVELS = {BindingState.BACKING_OFF: logging.WARNING, BindingState.FAILED: logging.ERROR}


class Lifecycle:
    """The state of one binding. It is changed by the binding's thread, and before that lives by whoever starts it."""

    def __init__(self, name: str, events: Events, clock: Clock) -> None:
        self.state = BindingState.CREATED
        self.changed = Condition()
        """Notified whenever the state changes, and by the binding whenever positions do."""
        self._name = name
        self._events = events
        self._clock = clock
        self._before = self.state

    def begin(self) -> None:
        """Enter RESTORING, just before the thread starts; the event waits until the caller delivers it."""
        self._before = self.state
        self._change(BindingState.RESTORING, Reason.RESTORING)

    def withdraw(self, failure: BaseException) -> None:
        """Undo ``begin``: no thread was to be had, because of ``failure``."""
        state = BindingState.CREATED if self._before is BindingState.CREATED else BindingState.FAILED
        self._change(state, *explain(failure)[:2])

    def enter(
        self, state: BindingState, reason: Reason, error: str | None = None, *, is_news: bool = True
    ) -> None:
        """Enter ``state``, and tell who wants to know; nothing happens where it is that already.

        The log has it as a warning or an error, where the state is one, only if it ``is_news``.
        """
        self._change(state, reason, error, is_news=is_news)
        self._events.deliver()

    def _change(
        self, state: BindingState, reason: Reason, error: str | None = None, *, is_news: bool = True
    ) -> None:
        """Enter ``state`` without calling anyone."""
        if state is self.state:
            return
        check_transition(self.state, state)
        old, self.state = self.state, state
        level = _LEVELS.get(state, logging.INFO) if is_news else logging.INFO
        logger.log(level, "%s: %s -> %s%s", self._name, old, state, f" ({error})" if error else "")
        self._events.post(BindingStateChanged(old, state, reason, error, self._clock.now()))
        self.tell()

    def tell(self) -> None:
        """Wake everyone who waits for a change."""
        with self.changed:
            self.changed.notify_all()
