"""The difference of two frames: inserted, updated and deleted rows. Columns are compared whole, by Polars alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from ktframe.columns import HAS_ROW, NEW_ROW, OLD_ROW
from ktframe.errors import ConfigurationError
from ktframe.formats.dtypes import as_instance, common_dtype, struct_fields, widened
from ktframe.tables.presentation import unique_name

CHANGE: Final = pl.Enum(["inserted", "updated", "deleted"])
"""The dtype of the column ``change``."""

_HINT = "since= takes what to_polars() of the same table gave earlier, with its key columns."


def difference(old: pl.DataFrame, new: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
    """Return the rows that were inserted, updated and deleted from ``old`` to ``new``.

    Nulls equal each other, in keys too, and so do NaNs; lists, structs and arrays are compared by what is in them. A
    column that only one frame has is null in the other. Where a column's dtype is wider in one frame (Float64 for
    Int64, a struct with more fields), both are compared in the wider dtype; values of different kinds are never equal.

    Parameters
    ----------
    old, new
        What ``to_polars()`` of one table returned, earlier and later.
    on
        The columns that identify a row.

    Returns
    -------
    polars.DataFrame
        ``change`` (``Enum``: inserted, updated, deleted), the ``on`` columns, ``old`` (``Struct`` of the other
        columns of ``old``, null where inserted) and ``new`` (``Struct`` of those of ``new``, null where deleted).
        Equal rows are left out. The rows of ``new`` come first, in its order, then the deleted ones in the order of
        ``old``. Where an ``on`` column is called like one of ours, ours gets the prefix ``record_``.

    Raises
    ------
    ConfigurationError
        When ``on`` is empty or not in both frames, holds values of two kinds, or does not identify the rows.
    """
    on = [on] if isinstance(on, str) else list(dict.fromkeys(on))
    matched = _matched(old, new, on)
    pairs = matched.filter(_has(OLD_ROW) & _has(NEW_ROW))
    same = pairs.filter(~_differing(old.drop(on), new.drop(on), pairs)).select(NEW_ROW)
    changed = matched.join(same, on=NEW_ROW, how="anti").sort(NEW_ROW, OLD_ROW, nulls_last=True)
    taken = set(on)
    change, before, after = (unique_name(name, taken) for name in ("change", "old", "new"))
    return changed.select(
        _kind_of_change().alias(change),
        *on,
        _side(old.drop(on), changed[OLD_ROW]).alias(before),
        _side(new.drop(on), changed[NEW_ROW]).alias(after),
    )


def _matched(old: pl.DataFrame, new: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Return each key once, with the numbers of its rows in both frames (null: it has none)."""
    _require_keys(old, "old", on)
    _require_keys(new, "new", on)
    dtypes = {name: _key_dtype(name, old.schema[name], new.schema[name]) for name in on}
    left, right = (
        frame.select(widened(pl.col(name), frame.schema[name], dtypes[name]).alias(name) for name in on)
        for frame in (old, new)
    )
    return left.with_row_index(OLD_ROW).join(
        right.with_row_index(NEW_ROW), on=on, how="full", coalesce=True, nulls_equal=True
    )


def _require_keys(frame: pl.DataFrame, which: str, on: list[str]) -> None:
    if not on:
        message = "on= names no column."
        raise ConfigurationError(message, "name the columns that identify a row, such as on=['key'].")
    missing = [name for name in on if name not in frame.columns]
    if missing:
        message = f"the {which} frame has no column {', '.join(map(repr, missing))} to compare rows on."
        raise ConfigurationError(message, f"its columns are {', '.join(map(repr, frame.columns))}; {_HINT}")
    copies = frame.height - frame.select(pl.struct(on).n_unique()).item()
    if copies:
        message = f"{', '.join(map(repr, on))} does not identify rows: {copies:,} rows of the {which} frame repeat a key."
        raise ConfigurationError(message, _HINT)


def _key_dtype(name: str, old: pl.DataType, new: pl.DataType) -> pl.DataType:
    dtype = _comparable(old, new)
    if dtype is None:
        message = f"column {name!r} is {old} in the old frame and {new} in the new one."
        raise ConfigurationError(message, _HINT)
    return dtype


def _comparable(one: pl.DataType, other: pl.DataType) -> pl.DataType | None:
    """Return the type in which values of both are compared, None where they are of different kinds."""
    if one == other:
        return one
    common = common_dtype(_as_text(one), _as_text(other))
    if common is None and one.is_numeric() and other.is_numeric():
        # No column of a table holds both a Decimal and a float, but two frames may: equal numbers did not change.
        empty = (pl.DataFrame(schema={"number": dtype}) for dtype in (one, other))
        return pl.concat(empty, how="vertical_relaxed").schema["number"]
    return common


def _as_text(dtype: pl.DataType) -> pl.DataType:
    """Return ``dtype`` with String for the types that have categories: these are one way to hold text."""
    if isinstance(dtype, pl.Enum | pl.Categorical):
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_as_text(as_instance(dtype.inner)))
    if isinstance(dtype, pl.Array):
        return pl.Array(_as_text(as_instance(dtype.inner)), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({name: _as_text(inner) for name, inner in struct_fields(dtype).items()})
    return dtype


def _differing(old: pl.DataFrame, new: pl.DataFrame, pairs: pl.DataFrame) -> pl.Series:
    """Return for each pair of rows whether they differ."""
    differs = pl.repeat(value=False, n=pairs.height, dtype=pl.Boolean, eager=True)
    for name in dict.fromkeys([*old.columns, *new.columns]):
        before, after = _column(old, name, pairs[OLD_ROW]), _column(new, name, pairs[NEW_ROW])
        differs |= _columns_differ(before, after)
    return differs


def _column(frame: pl.DataFrame, name: str, numbers: pl.Series) -> pl.Series:
    if name in frame.columns:
        return frame[name].gather(numbers)
    return pl.repeat(None, len(numbers), dtype=pl.Null, eager=True)


def _columns_differ(old: pl.Series, new: pl.Series) -> pl.Series:
    dtype = _comparable(old.dtype, new.dtype)
    if dtype is None:
        return old.is_not_null() | new.is_not_null()
    pair = pl.DataFrame([old.alias("old"), new.alias("new")])
    before, after = (widened(pl.col(column.name), column.dtype, dtype) for column in pair)
    return pair.select(before.ne_missing(after)).to_series()


def _kind_of_change() -> pl.Expr:
    kind = pl.when(~_has(OLD_ROW)).then(pl.lit("inserted")).when(~_has(NEW_ROW)).then(pl.lit("deleted"))
    return kind.otherwise(pl.lit("updated")).cast(CHANGE)


def _side(fields: pl.DataFrame, numbers: pl.Series) -> pl.Series:
    """Return rows as structs, null where the number is null."""
    rows = pl.DataFrame(
        [numbers.is_not_null().alias(HAS_ROW), *(column.gather(numbers) for column in fields)]
    )
    # pl.struct() needs at least one column.
    whole = pl.struct(fields.columns) if fields.width else pl.lit({}, dtype=pl.Struct([]))
    return rows.select(pl.when(pl.col(HAS_ROW)).then(whole)).to_series()


def _has(row: str) -> pl.Expr:
    return pl.col(row).is_not_null()
