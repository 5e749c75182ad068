"""Ctrl-C during writes: it ends the wait, its cause says what may have been written, and the next write works."""

from __future__ import annotations

import _thread
import json
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from operator import methodcaller
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

import ktframe
from ktframe.context.context import Context
from ktframe.errors import WriteError
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.process.threads import Tell
from ktframe.tables import topic_writer
from ktframe.testing import FakeBroker
from ktframe.testing.clients import FakeReader, FakeWriter

PROGRAM = Path(__file__).parents[1] / "support" / "interrupted_writes.py"


class SlowWriter(FakeWriter):
    """Writes one record, tells somebody, and then waits for ``go_on``, telling that it does if it ``tells``."""

    tells = True

    def __init__(self, broker: FakeBroker) -> None:
        super().__init__(broker)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def send(self, topic: str, records: OutgoingRecords, *, tell: Tell, **given: Any) -> Sent:
        """Write the records, or only the first."""
        if self.go_on.is_set():
            return super().send(topic, records, **given)
        super().send(topic, OutgoingRecords(records.keys[:1], records.values[:1]), **given)
        self.begun.set()
        try:
            while not self.go_on.wait(0.01):
                if self.tells:
                    tell(None)
        except BaseException as gone:
            cause = WriteError(
                self.bootstrap, "interrupted", topic=topic, total=2, written=[0], failed={1: ""}
            )
            raise gone from cause
        return super().send(topic, OutgoingRecords(records.keys[1:], records.values[1:]), **given)


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with a row."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    return broker


def interrupted(write: Callable[[], object], when: threading.Event) -> BaseException | None:
    """Press Ctrl-C during ``write`` as soon as that is the moment, and return the cause of the interrupt."""
    main = threading.main_thread().ident
    assert main is not None

    def press() -> None:
        assert when.wait(60)
        signal.pthread_kill(main, signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        write()
    pressing.join()
    cause = caught.value.__cause__
    assert str(caught.value) == ("" if cause is None else str(cause))
    return cause


def slow_connection(broker: FakeBroker, writer: FakeWriter) -> Context:
    """Return a connection that writes slowly."""
    return Context(
        broker.connect(writable=True).settings,
        cluster=broker,
        open_reader=lambda topic, _: FakeReader(broker, topic),
        record_writer=writer,
    )


ROWS = [{"key": "b", "n": 2}, {"key": "c", "n": 3}]


@pytest.mark.parametrize("way", ["upsert", "publish"])
def test_an_interrupted_write_says_what_was_written(broker: FakeBroker, way: str) -> None:
    """The write stops sending, and the interrupt's cause has the records that are there and those that are not."""
    writer = SlowWriter(broker)
    with slow_connection(broker, writer) as kt:
        table = kt.table("t")
        write = {
            "upsert": lambda: table.upsert(ROWS),
            "publish": lambda: kt.publish("t", ROWS, key="key"),
        }[way]
        error = interrupted(write, writer.begun)
        assert isinstance(error, WriteError)
        assert (error.written, error.failed, list(error.unknown)) == ([0], {1: ""}, [])
        writer.go_on.set()
        assert write().height == 2
        assert sorted(table.keys()) == ["a", "b", "c"]


def test_a_write_that_does_not_end_may_write_everything(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C does not wait for ever to know: all records are among those that may be written, now or in a moment."""
    monkeypatch.setattr(topic_writer, "_LAST_WORD_SECONDS", 0.1)
    writer = SlowWriter(broker)
    writer.tells = False
    with slow_connection(broker, writer) as kt:
        error = interrupted(lambda: kt.publish("t", ROWS, key="key"), writer.begun)
        assert isinstance(error, WriteError)
        assert (list(error.written), error.failed, list(error.unknown)) == ([], {}, [0, 1])
        writer.go_on.set()
        wait_until(lambda: len(kt.table("t")) == 3, "the records to be written")


def test_an_interrupt_after_the_write_says_that_all_is_written(broker: FakeBroker) -> None:
    """While the table reads its own records, Ctrl-C ends the wait only."""
    when = threading.Event()
    with broker.connect(writable=True) as kt:
        table = kt.table("t")
        assert len(table) == 1
        end = broker.end_offsets("t", [0])[0]
        broker.produce = seen(broker.produce, broker, when)  # type: ignore[method-assign]
        error = interrupted(lambda: table.upsert(ROWS), when)
        assert isinstance(error, WriteError)
        assert (list(error.written), list(error.unknown)) == ([0, 1], [])
        assert "2 of 2 records were written to topic 't': interrupted" in str(error)
        assert broker.end_offsets("t", [0])[0] == end + 2
        broker.release()
        assert len(table) == 3


def seen(produce: Callable[..., int], broker: FakeBroker, when: threading.Event) -> Callable[..., int]:
    """Return what does as ``produce``, and after the last record keeps it from readers."""

    def produce_and_hold(topic: str, key: Any, *values: Any, **given: Any) -> int:
        broker.hold()
        offset = produce(topic, key, *values, **given)
        if key == b"c":
            when.set()
        return offset

    return produce_and_hold


def test_a_write_that_is_interrupted_before_it_sends_writes_nothing(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the table is read, which comes first, an interrupt has no cause, and no record is there."""
    when = threading.Event()
    with broker.connect(writable=True) as kt:
        table = kt.table("t")
        assert len(table) == 1
        broker.hold()
        broker.produce("t", "z", {"n": 9})
        wait = table._reader._barrier.wait_until_fresh
        monkeypatch.setattr(
            table._reader._barrier, "wait_until_fresh", lambda **given: (when.set(), wait(**given))
        )
        assert interrupted(lambda: table.upsert(ROWS), when) is None
        broker.release()
        assert len(table) == 2


class LastMoment(Sent):
    """Where records are, as an object that can be referred to weakly."""


class Pressed(weakref.ref[LastMoment]):
    """Is told in C when what it refers to goes: there is no line of Python in which the interrupt would be too soon."""

    press = _thread.interrupt_main


class LastMomentWriter(FakeWriter):
    """Writes as ever, and interrupts when what it returned is let go of: then the frame of the write is just gone."""

    def send(self, topic: str, records: OutgoingRecords, **given: Any) -> Sent:
        """Write the records."""
        sent = super().send(topic, records, **given)
        moment = LastMoment(sent.partitions, sent.offsets, sent.ends)
        self._end = Pressed(moment, methodcaller("press"))
        return moment


@pytest.mark.parametrize("way", ["put", "upsert", "delete", "publish", "ktframe.publish"])
def test_an_interrupt_on_the_way_out_of_a_write_does_not_hide_it(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """It comes after the call, or has a cause: the records are written."""
    with slow_connection(broker, LastMomentWriter(broker)) as kt:
        monkeypatch.setattr(ktframe._api, "default_context", lambda: kt)
        table = kt.table("t")
        write: Callable[[], object] = {
            "put": lambda: table.put(ROWS[0]),
            "upsert": lambda: table.upsert(ROWS),
            "delete": lambda: table.delete("a"),
            "publish": lambda: kt.publish("t", ROWS, key="key"),
            "ktframe.publish": lambda: ktframe.publish("t", ROWS, key="key"),
        }[way]
        returned: list[object] = []

        def write_and_go_on() -> None:
            returned[:] = [write()]
            time.sleep(0)

        with pytest.raises(KeyboardInterrupt) as caught:
            write_and_go_on()
        assert returned or isinstance(caught.value.__cause__, WriteError)


@pytest.mark.slow
def test_hundreds_of_interrupts_of_writes_leave_truth_and_a_table_that_works() -> None:
    """At random moments of puts, upserts, deletes and publishes: the log has what each interrupt says, and goes on."""
    command = [sys.executable, str(PROGRAM), "400"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert told["counts"]["interrupted by WriteError"] > 10
    assert told["counts"]["interrupted by NoneType"] > 10


def test_errors_of_writes_are_as_before(broker: FakeBroker) -> None:
    """What is wrong with the rows is raised as such, and nothing is written."""
    with broker.connect(writable=True) as kt, pytest.raises(ktframe.SchemaError):
        kt.publish("t", ROWS, key="no such column")
