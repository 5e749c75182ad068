"""Tab completion in notebooks: topics after ``table("``, columns after ``col("``. Never waits longer than half a second.

Topics come from the cluster's list, which a background thread fetches; columns from the tables that are open.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from threading import Lock, Thread
from typing import Any, Final

from ktframe.context.context import Context
from ktframe.current import CURRENT
from ktframe.errors import KtframeError
from ktframe.ipython import shell
from ktframe.process.forks import in_child

_TOPIC: Final = re.compile(r"""\b(?:table|stream|inspect|publish)\(\s*["']([^"']*)$""")

_COLUMN: Final = re.compile(
    r"""(?:\bcol\(|\b(?:by|key|time|metadata)\s*=)\s*\[?(?:\s*["'][^"']*["']\s*,)*\s*["']([^"']*)$"""
)

_FRESH_SECONDS: Final = 60.0
_WAIT_SECONDS: Final = 0.5


class TopicNames:
    """The names of a cluster's topics, fetched in the background and kept for a minute."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._context: Context | None = None
        self._names: tuple[str, ...] = ()
        self._asked_at = 0.0
        in_child(self._forked)

    def _forked(self) -> None:
        """Begin anew: the thread that asks may have held the lock, and is not in a forked process."""
        self._lock, self._context = Lock(), None

    def known(self, context: Context) -> tuple[str, ...]:
        """Return the names that are known; wait for half a second at most."""
        with self._lock:
            is_due = self._context is not context or time.monotonic() - self._asked_at > _FRESH_SECONDS
            if self._context is not context:
                self._context, self._names = context, ()
            if is_due:
                self._asked_at = time.monotonic()
        if is_due:
            asking = Thread(target=self._ask, args=(context,), name="ktframe-completion", daemon=True)
            asking.start()
            asking.join(_WAIT_SECONDS)
        return self._names

    def _ask(self, context: Context) -> None:
        try:
            names = context.topic_names()
        except KtframeError:  # table() raises it too
            return
        with self._lock:
            if self._context is context:
                self._names = names


_topics = TopicNames()
_installed: set[int] = set()


def install() -> None:
    """Register with IPython where it runs, once per shell."""
    completer = getattr(shell(), "Completer", None)
    if completer is None or id(completer) in _installed:
        return
    from IPython.core.completer import context_matcher  # noqa: PLC0415 - loaded already

    completer.custom_matchers.append(context_matcher(priority=1_000)(_match))
    _installed.add(id(completer))


def _match(context: Any) -> Any:
    line = context.full_text.split("\n")[context.cursor_line][: context.cursor_position]
    endings = list(completions(line, CURRENT.connection))
    from IPython.core.completer import SimpleCompletion  # noqa: PLC0415 - loaded already

    texts = [SimpleCompletion(text=context.token + rest, type="string") for rest in endings]
    return {"completions": texts, "suppress": bool(texts)}


def completions(line: str, context: Context | None) -> Iterable[str]:
    """Yield what may follow ``line``, which ends at the cursor."""
    if context is None or context.is_closed:
        return
    for pattern, names in ((_TOPIC, _topics.known), (_COLUMN, _columns)):
        if begun := pattern.search(line):
            typed = begun[1]
            yield from (name[len(typed) :] for name in names(context) if name.startswith(typed))


def _columns(context: Context) -> Iterable[str]:
    """Return the columns of the tables and streams that are open, each once."""
    tables = context.materialized()
    names = (name for table in tables for name in table._known_columns)  # noqa: SLF001 - not for users
    return dict.fromkeys(names)
