"""Records with names that never settle: the first ones are columns, and records with others are refused, with hints that work."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

import ktframe
from ktframe.errors import IncompleteError
from ktframe.fold import learning
from ktframe.fold.records import Cause
from ktframe.formats.base import Fault
from ktframe.formats.json import inference, sightings
from ktframe.formats.json.sightings import MOST_NAMES
from ktframe.testing import FakeBroker

FEW = 50


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have fifty names be as many as are columns."""
    monkeypatch.setattr(sightings, "MOST_NAMES", FEW)
    monkeypatch.setattr(inference, "MOST_NAMES", FEW)
    monkeypatch.setattr(inference, "MOST_NEW", 3)


def topic(records: list[dict[str, Any]], partitions: int = 1) -> FakeBroker:
    """Return a topic of these records."""
    broker = FakeBroker()
    broker.create_topic("t", partitions)
    for number, record in enumerate(records):
        broker.produce("t", f"k{number:05}", json.dumps(record).encode(), partition=number % partitions)
    return broker


def ever_new(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return records of which each has a name that no other one has."""
    return [{"id": n, f"name {n}": n} for n in range(start, start + count)]


def shown(table: Any) -> tuple[Any, ...]:
    """Return columns, rows, and which records are refused."""
    frame = table.to_polars(metadata=True)
    refused = table.errors().select("partition", "offset").rows()
    return list(frame.schema.items()), sorted(map(repr, frame.rows())), sorted(refused)


def loaded(broker: FakeBroker, **given: Any) -> tuple[Any, ...]:
    """Return what a table has that was never there before."""
    with broker.connect() as context:
        return shown(context.table("t", on_refused="ignore", **given))


def test_names_that_never_settle_are_not_columns_without_end() -> None:
    """With the limits as they are: so many columns, and rows for the records that have no other names."""
    broker = topic(ever_new(MOST_NAMES + 200))
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore", stale="show")
        frame = table.to_polars()
        assert frame.columns == ["key", "id", *(f"name {n}" for n in range(MOST_NAMES - 1))]
        assert frame["id"].to_list() == [*range(MOST_NAMES - 1)]
        assert frame[f"name {MOST_NAMES - 2}"].drop_nulls().to_list() == [MOST_NAMES - 2]
        (cause,) = table.errors(by="reason").rows(named=True)
        assert cause["reason"] == (
            f"field 'name {MOST_NAMES - 1}' is one of too many names, of which the first 2,000 are columns; "
            "schema= can declare some of them"
        )
        assert cause["records"] == 201
        with pytest.raises(IncompleteError, match='value="bytes" keeps any value, as bytes'):
            context.table("t", on_refused="raise").to_polars()


@pytest.mark.usefixtures("few")
def test_what_the_hints_say_keeps_the_records() -> None:
    """A declared field is a column however many there are; as bytes or text each record is a row."""
    sent = ever_new(100)
    broker = topic(sent)
    with broker.connect() as context:
        table = context.table("t", schema={"name 90": pl.Int64}, on_refused="ignore", stale="show")
        assert table.to_polars()["name 90"].drop_nulls().to_list() == [90]
        assert table.status().refused == 100 - FEW
        for value in ("bytes", "string"):
            rows = context.table("t", value=value, on_refused="raise").to_polars()
            assert [json.loads(text) for text in rows["value"].sort()] == sorted(sent, key=json.dumps)


@pytest.mark.usefixtures("few")
def test_the_hint_for_a_few_records_keeps_these() -> None:
    """Where few names are too many it names them."""
    names = [f"name {n % (FEW + 1)}" for n in range(4 * FEW)]
    broker = topic([{"id": n, name: n} for n, name in enumerate(names)])
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore")
        assert table.to_polars().height == 4 * FEW - 6
        with pytest.raises(IncompleteError) as raised:
            context.table("t", on_refused="raise").to_polars()
        wanted = "schema={'name 49': ktframe.Json, 'name 50': ktframe.Json} keeps values of any kind"
        assert wanted in str(raised.value)
        declared = dict.fromkeys(["name 49", "name 50"], ktframe.Json)
        assert context.table("t", schema=declared, on_refused="raise").to_polars().height == 4 * FEW


def wide(count: int) -> Iterator[dict[str, Any]]:
    """Yield records that have most of many fields."""
    for number in range(count):
        yield {f"f{at}": number for at in range(3 * FEW) if at % 7 != number % 7}


@pytest.mark.usefixtures("few")
def test_wide_records_of_real_fields_have_all_columns() -> None:
    """Fields that records share are columns, however many there are; so are those of twenty types of records."""
    columns, rows, refused = loaded(topic([*wide(40)]))
    assert len([name for name, _ in columns if name.startswith("f")]) == 3 * FEW
    assert (len(rows), refused) == (40, [])
    types = [{f"t{n % 12}f{at}": n for at in range(10)} for n in range(120)]
    columns, rows, refused = loaded(topic(types))
    assert len([name for name, _ in columns if name.startswith("t") and "f" in name]) == 120
    assert (len(rows), refused) == (120, [])


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("given", [{}, {"key": "id"}, {"time": "id"}, {"times": "auto"}], ids=str)
@pytest.mark.parametrize("kind", ["numbers", "texts", "objects", "growing objects"])
def test_columns_are_the_same_however_records_came(kind: str, given: dict[str, Any]) -> None:
    """Read at once, or while they came and then learned anew: columns, rows and refused records."""
    values = {
        "numbers": lambda n: n,
        "texts": lambda n: f"2026-01-01T00:00:{n % 60:02}Z" if n % 3 else "x",
        "objects": lambda n: {"x": n},
        "growing objects": lambda n: {f"x{n % 9}": n},
    }
    sent = [{"id": n, f"name {n}": values[kind](n), f"again {n % 9}": n} for n in range(2 * FEW)]
    expected = loaded(topic(sent, partitions=3), **given)
    broker = FakeBroker()
    broker.create_topic("t", 3)
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore", **given)
        for number, record in enumerate(sent):
            payload = json.dumps(record).encode()
            broker.produce("t", f"k{number:05}", payload, partition=number % 3)
            if number in (0, 7, FEW, FEW + 9):
                table.to_polars()
        table.relearn()
        assert shown(table) == expected
    assert expected[2]


@pytest.mark.usefixtures("few")
def test_names_that_other_records_settle_are_columns() -> None:
    """Records that were refused are rows when so many have these fields that they are no names without end."""
    first = [{f"f{n}": n} for n in range(FEW + 2)]
    later = [{f"f{at}": n for at in range(2 * FEW)} for n in range(FEW)]
    broker = FakeBroker()
    broker.create_topic("t", 2)
    with broker.connect() as context:
        table = context.table("t", on_refused="ignore")
        for partition, records in enumerate([first, later]):
            for number, record in enumerate(records):
                broker.produce(
                    "t", f"k{partition}-{number}", json.dumps(record).encode(), partition=partition
                )
            assert len(shown(table)[2]) == (2, 0)[partition]
        columns, rows, refused = shown(table)
        assert (len(rows), refused) == (2 * FEW + 2, [])
        assert shown(context.table("t", on_refused="ignore", stale="show"))[0] == columns


@pytest.mark.usefixtures("few")
def test_names_after_the_first_records_are_columns_while_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also those of a topic that had settled: so many in all, and a few more where there were as many before."""
    monkeypatch.setattr(learning, "SAMPLE_RECORDS", 20)
    settled = [{"id": n} for n in range(20)]
    columns, rows, refused = loaded(topic([*settled, *ever_new(100, start=20)]))
    names = [name for name, _ in columns if name.startswith("name")]
    assert names == [f"name {n}" for n in range(20, 20 + FEW - 1)]
    assert (len(rows), len(refused)) == (20 + FEW - 1, 100 - FEW + 1)
    more = [{**record, f"name {n}": n} for n, record in enumerate(wide(30))]
    columns, rows, refused = loaded(topic(more))
    names = [name for name, _ in columns if name.startswith("name")]
    assert names == [f"name {n}" for n in range(23)]
    assert (len(rows), len(refused)) == (23, 7)


@pytest.mark.usefixtures("few")
def test_a_key_and_a_time_are_columns_however_late_they_come() -> None:
    """What an identity is made of is no name too many."""
    sent = [*ever_new(100), *[{"order": n, "at": n} for n in range(10)]]
    for key in ("order", ["order", "at"]):
        with topic(sent).connect() as context:
            table = context.table("t", key=key, time="at", on_refused="ignore", stale="show")
            assert sorted(table.to_polars()["order"]) == [*range(10)]


@pytest.mark.usefixtures("few")
def test_names_of_keys_are_not_columns_without_end() -> None:
    """JSON keys that never settle have the columns of the commonest ones, and the others are refused."""
    broker = FakeBroker()
    for number in range(4 * FEW):
        key = {"a": number} if number % 2 else {f"a{number}": 1}
        broker.produce("t", json.dumps(key).encode(), b'{"v":1}')
    with broker.connect() as context:
        table = context.table("t", key_format="json", on_refused="ignore")
        assert table.to_polars().schema["key"] == pl.Struct({"a": pl.Int64})
        assert table.errors()["reason"][-1] == "key: a key with additional fields: a198"
        assert table.status().refused == 2 * FEW


def test_a_cause_does_not_grow_with_the_names_that_it_is_about() -> None:
    """Of a million records with a name each it keeps the first hundred."""
    causes = [Cause("r", Fault.FIELD, (f"n{n}",), 1, (0, n), (0, n)) for n in range(300)]
    whole = causes[0]
    for cause in causes[1:]:
        whole += cause
    assert whole.fields == tuple(f"n{n}" for n in range(100))
    assert whole.records == 300
