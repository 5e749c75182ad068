"""What the bytes of a header are read as, and that what is written is read back."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.formats.header_values import is_readable_type, read_values, written_values

MS, NS = pl.Datetime("ms", "UTC"), pl.Datetime("ns")


@pytest.mark.parametrize(
    ("dtype", "text", "value"),
    [
        (pl.String, "", ""),
        (pl.String, "größe\0", "größe\0"),
        (pl.Int8, "-128", -128),
        (pl.Int64, "007", 7),
        (pl.UInt64, "18446744073709551615", 2**64 - 1),
        (pl.Float64, "-1.5e-3", -0.0015),
        (pl.Float64, "5", 5.0),
        (pl.Float64, "-Infinity", float("-inf")),
        (pl.Boolean, "true", True),
        (pl.Boolean, "false", False),
        (pl.Date, "2024-02-29", date(2024, 2, 29)),
        (MS, "2024-03-31T01:30:00.5+02:00", datetime(2024, 3, 30, 23, 30, 0, 500_000, UTC)),
        (pl.Datetime("us"), "2024-03-31 01:30", datetime(2024, 3, 31, 1, 30)),  # noqa: DTZ001 - a column without a zone
    ],
)
def test_text_is_read_as_declared(dtype: Any, text: str, value: Any) -> None:
    """Whatever else is in the batch."""
    column, unread = read_values("h", [None, text.encode(), None], pl.Series(dtype=dtype).dtype)
    assert (column.name, column.dtype, column.to_list()) == ("h", dtype, [None, value, None])
    assert unread == {}


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (pl.String, [b"\xff", b"a\xc3"]),
        (
            pl.Int64,
            [b"", b" 5", b"+5", b"5.0", b"1_0", "٣".encode(), b"9223372036854775808", b"-", (5).to_bytes(8)],
        ),
        (pl.UInt8, [b"-1", b"256"]),
        (pl.Float64, [b"", b"nan", b"inf", b"1e999", b"0x1p3", b"1,5", b"1_0.0", b"."]),
        (pl.Boolean, [b"", b"True", b"1", b"yes"]),
        (pl.Date, [b"2024-02-30", b"2024-1-1", b"2024-01-01T00:00Z"]),
        (MS, [b"2024-03-31T01:30:00", b"1711848600000", b"2024-03-31T01:30:00.0001Z", b"0000-01-01T00:00Z"]),
        (NS, [b"2024-03-31T01:30:00Z", b"1500-01-01"]),
    ],
)
def test_what_cannot_be_read_is_told_and_never_another_value(dtype: Any, values: list[bytes]) -> None:
    """Each by itself, with the name, the value and the type."""
    column, unread = read_values("h", [*values, None], pl.Series(dtype=dtype).dtype)
    assert column.null_count() == len(values) + 1
    assert sorted(unread) == list(range(len(values)))
    for index, value in enumerate(values):
        assert unread[index].startswith(f"header 'h': {repr(value)[1:]} is no ")


def test_a_long_value_is_cut_in_the_reason() -> None:
    """A header may be large."""
    _, unread = read_values("h", [b"\xff" * 10_000], pl.String())
    assert len(unread[0]) < 150


@pytest.mark.parametrize(
    "dtype", [pl.Float32, pl.Int128, pl.Time, pl.Decimal(9, 2), pl.List(pl.String), pl.Null, pl.Enum(["a"])]
)
def test_other_types_are_not_guessed(dtype: Any) -> None:
    """What text stands for such a value nobody says."""
    assert not is_readable_type(pl.Series(dtype=dtype).dtype)


VALUES: dict[Any, st.SearchStrategy[Any]] = {
    pl.String: st.text(),
    pl.Binary: st.binary(),
    pl.Boolean: st.booleans(),
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt16: st.integers(0, 2**16 - 1),
    pl.Float64: st.floats(allow_nan=False),
    pl.Date: st.dates(),
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("us", "Asia/Tokyo"): st.datetimes(timezones=st.just(UTC)),
}


@given(
    st.sampled_from([*VALUES]).flatmap(
        lambda dtype: st.tuples(st.just(dtype), st.lists(st.none() | VALUES[dtype]))
    )
)
def test_what_is_written_is_read_back(case: tuple[Any, list[Any]]) -> None:
    """Of every type, nulls too."""
    dtype, values = case
    column = pl.Series("h", values, dtype=dtype)
    read, unread = read_values("h", written_values(column), column.dtype)
    assert unread == {}
    assert read.equals(column, check_dtypes=True, null_equal=True)
