"""Identities as bytes: pinned, injective, in the order of the values, and read back exactly."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import example, given

from ktframe.fold import identity_codec
from ktframe.fold.identity_codec import (
    Part,
    decode_column,
    decode_parts,
    encode_columns,
    encode_key,
    encode_keys,
    encode_part,
    encode_parts,
)

int64 = st.integers(-(2**63), 2**63 - 1)
wide = st.integers(-(2**127), 2**127 - 1)
texts = st.text(st.sampled_from("\0\x01a|b\x7fé☃😀"), max_size=5) | st.text(max_size=5)
payloads = st.binary(max_size=5) | st.lists(st.sampled_from([0, 1, 254, 255]), max_size=5).map(bytes)
part: st.SearchStrategy[Part] = st.one_of(st.none(), st.booleans(), int64, wide, texts, payloads)
composite = st.lists(part, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "01"),
        (False, "02"),
        (True, "03"),
        (-(2**63) - 1, "04 7fffffffffffffff 7fffffffffffffff"),
        (-(2**63), "05 0000000000000000"),
        (-1, "05 7fffffffffffffff"),
        (0, "05 8000000000000000"),
        (1, "05 8000000000000001"),
        (2**63 - 1, "05 ffffffffffffffff"),
        (2**63, "06 8000000000000000 8000000000000000"),
        (b"", "07 00"),
        (b"a\0\xff", "07 61 00ff ff 00"),
        ("", "08 00"),
        ("é\0", "08 c3a9 00ff 00"),
    ],
)
def test_bytes_are_pinned(value: Part, expected: str) -> None:
    """Every kind of value has exactly these bytes: they are on disk."""
    assert encode_part(value) == bytes.fromhex(expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a|b", "c"), ("a", "b|c")),
        ((None,), ("null",)),
        ((None,), ("",)),
        ((None, None), (None,)),
        (("a", ""), ("a",)),
        (("a\0",), ("a", "")),
        (("a\0\xff",), ("a\0",)),
        (("1",), (1,)),
        (("1",), (b"1",)),
        ((True,), (1,)),
        ((False,), (0,)),
        (("True",), (True,)),
    ],
)
def test_what_joined_text_confuses_stays_apart(one: tuple[Part, ...], other: tuple[Part, ...]) -> None:
    """Composite keys that are equal when joined with a separator, or as text, have different bytes."""
    assert encode_parts(one) != encode_parts(other)


@given(composite)
def test_values_come_back(values: tuple[Part, ...]) -> None:
    """Decoding gives the values, types included: no two composites share their bytes."""
    decoded = decode_parts(encode_parts(values))
    assert [(type(value), value) for value in decoded] == [(type(value), value) for value in values]


kinds = st.sampled_from([wide, texts, payloads, st.booleans()])
column_pairs = st.lists(kinds, min_size=1, max_size=3).flatmap(
    lambda columns: st.tuples(*[st.tuples(*[st.none() | column for column in columns])] * 2),
)


@given(column_pairs)
def test_bytes_compare_as_values_do(pair: tuple[tuple[Any, ...], tuple[Any, ...]]) -> None:
    """Of two composites of the same columns the lesser has the lesser bytes; null comes first."""

    def rank(values: tuple[Any, ...]) -> list[Any]:
        # Python compares text by code point, which is the order of UTF-8 too.
        return [(value is not None, value) if value is not None else (False,) for value in values]

    one, other = pair
    assert (encode_parts(one) < encode_parts(other)) == (rank(one) < rank(other))


@pytest.mark.parametrize("value", [1.0, [], {}, Decimal(1)], ids=lambda value: type(value).__name__)
def test_what_has_no_exact_equality_is_refused(value: object) -> None:
    """A float, a list or a struct can't be part of an identity."""
    with pytest.raises(TypeError, match=f"a {type(value).__name__} can't be part of a key"):
        encode_part(value)


def test_integers_beyond_every_column_are_refused() -> None:
    """No dtype of Polars holds more than 128 bits."""
    with pytest.raises(OverflowError):
        encode_part(2**127)


DTYPES: dict[pl.DataType, st.SearchStrategy[Any]] = {
    pl.String(): texts,
    pl.Binary(): payloads,
    pl.Boolean(): st.booleans(),
    pl.Int64(): int64,
    pl.Int8(): st.integers(-128, 127),
    pl.UInt64(): st.integers(0, 2**64 - 1),
    pl.Int128(): wide,
    pl.Null(): st.none(),
    pl.Decimal(38, 2): st.integers(-(10**38) + 1, 10**38 - 1).map(lambda value: Decimal(f"{value}E-2")),
    pl.Enum(["z", "a\0", ""]): st.sampled_from(["z", "a\0", ""]),
    pl.Categorical(): texts,
    pl.Date(): st.dates(),
    pl.Time(): st.times(),
    pl.Duration("us"): st.timedeltas(timedelta(-100_000), timedelta(100_000)),
    pl.Datetime("us"): st.datetimes(),
    pl.Datetime("ms", "Asia/Tokyo"): st.integers(-(10**12), 10**12),
}
columns = st.sampled_from(list(DTYPES)).flatmap(
    lambda dtype: st.tuples(st.just(dtype), st.lists(st.none() | DTYPES[dtype], max_size=8)),
)


@given(columns)
def test_columns_come_back(column: tuple[pl.DataType, list[Any]]) -> None:
    """Encoding a column and decoding it is the identity, nulls and dtype included, for every dtype of a key."""
    dtype, values = column
    series = pl.Series("key", values, dtype=dtype)
    decoded = decode_column(encode_columns(series.to_frame()), dtype)
    assert decoded.dtype == dtype
    assert decoded.to_list() == series.to_list()


simple = st.sampled_from([pl.String(), pl.Binary(), pl.Boolean(), pl.Int64(), pl.UInt64(), pl.Null()])
frames = st.tuples(st.lists(simple, min_size=1, max_size=3), st.integers(0, 6)).flatmap(
    lambda shape: st.tuples(
        st.just(shape[0]),
        st.lists(
            st.tuples(*[st.none() | DTYPES[dtype] for dtype in shape[0]]),
            min_size=shape[1],
            max_size=shape[1],
        ),
    ),
)


@given(frames)
@example(([pl.String()], [("a",), (None,)]))
@example(([pl.String(), pl.String()], [("a|b", "c"), ("a", "b|c")]))
def test_columns_are_encoded_as_rows_are(frame: tuple[list[pl.DataType], list[tuple[Any, ...]]]) -> None:
    """``encode_columns`` equals ``encode_parts`` of each row, whichever shortcut it takes."""
    dtypes, rows = frame
    columns = {
        f"c{at}": pl.Series([row[at] for row in rows], dtype=dtype, strict=True)
        for at, dtype in enumerate(dtypes)
    }
    for few in (0, len(rows)):
        with mock.patch.object(identity_codec, "_FEW", few):
            encoded = encode_columns(pl.DataFrame(columns))
        assert encoded.dtype == pl.Binary()
        assert encoded.to_list() == [encode_parts(row) for row in rows]


KEYS = st.one_of(
    st.text(), st.just("a\0b"), st.just("\ud800"), st.integers(), st.none(), st.tuples(st.text())
)


@given(st.lists(st.text() | st.just("a\0b"), max_size=40), st.lists(KEYS, max_size=2))
@example(["a"] * 40, ["\ud800"])
def test_many_keys_are_encoded_as_each_is(texts: list[str], others: list[Any]) -> None:
    """Of any number, and with such among them that no row can have."""
    for dtypes in ([pl.String()], [pl.Int64()], [pl.String(), pl.String()]):
        keys = [*texts, *others]
        assert encode_keys(keys, dtypes) == [encode_key(key, dtypes) for key in keys]


def test_a_category_is_its_text() -> None:
    """Enums and categoricals are encoded as text: their numbers mean nothing to another process."""
    values = ["b", "a"]
    for dtype in (pl.Enum(["a", "b"]), pl.Categorical()):
        encoded = encode_columns(pl.DataFrame({"key": pl.Series(values, dtype=dtype)}))
        assert encoded.to_list() == [encode_part(value) for value in values]
