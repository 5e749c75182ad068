"""``filter``: the rows that conditions hold for, in every read, as the topic changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import polars as pl
import polars.selectors as cs
import pytest
from polars.testing import assert_frame_equal

import ktframe
from ktframe.context.context import Context
from ktframe.testing import FakeBroker

AT = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp() * 1000)


@pytest.fixture
def topic() -> Iterator[tuple[FakeBroker, Context]]:
    """Return a topic of two partitions with a row for each of 20 keys."""
    broker = FakeBroker()
    broker.create_topic("t", partitions=2)
    for number in range(20):
        value = {"n": number, "region": ["EMEA", "APAC", None][number % 3], "window_start": "taken"}
        broker.produce("t", f"k{number:02}", value, partition=number % 2, timestamp=AT + number * 60_000)
    with broker.connect() as kt:
        yield broker, kt


def sorted_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in one order."""
    return frame.sort("n")


CONDITIONS: list[tuple[Any, ...]] = [
    (pl.col("n") > 5,),
    (pl.col("n") > 5, pl.col("n") % 2 == 0),
    (pl.col("region") == "EMEA",),
    (pl.col("region").is_null() | (pl.col("timestamp") > datetime(2026, 10, 1, 0, 10, tzinfo=UTC)),),
    (pl.col("partition") == 1, pl.col("offset") < 3),
    (pl.col("n") > pl.col("n").mean(),),
    (pl.col("n").rank() > 3,),
    (pl.len() > 3,),
    (pl.all_horizontal(cs.numeric() > 0),),
    (pl.any_horizontal(cs.integer() == 2),),
    (pl.col("n") > 3, pl.any_horizontal(cs.string() == "EMEA")),
    (pl.lit(value=True),),
    (pl.lit(value=False),),
]


@pytest.mark.parametrize("conditions", CONDITIONS, ids=range(len(CONDITIONS)))
@pytest.mark.parametrize("kind", ["table", "windows", "windows rolled up"])
def test_a_filter_is_that_of_the_frame(
    topic: tuple[FakeBroker, Context], kind: str, conditions: tuple[Any, ...]
) -> None:
    """By any column that the frame can show, also one about the record."""
    _, kt = topic
    table = kt.table("t")
    rows: Any = {
        "table": table,
        "windows": table.window(5),
        "windows rolled up": table.window(10),
    }[kind]
    seen = rows.to_polars(metadata=True).sort("partition", "offset")
    # Conditions on many columns see those of the frame, without metadata.
    plain = seen.select(rows.to_polars().columns)
    masks = [(plain if "cs." in str(each) else seen).with_columns(is_it=each)["is_it"] for each in conditions]
    expected = seen.filter(*masks)
    chosen = rows.filter(*conditions)
    assert_frame_equal(sorted_rows(chosen.to_polars(metadata=True)), sorted_rows(expected))
    assert len(chosen) == expected.height
    assert chosen.status().rows == expected.height
    assert chosen.to_polars().columns == rows.to_polars().columns
    again = rows.filter(conditions[0]).filter(*conditions[1:]) if len(conditions) > 1 else chosen
    assert len(again) == expected.height


def test_every_read_of_a_table_is_of_the_chosen_rows(topic: tuple[FakeBroker, Context]) -> None:
    """A key that is not among them has no row."""
    _, kt = topic
    few = kt.table("t").filter(region="EMEA")
    keys = [f"k{number:02}" for number in range(0, 20, 3)]
    assert sorted(few.keys()) == keys
    assert few["k03"]["n"] == 3
    assert few.get("k04") is None
    assert few.get_many(["k03", "k04"])[1] is None
    assert "k04" not in few
    assert [key for key, _ in few.items("k03", "k09")] == ["k03", "k06"]
    assert few.describe().height
    assert few.head(2).height == 2
    assert few.get("k03") == kt.table("t").get("k03")


def test_a_row_comes_and_goes_as_its_newest_record_fits(topic: tuple[FakeBroker, Context]) -> None:
    """The newest record of a key decides, not an older one that fitted; ``diff`` tells both."""
    broker, kt = topic
    table = kt.table("t")
    few = table.filter(pl.col("n") < 3)
    before = few.to_polars()
    broker.produce("t", "k01", {"n": 100}, partition=1)
    broker.produce("t", "k05", {"n": 0}, partition=1)
    assert sorted(few.keys()) == ["k00", "k02", "k05"]
    changes = few.diff(since=before)
    assert sorted(changes.select("change", "key").rows()) == [("deleted", "k01"), ("inserted", "k05")]


def test_windows_and_aggregates_are_of_the_chosen_rows(topic: tuple[FakeBroker, Context]) -> None:
    """Of a table that is filtered, the windows are; their aggregates need not name the columns of the condition."""
    _, kt = topic
    condition = pl.col("region") == "EMEA"
    for windows in (kt.table("t").filter(condition).window(5), kt.table("t").window(5).filter(condition)):
        whole = kt.table("t").window(5).to_polars().filter(condition)
        assert_frame_equal(sorted_rows(windows.to_polars()), sorted_rows(whole))
        start = pl.col("record_window_start").alias("window_start")  # the value has a field of that name
        expected = whole.group_by(start).agg(total=pl.col("n").sum()).sort("window_start")
        assert_frame_equal(windows.agg(total=pl.col("n").sum()).drop("window_end"), expected)
        assert windows.between("2026-10-01T00:10").to_polars().height == 3
        assert windows.get("k03").height == 1
        assert windows.get("k04").height == 0


@pytest.mark.parametrize(
    "condition", [pl.col("n") == pl.col("n").max(), pl.col("n").rank() > 18, pl.len() > 3]
)
def test_single_rows_are_those_of_the_frame(topic: tuple[FakeBroker, Context], condition: pl.Expr) -> None:
    """Though a condition looks at other rows: these are not only the ones that are asked for."""
    _, kt = topic
    few = kt.table("t").filter(condition)
    keys = [f"k{number:02}" for number in range(20)]
    there = set(few.to_polars()["key"])
    assert [key for key, row in zip(keys, few.get_many(keys), strict=True) if row] == sorted(there)
    assert [key for key in keys if key in few] == sorted(there)


def test_nulls_can_be_asked_for(topic: tuple[FakeBroker, Context]) -> None:
    """By None, which equals no value."""
    _, kt = topic
    assert len(kt.table("t").filter(region=None)) == 6


def test_a_row_that_was_not_chosen_is_not_called_hidden(topic: tuple[FakeBroker, Context]) -> None:
    """Only one whose newest record was refused is."""
    broker, kt = topic
    broker.produce("t", "k01", b"{", partition=1)
    few = kt.table("t", on_refused="ignore").filter(region="EMEA")
    for key, is_hidden in (("k04", False), ("k01", True)):
        with pytest.raises(KeyError) as raised:
            few[key]
        assert bool(getattr(raised.value, "__notes__", [])) == is_hidden


def test_a_filter_shares_the_store_and_is_closed_with_it(topic: tuple[FakeBroker, Context]) -> None:
    """It says what it shows; closing it closes the table."""
    _, kt = topic
    table = kt.table("t")
    few = table.filter(pl.col("n") > 5)
    assert few.to_polars().height == 14
    assert repr(few).startswith("KTable('t', [(col(\"n\")) > (dyn int: 5)], ready, 14 rows")
    assert repr(table).startswith("KTable('t', ready, 20 rows")
    assert kt.tables() == [table]
    few.close()
    with pytest.raises(ktframe.ContextClosedError):
        table.to_polars()


def test_what_is_missing_is_told_of_the_whole_topic(topic: tuple[FakeBroker, Context]) -> None:
    """A record that can't be read might have fitted."""
    broker, kt = topic
    few = kt.table("t").filter(pl.col("n") > 5)
    few.to_polars()
    broker.produce("t", "k01", b"{", partition=1)
    with pytest.warns(ktframe.KtframeWarning, match="1 row is hidden"):
        assert few.to_polars().height == 14
    assert few.errors().height == 1


def test_stale_rows_are_filtered_as_they_are_shown(topic: tuple[FakeBroker, Context]) -> None:
    """Hidden ones are not among them, shown ones are judged."""
    broker, kt = topic
    broker.produce("t", "k10", b"{", partition=0)
    hides = kt.table("t", on_refused="ignore").filter(pl.col("n") > 5)
    shows = kt.table("t", on_refused="ignore", stale="show").filter(pl.col("n") > 5)
    assert (len(hides), len(shows)) == (13, 14)
    assert (
        hides.window(5).agg(n=pl.len())["n"].sum() == 14
    )  # what is stale in its window was written long before
    assert hides.window(5).to_polars().height == 14


@pytest.mark.parametrize(
    ("condition", "fact"),
    [
        (pl.col("m") > 5, "'m': there is no such column"),
        (pl.col("n") + 1, "is no condition for these rows"),
        (pl.col("region") > 5, "is no condition for these rows"),
    ],
)
def test_what_is_no_condition_is_said(
    topic: tuple[FakeBroker, Context], condition: pl.Expr, fact: str
) -> None:
    """Nor is another library's error shown."""
    _, kt = topic
    with pytest.raises(ktframe.ConfigurationError, match=fact):
        kt.table("t").filter(condition).to_polars()


def test_a_filter_needs_conditions(topic: tuple[FakeBroker, Context]) -> None:
    """What pandas and SQL would take is refused with an example."""
    _, kt = topic
    for given in ((), ("n > 5",)):
        with pytest.raises(ktframe.ConfigurationError, match=r"Hint: filter\(pl.col"):
            kt.table("t").filter(*given)
