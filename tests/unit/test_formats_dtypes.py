"""The one rule for the type that holds the values of two types."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any

import polars as pl
import pytest

from ktframe.formats.dtypes import common_dtype, widened
from ktframe.formats.json.inference import InferenceRules, inferred_schema

INT, FLOAT, TEXT = pl.Int64(), pl.Float64(), pl.String()
UTC_MS, UTC_US = pl.Datetime("ms", "UTC"), pl.Datetime("us", "UTC")

RULE: list[tuple[pl.DataType, pl.DataType, pl.DataType | None]] = [
    (pl.Null(), TEXT, TEXT),
    (pl.Null(), pl.List(INT), pl.List(INT)),
    (pl.Int8(), pl.Int32(), pl.Int32()),
    (pl.UInt8(), pl.UInt32(), pl.UInt32()),
    (pl.Int32(), pl.UInt32(), INT),
    (INT, pl.UInt64(), pl.Int128()),
    (INT, pl.UInt128(), None),
    (pl.Int8(), pl.Float32(), FLOAT),
    (pl.Float32(), FLOAT, FLOAT),
    (INT, FLOAT, FLOAT),
    (pl.Decimal(9, 2), pl.Decimal(9, 4), pl.Decimal(11, 4)),
    (pl.Decimal(38, 0), pl.Decimal(38, 10), None),
    (pl.Int32(), pl.Decimal(10, 2), None),
    (FLOAT, pl.Decimal(10, 2), None),
    (TEXT, pl.Enum(["a"]), None),
    (TEXT, pl.Categorical(), None),
    (pl.Enum(["a"]), pl.Enum(["b"]), None),
    (TEXT, INT, None),
    (TEXT, pl.Binary(), None),
    (pl.Boolean(), INT, None),
    (UTC_MS, UTC_US, UTC_US),
    (UTC_MS, pl.Datetime("ms"), None),
    (UTC_MS, pl.Date(), None),
    (pl.Duration("ms"), pl.Duration("ns"), pl.Duration("ns")),
    (pl.List(pl.Int32()), pl.List(INT), pl.List(INT)),
    (pl.List(INT), pl.List(TEXT), None),
    (pl.List(INT), INT, None),
    (pl.List(INT), pl.Array(INT, 2), None),
    (pl.Array(INT, 2), pl.Array(FLOAT, 2), pl.Array(FLOAT, 2)),
    (pl.Array(INT, 2), pl.Array(INT, 3), None),
    (pl.Struct({"a": INT}), pl.Struct({"a": FLOAT}), pl.Struct({"a": FLOAT})),
    (pl.Struct({"a": INT}), pl.Struct({"a": TEXT}), None),
    (pl.Struct({"a": INT}), INT, None),
]


@pytest.mark.parametrize(("one", "other", "both"), RULE)
def test_two_types_have_one_common_type(
    one: pl.DataType, other: pl.DataType, both: pl.DataType | None
) -> None:
    """Whichever comes first, the type is the same, and a type with itself is itself."""
    assert common_dtype(one, other) == common_dtype(other, one) == both
    assert (common_dtype(one, one), common_dtype(other, other)) == (one, other)


def test_structs_have_the_fields_of_both() -> None:
    """Those of the first come first, in their order."""
    one, other = pl.Struct({"a": INT, "b": TEXT}), pl.Struct({"c": pl.Date(), "a": FLOAT})
    assert common_dtype(one, other) == pl.Struct({"a": FLOAT, "b": TEXT, "c": pl.Date()})


@pytest.mark.parametrize(("one", "other", "both"), [rule for rule in RULE if rule[2] is not None])
def test_columns_can_be_cast_to_the_common_type(
    one: pl.DataType, other: pl.DataType, both: pl.DataType
) -> None:
    """Columns that are all null, or have no rows, can be cast as well."""
    for dtype in (one, other):
        for column in (pl.Series("x", [], dtype=dtype), pl.Series("x", [None], dtype=dtype)):
            cast = column.to_frame().select(widened(pl.col("x"), dtype, both)).to_series()
            assert (cast.dtype, cast.to_list()) == (both, column.to_list())


JSON: list[tuple[pl.DataType, Any]] = [
    (pl.Boolean(), True),
    (INT, 1),
    (FLOAT, 1.5),
    (TEXT, "x"),
    (pl.List(INT), [1]),
    (pl.List(FLOAT), [1.5]),
    (pl.List(TEXT), ["x"]),
    (pl.Struct({"a": INT}), {"a": 1}),
    (pl.Struct({"a": FLOAT}), {"a": 1.5}),
]


@pytest.mark.parametrize(("one", "other"), [*combinations_with_replacement(JSON, 2)])
def test_json_inference_widens_by_the_same_rule(
    one: tuple[pl.DataType, Any], other: tuple[pl.DataType, Any]
) -> None:
    """A column that has a type takes the common type with a value's, and keeps its own where there is none."""
    for (known, _), (dtype, value) in ((one, other), (other, one)):
        schema = inferred_schema(pl.Schema({"x": known}), [{"x": value}], InferenceRules())
        assert schema["x"] == (common_dtype(known, dtype) or known)
