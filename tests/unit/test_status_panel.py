"""The status panel and the dashboard: what they say in each state, and that nothing of Kafka becomes HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import polars as pl
import pytest
from support.notebook_page import page_around, threads_of
from support.waiting import wait_until

import ktframe
from ktframe import widgets
from ktframe.context.context import Context
from ktframe.errors import AuthenticationError, BrokerError, ConfigurationError, NotConnectedError
from ktframe.events import BindingState, BindingStateChanged, Events, PartitionLag, Reason
from ktframe.sync.health import BindingHealth
from ktframe.sync.history import LagHistory
from ktframe.sync.monitor import Readiness
from ktframe.sync.status import Preview, TableStatus
from ktframe.testing import FakeBroker
from ktframe.widgets.dashboard import DashboardPicture
from ktframe.widgets.status_panel import StatusPicture

EVIL = """<script>alert("1")</script>&'"""
READINESS = Readiness(
    name="orders",
    is_ready=True,
    reason=Reason.READY,
    state=BindingState.READY,
    total_lag=0,
    partitions=(PartitionLag(0, 1000, 1000),),
    data_age=65.0,
    eta=0.0,
    rate=12.0,
    progress=1.0,
    at=datetime(2026, 1, 1, tzinfo=UTC),
)
HEALTH = BindingHealth(BindingState.READY, Reason.READY, None, 0, 0, None, None)
ROWS = pl.DataFrame({"key": ["a"], "amount": [5]})


class Reader(HTMLParser):
    """Collects the text and the tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text, but for the style sheet."""
        if self.tags[-1][0] != "style" or "{" not in data:
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a person reads."""
        return " ".join(" ".join(self.words).split())


@dataclass
class Watched:
    """A table in whatever condition a test wants."""

    status: TableStatus
    head: pl.DataFrame = field(default_factory=lambda: ROWS)
    _label: str = ""
    events: Events = field(default_factory=Events)

    def __post_init__(self) -> None:
        """Begin a history; the label is the name, as it is where there are no windows."""
        self._label = self._label or self.status.name
        self.history = LagHistory(self.events)

    def readiness(self) -> Readiness:
        """Return whether the rows are complete."""
        return self.status.readiness

    def _preview(self, rows: int) -> Preview:
        """Return the condition."""
        return Preview(self.status, self.head.head(rows))

    def _recent(self, rows: int) -> Any:
        """Fail: nobody asks for this here."""
        raise NotImplementedError(rows)


def condition(**changes: Any) -> TableStatus:
    """Return the status of a table, of which some facts differ."""
    at_status = {
        name: changes.pop(name) for name in ("refused", "late", "notices", "name") if name in changes
    }
    health = replace(HEALTH, last_error=changes.pop("last_error", None))
    readiness = replace(READINESS, **changes)
    facts = {"name": "orders", "refused": 0, **at_status}
    return TableStatus(
        readiness=readiness, health=health, rows=1, conflicts=0, contested=0, sees_deletes=True, **facts
    )


def read(status: TableStatus, head: pl.DataFrame = ROWS) -> Reader:
    """Return the panel of a table as a person sees it."""
    return Reader(StatusPicture(Watched(status, head)).frame().html)


# --- states -----------------------------------------------------------------------------------------------------------


NOT_READY = {"is_ready": False, "rate": None, "eta": None, "progress": None, "data_age": None}
BEHIND = {"is_ready": False, "reason": Reason.LAGGING, "total_lag": 7}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({**NOT_READY, "state": BindingState.CREATED, "total_lag": None}, ["○ not started"]),
        (
            {
                "is_ready": False,
                "state": BindingState.RESTORING,
                "reason": Reason.RESTORING,
                "total_lag": 1500,
                "eta": 90.0,
                "progress": 0.25,
            },
            ["◔ restoring", "25%", "records to go 1,500", "time left 2 min", "rate 12/s"],
        ),
        (
            {
                **NOT_READY,
                "state": BindingState.RESTORING,
                "reason": Reason.RESTORING,
                "total_lag": None,
            },
            ["◔ restoring", "records to go unknown", "rate none", "newest record none"],
        ),
        ({}, ["● ready", "rows 1", "records to go 0", "newest record 1 min ago", "refused 0"]),
        ({**BEHIND}, ["◑ behind", "records to go 7"]),
        ({**BEHIND, "state": BindingState.LAGGING}, ["◑ behind", "records to go 7"]),
        (
            {
                **NOT_READY,
                "state": BindingState.LAGGING,
                "reason": Reason.BROKER_UNREACHABLE,
                "total_lag": None,
                "detail": "Kafka has not answered since 12:00:00 UTC",
            },
            ["↻ recovering", "records to go unknown", "Kafka has not answered since 12:00:00 UTC"],
        ),
        (
            {
                **NOT_READY,
                "state": BindingState.BACKING_OFF,
                "detail": "no broker answered",
                "hint": "check bootstrap",
                "last_error": "connection lost",
            },
            ["↻ recovering", "no broker answered", "last error: connection lost", "Hint: check bootstrap"],
        ),
        (
            {
                **NOT_READY,
                "state": BindingState.FAILED,
                "detail": "no such user",
                "hint": "check sasl.username",
            },
            ["✕ failed", "no such user", "Hint: check sasl.username"],
        ),
        ({**NOT_READY, "state": BindingState.STOPPED}, ["■ closed"]),
        ({"refused": 3}, ["refused 3", "3 records were refused"]),
        ({"late": 4}, ["4 records were late for their window: late()"]),
        ({"notices": ("2 offsets of partition 0 were lost",)}, ["2 offsets of partition 0 were lost"]),
    ],
)
def test_each_state_is_told_in_words(changes: dict[str, Any], said: list[str]) -> None:
    """A state is shown in words as well as by a colour, and an unknown number is not shown as zero."""
    text = read(condition(**changes)).text
    assert [part for part in said if part not in text] == []


def test_a_bar_shows_only_while_something_is_loaded() -> None:
    """A moving one where the share is not known."""

    def bar(**changes: Any) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in read(condition(**changes)).tags if tag == "progress"]

    assert bar(is_ready=False, state=BindingState.RESTORING, progress=0.5) == [{"value": "0.500"}]
    assert bar(is_ready=False, state=BindingState.RESTORING, progress=None) == [{}]
    for state in (BindingState.CREATED, BindingState.FAILED, BindingState.STOPPED):
        assert bar(is_ready=False, state=state) == []
    assert bar() == []


def test_an_error_that_is_over_is_no_news() -> None:
    """A ready table shows no error that it has recovered from."""
    assert "connection lost" not in read(condition(last_error="connection lost")).text


def test_a_closed_table_is_the_last_frame() -> None:
    """A frame is the last one when its table is closed, and in no other state."""
    last = {
        state: StatusPicture(Watched(condition(is_ready=False, state=state))).frame().is_last
        for state in BindingState
    }
    assert [state for state, is_last in last.items() if is_last] == [BindingState.STOPPED]


@pytest.mark.parametrize(
    "place", ["name", "detail", "hint", "last_error", "notices", "column", "value", "list"]
)
def test_nothing_of_kafka_becomes_html(place: str) -> None:
    """Topics, errors, hints, notices, columns and values are text, in the page of a table and in that of all."""
    head = {"column": pl.DataFrame({EVIL: [1]}), "value": pl.DataFrame({"x": [EVIL]})}.get(place, ROWS)
    head = pl.DataFrame({"x": [[EVIL]]}) if place == "list" else head
    changes: dict[str, Any] = {"is_ready": False, "state": BindingState.BACKING_OFF}
    if place in ("name", "detail", "hint", "last_error"):
        changes[place] = EVIL
    if place == "notices":
        changes[place] = (EVIL,)
    watched = Watched(condition(**changes), head)
    frames = [StatusPicture(watched).frame(), overview_of(watched).frame()]
    for frame in frames:
        assert "<script" not in frame.html
        assert {tag for tag, _ in Reader(frame.html).tags} <= {
            *("style", "div", "span", "b", "br", "progress", "small"),
            *("table", "thead", "tbody", "tr", "th", "td"),
        }
    if place != "list":  # in a list it is shown as Polars prints it, with its quotes
        assert html.escape(EVIL) in frames[0].html


def test_dollars_are_not_set_as_formulas() -> None:
    """A notebook, and a page that is exported from it, leave these classes alone."""
    found = read(condition(), pl.DataFrame({"price": ["$5 to $6"]}))
    boxes = [attrs.get("class") or "" for _, attrs in found.tags]
    assert [box.split() for box in boxes if "ktf" in box.split()] == [
        ["ktf", "mathjax_ignore", "tex2jax_ignore"]
    ]
    assert "$5 to $6" in found.text


@dataclass
class Connection:
    """A connection that follows what a test wants."""

    everything: list[Any]
    is_closed: bool = False

    def materialized(self) -> list[Any]:
        """Return what it follows."""
        return self.everything


def overview_of(*everything: Watched) -> DashboardPicture:
    """Return the dashboard of a connection."""
    return DashboardPicture(Connection(list(everything)))


def test_the_dashboard_has_a_line_for_each() -> None:
    """Each line says why its table is not ready; a table that was not started has no numbers."""
    frame = overview_of(
        Watched(condition()),
        Watched(condition(name="users", is_ready=False, state=BindingState.FAILED, hint="ask an admin")),
        Watched(condition(**{**NOT_READY, "name": "clicks", "state": BindingState.CREATED})),
    ).frame()
    text = Reader(frame.html).text
    assert "● ready orders 1 0 1 min ago 12/s 0" in text
    assert "✕ failed users 1 0 1 min ago 12/s 0 ask an admin" in text
    assert text.endswith("○ not started clicks")


def test_the_dashboard_follows_what_is_asked_for_later_and_forgets_what_is_gone() -> None:
    """A table that is opened again and again is followed once."""
    connection, woken = Connection([]), []
    overview = DashboardPicture(connection)
    end = overview.watch(lambda: woken.append(1))
    assert "nothing is followed yet" in overview.frame().text
    events = []
    for _ in range(20):
        watched = Watched(condition())
        events.append(watched.events)
        connection.everything = [watched]
        overview.frame()
    assert len(overview._ends) == 1
    subscribed = [len(each._callbacks[BindingStateChanged]) for each in events]
    assert subscribed == [1] * 19 + [2]  # the history's own, and the dashboard's
    end()
    assert len(events[-1]._callbacks[BindingStateChanged]) == 1


# --- of tables --------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with one topic."""
    broker = FakeBroker()
    broker.produce("orders", EVIL, {"x": EVIL, EVIL: 1})
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as kt:
        yield kt


def test_a_table_in_a_cell_starts_nothing(
    kt: Context, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a panel of a table nor a dashboard starts reading."""
    page = page_around(monkeypatch)
    table = kt.table("orders")
    table._ipython_display_()
    overview = widgets.dashboard(kt)
    overview._ipython_display_()
    assert "not started" in str(page.outputs)
    assert (broker.assigned, repr(table)) == ([], "KTable('orders', not started)")
    table.wait_until_ready(progress=False)
    wait_until(lambda: "1 row" in repr(overview), "the dashboard to tell")
    kt.close()
    wait_until(lambda: not threads_of(overview), "its thread to end")


def test_a_panel_of_a_hostile_topic_is_text(kt: Context) -> None:
    """A key, a field's name and a value from Kafka."""
    table = kt.table("orders")
    table.wait_until_ready(progress=False)
    frame = StatusPicture(table).frame()
    assert "<script" not in frame.html
    assert frame.html.count(html.escape(EVIL)) == 3


def test_a_table_says_why_it_does_not_come(kt: Context, broker: FakeBroker) -> None:
    """An outage is recovered from, a refusal is not; both are told with what helps."""
    table = kt.table("orders")
    table.wait_until_ready(progress=False)
    broker.go_down(BrokerError("fake:9092", "the plug was pulled"))
    picture = StatusPicture(table)
    wait_until(lambda: "recovering" in picture.frame().html, "the panel to tell")
    assert "the plug was pulled" in picture.frame().html
    broker.come_back()
    table.wait_until_ready(progress=False)
    assert "● ready" in picture.frame().html
    broker.fail_next(AuthenticationError("fake:9092", "no such user"))
    wait_until(lambda: "✕ failed" in picture.frame().html, "the panel to tell")
    assert "no such user" in picture.frame().html


@pytest.mark.slow
@pytest.mark.parametrize("is_callback", [False, True])
@pytest.mark.parametrize("close", ["table", "context"])
def test_closing_what_is_shown_ends_its_panels(
    kt: Context, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, close: str, *, is_callback: bool
) -> None:
    """Whichever picture, and also where a callback of the table closes it: their last frames stay."""
    page = page_around(monkeypatch)
    table = kt.table("orders")
    table.wait_until_ready(progress=False)
    shown = [widgets.status(table), widgets.lag_chart(table), widgets.live(table)]
    for each in shown:
        each._ipython_display_()
    closed: Any = table if close == "table" else kt
    if is_callback:
        table.on_change(lambda _: closed.close())
        broker.produce("orders", "another", {"x": "y"})
    else:
        closed.close()
    for each in shown:
        wait_until(
            lambda panel=each: panel.is_closed and not threads_of(panel), "its thread to end", timeout=60
        )
        assert "no longer live" in page.kept(each)["text/plain"]
        assert "Error" not in page.kept(each)["text/plain"]


def test_wrong_arguments_are_refused_at_once(kt: Context) -> None:
    """The call raises, with a hint at what would be right."""
    table = kt.table("orders")
    for rows in (0, 201):
        with pytest.raises(ConfigurationError, match=rf"rows={rows} can't be shown(?s:.*)1 to 200"):
            widgets.live(table, rows=rows)
    with pytest.raises(ConfigurationError, match="every"):
        widgets.live(table, every="fast")
    with pytest.raises(ConfigurationError, match="window"):
        widgets.lag_chart(table, window="long")
    assert repr(table) == "KTable('orders', not started)"


def test_a_dashboard_needs_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to make one."""
    monkeypatch.setattr(ktframe.current.CURRENT, "connection", None)
    with pytest.raises(NotConnectedError):
        widgets.dashboard()
