"""Panels: how often they draw and what they send."""

from __future__ import annotations

import logging
from threading import Event, Thread, current_thread

import polars as pl
import pytest
from support.notebook_page import PIXEL, Drawing, Page
from support.waiting import wait_until

from ktframe.widgets import open_panels as panels
from ktframe.widgets import panel
from ktframe.widgets.open_panels import IDLE_AFTER_SECONDS
from ktframe.widgets.panel import FASTEST_SECONDS, IDLE_SECONDS, Panel
from ktframe.widgets.picture import Frame

# --- how often --------------------------------------------------------------------------------------------------------


class Time:
    """A clock that waiting turns, in a world where there is news every ``news`` seconds."""

    def __init__(self, found: Panel, *, news: float | None, until: float) -> None:
        self.now = 0.0
        self.news, self.until, self.found = news, until, found

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def pass_(self, seconds: float, event: Event | None = None) -> None:
        """Let time pass, until news if it is waited for."""
        until = self.now + seconds
        if event is not None and event.is_set():
            until = self.now
        if event is not None and self.news is not None:
            until = min(until, self.now + self.news)
        self.now = until
        if self.now >= self.until:
            self.found._stop.set()


class Turning(Event):
    """An event that turns a clock while it is waited for."""

    def __init__(self, time: Time, *, hears_news: bool) -> None:
        super().__init__()
        self._time, self._hears_news = time, hears_news

    def wait(self, timeout: float | None = None) -> bool:
        """Let the time pass at once."""
        self._time.pass_(timeout or 0.0, self if self._hears_news else None)
        return True


def drawn_in(
    seconds: float,
    page: Page,
    picture: Drawing,
    monkeypatch: pytest.MonkeyPatch,
    *,
    news: float | None,
    cost: float = 0.0,
    every: float = FASTEST_SECONDS,
    idle_from: float = IDLE_AFTER_SECONDS,
    moves: bool = True,
) -> int:
    """Return how often a panel draws in so much time."""
    found = Panel(picture, every=every)
    monkeypatch.setattr(Panel, "_start", lambda _: None)
    time = Time(found, news=news, until=seconds)
    monkeypatch.setattr(panel, "time", time)
    monkeypatch.setattr(panels, "time", time)
    panel.PANELS._touched = idle_from - IDLE_AFTER_SECONDS
    found._ipython_display_()
    found._pace, found._news = Turning(time, hears_news=False), Turning(time, hears_news=True)
    plain = picture.frame

    def slow() -> Frame:
        time.pass_(cost)
        picture.text = str(picture.draws) if moves else "still"
        return plain()

    picture.frame = slow  # type: ignore[method-assign]
    picture.draws = 0
    found._run(lambda: None)
    return picture.draws


def test_a_storm_of_events_is_drawn_five_times_a_second(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A panel draws no more often than that, however often rows change."""
    assert drawn_in(60, page, picture, monkeypatch, news=0.001) in range(280, 301)


def test_every_is_the_least_time_between_frames(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ``every="2s"`` a panel draws thirty frames in a minute, and perhaps one more."""
    assert drawn_in(60, page, picture, monkeypatch, news=0.001, every=2) in (30, 31)


def test_without_news_it_is_drawn_every_five_seconds(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most, and a little sooner at first where ages and rates move, so that these are saved."""
    assert drawn_in(100, page, picture, monkeypatch, news=None) in range(20, 24)
    still = Drawing()
    assert drawn_in(100, page, still, monkeypatch, news=None, moves=False) in (20, 21, 22)


def test_when_nobody_is_there_a_storm_changes_nothing(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two minutes without a cell or a click it is drawn once in five seconds at most."""
    found = drawn_in(100, page, picture, monkeypatch, news=0.001, idle_from=0)
    assert found <= 100 / IDLE_SECONDS + 1
    assert found >= 10


def test_two_minutes_after_the_last_cell_it_slows_down(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It draws fast for two minutes after the last cell, and slowly from then on."""
    both = drawn_in(IDLE_AFTER_SECONDS + 100, page, picture, monkeypatch, news=0.001)
    assert both in range(round(5 * IDLE_AFTER_SECONDS * 0.9), 5 * round(IDLE_AFTER_SECONDS) + 22)


def test_a_slow_picture_takes_a_tenth_of_the_time(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes 2 seconds rests for 18."""
    assert drawn_in(100, page, picture, monkeypatch, news=0.001, cost=2) == 5


def test_a_person_wakes_a_panel_that_waits(shown: Panel, picture: Drawing) -> None:
    """A click or a cell after a pause is answered at once, not after five seconds."""
    panel.PANELS._touched -= 2 * IDLE_AFTER_SECONDS
    picture.change("two")
    draws = picture.draws
    panel.PANELS.touch()
    wait_until(lambda: picture.draws > draws, "another frame", timeout=4)
    assert panel.PANELS.is_watched


# --- what is sent -------------------------------------------------------------------------------------------------------


def test_only_what_has_changed_is_sent(page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame like the one before leaves the widgets as they are."""
    monkeypatch.setattr(Panel, "_start", lambda _: None)
    found = Panel(picture)
    found._ipython_display_()
    sent: list[str] = []
    assert found._widgets is not None
    for name in ("_page", "_image", "_box"):
        getattr(found._widgets, name).observe(lambda change: sent.append(change["name"]))

    def draw() -> None:
        found._send(found._drawn_frame(), found._shown_at)

    draw()
    draw()
    assert (sent, found.frames) == ([], 0)
    picture.text = "two"
    draw()
    assert (sent, found.frames) == (["value"], 1)
    picture.png = PIXEL
    draw()
    draw()
    assert (sent, found.frames) == (["value", "value"], 2)
    assert found._widgets._image.value == PIXEL
    found._end()


def test_the_panels_thread_alone_changes_widgets(shown: Panel, picture: Drawing) -> None:
    """After the first frame, whoever makes the news."""
    changed_by: set[str] = set()
    assert shown._widgets is not None
    shown._widgets._page.observe(lambda _: changed_by.add(current_thread().name), "value")
    for number in range(3):
        draws = picture.draws
        others = [Thread(target=picture.change, args=(f"text {number}",)) for _ in range(4)]
        for each in others:
            each.start()
        for each in others:
            each.join()
        wait_until(lambda before=draws: picture.draws > before, "another frame")
    wait_until(lambda: changed_by, "a frame that was sent")
    assert changed_by == {shown._name}


def test_what_a_saved_notebook_shows_catches_up(
    page: Page, picture: Drawing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The saved frame is renewed also when the last change came soon after the first frame."""
    monkeypatch.setattr(Panel, "_start", lambda _: None)
    found = Panel(picture)
    found._ipython_display_()
    picture.text = "ready"
    found._send(found._drawn_frame(), found._shown_at)
    assert "one" in page.kept(found)["text/plain"]
    found._saved_at -= 60
    found._send(found._drawn_frame(), found._shown_at)
    assert "ready" in page.kept(found)["text/plain"]
    found._end()


@pytest.mark.slow
def test_an_error_is_shown_and_the_panel_goes_on(
    shown: Panel, picture: Drawing, caplog: pytest.LogCaptureFixture
) -> None:
    """Escaped, and logged once; Polars' panics too, which are no Exceptions."""
    with caplog.at_level(logging.ERROR, "ktframe.widgets"):
        for error in (ValueError("<script>"), pl.exceptions.PanicException("of Rust")):
            picture.error = error
            picture.change("two")
            wait_until(lambda said=str(error): said in repr(shown), "the error to be shown")
            draws = picture.draws
            picture.change("three")
            wait_until(lambda before=draws: picture.draws > before, "another frame")
    assert len(caplog.records) == 2
    assert shown._widgets is not None
    picture.error = ValueError("<script>")
    picture.change("two")
    wait_until(lambda: "&lt;script&gt;" in shown._widgets._page.value, "the error to be shown")
    picture.error = None
    picture.change("fine again")
    wait_until(lambda: repr(shown) == "fine again", "the panel to go on")
