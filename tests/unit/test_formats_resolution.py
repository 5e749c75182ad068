"""Columns of several schemas as one: what widens, what conflicts, and how rows of one look in the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from ktframe.formats.bodies import NO_DEFAULT, Column
from ktframe.formats.errors import ConflictError
from ktframe.formats.resolution import changes_old_rows, columns_of, joined, reading, rounding


def _column(name: str, dtype: Any, default: Any = NO_DEFAULT, aliases: tuple[str, ...] = ()) -> Column:
    inner = tuple(_column(f.name, f.dtype) for f in dtype.fields) if isinstance(dtype, pl.Struct) else ()
    return Column(name, dtype, default, aliases, inner)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (pl.Int32(), pl.Int64(), pl.Int64()),
        (pl.Int32(), pl.UInt32(), pl.Int64()),
        (pl.UInt64(), pl.Int8(), pl.Int128()),
        (pl.UInt8(), pl.UInt32(), pl.UInt32()),
        (pl.Int64(), pl.Float64(), pl.Float64()),
        (pl.Int32(), pl.Float32(), pl.Float64()),
        (pl.Float32(), pl.Float64(), pl.Float64()),
        (pl.Null(), pl.String(), pl.String()),
        (pl.Decimal(9, 2), pl.Decimal(9, 4), pl.Decimal(11, 4)),
        (pl.Datetime("ms", "UTC"), pl.Datetime("us", "UTC"), pl.Datetime("us", "UTC")),
        (pl.List(pl.Int32()), pl.List(pl.Int64()), pl.List(pl.Int64())),
        (
            pl.Struct({"a": pl.Int32()}),
            pl.Struct({"b": pl.String()}),
            pl.Struct({"a": pl.Int32(), "b": pl.String()}),
        ),
    ],
)
def test_types_widen_as_far_as_no_digit_is_lost(
    one: pl.DataType, other: pl.DataType, both: pl.DataType
) -> None:
    """The common type holds both, whichever comes first."""
    for pair in ((one, other), (other, one)):
        (column,) = joined([_column("x", pair[0])], [_column("x", pair[1])])
        assert column.dtype == both or isinstance(both, pl.Struct)
        assert {*getattr(column.dtype, "fields", ())} == {*getattr(both, "fields", ())}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pl.String(), pl.Int64()),
        (pl.String(), pl.Binary()),
        (pl.Boolean(), pl.Int64()),
        (pl.Datetime("ms", "UTC"), pl.Datetime("ms")),
        (pl.Date(), pl.Datetime("ms")),
        (pl.List(pl.Int64()), pl.Int64()),
        (pl.Decimal(38, 0), pl.Decimal(38, 10)),
        (pl.Decimal(9, 2), pl.Float64()),
        (pl.List(pl.String()), pl.List(pl.Int64())),
    ],
)
def test_what_fits_no_type_is_a_conflict(one: pl.DataType, other: pl.DataType) -> None:
    """The error names the column, also inside a struct."""
    with pytest.raises(ConflictError, match=r"^x: "):
        joined([_column("x", one)], [_column("x", other)])
    with pytest.raises(ConflictError, match=r"^s\.x: "):
        joined([_column("s", pl.Struct({"x": one}))], [_column("s", pl.Struct({"x": other}))])


def test_known_columns_keep_their_places_and_new_ones_follow() -> None:
    """The order is that of the first schema, then that of the second."""
    known = [_column("b", pl.String()), _column("a", pl.Int32())]
    found = joined(known, [_column("c", pl.Int32()), _column("a", pl.Int64())])
    assert {column.name: column.dtype for column in found} == {
        "b": pl.String(),
        "a": pl.Int64(),
        "c": pl.Int32(),
    }
    assert [column.name for column in found] == ["b", "a", "c"]


def test_the_newer_default_counts_and_none_forgets_none() -> None:
    """A default stays until a newer schema has another."""
    old, new, silent = (_column("x", pl.Int64(), default) for default in (1, 2, NO_DEFAULT))
    assert joined([old], [new])[0].default == 2
    assert joined([new], [silent])[0].default == 2


def test_an_alias_is_the_same_column() -> None:
    """A renamed column takes the place of the old one, in whichever order the schemas come."""
    old, new = _column("total", pl.Int32()), _column("amount", pl.Int64(), aliases=("total",))
    for pair in ((old, new), (new, old)):
        (column,) = joined(pair[:1], pair[1:])
        assert (column.name, column.dtype) == ("amount", pl.Int64())
    again = joined(joined([old], [new]), [old])
    assert [column.name for column in again] == ["amount"]


def _read(frame: pl.DataFrame, have: tuple[Column, ...], want: tuple[Column, ...]) -> list[dict[str, Any]]:
    by_name = {column.name: column for column in have}
    return frame.select(reading(by_name, column) for column in want).to_dicts()


def test_rows_get_what_their_schema_lacks() -> None:
    """Defaults fill columns that a schema has not, at every depth; without a default it is null."""
    inner = pl.Struct({"a": pl.Int32()})
    have = (_column("s", inner), _column("l", pl.List(inner)), _column("n", pl.Int32()))
    have = (have[0], Column("l", pl.List(inner), inner=have[0].inner), have[2])
    wider = (Column("a", pl.Int64()), Column("b", pl.String(), "EU"), Column("c", pl.Date()))
    dtype = pl.Struct({column.name: column.dtype for column in wider})
    more = (
        Column("s", dtype, inner=wider),
        Column("l", pl.List(dtype), inner=wider),
        Column("n", pl.Float64()),
        Column("x", pl.List(pl.Int64()), [1, 2]),
        Column("y", pl.String(), None),
    )
    frame = pl.DataFrame(
        {"s": [{"a": 1}, None], "l": [[{"a": 1}, None], None], "n": [1, 2]},
        schema={"s": inner, "l": pl.List(inner), "n": pl.Int32()},
    )
    filled = {"a": 1, "b": "EU", "c": None}
    assert _read(frame, have, joined(have, more)) == [
        {"s": filled, "l": [filled, None], "n": 1.0, "x": [1, 2], "y": None},
        {"s": None, "l": None, "n": 2.0, "x": [1, 2], "y": None},
    ]


def test_defaults_are_of_every_type() -> None:
    """A default that is a time, a number or an empty list is what a row shows."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    want = (
        Column("t", pl.Datetime("us", "UTC"), moment),
        Column("i", pl.Int64(), 0),
        Column("l", pl.List(pl.String()), []),
        Column("b", pl.Boolean(), default=False),
        Column("s", pl.Struct({"a": pl.Int64()}), {"a": 5}),
    )
    frame = pl.DataFrame({"k": [1, 2]})
    rows = _read(frame, columns_of(frame.schema), (*columns_of(frame.schema), *want))
    assert rows[1] == {"k": 2, "t": moment, "i": 0, "l": [], "b": False, "s": {"a": 5}}


def test_old_rows_change_by_defaults_and_names_only() -> None:
    """A column without a default, or with null, is there for new rows alone; a wider type is no other value."""
    before = (_column("a", pl.Int32()),)
    for column in (_column("b", pl.String()), _column("b", pl.String(), None), _column("a", pl.Int64())):
        assert not changes_old_rows(before, joined(before, [column]))
    for column in (_column("b", pl.String(), ""), _column("z", pl.Int32(), aliases=("a",))):
        assert changes_old_rows(before, joined(before, [column]))
    assert changes_old_rows([_column("b", pl.String(), "x")], [_column("b", pl.String(), "y")])
    assert not changes_old_rows([_column("b", pl.String(), "x")], [_column("b", pl.String(), "x")])
    nested = (_column("s", pl.Struct({"a": pl.Int32()})),)
    inner = (Column("a", pl.Int32()), Column("b", pl.Int32(), 7))
    wider = Column("s", pl.Struct({"a": pl.Int32(), "b": pl.Int32()}), inner=inner)
    assert changes_old_rows(nested, joined(nested, [wider]))


def test_integers_that_a_float_would_round_are_found() -> None:
    """At every depth, and only where an integer becomes a float."""
    big = 2**53 + 1
    frame = pl.DataFrame({"x": [1, big, -big, None]})
    assert frame.select(rounding(pl.col("x"), pl.Int64(), pl.Float64())).to_series().to_list() == [
        False,
        True,
        True,
        None,
    ]
    nested = pl.DataFrame({"x": [[{"a": 1}], [{"a": big}], []]})
    dtype = pl.List(pl.Struct({"a": pl.Float64()}))
    found = nested.select(rounding(pl.col("x"), nested.schema["x"], dtype)).to_series()
    assert found.to_list() == [False, True, False]
    assert rounding(pl.col("x"), pl.Int32(), pl.Float64()) is None
    assert rounding(pl.col("x"), pl.Int64(), pl.Int128()) is None
