"""Stale rows and absent fields in unusual tables: odd names, times that can't be read, empty topics, reads at one time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.avro_bodies import field, record
from support.avro_fuzz import varint

import ktframe
from ktframe import IncompleteError, KTable, KtframeWarning, SchemaError
from ktframe.call_site import is_of_library
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import Changes, RecordBatch
from ktframe.testing import FakeBroker, FakeRegistry


@pytest.mark.parametrize(
    ("arguments", "columns"),
    [
        (
            {"key": ["partition", "record_partition"]},
            ["partition", "record_partition", "record_record_partition"],
        ),
        ({"key": ["row_offset", "reason"]}, ["row_offset", "reason", "partition"]),
        ({"key_name": None}, ["key", "partition", "offset"]),
    ],
)
def test_stale_rows_are_listed_whatever_their_key_is_called(
    arguments: dict[str, Any], columns: list[str]
) -> None:
    """Fields of the key keep their names; a record key that frames hide is listed all the same."""
    broker = FakeBroker()
    for n in (1, "text"):
        names = ("partition", "record_partition", "row_offset", "reason")
        broker.produce("t", "k", {**dict.fromkeys(names, 7), "n": n})
    with broker.connect() as kt:
        table = kt.table("t", **arguments)
        for rows in (table, table.window("1h")):
            stale = rows.errors(stale=True).select(pl.exclude("window_start", "window_end"))
            assert stale.height == 1
            assert stale.columns[:3] == columns


def test_a_hint_lists_fields_and_no_columns_of_ours() -> None:
    """Also where fields of the value are the key."""
    broker = FakeBroker()
    broker.produce("t", "k", {"id": 1, "amount": 1})
    with broker.connect() as kt, pytest.warns(KtframeWarning) as said:
        kt.table("t", key=["id", "zone"]).to_polars()
    assert str(said[0].message).endswith("the other fields are 'amount'.")


def test_a_module_of_the_user_beside_the_package_is_the_users(tmp_path: Path) -> None:
    """A file whose path begins as the package's does is not one of its files."""
    ours = Path(ktframe.__file__).parent
    assert not is_of_library(f"{ours}_report.py")
    assert is_of_library(str(ours / "report.py"))
    assert not is_of_library(str(tmp_path / "report.py"))


@pytest.mark.parametrize(
    ("read", "older"),
    [
        (lambda table: table.to_polars()["n"].to_list(), 1),
        (lambda table: [row["n"] for _, row in table.items()], 1),
        (lambda table: [row["n"] for row in table.get_many(["k"]) if row], 1),
    ],
)
def test_a_newer_record_during_a_read_brings_no_older_one_back(
    read: Callable[[KTable], list[int]], older: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that makes a row whole again while it is read: the read shows the new record or none."""
    broker = FakeBroker()
    for value in (older, "text"):
        broker.produce("t", "k", {"n": value})
    with broker.connect() as kt:
        table = kt.table("t", on_refused="ignore")
        assert table.to_polars().height == 0
        materializer = table._reader.started()

        def then_newer(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any) -> Any:
                found = function(*arguments)
                monkeypatch.undo()
                broker.produce("t", "k", {"n": 3})
                kt.table("t", on_refused="ignore", stale="show").to_polars()  # waits until it is applied
                return found

            return call

        monkeypatch.setattr(materializer.view, "snapshot", then_newer(materializer.view.snapshot))
        monkeypatch.setattr(materializer.view, "rows_of", then_newer(materializer.view.rows_of))
        assert read(table) in ([], [3])
        assert read(table) == [3]


def test_a_batch_of_refused_records_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It changes no row, but has been read all the same."""
    broker, batches = FakeBroker(), list[int]()
    for number in range(300):
        broker.produce("t", "k", {"n": number})
    with broker.connect() as kt:
        table = kt.table("t", on_refused="ignore")
        table.to_polars()
        decode = TopicDecoder.decode

        def counted(self: TopicDecoder, batch: RecordBatch, *arguments: Any) -> Changes:
            batches.append(len(batch))
            return decode(self, batch, *arguments)

        monkeypatch.setattr(TopicDecoder, "decode", counted)
        for _ in range(2):
            broker.produce("t", "k", {"n": "text"})
        table.to_polars()
    assert sum(batches) == 2


@pytest.mark.parametrize(
    "newest", [{"id": 1, "at": "soon", "n": 2}, {"id": 1, "at": 5, "n": "text"}, b"oops"]
)
@pytest.mark.parametrize("key", [None, "id"])
def test_a_row_is_stale_whatever_the_time_of_the_refused_record(newest: Any, key: str | None) -> None:
    """Where its time can't be read, it came after the row all the same."""
    broker = FakeBroker()
    for number in range(3):
        broker.produce("t", "k", {"id": 1, "at": number, "n": number})
    broker.produce("t", "k", newest)
    is_known = key is None or newest != b"oops"  # whose key is a field of a value that can't be read
    with broker.connect(on_refused="ignore") as kt:
        table = kt.table("t", key=key, time="at")
        assert table.to_polars()["n"].to_list() == ([] if is_known else [2])
        assert table.errors(stale=True).height == is_known
        assert len(kt.table("t", key=key, time="at", stale="show")) == 1


@pytest.mark.parametrize("records", [[], [None], [None, b"oops"]])
def test_an_empty_topic_lacks_no_field(records: list[Any]) -> None:
    """Nothing is known of the fields before a value was read, also where others are declared."""
    broker = FakeBroker()
    broker.create_topic("t")
    for value in records:
        broker.produce("t", "k", value)
    with broker.connect() as kt:
        table = kt.table("t", key="id", time="at", schema={"n": pl.Int64})
        stream = kt.stream("t", time="at", schema={"n": pl.Int64})
        for rows in (table, table.window("1h"), stream):
            if b"oops" in records:
                with pytest.raises(IncompleteError, match="not JSON"):
                    rows.to_polars()
            else:
                rows.to_polars()
        broker.produce("t", "k", {"n": 1})
        with pytest.raises(SchemaError, match="key='id'"):
            table.to_polars()


@pytest.mark.parametrize("key", [None, "change"])
def test_a_row_that_is_hidden_was_not_deleted(key: str | None) -> None:
    """A difference says that a row was deleted only where a tombstone came."""
    broker = FakeBroker()
    for name in ("a", "b", "c"):
        broker.produce("t", name, {"change": name, "n": 1})
    with broker.connect(on_refused="ignore") as kt:
        table = kt.table("t", key=key)
        windows = table.window("1h")
        since, since_in_windows = table.to_polars(), windows.to_polars()
        broker.produce("t", "a", {"change": "a", "n": "text"})
        broker.produce("t", "b", None)
        for changes in (table.diff(since=since), windows.diff(since=since_in_windows)):
            names = changes.get_column("key" if key is None else "change")
            assert names.to_list() == ["b"]
        assert kt.table("t", key=key, stale="show").diff(since=since).height == 1


def test_the_rest_of_many_reasons_comes_last() -> None:
    """A warning names the commonest reasons, and all others in one line."""
    broker = FakeBroker()
    for number in range(150):
        broker.produce("t", "k", {f"f{number}": number})
    for number in range(150):
        broker.produce("t", "k", {f"f{number}": "text"})
    with broker.connect() as kt:
        table = kt.table("t")
        with pytest.warns(KtframeWarning) as said:
            table.to_polars()
        assert table.errors(by="reason")["records"].to_list() == [1] * 100 + [50]
    assert str(said[0].message).count("other reasons") == 1


@pytest.mark.parametrize("kind", ["long", "int"])
@pytest.mark.parametrize("time", [None, "id"])
def test_a_key_is_read_of_avro_records_whose_schema_does_not_go_with_the_columns(
    kind: str, time: str | None
) -> None:
    """The schema is known, and with it the key: its older row is stale."""
    broker, registry = FakeBroker(), FakeRegistry()
    plain = json.dumps(record(field("id", "long"), field("v", "long")))
    other = json.dumps(record(field("id", kind), field("v", "string")))
    numbers, texts = registry.register("t-value", plain), registry.register("other-value", other)
    for key in (1, 2):
        broker.produce("t", f"k{key}", registry.prefix(numbers) + varint(key) + varint(key))
    broker.produce("t", "k1", registry.prefix(texts) + varint(1) + varint(1) + b"x")
    with broker.connect(registry=registry, on_refused="ignore") as kt:
        table = kt.table("t", key="id", time=time)
        assert table.to_polars()["id"].to_list() == [2]
        assert table.errors(stale=True)["id"].to_list() == [1]


def test_a_reason_is_said_once_whatever_its_first_record_is() -> None:
    """Of two partitions an older record may come later, and with it other numbers in the reason of both."""
    broker = FakeBroker()
    broker.create_topic("t", 2)
    for time in range(10):
        broker.produce("t", f"k{time}", {"n": time}, timestamp=time)
    broker.produce("t", "a", b'{"n":1,,', partition=0, timestamp=9)
    with broker.connect() as kt:
        table = kt.table("t")
        with pytest.warns(KtframeWarning, match="char 7"):
            table.to_polars()
        broker.produce("t", "b", b'{"nnnnn":1,,', partition=1, timestamp=1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            table.to_polars()
        assert "char 11" in table.errors(by="reason")["reason"].item()
