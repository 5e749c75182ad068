"""Windows equal what plain Python finds by walking: integers one by one, clocks minute by minute."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given
from support.examples import examples

from ktframe.columns import WINDOW, WINDOW_END
from ktframe.config.durations import format_duration, parse_duration_ms
from ktframe.windows.base import Windows
from ktframe.windows.calendar import CalendarWindows
from ktframe.windows.fixed import FixedWindows
from ktframe.windows.parsing import parse_windows

pytestmark = pytest.mark.slow

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_MS, LAST_MS = -10 * 365 * DAY_MS, 70 * 365 * DAY_MS
ODD_ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "America/Havana",
    "America/St_Johns",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Africa/Monrovia",
    "Pacific/Apia",
    "Pacific/Kwajalein",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Asia/Gaza",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/Nuuk",
    "UTC",
)
ALL_ZONES = sorted(zone for zone in available_timezones() if "/" in zone)


def wall(tz: str, at_ms: int) -> datetime:
    """Return what the clock of a zone shows."""
    return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(ZoneInfo(tz)).replace(tzinfo=None)


@lru_cache
def days_of_change(tz: str) -> list[int]:
    """Return the days, in ms, on which a zone's clock was moved."""
    days = range(FIRST_MS, LAST_MS, DAY_MS)
    shown = [wall(tz, day) for day in days]
    moved = [day for day, (a, b) in zip(days, pairwise(shown), strict=False) if b - a != timedelta(days=1)]
    return moved or [0]


zones = st.sampled_from(ODD_ZONES) | st.sampled_from(ALL_ZONES)


@st.composite
def clocks(draw: st.DrawFn) -> tuple[str, int]:
    """Draw a zone and a time, mostly one near which its clock was moved."""
    tz = draw(zones)
    near = st.builds(
        lambda day, distance: day + distance,
        st.sampled_from(days_of_change(tz)),
        st.integers(-2 * DAY_MS, 2 * DAY_MS) | st.integers(-2 * 24, 2 * 24).map(lambda hour: hour * HOUR_MS),
    )
    return tz, draw(near | near | st.integers(FIRST_MS, LAST_MS))


def latest_wall(tz: str, at_ms: int) -> datetime:
    """Return the greatest wall time that the clock has shown within 25 hours."""
    return max(wall(tz, at_ms - minutes * MINUTE_MS) for minutes in range(25 * 60))


def held_by(windows: FixedWindows, at_ms: int) -> list[int]:
    """Return the starts that hold a time, each multiple tried."""
    around = range(-(2 * windows.size_ms) - 2, 2)
    starts = [
        start
        for start in (at_ms + distance for distance in around)
        if (start - windows.offset_ms) % windows.every_ms == 0 and start <= at_ms < start + windows.size_ms
    ]
    return starts if windows.offset_ms or at_ms < 0 else [start for start in starts if start >= 0]


@st.composite
def fixed(draw: st.DrawFn) -> FixedWindows:
    """Draw fixed windows of any kind, their multiples few enough to be tried."""
    size = draw(st.integers(1, 60))
    every = draw(st.just(size) | st.integers(1, size))
    return FixedWindows(size, every, draw(st.just(0) | st.integers(-100, 100)))


def expect_rows_as_scalars(windows: Windows, times: list[int]) -> None:
    """Compare ``assign`` with ``starts_of`` and ``end_of``, row for row and in order."""
    rows = pl.DataFrame({"row": range(len(times)), "at": pl.Series(times, dtype=pl.Int64)})
    expected = [
        (row, at, start, windows.end_of(start))
        for row, at in enumerate(times)
        for start in windows.starts_of(at)
    ]
    given_rows = windows.assign(rows, "at")
    assert expected == given_rows.rows()
    assert given_rows.schema == {"row": pl.Int64, "at": pl.Int64, WINDOW: pl.Int64, WINDOW_END: pl.Int64}


@given(fixed(), st.integers(-200, 200) | st.integers(-(10**15), 10**15))
def test_fixed_windows_equal_a_search(windows: FixedWindows, at_ms: int) -> None:
    """The windows of a time are all multiples that hold it, and the base divides them."""
    starts = held_by(windows, at_ms)
    assert starts == windows.starts_of(at_ms)
    assert all(start % windows.base_ms == 0 == windows.end_of(start) % windows.base_ms for start in starts)


@given(fixed(), st.lists(st.integers(-200, 200) | st.integers(-(10**15), 10**15), max_size=20))
def test_fixed_rows_equal_their_scalars(windows: FixedWindows, times: list[int]) -> None:
    """A frame gets the windows that each of its times has alone."""
    expect_rows_as_scalars(windows, times)


@given(fixed(), st.integers(-300, 300), st.integers(-10, 300))
def test_fixed_starts_between_equal_a_search(windows: FixedWindows, first_ms: int, length: int) -> None:
    """The starts of a range are its multiples."""
    last_ms = first_ms + length
    expected = [at for at in range(first_ms, last_ms + 1) if (at - windows.offset_ms) % windows.every_ms == 0]
    assert expected == windows.starts_between(first_ms, last_ms).to_list()


@given(fixed(), fixed())
def test_only_equal_windows_share_a_name(one: FixedWindows, other: FixedWindows) -> None:
    """A store is found by the name."""
    assert (one == other) == (one.name == other.name)


@given(st.integers(-(10**15), 10**15))
def test_a_duration_reads_back(length_ms: int) -> None:
    """What is shown can be typed."""
    assert length_ms == parse_duration_ms(format_duration(length_ms))


DATES: dict[str, Callable[[date], Any]] = {
    "1d": lambda day: day,
    "3d": lambda day: (day - EPOCH.date()).days // 3,
    "1w": lambda day: day.isocalendar()[:2],
    "1mo": lambda day: (day.year, day.month),
    "1q": lambda day: (day.year, (day.month - 1) // 3),
    "1y": lambda day: day.year,
}


@examples(0.5)
@given(clocks(), st.sampled_from(list(DATES)), st.sampled_from([0, 0, 6 * HOUR_MS, 150 * MINUTE_MS]))
def test_date_windows_equal_the_calendar(clock: tuple[str, int], size: str, offset_ms: int) -> None:
    """The window of a time is the stretch in which the furthest that the clock has come is the same date or month."""
    tz, at_ms = clock
    windows = CalendarWindows(size, size, tz, offset_ms)

    def label(ms: int) -> Any:
        return DATES[size]((latest_wall(tz, ms) - timedelta(milliseconds=offset_ms)).date())

    (start,) = windows.starts_of(at_ms)
    end = windows.end_of(start)
    assert start <= at_ms < end
    assert label(start) == label(at_ms) == label(end - 1)
    assert label(start - 1) < label(start)
    assert label(end - 1) < label(end)


@examples(0.5)
@given(clocks(), st.sampled_from([15, 30, 60, 120]))
def test_hour_windows_equal_a_walk(clock: tuple[str, int], minutes: int) -> None:
    """Second by second, a boundary is where the clock shows a multiple, or jumps over one."""
    tz, at_ms = clock
    windows = CalendarWindows(f"{minutes}m", f"{minutes}m", tz)

    step, midnight = timedelta(minutes=minutes), wall("UTC", 0)

    def is_boundary(before: datetime, shown: datetime) -> bool:
        return not (shown - midnight) % step or (shown - midnight) // step > (before - midnight) // step

    (start,) = windows.starts_of(at_ms)
    end = windows.end_of(start)
    shown = [wall(tz, at) for at in range(start - SECOND_MS, end + SECOND_MS, SECOND_MS)]
    found = [is_boundary(a, b) for a, b in pairwise(shown)]
    assert start <= at_ms < end
    assert [0, len(found) - 1] == [second for second, is_found in enumerate(found) if is_found]


@examples(0.5)
@given(
    st.data(),
    st.sampled_from(
        [("1h", "1h"), ("6h", "6h"), ("1h", "15m"), ("1d", "1d"), ("1w", "1d"), ("1d", "6h"), ("1q", "1mo")]
    ),
    st.sampled_from([None, "-1h", "90m"]),
)
def test_calendar_rows_equal_their_scalars(data: st.DataObject, sizes: Any, offset: str | None) -> None:
    """A frame gets the windows that each of its times has alone, one after the other without a gap."""
    tz, _ = data.draw(clocks())
    times = data.draw(
        st.lists(st.integers(FIRST_MS, LAST_MS) | st.sampled_from(days_of_change(tz)), max_size=8)
    )
    windows = parse_windows(*sizes, tz=tz, offset=offset)
    expect_rows_as_scalars(windows, times)
    for at_ms in times:
        starts = windows.starts_of(at_ms)
        assert all(start <= at_ms < windows.end_of(start) for start in starts)
        assert starts == windows.starts_between(starts[0], at_ms).to_list()
        assert windows.end_of(starts[0]) > at_ms >= starts[-1]


@pytest.mark.parametrize("size", ["1h", "6h", "1d", "1w", "1mo"])
@examples(0.1)
@given(tz=zones, offset=st.sampled_from([None, "-1d", "7m"]))
def test_the_base_divides_every_boundary(size: str, tz: str, offset: str | None) -> None:
    """From 1970 to 2037, each boundary of each zone lies between two windows of the base."""
    windows = parse_windows(size, tz=tz, offset=offset)
    starts = windows.starts_between(0, 67 * 365 * DAY_MS)
    assert DAY_MS % windows.base_ms == 0
    assert (starts % windows.base_ms == 0).all()
    assert starts.is_sorted()
    assert starts.is_unique().all()
