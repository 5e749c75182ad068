"""Sessions against the examples of Kafka Streams; where it emits updates, what its store holds at the end."""

from __future__ import annotations

import polars as pl
from support.event_streams import MEMBERS, contents, pairs, stream

from ktframe.columns import TOMBSTONE, WINDOW, WINDOW_END
from ktframe.windows.sessions import SessionWindows

BY = ["key"]
MINUTE = 60_000
GAP = 5 * MINUTE
"""As in KStreamSessionWindowAggregateProcessorTest."""


def test_the_example_of_the_streams_guide() -> None:
    """Kafka Streams DSL guide, "Session Windows": 5 minutes; t=4 merges two sessions of green, t=5 extends blue's."""
    arrivals = [("green", 0), ("green", 6), ("blue", 2), ("green", 4), ("blue", 5), ("blue", 11)]
    events = stream(*((key, time, time * MINUTE) for key, time in arrivals))
    first = SessionWindows(GAP).aggregate(events.head(3), BY, [MEMBERS])
    assert contents(first) == {
        (0, 0, "green"): [0],
        (6 * MINUTE, 6 * MINUTE, "green"): [6],
        (2 * MINUTE, 2 * MINUTE, "blue"): [2],
    }
    assert contents(SessionWindows(GAP).aggregate(events, BY, [MEMBERS])) == {
        (0, 6 * MINUTE, "green"): [0, 4, 6],
        (2 * MINUTE, 5 * MINUTE, "blue"): [2, 5],
        (11 * MINUTE, 11 * MINUTE, "blue"): [11],
    }


def test_an_event_between_two_sessions_merges_them_as_in_kafka() -> None:
    """KStreamSessionWindowAggregateProcessorTest.shouldMergeSessions, in which the third is old, yet not too late."""
    events = stream(("mel", 1, 0), ("mel", 2, GAP + 1), ("mel", 3, GAP // 2))
    windows = SessionWindows(GAP, grace_ms=0)
    assert contents(windows.aggregate(events.head(2), BY, [MEMBERS])) == {
        (0, 0, "mel"): [1],
        (GAP + 1, GAP + 1, "mel"): [2],
    }
    assert contents(windows.aggregate(events, BY, [MEMBERS])) == {(0, GAP + 1, "mel"): [1, 2, 3]}


def test_events_of_one_time_are_one_session_as_in_kafka() -> None:
    """KStreamSessionWindowAggregateProcessorTest.shouldUpdateSessionIfTheSameTime."""
    events = stream(("mel", 1, 0), ("mel", 2, 0))
    assert contents(SessionWindows(GAP, grace_ms=0).aggregate(events, BY, [MEMBERS])) == {
        (0, 0, "mel"): [1, 2]
    }


def test_a_gap_and_one_parts_sessions_as_in_kafka() -> None:
    """KStreamSessionWindowAggregateProcessorTest.shouldHaveMultipleSessionsForSameIdWhenTimestampApartBySessionGap."""
    step = GAP + 1
    times = [0, step, step, 2 * step, 2 * step, 2 * step]
    events = stream(*(("mel", number, time) for number, time in enumerate(times)))
    windows = SessionWindows(GAP, grace_ms=0)
    result = windows.aggregate(events, BY, [MEMBERS])
    closed = {(0, 0, "mel"): [0], (step, step, "mel"): [1, 2]}
    assert contents(result) == {**closed, (2 * step, 2 * step, "mel"): [3, 4, 5]}
    # Kafka emits these two as final at 2 * step, but events that it still accepts can chain them to the last one.
    assert closed.items() <= contents(result).items()
    assert not windows.finals(result.select(WINDOW, WINDOW_END, *BY), 2 * step + 2 * GAP).any()
    assert windows.finals(result.select(WINDOW, WINDOW_END, *BY), 2 * step + 2 * GAP + 1).all()


def test_several_keys_have_sessions_of_their_own_as_in_kafka() -> None:
    """KStreamSessionWindowAggregateProcessorTest.shouldHandleMultipleSessionsAndMerging."""
    later, last = GAP + 1, GAP + 1 + GAP // 2
    arrivals = [("a", 0), ("b", 0), ("c", 0), ("d", 0), ("d", GAP // 2)]
    arrivals += [("a", later), ("b", later), ("a", last), ("c", last)]
    events = stream(*((key, number, time) for number, (key, time) in enumerate(arrivals)))
    assert contents(SessionWindows(GAP, grace_ms=0).aggregate(events, BY, [MEMBERS])) == {
        (0, 0, "a"): [0],
        (0, 0, "b"): [1],
        (0, 0, "c"): [2],
        (0, GAP // 2, "d"): [3, 4],
        (later, last, "a"): [5, 7],
        (later, later, "b"): [6],
        (last, last, "c"): [8],
    }


def test_late_events_without_grace_as_in_kafka() -> None:
    """KStreamSessionWindowAggregateProcessorTest.shouldLogAndMeterWhenSkippingLateRecordWithZeroGrace: gap 10."""
    events = stream(("dummy", 0, 0), ("OnTime1", 1, 0), ("dummy", 2, 11), ("Late1", 3, 0))
    windows = SessionWindows(10, grace_ms=0)
    assert pairs(windows.late(events, BY)) == [(3, 0, 0)]
    assert contents(windows.aggregate(events, BY, [MEMBERS])) == {
        (0, 0, "dummy"): [0],
        (0, 0, "OnTime1"): [1],
        (11, 11, "dummy"): [2],
    }


def test_late_events_with_grace_as_in_kafka() -> None:
    """KStreamSessionWindowAggregateProcessorTest.shouldLogAndMeterWhenSkippingLateRecordWithNonzeroGrace: grace 1."""
    arrivals = [("dummy", 0), ("OnTime1", 0), ("dummy", 11), ("OnTime2", 0), ("dummy", 12), ("Late1", 0)]
    events = stream(*((key, number, time) for number, (key, time) in enumerate(arrivals)))
    assert pairs(SessionWindows(10, grace_ms=1).late(events, BY)) == [(5, 0, 0)]


def test_an_old_event_that_joins_an_open_session_is_accepted() -> None:
    """What counts is the end of the merged session, not the event's own time (KStreamSessionWindowAggregate)."""
    events = stream(
        ("a", 0, 0), ("a", 1, 8), ("a", 2, 16), ("a", 3, 24), ("a", 4, 5), ("a", 5, -12), ("a", 6, -4)
    )
    windows = SessionWindows(10, grace_ms=0)
    assert pairs(windows.late(events, BY)) == [(5, -12, -12)]
    assert contents(windows.aggregate(events, BY, [MEMBERS])) == {(-4, 24, "a"): [0, 1, 2, 3, 4, 6]}


def test_partitions_are_judged_alone_and_merged_afterwards() -> None:
    """A session of another partition doesn't save a late event, but joins what was accepted."""
    events = pl.concat(
        [stream(("a", 0, 100), ("a", 1, 200), ("a", 2, 50)), stream(("a", 3, 60), ("a", 4, 108), partition=1)]
    )
    windows = SessionWindows(10, grace_ms=0)
    assert pairs(windows.late(events, BY)) == [(2, 50, 50)]
    assert contents(windows.aggregate(events, BY, [MEMBERS])) == {
        (60, 60, "a"): [3],
        (100, 108, "a"): [0, 4],
        (200, 200, "a"): [1],
    }


def test_null_groups_are_skipped_and_tombstones_are_not() -> None:
    """KStreamSessionWindowAggregate looks at the key alone; with no ``by`` there is no key to be null."""
    events = stream(("a", 0, 0), (None, 1, 3), ("a", 2, 6), ("a", 3, None))
    events = events.with_columns((pl.col("value") == 2).alias(TOMBSTONE))
    assert contents(SessionWindows(5).aggregate(events, BY, [MEMBERS])) == {
        (0, 0, "a"): [0],
        (6, 6, "a"): [2],
    }
    assert contents(SessionWindows(5).aggregate(events, [], [MEMBERS]), []) == {(0, 6): [0, 1, 2]}


def test_rows_of_a_session_are_in_order_of_time() -> None:
    """First and last mean the earliest and the latest event, whatever the order of the rows."""
    events = pl.concat([stream(("A", 1, 12), ("A", 2, 10)), stream(("A", 3, 11), ("A", 4, 12), partition=1)])
    rows = pl.col("value").alias("members")
    for mixed in (events, events.reverse()):
        assert contents(SessionWindows(10).aggregate(mixed, BY, [rows])) == {(10, 12, "A"): [2, 3, 1, 4]}


def test_a_session_that_kafka_calls_final_can_still_grow() -> None:
    """An event that is just not too late joins a session whose final result Kafka has emitted."""
    windows = SessionWindows(10, grace_ms=0)
    events = stream(("a", 0, 10), ("b", 1, 21), ("a", 2, 11))
    seen = windows.aggregate(events.head(2), BY, [MEMBERS])
    assert contents(windows.aggregate(events, BY, [MEMBERS]))[10, 11, "a"] == [0, 2]
    assert seen.filter(windows.finals(seen.select(WINDOW, WINDOW_END, *BY), 21)).height == 0
    assert contents(seen.filter(windows.finals(seen.select(WINDOW, WINDOW_END, *BY), 31))) == {
        (10, 10, "a"): [0]
    }


def test_a_stream_in_which_every_event_may_be_late() -> None:
    """With a stream time far ahead, each event is looked at, and kept while it joins what is open."""
    times = [3 * (n * 377 % 1_000) for n in range(1_000)]
    events = stream(("a", -1, 3_000), *(("a", time, time) for time in times))
    windows = SessionWindows(3, grace_ms=0)
    late = {value for value, _, _ in pairs(windows.late(events, BY))}
    # Only a chain down from the newest event is open when its next link comes.
    reached = 3_000
    for time in times:
        assert (time in late) == (time < reached - 3)
        reached = min(reached, time) if time >= reached - 3 else reached
