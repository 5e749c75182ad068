"""The wall clock of a zone: its boundaries as instants, what divides them, what is no zone or no step."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ktframe.errors import ConfigurationError
from ktframe.windows.parsing import parse_windows
from ktframe.windows.wall_clock import Grid, parse_step

MINUTE_MS, DAY_MS = 60_000, 86_400_000


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1mo", "5mo", "1q", "1y", "7y"])
def test_every_first_of_a_month_is_found(size: str) -> None:
    """Ranges of no more than a boundary find it, in each of 400 years, and equal the range as a whole."""
    step = parse_step("size", size)
    months = range(-(200 * 12) // step.months, 200 * 12 // step.months + 1)
    firsts = [divmod(number * step.months, 12) for number in months]
    since = [datetime(1970 + year, month + 1, 1, tzinfo=UTC).toordinal() - 719_163 for year, month in firsts]
    expected = [days * DAY_MS for days in since]
    grid = Grid("UTC", step, 0)
    assert expected == [found for at in expected for found in grid.boundaries(at, at + 1)]
    assert expected == grid.boundaries(expected[0], expected[-1] + 1).to_list()


def test_texts_of_one_step_are_one() -> None:
    """Months are shown in the longest unit that fits them."""
    shown = [
        parse_step("size", text).text for text in ("12mo", "3mo", "4q", "2mo", "24h", "90m", "2w", "14d")
    ]
    assert shown == ["1y", "1q", "1y", "2mo", "1d", "1h30m", "2w", "14d"]


@pytest.mark.parametrize(
    ("size", "tz", "offset", "expected_minutes"),
    [
        ("1d", "UTC", None, 1440),
        ("1w", "UTC", None, 1440),
        ("1mo", "UTC", None, 1440),
        ("1d", "Asia/Tokyo", None, 180),
        ("1d", "Asia/Kolkata", None, 30),
        ("1mo", "Asia/Kathmandu", None, 15),
        ("1d", "Europe/Berlin", None, 60),
        ("5m", "Europe/Berlin", None, 5),
        ("1d", "Europe/Berlin", "10m", 10),
        # St John's changed its clocks at one minute past midnight until 2011; hours were skipped then.
        ("1h", "America/St_Johns", None, 1),
        # Monrovia was 44 minutes and 30 seconds behind until 1972.
        ("1d", "Africa/Monrovia", None, 0.5),
    ],
)
def test_the_base_divides_every_boundary(
    size: str, tz: str, offset: str | None, expected_minutes: float
) -> None:
    """The store from which calendar windows are derived has the greatest size that fits the zone's history."""
    windows = parse_windows(size, tz=tz, offset=offset)
    assert expected_minutes * MINUTE_MS == windows.base_ms
    assert not windows.is_tumbling


@pytest.mark.parametrize("size", ["36h", "25h", "7h", "5h", "1d1h", 7, timedelta(hours=36), "13ms"])
def test_a_size_without_a_place_on_the_clock_is_refused(size: Any) -> None:
    """What is neither whole days nor divides a day would start at another hour each day."""
    with pytest.raises(
        ConfigurationError, match=r"size on a wall clock must be whole days.*\n\nHint: give \"1d\""
    ):
        parse_windows(size, tz="Europe/Berlin")


@pytest.mark.parametrize(
    ("tz", "hint"),
    [
        ("europe/berlin", "did you mean 'Europe/Berlin'"),
        ("Berlin", "did you mean 'Europe/Berlin'"),
        ("new york", "did you mean 'America/New_York'"),
        ("Europe/Berln", "did you mean 'Europe/Berlin'"),
        ("Europe", "Europe"),
        ("../etc", "IANA"),
        ("", "IANA"),
        ("not a zone at all", "IANA"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest(tz: str, hint: str) -> None:
    """A zone that doesn't exist, or a path, is no zone."""
    with pytest.raises(ConfigurationError, match=rf"^tz: {tz!r} is not a time zone\.\n\nHint: .*{hint}"):
        parse_windows("1d", tz=tz)


@pytest.mark.parametrize("tz", [2, True, ZoneInfo("UTC"), UTC, b"UTC"])
def test_a_zone_is_named_by_text(tz: Any) -> None:
    """Zone objects and offsets are refused: a store is found by the zone's name."""
    with pytest.raises(ConfigurationError, match="tz must be the name of a time zone as text"):
        parse_windows("1d", tz=tz)
