"""Windows of a wall clock have 23- and 25-hour days, and lose no instant where clocks jump."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from ktframe.columns import WINDOW, WINDOW_END
from ktframe.errors import ConfigurationError
from ktframe.windows.calendar import CalendarWindows
from ktframe.windows.parsing import parse_windows

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000


def ms(text: str) -> int:
    """Return an instant written with its UTC offset in ms since 1970."""
    return (datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def local(tz: str, at_ms: int) -> str:
    """Return an instant as the clock of a zone shows it."""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    return at.astimezone(ZoneInfo(tz)).isoformat(timespec="minutes")


def window_at(size: str, tz: str, at: str, **arguments: Any) -> tuple[str, str, float]:
    """Return start, end and hours of the one window that holds an instant; scalar and frame agree."""
    windows = parse_windows(size, tz=tz, **arguments)
    (start,) = windows.starts_of(ms(at))
    end = windows.end_of(start)
    frame = windows.assign(pl.DataFrame({"at": [ms(at), end - 1, start]}), "at")
    assert frame.select(WINDOW, WINDOW_END).unique().rows() == [(start, end)]
    return local(tz, start), local(tz, end), (end - start) / HOUR_MS


@pytest.mark.parametrize(
    ("tz", "at", "expected"),
    [
        ("Europe/Berlin", "2026-03-29T12:00+02:00", ("2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00", 23)),
        ("Europe/Berlin", "2026-10-25T12:00+01:00", ("2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00", 25)),
        ("Europe/Berlin", "2026-10-26T00:00+01:00", ("2026-10-26T00:00+01:00", "2026-10-27T00:00+01:00", 24)),
        (
            "America/New_York",
            "2026-03-08T12:00-04:00",
            ("2026-03-08T00:00-05:00", "2026-03-09T00:00-04:00", 23),
        ),
        (
            "America/New_York",
            "2026-11-01T12:00-05:00",
            ("2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00", 25),
        ),
        (
            "Australia/Lord_Howe",
            "2026-04-05T12:00+10:30",
            ("2026-04-05T00:00+11:00", "2026-04-06T00:00+10:30", 24.5),
        ),
        (
            "Australia/Lord_Howe",
            "2026-10-04T12:00+11:00",
            ("2026-10-04T00:00+10:30", "2026-10-05T00:00+11:00", 23.5),
        ),
        ("Asia/Kolkata", "2026-05-01T12:00+05:30", ("2026-05-01T00:00+05:30", "2026-05-02T00:00+05:30", 24)),
        (
            "Asia/Kathmandu",
            "2026-05-01T12:00+05:45",
            ("2026-05-01T00:00+05:45", "2026-05-02T00:00+05:45", 24),
        ),
        # Clocks jump over midnight: the day starts at one o'clock.
        (
            "America/Sao_Paulo",
            "2018-11-04T12:00-02:00",
            ("2018-11-04T01:00-02:00", "2018-11-05T00:00-02:00", 23),
        ),
        ("Africa/Cairo", "2026-04-24T12:00+03:00", ("2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00", 23)),
        # Midnight occurs twice: the day starts with the first.
        (
            "America/Havana",
            "2026-11-01T00:30-05:00",
            ("2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00", 25),
        ),
        # At 24:00 it is 23:00 again: the day before has 25 hours, and its midnight is the later one.
        (
            "America/Sao_Paulo",
            "2018-02-17T23:30-03:00",
            ("2018-02-17T00:00-02:00", "2018-02-18T00:00-03:00", 25),
        ),
        # At 00:01 it is 23:01 again: what follows belongs to the day that had begun.
        (
            "America/St_Johns",
            "2010-11-06T23:30-03:30",
            ("2010-11-07T00:00-02:30", "2010-11-08T00:00-03:30", 25),
        ),
        # Samoa had no 30 December 2011.
        ("Pacific/Apia", "2011-12-29T23:59-10:00", ("2011-12-29T00:00-10:00", "2011-12-31T00:00+14:00", 24)),
        ("Pacific/Apia", "2011-12-31T00:00+14:00", ("2011-12-31T00:00+14:00", "2012-01-01T00:00+14:00", 24)),
        # Kwajalein moved its clock back over the date line: one date, twice.
        (
            "Pacific/Kwajalein",
            "1969-09-30T22:00-12:00",
            ("1969-09-30T00:00+11:00", "1969-10-01T00:00-12:00", 47),
        ),
        ("Europe/Berlin", "1950-01-01T00:00+01:00", ("1950-01-01T00:00+01:00", "1950-01-02T00:00+01:00", 24)),
    ],
)
def test_a_day_is_what_the_clock_calls_a_day(tz: str, at: str, expected: tuple[str, str, float]) -> None:
    """Days start with the first instant at which the wall clock has reached midnight."""
    assert expected == window_at("1d", tz, at)


@pytest.mark.parametrize(
    ("size", "offset", "at", "expected"),
    [
        ("1w", None, "2026-03-29T12:00+02:00", ("2026-03-23T00:00+01:00", "2026-03-30T00:00+02:00", 167)),
        ("1w", "-1d", "2026-03-29T12:00+02:00", ("2026-03-29T00:00+01:00", "2026-04-05T00:00+02:00", 167)),
        ("1mo", None, "2026-10-25T12:00+01:00", ("2026-10-01T00:00+02:00", "2026-11-01T00:00+01:00", 745)),
        ("1mo", "14d", "2026-03-01T12:00+01:00", ("2026-02-15T00:00+01:00", "2026-03-15T00:00+01:00", 672)),
        ("1mo", "-1d", "2026-03-31T12:00+02:00", ("2026-03-31T00:00+02:00", "2026-04-30T00:00+02:00", 720)),
        (
            "2mo",
            None,
            "2026-02-01T12:00+01:00",
            ("2026-01-01T00:00+01:00", "2026-03-01T00:00+01:00", 59 * 24),
        ),
        (
            "1q",
            None,
            "2026-02-01T12:00+01:00",
            ("2026-01-01T00:00+01:00", "2026-04-01T00:00+02:00", 90 * 24 - 1),
        ),
        (
            "1y",
            None,
            "2024-06-01T12:00+02:00",
            ("2024-01-01T00:00+01:00", "2025-01-01T00:00+01:00", 366 * 24),
        ),
        ("1d", "6h", "2026-03-29T05:59+02:00", ("2026-03-28T06:00+01:00", "2026-03-29T06:00+02:00", 23)),
        ("8h", "6h", "2026-10-25T05:59+01:00", ("2026-10-24T22:00+02:00", "2026-10-25T06:00+01:00", 9)),
        ("6h", None, "2026-10-25T05:59+01:00", ("2026-10-25T00:00+02:00", "2026-10-25T06:00+01:00", 7)),
        ("30m", None, "2026-03-29T03:00+02:00", ("2026-03-29T03:00+02:00", "2026-03-29T03:30+02:00", 0.5)),
        # A shift from half past two, which was skipped, starts when the clock goes on.
        ("1d", "2h30m", "2026-03-29T03:00+02:00", ("2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00", 23.5)),
    ],
)
def test_weeks_months_and_shifts_follow_the_clock(
    size: str, offset: str | None, at: str, expected: tuple[str, str, float]
) -> None:
    """Weeks start on Monday, months on the first; an offset moves boundaries on the wall clock."""
    assert expected == window_at(size, "Europe/Berlin", at, offset=offset)


@pytest.mark.parametrize(
    ("size", "tz", "day", "expected"),
    [
        ("1h", "Europe/Berlin", "2026-03-29T00:00+01:00", 23),
        ("1h", "Europe/Berlin", "2026-10-25T00:00+02:00", 25),
        ("1h", "America/Havana", "2026-11-01T00:00-04:00", 25),
        ("1h", "Australia/Lord_Howe", "2026-04-05T00:00+11:00", 24),
        ("30m", "Australia/Lord_Howe", "2026-04-05T00:00+11:00", 49),
        ("30m", "Australia/Lord_Howe", "2026-10-04T00:00+10:30", 47),
        ("6h", "Europe/Berlin", "2026-10-25T00:00+02:00", 4),
        ("15m", "Asia/Kathmandu", "2026-10-25T00:00+05:45", 96),
    ],
)
def test_a_day_has_the_hours_that_its_clock_shows(size: str, tz: str, day: str, expected: int) -> None:
    """Both occurrences of an hour are windows; a skipped one is none."""
    end = parse_windows("1d", tz=tz).end_of(ms(day))
    assert expected == parse_windows(size, tz=tz).starts_between(ms(day), end - 1).len()


def test_lord_howe_repeats_half_an_hour_within_a_window() -> None:
    """At 02:00 it is 01:30 again: the hour that began at one o'clock goes on until two o'clock occurs."""
    expected = ("2026-04-05T01:00+11:00", "2026-04-05T02:00+10:30", 1.5)
    assert expected == window_at("1h", "Australia/Lord_Howe", "2026-04-05T01:45+10:30")


def test_starts_between_are_inclusive() -> None:
    """A range may begin at a start, also one that a gap moved; the second of two midnights is none."""
    havana, paulo = parse_windows("1d", tz="America/Havana"), parse_windows("1d", tz="America/Sao_Paulo")
    second, after_gap = ms("2026-11-01T00:00-05:00"), ms("2018-11-04T01:00-02:00")
    assert havana.starts_between(second - HOUR_MS, second).to_list() == [second - HOUR_MS]
    assert havana.starts_between(second, second + 23 * HOUR_MS).to_list() == []
    assert paulo.starts_between(after_gap, after_gap).to_list() == [after_gap]
    assert paulo.starts_between(after_gap, after_gap - 9 * DAY_MS).to_list() == []


def test_boundaries_are_found_beyond_what_is_kept_together() -> None:
    """Boundaries are cached by 365 days; the last of them may end an hour after the next day's length."""
    expected = ("2018-12-20T05:30+06:00", "2018-12-21T05:30+05:00", 25)
    assert ms("2018-12-20T00:00+00:00") % (365 * DAY_MS) == 0
    assert expected == window_at("1d", "Asia/Qyzylorda", "2018-12-19T23:45+00:00", offset="5h30m")


def test_hopping_windows_span_boundaries() -> None:
    """Seven days every day are seven dates, whatever their hours; Apia's skipped one is not counted."""
    windows = parse_windows("1w", "1d", tz="Europe/Berlin")
    starts = windows.starts_of(ms("2026-03-29T12:00+02:00"))
    assert len(starts) == 7
    assert local("Europe/Berlin", starts[0]) == "2026-03-23T00:00+01:00"
    assert {local("Europe/Berlin", windows.end_of(start))[11:] for start in starts} == {"00:00+02:00"}
    apia = parse_windows("2d", "1d", tz="Pacific/Apia")
    (_, second) = apia.starts_of(ms("2011-12-29T12:00-10:00"))
    assert local("Pacific/Apia", apia.end_of(second)) == "2012-01-01T00:00+14:00"


def test_a_day_every_hour_is_24_of_its_hours() -> None:
    """Then the hours decide: on the day of 25, the window from midnight ends at 23:00."""
    windows = parse_windows("1d", "1h", tz="Europe/Berlin")
    end = windows.end_of(ms("2026-10-25T00:00+02:00"))
    assert local("Europe/Berlin", end) == "2026-10-25T23:00+01:00"
    assert len(windows.starts_of(ms("2026-10-25T12:00+01:00"))) == 24


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("1d",), "1d@Europe/Berlin"),
        (("1w", "1d"), "1w/1d@Europe/Berlin"),
        (("1w", None, "-1d"), "1w+6d@Europe/Berlin"),
        (("1mo", None, "-1d"), "1mo-1d@Europe/Berlin"),
        (("90m",), "1h30m@Europe/Berlin"),
        (("4q", "6mo"), "1y/2q@Europe/Berlin"),
    ],
)
def test_the_name_says_size_hop_offset_and_zone(arguments: Any, expected: str) -> None:
    """Equal windows have one name, however they were written."""
    size, every, offset = (*arguments, None, None)[:3]
    assert expected == parse_windows(size, every, tz="Europe/Berlin", offset=offset).name


@pytest.mark.parametrize(
    ("size", "every"),
    [("1mo", "1d"), ("1mo", "1w"), ("1y", "5mo"), ("1h", "1d"), ("1d", "1mo"), ("1w", "2d")],
)
def test_a_size_that_is_no_multiple_of_its_hop_is_refused(size: str, every: str) -> None:
    """A window ends where another begins, so days can't make a month."""
    with pytest.raises(ConfigurationError, match=f"whole multiple of every, not {size} every {every}"):
        parse_windows(size, every, tz="UTC")


@pytest.mark.parametrize("offset", ["28d", "-31d"])
def test_months_are_moved_by_less_than_a_month(offset: str) -> None:
    """Months have no common length by which an offset could be reduced."""
    with pytest.raises(ConfigurationError, match="offset must be shorter than every"):
        parse_windows("1mo", offset=offset)


def test_windows_can_be_made_directly() -> None:
    """Intervals are checked and made canonical in the class, too."""
    assert CalendarWindows("24h", "12h", "UTC", -HOUR_MS) == CalendarWindows("1d", "12h", "UTC", 11 * HOUR_MS)
    with pytest.raises(ConfigurationError, match="is not a duration"):
        CalendarWindows("1x", "1d", "UTC")


@pytest.mark.parametrize("size", ["1m", "1h", "1d", "1w", "1mo", "1q", "1y"])
@pytest.mark.parametrize("far_ms", [-8_390_000_000_000_000, -62_135_596_800_000, 0, 8_390_000_000_000_000])
def test_a_time_far_from_the_others_is_in_its_window(size: str, far_ms: int) -> None:
    """One record of the year 267,000 neither raises nor makes a boundary for every hour until then."""
    windows, now = parse_windows(size, tz="Europe/Berlin"), ms("2026-10-25T12:34+01:00")
    rows = windows.assign(pl.DataFrame({"at": [now, far_ms]}), "at")
    assert (
        rows.select((pl.col(WINDOW) <= pl.col("at")) & (pl.col("at") < pl.col(WINDOW_END))).to_series().all()
    )
    assert rows[WINDOW].to_list() == [windows.starts_of(now)[0], windows.starts_of(far_ms)[0]]
