"""Sliding windows against the examples of Kafka Streams; where it emits updates, its last value per window."""

from __future__ import annotations

from string import ascii_uppercase, digits

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.event_streams import MEMBERS, contents, pairs, stream, windows

from ktframe.columns import TIMESTAMP, TOMBSTONE, WINDOW, WINDOW_END
from ktframe.windows.sliding import SlidingWindows

BY = ["key"]


def test_small_input_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.testAggregateSmallInput: difference 10, grace 5."""
    times = [10, 10, 14, 15, 20, 22, 30]
    events = stream(*(("A", number, time) for number, time in enumerate(times, 1)))
    expected = [
        (0, [1, 2]),
        (4, [1, 2, 3]),
        (5, [1, 2, 3, 4]),
        (10, [1, 2, 3, 4, 5]),
        (11, [3, 4, 5]),
        (12, [3, 4, 5, 6]),
        (15, [4, 5, 6]),
        (16, [5, 6]),
        (20, [5, 6, 7]),
        (21, [6, 7]),
        (23, [7]),
    ]
    sliding = SlidingWindows(10, grace_ms=5)
    result = sliding.aggregate(events, BY, [MEMBERS])
    assert contents(result) == windows(expected, 10)
    # At stream time 30 it emits these, of an inclusive end before 25, as final results.
    assert contents(result.filter(sliding.finals(result.select(WINDOW, WINDOW_END, *BY), 30))) == windows(
        expected[:6], 10
    )


def test_final_results_of_a_large_input_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.testAggregateLargeInput, difference 10, grace 10, emitted when windows close."""
    arrivals = {
        "A": [(1, 10), (2, 20), (3, 22), (4, 15)],
        "B": [(1, 12), (2, 13), (3, 18), (4, 19), (5, 25), (6, 14)],
        "C": [(1, 11), (2, 15), (3, 16), (4, 21), (5, 23)],
        "D": [(4, 11), (2, 12), (3, 29), (5, 16)],
    }
    events = stream(*((key, value, time) for key, pairs in arrivals.items() for value, time in pairs))
    sliding = SlidingWindows(10, grace_ms=10)
    result = sliding.aggregate(events, BY, [MEMBERS])
    result = result.filter(sliding.finals(result.select(WINDOW, WINDOW_END, *BY), 29))
    assert contents(result) == {
        **windows([(0, [1]), (5, [1, 4])], 10, "A"),
        **windows([(2, [1]), (3, [1, 2]), (8, [1, 2, 3, 6])], 10, "B"),
        **windows([(5, [2]), (6, [2, 3])], 10, "C"),
    }


def test_input_around_1970_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.testEarlyRecordsSmallInput: difference 50, grace 0."""
    times = [0, 5, 6, 3, 13, 10, 70]
    events = stream(*(("A", number, time) for number, time in enumerate(times, 1)))
    expected = [
        (0, [1, 2, 3, 4, 5, 6]),
        (1, [2, 3, 4, 5, 6]),
        (4, [2, 3, 5, 6]),
        (6, [3, 5, 6]),
        (7, [5, 6]),
        (11, [5]),
        (20, [7]),
    ]
    result = SlidingWindows(50, grace_ms=0).aggregate(events, BY, [MEMBERS])
    assert contents(result) == windows(expected, 50)


def test_repeated_times_around_1970_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.testEarlyRecordsRepeatedInput: difference 5, grace 0."""
    times = [0, 2, 4, 0, 2, 2, 0, 7]
    events = stream(*(("A", number, time) for number, time in enumerate(times, 1)))
    expected = [
        (0, [1, 2, 3, 4, 5, 6, 7]),
        (1, [2, 3, 5, 6]),
        (2, [2, 3, 5, 6, 8]),
        (3, [3, 8]),
        (5, [8]),
    ]
    assert contents(SlidingWindows(5, grace_ms=0).aggregate(events, BY, [MEMBERS])) == windows(expected, 5)


def test_late_events_around_1970_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.testEarlyRecordsLargeInput, difference 10, grace 1, when windows close."""
    arrivals = [(1, 0), (3, 5), (4, 6), (2, 3), (6, 13), (5, 10), (7, 4), (8, 2), (9, 15)]
    events = stream(*(("A", value, time) for value, time in arrivals))
    sliding = SlidingWindows(10, grace_ms=1)
    result = sliding.aggregate(events, BY, [MEMBERS])
    result = result.filter(sliding.finals(result.select(WINDOW, WINDOW_END, *BY), 15))
    expected = [(0, [1, 2, 3, 4]), (1, [2, 3, 4]), (3, [2, 3, 4, 5, 6, 7])]
    assert contents(result) == windows(expected, 10)


def test_events_that_are_late_for_their_own_window_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.testNoGracePeriodSmallInput: 103 and 110 make no window that ends with them."""
    times = [100, 105, 106, 103, 113, 110]
    events = stream(*(("A", number, time) for number, time in enumerate(times, 1)))
    expected = [
        (50, [1]),
        (55, [1, 2]),
        (56, [1, 2, 3, 4]),
        (63, [1, 2, 3, 4, 5, 6]),
        (101, [2, 3, 4, 5, 6]),
        (104, [2, 3, 5, 6]),
        (106, [3, 5, 6]),
        (107, [5, 6]),
        (111, [5]),
    ]
    assert contents(SlidingWindows(50, grace_ms=0).aggregate(events, BY, [MEMBERS])) == windows(expected, 50)


def test_events_that_find_no_open_window_as_in_kafka() -> None:
    """KStreamSlidingWindowAggregateTest.shouldLogAndMeterWhenSkippingExpiredWindowByGrace: they leave no trace."""
    times = [200, 100, 101, 102, 103, 104, 105, 15, 300, 400]
    events = stream(*(("k", time, time) for time in times))
    sliding = SlidingWindows(10, grace_ms=90)
    expected = windows([(190, [200]), (290, [300]), (390, [400])], 10, "k")
    assert contents(sliding.aggregate(events, BY, [MEMBERS])) == expected
    missed = [(15, 5, 15), *((time, time - 10, time) for time in range(100, 106))]
    assert pairs(sliding.late(events, BY)) == missed


NEIGHBOURS = (
    "A10 B15 C16 D18 E30 F40 G55 H56 I58 J58 K62 L63 M63 N63 O76 P77 Q80 R2 S3 T5 U8 V181",
    (
        "0ARSTU 3ASTU 4ATU 5ABTU 6ABCU 8ABCDU 9ABCD 11BCD 16CD 17D 20E 30EF 31F 45G 46GH 48GHIJ 52GHIJK 53GHIJKLMN "
        "56HIJKLMN 57IJKLMN 59KLMN 63LMN 66O 67OP 70OPQ 77PQ 78Q 171V"
    ),
)
"""Events with their times, and the windows with their starts."""


@pytest.mark.parametrize("grace", [None, 200])
def test_random_input_as_in_kafka(grace: int | None) -> None:
    """KStreamSlidingWindowAggregateTest.testAggregateRandomInput: each distinct set of neighbours is a window."""
    arrivals, expected = NEIGHBOURS
    events = stream(*(("A", ord(event[0]), int(event[1:])) for event in arrivals.split()))
    by_start = [
        (int(line.rstrip(ascii_uppercase)), list(line.strip(digits).encode())) for line in expected.split()
    ]
    assert contents(SlidingWindows(10, grace_ms=grace).aggregate(events, BY, [MEMBERS])) == windows(
        by_start, 10
    )


def test_windows_before_1970_slide_like_others() -> None:
    """Kafka refuses negative times; here only windows that later events would make are held back at 1970."""
    events = stream(("A", 1, -25), ("A", 2, -20), ("A", 3, -7), ("A", 4, 4))
    expected = [(-35, [1]), (-30, [1, 2]), (-24, [2]), (-17, [3]), (-6, [4]), (0, [4])]
    assert contents(SlidingWindows(10).aggregate(events, BY, [MEMBERS])) == windows(expected, 10)


@pytest.mark.parametrize(("closing", "expected"), [(111, [3]), (112, None)])
def test_a_late_event_is_taken_by_the_window_behind_an_earlier_one(
    closing: int, expected: list[int] | None
) -> None:
    """KStreamSlidingWindowAggregate makes the previous record's right window for it while that is open."""
    events = stream(("A", 1, 100), ("B", 2, closing), ("A", 3, 105))
    result = contents(SlidingWindows(10, grace_ms=0).aggregate(events, BY, [MEMBERS]))
    assert result.get((101, 111, "A")) == expected
    assert (95, 105, "A") not in result


def test_a_late_event_that_was_taken_opens_the_window_behind_it() -> None:
    """As any event does; Kafka needs another event in that window first."""
    events = stream(("A", 1, 100), ("B", 2, 105), ("A", 3, 104), ("B", 4, 113), ("A", 5, 110))
    result = SlidingWindows(10, grace_ms=0).aggregate(events, BY, [MEMBERS]).filter(pl.col("key") == "A")
    assert contents(result) == windows([(90, [1]), (101, [3]), (105, [5])], 10)


def test_a_late_event_before_1970_finds_no_window_that_begins_there() -> None:
    """The window [0, d] of an early event doesn't hold what was before, however near."""
    events = stream(("A", 1, 3), ("A", 2, -2))
    sliding = SlidingWindows(10, grace_ms=0)
    assert contents(sliding.aggregate(events, BY, [MEMBERS])) == windows([(0, [1])], 10)
    assert pairs(sliding.late(events, BY)) == [(2, -12, -2)]


def test_tombstones_and_null_groups_are_skipped() -> None:
    """KStreamSlidingWindowAggregate skips records with a null key or value, yet they advance the clock here."""
    events = stream(("A", 1, 10), (None, 2, 11), ("A", 3, 12), ("A", 4, None)).with_columns(
        (pl.col("value") == 3).alias(TOMBSTONE)
    )
    sliding = SlidingWindows(10)
    assert contents(sliding.aggregate(events, BY, [MEMBERS])) == windows([(0, [1])], 10)
    assert contents(sliding.aggregate(events, [], [MEMBERS]), []) == {
        (0, 10): [1],
        (1, 11): [1, 2],
        (11, 21): [2],
    }


def test_windows_that_need_no_width() -> None:
    """With a difference of zero, a window is one instant."""
    events = stream(("A", 1, 5), ("A", 2, 6), ("A", 3, 5))
    assert contents(SlidingWindows(0).aggregate(events, BY, [MEMBERS])) == windows([(5, [1, 3]), (6, [2])], 0)


def test_rows_of_a_window_are_in_order_of_time() -> None:
    """First and last mean the earliest and the latest event, whatever the order of the rows."""
    events = pl.concat([stream(("A", 1, 12), ("A", 2, 10)), stream(("A", 3, 11), ("A", 4, 12), partition=1)])
    rows = pl.col("value").alias("members")
    for mixed in (events, events.reverse()):
        result = contents(SlidingWindows(10).aggregate(mixed, BY, [rows]))
        assert result[2, 12, "A"] == [2, 3, 1, 4]


def test_an_expression_that_needs_a_row_gets_one() -> None:
    """No expression sees an empty window, though Polars would roll over some."""
    events = stream(("A", 1, 10), ("A", 2, 14), ("A", 3, 40))
    result = SlidingWindows(10).aggregate(events, BY, [pl.col("value").get(0).alias("first")])
    assert result.select(WINDOW, "first").rows() == [(0, 1), (4, 1), (11, 2), (30, 3)]


def test_an_expression_may_name_its_result_after_its_column() -> None:
    """Expressions over the columns of an event, the time included, need no alias."""
    events = stream(("A", 1, 10), ("A", 2, 14))
    result = SlidingWindows(10).aggregate(events, BY, [pl.col("value").sum(), pl.col(TIMESTAMP).max()])
    assert result.columns == [WINDOW, WINDOW_END, "key", "value", TIMESTAMP]
    assert result.rows() == [(0, 10, "A", 1, 10), (4, 14, "A", 3, 14), (11, 21, "A", 2, 14)]


def test_rolling_agrees_with_taking_each_window_out() -> None:
    """Aggregates that roll are those of the assigned events, in a stream long enough for many windows to overlap."""
    rows = [("ab"[n % 2], n, 3 * n + 40 * (n * n % 7)) for n in range(2_000)]
    events = stream(*rows).with_columns((pl.col("value") / 7).alias("ratio"))
    exprs = [
        pl.len().alias("n"),
        pl.col("ratio").sum(),
        pl.col("ratio").mean().alias("mean"),
        pl.col("ratio").max().alias("max"),
        pl.col("ratio").std().alias("spread"),
        pl.col("ratio").median().alias("median"),
        pl.col("value").sort_by("ratio").last().alias("last"),
    ]
    for grace in (None, 0, 60):
        sliding = SlidingWindows(100, grace_ms=grace)
        taken = sliding.assign(events, BY)
        expected = taken.group_by(WINDOW, WINDOW_END, *BY).agg(exprs).sort(WINDOW, *BY)
        assert_frame_equal(sliding.aggregate(events, BY, exprs), expected)


def test_a_late_event_of_one_partition_is_judged_by_that_partition() -> None:
    """What another partition holds neither closes a window nor keeps one open."""
    alone = stream(("A", 1, 300), ("A", 2, 101))
    events = pl.concat([alone, stream(("A", 3, 110), partition=1)])
    sliding = SlidingWindows(10, grace_ms=190)
    assert pairs(sliding.late(alone, BY)) == [(2, 91, 101)]
    assert pairs(sliding.late(events, BY)) == [(2, 91, 101), (2, 100, 110)]
    expected = windows([(100, [3]), (290, [1])], 10)
    assert contents(sliding.aggregate(events, BY, [MEMBERS])) == expected
