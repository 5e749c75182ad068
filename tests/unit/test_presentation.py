"""What rows of the view look like to the user: names, key ranges, times."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import given

from ktframe.columns import BOOKKEEPING, KEY, OFFSET, PARTITION, TIMESTAMP
from ktframe.errors import ConfigurationError
from ktframe.fold.identity_codec import encode_part
from ktframe.fold.records import RefusedRecord
from ktframe.tables.presentation import Presentation
from ktframe.tables.refused_frames import refused_frame

BY_RECORD_KEY = Presentation((KEY,))


def names(*fields: str, key_name: str | None = "key", metadata: bool = False) -> list[str]:
    """Return the columns shown for ``fields``."""
    schema = pl.Schema(dict.fromkeys(fields, pl.Int64()))
    rows = pl.DataFrame(schema={**BOOKKEEPING, KEY: pl.String(), **schema})
    return Presentation((KEY,), key_name).frame(rows, schema, metadata=metadata).columns


def keys_within(rows: pl.DataFrame, start: object, end: object) -> list[Any]:
    """Return the keys of ``rows``, all columns of which are the key, in a range."""
    presentation = Presentation(tuple(rows.columns))
    return presentation.keys(presentation.within(rows, start, end))


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "key_name", "expected"),
    [
        (["key"], "key", ["record_key", "key", "partition", "offset", "timestamp"]),
        (
            ["key", "record_key"],
            "key",
            ["record_record_key", "key", "record_key", "partition", "offset", "timestamp"],
        ),
        (["a"], "offset", ["offset", "a", "partition", "record_offset", "timestamp"]),
        (
            ["record_offset"],
            "offset",
            ["offset", "record_offset", "partition", "record_record_offset", "timestamp"],
        ),
        (
            ["partition", "record_partition"],
            None,
            ["partition", "record_partition", "record_record_partition", "offset", "timestamp"],
        ),
        (["a"], "", ["", "a", "partition", "offset", "timestamp"]),
    ],
)
def test_every_column_has_its_own_name(fields: list[str], key_name: str | None, expected: list[str]) -> None:
    """Fields keep their names; ours get ``record_`` until the name is free, the key before the metadata."""
    assert names(*fields, key_name=key_name, metadata=True) == expected


@given(
    st.lists(st.sampled_from(["key", "offset", "timestamp"]), max_size=3),
    st.lists(st.integers(0, 3), max_size=8),
    st.sampled_from(["key", None, "mine", "record_offset"]),
)
def test_names_never_collide(stems: list[str], depths: list[int], key_name: str | None) -> None:
    """Whatever the fields are called, there is a column for each of them and each of ours."""
    fields = {"record_" * depth + stem for stem, depth in zip(stems * 3, depths, strict=False)} - {key_name}
    shown = names(*fields, key_name=key_name, metadata=True)
    assert len(shown) == len(set(shown)) == len(fields) + 3 + (key_name is not None)
    assert fields <= set(shown)


def test_a_chosen_key_name_that_is_a_field_is_refused() -> None:
    """Rows are not shown under a name that means two things, but a preview is."""
    fields = pl.Schema({"region": pl.String()})
    rows = pl.DataFrame(schema={KEY: pl.String(), **fields})
    presentation = Presentation((KEY,), "region")
    with pytest.raises(ConfigurationError, match="key_name='region' is also a field"):
        presentation.frame(rows, fields)
    assert presentation.frame(rows, fields, strict=False).columns == ["record_region", "region"]
    by_field = Presentation(("region",), "region")
    assert by_field.frame(rows, fields).columns == ["region"]


# --- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("year", [-262143, 0, 10_000, 262_142])
def test_times_that_python_has_not_are_shown(year: int) -> None:
    """Polars holds and prints years that no datetime has."""
    first_of_year = pl.date(2000, 1, 1).dt.offset_by(f"{year - 2000}y").cast(pl.Datetime("ms"))
    time = pl.select(first_of_year.dt.timestamp("ms")).item()
    frame = _with_time(time)
    assert frame["timestamp"].dt.year().to_list() == [year]
    assert str(year) in str(frame)


@pytest.mark.parametrize("time", [None, 2**62, -(2**62), 2**63 - 1, -(2**63), 8_210_266_876_800_000])
def test_times_that_polars_can_not_print_are_null(time: int | None) -> None:
    """A frame can be printed and read whatever timestamp a producer made up."""
    frame = _with_time(time)
    assert frame["timestamp"].to_list() == [None]
    assert frame["timestamp"].dtype == pl.Datetime("ms", "UTC")
    assert "null" in str(frame)
    refused = refused_frame([RefusedRecord(0, 0, time, None, None, "why")])
    assert refused["timestamp"].to_list() == [None]


def _with_time(time: int | None) -> pl.DataFrame:
    rows = pl.DataFrame(
        {KEY: ["a"], PARTITION: [0], OFFSET: [0], TIMESTAMP: [time]}, schema_overrides={TIMESTAMP: pl.Int64}
    )
    return BY_RECORD_KEY.frame(rows, pl.Schema(), metadata=True)


# --- key ranges -------------------------------------------------------------------------------------------------------

COMPOSITE = pl.DataFrame(
    [("eu", "b"), ("eu", None), (None, "a"), ("us", "a"), (None, "b")],
    schema={"r": pl.String(), "id": pl.String()},
    orient="row",
)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, [(None, "a"), (None, "b"), ("eu", None), ("eu", "b"), ("us", "a")]),
        ((None, "a"), (None, "b"), [(None, "a")]),
        ((None, "b"), None, [(None, "b"), ("eu", None), ("eu", "b"), ("us", "a")]),
        ((None,), ("eu",), [(None, "a"), (None, "b")]),
        (("a",), None, [("eu", None), ("eu", "b"), ("us", "a")]),
        (("eu", ""), None, [("eu", "b"), ("us", "a")]),
        (("eu", None), ("eu", "b"), [("eu", None)]),
        (None, ("eu", "zz"), [(None, "a"), (None, "b"), ("eu", None), ("eu", "b")]),
        (None, ("zz",), [(None, "a"), (None, "b"), ("eu", None), ("eu", "b"), ("us", "a")]),
        ("us", None, [("us", "a")]),
    ],
)
def test_null_parts_come_first(start: object, end: object, expected: list[Any]) -> None:
    """A range holds the keys whose parts, compared one by one with null lowest, are in it."""
    assert keys_within(COMPOSITE, start, end) == expected


parts = st.none() | st.integers(-2, 2)
keys = st.tuples(parts, st.none() | st.sampled_from(["", "a", "b"]))


@given(st.lists(keys, unique=True), keys | parts.filter(lambda part: part is not None), keys)
def test_ranges_are_those_of_the_identities(rows: list[Any], start: Any, end: Any) -> None:
    """Rows fall in a range and come in an order as their canonical bytes do."""

    def encoded(key: Any) -> bytes:
        return b"".join(map(encode_part, key if isinstance(key, tuple) else (key,)))

    frame = pl.DataFrame(rows, schema={"n": pl.Int8(), "s": pl.String()}, orient="row")
    expected = sorted(filter(lambda key: encoded(start) <= encoded(key) < encoded(end), rows), key=encoded)
    assert keys_within(frame, start, end) == expected


DAY = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("dtype", "values", "start", "end", "expected"),
    [
        (pl.Decimal(10, 2), ["1.50", "1.56", "2.00"], Decimal("1.555"), Decimal(2), [Decimal("1.56")]),
        (pl.Decimal(10, 2), ["1.50"], Decimal("1E-999999"), Decimal("1E999999"), [Decimal("1.50")]),
        (pl.Datetime("ms", "UTC"), [DAY], DAY, DAY + timedelta(microseconds=1), [DAY]),
        (pl.Datetime("ms", "UTC"), [DAY], DAY + timedelta(microseconds=1), None, []),
        (pl.Date(), [date(1969, 1, 1), date(2024, 1, 1)], date(1970, 1, 1), None, [date(2024, 1, 1)]),
        (pl.Enum(["low", "high"]), ["high", "low"], "low", "high", ["low"]),
        (pl.Categorical(), ["b", "a", "c"], "b", None, ["b", "c"]),
        (pl.Int8(), [1, -1], -(2**200), 2**200, [-1, 1]),
        (pl.Boolean(), [True, False], True, None, [True]),
        (pl.Binary(), [b"\xff", b"a"], b"b", None, [b"\xff"]),
        (pl.Null(), [], "a", b"b", []),
    ],
)
def test_bounds_of_every_kind(
    dtype: pl.DataType, values: list[Any], start: object, end: object, expected: list[Any]
) -> None:
    """A bound need not be a value that the column can hold, only one of its kind."""
    assert keys_within(pl.DataFrame({"k": pl.Series(values).cast(dtype)}), start, end) == expected


@pytest.mark.parametrize(
    ("dtype", "bound"),
    [
        (pl.String(), 5),
        (pl.String(), ("a", "b")),
        (pl.String(), "\ud800"),
        (pl.Int64(), "a"),
        (pl.Int64(), 1.5),
        (pl.Int64(), True),
        (pl.Boolean(), 1),
        (pl.Enum(["a"]), "b"),
        (pl.Date(), datetime(2024, 1, 1)),  # noqa: DTZ001 - a naive one is meant
        (pl.Datetime("ms", "UTC"), datetime(2024, 1, 1)),  # noqa: DTZ001
        (pl.Datetime("ms", "UTC"), date(2024, 1, 1)),
        (pl.Decimal(10, 2), Decimal("NaN")),
    ],
)
def test_bounds_of_another_kind_are_refused(dtype: pl.DataType, bound: object) -> None:
    """The error names the key's columns and dtypes, on either side of the range."""
    rows = pl.DataFrame(schema={"k": dtype})
    for start, end in ((bound, None), (None, bound)):
        with pytest.raises(
            ConfigurationError, match=r"can't be compared with a key, which is 'k' \("
        ) as caught:
            keys_within(rows, start, end)
    assert str(dtype) in str(caught.value)


def test_the_record_key_is_named_as_such() -> None:
    """An error about a range of record keys does not show our name of the column."""
    with pytest.raises(ConfigurationError, match=r"which is the record key \(String\)"):
        BY_RECORD_KEY.within(pl.DataFrame(schema={KEY: pl.String()}), 5, None)
