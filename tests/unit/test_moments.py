"""Moments as people write them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from ktframe.config.moments import Start, parse_moment, parse_start
from ktframe.errors import ConfigurationError

NOON = 1_767_268_800_000  # 2026-01-01T12:00Z


@pytest.mark.parametrize(
    ("value", "tz", "expected"),
    [
        ("2026-01-01T12:00Z", "UTC", NOON),
        ("2026-01-01 12:00", "UTC", NOON),
        ("2026-01-01T13:00+01:00", "Asia/Tokyo", NOON),
        ("2026-01-01 13:00", "Europe/Berlin", NOON),
        (datetime(2026, 1, 1, 12, tzinfo=UTC), "Asia/Tokyo", NOON),
        (datetime(2026, 1, 1, 21), "Asia/Tokyo", NOON),  # noqa: DTZ001 - a wall-clock time
        (datetime(2026, 1, 1, 7, tzinfo=timezone(timedelta(hours=-5))), "UTC", NOON),
        (date(2026, 1, 1), "UTC", NOON - 12 * 3_600_000),
        ("2026-01-01", "Asia/Tokyo", NOON - 21 * 3_600_000),
        ("1969-12-31T23:59:59.9995Z", "UTC", -1),
        ("-2h", "UTC", NOON - 7_200_000),
        (timedelta(hours=-2), "Asia/Tokyo", NOON - 7_200_000),
    ],
)
def test_a_moment_is_read(value: Any, tz: str, expected: int) -> None:
    """Without an offset it is a wall-clock time of the zone; a negative duration counts back from now."""
    assert parse_moment("start", value, tz=tz, now_ms=NOON) == expected


@pytest.mark.parametrize(
    "value", [5, 5.0, True, None, "", "yesterday", "12:00", "2026-13-01", [], b"2026-01-01"]
)
def test_what_is_no_moment_is_refused(value: Any) -> None:
    """A bare number is refused too: seconds and milliseconds look alike."""
    with pytest.raises(ConfigurationError, match=r"start=.* is not a moment"):
        parse_moment("start", value)


@pytest.mark.parametrize("value", [timedelta(hours=2), timedelta(0), "-0s"])
def test_a_duration_must_lie_in_the_past(value: Any) -> None:
    """A duration without a minus would lie in the future."""
    with pytest.raises(ConfigurationError, match="lies in the future"):
        parse_start("start", value)


def test_an_hour_that_the_clocks_have_twice_needs_an_offset() -> None:
    """On 2026-10-25 Berlin has 02:30 twice; with an offset it is clear."""
    with pytest.raises(ConfigurationError, match=r"occurs twice in Europe/Berlin") as caught:
        parse_moment("end", "2026-10-25 02:30", tz="Europe/Berlin")
    assert "2026-10-25T02:30:00+02:00" in str(caught.value.hint)
    first = parse_moment("end", "2026-10-25T02:30+02:00", tz="Europe/Berlin")
    second = parse_moment("end", "2026-10-25T02:30+01:00", tz="Europe/Berlin")
    assert second - first == 3_600_000


def test_an_hour_that_the_clocks_skip_does_not_exist() -> None:
    """On 2026-03-29 Berlin has no 02:30."""
    with pytest.raises(ConfigurationError, match=r"2026-03-29 02:30:00 does not exist in Europe/Berlin"):
        parse_moment("start", "2026-03-29 02:30", tz="Europe/Berlin")


def test_a_start_moves_with_the_clock_or_stands() -> None:
    """A relative one is another moment later, an absolute one is not."""
    relative, absolute = parse_start("start", "-2h"), parse_start("start", "2026-01-01T12:00Z")
    assert (relative, relative.is_relative) == (Start(before_ms=7_200_000), True)
    assert (absolute, absolute.is_relative) == (Start(at_ms=NOON), False)
    assert [start.moment(NOON + 1) for start in (relative, absolute)] == [NOON + 1 - 7_200_000, NOON]
