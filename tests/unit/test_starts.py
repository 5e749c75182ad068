"""A start that ends half way: the next read starts the table, and ``close`` closes it."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

import ktframe
from ktframe import _connect as face
from ktframe.config.settings import RetryPolicy
from ktframe.current import CURRENT
from ktframe.errors import BrokerUnreachableError
from ktframe.events import BindingState, BindingStateChanged
from ktframe.sync import manager
from ktframe.sync.binding import TopicBinding
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with one row."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    return broker


def refuse_threads(monkeypatch: pytest.MonkeyPatch, name: str) -> list[str]:
    """Let no thread of that name start; return the list of those that were refused."""
    start, refused = threading.Thread.start, list[str]()

    def refuse(thread: threading.Thread) -> None:
        if thread.name == name:
            refused.append(name)
            message = "can't start new thread"
            raise RuntimeError(message)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    return refused


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize("name", ["ktframe-t", "ktframe-monitor"])
def test_a_thread_that_can_not_be_had_is_asked_for_again(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, *, fresh: bool
) -> None:
    """The read gets the error, the table is as it was, and the next read starts it."""
    with broker.connect(tmp_path) as kt:
        table = kt.table("t")
        with monkeypatch.context() as patch:
            refused = refuse_threads(patch, name)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    table.to_polars(fresh=fresh)
            assert refused == [name] * 2
            assert table._reader.binding.state is BindingState.CREATED
        table.to_polars(fresh=fresh)
        assert len(table) == 1
    with broker.connect(tmp_path) as kt:
        assert len(kt.table("t")) == 1


def test_two_first_reads_at_once_start_one_thread(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one does not wait for the thread that the earlier one has started to end."""
    monkeypatch.setattr(manager, "_JOIN_SECONDS", 120.0)
    both = threading.Barrier(2)
    prepare = TopicBinding.prepare

    def prepare_together(binding: TopicBinding) -> None:
        prepare(binding)
        if both.wait(60) == 0:
            wait_until(lambda: "ktframe-t" in [each.name for each in threading.enumerate()], "the thread")

    monkeypatch.setattr(TopicBinding, "prepare", prepare_together)
    with broker.connect() as kt:
        table = kt.table("t")
        counts: list[int] = []
        reads = [threading.Thread(target=lambda: counts.append(table.to_polars().height)) for _ in range(2)]
        for read in reads:
            read.start()
        for read in reads:
            read.join(60)
        assert counts == [1, 1]
        assert [thread.name for thread in threading.enumerate()].count("ktframe-t") == 1


def test_a_table_that_never_had_a_thread_gives_its_store_back(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing a table whose start got as far as its store leaves the store to the next."""
    kt = broker.connect(tmp_path)
    table = kt.table("t")
    with monkeypatch.context() as patch:
        refuse_threads(patch, "ktframe-t")
        with pytest.raises(RuntimeError, match="can't start new thread"):
            table.to_polars()
    table.close()
    with broker.connect(tmp_path) as other:
        assert len(other.table("t")) == 1
    kt.close()


def test_a_failed_table_that_gets_no_thread_stays_failed(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state is again what it was, and the next read starts it."""
    with broker.connect(retry=RetryPolicy(attempts=1)) as kt:
        table = kt.table("t")
        broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"))
        with pytest.raises(BrokerUnreachableError, match="gone"):
            table.to_polars()
        with monkeypatch.context() as patch:
            refuse_threads(patch, "ktframe-t")
            with pytest.raises(RuntimeError, match="can't start new thread"):
                table.to_polars()
            assert table._reader.binding.state is BindingState.FAILED
        assert len(table) == 1


def test_a_callback_of_the_start_may_ask_the_table(broker: FakeBroker) -> None:
    """Whoever is told that reading begins may look at the table, read from it, and close it."""
    answers: list[Any] = []

    def ask(event: BindingStateChanged) -> None:
        if event.new is BindingState.RESTORING:
            answers.append(table.readiness().state)
            table.close()

    kt = broker.connect()
    table = kt.table("t")
    table.events.subscribe(BindingStateChanged, ask)
    with pytest.raises(Exception, match="closed"):
        table.to_polars()
    assert answers == [BindingState.RESTORING]
    kt.close()


def test_an_interrupted_read_waits_no_longer(broker: FakeBroker) -> None:
    """After Ctrl-C in a read that waits, no thread waits on; the next read is as complete as any."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 1
        broker.hold()
        broker.produce("t", "b", {"n": 2})
        is_waiting = threading.Event()
        tick = threading.Timer(0.3, lambda: (is_waiting.set(), signal.raise_signal(signal.SIGINT)))
        tick.start()
        with pytest.raises(KeyboardInterrupt):
            table.to_polars()
        assert is_waiting.is_set()
        wait_until(lambda: "_wait" not in functions_that_run(), "the read to end")
        broker.release()
        assert len(table) == 2


def test_a_connection_that_is_interrupted_while_it_is_made_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in ``connect`` leaves no connection that nobody has."""
    go_on, closed = threading.Event(), threading.Event()

    class SlowContext:
        def __init__(self, _: object) -> None:
            signal.raise_signal(signal.SIGINT)
            assert go_on.wait(60)

        def close(self) -> None:
            closed.set()

    monkeypatch.setattr(CURRENT, "connection", None)
    monkeypatch.setattr(face, "Context", SlowContext)
    with pytest.raises(KeyboardInterrupt):
        ktframe.connect("localhost:1")
    assert CURRENT.connection is None
    go_on.set()
    wait_until(closed.is_set, "the connection to be closed")


def functions_that_run() -> set[str]:
    """Return the names of the functions that all threads are in."""
    names: set[str] = set()
    for top in sys._current_frames().values():
        frame: Any = top
        while frame is not None:
            names.add(frame.f_code.co_name)
            frame = frame.f_back
    return names


@pytest.mark.parametrize("read", ["to_polars_async", "ready"])
def test_a_read_that_is_cancelled_ends(broker: FakeBroker, read: str) -> None:
    """Cancelled, a coroutine leaves no thread that goes on to wait, and a table like any."""
    with broker.connect(stall_timeout=600) as kt:
        table = kt.table("t")
        broker.hold()

        async def cancel() -> None:
            reading = asyncio.create_task(getattr(table, read)())
            await asyncio.to_thread(wait_until, lambda: "_wait" in functions_that_run(), "the read to wait")
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading

        asyncio.run(cancel())
        wait_until(lambda: "_wait" not in functions_that_run(), "the read to end")
        broker.release()
        assert asyncio.run(table.to_polars_async()).height == 1
