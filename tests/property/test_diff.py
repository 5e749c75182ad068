"""The difference of two frames equals that of two dicts, whatever the values are."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples

from ktframe.tables.diff import difference

NUMBERS = st.sampled_from([0.0, 1.5, -2.0, math.nan, math.inf])
LEAVES: list[tuple[pl.DataType, st.SearchStrategy[Any]]] = [
    (pl.Int64(), st.integers(-2, 2)),
    (pl.Float64(), NUMBERS),
    (pl.String(), st.sampled_from(["", "a", "b"])),
    (pl.Boolean(), st.booleans()),
    (pl.Binary(), st.sampled_from([b"", b"\xff"])),
    (pl.Decimal(10, 2), st.decimals(-1, 1, places=2)),
    (pl.Enum(["x", "y"]), st.sampled_from(["x", "y"])),
    (pl.Null(), st.none()),
    (pl.Datetime("ms", "UTC"), st.none()),
]


@st.composite
def typed(draw: st.DrawFn, depth: int = 2) -> tuple[pl.DataType, st.SearchStrategy[Any]]:
    """Draw a dtype with a strategy for its values, null among them."""
    kind = draw(st.sampled_from(["leaf", "leaf", "list", "array", "struct"])) if depth else "leaf"
    if kind == "leaf":
        dtype, values = draw(st.sampled_from(LEAVES))
    elif kind == "struct":
        inner = {name: draw(typed(depth - 1)) for name in draw(st.sets(st.sampled_from("abc")))}
        dtype = pl.Struct({name: each for name, (each, _) in inner.items()})
        values = st.fixed_dictionaries({name: each for name, (_, each) in inner.items()})
    else:
        element, values = draw(typed(depth - 1))
        dtype = pl.List(element) if kind == "list" else pl.Array(element, 2)
        values = st.lists(values, min_size=0 if kind == "list" else 2, max_size=2)
    return dtype, st.none() | values


@st.composite
def wider(draw: st.DrawFn, dtype: pl.DataType) -> tuple[pl.DataType, st.SearchStrategy[Any]]:
    """Draw a dtype that ``dtype`` may have widened to, with a strategy for its values."""
    if dtype == pl.Null:
        return draw(typed())
    if dtype == pl.Int64:
        return pl.Float64(), st.none() | NUMBERS
    if isinstance(dtype, pl.List):
        element, values = draw(wider(pl.Series(dtype=dtype.inner).dtype))
        return pl.List(element), st.none() | st.lists(values, max_size=2)
    if isinstance(dtype, pl.Struct):
        inner = {field.name: draw(wider(pl.Series(dtype=field.dtype).dtype)) for field in dtype.fields}
        inner |= {"d": draw(typed(1))} if draw(st.booleans()) else {}
        names = draw(st.permutations(sorted(inner)))
        shape = pl.Struct({name: inner[name][0] for name in names})
        return shape, st.none() | st.fixed_dictionaries({name: inner[name][1] for name in names})
    return dtype, st.none() | dict_of_values(dtype)


def dict_of_values(dtype: pl.DataType) -> st.SearchStrategy[Any]:
    """Return the values that the leaf ``dtype`` has in these tests."""
    if isinstance(dtype, pl.Array):
        return st.nothing()
    return next(values for leaf, values in LEAVES if leaf == dtype)


KEYS = st.lists(st.tuples(st.none() | st.sampled_from("pq"), st.none() | st.integers(0, 2)), unique=True)


def frame(keys: list[Any], columns: dict[str, tuple[pl.DataType, list[Any]]]) -> pl.DataFrame:
    """Return a frame with a key of two parts."""
    parts = pl.DataFrame(keys, schema={"k": pl.String, "n": pl.Int64}, orient="row")
    series = [pl.Series(name, values, dtype=dtype) for name, (dtype, values) in columns.items()]
    return parts.hstack(series)


def canonical(value: Any, dtype: pl.DataType) -> Any:
    """Return something that equals another one exactly when the values, both seen as ``dtype``, do."""
    if value is None:
        return None
    if isinstance(dtype, pl.Struct):
        return tuple(
            (field.name, canonical(value.get(field.name), _dtype(field.dtype))) for field in dtype.fields
        )
    if isinstance(dtype, pl.List | pl.Array):
        return [canonical(each, _dtype(dtype.inner)) for each in value]
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    return value


def _dtype(dtype: Any) -> pl.DataType:
    return pl.Series(dtype=dtype).dtype


def rows(keys: list[Any], columns: dict[str, tuple[pl.DataType, list[Any]]]) -> dict[Any, dict[str, Any]]:
    """Return the same as a dict."""
    return {key: {name: values[at] for name, (_, values) in columns.items()} for at, key in enumerate(keys)}


def expected(
    old: dict[Any, dict[str, Any]], new: dict[Any, dict[str, Any]], dtypes: dict[str, pl.DataType]
) -> dict[Any, str]:
    """Return what happened to each key that is not the same."""

    def seen(row: dict[str, Any]) -> dict[str, Any]:
        return {name: canonical(row.get(name), dtype) for name, dtype in dtypes.items()}

    changes = dict.fromkeys(new.keys() - old.keys(), "inserted")
    changes |= dict.fromkeys(old.keys() - new.keys(), "deleted")
    return changes | {key: "updated" for key in old.keys() & new.keys() if seen(old[key]) != seen(new[key])}


@examples(2)
@given(st.data())
def test_a_difference_equals_that_of_two_dicts(data: st.DataObject) -> None:
    """Any dtypes, a schema that widened, columns that only one side has: the changes are those of the dicts."""
    old_keys, new_keys = data.draw(KEYS), data.draw(KEYS)
    old_columns: dict[str, tuple[pl.DataType, list[Any]]] = {}
    new_columns: dict[str, tuple[pl.DataType, list[Any]]] = {}
    dtypes: dict[str, pl.DataType] = {}
    for name in data.draw(st.lists(st.sampled_from(["u", "v", "w"]), unique=True)):
        dtype, values = data.draw(typed())
        side = data.draw(st.sampled_from(["both", "both", "both", "old", "new"]))
        later, later_values = dtype, values
        if side == "both" and not _has_array(dtype) and data.draw(st.booleans()):
            later, later_values = data.draw(wider(dtype))
        dtypes[name] = later
        if side in ("both", "old"):
            old_columns[name] = dtype, [data.draw(values) for _ in old_keys]
        if side in ("both", "new"):
            new_columns[name] = later, [data.draw(later_values) for _ in new_keys]

    found = difference(frame(old_keys, old_columns), frame(new_keys, new_columns), ["k", "n"])

    old_rows, new_rows = rows(old_keys, old_columns), rows(new_keys, new_columns)
    changes = {(row["k"], row["n"]): row["change"] for row in found.to_dicts()}
    assert changes == expected(old_rows, new_rows, dtypes)
    assert len(changes) == found.height
    for row in found.to_dicts():
        assert repr(row["old"]) == repr(_polars_row(old_rows, old_columns, row))
        assert repr(row["new"]) == repr(_polars_row(new_rows, new_columns, row))


def _has_array(dtype: pl.DataType) -> bool:
    if isinstance(dtype, pl.Struct):
        return any(_has_array(_dtype(field.dtype)) for field in dtype.fields)
    return isinstance(dtype, pl.Array) or (isinstance(dtype, pl.List) and _has_array(_dtype(dtype.inner)))


def _polars_row(
    known: dict[Any, dict[str, Any]], columns: dict[str, tuple[pl.DataType, list[Any]]], row: dict[str, Any]
) -> Any:
    """Return a row as Polars gives it back: a struct of the frame's own dtypes."""
    values = known.get((row["k"], row["n"]))
    if values is None:
        return None
    return {name: pl.Series([values[name]], dtype=dtype).to_list()[0] for name, (dtype, _) in columns.items()}
