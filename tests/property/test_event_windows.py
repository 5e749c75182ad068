"""Windows of events equal what dicts and lists make of the events, one by one in the order of arrival."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.event_streams import MEMBERS, SCHEMA, Hopping, contents, pairs
from support.examples import examples
from support.window_oracle import ORACLES, arrivals, members

from ktframe.columns import PARTITION, TIMESTAMP, WINDOW, WINDOW_END
from ktframe.windows.events import TimeWindows
from ktframe.windows.sessions import SessionWindows
from ktframe.windows.sliding import SlidingWindows

pytestmark = pytest.mark.slow

FAR = 8_300_000_000_000_000


@st.composite
def streams(draw: st.DrawFn) -> pl.DataFrame:
    """Draw events whose values are their numbers: dense or sparse, early or late, around 1970 or far from it."""
    spread = draw(st.sampled_from([3, 12, 40, 200]))
    origin = draw(st.sampled_from([1_000, 0, -20, FAR, -FAR]))
    drift = draw(st.sampled_from([0, 0, 1, 5]))
    partitions = draw(st.sampled_from([1, 1, 2, 3]))
    keys = draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c", None]]))
    event = st.tuples(
        st.integers(0, partitions - 1),
        st.integers(0, spread).map(lambda time: None if time == 1 else time),
        st.sampled_from([False, False, False, False, False, True]),
        st.sampled_from(keys),
    )
    # Left to itself, Hypothesis draws short lists, in which little can be late.
    fewest = draw(st.sampled_from([0, 6, 12, 24]))
    rows = []
    for number, (partition, time, tombstone, key) in enumerate(
        draw(st.lists(event, min_size=fewest, max_size=fewest + 10))
    ):
        at = None if time is None else origin + time + drift * number
        rows.append((partition, 2 * number, at, tombstone, key, number))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


graces = st.sampled_from([0, 1, 3, 10, 50, 1_000, None])
kinds = {
    "time": st.builds(
        TimeWindows, st.builds(Hopping, st.just(10), st.sampled_from([1, 3, 5, 10])), grace_ms=graces
    ),
    "sliding": st.builds(SlidingWindows, st.sampled_from([10, 5, 2, 1, 0, 30]), grace_ms=graces),
    "session": st.builds(SessionWindows, st.sampled_from([3, 10, 1, 0, 30]), grace_ms=graces),
}
every_kind = pytest.mark.parametrize("kind", kinds)
grouping = st.sampled_from([["key"], []])


@every_kind
@examples(2)
@given(st.data(), streams(), grouping, st.randoms(use_true_random=False))
def test_windows_equal_those_of_a_loop(
    kind: str, data: st.DataObject, events: pl.DataFrame, by: list[str], random: Random
) -> None:
    """Who is in which window, who came late, and the aggregates are as in a loop, whatever the order of the rows."""
    windows = data.draw(kinds[kind])
    timely, late = ORACLES[type(windows)](windows, list(arrivals(events, windows.grace_ms, by)))
    order = list(range(events.height))
    random.shuffle(order)
    for rows in (events, events[order]):
        assigned, missed = windows.assign(rows, by), windows.late(rows, by)
        assert pairs(assigned) == sorted(timely)
        assert pairs(missed) == sorted(late)
        assert assigned.columns == missed.columns == [*events.columns, WINDOW, WINDOW_END]
        result = windows.aggregate(rows, by, [MEMBERS, pl.len().alias("n"), pl.col("value").sum()])
        assert result.columns == [WINDOW, WINDOW_END, *by, "members", "n", "value"]
        assert contents(result, by) == members(timely, events, by)
        assert result["n"].to_list() == result["members"].list.len().to_list()
        assert result["value"].to_list() == result["members"].list.sum().to_list()
        assert result.equals(result.sort(WINDOW, *by))


@every_kind
@examples(2)
@given(st.data(), streams(), grouping)
def test_a_grace_longer_than_the_stream_is_like_none(
    kind: str, data: st.DataObject, events: pl.DataFrame, by: list[str]
) -> None:
    """Windows that would close behind the end hold what windows hold that never close."""
    windows = data.draw(kinds[kind])
    open_ever, open_long = replace(windows, grace_ms=None), replace(windows, grace_ms=10**9)
    exprs = [MEMBERS, pl.col("value").max().alias("last")]
    assert open_ever.late(events, by).is_empty()
    assert open_long.late(events, by).is_empty()
    assert open_ever.aggregate(events, by, exprs).equals(open_long.aggregate(events, by, exprs))


@every_kind
@examples(2)
@given(st.data(), streams(), grouping, st.integers(1, 30))
def test_a_final_window_keeps_its_events(
    kind: str, data: st.DataObject, events: pl.DataFrame, by: list[str], count: int
) -> None:
    """What is called final at a watermark is the same when all events are there."""
    windows = data.draw(kinds[kind])
    seen = events.head(count)
    clocks = seen.group_by(PARTITION).agg(pl.col(TIMESTAMP).max())[TIMESTAMP].to_list()
    # A partition of which nothing was seen may still bring anything.
    is_known = len(clocks) == events[PARTITION].n_unique() and None not in clocks
    earlier = windows.aggregate(seen, by, [MEMBERS])
    final = windows.finals(
        earlier.select(WINDOW, WINDOW_END, *by), min(clocks, default=None) if is_known else None
    )
    kept = earlier.filter(final)
    if isinstance(windows, SessionWindows) and kept.height:
        kept = kept.filter(pl.col(WINDOW_END) < _lowest_chained(windows, min(clocks), events[count:]))
    later = contents(windows.aggregate(events, by, [MEMBERS]), by)
    assert {window: later.get(window) for window in contents(kept, by)} == contents(kept, by)


def _lowest_chained(windows: SessionWindows, clock: int, later: pl.DataFrame) -> int:
    """Return up to where sessions can be joined by later events each of which is in time only through the one before.

    No time is old enough for that, so that a session is final as far as no such chain comes: see docs/decisions.md.
    """
    lowest = clock - (windows.grace_ms or 0) - windows.gap_ms
    for time in sorted(later[TIMESTAMP].drop_nulls(), reverse=True):
        if lowest - windows.gap_ms <= time < lowest:
            lowest = time
    return lowest - windows.gap_ms


@pytest.mark.parametrize("grace", [None, 5])
@pytest.mark.parametrize("kind", [TimeWindows, SlidingWindows, SessionWindows])
@pytest.mark.parametrize("by", [[], ["key"], ["key", "value"]])
def test_the_dtypes_of_a_result_do_not_depend_on_its_rows(
    kind: type[Any], grace: int | None, by: list[str]
) -> None:
    """An aggregate of no events has the schema of one of many."""
    windows = kind(Hopping(10, 5) if kind is TimeWindows else 10, grace_ms=grace)
    rows = [(0, n, n * 7 % 50, False, "ab"[n % 2], n) for n in range(40)]
    small = (pl.col("value") % 100).cast(pl.Int8)
    events = pl.DataFrame(rows, schema=SCHEMA, orient="row").with_columns(
        small.alias("small"),
        pl.col("value").cast(pl.Decimal(10, 2)).alias("price"),
        pl.struct("key", "value").alias("both"),
        (pl.col("value") / 7).alias("ratio"),
        pl.col("key").cast(pl.Categorical).alias("kind"),
    )
    exprs = [
        pl.len().alias("n"),
        pl.col("small").sum().alias("sum"),
        pl.col("small").mean().alias("mean"),
        pl.col("small").max().alias("max"),
        pl.col("price").sum().alias("paid"),
        pl.col("ratio").sum().alias("ratios"),
        pl.col("ratio").std().alias("spread"),
        pl.col("ratio").quantile(0.5).alias("median"),
        pl.col("both").last().alias("latest"),
        pl.col("kind").n_unique().alias("kinds"),
        pl.col("kind").alias("list"),
        (pl.col("ratio") > 1).any().alias("any"),
        (pl.col("ratio") > 1).sum().alias("many"),
        (pl.col("small").sum() / pl.len()).alias("share"),
        pl.lit(1).alias("one"),
    ]
    full = windows.aggregate(events, by, exprs)
    assert full.height > 0
    assert windows.aggregate(events.clear(), by, exprs).schema == full.schema
    assert windows.assign(events.clear(), by).schema == windows.assign(events, by).schema
    assert windows.late(events.clear(), by).schema == windows.assign(events, by).schema
