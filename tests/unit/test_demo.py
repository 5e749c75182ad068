"""The embedded broker, the demo and its tour: everything that needs no Kafka."""

from __future__ import annotations

import subprocess
import sys
import threading

import polars as pl
import pytest
from support.waiting import wait_until

import ktframe
from ktframe import __main__ as tour
from ktframe import _connect as face
from ktframe.current import CURRENT

pytestmark = pytest.mark.slow  # each demo loads its sample topics


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test begin without a default connection."""
    monkeypatch.setattr(CURRENT, "connection", None)
    monkeypatch.setattr(face, "_demo", None)


def test_the_demo_goes_from_nothing_to_a_frame() -> None:
    """All three topics are there, typed, with broken records refused and cancelled orders gone."""
    with ktframe.demo(rate=0):
        orders = ktframe.table("orders")
        frame = orders.to_polars()
        assert frame.height > 5_000
        assert {"region": pl.String, "amount": pl.Float64, "quantity": pl.Int64}.items() <= dict(
            frame.schema
        ).items()
        assert orders.errors().height == 12
        assert ktframe.table("customers").to_polars().height > 700
        assert ktframe.table("clicks", key=["user_id", "page"]).to_polars().height > 1_000


def test_the_demo_keeps_changing_and_stops_when_closed() -> None:
    """Live changes reach the frame; after close no thread is left."""
    with ktframe.demo(rate=200):
        orders = ktframe.table("orders")
        first = orders.position().offsets
        wait_until(lambda: sum(orders.position().offsets.values()) > sum(first.values()) + 50, "live changes")
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("ktframe")] == []


def test_the_demo_can_be_run_again() -> None:
    """The same rate returns the live Context, another one replaces it."""
    first = ktframe.demo(rate=0)
    assert ktframe.demo(rate=0) is first
    second = ktframe.demo(rate=1)
    assert (first.is_closed, second.is_closed) == (True, False)
    second.close()
    third = ktframe.demo(rate=1)
    assert third is not second
    third.close()


def test_a_negative_rate_is_refused() -> None:
    """The error says what a rate is."""
    with pytest.raises(ktframe.ConfigurationError, match="order changes a second"):
        ktframe.demo(rate=-1)


def test_an_unknown_topic_fails_at_once_with_a_suggestion() -> None:
    """A typo is answered by the name that was meant."""
    with (
        ktframe.demo(rate=0),
        pytest.raises(ktframe.UnknownTopicError, match=r"(?s)'oders'.*did you mean 'orders'"),
    ):
        ktframe.table("oders").to_polars()


@pytest.mark.slow
def test_the_tour_shows_the_main_job(capsys: pytest.CaptureFixture[str]) -> None:
    """``python -m ktframe`` prints progress, a frame, live changes, an aggregate and a delete, and ends."""
    assert tour.main() == 0
    shown = capsys.readouterr().out
    for line in (
        "restoring",
        "complete as of the call",
        "changed; newest",
        "revenue",
        "before: True, after: False",
        "Closed",
    ):
        assert line in shown


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["orders.wait_until_ready()", "orders.readiness()"])
def test_a_process_that_ends_without_close_ends_clean(ending: str) -> None:
    """Whatever it was doing, the exit code is 0 and nothing is printed."""
    code = f"import ktframe; kt = ktframe.demo(rate=50); orders = ktframe.table('orders'); {ending}"
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
