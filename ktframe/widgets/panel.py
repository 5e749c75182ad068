"""A picture that lives below a cell: drawn by one thread, sent when it has changed, left behind when it is closed.

Widgets have no lock of their own, so the panel's thread alone changes them; buttons only set a flag.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from threading import Event, Lock, RLock, Thread, current_thread
from typing import Any, Final

import ipywidgets
import polars as pl

from ktframe import ipython as notebook
from ktframe.errors import ContextClosedError
from ktframe.widgets.markup import hiding, kept, trouble
from ktframe.widgets.open_panels import PANELS
from ktframe.widgets.picture import Frame, Picture

logger = logging.getLogger("ktframe.widgets")
FASTEST_SECONDS: Final = 0.2
IDLE_SECONDS: Final = 5.0

_SHARE: Final = 9
"""Seconds of rest for each second of drawing: a panel takes no more than a tenth of a core."""

_FIRST_KEPT_SECONDS: Final = 1.0

_LAST_KEPT_SECONDS: Final = 60.0
"""How old what a saved notebook shows may become; at first it is renewed sooner."""

_JOIN_SECONDS: Final = 5.0
_WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"


class Panel:
    """Shows a ``Picture`` and keeps it up to date; make one with the functions of ``ktframe.widgets``.

    As the last line of a cell, or by ``display(panel)``, it appears below the cell and starts a thread, which draws at
    most five times a second while there is news and at most once in five seconds while there is none, or while nobody
    has run a cell or clicked for two minutes. It ends by ``close()``, with what it shows, when its cell has run again
    and shows it no more, and with the kernel. The last picture stays, also in a saved notebook.
    """

    def __init__(
        self,
        picture: Picture,
        *,
        every: float = FASTEST_SECONDS,
        controls: Callable[[], Sequence[ipywidgets.DOMWidget]] = tuple,
    ) -> None:
        self.frames = 0
        """How many frames were sent."""
        self._picture: Picture | None = picture
        self._every = max(every, FASTEST_SECONDS)
        self._controls = controls
        self._name = f"ktframe-panel-{uuid.uuid4().hex[:12]}"
        self._live_name = f"{self._name}-live"
        self._lock, self._starting, self._ending = RLock(), Lock(), Lock()
        self._news, self._pace, self._stop, self._gone = Event(), Event(), Event(), Event()
        self._thread: Thread | None = None
        self._shown: Frame | None = None
        self._shown_at = datetime.now(UTC)
        self._trouble = ""
        self._is_kept = True
        self._kept_at = 0.0
        self._keep_after = _FIRST_KEPT_SECONDS
        self._widgets: _Widgets | None = None

    def _ipython_display_(self) -> None:
        if not notebook.has_front_end():
            print(self)  # noqa: T201 - what a terminal shows of it
            return
        with self._lock:
            if self._shown is None:
                self._shown, self._shown_at = self._drawn(), datetime.now(UTC)
            if self._widgets is None and not self._stop.is_set():
                style = hiding(self._name)
                self._widgets = _Widgets(self._shown, self._controls(), style, on_touch=self._touched)
            self._display()
            self._start()

    def _start(self) -> None:
        """Start the thread, where there is none and there is to be one."""
        picture = self._picture
        if self._thread is not None or picture is None:
            self._enlist()
            return
        # Not on the panel's thread: whoever closes it in a callback keeps it from subscribing and waits for it.
        unwatch = picture.watch(self._news.set)
        with self._starting:
            if self._enlist():
                self._thread = Thread(target=self._run, args=(unwatch,), name=self._name, daemon=True)
                self._thread.start()
                return
        unwatch()

    def _enlist(self) -> bool:
        """Let the cell that runs be the one that shows it; return whether it lives."""
        with self._ending:
            if not self._stop.is_set():
                PANELS.add(self)
            return not self._stop.is_set()

    def __repr__(self) -> str:
        frame = self._shown
        return (self._drawn() if frame is None else frame).text

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._stop.is_set()

    def hurry(self) -> None:
        """Draw soon: somebody is there."""
        self._pace.set()
        self._news.set()

    def stop(self) -> None:
        """Stop drawing and leave the last picture, soon; does not wait."""
        self._stop.set()
        self.hurry()

    def close(self) -> None:
        """Stop drawing and leave the last picture; a second call does nothing."""
        self.stop()
        with self._starting:
            thread = self._thread
        if thread is not None and thread is not current_thread() and thread.is_alive():
            self._gone.wait(_JOIN_SECONDS)

    # --- the panel's thread ----------------------------------------------------------------------------------------

    def _run(self, unwatch: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                began, at = time.monotonic(), datetime.now(UTC)
                self._news.clear()
                frame = self._drawn()
                if frame.is_last:
                    break
                self._send(frame, at)
                self._rest(time.monotonic() - began)
        finally:
            self._end()
            unwatch()  # waits for callbacks, one of which may be waiting for us

    def _rest(self, cost: float) -> None:
        """Wait for the next frame: for news, but neither too short nor too long."""
        least = max(self._every, _SHARE * cost)
        self._pace.clear()
        if not self._stop.is_set():
            self._pace.wait(least if PANELS.is_watched else max(least, IDLE_SECONDS))
            # Sooner where what is saved is not what is seen: it is renewed by the next frame after a while.
            most = IDLE_SECONDS if self._is_kept else min(IDLE_SECONDS, self._keep_after)
            self._news.wait(max(0.0, most - least))

    def _drawn(self) -> Frame:
        with suppress(Exception, pl.exceptions.PanicException):
            return self._attempt()
        # What is shown may have been closed meanwhile: then the next attempt says so, and what was seen stays.
        self._stop.wait(FASTEST_SECONDS)
        try:
            return self._attempt()
        except (Exception, pl.exceptions.PanicException) as error:
            said = f"{type(error).__name__}: {error}"
            if said != self._trouble:
                self._trouble = said
                logger.exception("a panel can't be drawn")
            return Frame(trouble(error), said)

    def _attempt(self) -> Frame:
        picture = self._picture
        if picture is None:
            return self._shown or Frame("", "closed")
        try:
            return picture.frame()
        except ContextClosedError as error:
            return Frame(trouble(error), str(error), is_last=True)

    def _touched(self) -> None:
        PANELS.touch()
        self.hurry()

    def _send(self, frame: Frame, at: datetime) -> None:
        if self._widgets is None:
            return
        if self._widgets.put(frame):
            self.frames += 1
            self._shown, self._shown_at, self._is_kept = frame, at, False
        if not self._is_kept and time.monotonic() - self._kept_at > self._keep_after:
            self._keep_after = min(2 * self._keep_after, _LAST_KEPT_SECONDS)
            self._keep()

    # --- what stays -----------------------------------------------------------------------------------------------

    def _display(self) -> None:
        self._kept_at = time.monotonic()
        if self._widgets is not None:
            notebook.show(self._widgets.bundle(), self._live_name)
        notebook.show(self._kept(), self._name)

    def _keep(self) -> None:
        """Renew what shows where there is no widget, such as in the notebook once it is saved."""
        self._kept_at, self._is_kept = time.monotonic(), True
        notebook.replace(self._kept(), self._name)

    def _kept(self) -> dict[str, Any]:
        if self._shown is None:
            return {}
        remark = f"as of {self._shown_at:%Y-%m-%d %H:%M:%S} UTC"
        if self._stop.is_set():
            remark += "; no longer live"
        bundle = self._shown.noted(remark).bundle()
        return {**bundle, "text/html": kept(bundle["text/html"], self._name)}

    def _end(self) -> None:
        with self._ending:
            self._stop.set()
            PANELS.discard(self)
        widgets, self._widgets = self._widgets, None
        self._picture = None  # IPython's Out keeps panels: what they draw with is large
        try:
            if not PANELS.is_leaving:
                self._leave(widgets)
        except Exception:  # the kernel may be going
            logger.debug("a panel could not leave its last picture", exc_info=True)
        finally:
            self._gone.set()

    def _leave(self, widgets: _Widgets | None) -> None:
        try:
            self._keep()
            if widgets is not None:
                notebook.replace({"text/html": ""}, self._live_name)
        finally:
            if widgets is not None:
                widgets.close()


class _Widgets:
    """The widgets of one panel; only its thread changes them once they are shown."""

    def __init__(
        self,
        frame: Frame,
        controls: Sequence[ipywidgets.DOMWidget],
        style: str,
        *,
        on_touch: Callable[[], object],
    ) -> None:
        self._controls = controls
        self._style = ipywidgets.HTML(style, layout={"display": "none"})
        self._page = ipywidgets.HTML()
        self._image = ipywidgets.Image(format="png", layout={"max_width": "100%", "display": "none"})
        self._box = ipywidgets.VBox([*controls, self._page, self._image, self._style])
        self._png: bytes | None = None
        self.put(frame)
        for control in controls:
            control.observe(lambda _: on_touch(), "value")

    def put(self, frame: Frame) -> bool:
        """Show a frame; return whether anything is another."""
        is_new = (self._page.value, self._png) != (frame.html, frame.png)
        if self._page.value != frame.html:
            self._page.value = frame.html
        if self._png != frame.png:
            self._png = frame.png
            self._image.layout.width = f"{frame.width}px"
            self._image.layout.display = "none" if frame.png is None else None
            self._image.value = frame.png or b""
        return is_new

    def bundle(self) -> dict[str, Any]:
        """Return what a front end finds the widgets by."""
        return {_WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}}

    def close(self) -> None:
        """Take the widgets away, from the page and from the kernel's memory."""
        for widget in (*self._controls, self._page, self._image, self._style, self._box):
            for part in (widget.layout, getattr(widget, "style", None)):  # models of their own
                if isinstance(part, ipywidgets.Widget):
                    part.close()
            widget.close()
