"""Recovery from interrupts, slow threads and full disks; where a table does not get over them, a known fault."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.waiting import wait_until

from ktframe.config.settings import StoreOptions
from ktframe.errors import StoreError
from ktframe.events import BindingStateChanged
from ktframe.fold.decoder import TopicDecoder
from ktframe.store.engine import Engine
from ktframe.sync import manager
from ktframe.testing import FakeBroker

HERE = Path(__file__).parent


def test_a_closed_table_never_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When ``close`` gave up waiting for a slow batch, that batch does not overwrite what came later."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 0})
    decode = TopicDecoder.decode
    entered, release = Event(), Event()

    def slow(self: TopicDecoder, *arguments: Any) -> Any:
        changes = decode(self, *arguments)
        if len(arguments[0]) and threading.current_thread() in first and not release.is_set():
            entered.set()
            assert release.wait(120)
        return changes

    monkeypatch.setattr(manager, "_JOIN_SECONDS", 0.2)
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        table.to_polars()
        first = [thread for thread in threading.enumerate() if thread.name == "ktframe-t"]
        assert len(first) == 1
        monkeypatch.setattr(TopicDecoder, "decode", slow)
        try:
            broker.produce("t", "a", {"n": 1})
            assert entered.wait(60)
            table.close()
            again = context.table("t")
            broker.produce("t", "a", {"n": 2})
            assert again.get("a") == {"key": "a", "n": 2}
        finally:
            release.set()
        first[0].join(10)
        assert not first[0].is_alive()
        broker.produce("t", "b", {"n": 3})
        shown = dict(again.to_polars().rows())["a"]
        got = again.get("a")
    with broker.connect(tmp_path) as context:
        reopened = dict(context.table("t").to_polars().rows())["a"]
    assert (shown, got, reopened) == (2, {"key": "a", "n": 2}, 2)


def test_a_start_that_was_interrupted_is_made_again() -> None:
    """Ctrl-C between the change of state and the start of the thread leaves a table that the next read starts."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    context = broker.connect(stall_timeout=0.5)
    table = context.table("t")
    unsubscribe = table.events.subscribe(BindingStateChanged, lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        table.to_polars()
    unsubscribe()
    assert table.to_polars().height == 1
    table.close()
    context.close()


@pytest.mark.slow
def test_interrupts_at_any_moment_of_a_first_read(tmp_path: Path) -> None:
    """However often Ctrl-C comes in first reads and closes, the next read gives the rows, and ``close`` closes."""
    command = [sys.executable, HERE / "interrupted_reads.py", "80", tmp_path]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["faults"] == []
    assert told["counts"]["read, interrupted"] > 10


def test_dropped_rows_are_gone_when_compaction_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store and view show the same rows after an error between the two halves of a drop."""
    broker = FakeBroker()
    produced = int(time.time() * 1000) - 2000
    for number in range(5):
        broker.produce("t", f"k{number}", {"n": number}, timestamp=produced)
    with broker.connect(tmp_path) as context:
        assert context.stream("t", start="-3s").to_polars().height == 5
    wait_until(lambda: time.time() * 1000 > produced + 3100, "the records to be older than the start")
    broker.produce("t", "new", {"n": 9}, timestamp=int(time.time() * 1000))
    compact = Engine.compact
    failures: list[StoreError] = []

    def fail_once(self: Engine, *bounds: Any) -> None:
        if not failures:
            failures.append(StoreError(str(self.path), "the disk is full"))
            raise failures[0]
        compact(self, *bounds)

    monkeypatch.setattr(Engine, "compact", fail_once)
    with broker.connect(tmp_path) as context:
        rows = context.stream("t", start="-3s")
        with suppress(StoreError):  # unless reading has begun again by then
            rows.to_polars()
        assert failures
        shown = rows.to_polars()["n"].to_list()
        assert failures
    with broker.connect(tmp_path) as context:
        reopened = context.stream("t", start="-3s").to_polars()["n"].to_list()
    assert reopened == [9]
    assert reopened == shown


@pytest.mark.slow
def test_a_disk_that_was_full_is_used_again(tmp_path: Path) -> None:
    """Once space was made, as the error says, the table is read and closed."""
    isolated = ["unshare", "--mount", "--map-root-user"]
    mount = f"mount -t tmpfs -o size=20m tmpfs {tmp_path}"
    program = f"{mount} && exec {sys.executable} {HERE / 'full_disk.py'} {tmp_path}"
    done = subprocess.run(
        [*isolated, "sh", "-c", program], check=False, capture_output=True, text=True, timeout=180
    )
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert "space" in told["full"]
    assert told["failures"] == []


@pytest.mark.slow
def test_the_log_of_rocksdb_is_bounded(tmp_path: Path) -> None:
    """However long a busy table is open, RocksDB's own log takes no more than its last two files of 100 KB."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    flushes = 200
    with broker.connect(tmp_path, store=StoreOptions(flush_interval=0.001)) as context:
        table = context.table("t")
        table.to_polars()
        for number in range(flushes):
            broker.produce("t", f"k{number % 50}", {"n": number})
            table.to_polars()
        logs = [path.stat().st_size for path in tmp_path.rglob("rocksdb/LOG*")]
    assert len(logs) <= 2
    assert sum(logs) < 250_000
