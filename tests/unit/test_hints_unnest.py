"""Hints about ``unnest=``, each followed: the rows are there then."""

from __future__ import annotations

from typing import Any

import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint

import ktframe
from ktframe.context.context import Context
from ktframe.testing import FakeBroker


@pytest.fixture
def kt() -> Any:
    """Yield a connection to a topic of events whose data have an id too."""
    broker = FakeBroker()
    broker.produce("t", "k", {"id": "e1", "n": 1, "data": {"id": 7, "x": 1}})
    with broker.connect(writable=True) as context:
        yield context


def test_a_prefix_tells_two_columns_apart(kt: Context) -> None:
    """With it both are there."""
    with hinted(
        Hint("fold/unnested_fields.py", "unnest={} puts a prefix before the names of its fields.")
    ) as found:
        kt.table("t", unnest="data").to_polars()
    assert kt.table("t", **found.arguments).to_polars().columns == ["key", "id", "n", "data_id", "data_x"]


@pytest.mark.parametrize(
    ("value", "unnest", "columns"),
    [
        ({"x": 1, "d": {"e": {"x": 2}}}, ["d", "e"], ["x", "e_x"]),
        ({"d": {"x": 1}, "e": {"x": 2}}, ["d", "e"], ["x", "e_x"]),
        ({"x": 1, "d": {"x": 2, "e": {"y": 3}}}, ["d", "e"], ["x", "d_x", "y"]),
        ({"d": {"x": 1}, "d_x": 2}, {"d": "d_"}, ["d__x", "d_x"]),
        ({"d": {"x": 1}, "d_x": 2, "x": 3}, "d", ["d__x", "d_x", "x"]),
    ],
)
def test_a_prefix_is_one_that_is_free_and_keeps_the_others(
    value: dict[str, Any], unnest: Any, columns: list[str]
) -> None:
    """Also where what is lifted next is a field of what gets the prefix."""
    broker = FakeBroker()
    broker.produce("t", "k", value)
    with broker.connect() as kt:
        with hinted(
            Hint("fold/unnested_fields.py", "unnest={} puts a prefix before the names of its fields.")
        ) as found:
            kt.table("t", unnest=unnest).to_polars()
        assert kt.table("t", **found.arguments).to_polars().columns == ["key", *columns]


def test_a_key_that_is_called_like_a_lifted_field() -> None:
    """It is named already as it is in the record: the other one gets another name."""
    broker = FakeBroker()
    broker.produce("t", "k", {"d": {"id": 1}})
    with broker.connect() as kt:
        with hinted(
            Hint("fold/unnested_fields.py", "unnest={} puts a prefix before the names of its fields.")
        ) as found:
            kt.table("t", "d.id", unnest={"d": "d."}).to_polars()
        assert kt.table("t", "d.id", **found.arguments).to_polars().columns == ["d.id", "d_id"]


def test_a_key_is_named_as_it_is_in_the_record() -> None:
    """Not as its column."""
    broker = FakeBroker()
    broker.produce("t", "k", {"data": {"oid": 7}})
    with broker.connect() as kt:
        with hinted(Hint("fold/unnested_fields.py", "name the one that is meant, such as key={}.")) as found:
            kt.table("t", "oid", unnest="data").to_polars()
        assert kt.table("t", unnest="data", **found.arguments)[7]["oid"] == 7


def test_what_has_no_fields_is_left_out(kt: Context) -> None:
    """The others stay."""
    with hinted(Hint("fold/unnested_fields.py", "leave {} out of unnest=.")) as found:
        kt.table("t", unnest={"data": "data_", "n": ""}).to_polars()
    assert [evaluated(part) for part in found.parts] == ["n"]
    assert kt.table("t", unnest={"data": "data_"}).to_polars().height == 1
    with hinted(Hint("context/topic_spec.py", "leave unnest= out.")):
        kt.table("t", unnest="data", value="bytes")
    assert kt.table("t", value="bytes").to_polars().height == 1


@pytest.mark.parametrize("wrong", [5, [], ["a", "a"]])
def test_it_takes_names(kt: Context, wrong: Any) -> None:
    """One, several, or some with prefixes."""
    with hinted(
        Hint(
            "fold/unnested_fields.py",
            'unnest="data", unnest=["payload", "after"], or unnest={"data": "data_"} with a prefix.',
        )
    ) as found:
        kt.table("t", unnest=wrong)
    assert kt.table("t", **found.arguments).to_polars().height == 1


def test_rows_are_written_to_the_table_without_it(kt: Context) -> None:
    """Its rows are as records are."""
    with hinted(
        Hint("tables/write_checks.py", "write to the table without unnest=, whose rows are as records are.")
    ):
        kt.table("t", unnest={"data": "data_"}).put({"key": "z", "data_x": 5})
    kt.table("t").put({"key": "z", "id": "e2", "n": 2, "data": {"id": 8, "x": 5}})
    assert kt.table("t", unnest={"data": "data_"})["z"]["data_x"] == 5


@pytest.mark.parametrize("unnest", ["data", ["data", "in"], {"data": "d_"}])
def test_json_text_has_no_fields(unnest: Any) -> None:
    """Where a struct becomes text, it can't be lifted."""
    broker = FakeBroker()
    broker.produce("t", "a", {"data": {"v": 1, "in": {}}})
    broker.produce("t", "b", {"data": {"v": "x"}})
    with broker.connect() as kt:
        table = kt.table("t", unnest=unnest, on_refused="ignore")
        table.to_polars()
        hint = str(table.status())
        met(Hint("fold/remedies.py", "without unnest={}, "), hint)
        assert f"without unnest={unnest!r}, schema=" in hint
        assert kt.table("t", schema={"data": ktframe.Json}).to_polars().height == 2
