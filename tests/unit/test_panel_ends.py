"""How panels end, and what they leave behind."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable
from threading import Event, Thread

import ipywidgets
import pytest
from ipywidgets.widgets import widget as registry
from support.notebook_page import PIXEL, Drawing, Page, threads_of
from support.waiting import wait_until

from ktframe import ipython as notebook
from ktframe.errors import ContextClosedError, StoreError
from ktframe.events import Events, RowsChanged
from ktframe.widgets import panel
from ktframe.widgets.panel import Panel
from ktframe.widgets.picture import Frame

# --- how it ends ----------------------------------------------------------------------------------------------------------


def test_a_panel_that_is_shown_twice_has_one_thread(page: Page, picture: Drawing) -> None:
    """Both places show one set of widgets, drawn by one thread."""
    found = Panel(picture)
    found._ipython_display_()
    widgets = found._widgets
    found._ipython_display_()
    assert len(threads_of(found)) == 1
    assert found._widgets is widgets
    assert page.shown == [found._live_name, found._name] * 2
    found.close()
    wait_until(lambda: not threads_of(found), "its thread to end")


def test_close_leaves_the_last_picture(page: Page, shown: Panel, picture: Drawing) -> None:
    """The last frame stays with its time in place of the widget; a second close does nothing, and what is shown again is not live."""
    picture.change("the last")
    wait_until(lambda: repr(shown) == "the last", "the last frame")
    shown.close()
    shown.close()
    assert shown.is_closed
    wait_until(lambda: not threads_of(shown), "its thread to end")
    assert "no longer live" in page.kept(shown)["text/html"]
    assert "<b>the last</b>" in page.kept(shown)["text/html"]
    assert page.kept(shown)["text/plain"].endswith("no longer live)\nthe last")
    assert page.outputs[shown._live_name] == {"text/html": ""}
    page.shown.clear()
    shown._ipython_display_()
    assert (page.shown, threads_of(shown), shown._widgets) == ([shown._name], [], None)
    assert repr(shown) == "the last"
    assert len(panel.PANELS) == 0


def test_a_panel_closed_before_it_was_shown_has_no_thread(page: Page, picture: Drawing) -> None:
    """It shows one picture, and says that it is not live."""
    before = len(registry._instances)
    found = Panel(picture)
    found.close()
    found._ipython_display_()
    assert threads_of(found) == []
    assert page.shown == [found._name]
    assert "no longer live" in page.kept(found)["text/plain"]
    assert len(registry._instances) == before


def test_any_thread_may_close_also_its_own(page: Page, picture: Drawing) -> None:
    """A picture that closes its panel while it is drawn ends it."""
    found = Panel(picture)
    found._ipython_display_()
    plain = picture.frame

    def closing() -> Frame:
        found.close()
        return plain()

    picture.frame = closing  # type: ignore[method-assign]
    picture.change("two")
    wait_until(lambda: not threads_of(found), "its thread to end")
    others = [Thread(target=found.close) for _ in range(4)]
    for each in others:
        each.start()
    for each in others:
        each.join()
    assert found.is_closed


class Watching(Drawing):
    """A picture that is woken by a table's events."""

    def __init__(self, events: Events) -> None:
        super().__init__()
        self._events = events

    def watch(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call ``wake`` when rows change."""
        return self._events.subscribe(RowsChanged, lambda _: wake())


def test_closing_in_a_callback_of_the_table_waits_for_nobody(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that emits holds a lock, which the panel needs to leave: neither may wait for the other."""
    monkeypatch.setattr(panel, "_JOIN_SECONDS", 60.0)
    events = Events()
    found = Panel(Watching(events))
    found._ipython_display_()
    events.subscribe(RowsChanged, lambda _: found.close())
    emitting = Thread(target=events.emit, args=(RowsChanged(1, {0: 1}, found._shown_at),), daemon=True)
    emitting.start()
    emitting.join(5)
    assert not emitting.is_alive()
    wait_until(lambda: not threads_of(found), "its thread to end")


def test_closing_does_not_wait_for_ever_for_a_slow_picture(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It returns, and the thread ends when the picture is done."""
    monkeypatch.setattr(panel, "_JOIN_SECONDS", 0.05)
    found, go_on, is_drawing = Panel(picture), Event(), Event()
    found._ipython_display_()
    plain = picture.frame

    def slow() -> Frame:
        is_drawing.set()
        go_on.wait(20)
        return plain()

    picture.frame = slow  # type: ignore[method-assign]
    picture.change("two")
    assert is_drawing.wait(20)
    found.close()
    assert threads_of(found)
    go_on.set()
    wait_until(lambda: not threads_of(found), "its thread to end")


def test_a_cell_that_runs_again_closes_its_panels(page: Page, picture: Drawing) -> None:
    """Those of other cells, and of places that have no id, go on."""
    ours, other, nowhere = Panel(picture), Panel(Drawing()), Panel(Drawing())
    for found, cell in ((ours, "cell-1"), (other, "cell-2"), (nowhere, None)):
        page.cell = cell
        found._ipython_display_()
    assert len(panel.PANELS) == 3
    page.run_cell("cell-3")
    page.run_cell(None)
    assert [each.is_closed for each in (ours, other, nowhere)] == [False] * 3
    page.run_cell("cell-1")
    assert [each.is_closed for each in (ours, other, nowhere)] == [True, False, False]
    panel.PANELS.close()
    assert len(panel.PANELS) == 0
    assert len(page.before) == 1


def test_a_cell_that_shows_a_panel_again_keeps_it(page: Page, picture: Drawing) -> None:
    """What a run shows anew goes on, in that cell or in another; only what it shows no more is closed."""
    found = Panel(picture)
    found._ipython_display_()
    page.run_cell("cell-1", found._ipython_display_)
    assert not found.is_closed
    page.run_cell("cell-2", found._ipython_display_)
    page.run_cell("cell-1")
    assert not found.is_closed
    page.run_cell("cell-2")
    assert found.is_closed
    assert len(panel.PANELS) == 0


def test_panels_are_closed_at_the_same_time(page: Page) -> None:
    """One whose picture takes long keeps the others from nothing: a cell that runs again waits for the slowest."""
    calls: list[str] = []

    class Stub:
        hurry = staticmethod(lambda: None)

        def __init__(self, name: str) -> None:
            self.stop = lambda: calls.append(f"stop {name}")
            self.close = lambda: calls.append(f"close {name}")

    for name in "ab":
        panel.PANELS.add(Stub(name))
    page.run_cell("cell-1")
    assert calls == ["stop a", "stop b", "close a", "close b"]
    panel.PANELS.close()
    assert calls[4:] == calls[:4]


def test_the_end_of_what_is_shown_ends_the_panel(page: Page, picture: Drawing) -> None:
    """The frame before stays: a table that was closed has nothing to show; so does a connection that was."""
    for ending in ("last", "closed"):
        drawn = Drawing()
        found = Panel(drawn)
        found._ipython_display_()
        if ending == "last":
            drawn.is_last = True
        else:
            drawn.error = ContextClosedError("orders")
        drawn.change("nothing is left")
        wait_until(lambda panel=found: not threads_of(panel), "its thread to end")
        assert "one" in page.kept(found)["text/plain"]
        assert "nothing is left" not in page.kept(found)["text/plain"]


def test_an_error_of_what_is_closing_is_not_what_stays(page: Page, picture: Drawing) -> None:
    """A picture that is drawn while its table is closed fails once, and then says that there is no more."""
    found = Panel(picture)
    found._ipython_display_()
    errors = [ContextClosedError("orders"), StoreError("orders", "it is closed")]

    def closing() -> Frame:
        raise errors.pop()

    picture.frame = closing  # type: ignore[method-assign]
    picture.change("two")
    wait_until(lambda: not threads_of(found), "its thread to end")
    assert errors == []
    assert page.kept(found)["text/plain"].endswith("no longer live)\none")


def test_a_kernel_that_goes_gets_no_more_messages(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sockets are closed already; threads end all the same, also when the page can't be reached."""
    first, second = Panel(picture), Panel(Drawing())
    first._ipython_display_()
    second._ipython_display_()

    def broken(*_: object) -> None:
        message = "the socket is closed"
        raise OSError(message)

    monkeypatch.setattr(notebook, "replace", broken)
    before = len(registry._instances)
    first.close()
    panel.PANELS._leave()
    wait_until(lambda: not threads_of(first) and not threads_of(second), "the threads to end")
    assert len(registry._instances) < before


# --- what is left -----------------------------------------------------------------------------------------------------------


def test_fifty_panels_leave_no_widget_and_no_thread(page: Page) -> None:
    """Their layouts and styles go too, and what they were drawn with, although IPython's Out keeps the panels."""
    before, kept, pictures = dict(registry._instances), [], []
    for _ in range(50):
        picture = Drawing()
        picture.png = PIXEL
        found = Panel(picture, controls=lambda: (ipywidgets.ToggleButton(),))
        found._ipython_display_()
        found.close()
        kept.append(found)
        pictures.append(weakref.ref(picture))
    del picture, found
    assert set(registry._instances) - set(before) == set()
    wait_until(lambda: not any(map(threads_of, kept)), "the threads to end")
    gc.collect()
    assert [each() for each in pictures] == [None] * 50


def test_a_panel_that_is_never_shown_makes_no_widget(picture: Drawing) -> None:
    """Outside of a notebook it prints itself."""
    before = len(registry._instances)
    found = Panel(picture, controls=lambda: (ipywidgets.ToggleButton(),))
    assert repr(found) == "one"
    assert len(registry._instances) == before
    found.close()


def test_without_a_notebook_it_prints(picture: Drawing, capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal, and in a program without IPython, a panel prints its text."""
    found = Panel(picture)
    found._ipython_display_()
    assert capsys.readouterr().out == "one\n"
    assert threads_of(found) == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_has_no_panel(page: Page, shown: Panel) -> None:
    """Its thread stayed behind: to close it there waits for nobody, and says nothing."""
    child = os.fork()
    if child == 0:
        shown.close()
        os._exit(0 if shown.is_closed else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert not shown.is_closed
