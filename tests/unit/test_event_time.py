"""Event times from fields: every form that producers write, and null for what is none."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import example, given

from ktframe.config.settings import TimeUnit
from ktframe.fold.epoch import END_LIKELY_MS, FIRST_LIKELY_MS, likely_unit, unit_of
from ktframe.fold.event_time import as_datetime, event_times

NEW_YEAR = 1_704_067_200_000
"""2024-01-01T00:00:00Z in milliseconds."""
HOUR = 3_600_000


def times(series: pl.Series, unit: TimeUnit | None = None) -> list[int | None]:
    """Return the event times of a column; that they are Int64 is checked on the way."""
    found = event_times(series.alias("at").to_frame(), "at", unit)
    assert found.dtype == pl.Int64()
    return found.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01T00:00:00Z", NEW_YEAR),
        ("2024-01-01T00:00:00z", NEW_YEAR),
        ("2024-01-01T00:00:00.5Z", NEW_YEAR + 500),
        ("2024-01-01T00:00:00.123456789Z", NEW_YEAR + 123),
        ("2024-01-01T00:00:00.9999Z", NEW_YEAR + 999),
        ("2024-01-01T00:00:00+09:00", NEW_YEAR - 9 * HOUR),
        ("2024-01-01T00:00:00.25-03:30", NEW_YEAR + 250 + 3 * HOUR + HOUR // 2),
        ("2024-01-01T00:00:00.000+0000", NEW_YEAR),
        ("2024-01-01T00:00:00+09", NEW_YEAR - 9 * HOUR),
        ("2024-01-01 00:00:00+00:00", NEW_YEAR),
        ("2024-01-01 00:00:00.5+0100", NEW_YEAR + 500 - HOUR),
        ("2024-01-01T00:00Z", NEW_YEAR),
        ("2024-01-01T00:00+01:00", NEW_YEAR - HOUR),
        ("2024-01-01 00:00+01", NEW_YEAR - HOUR),
        ("2024-01-01T00:00:00", NEW_YEAR),
        ("2024-01-01T00:00:00.123456", NEW_YEAR + 123),
        ("2024-01-01 00:00:00.5", NEW_YEAR + 500),
        ("2024-01-01T00:00", NEW_YEAR),
        ("2024-01-01 00:00", NEW_YEAR),
        ("2024-01-01", NEW_YEAR),
        ("1969-12-31T23:59:59.9995Z", -1),
        ("1969-12-31T23:59:59.9985", -2),
        ("1969-12-31", -24 * HOUR),
        ("", None),
        ("garbage", None),
        ("2024-13-01", None),
        ("2024-02-30T00:00:00Z", None),
        ("2024-01-01T25:00:00Z", None),
        ("2024-01-01T00:00:00Zx", None),
        ("2024-01-01T00:00:00+99:99", None),
        ("1704067200000", None),
        ("12:00:00", None),
    ],
)
def test_text_is_iso_8601(text: str, expected: int | None) -> None:
    """Text is read as ISO 8601, as UTC without an offset, and floored to milliseconds; anything else is null."""
    assert times(pl.Series([text])) == [expected]


def test_forms_may_be_mixed() -> None:
    """One column may hold every form, nulls and garbage; each row is read by itself."""
    texts = ["2024-01-01", None, "2024-01-01T00:00:00Z", "x", "2024-01-01 00:00:00", "2024-01-01T00:00"]
    assert times(pl.Series(texts)) == [NEW_YEAR, None, NEW_YEAR, None, NEW_YEAR, NEW_YEAR]


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series([0, -1, None, 2**62]), [0, -1, None, 2**62]),
        (pl.Series([5, -5], dtype=pl.Int8), [5, -5]),
        (pl.Series([1, 2**63], dtype=pl.UInt64), [1, None]),
        (pl.Series([2**70, -7], dtype=pl.Int128), [None, -7]),
    ],
)
def test_integers_are_milliseconds(series: pl.Series, expected: list[int | None]) -> None:
    """Integers of any width are milliseconds since 1970; one beyond Int64 is no time."""
    assert times(series) == expected


@pytest.mark.parametrize("dtype", [pl.Float32(), pl.Float64()])
def test_what_is_no_finite_float_is_null(dtype: pl.DataType) -> None:
    """NaN, infinities and seconds beyond all milliseconds are null."""
    series = pl.Series([1.5, None, float("nan"), float("inf"), float("-inf"), 3e38], dtype=dtype)
    assert times(series) == [1500, None, None, None, None, None]


@example(1001)
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
@example(1_001)
def test_float_seconds_keep_their_milliseconds(milliseconds: int) -> None:
    """Seconds as a float give back the very millisecond, though 1.001 * 1000 is below 1001."""
    assert times(pl.Series([milliseconds / 1000])) == [milliseconds]


def test_float_seconds_are_floored() -> None:
    """What is finer than a millisecond is floored, before 1970 as well."""
    assert times(pl.Series([1.0019, -0.0001, -1.0005])) == [1001, -1, -1001]


MILLISECONDS: dict[TimeUnit, Fraction] = {
    "d": Fraction(86_400_000),
    "s": Fraction(1_000),
    "ms": Fraction(1),
    "us": Fraction(1, 1_000),
    "ns": Fraction(1, 1_000_000),
}
UNITS = st.sampled_from([*MILLISECONDS])


def _expected(number: Fraction, unit: TimeUnit) -> int | None:
    """Return the millisecond of a number, rounded down; None beyond Int64."""
    at = math.floor(number * MILLISECONDS[unit])
    return at if -(2**63) <= at < 2**63 else None


EDGES = [
    2**63 - 1,
    -(2**63),
    2**63 // 1_000,
    -(2**63) // 1_000,
    2**63 // 86_400_000,
    -1,
    0,
    999,
    1_000,
    -1_001,
]


@given(
    UNITS,
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-(10**13), 10**13) | st.sampled_from(EDGES)),
)
def test_integers_count_their_unit(unit: TimeUnit, numbers: list[int]) -> None:
    """Integers, and the same as text, are floored to milliseconds, before 1970 too; beyond Int64 they are no time."""
    # One less than a product of Int64's least: Polars has no way to check that the product is exact.
    expected = [None if at == -(2**63) else at for at in (_expected(Fraction(n), unit) for n in numbers)]
    found = times(pl.Series(numbers, dtype=pl.Int64), unit)
    assert [None if at == -(2**63) else at for at in found] == expected
    texts = times(pl.Series([str(number) for number in numbers], dtype=pl.String), unit)
    assert texts == found


@pytest.mark.parametrize("dtype", [pl.Int8(), pl.Int32(), pl.UInt32(), pl.UInt64(), pl.Int128()], ids=str)
@pytest.mark.parametrize("unit", [*MILLISECONDS])
def test_integers_of_any_width_count_their_unit(dtype: pl.DataType, unit: TimeUnit) -> None:
    """The width of the column is no matter."""
    numbers = [0, 1, 127, *([2**64 - 1] if dtype in (pl.UInt64(), pl.Int128()) else [])]
    assert times(pl.Series(numbers, dtype=dtype), unit) == [_expected(Fraction(n), unit) for n in numbers]


@given(UNITS, st.lists(st.floats(-1e19, 1e19) | st.floats(-1e10, 1e10)))
def test_floats_count_their_unit(unit: TimeUnit, numbers: list[float]) -> None:
    """A float is floored to milliseconds, as the number that it is written as, to within the error of a product."""
    for number, found in zip(numbers, times(pl.Series(numbers, dtype=pl.Float64), unit), strict=True):
        exact = Fraction(number)
        low, high = (
            _expected(exact + abs(exact) * error, unit)
            for error in (-(Fraction(2) ** -52), Fraction(2) ** -50)
        )
        assert found in (low, high, None) or (low is not None and high is not None and low <= found <= high)
        assert found is not None or low is None or high is None or abs(exact) >= 2**63 - 1024 or unit == "d"


@given(st.sampled_from(["us", "ns"]), st.integers(-(2**53) + 1, 2**53 - 1))
def test_whole_floats_are_floored_exactly(unit: TimeUnit, number: int) -> None:
    """A whole number is the same time as an integer and as a float."""
    assert times(pl.Series([float(number)]), unit) == [_expected(Fraction(number), unit)]


@given(UNITS, st.decimals(-(10**9), 10**9, places=3))
def test_text_with_a_fraction_counts_its_unit(unit: TimeUnit, number: Decimal) -> None:
    """A number with a point is a number also as text."""
    text = f"{number:f}"
    assert times(pl.Series([text]), unit) == times(pl.Series([float(text)]), unit)


def test_with_a_unit_text_is_iso_8601_as_well() -> None:
    """A column may hold both; what is neither is null."""
    texts = ["1704067200000", "2024-01-01", None, "x", "1704067200000.9", "", "1e12", "9" * 20, "+5", "-5"]
    expected = [NEW_YEAR, NEW_YEAR, None, None, NEW_YEAR, None, None, None, 5, -5]
    assert times(pl.Series(texts), "ms") == expected


@pytest.mark.parametrize("unit", [*MILLISECONDS])
def test_other_types_need_no_unit(unit: TimeUnit) -> None:
    """Dates and datetimes are themselves, and what is no time stays none."""
    assert times(pl.Series([date(2024, 1, 1)]), unit) == [NEW_YEAR]
    assert times(pl.Series([True, None]), unit) == [None, None]


@given(UNITS, st.integers(FIRST_LIKELY_MS, END_LIKELY_MS - 1), UNITS)
def test_the_likely_unit_is_found(unit: TimeUnit, at_ms: int, taken: TimeUnit) -> None:
    """A time between 1990 and 2100 that was read in another unit is likely one of its own unit, where only that is."""
    number = int(at_ms / MILLISECONDS[unit])
    read = _expected(Fraction(number), taken)
    assert unit_of([number, number]) in (unit, None)
    if read is None or unit == taken or MILLISECONDS[taken] > MILLISECONDS[unit]:
        return
    found = likely_unit(read, taken)
    # What is left of days in ms since 1970 tells nothing any more.
    assert found is None or found[0] == unit or abs(read) < 10**6


AT = datetime(1969, 12, 31, 23, 59, 59, 999_500, tzinfo=UTC)


@pytest.mark.parametrize(
    ("series", "expected"),
    [
        (pl.Series([AT, None], dtype=pl.Datetime("us", "UTC")), [-1, None]),
        (pl.Series([AT], dtype=pl.Datetime("ns", "Asia/Tokyo")), [-1]),
        (pl.Series([AT.replace(tzinfo=None)], dtype=pl.Datetime("us")), [-1]),
        (pl.Series([-7], dtype=pl.Datetime("ms")), [-7]),
        (pl.Series([-7], dtype=pl.Datetime("ms", "America/New_York")), [-7]),
        (pl.Series([date(2024, 1, 1), date(1969, 12, 31), None]), [NEW_YEAR, -24 * HOUR, None]),
    ],
)
def test_temporal_columns_are_themselves(series: pl.Series, expected: list[int | None]) -> None:
    """Dates are their midnight, datetimes their instant (UTC without a zone), floored from any unit."""
    assert times(series) == expected


@pytest.mark.parametrize(
    "series",
    [
        pl.Series([None, None]),
        pl.Series([True, None]),
        pl.Series([timedelta(1), None]),
        pl.Series([1, 2], dtype=pl.Time),
        pl.Series([[1], None]),
        pl.Series([{"x": 1}, None]),
        pl.Series([b"2024-01-01", None]),
    ],
    ids=lambda series: str(series.dtype),
)
def test_other_columns_hold_no_time(series: pl.Series) -> None:
    """A column of any other dtype is null throughout, and no error."""
    assert times(series) == [None, None]


def test_a_field_that_is_not_there_is_null() -> None:
    """A field that no record has shown yet gives a null for each row."""
    assert event_times(pl.DataFrame({"x": [1, 2]}), "at").to_list() == [None, None]
    assert event_times(pl.DataFrame(), "at").to_list() == []


@pytest.mark.parametrize("dtype", [pl.String(), pl.Int64(), pl.Float64(), pl.Date(), pl.Null()], ids=str)
def test_no_rows_have_no_times(dtype: pl.DataType) -> None:
    """An empty column of any dtype gives an empty one."""
    assert times(pl.Series([], dtype=dtype)) == []


@given(st.text() | st.from_regex(r"\A[0-9]{1,5}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}.{0,9}\Z"))
def test_no_text_is_an_error(text: str) -> None:
    """Whatever a producer wrote, the answer is a time or null."""
    assert len(times(pl.Series([text]))) == 1


@given(st.datetimes(timezones=st.just(UTC)))
def test_python_s_own_format_is_read(moment: datetime) -> None:
    """``isoformat()`` and ``str()`` of any datetime, with and without its zone, give its millisecond."""
    expected = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    naive = moment.replace(tzinfo=None)
    texts = [moment.isoformat(), str(moment), naive.isoformat(), str(naive)]
    assert times(pl.Series(texts)) == [expected] * 4


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (None, None),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (-1, datetime(1969, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        (253_402_300_799_999, datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)),
        (253_402_300_800_000, None),
        (-62_135_596_800_000, datetime(1, 1, 1, tzinfo=UTC)),
        (-62_135_596_800_001, None),
        (2**63 - 1, None),
        (-(2**63), None),
    ],
)
def test_a_moment_outside_python_is_none(ms: int | None, expected: datetime | None) -> None:
    """Milliseconds become a datetime exactly, or None where Python has none."""
    assert as_datetime(ms) == expected
