"""How things end: panics, callbacks that close, interrupted closes, forks; nothing is left and nobody is left waiting."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.waiting import wait_until

import ktframe
from ktframe import _connect as face
from ktframe.config.settings import StoreOptions
from ktframe.context.clients import close_parts
from ktframe.context.context import Context
from ktframe.current import CURRENT
from ktframe.events import Events, ReadyChanged, Reason
from ktframe.fold.decoder import TopicDecoder
from ktframe.sync import manager
from ktframe.sync.materializer import Materializer
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with two rows."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    broker.produce("t", "b", {"n": 2})
    return broker


def test_a_panic_fails_the_table_instead_of_leaving_readers_waiting(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is no Exception (a panic of a native library) is told to readers at once."""
    panic = pl.exceptions.PanicException("a native library gave up")

    def explode(*_: object) -> None:
        raise panic

    monkeypatch.setattr(TopicDecoder, "decode", explode)
    with broker.connect() as kt, pytest.raises(ktframe.NotReadyError, match="a native library gave up"):
        kt.table("t").to_polars()


def test_an_exit_in_a_callback_ends_nothing(broker: FakeBroker) -> None:
    """``sys.exit()`` in a callback is logged like any error: the table lives on."""
    with broker.connect() as kt:
        table = kt.table("t")
        table.on_change(lambda _: sys.exit(3))
        assert len(table) == 2
        broker.produce("t", "c", {"n": 3})
        assert len(table) == 3


def test_rows_that_go_between_the_barrier_and_the_look_are_waited_for_again(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild that begins when a read has just passed its barrier does not show in its frame."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        wait = table._reader._barrier.wait_until_fresh
        rebuilds = [1]

        def wait_then_rebuild(**given: Any) -> None:
            wait(**given)
            if rebuilds:
                rebuilds.pop()
                required: Materializer = table._reader.binding.required()
                required.forget(None, topic_id="id-1")
                table._reader.binding.attached = None
                table._reader.binding._reopen.set()

        monkeypatch.setattr(table._reader._barrier, "wait_until_fresh", wait_then_rebuild)
        assert (table.to_polars().height, rebuilds) == (2, [])


def test_a_callback_may_close_its_table_and_its_connection(broker: FakeBroker, tmp_path: Path) -> None:
    """Closing from the table's own thread leaves no thread, and the store can be opened again."""
    for closing in ("table", "context"):
        kt = broker.connect(tmp_path)
        table = kt.table("t")
        table.on_change(lambda _, t=table, k=kt, what=closing: t.close() if what == "table" else k.close())
        broker.produce("t", "c", {"n": 3})
        wait_until(lambda t=table: is_closed(t), "the callback to close it")
        kt.close()
        wait_until(lambda: not ours(), "the threads to end")
        with broker.connect(tmp_path) as again:
            assert len(again.table("t")) == 3


def is_closed(table: ktframe.KTable) -> bool:
    """Say whether reads are refused."""
    try:
        table.to_polars()
    except ktframe.KtframeError:
        return True
    return False


def ours() -> list[str]:
    """Return the names of ktframe's living threads."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ktframe")]


def test_an_interrupted_close_still_closes_every_part(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a thread is waited for leaves no store locked and no closer uncalled."""
    kt = broker.connect(tmp_path)
    assert len(kt.table("t")) == 2
    join = threading.Thread.join
    interrupts = [KeyboardInterrupt()]

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        if interrupts:
            raise interrupts.pop()
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kt.close()
    wait_until(lambda: not ours(), "the threads to end")
    with broker.connect(tmp_path) as again:
        assert len(again.table("t")) == 2


def test_a_failing_part_does_not_keep_the_others_open(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a store can't be closed, what comes after it is closed all the same."""
    kt = broker.connect()
    assert len(kt.table("t")) == 2
    closed: list[str] = []
    monkeypatch.setattr(kt._catalog._factory._stores, "close_all", lambda: 1 / 0)
    kt._at_exit.detach()
    with pytest.raises(ZeroDivisionError):
        close_parts(
            os.getpid(), kt._bindings, kt._catalog._factory._stores, [lambda: closed.append("cluster")]
        )
    assert (closed, ours()) == (["cluster"], [])


def test_a_forked_child_leaves_its_parents_parts_alone() -> None:
    """Closing the parts does nothing in another process than the one that made them: their threads are not there."""
    kt = FakeBroker().connect()
    closed: list[str] = []
    close_parts(
        os.getpid() + 1, kt._bindings, kt._catalog._factory._stores, [lambda: closed.append("cluster")]
    )
    assert closed == []
    kt.close()


def test_a_callback_may_wait_for_a_thread_that_asks(broker: FakeBroker) -> None:
    """While a callback of ReadyChanged runs, another thread gets its readiness() at once."""
    answers: list[bool] = []

    def ask_elsewhere(_: ReadyChanged) -> None:
        thread = threading.Thread(target=lambda: answers.append(table._reader.binding.readiness().is_ready))
        thread.start()
        thread.join(5)
        answers.append(thread.is_alive())

    with broker.connect() as kt:
        table = kt.table("t")
        table.events.subscribe(ReadyChanged, ask_elsewhere)
        assert len(table) == 2
        wait_until(lambda: len(answers) >= 2, "the callback")
    assert answers[:2] == [True, False]


def test_events_come_in_order_also_when_callbacks_cause_events() -> None:
    """An event that a callback emits comes after the one it is called for, to everyone."""
    events, seen = Events(), []

    def emit_another(event: ReadyChanged) -> None:
        if event.is_ready:
            events.emit(ReadyChanged(is_ready=False, reason=Reason.LAGGING, total_lag=1, at=event.at))

    events.subscribe(ReadyChanged, emit_another)
    events.subscribe(ReadyChanged, lambda event: seen.append(event.is_ready))
    events.emit(ReadyChanged(is_ready=True, reason=Reason.READY, total_lag=0, at=datetime.now(UTC)))
    assert seen == [True, False]


def test_a_subscription_ends_once_for_its_own_callback_only() -> None:
    """Ending it twice changes nothing; ended by a callback before it, it does not even get that event."""
    events, seen = Events(), list[str]()
    events.subscribe(ReadyChanged, lambda _: end_second())
    ends = [events.subscribe(ReadyChanged, lambda _, name=name: seen.append(name)) for name in ("a", "b")]
    end_second = ends[0]
    event = ReadyChanged(is_ready=True, reason=Reason.READY, total_lag=0, at=datetime.now(UTC))
    for _ in range(2):
        events.emit(event)
    assert seen == ["b", "b"]


def test_what_can_not_be_deleted_is_known_after_a_re_open(broker: FakeBroker, tmp_path: Path) -> None:
    """Status says after a restart too that rows without a record key were read."""
    broker.produce("u", None, {"id": 1})
    for _ in range(2):
        with broker.connect(tmp_path) as kt:
            table = kt.table("u", key="id")
            assert (len(table), table.status().sees_deletes) == (1, False)


def test_an_unknown_store_option_is_refused_with_a_hint(broker: FakeBroker) -> None:
    """A name that means nothing is an error, not ignored; the hint names those that there are."""
    with pytest.raises(
        ktframe.ConfigurationError, match=r"no setting 'cache'(.|\n)*Hint: there are backend, "
    ):
        ktframe.connect(broker.bootstrap, store={"cache": False})  # type: ignore[typeddict-item]


def test_a_table_may_have_its_own_flush_interval(broker: FakeBroker) -> None:
    """The store options of one table win over those of the settings, also when these change."""
    options = StoreOptions(backend="memory", flush_interval=0.5)
    with broker.connect() as kt:
        own, shared = kt.table("t", store=options), kt.table("t", key="n")
        kt.configure(flush_interval=2)
        assert (
            own._reader.binding._upkeep._flush_interval(),
            shared._reader.binding._upkeep._flush_interval(),
        ) == (0.5, 2.0)


@pytest.mark.slow
def test_a_connection_that_can_not_be_made_leaves_the_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A typo in an address costs an error, not the tables of the live connection."""
    monkeypatch.setattr(CURRENT, "connection", None)
    monkeypatch.setattr(face, "_demo", None)
    live = ktframe.demo(rate=0)
    with pytest.raises(ktframe.BrokerUnreachableError, match="localhost:1"):
        ktframe.connect("localhost:1", request_timeout=0.5)
    assert (live.is_closed, len(ktframe.table("customers")) > 700) == (False, True)
    live.close()


def test_two_tables_share_a_store_and_give_it_back_once(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is closed during its first read never closes the store that its successor has opened."""
    with broker.connect(tmp_path) as kt:
        first = kt.table("t")
        opened, go_on = threading.Event(), threading.Event()
        topic = broker.topic

        def slow(name: str) -> Any:
            if threading.current_thread().name == "slow":
                opened.set()
                go_on.wait(1)
            return topic(name)

        monkeypatch.setattr(broker, "topic", slow)
        reader = threading.Thread(target=lambda: is_closed(first), name="slow")
        reader.start()
        assert opened.wait(10)
        first.close()
        second = kt.table("t")
        assert len(second) == 2
        go_on.set()
        reader.join(10)
        broker.produce("t", "c", {"n": 3})
        assert (len(second), second.get("c")) == (3, {"key": "c", "n": 3})


def test_whoever_closes_second_waits_for_the_first(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table or a connection that another thread is closing is closed when ``close`` returns."""
    for closes in permutations(("table", "context", "table again"), 2):
        kt = broker.connect(tmp_path)
        table = kt.table("t")
        assert len(table) == 2
        begun, go_on = threading.Event(), threading.Event()
        engine = table._reader.binding.required().store._engine  # type: ignore[attr-defined]
        release = engine._release

        def slow(
            release: Any = release, begun: threading.Event = begun, go_on: threading.Event = go_on
        ) -> None:
            begun.set()
            assert go_on.wait(60)
            release()

        monkeypatch.setattr(engine, "_release", slow)
        ends = {"table": table.close, "context": kt.close, "table again": table.close}
        first = threading.Thread(target=ends[closes[0]])
        first.start()
        assert begun.wait(60)
        second = threading.Thread(target=ends[closes[1]])
        second.start()
        second.join(0.2)
        assert second.is_alive(), closes
        go_on.set()
        first.join(60)
        second.join(60)
        with broker.connect(tmp_path) as again:
            assert len(again.table("t")) == 2
        kt.close()


def test_callbacks_that_close_each_others_tables_do_not_wait(broker: FakeBroker, tmp_path: Path) -> None:
    """Two tables whose callbacks close the other one, at the same time, are both closed."""
    broker.produce("u", "a", {"n": 1})
    with broker.connect(tmp_path) as kt:
        one, other = kt.table("t"), kt.table("u")
        assert (len(one), len(other)) == (2, 1)
        together, took = threading.Barrier(2), list[float]()

        def close(table: ktframe.KTable) -> None:
            together.wait(60)
            began = time.monotonic()
            table.close()
            took.append(time.monotonic() - began)

        one.on_change(lambda _: close(other))
        other.on_change(lambda _: close(one))
        broker.produce("t", "c", {"n": 3})
        broker.produce("u", "c", {"n": 3})
        wait_until(lambda: len(took) == 2, "both to be closed")
        assert max(took) < manager._JOIN_SECONDS
        wait_until(lambda: "ktframe-t" not in ours() and "ktframe-u" not in ours(), "the threads to end")
        assert (len(kt.table("t")), len(kt.table("u"))) == (3, 2)


def test_a_table_that_is_stuck_is_closed_and_said_to_be(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A callback that does not return does not keep ``close`` or the store; the log says which thread is where."""
    monkeypatch.setattr(manager, "_JOIN_SECONDS", 0.2)
    go_on = threading.Event()
    with broker.connect(tmp_path) as kt:
        table = kt.table("t")
        table.on_change(lambda _: go_on.wait(60))
        try:
            table.to_polars()
            table.close()
            assert "a thread has not ended in 0.2 s: ktframe-t in guarded (events.py:" in caplog.text
            assert len(kt.table("t")) == 2
        finally:
            go_on.set()


def test_a_table_is_stopped_before_its_successor_can_be_had(broker: FakeBroker, tmp_path: Path) -> None:
    """While one thread closes a table, another that asks for it anew gets the rows, and keeps them."""
    with broker.connect(tmp_path) as kt:
        for number in range(10):
            table = kt.table("t")
            assert len(table) == 2 + number
            closing = threading.Thread(target=table.close)
            closing.start()
            again = wait_until(
                lambda old=table: (new := kt.table("t")) is not old and new, "the table to be let go"
            )
            broker.produce("t", f"k{number}", {"n": number})
            assert len(again) == 3 + number
            closing.join(60)
            assert len(again) == 3 + number


class CollectingLock:
    """A lock under which the next thread that takes it, but for this one, collects the garbage."""

    def __init__(self, lock: Any) -> None:
        self.lock, self.is_armed, self.owner = lock, False, threading.get_ident()

    def __enter__(self) -> None:
        self.lock.acquire()
        if self.is_armed and threading.get_ident() != self.owner:
            self.is_armed = False
            gc.collect()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def test_a_connection_may_be_collected_under_a_lock_of_its_own(broker: FakeBroker, tmp_path: Path) -> None:
    """The thread on which Python finds that nobody holds it may have the lock that closing it takes."""
    gc.collect()
    gc.disable()
    try:
        kt = broker.connect(tmp_path)
        table = kt.table("t")
        assert len(table) == 2
        lock = kt._bindings._lock = CollectingLock(kt._bindings._lock)  # type: ignore[assignment]
        del kt, table
        lock.is_armed = True  # the monitor takes it each second
        wait_until(lambda: not ours(), "the threads to end")
    finally:
        gc.enable()
    with broker.connect(tmp_path) as again:
        assert wait_until(
            lambda: not isinstance(read(again), ktframe.StoreLockedError), "the store to be free"
        )


def read(kt: Context) -> object:
    """Return the rows of a table, or why there are none."""
    try:
        return kt.table("t").to_polars()
    except ktframe.StoreLockedError as error:
        return error


FORSAKEN = """
import asyncio
from ktframe.testing import FakeBroker
broker = FakeBroker()
broker.produce("t", "a", {"n": 1})
kt = broker.connect(stall_timeout=600)
table = kt.table("t")
table.to_polars()
broker.hold()
broker.produce("t", "b", {"n": 2})
loop = asyncio.new_event_loop()
task = loop.create_task(table.to_polars_async())
loop.run_until_complete(asyncio.sleep(0.5))
"""


def test_a_read_that_nobody_awaits_any_more_does_not_keep_the_process() -> None:
    """As after Ctrl-C in a notebook, where the event loop is left alone: Python does not wait for what goes on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORSAKEN], check=False, capture_output=True, timeout=60
    )
    assert done.returncode == 0


READING_ON = """
import threading
from ktframe.testing import FakeBroker
broker = FakeBroker()
broker.produce("t", "a", {"n": 1})
kt = broker.connect(writable=True)
table, has_read = kt.table("t"), [threading.Event() for _ in range(3)]

def go_on(use, done):
    while True:
        use()
        done.set()

uses = (table.to_polars, lambda: table.put({"key": "b", "n": 2}), lambda: table.window(5).to_polars())
for use, done in zip(uses, has_read):
    threading.Thread(target=go_on, args=(use, done), daemon=True).start()
for done in has_read:
    done.wait(60)
"""


def test_daemon_threads_that_read_and_write_end_with_the_process_without_a_word() -> None:
    """A program need not end its own threads before: Python ends daemon threads silently, and so do we."""
    command = [sys.executable, "-W", "ignore", "-c", READING_ON]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
