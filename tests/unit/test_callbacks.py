"""What callbacks may do on the thread of their table: raise whatever they like, read, wait; the table goes on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from support.waiting import wait_until

import ktframe
from ktframe.events import BindingState, BindingStateChanged, ReadyChanged, RowsChanged
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with a row in each of two topics."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    broker.produce("u", "a", {"n": 1})
    return broker


def outcome(read: Callable[[], Any]) -> Any:
    """Return what a read returns or raises."""
    try:
        return read()
    except ktframe.KtframeError as error:
        return error


def test_a_callback_that_waits_for_its_own_thread_is_told_at_once(broker: FakeBroker) -> None:
    """Only that thread could read the record; what is there can be had, and later reads have all."""
    found: list[Any] = []
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1

        def read(_: RowsChanged) -> None:
            if not found:
                broker.produce("t", "c", {"n": 3})
                found.append(outcome(table.to_polars))
                found.append(outcome(lambda: table.to_polars(fresh=False).height))

        table.on_change(read)
        broker.produce("t", "b", {"n": 2})
        wait_until(lambda: len(found) == 2, "the callback")
        assert isinstance(found[0], ktframe.NotReadyError)
        assert "a callback waits for rows that its own thread has to read" in str(found[0])
        assert (found[1], len(table)) == (2, 3)


def test_a_callback_may_read_what_is_there(broker: FakeBroker) -> None:
    """Where nothing has to be waited for, its own table and others answer."""
    found: list[int] = []
    with broker.connect() as kt:
        table, other = kt.table("t"), kt.table("u")
        assert len(table) == 1
        table.on_change(lambda _: found.extend((len(table), len(other))))
        broker.produce("t", "b", {"n": 2})
        assert len(table) == 2
        wait_until(lambda: len(found) == 2, "the callback")
        assert found == [2, 1]


def test_two_callbacks_that_wait_for_each_other_are_told(broker: FakeBroker) -> None:
    """One of them at least gets an error, and then the other one its rows."""
    found: list[Any] = []
    both = threading.Barrier(2)
    with broker.connect() as kt:
        tables = {name: kt.table(name) for name in ("t", "u")}
        assert [len(table) for table in tables.values()] == [1, 1]

        def wait_for(other: str, begun: list[str]) -> None:
            if not begun:
                begun.append(other)
                both.wait(60)
                broker.produce(other, "c", {"n": 3})
                both.wait(60)
                found.append(outcome(lambda: len(tables[other])))

        begun: dict[str, list[str]] = {"t": [], "u": []}
        for name, other in (("t", "u"), ("u", "t")):
            tables[name].on_change(lambda _, other=other: wait_for(other, begun[other]))
            broker.produce(name, "b", {"n": 2})
        wait_until(lambda: len(found) == 2, "both callbacks")
        assert any(isinstance(each, ktframe.NotReadyError) for each in found)
        assert [len(table) for table in tables.values()] == [3, 3]


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt, asyncio.CancelledError, pl.exceptions.PanicException, SystemExit, ValueError]
)
def test_whatever_a_callback_raises_ends_nothing(broker: FakeBroker, error: type[BaseException]) -> None:
    """Also what is no Exception: the table stays ready, and other subscribers hear of the rows."""
    heard: list[RowsChanged] = []
    states: list[BindingState] = []

    def fail(_: object) -> None:
        message = "the callback"
        raise error(message)

    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        table.on_change(fail)
        table.on_change(heard.append)
        table.events.subscribe(ReadyChanged, fail)
        table.events.subscribe(BindingStateChanged, lambda event: states.append(event.new))
        broker.produce("t", "b", {"n": 2})
        wait_until(lambda: bool(heard), "the other subscriber to hear of it")
        assert (len(table), states) == (2, [])
