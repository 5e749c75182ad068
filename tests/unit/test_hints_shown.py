"""Hints of ``inspect``, of panels and charts and of the demo, each followed: the rows are there, or shown."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from matplotlib.figure import Figure
from support.hinted import evaluated, hinted, met
from support.hints import Hint

import ktframe
from ktframe import Context, widgets
from ktframe.testing import FakeBroker, FakeRegistry
from ktframe.tour import samples

AVRO = '{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}'
SUGGESTION = Hint("explore/inspection.py", "ktframe.table({})")


@pytest.fixture
def kt() -> Iterator[Context]:
    """Yield a connection to a broker with four orders."""
    broker = FakeBroker()
    for number, region in enumerate(["EU", "US", "EU", "US"]):
        value = {"amount": number, "region": region}
        broker.produce("orders", f"o-{number}", value, timestamp=1_700_000_000_000 + number)
    with broker.connect() as context:
        yield context


# --- inspect ------------------------------------------------------------------------------------------------------

PAYLOADS: dict[str, list[bytes]] = {
    "json": [b'{"id":1,"n":1}', b'{"id":2,"n":2}'],
    "string": [b"one", b"two"],
    "int": [struct.pack(">i", number) for number in (1, 2)],
    "long": [struct.pack(">q", number) for number in (1, 2)],
    "bytes": [b"\xff\xfe\xfd", b"\xff\xfe\xfc"],
}


@pytest.mark.parametrize("keys", PAYLOADS)
@pytest.mark.parametrize("values", PAYLOADS)
def test_the_call_that_an_inspection_proposes_keeps_every_record(keys: str, values: str) -> None:
    """Whatever the formats of keys and values are."""
    broker = FakeBroker()
    for key, value in zip(PAYLOADS[keys], PAYLOADS[values], strict=True):
        broker.produce('my "topic"', key, value)
    with broker.connect() as context:
        found = met(SUGGESTION, repr(context.inspect('my "topic"')))
        table = evaluated(found.calls[0], ktframe=context)
        assert table.to_polars().height == 2
        assert table.errors().height == 0


def test_the_field_that_an_inspection_asks_for_identifies_rows() -> None:
    """Where records have no key, a column that it names is one."""
    broker = FakeBroker()
    for number in range(3):
        broker.produce("t", None, {"id": number, "n": 1})
    with broker.connect() as context:
        seen = context.inspect("t")
        found = met(Hint("explore/inspection.py", 'key="<field>"'), repr(seen))
        [call] = [call for call in re.findall(r"ktframe\.table\(.*?\)", repr(seen)) if found.text in call]
        call = call.replace("<field>", seen.columns["column"][0])
        assert evaluated(call, ktframe=context).to_polars().height == 3


def test_the_registry_of_the_hint_looks_up_what_an_inspection_could_not() -> None:
    """With it the columns are known, and the call that is proposed then reads them."""
    registry = FakeRegistry()
    number = registry.register("t-value", AVRO)
    broker = FakeBroker()
    broker.produce("t", "a", registry.prefix(number) + b"\2")
    hint = Hint("explore/inspection.py", ": connect(..., schema_registry=...) tells where to look it up")
    with broker.connect() as context:
        met(hint, repr(context.inspect("t")))
    with broker.connect(registry=registry) as context:
        seen = context.inspect("t")
        assert hint.text not in repr(seen)
        assert seen.columns["column"].to_list() == ["n"]
        assert evaluated(seen.suggestion, ktframe=context).to_polars()["n"].to_list() == [1]


# --- panels and charts --------------------------------------------------------------------------------------------


def test_what_is_shown_is_what_the_hint_names(kt: Context) -> None:
    """The table of the hint is, and so is the aggregate, in place of a frame."""
    for show in (widgets.status, widgets.live, widgets.lag_chart):
        with hinted(Hint("widgets/__init__.py", 'such as ktframe.table("orders").')) as found:
            show("orders")  # type: ignore[arg-type]
        show(evaluated(found.calls[0], ktframe=kt)).close()
        frame = kt.table("orders").to_polars()
        hint = Hint("widgets/__init__.py", 'ask windows for it: window.live(revenue=pl.col("amount").sum()).')
        with hinted(hint) as found:
            show(frame)  # type: ignore[arg-type]
        evaluated(found.calls[0], window=kt.table("orders").window(5)).close()


def test_as_many_rows_are_shown_as_the_hint_says(kt: Context) -> None:
    """One, and the most."""
    with hinted(Hint("widgets/__init__.py", "give 1 to {}.")) as found:
        widgets.live(kt.table("orders"), rows=1_000_000)
    for rows in (1, int(found.parts[0])):
        widgets.live(kt.table("orders"), rows=rows).close()


def test_a_chart_is_asked_for_as_the_hints_say(kt: Context) -> None:
    """One expression, of numbers, and either live or on axes."""
    window = kt.table("orders").window(5)
    amount = pl.col("amount").sum()
    with hinted(Hint("widgets/window_chart.py", "give it one expression.")):
        window.chart(n=pl.len(), amount=amount)
    window.chart(n=pl.len())
    numbers = Hint(
        "widgets/window_chart.py", 'give an expression that makes numbers, such as pl.col("amount").sum().'
    )
    with hinted(numbers) as found:
        window.chart(pl.col("region").first())
    window.chart(evaluated(found.calls[0]))
    axes = Figure().subplots()
    with hinted(Hint("widgets/window_chart.py", "leave one of them out.")):
        window.chart(amount, live=True, ax=axes)
    window.chart(amount, live=True).close()  # type: ignore[union-attr]
    assert window.chart(amount, ax=axes) is axes


# --- the demo -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_keeps_still_as_the_hint_says() -> None:
    """With the rate of the hint it starts."""
    with hinted(
        Hint("tour/demo.py", "rate is in order changes a second; 0 keeps the topics still.")
    ) as found:
        ktframe.demo(rate=-1)
    rate = next(int(word) for word in found.text.split() if word.isdigit())
    with ktframe.demo(rate=rate) as context:
        assert context.table("orders").to_polars().height > 5_000


def test_a_sample_is_one_of_the_hint() -> None:
    """Each of the list is there."""
    with hinted(Hint("tour/samples.py", "the samples are {}.")) as found:
        samples.load_sample("oders", 0)
    assert [len(samples.load_sample(name, 0)) > 0 for name in found.names] == [True] * 3


def test_samples_are_in_a_complete_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the folder is not empty they are read."""
    hint = Hint("tour/samples.py", "install ktframe again from its wheel, or work in a complete checkout.")
    with monkeypatch.context() as patch:
        patch.setattr(samples, "_folders", lambda: (tmp_path,))
        with hinted(hint):
            samples.load_sample("clicks", 0)
    assert len(samples.load_sample("clicks", 0)) > 0


ARGUMENTS = [
    (Hint("explore/inspection.py", "value={}"), b"k", b"\xff", None),
    (Hint("explore/inspection.py", "key_format={}"), b"\xff", {"v": 1}, None),
    (Hint("explore/inspection.py", "schema={{}}"), b"k", {"v": "n/a"}, None),
    (Hint("explore/inspection.py", "unpack=True"), b"k", b'\xef\xbb\xbf{"v": 1}', None),
    (Hint("explore/inspection.py", "explode=True"), b"k", b'[{"v": 1}]', None),
    (Hint("explore/inspection.py", "max_future_skew=None"), b"k", {"v": 1}, 4_102_444_800_000),
    (Hint("explore/inspection.py", "ktframe.stream({})"), None, b"{broken", None),
]


@pytest.mark.parametrize(("hint", "key", "value", "timestamp"), ARGUMENTS)
def test_the_call_that_an_inspection_proposes_last_has_every_record(
    hint: Hint, key: bytes | None, value: Any, timestamp: int | None
) -> None:
    """Each argument of it is there because a record would be refused without."""
    broker = FakeBroker()
    for number in range(3):
        broker.produce("t", f"k{number}", {"v": number}, timestamp=1)
    broker.produce("t", key, value, timestamp=timestamp or 1)
    with broker.connect() as context:
        call = context.inspect("t").suggestions[-1]
        met(hint, call)
        package = SimpleNamespace(stream=context.stream, Json=ktframe.Json)
        events = evaluated(call, ktframe=package)
        assert events.to_polars().height == 4
        assert events.status().refused == 0
