"""Numbers as producers write them: integers beyond 64 bits, NaN and infinities are read as what they are, or refused."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import ktframe
from ktframe.formats import JsonFormat
from ktframe.formats.json.kinds import HUGE, INTEGER, NEGATIVE, REAL, UNSIGNED, WIDE
from ktframe.formats.json.sightings import Sightings
from ktframe.testing import FakeBroker

UNSIGNED_IDS = [2**64 - 1, 2**63, 5]
HUGE_IDS = [10**38 - 1, -(10**38) + 1, 2**64, -(2**63) - 1, 7, -7]


def column(*texts: str, is_live: bool = False, **arguments: Any) -> tuple[pl.DataType, list[Any], int]:
    """Return type and values of the field ``v`` of a table of these JSON texts, and how many records were refused."""
    broker = FakeBroker()
    broker.create_topic("t")
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore", **arguments)
        for number, text in enumerate(texts):
            broker.produce("t", f"k{number:05}", f'{{"v":{text}}}'.encode())
            if is_live:
                table.to_polars()
        frame = table.to_polars().sort("key")
        return frame.schema["v"], frame["v"].to_list(), table.errors().height


@pytest.mark.parametrize("way", ["few", "many", "live"])
@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (UNSIGNED_IDS, pl.UInt64()),
        (HUGE_IDS, pl.Decimal(38, 0)),
        ([-1, 2**63], pl.Decimal(38, 0)),
        ([1, -1, 2**63 - 1], pl.Int64()),
        ([1, -(2**63)], pl.Int64()),
    ],
)
def test_integers_have_the_first_type_that_holds_all(values: list[int], dtype: pl.DataType, way: str) -> None:
    """None is rounded, wrapped or refused, whatever the order in which they come."""
    many = 200 if way == "many" else 1
    for sent in (values * many, values[::-1] * many):
        found = column(*map(str, sent), is_live=way == "live")
        assert found == (dtype, [Decimal(v) if dtype.is_decimal() else v for v in sent], 0)


def test_large_integers_inside_of_lists_and_objects() -> None:
    """Each place has its own type."""
    dtype, values, refused = column(
        '{"a":[18446744073709551615],"b":-1}', '{"a":[3],"b":18446744073709551616}'
    )
    assert dtype == pl.Struct({"a": pl.List(pl.UInt64()), "b": pl.Decimal(38, 0)})
    assert values == [{"a": [2**64 - 1], "b": Decimal(-1)}, {"a": [3], "b": Decimal(2**64)}]
    assert refused == 0


def test_an_inferred_decimal_holds_integers_alone() -> None:
    """Text and floats are no integers, unlike in a declared Decimal."""
    many = [str(2**64)] * 300
    dtype, values, refused = column("1", '"1"', "1.0", *many)
    assert (dtype, values[0], len(values), refused) == (pl.Decimal(38, 0), Decimal(1), 301, 2)
    declared = column(str(2**64), '"1"', "1.0", schema={"v": pl.Decimal(38, 0)})
    assert declared == (pl.Decimal(38, 0), [Decimal(2**64), Decimal(1), Decimal(1)], 0)


def test_an_integer_that_no_column_holds_is_refused_with_a_hint() -> None:
    """The others stay integers."""
    assert column("1", "9" * 39, "2") == (pl.Int64(), [1, 2], 1)
    assert column("1", "9" * 39, "2", schema={"v": ktframe.Json}) == (pl.String(), ["1", "9" * 39, "2"], 0)


def test_large_integers_can_be_keys() -> None:
    """A field that is the key has the same types; rows are found by the integer."""
    for large in (2**64 - 1, 10**30):
        broker = FakeBroker()
        for number, key in enumerate((large, 1, large)):
            broker.produce("t", None, {"id": key, "n": number})
            broker.produce("j", b'{"id":%d}' % key, {"n": number})
        with broker.connect() as context:
            table = context.table("t", key="id")
            assert table.to_polars().sort("n")["n"].to_list() == [1, 2]
            assert (table[large]["n"], table[1]["n"]) == (2, 1)
            assert context.table("j", key_format="json").to_polars().height == 2


def test_a_time_in_integers_stays_a_time() -> None:
    """One record with an absurd time is refused, and makes no Decimals of the others."""
    broker = FakeBroker()
    for number, at in enumerate((1000, 10**20, 2000)):
        broker.produce("t", f"k{number}", {"at": at})
    with broker.connect() as context:
        frame = context.table("t", time="at", on_refused="ignore").to_polars()
    assert frame.sort("at")["at"].to_list() == [1000, 2000]
    assert frame.schema["at"] == pl.Int64


def test_what_was_counted_in_columns_is_what_is_counted_one_by_one() -> None:
    """For each type of integers and for floats, NaN among them."""
    wanted: list[tuple[list[Any], pl.DataType, dict[str, int]]] = [
        ([1, -1, 2**53 + 1], pl.Int64(), {INTEGER: 3, NEGATIVE: 1, WIDE: 1}),
        ([*UNSIGNED_IDS, 2**60], pl.UInt64(), {INTEGER: 4, WIDE: 3, UNSIGNED: 2}),
        (HUGE_IDS, pl.Decimal(38, 0), {INTEGER: 6, NEGATIVE: 3, WIDE: 4, HUGE: 4}),
        ([0.5, math.nan, math.inf, -math.inf], pl.Float64(), {REAL: 4}),
    ]
    for values, dtype, counts in wanted:
        one_by_one, whole = Sightings(), Sightings()
        for offset, value in enumerate(values):
            one_by_one.add_record({"v": value}, 0, offset)
        whole.add_column(pl.Series([Decimal(v) if dtype.is_decimal() else v for v in values], dtype=dtype))
        for seen in (one_by_one.fields["v"], whole):
            assert {kind: records for kind, (records, _) in seen.kinds.items() if kind != "number"} == counts


@pytest.mark.parametrize("many", [1, 100])
def test_nan_and_infinities_are_floats(many: int) -> None:
    """As Python's json and JavaScript write them; other numbers of the record are read as ever."""
    dtype, values, refused = column(*["NaN", "Infinity", "-Infinity", "0.5", "2"] * many)
    assert dtype == pl.Float64()
    assert refused == 0
    assert repr(values) == repr([math.nan, math.inf, -math.inf, 0.5, 2.0] * many)
    inside = column(*['{"a":[NaN,1.5],"b":"NaN \\" Infinity","c":18446744073709551615}'] * many)
    assert repr(inside[1]) == repr([{"a": [math.nan, 1.5], "b": 'NaN " Infinity', "c": 2**64 - 1}] * many)


def test_nan_is_no_integer_text_or_decimal() -> None:
    """Where a column holds something else it is refused, with a hint that works."""
    for dtype in (pl.Int64(), pl.Boolean(), pl.Decimal(12, 2), pl.Date()):
        assert column("NaN", schema={"v": dtype}) == (dtype, [], 1)
    assert column("1", str(2**60), str(2**61), "NaN") == (pl.Int64(), [1, 2**60, 2**61], 1)


def test_nan_in_declared_text_is_what_was_sent() -> None:
    """``ktframe.Json`` has it as it stands, though it is no JSON; a String too."""
    texts = ['{"a": NaN}', "NaN", '"NaN"', "[-Infinity,0e-77]", "1"]
    assert column(*texts, schema={"v": ktframe.Json})[1:] == (texts, 0)
    assert column(*texts, schema={"v": pl.String})[1:] == ([*texts[:2], "NaN", *texts[3:]], 0)


@pytest.mark.parametrize("text", ["-NaN", "[NaN,]", "1Infinity", "NaN5", '{"a" NaN}', "NaN NaN", "+Infinity"])
def test_constants_open_no_way_around_what_json_is(text: str) -> None:
    """What is malformed beside them is refused, in whatever column."""
    payload = f'{{"v":{text}}}'.encode()
    for declared in (None, {"v": pl.String()}):
        decoder = JsonFormat(None if declared is None else pl.Schema(declared))
        assert [refusal.index for refusal in decoder.decode([payload], pl.Schema()).refused] == [0]
    bad_text = b'{"v":NaN,"w":"\xff"}'
    decoder = JsonFormat(pl.Schema({"v": pl.String()}))
    assert decoder.decode([bad_text], pl.Schema()).refused[0].reason.startswith("not UTF-8")


def test_a_topic_with_nan_is_inspected_as_json() -> None:
    """The proposal reads it."""
    broker = FakeBroker()
    broker.produce("t", "a", b'{"v":NaN}')
    with broker.connect() as context:
        found = context.inspect("t")
    assert found.columns.filter(pl.col("column") == "v")["dtype"].to_list() == ["Float64"]
