"""``times="auto"``: which text becomes times, what is refused later, and what is part of a store."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest

import ktframe
from ktframe.config.settings import TableDeclaration
from ktframe.context.topic_spec import topic_spec
from ktframe.errors import ConfigurationError
from ktframe.fold import learning
from ktframe.testing import FakeBroker, FakeRegistry

UTC_TIME = pl.Datetime("us", "UTC")
FINE_TIME = pl.Datetime("ns", "UTC")
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def broker_of(*values: Any) -> FakeBroker:
    """Return a broker whose topic ``t`` has one record per value."""
    broker = FakeBroker()
    for number, value in enumerate(values):
        broker.produce("t", f"k{number}", value)
    return broker


def dtype_of(*texts: Any) -> pl.DataType:
    """Return the type of a field that has these values."""
    with broker_of(*({"at": text} for text in texts)).connect() as kt:
        table = kt.table("t", times="auto")
        frame = table.to_polars()
        assert frame.height == len(texts)
        return frame.schema["at"]


@pytest.mark.parametrize(
    ("texts", "dtype"),
    [
        (["2026-01-01T00:00:00Z", None, "2026-01-01 01:00:00.25+01:00", "2026-01-01T00:00-0330"], UTC_TIME),
        (["2026-01-01T00:00:00.123456789Z", "2026-01-01T00:00:00Z"], FINE_TIME),
        (["2026-01-01T00:00:00.123456000Z"], UTC_TIME),
        (["9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"], UTC_TIME),
        # No column holds both.
        (["9999-12-31T23:59:59Z", "2026-01-01T00:00:00.123456789Z"], pl.String()),
        (["2026-01-01T00:00:00.1234567891Z"], pl.String()),
        (["2026-01-01T00:00:00Z", "n/a"], pl.String()),
        (["2026-01-01T00:00:00Z", ""], pl.String()),
        # Nobody has said in which time zone.
        (["2026-01-01T00:00:00"], pl.String()),
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00"], pl.String()),
        (["2026-01-01"], pl.String()),
        # A leap second, and days that there are not.
        (["2016-12-31T23:59:60Z"], pl.String()),
        (["2026-02-29T00:00:00Z"], pl.String()),
        (["1767225600000"], pl.String()),
        ([["2026-01-01T00:00:00Z"], [], [None]], pl.List(UTC_TIME)),
        ([["2026-01-01T00:00:00Z", "n/a"]], pl.List(pl.String())),
        (
            [{"a": {"b": "2026-01-01T00:00:00Z", "c": "x"}}],
            pl.Struct({"a": pl.Struct({"b": UTC_TIME, "c": pl.String()})}),
        ),
        # Kinds that compete are text, and so are times among them.
        (["2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", 1, 2], pl.String()),
    ],
)
def test_which_text_becomes_times(texts: list[Any], dtype: pl.DataType) -> None:
    """All text of a field is ISO 8601 with an offset, and one column holds it: then it is times, at any depth."""
    assert dtype_of(*texts) == dtype


def test_times_are_the_moments_that_were_sent() -> None:
    """Offsets are taken off; without the argument text stays text."""
    with broker_of({"at": "2026-01-01T05:30:00+05:30"}).connect() as kt:
        assert kt.table("t", times="auto")["k0"]["at"] == NEW_YEAR
        assert kt.stream("t", times="auto").to_polars()["at"].to_list() == [NEW_YEAR]
        assert kt.table("t")["k0"]["at"] == "2026-01-01T05:30:00+05:30"


def test_maps_have_times_too() -> None:
    """The values of an object whose names are data; the names stay text."""
    names = [{f"2026-01-01T00:00:{n % 60:02}.{n}Z": "2026-01-01T00:00:00Z"} for n in range(100)]
    assert dtype_of(*names) == pl.List(pl.Struct({"key": pl.String(), "value": UTC_TIME}))


def test_later_text_that_is_no_time_is_refused_and_kept_by_what_the_reason_says() -> None:
    """Each reason names a type that takes the text; ``relearn()`` decides anew."""
    broker = broker_of({"at": "2026-01-01T00:00:00Z"})
    with patch.object(learning, "SAMPLE_RECORDS", 1), broker.connect() as kt:
        table = kt.table("t", times="auto", on_refused="ignore")
        assert table.to_polars().schema["at"] == UTC_TIME
        late = ["n/a", "2026-01-01T00:00:00", "2026-01-01T00:00:00.123456789Z", "2016-12-31T23:59:60Z"]
        for number, text in enumerate(late):
            broker.produce("t", f"late{number}", {"at": text})
        broker.produce("t", "number", {"at": 5})
        assert table.to_polars().height == 1
        reasons = table.errors()["reason"].to_list()
        assert all(
            "schema= can declare pl.String, or for all values 'at' as ktframe.Json" in r for r in reasons[:4]
        )
        assert "a time without an offset in a column of times in UTC" in reasons[1]
        assert "wanted Datetime" in reasons[4]
        assert table.status().refused == 5
        assert kt.table("t", times="auto", schema={"at": pl.String}).to_polars().height == 6
    with broker.connect() as kt:
        assert kt.table("t", times="auto").to_polars().schema["at"] == pl.String


def test_relearning_decides_anew(tmp_path: Path) -> None:
    """A field that has become text is text after ``relearn()``, and after the table was opened again."""
    broker = broker_of({"at": "2026-01-01T00:00:00Z"})
    with broker.connect(state_dir=tmp_path) as kt:
        table = kt.table("t", times="auto")
        assert table.to_polars().schema["at"] == UTC_TIME
        broker.produce("t", "k1", {"at": "n/a"})
        table.relearn()
        assert table.to_polars().schema["at"] == pl.String
    with broker.connect(state_dir=tmp_path) as kt:
        assert kt.table("t", times="auto").to_polars().sort("key")["at"].to_list() == [
            "2026-01-01T00:00:00Z",
            "n/a",
        ]


def test_what_is_declared_and_what_is_a_key_stays_as_it_is() -> None:
    """The same moment is written in many ways: a key of text never becomes another one."""
    text = "2026-01-01T00:00:00Z"
    with broker_of({"at": text, "id": {"at": text}, "on": text}).connect() as kt:
        declared = kt.table(
            "t", times="auto", schema={"at": pl.String, "on": pl.Datetime("ms", "UTC")}
        ).to_polars()
        assert (declared.schema["at"], declared.schema["on"]) == (pl.String, pl.Datetime("ms", "UTC"))
        assert kt.table("t", "at", times="auto").get(text) is not None
        assert kt.table("t", "id.at", times="auto").get(text) is not None


def test_event_time_and_conditions() -> None:
    """``time=`` takes the times, and ``where=`` sees the text that was sent."""
    values = [
        {"at": "2026-01-01T00:00:00Z"},
        {"at": "2026-01-01T01:00:00+01:00"},
        {"at": "2025-06-01T00:00:00Z"},
    ]
    with broker_of(*values).connect() as kt:
        windows = kt.table("t", time="at", times="auto", where=pl.col("at").str.starts_with("2026")).window(
            "1d"
        )
        assert windows.to_polars()["window_start"].to_list() == [NEW_YEAR, NEW_YEAR]


def test_schemas_of_a_registry_decide() -> None:
    """Where a value names one, text is what that says, also in fields that it does not have."""
    registry = FakeRegistry()
    schema = {"type": "object", "properties": {"at": {"type": "string"}}}
    prefix = registry.prefix(registry.register("t-value", json.dumps(schema), "JSON"))
    text = "2026-01-01T00:00:00Z"
    broker = broker_of(*(prefix + json.dumps({"at": text, "extra": text}).encode() for _ in range(2)))
    with broker.connect(registry=registry) as kt:
        table = kt.table("t", times="auto")
        assert table.to_polars().dtypes == [pl.String] * 3
        broker.produce("t", "k9", prefix + b'{"extra": "n/a"}')
        assert table.to_polars().height == 3


def test_the_argument_is_part_of_the_store(tmp_path: Path) -> None:
    """With and without it are two tables, also when they are opened again; a store from before is found as it was."""
    plain = topic_spec("t").settings()
    assert topic_spec("t", times="auto").settings() == {**plain, "times": "'auto'"}
    broker = broker_of({"at": "2026-01-01T00:00:00Z"})
    for _ in range(2):
        with broker.connect(state_dir=tmp_path) as kt:
            assert kt.table("t", times="auto").to_polars().schema["at"] == UTC_TIME
            assert kt.table("t").to_polars().schema["at"] == pl.String


def test_rows_are_written_as_text_again() -> None:
    """What is read is what was written."""
    with broker_of({"at": "2026-01-01T00:00:00Z"}).connect(writable=True) as kt:
        table = kt.table("t", times="auto")
        table.put({"key": "k1", "at": NEW_YEAR})
        assert table["k1"]["at"] == NEW_YEAR
        assert kt.table("t")["k1"]["at"] == "2026-01-01T00:00:00+00:00"


def test_entities_and_files_take_it(tmp_path: Path) -> None:
    """A class and a table of ktframe.toml say it once; bytes have no times, whatever was declared."""

    @ktframe.entity(topic="t", times="auto")
    @dataclasses.dataclass
    class Event:
        n: int

    declared = TableDeclaration(name="events", topic="t", times="auto")
    with broker_of({"n": 1, "at": "2026-01-01T00:00:00Z"}).connect(
        tables={"events": declared}, state_dir=tmp_path
    ) as kt:
        for table in (kt.table(Event), kt.table("events")):
            assert table.to_polars().schema["at"] == UTC_TIME
        assert kt.table("events", value="bytes").to_polars().schema["value"] == pl.Binary


@pytest.mark.parametrize(
    ("times", "value"), [("utc", None), (True, None), ("auto", "avro"), ("auto", "string")]
)
def test_what_it_can_not_be(times: Any, value: str | None) -> None:
    """Other words, and formats without text of JSON."""
    with pytest.raises(ConfigurationError, match="times"):
        topic_spec("t", times=times, value=value)
