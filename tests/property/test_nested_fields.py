"""Tables by nested keys, and times of every unit and form, against oracles of plain Python."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import examples, histories

from ktframe.config.settings import TimeUnit
from ktframe.formats.json import inference
from ktframe.testing import FakeBroker

# --- keys -------------------------------------------------------------------------------------------------------------

IDS = st.sampled_from([None, 1, 2, 3])
RECORDS = st.fixed_dictionaries(
    {"n": st.integers(0, 9)},
    optional={
        "a": st.none()
        | st.fixed_dictionaries({}, optional={"b": IDS, "v": st.sampled_from([1, 2, 1, 2, "x"])}),
        "a.b": IDS,
    },
)


def _key_of(record: dict[str, Any]) -> int | None:
    top = record.get("a.b")
    inner = (record.get("a") or {}).get("b")
    key: int | None = inner if top is None else top
    return key


@pytest.mark.slow
@examples(1)
@given(histories(st.one_of(RECORDS, RECORDS, st.sampled_from(["read", "reopen"])), longest=25))
def test_a_table_by_a_nested_key_is_a_dictionary(steps: list[Any]) -> None:
    """The last record of each key, however records are cut into batches; one with an odd neighbour hides its key's row."""
    with patch.object(inference, "_FEWEST_ODD", 10**9):  # odd neighbours are refused, however many
        _check_dictionary(steps)


def _check_dictionary(steps: list[Any]) -> None:
    broker = FakeBroker()
    broker.create_topic("t")
    # What decides the type of ``a.v``: two records that agree.
    for number in range(30):
        broker.produce("t", "first", {"n": number, "a": {"b": 0, "v": 1}})
    rows: dict[int, int] = {0: 29}
    hidden: set[int] = set()
    context = broker.connect()
    try:
        table = context.table("t", key="a.b", on_refused="ignore")
        table.to_polars()
        for number, step in enumerate(steps):
            if step == "read":
                table.to_polars()
            elif step == "reopen":
                context.close()
                context = broker.connect()
                table = context.table("t", key="a.b", on_refused="ignore")
            else:
                broker.produce("t", f"k{number}", step)
                key = _key_of(step)
                if key is not None and (step.get("a") or {}).get("v") == "x":
                    hidden.add(key)
                elif key is not None:
                    rows[key] = step["n"]
                    hidden.discard(key)
        found = {key: row["n"] for key, row in table.items()}
        assert found == {key: n for key, n in rows.items() if key not in hidden}
    finally:
        context.close()


# --- times ------------------------------------------------------------------------------------------------------------

MILLISECONDS: dict[TimeUnit | None, Fraction] = {
    None: Fraction(1),
    "d": Fraction(86_400_000),
    "s": Fraction(1_000),
    "ms": Fraction(1),
    "us": Fraction(1, 1_000),
    "ns": Fraction(1, 1_000_000),
}
FIRST_MS, LAST_MS = -8_334_601_228_800_000, 8_210_266_876_799_999
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _integers(unit: TimeUnit | None) -> st.SearchStrategy[int]:
    """Return integers near, and far from, the times that there are in a unit."""
    near = [math.floor(edge / MILLISECONDS[unit]) for edge in (0, FIRST_MS, LAST_MS, 1_711_848_600_123, -1)]
    close = st.sampled_from(near).flatmap(lambda at: st.integers(at - 2, at + 2))
    return st.one_of(close, st.integers(-(2**63), 2**63 - 1), st.integers(-(10**13), 10**13)).filter(
        lambda number: -(2**63) <= number < 2**63
    )


def _expected(value: Any, unit: TimeUnit | None) -> int | None:
    """Return the millisecond of a value, rounded down; None where it is no time."""
    if isinstance(value, datetime):
        return (value - EPOCH) // timedelta(milliseconds=1)
    at = None if value is None else math.floor(Fraction(value) * MILLISECONDS[unit])
    return at if at is not None and FIRST_MS <= at <= LAST_MS else None


@st.composite
def _topics(draw: st.DrawFn) -> tuple[TimeUnit | None, bool, list[Any], list[Any]]:
    """Return a unit, whether the field is nested, the values as they mean it, and as they are sent."""
    unit = draw(st.sampled_from([*MILLISECONDS]))
    form = draw(st.sampled_from(["integers", "iso", *(["text", "both"] if unit else [])]))
    moments = st.datetimes(timezones=st.just(UTC))
    numbers = _integers(unit)
    values = (
        st.none() | {"integers": numbers, "text": numbers, "iso": moments, "both": numbers | moments}[form]
    )
    meant = draw(st.lists(values, min_size=1, max_size=12))

    def sent(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.isoformat()
        return str(value) if value is not None and form in ("text", "both") else value

    return unit, draw(st.booleans()), meant, [*map(sent, meant)]


@pytest.mark.slow
@examples(1)
@given(_topics())
def test_times_of_every_unit_are_those_that_were_meant(
    topic: tuple[TimeUnit | None, bool, list[Any], list[Any]],
) -> None:
    """Windows have the records with a time, each in its day; the others are refused, and streams have all."""
    unit, is_nested, meant, sent = topic
    broker = FakeBroker()
    for number, value in enumerate(sent):
        record = {"p": {"at": value}} if is_nested else {"at": value}
        broker.produce("t", f"k{number}", json.dumps(record).encode(), timestamp=0)
    time = "p.at" if is_nested else "at"
    expected = {f"k{n}": _expected(value, unit) for n, value in enumerate(meant)}
    with broker.connect() as kt:
        table = kt.table("t", time=time, time_unit=unit, on_refused="ignore")
        windows = table.window("1d", max_future_skew=None)
        found = windows.to_polars(metadata="timestamp")
        times = dict(zip(found["key"], found["timestamp"].dt.epoch("ms"), strict=True))
        assert times == {key: at for key, at in expected.items() if at is not None}
        starts = dict(zip(found["key"], found["window_start"].dt.epoch("ms"), strict=True))
        assert starts == {key: at - at % 86_400_000 for key, at in times.items()}
        assert windows.errors().height == len(meant) - len(times)
        assert table.to_polars().height == len(meant)
