"""Hints of times in a wrong unit and of nested names, each followed: the windows are those of the times that were meant."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl
import pytest
from support.event_times import DAY, SECONDS, broker_of_times, days, said
from support.hinted import evaluated, hinted, met
from support.hints import Hint

import ktframe
from ktframe.config.settings import TimeUnit
from ktframe.errors import ConfigurationError, IncompleteError, SchemaError
from ktframe.testing import FakeBroker

PER_SECOND: dict[TimeUnit, float] = {"d": 1 / 86_400, "s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

UNIT = Hint("tables/unlikely_times.py", 'time_unit="{}" {}')
SCHEMA = Hint("tables/unlikely_times.py", 'schema={{}: pl.Datetime("{}"{})} {}')
BOTH = Hint("tables/unlikely_times.py", 'schema={{}: pl.Int64} with time_unit="{}" {}')
AHEAD = Hint("fold/event_time.py", '; time_unit="{}" reads {} as {}')
TEXT = Hint("fold/event_time.py", 'time_unit="{}" reads it')
ANY_TEXT = Hint("fold/event_time.py", "time_unit= reads it")


@pytest.mark.parametrize(
    ("unit", "given"), [("s", "ms"), ("d", "ms"), ("ms", "us"), ("us", "ns"), ("s", None), ("d", None)]
)
def test_times_before_1990_name_their_unit(unit: TimeUnit, given: TimeUnit | None) -> None:
    """With the unit of the hint the rows are in the day that it says, and nothing is said any more."""
    with broker_of_times(*[int(SECONDS * PER_SECOND[unit])] * 5).connect() as kt:
        windows = kt.table("t", time="at", time_unit=given).window("1d")
        found_text = said(windows)
        assert "before 1990" in found_text
        found = met(UNIT, found_text)
        assert found.arguments["time_unit"] == unit
        right = kt.table("t", time="at", **found.arguments).window("1d")
        assert said(right) == ""
        assert days(right) == [DAY]
        assert str(DAY) in found_text
        assert said(windows) == ""  # once


@pytest.mark.parametrize(("value", "unit"), [(SECONDS * 10**6, "us"), (SECONDS * 1_000 + 0.5, "ms")])
def test_times_far_ahead_name_their_unit(value: float, unit: TimeUnit) -> None:
    """Windows refuse them, with the unit; where they may be ahead, a read says it."""
    with broker_of_times(value).connect() as kt:
        with pytest.raises(IncompleteError) as raised:
            kt.table("t", time="at").window("1d").to_polars()
        met(AHEAD, str(raised.value))
        assert f'time_unit="{unit}"' in str(raised.value)
        assert said(kt.table("t", time="at", time_unit=unit).window("1d")) == ""
        found_text = said(kt.table("t", time="at").window("1d", max_future_skew=None))
        assert "far in the future" in found_text
        assert met(UNIT, found_text).arguments["time_unit"] == unit


def test_a_time_beyond_the_calendar_names_its_unit() -> None:
    """Nanoseconds taken as milliseconds are in no year that there is."""
    with broker_of_times(SECONDS * 10**9).connect() as kt:
        windows = kt.table("t", time="at", on_refused="ignore").window("1d", max_future_skew=None)
        windows.to_polars()
        assert met(AHEAD, windows.errors()["reason"].item()).parts[0] == "ns"


def test_declared_times_name_the_type_that_was_meant() -> None:
    """A datetime of the likely unit, or an integer and the unit where no datetime counts it."""
    with broker_of_times(SECONDS * 1_000).connect() as kt:
        declared = {"at": pl.Datetime("us", "UTC")}
        found = met(SCHEMA, said(kt.table("t", time="at", schema=declared).window("1d")))
        right = kt.table("t", time="at", **found.arguments).window("1d")
        assert days(right) == [DAY]
    with broker_of_times(SECONDS).connect() as kt:
        declared = {"at": pl.Datetime("ms")}
        found = met(BOTH, said(kt.table("t", time="at", schema=declared).window("1d")))
        right = kt.table("t", time="at", **found.arguments).window("1d")
        assert days(right) == [DAY]


def test_numbers_as_text_are_read_as_the_reason_says() -> None:
    """It names the unit, where one is likely."""
    with broker_of_times(str(SECONDS), "7").connect() as kt:
        windows = kt.table("t", time="at", on_refused="ignore").window("1d")
        assert windows.to_polars().height == 0
        likely, other = windows.errors()["reason"].to_list()
        unit = met(TEXT, likely).arguments["time_unit"]
        met(ANY_TEXT, other)
        windows = kt.table("t", time="at", time_unit=unit, on_refused="ignore").window("1d")
        assert days(windows) == [date(1970, 1, 1), DAY]


# --- wrong calls ------------------------------------------------------------------------------------------------------


def test_a_unit_needs_a_field_and_is_one_of_five() -> None:
    """What the hints name is taken."""
    with broker_of_times(SECONDS).connect() as kt:
        wrong: Any = "minutes"
        with hinted(Hint("context/topic_spec.py", "choose one of {}.")) as found:
            kt.table("t", time="at", time_unit=wrong)
        assert isinstance(found.error, ConfigurationError)
        for name in found.names:
            kt.table("t", time="at", time_unit=evaluated(repr(name)))
        with hinted(
            Hint("context/topic_spec.py", 'name the field that holds the time: time="created_at".')
        ) as found:
            kt.table("t", time_unit="s")
        assert list(found.arguments) == ["time"]
        kt.table("t", time_unit="s", time="at")


def test_a_declared_time_has_a_unit_already() -> None:
    """Without one of the two there is no contradiction."""
    declared = {"at": pl.Datetime("us", "UTC")}
    with broker_of_times(SECONDS).connect() as kt:
        with hinted(Hint("context/topic_spec.py", "leave time_unit= out, or {} out of schema=.")) as found:
            kt.table("t", time="at", time_unit="s", schema=declared)
        assert isinstance(found.error, SchemaError)
        assert kt.table("t", time="at", schema=declared, on_refused="ignore").to_polars().height == 1
        assert kt.table("t", time="at", time_unit="s").to_polars().height == 1


def test_times_are_text_of_json_alone() -> None:
    """The only word there is makes times, and without it other formats read what they have."""
    words: Any = "utc"
    broker = FakeBroker()
    broker.produce("t", "k", {"at": "2026-01-01T00:00:00Z"})
    with broker.connect() as kt:
        with hinted(
            Hint(
                "context/topic_spec.py",
                'times="auto" makes times of the text of JSON values; leave it out for the text.',
            )
        ) as found:
            kt.table("t", times=words)
        assert kt.table("t", **found.arguments).to_polars().schema["at"] == pl.Datetime("us", "UTC")
        assert kt.table("t").to_polars().schema["at"] == pl.String
        with hinted(
            Hint("context/topic_spec.py", "leave times= out, and cast columns of the frame.")
        ) as found:
            kt.table("t", value="string", times="auto")
        assert isinstance(found.error, ConfigurationError)
        assert kt.table("t", value="string").to_polars().height == 1


def test_inspect_names_the_arguments() -> None:
    """With what it says the windows are those of the times."""
    with broker_of_times(*[SECONDS * 10**6] * 3).connect() as kt:
        shown = kt.inspect("t")
        met(Hint("explore/inspection.py", "fields for time=: {}{}"), str(shown))
        found = met(Hint("explore/time_fields.py", '{} (time_unit="{}")'), str(shown).splitlines()[-2])
        windows = kt.table("t", time=shown.times[0].name, **found.arguments).window("1d")
        assert days(windows) == [DAY]


# --- nested names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("argument", ["key", "time"])
@pytest.mark.parametrize("dtype", [ktframe.Json, pl.String, pl.Struct({"other": pl.Int64})])
def test_a_declared_field_must_have_what_is_named(argument: str, dtype: Any) -> None:
    """In text there is no field; what the hint says works."""
    arguments: dict[str, Any] = {argument: "at.id"}
    with broker_of_times({"id": SECONDS * 1_000}).connect() as kt:
        hint = Hint(
            "context/topic_spec.py", "leave {} out of schema=, or declare a pl.Struct that has the field."
        )
        with hinted(hint):
            kt.table("t", **arguments, schema={"at": dtype})
        assert kt.table("t", **arguments).to_polars().height == 1
        assert kt.table("t", **arguments, schema={"at": pl.Struct({"id": pl.Int64})}).to_polars().height == 1


@pytest.mark.parametrize("is_read_between", [False, True])
@pytest.mark.parametrize("is_nested_first", [False, True])
def test_of_two_types_schema_decides(*, is_read_between: bool, is_nested_first: bool) -> None:
    """A key is never of two types: an error says what to declare, in whatever order and batches the records came."""
    broker = FakeBroker()
    broker.create_topic("t")
    values: list[dict[str, Any]] = [{"a.b": "x"}, {"a": {"b": 1}}]
    with broker.connect() as kt:
        table = kt.table("t", key="a.b")
        for number, value in enumerate(values[::-1] if is_nested_first else values):
            broker.produce("t", f"k{number}", value)
            if is_read_between and number == 0:
                assert len(table.keys()) == 1
        hint = Hint(
            "fold/nested_fields.py",
            "schema= can declare the one that is meant: {{}: ...} or {{}: pl.Struct(...)}.",
        )
        with pytest.raises(ktframe.KtframeError) as raised:
            table.to_polars()
        met(hint, str(raised.value))
        top = kt.table("t", key="a.b", schema={"a.b": pl.String}, on_refused="ignore")
        assert top.keys() == ["x"]
        nested = kt.table("t", key="a.b", schema={"a": pl.Struct({"b": pl.Int64})}, on_refused="ignore")
        assert nested.keys() == [1]
        assert nested.to_polars()["a.b"].to_list() == [1]
