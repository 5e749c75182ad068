"""Readiness and lag from positions, ends and a clock that stands still, and from whether Kafka answers."""

from __future__ import annotations

import pytest

from ktframe.events import BindingState, Event, Events, LagUpdated, ReadyChanged, Reason
from ktframe.sync.monitor import HYSTERESIS_CHECKS, Readiness, ReadyMonitor
from ktframe.sync.progress import describe
from ktframe.sync.sight import Sight
from ktframe.testing import ManualClock

RESTORING, READY = BindingState.RESTORING, BindingState.READY
INTERVAL = 5.0
SILENCE = (Reason.BROKER_UNREACHABLE, "no answer", "check the network")


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that the test turns."""
    return ManualClock()


@pytest.fixture
def seen() -> list[Event]:
    """Return the list into which events go."""
    return []


@pytest.fixture
def monitor(clock: ManualClock, seen: list[Event]) -> ReadyMonitor:
    """Return a monitor whose events are collected."""
    events = Events()
    events.subscribe(ReadyChanged, seen.append)
    events.subscribe(LagUpdated, seen.append)
    return ReadyMonitor("orders", events, clock, interval=lambda: INTERVAL)


def test_an_empty_topic_is_ready_at_once(monitor: ReadyMonitor) -> None:
    """Nothing is waited for where a partition ends where it starts, at zero or beyond."""
    monitor.begin({0: 0, 1: 7}, {0: 0, 1: 7})
    assert monitor.is_ready


def test_every_partition_counts(monitor: ReadyMonitor) -> None:
    """One partition short of its end keeps the table unready; each is measured against its own end."""
    monitor.begin({0: 0, 1: 0}, {0: 2, 1: 5})
    monitor.observe({0: 2, 1: 4})
    assert (monitor.is_ready, monitor.behind()) == (False, (1,))
    monitor.observe({1: 5})
    assert (monitor.is_ready, monitor.behind()) == (True, ())


def test_a_position_advanced_by_an_end_of_partition_counts(monitor: ReadyMonitor) -> None:
    """No record need be seen: a marker's offset passes like any other."""
    monitor.begin({0: 3}, {0: 4})
    monitor.observe({0: 4})
    assert monitor.is_ready


def test_becoming_ready_is_told_once(monitor: ReadyMonitor, seen: list[Event]) -> None:
    """ReadyChanged comes when readiness changes, not with every batch."""
    monitor.begin({0: 0}, {0: 1})
    for position in (1, 2, 3):
        monitor.observe({0: position})
    assert [(event.is_ready, event.reason) for event in seen if isinstance(event, ReadyChanged)] == [
        (True, Reason.READY)
    ]


def test_a_busy_topic_stays_ready(monitor: ReadyMonitor) -> None:
    """Some offsets to go at every check are no reason to call a table unready that keeps up."""
    monitor.begin({0: 0}, {0: 0})
    for check in range(1, 20):
        monitor.check({0: check * 1000})
        assert monitor.is_ready
        monitor.observe({0: check * 1000 - 1})


def test_falling_behind_makes_unready_and_catching_up_ready_again(
    monitor: ReadyMonitor, seen: list[Event]
) -> None:
    """What was there some checks ago and still is not applied makes the table unready; passing the end heals it."""
    monitor.begin({0: 0}, {0: 0})
    for _ in range(HYSTERESIS_CHECKS):
        monitor.check({0: 10})
        assert monitor.is_ready
    monitor.check({0: 12})
    assert not monitor.is_ready
    monitor.observe({0: 11})
    assert not monitor.is_ready
    monitor.observe({0: 12})
    assert monitor.is_ready
    changes = [event for event in seen if isinstance(event, ReadyChanged)]
    assert [(e.is_ready, e.reason, e.total_lag) for e in changes] == [
        (True, Reason.READY, 0),
        (False, Reason.LAGGING, 12),
        (True, Reason.READY, 0),
    ]


def test_lag_is_told_with_its_parts_and_its_predecessor(monitor: ReadyMonitor, seen: list[Event]) -> None:
    """LagUpdated carries total, previous total and each partition; no lag is below zero."""
    monitor.begin({0: 0, 1: 5}, {0: 4, 1: 5})
    monitor.check({0: 4, 1: 3})
    monitor.observe({0: 3})
    monitor.check({0: 4, 1: 3})
    first, second = (event for event in seen if isinstance(event, LagUpdated))
    assert (first.total, first.previous, second.total, second.previous) == (4, None, 1, 4)
    assert [(lag.partition, lag.position, lag.end, lag.lag) for lag in second.partitions] == [
        (0, 3, 4, 1),
        (1, 5, 3, 0),
    ]


def test_rate_and_eta_come_from_the_last_seconds(monitor: ReadyMonitor, clock: ManualClock) -> None:
    """A thousand offsets in two seconds, three thousand to go: six seconds."""
    monitor.begin({0: 0}, {0: 4000})
    monitor.observe({0: 0})
    clock.advance(2)
    monitor.observe({0: 1000})
    readiness = monitor.readiness(RESTORING)
    assert (readiness.rate, readiness.eta, readiness.progress, readiness.total_lag) == (
        500.0,
        6.0,
        0.25,
        3000,
    )
    assert describe(readiness) == "orders: restoring, 25%, 3,000 to go, 500/s, about 6 s left"


def test_what_is_unknown_is_none(monitor: ReadyMonitor) -> None:
    """Before reading begins there is no lag, age, rate or time left, and none is invented."""
    readiness = monitor.readiness(BindingState.CREATED)
    unknown = (readiness.data_age, readiness.eta, readiness.rate, readiness.progress)
    assert (readiness.is_ready, readiness.reason, unknown) == (False, Reason.NOT_STARTED, (None,) * 4)


def test_data_age_is_measured_against_the_newest_timestamp(monitor: ReadyMonitor, clock: ManualClock) -> None:
    """The age is wall time minus the newest record's timestamp, whatever the lag."""
    monitor.begin({0: 0}, {0: 0})
    monitor.observe({0: 1}, newest=int(clock.now().timestamp() * 1000) - 1500)
    monitor.observe({0: 2}, newest=0)
    clock.advance(1)
    assert monitor.readiness(READY).data_age == pytest.approx(2.5)


def test_stopping_to_read_is_unready(monitor: ReadyMonitor, seen: list[Event]) -> None:
    """A suspended table is not ready, with the reason it was suspended for."""
    monitor.begin({0: 0}, {0: 0})
    monitor.suspend(Reason.BROKER_UNREACHABLE)
    assert (monitor.is_ready, seen[-1].reason) == (False, Reason.BROKER_UNREACHABLE)


def test_a_readiness_is_true_when_ready(monitor: ReadyMonitor) -> None:
    """``if table.readiness():`` says what it seems to say, and its text names the reason."""
    assert not monitor.readiness(BindingState.CREATED)
    monitor.begin({0: 0}, {0: 0})
    readiness: Readiness = monitor.readiness(READY)
    assert readiness
    assert str(readiness) == "orders: READY (0 offsets behind)"


def test_the_rate_of_a_topic_that_went_quiet_is_none(monitor: ReadyMonitor, clock: ManualClock) -> None:
    """A rate is of the last ten seconds: without a record in these there is none, and no time left follows from it."""
    monitor.begin({0: 0}, {0: 5_000})
    monitor.observe({0: 1_000})
    clock.advance(1)
    monitor.observe({0: 2_000})
    assert monitor.readiness(RESTORING).rate == 1_000
    clock.advance(11)
    found = monitor.readiness(RESTORING)
    assert (found.rate, found.eta) == (None, None)


# --- Kafka does not answer ----------------------------------------------------------------------------------------------


def told(seen: list[Event]) -> list[tuple[bool | None, Reason | None, int | None]]:
    """Return readiness, reason and total lag of each event; the first two are None for one of the lag."""
    return [
        (event.is_ready, event.reason, event.total_lag)
        if isinstance(event, ReadyChanged)
        else (None, None, event.total if isinstance(event, LagUpdated) else -1)
        for event in seen
    ]


def test_without_an_answer_nothing_is_known(
    monitor: ReadyMonitor, clock: ManualClock, seen: list[Event]
) -> None:
    """A question that got no answer makes the lag unknown and the table not ready; the next answer ends that."""
    monitor.begin({0: 3}, {0: 3})
    monitor.check({0: 3})
    clock.advance(INTERVAL)
    for _ in range(3):
        monitor.lose_sight(SILENCE)
        monitor.expire()
    found = monitor.readiness(READY)
    unknown = (found.total_lag, found.eta, found.progress, [each.lag for each in found.partitions])
    assert unknown == (None, None, None, [None])
    assert (found.is_ready, found.reason, found.condition) == (
        False,
        Reason.BROKER_UNREACHABLE,
        "recovering",
    )
    assert (found.detail, found.hint) == (
        "Kafka has not answered since 2026-01-01 00:00:00 UTC",
        "check the network",
    )
    monitor.check({0: 3})
    found = monitor.readiness(BindingState.LAGGING)  # its thread has not noticed yet
    assert (found.is_ready, found.state, found.total_lag, found.eta) == (True, READY, 0, 0.0)
    assert told(seen) == [
        (True, Reason.READY, 0),
        (None, None, 0),
        (False, Reason.BROKER_UNREACHABLE, None),
        (None, None, None),
        (True, Reason.READY, 0),
        (None, None, 0),
    ]
    lags = [event for event in seen if isinstance(event, LagUpdated)]
    assert [event.total for event in lags[:-1]] == [event.previous for event in lags[1:]]


def test_what_came_meanwhile_is_waited_for(monitor: ReadyMonitor) -> None:
    """When Kafka answers again the table is ready once everything is applied that was there then."""
    monitor.begin({0: 3}, {0: 3})
    monitor.lose_sight(SILENCE)
    monitor.observe({0: 4})
    assert not monitor.is_ready
    monitor.see({0: 9})
    found = monitor.readiness(BindingState.LAGGING)
    assert (found.is_ready, found.reason, found.total_lag) == (False, Reason.LAGGING, 5)
    monitor.observe({0: 9})
    assert monitor.is_ready


@pytest.mark.parametrize("clocks", ["both", "wall"])
def test_old_news_is_not_believed(
    monitor: ReadyMonitor, clock: ManualClock, seen: list[Event], clocks: str
) -> None:
    """After three intervals by either clock nobody is told "ready", though nobody has said that Kafka is silent."""
    monitor.begin({0: 3}, {0: 3})
    clock.advance(3 * INTERVAL)
    assert monitor.readiness(READY).is_ready
    clock.advance(0.1) if clocks == "both" else clock.sleep(0.1)
    found = monitor.readiness(READY)
    assert (found.is_ready, found.state, found.total_lag) == (False, BindingState.LAGGING, None)
    assert found.reason is Reason.BROKER_UNREACHABLE
    assert (monitor.is_ready, len(seen)) == (False, 1)
    for _ in range(3):
        monitor.expire()
    monitor.lose_sight(SILENCE)
    assert told(seen)[1:] == [(False, Reason.BROKER_UNREACHABLE, None), (None, None, None)]
    monitor.see({0: 3})
    assert (monitor.is_ready, told(seen)[3:]) == (True, [(True, Reason.READY, 0)])


def test_whatever_follows_an_outage_tells_of_it_first(
    monitor: ReadyMonitor, clock: ManualClock, seen: list[Event]
) -> None:
    """News that is old is told as such, whether an answer comes next or the topic has to be opened again."""
    monitor.begin({0: 3}, {0: 3})
    clock.advance(3 * INTERVAL + 0.1)
    monitor.see({0: 3})
    clock.advance(3 * INTERVAL + 0.1)
    monitor.suspend(Reason.RESTORING)
    clock.advance(3 * INTERVAL + 0.1)
    monitor.begin({0: 3}, {0: 3})
    changes = [event for event in seen if isinstance(event, ReadyChanged)]
    unreachable, ready = (False, Reason.BROKER_UNREACHABLE), (True, Reason.READY)
    assert [(event.is_ready, event.reason) for event in changes] == [
        ready,
        unreachable,
        ready,
        unreachable,
        ready,
    ]


def test_slow_answers_are_answers(monitor: ReadyMonitor, clock: ManualClock, seen: list[Event]) -> None:
    """A table stays ready while every answer takes twice as long as the time between two questions."""
    monitor.begin({0: 3}, {0: 3})
    for _ in range(5):
        asked = clock.monotonic()
        for _ in range(20):
            clock.advance(INTERVAL / 10)
            monitor.expire()
        monitor.check({0: 3}, asked)
        clock.advance(INTERVAL)
        assert monitor.is_ready
    assert [event for event in seen if isinstance(event, ReadyChanged) and not event.is_ready] == []


def test_a_shorter_interval_makes_no_news_old(clock: ManualClock) -> None:
    """The news of a minute ago is not old because the next will come sooner; nor does a longer interval make it old."""
    intervals = [60.0]
    monitor = ReadyMonitor("orders", Events(), clock, interval=lambda: intervals[-1])
    monitor.begin({0: 3}, {0: 3})
    clock.advance(59)
    intervals.append(1.0)
    assert monitor.is_ready
    monitor.check({0: 3})
    clock.advance(2)
    intervals.append(60.0)
    clock.advance(59)
    assert monitor.is_ready


def test_a_late_refusal_does_not_hide_a_newer_answer(monitor: ReadyMonitor, clock: ManualClock) -> None:
    """A question that hung until Kafka had answered another one says nothing."""
    monitor.begin({0: 3}, {0: 3})
    asked = clock.monotonic()
    clock.advance(1)
    monitor.check({0: 3})
    monitor.lose_sight(SILENCE, asked)
    assert monitor.is_ready


def test_a_loss_before_the_first_check_is_a_change(monitor: ReadyMonitor, seen: list[Event]) -> None:
    """A panel that draws when the lag changes learns that what was known since reading began is not any more."""
    monitor.begin({0: 3}, {0: 9})
    monitor.lose_sight(SILENCE)
    assert [(event.total, event.previous) for event in seen if isinstance(event, LagUpdated)] == [(None, 6)]


def test_what_was_never_known_is_no_event(monitor: ReadyMonitor, seen: list[Event]) -> None:
    """While the first answer is waited for, the reason is told to who asks, and nobody else is woken."""
    monitor.lose_sight(SILENCE)
    found = monitor.readiness(RESTORING)
    assert (found.condition, found.reason, found.detail) == (
        "recovering",
        Reason.BROKER_UNREACHABLE,
        "no answer",
    )
    assert seen == []


def test_one_slow_answer_makes_no_news_of_old(clock: ManualClock) -> None:
    """A broker that froze, answered once and froze again; where answers always take as long, they are news for longer."""
    sight = Sight(clock, lambda: 5.0)
    for took, is_news in ((30, False), (30, True)):
        asked = clock.monotonic()
        clock.advance(took)
        sight.gain(asked)
        clock.advance(20)
        assert (sight.trouble is None) == is_news


def test_what_was_stopped_stays_so(monitor: ReadyMonitor, seen: list[Event]) -> None:
    """A thread that was late to end does not say that its table is ready, nor why it is not."""
    monitor.begin({0: 0}, {0: 1})
    monitor.suspend(Reason.STOPPED)
    seen.clear()
    monitor.begin({0: 1}, {0: 1})
    monitor.suspend(Reason.ERROR)
    assert (monitor.is_ready, seen) == (False, [])


def test_an_answer_that_comes_after_the_end_is_no_event(
    monitor: ReadyMonitor, seen: list[Event], clock: ManualClock
) -> None:
    """Who closed a table hears nothing more of a question that was under way, answered or not, nor that its news is old."""
    monitor.begin({0: 0}, {0: 1})
    monitor.suspend(Reason.STOPPED)
    seen.clear()
    monitor.check({0: 2})
    monitor.lose_sight(SILENCE)
    clock.advance(10 * INTERVAL)
    monitor.expire()
    assert seen == []
