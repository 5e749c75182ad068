"""The difference of two frames: what is in it, and what it looks like."""

from __future__ import annotations

import math
import time
from typing import Any

import polars as pl
import pytest

from ktframe.errors import ConfigurationError
from ktframe.tables.diff import difference


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return change and key of what differs between two frames of ``key`` and other columns."""
    found = difference(pl.DataFrame(old), pl.DataFrame(new), ["key"])
    return found.select("change", "key").rows()


def test_inserted_updated_and_deleted_rows_are_told_apart() -> None:
    """Each change shows both sides, as the frames have them; rows that are equal are left out."""
    old = pl.DataFrame({"key": ["a", "b", "c"], "n": [1, 2, 3], "s": ["x", "y", "z"]})
    new = pl.DataFrame({"key": ["d", "c", "a"], "n": [4, 30, 1], "s": ["v", "z", "x"]})

    found = difference(old, new, ["key"])

    assert found.rows() == [
        ("inserted", "d", None, {"n": 4, "s": "v"}),
        ("updated", "c", {"n": 3, "s": "z"}, {"n": 30, "s": "z"}),
        ("deleted", "b", {"n": 2, "s": "y"}, None),
    ]
    row = pl.Struct({"n": pl.Int64, "s": pl.String})
    kind = pl.Enum(["inserted", "updated", "deleted"])
    assert found.schema == {"change": kind, "key": pl.String, "old": row, "new": row}


def test_no_difference_has_the_schema_all_the_same() -> None:
    """The dtypes never depend on how many rows there are."""
    frame = pl.DataFrame({"key": ["a"], "n": [1]})
    found = difference(frame, frame, ["key"])
    assert (found.height, found.schema) == (0, difference(frame, frame.clear(), ["key"]).schema)
    assert difference(frame.clear(), frame.clear(), ["key"]).schema == found.schema


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([None], pl.Null),
        ([math.nan], pl.Float64),
        ([[math.nan, None]], pl.List(pl.Float64)),
        (
            [{"a": [{"b": math.nan}], "c": None}],
            pl.Struct({"a": pl.List(pl.Struct({"b": pl.Float64})), "c": pl.Int8}),
        ),
        ([[1, None]], pl.Array(pl.Int64, 2)),
        (["1.20"], pl.Decimal(10, 2)),
        ([b"\xff"], pl.Binary),
        (["a"], pl.Enum(["a", "b"])),
        (["a"], pl.Categorical),
        ([{}], pl.Struct([])),
    ],
)
def test_equal_values_of_every_kind_are_no_change(values: list[Any], dtype: Any) -> None:
    """What a value looks like in memory plays no part; to become null is a change."""
    frame = pl.DataFrame({"key": [1], "v": pl.Series(values, dtype=dtype)})
    assert difference(frame, frame.clone(), ["key"]).is_empty()
    cleared = frame.with_columns(v=pl.lit(None, dtype=dtype))
    assert difference(frame, cleared, ["key"]).height == (0 if values == [None] else 1)


@pytest.mark.parametrize(
    ("old", "new"),
    [(None, {"a": None}), (None, []), ([], [None]), ([{"a": None}], [None])],
)
def test_null_is_not_what_is_empty(old: Any, new: Any) -> None:
    """Null, an empty list and a struct of nulls are three values."""
    both = pl.Series([old, new], strict=False)
    frames = (pl.DataFrame({"key": [1], "v": both.slice(at, 1)}) for at in range(2))
    assert difference(*frames, ["key"]).height == 1


@pytest.mark.parametrize(
    ("old", "new", "is_same"),
    [
        (pl.Series([1]), pl.Series([1.0]), True),
        (pl.Series([1]), pl.Series([1.5]), False),
        (pl.Series([1], dtype=pl.Int32), pl.Series([1], dtype=pl.Int64), True),
        (pl.Series([None]), pl.Series([None], dtype=pl.List(pl.Int64)), True),
        (pl.Series([None]), pl.Series([[]], dtype=pl.List(pl.Int64)), False),
        (pl.Series([{"a": 1}]), pl.Series([{"b": None, "a": 1.0}]), True),
        (pl.Series([{"a": 1}]), pl.Series([{"b": "x", "a": 1.0}]), False),
        (pl.Series([{}], dtype=pl.Struct([])), pl.Series([{"a": None}]), True),
        (pl.Series([[{"a": 1}, None]]), pl.Series([[{"b": None, "a": 1}, None]]), True),
        (pl.Series(["a"], dtype=pl.Enum(["a"])), pl.Series(["a"]), True),
        (pl.Series(["a"], dtype=pl.Enum(["a"])), pl.Series(["a"], dtype=pl.Enum(["b", "a"])), True),
        (pl.Series([1]), pl.Series(["1"]), False),
        (pl.Series([1]), pl.Series([1], dtype=pl.Decimal(10, 2)), True),
        (pl.Series([1.5]), pl.Series(["1.5"]).cast(pl.Decimal(10, 2)), True),
        (pl.Series([1.5]), pl.Series(["1.25"]).cast(pl.Decimal(10, 2)), False),
        (pl.Series([1], dtype=pl.Decimal(38, 0)), pl.Series([1], dtype=pl.Decimal(38, 10)), True),
        (pl.Series([2**53 + 1]), pl.Series([2**53 + 1], dtype=pl.UInt64), True),
        (pl.Series([2**53]), pl.Series([2**53 + 1], dtype=pl.UInt64), False),
        (pl.Series([1]), pl.Series([True]), False),
        (pl.Series([{"a": 1}]), pl.Series([{"a": "1"}]), False),
        (pl.Series([None], dtype=pl.Int64), pl.Series([None], dtype=pl.String), True),
        (pl.Series([0], dtype=pl.Datetime("ms")), pl.Series([0], dtype=pl.Datetime("us")), True),
        (pl.Series([0], dtype=pl.Datetime("ms")), pl.Series([1], dtype=pl.Datetime("us")), False),
        (pl.Series([0], dtype=pl.Datetime("ms")), pl.Series([0], dtype=pl.Datetime("ms", "UTC")), False),
    ],
)
def test_values_are_compared_in_the_wider_dtype(old: pl.Series, new: pl.Series, *, is_same: bool) -> None:
    """A schema that widens changes no row, in either direction; a value of another kind is another value."""
    frames = [pl.DataFrame({"key": ["k"], "v": values}) for values in (old, new)]
    for first, second in (frames, reversed(frames)):
        found = difference(first, second, ["key"])
        assert found.is_empty() == is_same
        assert found.schema["old"] == pl.Struct({"v": first.schema["v"]})


def test_a_struct_may_gain_a_field_of_any_dtype() -> None:
    """The new field is null in old rows, also where its dtype is one for which Polars 2.1 can't spread a null."""
    dates = pl.Struct({"a": pl.Int64, "b": pl.Array(pl.Datetime("ms", "UTC"), 2)})
    old = pl.DataFrame({"key": [1, 2], "v": [{"a": 1}, None]})
    new = pl.DataFrame({"key": [1, 2], "v": pl.Series([{"a": 1, "b": None}, None], dtype=dates)})
    assert difference(old, new, ["key"]).is_empty()


def test_a_column_of_one_frame_is_null_in_the_other() -> None:
    """A new column with a value changes the row, one that is null does not; each side keeps its own columns."""
    old = pl.DataFrame({"key": [1, 2], "gone": [None, "x"]})
    new = pl.DataFrame({"key": [1, 2, 3], "new": [None, None, 5]})
    assert difference(old, new, ["key"]).rows() == [
        ("updated", 2, {"gone": "x"}, {"new": None}),
        ("inserted", 3, None, {"new": 5}),
    ]


@pytest.mark.parametrize("dtype", [pl.String, pl.Int64, pl.Null, pl.Struct({"a": pl.Int64})])
def test_null_keys_match_each_other(dtype: Any) -> None:
    """A row whose key is null is the same row later, alone or as a part of a key."""
    old = pl.DataFrame({"key": pl.Series([None], dtype=dtype), "part": [1], "v": [1]})
    assert difference(old, old.with_columns(v=2), ["key"]).select("change").rows() == [("updated",)]
    assert difference(old, old.with_columns(v=2), ["part", "key"]).columns == [
        "change",
        "part",
        "key",
        "old",
        "new",
    ]


def test_one_key_may_be_given_as_its_name() -> None:
    """Text is a sequence of letters, which nobody means."""
    frame = pl.DataFrame({"key": [1], "v": [1]})
    assert difference(frame, frame.with_columns(v=2), "key").height == 1


def test_keys_match_in_the_wider_dtype() -> None:
    """An integer key that became a float, and one that was unknown while there were only nulls."""
    assert changes({"key": [1], "v": [1]}, {"key": [1.0], "v": [2]}) == [("updated", 1.0)]
    assert changes({"key": [None], "v": [1]}, {"key": ["a"], "v": [1]}) == [
        ("inserted", "a"),
        ("deleted", None),
    ]


def test_frames_of_keys_alone_can_be_compared() -> None:
    """Where there is no other column, both sides are structs without fields."""
    old, new = pl.DataFrame({"key": ["a", "b"]}), pl.DataFrame({"key": ["b", "c"]})
    found = difference(old, new, ["key"])
    assert found.rows() == [("inserted", "c", None, {}), ("deleted", "a", {}, None)]
    assert found.schema["old"] == pl.Struct([])


def test_columns_of_ours_step_aside() -> None:
    """Key columns keep their names, whatever they are."""
    frame = pl.DataFrame({"old": [1], "change": [2], "record_change": [3], "new": [4]})
    found = difference(frame, frame.with_columns(new=5), ["old", "change", "record_change"])
    assert found.columns == ["record_record_change", "old", "change", "record_change", "record_old", "new"]
    assert found.rows() == [("updated", 1, 2, 3, {"new": 4}, {"new": 5})]


def test_missing_key_columns_are_named() -> None:
    """The error says which frame lacks which column, and what it has."""
    old, new = pl.DataFrame({"key": [1], "part": [1]}), pl.DataFrame({"key": [1], "v": [1]})
    with pytest.raises(
        ConfigurationError, match=r"the new frame has no column 'part'(.|\n)*'key', 'v'"
    ) as caught:
        difference(old, new, ["key", "part"])
    assert "'key'" not in caught.value.message
    with pytest.raises(ConfigurationError, match="names no column"):
        difference(old, new, [])


@pytest.mark.parametrize("key", ["a", None, math.nan])
def test_a_key_that_repeats_is_refused(key: Any) -> None:
    """Rows could be paired in several ways: the error counts them and says what the frames must be."""
    fine = pl.DataFrame({"key": [key], "v": [1]})
    with pytest.raises(ConfigurationError, match=r"2 rows of the new frame repeat(.|\n)*of the same table"):
        difference(fine, pl.concat([fine] * 3), ["key"])
    with pytest.raises(ConfigurationError, match="1 rows of the old frame"):
        difference(pl.concat([fine] * 2), fine, ["key"])


def test_keys_of_two_kinds_are_refused() -> None:
    """Keys of two kinds could never match, so both dtypes are named in an error."""
    with pytest.raises(ConfigurationError, match="'key' is Int64 in the old frame and String in the new one"):
        changes({"key": [1]}, {"key": ["1"]})


@pytest.mark.slow
def test_a_million_rows_take_about_a_second() -> None:
    """No row passes through Python."""
    rows = 1_000_000
    old = pl.select(n=pl.int_range(rows)).with_columns(
        key=pl.format("o-{}", "n"), tags=pl.concat_list("n", "n"), at=pl.struct("n", x="n")
    )
    new = old.sample(fraction=1, shuffle=True, seed=1).with_columns(
        n=pl.when(pl.col("n") % 100 > 0).then("n")
    )
    started = time.perf_counter()
    found = difference(old, new, ["key"])
    assert found.height == rows // 100
    assert time.perf_counter() - started < 10  # a busy machine; 0.6 s on a free one
