"""Shows progress while a call waits: a line in a terminal, a bar in a notebook, nothing elsewhere."""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from ktframe.config.durations import describe_duration
from ktframe.ipython import has_front_end
from ktframe.sync.monitor import Readiness

_FIRST_AFTER_SECONDS = 1.0
_EVERY_SECONDS = 0.2
_WIDTH = 24


class Progress:
    """Call it with each ``Readiness``: it draws at most five times a second, and nothing in the first second."""

    def __init__(self, *, delay: float = _FIRST_AFTER_SECONDS, stream: TextIO | None = None) -> None:
        self._began = self._drawn = time.monotonic()
        self._delay = delay
        self._draw = _notebook_drawer() or _terminal_drawer(stream or sys.stderr)
        self.is_shown = False
        """Whether anything was drawn."""

    def __call__(self, readiness: Readiness) -> None:
        """Draw ``readiness`` if it is time to."""
        now = time.monotonic()
        if self._draw is None or now - self._began < self._delay or now - self._drawn < _EVERY_SECONDS:
            return
        self._drawn, self.is_shown = now, True
        self._draw(readiness, False)

    def close(self, readiness: Readiness) -> None:
        """Leave one line with the outcome, if anything was shown."""
        if self._draw is not None and self.is_shown:
            self._draw(readiness, True)


def describe(readiness: Readiness) -> str:
    """Return a readiness in one line: share, what is left, rate, time left."""
    parts = [f"{readiness.name}: {readiness.condition}"]
    if readiness.progress is not None:
        parts.append(f"{readiness.progress:.0%}")
    if readiness.total_lag:
        parts.append(f"{readiness.total_lag:,} to go")
    if readiness.rate:
        parts.append(f"{readiness.rate:,.0f}/s")
    if readiness.eta:
        parts.append(f"about {describe_duration(readiness.eta)} left")
    if not readiness.is_complete and readiness.detail:
        parts.append(readiness.detail)
    return ", ".join(parts)


Drawer = Callable[[Readiness, bool], None]


def _terminal_drawer(stream: TextIO) -> Drawer | None:
    if not stream.isatty():
        return None

    def draw(readiness: Readiness, is_last: bool) -> None:  # noqa: FBT001 - a private callback
        filled = round((readiness.progress or 0) * _WIDTH)
        bar = "#" * filled + "-" * (_WIDTH - filled)
        stream.write(f"\r\x1b[K[{bar}] {describe(readiness)}{chr(10) if is_last else ''}")
        stream.flush()

    return draw


def _notebook_drawer() -> Drawer | None:
    if not has_front_end():
        return None
    from IPython.display import HTML, display  # noqa: PLC0415 - only where a notebook has loaded it already

    handles: list[Any] = []

    def draw(readiness: Readiness, is_last: bool) -> None:  # noqa: FBT001 - a private callback
        text = html.escape(describe(readiness))
        bar = (
            ""
            if is_last
            else f'<progress value="{readiness.progress or 0:.3f}" style="width:16em"></progress> '
        )
        page = HTML(f"{bar}<span>{text}</span>")
        if handles:
            handles[0].update(page)
        else:
            handles.append(display(page, display_id=True))

    return draw
