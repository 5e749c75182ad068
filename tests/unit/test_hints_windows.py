"""Hints about windows and their aggregates, each followed: the windows are made, the aggregate computed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import polars as pl
import pytest
from support.hinted import Met, evaluated, hinted
from support.hints import Hint

from ktframe import KStream, KTable
from ktframe.clock import SystemClock, now_ms
from ktframe.testing import FakeBroker

START = 1_700_000_000_000
MINUTE = 60_000

Call: TypeAlias = Callable[[KTable, KStream], Any]


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with four orders, two of each region, over an hour."""
    broker = FakeBroker()
    for number, region in enumerate(["EU", "US", "EU", "US"]):
        value = {"amount": number, "region": region, "note": "x"}
        broker.produce("t", f"k{number}", value, timestamp=START + number * 20 * MINUTE)
    return broker


@pytest.fixture
def opened(broker: FakeBroker) -> Iterator[tuple[KTable, KStream]]:
    """Yield the table and the stream of the orders."""
    with broker.connect() as context:
        yield context.table("t"), context.stream("t")


def _names_after(met: Met, word: str) -> list[str]:
    return (
        [name.strip(" .") for name in (met.error.hint or "").partition(word)[2].split(",")]
        if met.error
        else []
    )


_MINUTES = Hint(
    "windows/parsing.py",
    'give minutes as a number, a timedelta, or text with a unit: 5, "5m", "1h30m", "1d".',
)
_SIZES = Hint(
    "windows/wall_clock.py",
    'give "1d", "7d", "1w", "1mo", "1q" or "1y", or what divides a day: "15m", "1h", "6h".',
)
_ZONE = Hint("windows/wall_clock.py", 'give the name of an IANA time zone, such as "Europe/Berlin" or "UTC".')
_ZONE_TEXT = Hint("windows/wall_clock.py", 'give one such as "Europe/Berlin" or "UTC".')
_MEANT_ZONE = Hint("windows/wall_clock.py", "did you mean {}?")


@pytest.mark.parametrize(
    ("hint", "wrong", "right"),
    [
        (_MINUTES, lambda t, _: t.window(0), lambda t, text: t.window(text)),
        (_MINUTES, lambda t, _: t.window(5.0), lambda t, text: t.window(text)),
        (_MINUTES, lambda t, _: t.window("5 min"), lambda t, text: t.window(text)),
        (_MINUTES, lambda t, _: t.window("500y"), lambda t, text: t.window(text)),
        (_MINUTES, lambda t, _: t.window("100000d"), lambda t, text: t.window(text)),
        (_SIZES, lambda t, _: t.window("36h", tz="UTC"), lambda t, text: t.window(text, tz="Europe/Berlin")),
        (_ZONE, lambda t, _: t.window(5, tz="nowhere at all"), lambda t, text: t.window("1h", tz=text)),
        (_ZONE_TEXT, lambda t, _: t.window(5, tz=1), lambda t, text: t.window("1h", tz=text)),
        (_MEANT_ZONE, lambda t, _: t.window(5, tz="berlin"), lambda t, text: t.window("1h", tz=text)),
        (_MEANT_ZONE, lambda t, _: t.window(5, tz="Europe/Berln"), lambda t, text: t.window("1h", tz=text)),
        (
            Hint("windows/calendar.py", 'give the distance from the first of the month: "14d", "-1d", "6h".'),
            lambda t, _: t.window("1mo", offset="31d"),
            lambda t, text: t.window("1mo", offset=text),
        ),
    ],
)
def test_each_example_is_taken(
    opened: tuple[KTable, KStream], hint: Hint, wrong: Call, right: Callable[[KTable, str], Any]
) -> None:
    """All lengths and zones that a hint gives as examples are."""
    with hinted(hint) as met:
        wrong(*opened)
    assert met.quoted
    for text in met.quoted:
        assert right(opened[0], text).to_polars().height == 4


def test_windows_that_overlap_are_made_as_the_hint_says(opened: tuple[KTable, KStream]) -> None:
    """Size and hop of the hint go together."""
    table, _ = opened
    hint = Hint("windows/fixed.py", 'windows that overlap hop by less than their size: "1h" every "5m".')
    with hinted(hint) as met:
        table.window("5m", every="1h")
    size, every = met.quoted
    assert table.window(size, every=every).to_polars().height == 4 * 12


def test_calendar_windows_that_overlap_are_made_as_the_hint_says(opened: tuple[KTable, KStream]) -> None:
    """Each pair of the hint goes together."""
    table, _ = opened
    hint = Hint(
        "windows/calendar.py",
        'days and weeks don\'t add up to months: give "1w" every "1d", "1y" every "1mo", "1d" every "6h".',
    )
    with hinted(hint) as met:
        table.window("1mo", every="1w", tz="UTC")
    texts = re.findall(r'"([^"]*)" every "([^"]*)"', met.text)
    rows = [table.window(size, every=every, tz="UTC").to_polars().height for size, every in texts]
    assert rows == [4 * 7, 4 * 12, 4 * 4]


def test_retention_is_given_as_the_hint_says(broker: FakeBroker) -> None:
    """A duration, and bytes in each way of writing them."""
    hint = Hint(
        "windows/retention.py", 'give a duration such as "7d", or bytes: 500_000_000, "500MB", "2GiB".'
    )
    with broker.connect() as context, hinted(hint) as met:
        context.stream("t", retention="much")
    for code in re.findall(r'"\w+"|[\d_]{4,}', met.text):
        with broker.connect() as context:
            assert context.stream("t", retention=evaluated(code)).to_polars().height == 4


def test_an_aggregate_is_given_as_the_hint_says(opened: tuple[KTable, KStream]) -> None:
    """The expressions of the hint are aggregates."""
    windows = opened[0].window("1h")
    hint = Hint("windows/aggregation.py", 'such as revenue=pl.col("amount").sum(), orders=pl.len().')
    for wrong in ({}, {"revenue": "amount"}):
        with hinted(hint) as met:
            windows.agg(**wrong)  # type: ignore[arg-type]
        assert windows.agg(**met.arguments)["orders"].sum() == 4
    hint = Hint("windows/aggregation.py", 'give one another name: total=pl.col("amount").sum().')
    with hinted(hint) as met:
        windows.agg(pl.col("amount").sum(), pl.col("amount").max())
    assert windows.agg(pl.col("amount").max(), **met.arguments)["total"].sum() == 6


def test_rows_are_filtered_as_the_hint_says(opened: tuple[KTable, KStream]) -> None:
    """Both calls of the hint choose some of the rows."""
    example = Hint("tables/filterable.py", 'filter(pl.col("amount") > 10) or filter(region="EMEA").')
    told = Hint("tables/filterable.py", "give what is true or false for each row: {}")
    for rows in (opened[0], opened[0].window("1h")):
        with hinted(example) as met:
            rows.filter()
        with hinted(told) as other:
            rows.filter(pl.col("amount") + 1).to_polars()
        assert met.text in other.text
        for call in met.text.removesuffix(".").split(" or "):
            chosen = evaluated(call, filter=rows.filter).to_polars()
            assert chosen.equals(evaluated(call, filter=rows.to_polars().filter))


def test_columns_of_an_aggregate_are_those_of_the_hint(opened: tuple[KTable, KStream]) -> None:
    """What was meant is a column, and so are all that there are."""
    for windows in (opened[0].window("1h"), opened[1].window("1h")):
        with hinted(Hint("windows/aggregation.py", "did you mean {}?")) as met:
            windows.agg(n=pl.len(), by="regoin")
        assert windows.agg(n=pl.len(), by=met.names[0])["region"].n_unique() == 2
        there_are = Hint("windows/aggregation.py", "{} There are")
        with hinted(there_are) as met:
            windows.agg(n=pl.col("amuont").sum())
        names = _names_after(met, "There are")
        choose = Hint("windows/aggregation.py", "choose from")
        with hinted(choose) as met:
            windows.agg(n=pl.len(), by="xyz")
        assert names == _names_after(met, "choose from")
        assert [windows.agg(n=pl.len(), by=name)["n"].sum() for name in names] == [4] * len(names)


def test_windows_are_grouped_by_an_expression_as_the_hint_says(opened: tuple[KTable, KStream]) -> None:
    """Rows have the window's start, so Polars can group by it and by any expression; a column can be named."""
    for windows in (opened[0].window("1h"), opened[1].window("1h")):
        hint = Hint(
            "windows/aggregation.py",
            'name a column; to_polars().group_by("window_start", ...) takes expressions.',
        )
        with hinted(hint) as met:
            windows.agg(n=pl.len(), by=pl.col("region").str.head(1))  # type: ignore[arg-type]
        call = met.calls[0].replace("...", 'pl.col("region").str.head(1)')
        grouped = evaluated(f"windows.{call}", windows=windows).agg(n=pl.len())
        by_column = windows.agg(n=pl.len(), by="region")
        assert sorted(grouped["n"]) == sorted(by_column["n"])


def test_windows_without_rows_are_filled_over_a_narrower_range(broker: FakeBroker) -> None:
    """A narrower range and larger windows are filled."""
    for timestamp in (1, now_ms(SystemClock())):
        broker.produce("t", f"at {timestamp}", {"amount": 1, "region": "EU"}, timestamp=timestamp)
    hint = Hint("windows/aggregation.py", "narrow the range by between() or last(), or take larger windows.")
    with broker.connect() as context:
        windows = context.table("t").window("1m")
        with hinted(hint):
            windows.agg(n=pl.len(), fill=True)
        assert windows.between("2023-11-14", "2023-11-16").agg(n=pl.len(), fill=True).height == 61
        assert windows.last("2h").agg(n=pl.len(), fill=True)["n"].sum() == 1
        assert context.table("t").window("7d").agg(n=pl.len(), fill=True)["n"].sum() == 6


def test_final_windows_are_those_with_grace(opened: tuple[KTable, KStream]) -> None:
    """With the grace of the hint windows close."""
    hint = Hint("tables/windowed.py", 'ask for them with grace="1m".')
    for rows in opened:
        with hinted(hint) as met:
            rows.window("5m").final()
        assert rows.window("5m", **met.arguments).final().to_polars().height == 3
    with hinted(hint) as met:
        opened[1].session("5m").final()
    assert opened[1].session("5m", **met.arguments).final().to_polars().height == 3


def test_sessions_have_their_groups_where_they_are_made(opened: tuple[KTable, KStream]) -> None:
    """The groups that the hint names are taken there."""
    _, stream = opened
    with hinted(Hint("tables/windowed_stream.py", "give by={} where they are made.")) as met:
        stream.session("1h").agg(n=pl.len(), by="region")
    sessions = stream.session("1h", **met.arguments).agg(n=pl.len())
    assert sorted(sessions.select("region", "n").rows()) == [("EU", 2), ("US", 2)]


def test_tumbling_and_hopping_windows_are_filled(opened: tuple[KTable, KStream]) -> None:
    """The windows of the hint take fill=True."""
    _, stream = opened
    with hinted(Hint("tables/windowed_stream.py", "it is for tumbling and hopping windows.")):
        stream.session("1m").agg(n=pl.len(), fill=True)
    assert stream.window("5m").agg(n=pl.len(), fill=True).height == 13
    assert stream.window("10m", every="5m").agg(n=pl.len(), fill=True)["n"].sum() == 8
