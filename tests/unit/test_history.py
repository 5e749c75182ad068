"""The history of a table: what was measured, what happened, what is kept of it, and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread

import polars as pl
import pytest
from support.waiting import wait_until

from ktframe import widgets
from ktframe.context.context import Context
from ktframe.errors import AuthenticationError, BrokerError
from ktframe.events import (
    BindingState,
    BindingStateChanged,
    Events,
    LagUpdated,
    PartitionLag,
    ReadyChanged,
    Reason,
    RowsChanged,
    TableRebuilt,
)
from ktframe.sync import history
from ktframe.sync.history import LagHistory, ReadySpan
from ktframe.testing import FakeBroker
from ktframe.widgets.figure import Chart
from ktframe.widgets.lag_chart import draw_lag, summary

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
SCHEMA = {"at": pl.Datetime("ms", "UTC"), "partition": pl.Int32(), "lag": pl.Int64()}


def at(seconds: float) -> datetime:
    """Return a moment after the beginning."""
    return BEGAN + timedelta(seconds=seconds)


def measured(seconds: float, *lags: int | None, end: int = 1000) -> LagUpdated:
    """Return a measurement: the lag of each partition, None where its end is unknown."""
    parts = (
        PartitionLag(p, 0 if lag is None else end - lag, None if lag is None else end)
        for p, lag in enumerate(lags)
    )
    return LagUpdated(sum(lag or 0 for lag in lags), None, tuple(parts), at(seconds))


def entered(
    seconds: float, old: BindingState, new: BindingState, error: str | None = None
) -> BindingStateChanged:
    """Return a step from one state to another."""
    return BindingStateChanged(old, new, Reason.ERROR, error, at(seconds))


def started(events: Events) -> LagHistory:
    """Return the history of a table that began to restore at 0 seconds."""
    found = LagHistory(events)
    events.emit(entered(0, BindingState.CREATED, BindingState.RESTORING))
    return found


def ready(seconds: float, *, is_ready: bool = True) -> ReadyChanged:
    """Return that a table became ready, or fell behind."""
    return ReadyChanged(is_ready, Reason.READY if is_ready else Reason.LAGGING, 0, at(seconds))


@pytest.fixture
def events() -> Events:
    """Return what tells a history."""
    return Events()


# --- what is noted ----------------------------------------------------------------------------------------------------


def test_measurements_are_a_frame(events: Events) -> None:
    """A row per moment and partition; a partition whose end is unknown has none, and since= leaves out older ones."""
    found = started(events)
    assert dict(found.frame().schema) == SCHEMA
    assert found.frame().height == 0
    events.emit(measured(1, 5, None, 7))
    events.emit(measured(2, 4, 1, 0))
    assert found.frame().rows() == [(at(1), 0, 5), (at(1), 2, 7), (at(2), 0, 4), (at(2), 1, 1), (at(2), 2, 0)]
    assert found.frame(since=at(1.5))["at"].unique().to_list() == [at(2)]
    assert dict(found.frame(since=at(99)).schema) == SCHEMA


def test_two_measurements_of_one_millisecond_are_not_added_up(events: Events) -> None:
    """The later one stands: a chart sums what has one time."""
    found = started(events)
    events.emit(measured(1, 5))
    events.emit(measured(1.0004, 9))
    assert found.frame().rows() == [(at(1), 0, 9)]


def test_a_restore_is_seen_between_two_measurements(events: Events) -> None:
    """Batches come closer to the end that was measured last, twice a second at most."""
    found = started(events)
    events.emit(measured(1, 1000))
    for seconds, position in [(1.1, 100), (1.6, 400), (1.9, 500), (2.2, 900)]:
        events.emit(RowsChanged(1, {0: position}, at(seconds)))
    assert found.frame().select("at", "lag").rows() == [(at(1), 1000), (at(1.6), 600), (at(2.2), 100)]


def test_becoming_ready_is_a_measurement(events: Events) -> None:
    """What a table is ready by, its monitor has just compared: the line goes down where the shade turns green."""
    history = started(events)
    events.emit(measured(1, 500, 20))
    events.emit(ready(3))
    assert history.frame().rows() == [(at(1), 0, 500), (at(1), 1, 20), (at(3), 0, 0), (at(3), 1, 0)]


def test_what_is_not_known_is_not_noted_as_zero(events: Events) -> None:
    """Past the end that was measured last there may be more; of a table that is ready nothing is made up either."""
    found = started(events)
    events.emit(measured(1, 10))
    events.emit(RowsChanged(1, {0: 1000}, at(2)))
    events.emit(ready(3))
    events.emit(measured(4, 10))
    events.emit(RowsChanged(1, {0: 995}, at(5)))
    assert found.frame()["lag"].to_list() == [10, 0, 10]  # the zero is what it became ready by


def test_the_ends_of_a_topic_that_is_gone_count_for_nothing(events: Events) -> None:
    """After a rebuild the next measurement says how far it is, not the ends of the old log."""
    found = started(events)
    events.emit(measured(1, 10))
    events.emit(TableRebuilt({0: "the topic was recreated"}, at(2)))
    events.emit(RowsChanged(1, {0: 3}, at(3)))
    assert found.frame()["lag"].to_list() == [10]
    assert [(each.kind, each.detail) for each in found.incidents()] == [
        ("rebuilt", "the topic was recreated")
    ]


def test_spans_tell_when_it_was_ready(events: Events) -> None:
    """From its start on; the last one is open until the table is closed."""
    found = LagHistory(events)
    assert found.spans() == []
    events.emit(entered(0, BindingState.CREATED, BindingState.RESTORING))
    events.emit(ready(2))
    events.emit(ready(5, is_ready=False))
    assert found.spans() == [
        ReadySpan(at(0), at(2), False),
        ReadySpan(at(2), at(5), True),
        ReadySpan(at(5), None, False),
    ]
    events.emit(ready(6))
    events.emit(entered(9, BindingState.READY, BindingState.STOPPED))
    assert found.spans()[-1] == ReadySpan(at(6), at(9), True)


def test_memory_is_bounded(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    """The history keeps a bounded number of measurements, of numbers per measurement, and of incidents."""
    monkeypatch.setattr(history, "_MOST_SAMPLES", 10)
    monkeypatch.setattr(history, "_MOST_NUMBERS", 50)
    found = started(events)
    for second in range(30):
        events.emit(measured(second, 1, 2))
    assert found.frame()["at"].unique(maintain_order=True).to_list() == [
        at(second) for second in range(20, 30)
    ]
    for second in range(30, 33):
        events.emit(measured(second, *range(20)))
    assert found.frame().group_by("at", maintain_order=True).len().rows() == [(at(31), 20), (at(32), 20)]
    events.emit(measured(33, *range(200)))
    assert found.frame().height == 200  # the newest one stays, however many partitions there are
    for second in range(600):
        events.emit(entered(second, BindingState.READY, BindingState.BACKING_OFF, f"error {second}"))
        events.emit(ready(second))
    assert len(found.incidents()) == len(found.spans()) == 500
    assert found.incidents()[-1].detail == "error 599"


def test_any_thread_may_ask_while_events_come(events: Events) -> None:
    """Every answer is whole: each moment has all its partitions."""
    found = started(events)

    def emit() -> None:
        for number in range(2_000):
            events.emit(measured(number, 1, 2, 3))

    thread = Thread(target=emit)
    thread.start()
    while thread.is_alive():
        lengths = found.frame().group_by("at").len()["len"].unique().to_list()
        assert lengths in ([], [3])
    thread.join()
    assert found.frame().height == 6_000


# --- a table's ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with a topic of two partitions."""
    broker = FakeBroker()
    broker.create_topic("orders", 2)
    for number in range(20):
        broker.produce("orders", f"k{number}", {"x": number}, partition=number % 2)
    return broker


@pytest.fixture
def kt(broker: FakeBroker) -> Iterator[Context]:
    """Yield a connection to the broker."""
    with broker.connect() as kt:
        yield kt


def test_a_recreated_topic_is_an_incident(kt: Context, broker: FakeBroker) -> None:
    """The table was rebuilt, and the history says so."""
    table = kt.table("orders")
    assert table.history.spans() == []
    assert len(table) == 20
    broker.delete_topic("orders")
    broker.create_topic("orders", 2)
    broker.produce("orders", "k", {"x": 1})
    assert len(table) == 1
    kinds = wait_until(lambda: [each.kind for each in table.history.incidents()], "the history to tell")
    assert "rebuilt" in kinds


def test_an_outage_is_an_incident(kt: Context, broker: FakeBroker) -> None:
    """An outage is kept with its error and a span that was not ready, and a chart marks it."""
    table = kt.table("orders")
    table.wait_until_ready(progress=False)
    broker.go_down(BrokerError("fake:9092", "the plug was pulled"))
    happened = wait_until(table.history.incidents, "the history to tell")
    assert happened[0].kind == "backing_off"
    assert "the plug was pulled" in happened[0].detail
    broker.come_back()
    table.wait_until_ready(progress=False)
    assert [span.is_ready for span in table.history.spans()][:3] == [False, True, False]
    chart = widgets.plot_lag(table)
    assert isinstance(chart, Chart)
    assert "recovering" in [text.get_text() for text in chart.axes[0].texts]
    assert chart.png().startswith(b"\x89PNG")


def test_a_failure_is_an_incident(kt: Context, broker: FakeBroker) -> None:
    """A failure that no retry helps is kept as an incident."""
    table = kt.table("orders")
    broker.fail_next(AuthenticationError("fake:9092", "no such user"))
    table.readiness()
    happened = wait_until(table.history.incidents, "the history to tell")
    assert (happened[0].kind, table.readiness().state) == ("failed", BindingState.FAILED)


def test_a_closed_table_was_ready_until_then(kt: Context) -> None:
    """Its last span ends, and can still be drawn."""
    table = kt.table("orders")
    table.wait_until_ready(progress=False)
    table.close()
    assert all(span.end is not None for span in table.history.spans())
    assert isinstance(table.plot_lag(), Chart)


# --- drawn --------------------------------------------------------------------------------------------------------------


def test_an_empty_history_is_an_empty_chart(events: Events) -> None:
    """It has axes, a title that is not read as mathematics, and words for those who can't see it."""
    chart = Chart()
    total = draw_lag(chart.axes[0], LagHistory(events), "a $b$ topic", None, at(100))
    assert (total.columns, total.height) == (["at", "lag"], 0)
    assert summary(total) == "nothing was measured in this time"
    assert chart.axes[0].get_title(loc="left") == "a $b$ topic: records to go"
    assert chart.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(("partitions", "lines"), [(1, 1), (2, 3), (6, 7), (20, 7)])
def test_partitions_furthest_behind_have_lines(events: Events, partitions: int, lines: int) -> None:
    """The total is drawn always, of many partitions the six with most lag, of one nothing beside the total."""
    found = started(events)
    for second in range(3):
        events.emit(measured(second, *(10 * (3 - second) + p for p in range(partitions))))
    chart = Chart()
    total = draw_lag(chart.axes[0], found, "orders", None, at(3))
    drawn = chart.axes[0].get_lines()
    assert len(drawn) == lines
    assert total["lag"].to_list() == [
        sum(10 * (3 - second) + p for p in range(partitions)) for second in range(3)
    ]
    assert drawn[0].get_ydata().tolist() == total["lag"].to_list()
    if partitions == 20:
        assert [line.get_label() for line in drawn[1:]] == [f"partition {p}" for p in range(14, 20)]
    assert summary(total).startswith(f"{total['lag'][-1]:,} to go at the last of 3 measurements, at most ")
    assert chart.png().startswith(b"\x89PNG")


def test_plot_lag_draws_on_axes_of_the_user(kt: Context) -> None:
    """It returns the axes that it was given."""
    table = kt.table("orders")
    table.wait_until_ready(progress=False)
    wait_until(lambda: table.history.frame().height, "a measurement")
    ax = Chart().axes[0]
    assert table.plot_lag(ax) is ax
    assert ax.get_title(loc="left") == "orders: records to go"
    assert ax.get_ylim()[0] == 0


def test_marks_far_outside_are_not_drawn(events: Events) -> None:
    """A chart draws only the marks within its own time."""
    found = started(events)
    events.emit(entered(1, BindingState.READY, BindingState.BACKING_OFF, "x"))
    events.emit(measured(5_000, 1))
    chart = Chart()
    draw_lag(chart.axes[0], found, "orders", at(4_990), at(5_000))
    assert [text.get_text() for text in chart.axes[0].texts] == []
    first, last = chart.axes[0].get_xlim()
    assert (last - first) * 86_400 == pytest.approx(10, abs=0.01)


def test_a_chart_that_is_drawn_again_keeps_its_size(events: Events) -> None:
    """With twenty partitions, frame after frame, the legend takes no room from the lines."""
    found = started(events)
    for second in range(3):
        events.emit(measured(second, *(1_000 + p for p in range(20)), end=9_999))
    chart, widths = Chart(), []
    for _ in range(4):
        ax = chart.again()
        draw_lag(ax, found, "orders", None, at(3))
        chart.png()
        widths.append(ax.get_position().width)
    assert min(widths) > 0.85


def test_a_table_that_falters_for_hours_is_drawn_fast(events: Events) -> None:
    """Marks and shades that nobody could tell apart are one; what was not ready in between stays not ready."""
    found = started(events)
    for second in range(0, 2_000, 5):
        events.emit(ready(second, is_ready=second % 10 == 0))
        events.emit(entered(second, BindingState.READY, BindingState.BACKING_OFF, "x"))
    events.emit(ready(2_001))
    chart = Chart()
    draw_lag(chart.axes[0], found, "orders", None, at(3_000))
    assert 10 <= len(chart.axes[0].texts) <= 26
    shades = chart.axes[0].patches
    assert len(shades) == 2
    assert [patch.get_hatch() for patch in shades] == ["///", ""]
