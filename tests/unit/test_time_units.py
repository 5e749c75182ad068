"""``time_unit=``: which rows it gives, what is part of a store, and which fields ``inspect`` takes for times."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.event_times import DAY, SECONDS, broker_of_times, days, said

import ktframe
from ktframe.config.settings import TableDeclaration, TimeUnit
from ktframe.context.topic_spec import topic_spec
from ktframe.explore.time_fields import time_fields
from ktframe.testing import FakeBroker

UNITS: list[TimeUnit] = ["d", "s", "ms", "us", "ns"]


def test_windows_and_streams_read_the_same_times() -> None:
    """A unit moves the rows of windows, and the timestamps of streams and of their windows."""
    with broker_of_times(SECONDS, SECONDS + 0.25, str(SECONDS)).connect() as kt:
        windows = kt.table("t", time="at", time_unit="s", on_refused="ignore").window("1d")
        assert days(windows) == [DAY]
        stream = kt.stream("t", time="at", time_unit="s", on_refused="ignore")
        times = stream.to_polars(metadata="timestamp")["timestamp"].dt.epoch("ms").to_list()
        assert times == [SECONDS * 1_000, SECONDS * 1_000 + 250]
        assert days(stream.window("1d")) == [DAY]


def test_integers_and_floats_of_one_unit_are_one_column() -> None:
    """With a unit a float is no other time than the integer, so that the column widens; without one it may not."""
    broker = broker_of_times(SECONDS * 1_000, SECONDS * 1_000 + 0.5)
    with broker.connect() as kt:
        assert kt.table("t", time="at", time_unit="ms").to_polars()["at"].dtype == pl.Float64
        refused = kt.table("t", time="at", on_refused="ignore")
        assert refused.to_polars().height == 1


def test_the_unit_is_part_of_the_store_and_nothing_else_changes() -> None:
    """Another unit is another store; without one the description of a store is what it was before there were units."""
    plain = topic_spec("t", time="at").settings()
    assert "time_unit" not in plain
    units = [topic_spec("t", time="at", time_unit=unit).settings() for unit in UNITS]
    assert all({**plain, "time_unit": repr(unit)} == found for unit, found in zip(UNITS, units, strict=True))


def test_two_units_are_two_tables(tmp_path: Path) -> None:
    """Each has its own rows, also when it is opened again."""
    broker = broker_of_times(SECONDS)
    for _ in range(2):
        with broker.connect(state_dir=tmp_path) as kt:
            tables = [kt.table("t", time="at", time_unit=unit, on_refused="ignore") for unit in UNITS]
            times = [table.window("1d").to_polars().height for table in tables]
            assert times == [0, 1, 1, 1, 1]
            starts = {table.window("1d").to_polars()["window_start"].to_list()[0] for table in tables[1:]}
            assert len(starts) == 3  # microseconds and nanoseconds are both on the first day of 1970


def test_entities_and_files_name_a_unit(tmp_path: Path) -> None:
    """A class and a table of ktframe.toml say it once; a call that names another field has not their unit."""

    @ktframe.entity(topic="t", time="at", time_unit="s")
    @dataclasses.dataclass
    class Event:
        at: int
        other: int

    broker = FakeBroker()
    broker.produce("t", "k", {"at": SECONDS, "other": SECONDS * 1_000})
    declared = TableDeclaration(name="events", topic="t", time="at", time_unit="s")
    with broker.connect(tables={"events": declared}, state_dir=tmp_path) as kt:
        for table in (kt.table(Event), kt.table("events"), kt.table("events", time="other")):
            assert days(table.window("1d")) == [DAY]


@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        (["1985-01-01", "1986-01-01"], {}),
        ([400_000_000_000] * 3, {}),
        ([SECONDS * 1_000] * 5 + [5] * 5, {}),
        (["1985-01-01T00:00:00Z"], {"schema": {"at": pl.String}}),
    ],
    ids=["ISO text", "no unit fits", "half of them", "declared text"],
)
def test_nothing_is_said_of_times_that_may_be_meant(values: list[Any], arguments: dict[str, Any]) -> None:
    """Times are old where their text says so, where no other unit makes sense, and where others are not."""
    with broker_of_times(*values).connect() as kt:
        assert said(kt.table("t", time="at", **arguments).window("1d")) == ""


def test_nothing_is_said_without_a_field() -> None:
    """The timestamps of records are in milliseconds, whatever they are."""
    with broker_of_times(1).connect() as kt:
        assert said(kt.table("t").window("1d")) == ""


@pytest.mark.parametrize(
    ("value", "unit", "reason"),
    [
        (None, None, "it is missing or null"),
        (True, None, "a Boolean is no time"),
        ([1], None, "a List is no time"),
        ("soon", "ms", "text that is no ISO 8601 time, such as 2024-01-31T12:34:56Z"),
        ("9" * 30, "ms", "a number that no time has"),
        (2**62, "s", "a number that no time has"),
    ],
)
def test_a_record_without_a_time_says_why(value: Any, unit: TimeUnit | None, reason: str) -> None:
    """It is refused, with what is there instead of a time; the others are rows."""
    with broker_of_times(value).connect() as kt:
        windows = kt.table("t", time="at", time_unit=unit, on_refused="ignore").window("1d")
        assert windows.to_polars().height == 0
        if value is not None:
            assert windows.errors()["reason"].to_list() == [f"no usable time in 'at': {reason}"]


# --- inspect ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("ts", [SECONDS], 'ts (time_unit="s")'),
        ("ts", [SECONDS * 1_000], "ts"),
        ("createdAt", [SECONDS * 10**6], 'createdAt (time_unit="us")'),
        ("ts_ms", [SECONDS * 1_000], "ts_ms"),
        ("event_time", [SECONDS + 0.5], "event_time"),
        ("event_time", [(SECONDS + 0.5) * 1_000], 'event_time (time_unit="ms")'),
        ("eventTime", [str(SECONDS * 1_000)], 'eventTime (time_unit="ms")'),
        ("order_date", [19_813], 'order_date (time_unit="d")'),
        ("created_at", ["2024-01-01T00:00:00Z", None], "created_at"),
        ("created_at", ["2024-01-01T00:00:00Z", "soon"], None),
        ("timeout", [SECONDS], None),
        ("price", [19_813], None),
        ("ean_code", [4_006_381_333_931], None),
        ("ts", [SECONDS, 5], None),
        ("ts", [None], None),
        (
            "payload",
            [{"source": {"ts_us": SECONDS * 10**6}, "n": 1}, None],
            'payload.source.ts_us (time_unit="us")',
        ),
        ("meta.x", [{"at": SECONDS * 1_000}], r"meta\.x.at"),
        ("ts", [float("nan")], None),
    ],
)
def test_fields_that_hold_times_are_found(name: str, values: list[Any], expected: str | None) -> None:
    """By their name and all of their values; the unit is named where ``time=`` alone would take another."""
    assert [*map(str, time_fields(pl.DataFrame({name: values})))] == ([] if expected is None else [expected])


@given(st.lists(st.none() | st.integers() | st.floats(), max_size=4))
def test_no_numbers_are_an_error(values: list[Any]) -> None:
    """Whatever a column holds, it is a time or none."""
    numbers = pl.Series("ts", values, dtype=pl.Float64, strict=False)
    assert len(time_fields(numbers.to_frame())) <= 1
