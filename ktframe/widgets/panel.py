"""The panel: shows a picture below a cell, draws it again on a thread of its own, and saves the last frame.

Widgets have no lock, so only the panel's thread changes them. Buttons and events only set flags for it. What is drawn
is up to the pictures (``picture.py``).
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
from ktframe.widgets.markup import error_page, hiding, saved_html
from ktframe.widgets.open_panels import PANELS
from ktframe.widgets.picture import Frame, Picture

logger = logging.getLogger("ktframe.widgets")
FASTEST_SECONDS: Final = 0.2
IDLE_SECONDS: Final = 5.0

# Seconds of rest for each second of drawing: a panel takes no more than a tenth of a core.
_REST_FACTOR: Final = 9

# How old the saved frame may become. It is renewed soon at first, then less and less often: each renewal changes the
# notebook's file.
_FIRST_SAVE_SECONDS: Final = 1.0
_LAST_SAVE_SECONDS: Final = 60.0

_JOIN_SECONDS: Final = 5.0
_WIDGET_VIEW: Final = "application/vnd.jupyter.widget-view+json"


class Panel:
    """Shows a ``Picture`` and keeps it up to date; make one with the functions of ``ktframe.widgets``.

    As the last line of a cell, or by ``display(panel)``, it appears below the cell and starts a thread. That draws at
    most five times a second while something changes, and at most once in five seconds while nothing does or while nobody
    has run a cell or clicked for two minutes. A panel ends by ``close()``, when the table or connection that it shows is
    closed, when its cell has run again without showing it, and with the kernel. The last frame stays, also in a saved
    notebook.
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
        self._last_error = ""
        self._is_saved = True
        self._saved_at = 0.0
        self._save_after = _FIRST_SAVE_SECONDS
        self._widgets: _Widgets | None = None

    def _ipython_display_(self) -> None:
        if not notebook.has_front_end():
            print(self)  # noqa: T201 - a terminal has no other way to show it
            return
        with self._lock:
            if self._shown is None:
                self._shown, self._shown_at = self._drawn_frame(), datetime.now(UTC)
            if self._widgets is None and not self._stop.is_set():
                style = hiding(self._name)
                self._widgets = _Widgets(self._shown, self._controls(), style, on_touch=self._touched)
            self._display()
            self._start()

    def _start(self) -> None:
        """Start the thread, unless there is one or the panel has ended."""
        picture = self._picture
        if self._thread is not None or picture is None:
            self._register()
            return
        # Before the thread runs: what changes until its first frame is not missed.
        unwatch = picture.watch(self._news.set)
        with self._starting:
            if self._register():
                self._thread = Thread(target=self._run, args=(unwatch,), name=self._name, daemon=True)
                self._thread.start()
                return
        unwatch()

    def _register(self) -> bool:
        """Note that the running cell shows this panel, and return whether the panel has not ended."""
        with self._ending:
            if not self._stop.is_set():
                PANELS.add(self)
            return not self._stop.is_set()

    def __repr__(self) -> str:
        frame = self._shown
        return (self._drawn_frame() if frame is None else frame).text

    @property
    def is_closed(self) -> bool:
        """Whether the panel has ended."""
        return self._stop.is_set()

    def hurry(self) -> None:
        """Draw soon, because a person is at the notebook."""
        self._pace.set()
        self._news.set()

    def stop(self) -> None:
        """Make the panel stop drawing and save its last frame; does not wait for that."""
        self._stop.set()
        self.hurry()

    def close(self) -> None:
        """Stop drawing and save the last frame; a second call does nothing."""
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
                frame = self._drawn_frame()
                if frame.is_last:
                    break
                self._send(frame, at)
                self._rest(time.monotonic() - began)
        finally:
            self._end()
            unwatch()

    def _rest(self, cost: float) -> None:
        """Wait until news arrives, within the least and the greatest time between two frames."""
        least = max(self._every, _REST_FACTOR * cost)
        self._pace.clear()
        if not self._stop.is_set():
            self._pace.wait(least if PANELS.is_watched else max(least, IDLE_SECONDS))
            # Sooner while the saved frame is not the shown one: the next frame after a while renews it.
            most = IDLE_SECONDS if self._is_saved else min(IDLE_SECONDS, self._save_after)
            self._news.wait(max(0.0, most - least))

    def _drawn_frame(self) -> Frame:
        with suppress(Exception, pl.exceptions.PanicException):
            return self._frame()
        # The table may just have been closed: then the second attempt says so, and the frame that was seen stays.
        self._stop.wait(FASTEST_SECONDS)
        try:
            return self._frame()
        except (Exception, pl.exceptions.PanicException) as error:
            text = f"{type(error).__name__}: {error}"
            if text != self._last_error:
                self._last_error = text
                logger.exception("a panel can't be drawn")
            return Frame(error_page(error), text)

    def _frame(self) -> Frame:
        picture = self._picture
        if picture is None:
            return self._shown or Frame("", "closed")
        try:
            return picture.frame()
        except ContextClosedError as error:
            return Frame(error_page(error), str(error), is_last=True)

    def _touched(self) -> None:
        PANELS.touch()
        self.hurry()

    def _send(self, frame: Frame, at: datetime) -> None:
        if self._widgets is None:
            return
        if self._widgets.put(frame):
            self.frames += 1
            self._shown, self._shown_at, self._is_saved = frame, at, False
        if not self._is_saved and time.monotonic() - self._saved_at > self._save_after:
            self._save_after = min(2 * self._save_after, _LAST_SAVE_SECONDS)
            self._save()

    # --- the saved frame ------------------------------------------------------------------------------------------

    def _display(self) -> None:
        self._saved_at = time.monotonic()
        if self._widgets is not None:
            notebook.show(self._widgets.bundle(), self._live_name)
        notebook.show(self._saved_bundle(), self._name)

    def _save(self) -> None:
        """Renew the output that shows where no widget can: in a saved notebook, on GitHub, in an exported page."""
        self._saved_at, self._is_saved = time.monotonic(), True
        notebook.replace(self._saved_bundle(), self._name)

    def _saved_bundle(self) -> dict[str, Any]:
        if self._shown is None:
            return {}
        remark = f"as of {self._shown_at:%Y-%m-%d %H:%M:%S} UTC"
        if self._stop.is_set():
            remark += "; no longer live"
        bundle = self._shown.noted(remark).bundle()
        return {**bundle, "text/html": saved_html(bundle["text/html"], self._name)}

    def _end(self) -> None:
        with self._ending:
            self._stop.set()
            PANELS.discard(self)
        widgets, self._widgets = self._widgets, None
        self._picture = None  # IPython's Out keeps panels alive, and pictures are large
        try:
            if not PANELS.is_leaving:
                self._close_widgets(widgets)
        except Exception:  # the kernel may be about to end
            logger.debug("the last frame of a panel could not be saved", exc_info=True)
        finally:
            self._gone.set()

    def _close_widgets(self, widgets: _Widgets | None) -> None:
        """Save the last frame, then take the widgets away."""
        try:
            self._save()
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
        """Show a frame, and return whether it differs from the one before."""
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
        """Return the output by which a front end finds the widgets."""
        return {_WIDGET_VIEW: {"version_major": 2, "version_minor": 0, "model_id": self._box.model_id}}

    def close(self) -> None:
        """Remove the widgets from the page and from the kernel's memory."""
        for widget in (*self._controls, self._page, self._image, self._style, self._box):
            for part in (widget.layout, getattr(widget, "style", None)):  # models of their own
                if isinstance(part, ipywidgets.Widget):
                    part.close()
            widget.close()
