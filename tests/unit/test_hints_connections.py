"""Hints about connections, brokers, registries and local stores, each followed: the call that failed works."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from support.hinted import evaluated, hinted, met
from support.hints import Hint
from support.waiting import wait_until

import ktframe
from ktframe import Context
from ktframe.current import CURRENT
from ktframe.errors import WriteError
from ktframe.kafka.outgoing import OutgoingRecords, Sent
from ktframe.testing import FakeBroker, FakeReader, FakeRegistry, FakeWriter


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with one order."""
    broker = FakeBroker()
    broker.produce("orders", "a", {"n": 1})
    return broker


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave no default connection, before and after."""
    monkeypatch.setattr(CURRENT, "connection", None)
    yield
    if CURRENT.connection is not None:
        CURRENT.connection.close()


@pytest.mark.slow
@pytest.mark.usefixtures("unconnected")
def test_a_connection_is_made_as_the_hint_says(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both calls of the hint connect."""
    hint = Hint(
        "errors.py", 'call ktframe.connect("host:9092") first, or ktframe.demo() to try it without Kafka.'
    )
    with hinted(hint) as found:
        ktframe.table("orders")
    connect, demo = found.calls
    with evaluated(demo.replace("()", "(rate=0)")):
        assert ktframe.table("orders").to_polars().height > 0
    kafka = SimpleNamespace(connect=lambda _: broker.connect())
    with evaluated(connect, ktframe=kafka) as context:
        monkeypatch.setattr(CURRENT, "connection", context)
        assert ktframe.table("orders").to_polars().height == 1


def test_a_closed_table_is_opened_again(broker: FakeBroker) -> None:
    """Asked for again it is there; after its connection was closed, on a new one."""
    hint = Hint("errors.py", "open it again; if the connection was closed, call ktframe.connect(...) first.")
    with broker.connect() as context:
        table = context.table("orders")
        table.to_polars()
        table.close()
        with hinted(hint):
            table.to_polars()
        assert context.table("orders").to_polars().height == 1
    with hinted(hint) as found:
        context.table("orders")
    call = found.calls[0].replace("...", "")
    with evaluated(call, ktframe=broker) as again:
        assert again.table("orders").to_polars().height == 1


def test_a_connection_writes_with_the_argument_of_the_hint(broker: FakeBroker) -> None:
    """With it, rows are put."""
    hint = Hint("errors.py", "ktframe.connect(..., writable=True), once you are sure which cluster that is.")
    with broker.connect() as context:
        for write in (
            context.table("orders").put,
            lambda row: context.publish("orders", pl.DataFrame([row])),
        ):
            with hinted(hint) as found:
                write({"key": "b", "n": 2})
    with broker.connect(**found.arguments) as context:
        context.table("orders").put({"key": "b", "n": 2})
        assert context.table("orders").get("b") == {"key": "b", "n": 2}


@pytest.mark.slow
@pytest.mark.usefixtures("unconnected")
def test_the_demo_needs_no_broker(tmp_path: Path) -> None:
    """Where no broker answers, the call of the hint connects all the same."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    hint = Hint(
        "errors.py",
        "check the address, the network or VPN, and security.protocol; ktframe.demo() needs no Kafka.",
    )
    with hinted(hint) as found:
        ktframe.connect(address, request_timeout=1, state_dir=tmp_path)
    with evaluated(found.calls[0].replace("()", "(rate=0)")) as context:
        assert context.topics().height == 3


@pytest.mark.parametrize("wrong", ["oders", "ORDERS", "order"])
def test_a_misspelt_topic_is_the_one_of_the_hint(broker: FakeBroker, wrong: str) -> None:
    """The topic that was meant has the rows, also where only upper and lower case differ."""
    with broker.connect() as context:
        for ask in (lambda: context.table(wrong).to_polars(), lambda: context.inspect(wrong)):
            with hinted(Hint("errors.py", "did you mean {}?")) as found:
                ask()
        assert context.table(found.names[0]).to_polars().height == 1


class Interrupted(FakeWriter):
    """Writes the first record of the first call only."""

    is_first = True

    def send(self, topic: str, records: OutgoingRecords, **given: Any) -> Sent:
        """Write all records, or one."""
        if not self.is_first:
            return super().send(topic, records, **given)
        self.is_first = False
        some = OutgoingRecords(records.keys[:1], records.values[:1])
        super().send(topic, some, **given)
        reason = "the broker went away"
        raise WriteError("fake:9092", reason, topic=topic, total=2, written=[0], unknown=[1])  # noqa: EM101


def test_a_call_that_was_cut_off_is_run_again(broker: FakeBroker, tmp_path: Path) -> None:
    """The same call again gives the table its rows, whatever was written before."""
    hint = Hint(
        "errors.py",
        "running the same call again is safe for a table: the same keys get the same values. "
        "A stream may then hold records twice.",
    )
    settings = ktframe.Settings(bootstrap="fake:9092", state_dir=tmp_path, writable=True)
    rows = pl.DataFrame({"key": ["b", "c"], "n": [2, 3]})
    reading = broker.connect()
    writing = Context(
        settings,
        cluster=broker,
        open_reader=lambda topic, _: FakeReader(broker, topic),
        record_writer=Interrupted(broker),
    )
    with reading, writing:
        with hinted(hint):
            writing.table("orders").upsert(rows)
        writing.table("orders").upsert(rows)
        assert sorted(writing.table("orders").to_polars().rows()) == [("a", 1), ("b", 2), ("c", 3)]
        assert sorted(reading.stream("orders").to_polars()["n"]) == [1, 2, 2, 3]


AVRO = '{"type":"record","name":"R","fields":[{"name":"n","type":"long"}]}'


def test_a_registry_that_is_away_keeps_no_rows_back(tmp_path: Path, broker: FakeBroker) -> None:
    """Rows that were read before are there without it, and the others once it is back."""
    registry = FakeRegistry()
    first = registry.register("t-value", AVRO)
    second = registry.register("t-value", AVRO.replace("long", "int"))
    broker.produce("t", "a", registry.prefix(first) + b"\2")
    with broker.connect(tmp_path, registry=registry) as context:
        assert context.table("t").to_polars().height == 1
    registry.go_down()
    hint = Hint(
        "errors.py",
        "check schema_registry= and the network or VPN; rows that were read before are there without it.",
    )
    with broker.connect(tmp_path, registry=registry, stall_timeout=0.3) as context:
        table = context.table("t")
        assert table.to_polars()["n"].to_list() == [1]
        broker.produce("t", "b", registry.prefix(second) + b"\4")
        # Kept: the next attempt, which begins at any moment, has no reason yet to say it.
        met(hint, wait_until(lambda: table.readiness().hint, "the table to need the registry"))
        assert table.to_polars(fresh=False)["n"].to_list() == [1]
        registry.come_back()
        assert sorted(table.to_polars()["n"]) == [1, 2]


def test_a_login_that_the_registry_accepts_reads_the_rows(broker: FakeBroker) -> None:
    """Once the login is right the next read has the rows."""
    registry = FakeRegistry()
    number = registry.register("t-value", AVRO)
    broker.produce("t", "a", registry.prefix(number) + b"\2")
    registry.go_down(is_fatal=True)
    hint = Hint(
        "errors.py", "check the login of schema_registry= (basic.auth.user.info, or bearer.auth.token)."
    )
    with broker.connect(registry=registry) as context:
        table = context.table("t")
        with hinted(hint):
            table.to_polars()
        registry.come_back()
        assert table.to_polars().height == 1


# --- local stores -------------------------------------------------------------------------------------------------


def test_a_store_is_free_once_the_other_connection_is_closed(broker: FakeBroker, tmp_path: Path) -> None:
    """Closing the other one helps, and so does a directory of its own."""
    hint = Hint(
        "errors.py",
        "another Context of this process has it open: close() that one first, "
        "or give this one its own store: connect(..., state_dir=...).",
    )
    one, two = broker.connect(tmp_path), broker.connect(tmp_path)
    with one, two:
        one.table("orders").to_polars()
        with hinted(hint):
            two.table("orders").to_polars()
        with broker.connect(tmp_path / "own") as third:
            assert third.table("orders").to_polars().height == 1
        one.close()
        assert two.table("orders").to_polars().height == 1


HOLD = """
import sys
from ktframe.testing import FakeBroker
broker = FakeBroker()
broker.produce("orders", "a", {"n": 1})
with broker.connect(sys.argv[1]) as context:
    context.table("orders").to_polars()
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_store_is_free_once_the_other_kernel_is_shut_down(broker: FakeBroker, tmp_path: Path) -> None:
    """The process that the error names holds it; without that, or in another directory, there are rows."""
    hint = Hint(
        "errors.py",
        "shut that notebook's kernel down, or give this one its own store: connect(..., state_dir=...).",
    )
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other,
        broker.connect(tmp_path) as context,
    ):
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with hinted(hint) as found:
            context.table("orders").to_polars()
        assert isinstance(found.error, ktframe.StoreLockedError)
        with broker.connect(tmp_path / "own") as third:
            assert third.table("orders").to_polars().height == 1
        os.kill(found.error.pid or 0, signal.SIGTERM)
        other.wait()
        assert context.table("orders").to_polars().height == 1


def _only_store(state_dir: Path) -> Path:
    [store] = state_dir.rglob("store.json")
    return store.parent


def test_a_damaged_store_that_is_removed_is_built_again(broker: FakeBroker, tmp_path: Path) -> None:
    """The path of the hint is all there is to remove."""
    with broker.connect(tmp_path) as context:
        context.table("orders").to_polars()
    (_only_store(tmp_path) / "rocksdb" / "CURRENT").write_bytes(b"")
    with broker.connect(tmp_path) as context:
        with hinted(
            Hint("errors.py", "nothing was changed. Remove {} and it is built again from Kafka.")
        ) as found:
            context.table("orders").to_polars()
        shutil.rmtree(found.parts[0])
        assert context.table("orders").to_polars().height == 1


def test_a_store_of_another_topic_is_left_for_another_directory(broker: FakeBroker, tmp_path: Path) -> None:
    """Another directory has the rows, and so has this one without the path of the hint."""
    with broker.connect(tmp_path) as context:
        context.table("orders").to_polars()
    description = _only_store(tmp_path) / "store.json"
    description.write_text(description.read_text().replace('"orders"', '"clicks"'))
    hint = Hint("errors.py", "nothing was changed. Use another state_dir, or remove {} if it is not needed.")
    with broker.connect(tmp_path) as context:
        with hinted(hint) as found:
            context.table("orders").to_polars()
        with broker.connect(tmp_path / "own") as other:
            assert other.table("orders").to_polars().height == 1
        shutil.rmtree(found.parts[0])
        assert context.table("orders").to_polars().height == 1


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        (
            Hint("store/errors.py", "the disk is full: free some space, or use another state_dir"),
            errno.ENOSPC,
        ),
        (
            Hint("store/errors.py", "the disk quota is used up: free some space, or use another state_dir"),
            errno.EDQUOT,
        ),
        (
            Hint(
                "store/errors.py",
                "this user may not read and write there: allow it to, or use another state_dir",
            ),
            errno.EACCES,
        ),
        (
            Hint(
                "store/errors.py",
                "this user may not read and write there: allow it to, or use another state_dir",
            ),
            errno.EPERM,
        ),
        (
            Hint(
                "store/errors.py",
                "the file system is read-only: make it writable again, or use another state_dir",
            ),
            errno.EROFS,
        ),
        (
            Hint("store/errors.py", "this process has too many open files: raise its limit (ulimit -n)"),
            errno.EMFILE,
        ),
    ],
)
def test_a_directory_that_can_be_used_is_used(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hint: Hint, code: int
) -> None:
    """Another directory has the rows, and so has this one when the cause is gone."""
    make = Path.mkdir

    def mkdir(path: Path, *args: Any, **options: Any) -> None:
        if path.is_relative_to(tmp_path / "state"):
            raise OSError(code, os.strerror(code), str(path))
        make(path, *args, **options)

    retry = ktframe.RetryPolicy(attempts=1, initial_delay=0.01, max_delay=0.01, jitter=0)
    with broker.connect(tmp_path / "state", retry=retry, stall_timeout=5) as context:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "mkdir", mkdir)
            table = context.table("orders")
            with pytest.raises(ktframe.KtframeError) as raised:
                table.to_polars()
            met(hint, str(raised.value))
            with broker.connect(tmp_path / "own") as other:
                assert other.table("orders").to_polars().height == 1
        assert table.to_polars().height == 1
