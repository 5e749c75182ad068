"""Stream time of a partition, and what comes too late for windows of fixed length."""

from __future__ import annotations

import polars as pl
import pytest
from support.event_streams import MEMBERS, Hopping, contents, pairs, stream

from ktframe.columns import OFFSET, PARTITION, TOMBSTONE, WINDOW, WINDOW_CLOSE_TIME, WINDOW_END
from ktframe.windows.events import EventWindows, TimeWindows
from ktframe.windows.sessions import SessionWindows
from ktframe.windows.sliding import SlidingWindows
from ktframe.windows.stream_time import with_close_time

TUMBLING = Hopping(10, 10)


def test_stream_time_is_the_greatest_time_so_far() -> None:
    """The clock of a partition is advanced by an event before it is looked at, and never goes back."""
    events = with_close_time(stream(("a", 0, 5), ("a", 1, 20), ("a", 2, 3), ("a", 3, 21)), 4)
    assert events[WINDOW_CLOSE_TIME].to_list() == [1, 16, 16, 17]


def test_an_event_without_a_time_leaves_the_clock() -> None:
    """What has no timestamp neither starts the clock nor moves it."""
    events = with_close_time(stream(("a", 0, None), ("a", 1, 20), ("a", 2, None), ("a", 3, 3)), 0)
    assert events[WINDOW_CLOSE_TIME].to_list() == [None, 20, 20, 20]


def test_each_partition_has_its_own_clock() -> None:
    """An event of one partition closes nothing in another, however their rows lie."""
    early = stream(("a", 0, 5), ("a", 1, 7))
    late = stream(("a", 2, 100), ("a", 3, 1), partition=1)
    events = with_close_time(pl.concat([late, early]).sort(OFFSET, descending=True), 0)
    clocks = {(p, o): close for p, o, close in events.select(PARTITION, OFFSET, WINDOW_CLOSE_TIME).rows()}
    assert clocks == {(0, 0): 5, (0, 1): 7, (1, 0): 100, (1, 1): 100}


def test_without_grace_nothing_closes() -> None:
    """No grace means no closing time, of the same dtype."""
    events = with_close_time(stream(("a", 0, 5)), None)
    assert events[WINDOW_CLOSE_TIME].to_list() == [None]
    assert events[WINDOW_CLOSE_TIME].dtype == pl.Int64


def test_hopping_windows_as_kafka_expires_them() -> None:
    """KStreamWindowAggregateTest.shouldLogAndMeterWhenSkippingExpiredWindow: size 10, advance 5, grace 90."""
    times = [100, 0, 1, 2, 3, 4, 5, 6, 105, 106]
    events = stream(*(("k", time, time) for time in times))
    windows = TimeWindows(Hopping(10, 5), grace_ms=90)
    # Kafka clips windows at 1970; the windows of this test's stand-in reach before it.
    late = [(value, start, end) for value, start, end in pairs(windows.late(events, ["key"])) if start >= 0]
    assert late == [(value, 0, 10) for value in range(7)]
    assert contents(windows.aggregate(events, ["key"], [MEMBERS])) == {
        (5, 15, "k"): [5, 6],
        (95, 105, "k"): [100],
        (100, 110, "k"): [100, 105, 106],
        (105, 115, "k"): [105, 106],
    }


def test_tumbling_windows_as_kafka_expires_them() -> None:
    """KStreamWindowAggregateTest.shouldLogAndMeterWhenSkippingExpiredWindowByGrace: size 10, grace 90."""
    times = [200, 100, 101, 102, 103, 104, 105, 6]
    events = stream(*(("k", time, time) for time in times))
    windows = TimeWindows(TUMBLING, grace_ms=90)
    late = [(6, 0, 10), *((value, 100, 110) for value in range(100, 106))]
    assert pairs(windows.late(events, ["key"])) == late
    assert contents(windows.aggregate(events, ["key"], [MEMBERS])) == {(200, 210, "k"): [200]}


def test_a_window_closes_when_stream_time_minus_grace_reaches_its_end() -> None:
    """KStreamWindowAggregate takes an event while windowEnd > windowCloseTime: at the end itself it is too late."""
    windows = TimeWindows(TUMBLING, grace_ms=5)
    assert pairs(windows.late(stream(("a", 0, 14), ("a", 1, 3)), [])) == []
    assert pairs(windows.late(stream(("a", 0, 15), ("a", 1, 3)), [])) == [(1, 0, 10)]


def test_tombstones_and_null_groups_are_in_time_windows() -> None:
    """To a window of fixed length an event is an event."""
    events = stream((None, 0, 3), ("a", 1, 4), (None, 2, 5)).with_columns(pl.lit(True).alias(TOMBSTONE))
    result = TimeWindows(TUMBLING).aggregate(events, ["key"], [MEMBERS])
    assert contents(result) == {(0, 10, None): [0, 2], (0, 10, "a"): [1]}


def test_rows_are_sorted_by_window_and_group() -> None:
    """The order of an aggregate's rows is that of its windows, then of its groups."""
    events = stream(("b", 0, 13), ("a", 1, 12), ("b", 2, 1), (None, 3, 11))
    result = TimeWindows(TUMBLING).aggregate(events, ["key"], [pl.len()])
    assert result["key"].to_list() == ["b", None, "a", "b"]


@pytest.mark.parametrize(
    ("windows", "final"),
    [
        (TimeWindows(TUMBLING, grace_ms=5), [True, True, False]),
        (SlidingWindows(10, grace_ms=5), [True, False, False]),
        (SessionWindows(2, grace_ms=1), [True, False, False]),
        (TimeWindows(TUMBLING), [False] * 3),
        (SlidingWindows(10), [False] * 3),
        (SessionWindows(3), [False] * 3),
    ],
)
def test_a_window_is_final_when_nothing_can_be_in_time_for_it(
    windows: EventWindows, final: list[bool]
) -> None:
    """With all partitions at 25 and grace 5 (for sessions two gaps and grace), what ended before 20 is final."""
    ends = pl.DataFrame({WINDOW: [19, 120, 221], WINDOW_END: [19, 20, 21]})
    assert windows.finals(ends, 25).to_list() == final
    assert windows.finals(ends, None).to_list() == [False] * 3
