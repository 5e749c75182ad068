"""Fixed windows are Kafka's; sizes are read as people write them; what makes no sense is refused."""

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from ktframe.columns import WINDOW, WINDOW_END
from ktframe.config.durations import format_duration, parse_duration_ms
from ktframe.errors import ConfigurationError
from ktframe.windows.base import Windows
from ktframe.windows.calendar import CalendarWindows
from ktframe.windows.fixed import FixedWindows
from ktframe.windows.parsing import parse_minutes, parse_windows

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000

TUMBLING = [
    # TimeWindowsTest.shouldComputeWindowsForTumblingWindows
    (12, 21, [(12, 24)]),
    # TimeWindowedKStreamImplTest.shouldMaterializeCount, fed by processData
    (500, 10, [(0, 500)]),
    (500, 500, [(500, 1000)]),
    (500, 550, [(500, 1000)]),
    (500, 1000, [(1000, 1500)]),
    # Streams DSL developer guide, "Tumbling time windows": [0;5000),[5000;10000), end exclusive
    (5000, 0, [(0, 5000)]),
    (5000, 4999, [(0, 5000)]),
    (5000, 5000, [(5000, 10000)]),
    # The same, its diagram of windows of five minutes: t=5 is 300,000
    (300_000, 300_000, [(300_000, 600_000)]),
]
HOPPING = [
    # TimeWindowsTest.shouldComputeWindowsForHoppingWindows
    (12, 5, 21, [(10, 22), (15, 27), (20, 32)]),
    # TimeWindowsTest.shouldComputeWindowsForBarelyOverlappingHoppingWindows
    (6, 5, 7, [(5, 11)]),
    # KStreamWindowAggregateTest.testAggBasic: A at 4, 5 and 10, C at 9 and 14
    (10, 5, 4, [(0, 10)]),
    (10, 5, 5, [(0, 10), (5, 15)]),
    (10, 5, 9, [(0, 10), (5, 15)]),
    (10, 5, 10, [(5, 15), (10, 20)]),
    (10, 5, 14, [(5, 15), (10, 20)]),
    # Streams DSL developer guide, "Hopping time windows", and TimeWindows' javadoc: [0;5000),[3000;8000)
    (5000, 3000, 0, [(0, 5000)]),
    (5000, 3000, 3000, [(0, 5000), (3000, 8000)]),
    (5000, 3000, 5000, [(3000, 8000)]),
    # The same guide: five minutes every minute; the first minute is in the first window only
    (300_000, 60_000, 59_999, [(0, 300_000)]),
    (300_000, 60_000, 119_999, [(0, 300_000), (60_000, 360_000)]),
]


def windows_of(windows: Windows, at_ms: int) -> list[tuple[int, int]]:
    """Return start and end of all windows that hold a time, as scalars give them."""
    return [(start, windows.end_of(start)) for start in windows.starts_of(at_ms)]


def assigned(windows: Windows, at_ms: int) -> list[tuple[int, int]]:
    """Return start and end of all windows that hold a time, as a frame gets them."""
    rows = windows.assign(pl.DataFrame({"at": [at_ms]}), "at")
    return list(rows.select(WINDOW, WINDOW_END).iter_rows())


@pytest.mark.parametrize(("size", "at_ms", "expected"), TUMBLING)
def test_tumbling_windows_are_kafkas(size: int, at_ms: int, expected: list[tuple[int, int]]) -> None:
    """The worked examples of Kafka's tests and guide come out, start inclusive, end exclusive."""
    windows = FixedWindows(size, size)
    assert expected == windows_of(windows, at_ms) == assigned(windows, at_ms)


@pytest.mark.parametrize(("size", "every", "at_ms", "expected"), HOPPING)
def test_hopping_windows_are_kafkas(
    size: int, every: int, at_ms: int, expected: list[tuple[int, int]]
) -> None:
    """The worked examples of Kafka's tests and guide come out, none starting before 1970."""
    windows = FixedWindows(size, every)
    assert expected == windows_of(windows, at_ms) == assigned(windows, at_ms)


@pytest.mark.parametrize(
    ("windows", "at_ms", "expected"),
    [
        (FixedWindows(5, 5), -1, [(-5, 0)]),
        (FixedWindows(5, 5), -5, [(-5, 0)]),
        (FixedWindows(10, 5), -1, [(-10, 0), (-5, 5)]),
        (FixedWindows(10, 10, 4), 3, [(-6, 4)]),
        (FixedWindows(10, 5, 1), 0, [(-9, 1), (-4, 6)]),
    ],
)
def test_times_before_1970_and_offsets_lose_nothing(
    windows: FixedWindows, at_ms: int, expected: list[tuple[int, int]]
) -> None:
    """Negative times floor, and with an offset windows may reach over 1970: Kafka has neither."""
    assert expected == windows_of(windows, at_ms) == assigned(windows, at_ms)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"size": 5}, ("5m", 300_000, True)),
        ({"size": "1h30m"}, ("1h30m", 5_400_000, True)),
        ({"size": timedelta(seconds=90)}, ("1m30s", 90_000, True)),
        ({"size": "1w"}, ("7d", 7 * DAY_MS, True)),
        ({"size": "1h", "every": 5}, ("1h/5m", 300_000, False)),
        ({"size": "12m", "every": "5m"}, ("12m/5m", MINUTE_MS, False)),
        ({"size": "1w", "offset": "4d"}, ("7d+4d", DAY_MS, False)),
        ({"size": "1d", "offset": "-1h"}, ("1d+23h", HOUR_MS, False)),
        ({"size": "1d", "every": "6h", "offset": "7h"}, ("1d/6h+1h", HOUR_MS, False)),
    ],
)
def test_fixed_windows_know_their_name_and_base(
    arguments: dict[str, Any], expected: tuple[str, int, bool]
) -> None:
    """The name tells windows apart; the base divides every boundary."""
    windows = parse_windows(**arguments)
    assert expected == (windows.name, windows.base_ms, windows.is_tumbling)


def test_starts_between_are_inclusive() -> None:
    """Both ends of the range may be starts; a range without one is empty."""
    windows = FixedWindows(10, 5, 1)
    assert windows.starts_between(-4, 11).to_list() == [-4, 1, 6, 11]
    empty = windows.starts_between(2, 5)
    assert (empty.to_list(), empty.dtype) == ([], pl.Int64())
    assert windows.starts_between(2, -50).to_list() == []


@pytest.mark.parametrize("windows", [parse_windows(5), parse_windows(10, 5), parse_windows(5, tz="UTC")])
def test_rows_keep_their_columns_and_old_windows_are_replaced(windows: Windows) -> None:
    """Columns stay in place beside the windows', also lists, and no rows give no rows."""
    rows = pl.DataFrame({"v": [["a", "b"], []], WINDOW: ["x", "y"], "at": [600_000, 0]})
    given = windows.assign(rows, "at")
    assert given.columns == ["v", WINDOW, "at", WINDOW_END]
    assert given.unique("at", maintain_order=True)["v"].to_list() == [["a", "b"], []]
    none = windows.assign(rows.clear(), "at")
    assert (none.height, none.schema) == (0, given.schema)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (5, 5 * MINUTE_MS),
        ("5m", 5 * MINUTE_MS),
        (" 1h30m ", 90 * MINUTE_MS),
        ("1w", 7 * DAY_MS),
        (timedelta(hours=2), 2 * HOUR_MS),
        ("250ms", 250),
    ],
)
def test_a_number_is_minutes(size: Any, expected: int) -> None:
    """Sizes are minutes, text with a unit or a timedelta; without a zone they count from 1970."""
    assert parse_windows(size) == FixedWindows(expected, expected)
    assert parse_minutes("grace", size) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"size": "1mo"}, CalendarWindows("1mo", "1mo", "UTC")),
        ({"size": "3mo"}, CalendarWindows("1q", "1q", "UTC")),
        ({"size": "12mo", "every": "1q"}, CalendarWindows("1y", "1q", "UTC")),
        ({"size": "1w", "tz": "UTC"}, CalendarWindows("1w", "1w", "UTC")),
        ({"size": "7d", "tz": "UTC"}, CalendarWindows("7d", "7d", "UTC")),
        ({"size": timedelta(days=7), "tz": "UTC"}, CalendarWindows("7d", "7d", "UTC")),
        ({"size": "24h", "tz": "Asia/Tokyo"}, CalendarWindows("1d", "1d", "Asia/Tokyo")),
        ({"size": 1440, "tz": "Asia/Tokyo"}, CalendarWindows("1d", "1d", "Asia/Tokyo")),
        ({"size": timedelta(days=1), "tz": "Asia/Tokyo"}, CalendarWindows("1d", "1d", "Asia/Tokyo")),
        ({"size": "1w", "every": "1d", "tz": "UTC"}, CalendarWindows("1w", "1d", "UTC")),
        (
            {"size": "1w", "tz": "UTC", "offset": "-1d"},
            CalendarWindows("1w", "1w", "UTC", 6 * DAY_MS),
        ),
        ({"size": "1mo", "offset": "-1d"}, CalendarWindows("1mo", "1mo", "UTC", -DAY_MS)),
    ],
)
def test_a_zone_or_a_month_makes_calendar_windows(arguments: Any, expected: CalendarWindows) -> None:
    """A zone, also UTC, or a month asks for the wall clock; equal spellings are equal windows."""
    assert parse_windows(**arguments) == expected


def test_a_week_starts_on_thursday_or_on_monday() -> None:
    """Kafka counts weeks from Thursday, 1970-01-01; a zone gives weeks from Monday; 7 days are not a week."""
    starts = [
        parse_windows(size, tz=tz).starts_of(10 * DAY_MS)
        for size, tz in (("1w", None), ("1w", "UTC"), ("7d", "UTC"))
    ]
    assert starts == [[7 * DAY_MS], [4 * DAY_MS], [7 * DAY_MS]]


@pytest.mark.parametrize("name", ["size", "every", "offset"])
@pytest.mark.parametrize(
    "value", [True, 1.5, float("nan"), b"5m", [], "", "5", "five", "5 min", "1.5mo", "1mo1d", "5M"]
)
def test_what_is_no_duration_is_refused(name: str, value: Any) -> None:
    """Flags, floats, garbage and text without a unit are refused by the argument's name, with the spellings."""
    arguments = {"size": "1h", name: value}
    with pytest.raises(ConfigurationError, match=rf"^{name}(: | must be a duration).*\n\nHint: give minutes"):
        parse_windows(**arguments)


@pytest.mark.parametrize("name", ["size", "every"])
@pytest.mark.parametrize("value", [0, -5, "0s", "-1h", "0mo", timedelta(0), timedelta(microseconds=1)])
@pytest.mark.parametrize("tz", [None, "UTC"])
def test_what_is_not_positive_is_refused(name: str, value: Any, tz: str | None) -> None:
    """As TimeWindowsTest has it (windowSizeMustNotBeZero, advanceIntervalMustNotBeNegative and others)."""
    with pytest.raises(ConfigurationError, match=rf"^{name}(: '0mo' is not| must be longer than zero)"):
        parse_windows(**{"size": "1h", name: value}, tz=tz)


def test_a_hop_longer_than_the_window_is_refused() -> None:
    """As TimeWindowsTest.advanceIntervalMustNotBeLargerThanWindowSize: records in between would be in none."""
    with pytest.raises(ConfigurationError, match=r"every must be .* not longer than size, not 10m for 5m"):
        parse_windows(5, 10)


@pytest.mark.parametrize("value", ["101y", "2000mo", "6000w", 10**30, "99999999999999d", timedelta(40_000)])
def test_what_is_longer_than_a_century_is_refused(value: Any) -> None:
    """A size that no topic has is a mistake, and would leave Int64."""
    with pytest.raises(ConfigurationError, match=r"size must not be longer than 100 years\."):
        parse_windows(value)


def test_only_grace_may_be_zero() -> None:
    """Zero is a grace, as in TimeWindowsTest.gracePeriodShouldEnforceBoundaries, but no size; negative is neither."""
    assert parse_minutes("grace", 0, is_zero_allowed=True) == 0
    with pytest.raises(ConfigurationError, match="grace must be longer than zero, not 0"):
        parse_minutes("grace", 0)
    with pytest.raises(ConfigurationError, match="grace must be zero or longer, not '-1s'"):
        parse_minutes("grace", "-1s", is_zero_allowed=True)


@pytest.mark.parametrize(
    ("length_ms", "expected"),
    [
        (0, "0s"),
        (1, "1ms"),
        (300_000, "5m"),
        (5_400_000, "1h30m"),
        (7 * DAY_MS, "7d"),
        (-90_500, "-1m30s500ms"),
    ],
)
def test_durations_are_shown_as_they_are_written(length_ms: int, expected: str) -> None:
    """The text has whole units, days at most, and reads back."""
    assert expected == format_duration(length_ms)
    assert length_ms == parse_duration_ms(expected)
