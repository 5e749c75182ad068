"""Rows that were deleted while nobody looked, and whose tombstones compaction has taken: real Kafka, within seconds."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.kafka_broker import KafkaBroker
from support.readers import Gate
from support.waiting import wait_until

from ktframe.errors import BrokerUnreachableError
from ktframe.events import BindingState
from ktframe.sync import presence

Topic = Callable[..., str]
Connect = Callable[..., Any]
WATCHING = Path(__file__).parents[1] / "support" / "watching_process.py"
REASON = "longer than Kafka keeps deletes (delete.retention.ms is 0 ms)"


@pytest.fixture
def restarted(broker: KafkaBroker) -> Iterator[KafkaBroker]:
    """Return the broker; it runs again at the end, whatever the test did."""
    yield broker
    if broker.pid is None:
        broker.start()


@pytest.fixture
def name(restarted: KafkaBroker, topic: Topic) -> str:
    """Return a compacted topic with the keys ``gone`` and ``stays``."""
    name = restarted.create_compacted_topic(topic())
    restarted.produce(name, [(b"gone", b'{"n":1}'), (b"stays", b'{"n":2}'), (b"stays", b'{"n":3}')])
    return name


def keys(table: Any) -> list[str]:
    """Return the keys of all rows, fresh."""
    return sorted(table.to_polars()["key"])


def reasons(table: Any) -> list[str]:
    """Return why rows were read again."""
    return [incident.detail for incident in table.history.incidents() if incident.kind == "rebuilt"]


def test_a_process_that_was_stopped_and_goes_on(restarted: KafkaBroker, name: str, tmp_path: Path) -> None:
    """What was deleted while it was stopped by a signal is gone from its next read, and the reason is said."""
    command = [sys.executable, str(WATCHING), restarted.bootstrap, name, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> dict[str, list[str]]:
            process.stdin.write("\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        try:
            assert ask() == {"keys": ["gone", "stays"], "reasons": []}
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            restarted.delete_without_trace(name, b"gone")
            os.kill(process.pid, signal.SIGCONT)
            after = ask()
        finally:
            process.kill()
    assert "gone" not in after["keys"]
    assert "stays" in after["keys"]
    assert [REASON in reason for reason in after["reasons"]] == [True]


def test_a_client_that_found_its_broker_again(
    restarted: KafkaBroker, name: str, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader whose connection was away for long tells nobody; the table finds out by itself."""
    monkeypatch.setattr(presence, "_LEAST_MS", 1_000)
    gate = Gate()
    table = connect(gate=gate).table(name)
    assert keys(table) == ["gone", "stays"]
    gate.cut()
    restarted.delete_without_trace(name, b"gone")
    gate.open()
    assert "gone" not in keys(table)
    assert any(REASON in reason for reason in reasons(table))


def test_a_table_that_had_failed(restarted: KafkaBroker, name: str, connect: Connect) -> None:
    """The read that starts a failed table again does not show what was deleted meanwhile."""
    table = connect(retry={"attempts": 1}, request_timeout=1.0).table(name)
    assert keys(table) == ["gone", "stays"]
    restarted.stop()
    wait_until(lambda: table.readiness().state is BindingState.FAILED, "the table to fail")
    with pytest.raises(BrokerUnreachableError):
        table.to_polars()
    restarted.start()
    restarted.delete_without_trace(name, b"gone")
    assert "gone" not in keys(table)
    assert any(REASON in reason for reason in reasons(table))


def test_a_store_beside_a_record_that_was_compacted_away(
    restarted: KafkaBroker, topic: Topic, connect: Connect
) -> None:
    """That the record before its position is gone is no reason to read a table anew, where deletes are kept for a day."""
    broker = restarted
    name = broker.create_compacted_topic(topic(), delete_retention_ms=86_400_000)
    broker.produce(name, [(b"a", b'{"n":1}'), (b"b", b'{"n":2}')])
    first = connect()
    assert keys(first.table(name)) == ["a", "b"]
    first.close()
    broker.produce(name, [(b"b", b'{"n":3}')])
    broker.wait_until_compacted(name)
    assert 1 not in {record.offset for record in broker.records(name)}

    gate = Gate()
    table = connect(gate=gate).table(name)
    assert dict(table.to_polars().rows()) == {"a": 1, "b": 3}
    assert (gate.assigned, reasons(table)) == ([{0: 2}], [])
