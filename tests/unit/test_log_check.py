"""A log that went back and grew again: rows of the old one must not stay among those of the new one."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.waiting import wait_until

from ktframe.config.settings import RetryPolicy
from ktframe.context.context import Context
from ktframe.errors import BrokerUnreachableError
from ktframe.events import BindingState
from ktframe.fold.records import LastRecord
from ktframe.kafka.survey import Cleanup
from ktframe.testing import FakeBroker
from ktframe.testing.clients import FakeReader

REASON = "the log went back: another record is at offset 4"


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with five records in a partition."""
    broker = FakeBroker()
    for number in range(5):
        broker.produce("t", f"k{number}", {"v": "base"})
    return broker


def go_back(broker: FakeBroker, grown_to: int) -> None:
    """Put back a copy of the log, of three records, to which others are written than before."""
    broker.truncate("t", 3)
    for number in range(3, grown_to):
        broker.produce("t", f"n{number}", {"v": "new"})


def opened(context: Context, kind: str) -> Any:
    """Return a table, its windows, or a stream of the topic."""
    if kind == "stream":
        return context.stream("t")
    return context.table("t").window(5) if kind == "window" else context.table("t")


def reasons(table: Any) -> list[str]:
    """Return why rows were read again."""
    return [incident.detail for incident in table.history.incidents() if incident.kind == "rebuilt"]


@pytest.mark.parametrize("grown_to", [5, 9], ids=["to the position", "beyond it"])
@pytest.mark.parametrize("kind", ["table", "window", "stream"])
def test_a_closed_table_is_read_anew(broker: FakeBroker, tmp_path: Path, kind: str, grown_to: int) -> None:
    """However well the position fits into the new log, the rows are those of a fresh store."""
    with broker.connect(tmp_path) as context:
        assert opened(context, kind).to_polars().height == 5
    go_back(broker, grown_to)
    with broker.connect(tmp_path) as context:
        rows = opened(context, kind)
        assert sorted(rows.to_polars()["v"]) == ["base"] * 3 + ["new"] * (grown_to - 3)
        assert reasons(rows) == [REASON]


@pytest.mark.parametrize("kind", ["table", "window", "stream"])
def test_an_open_table_is_read_anew_when_another_leader_goes_on(broker: FakeBroker, kind: str) -> None:
    """The client reads on at its offset without a word: the epoch of what comes then tells."""
    with broker.connect() as context:
        rows = opened(context, kind)
        assert rows.to_polars().height == 5
        broker.hold()
        go_back(broker, 9)
        broker.release()
        assert sorted(rows.to_polars()["v"]) == ["base"] * 3 + ["new"] * 6
        assert reasons(rows) == [REASON]


def test_an_open_table_that_lost_its_connection_compares(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read after that waits until it is known whether its rows are still those of the log, even if no epoch tells."""
    monkeypatch.setattr(broker, "leader_epochs", lambda _: {})
    with broker.connect(retry=RetryPolicy(initial_delay=3, jitter=0), monitor_interval=1000) as context:
        table = context.table("t")
        assert len(table) == 5
        broker.hold()
        go_back(broker, 5)
        broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"))
        wait_until(lambda: table.readiness().state is BindingState.BACKING_OFF, "the failure")
        broker.release()
        assert sorted(table.to_polars()["v"]) == ["base"] * 3 + ["new"] * 2


@pytest.mark.parametrize("kind", ["table", "stream"])
def test_a_read_finds_another_leader_without_a_record(broker: FakeBroker, kind: str) -> None:
    """The log is as long as before and no record comes: the ends that the read asks for come from a new leader."""
    with broker.connect(monitor_interval=1000) as context:
        rows = opened(context, kind)
        assert rows.to_polars().height == 5
        broker.hold()
        go_back(broker, 5)
        broker.release()
        assert sorted(rows.to_polars()["v"]) == ["base"] * 3 + ["new"] * 2
        assert reasons(rows) == [REASON]


def test_a_record_of_another_leader_is_compared_before_it_is_applied(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing asks for ends, what arrives tells."""
    monkeypatch.setattr(broker, "leader_epochs", lambda _: {})
    with broker.connect(monitor_interval=1000) as context:
        table = context.table("t")
        assert len(table) == 5
        broker.hold()
        go_back(broker, 9)
        broker.release()
        assert sorted(table.to_polars()["v"]) == ["base"] * 3 + ["new"] * 6


def test_another_leader_of_the_same_log_is_no_difference(broker: FakeBroker) -> None:
    """It is compared once, and what was read stays."""
    with broker.connect() as context:
        table = context.table("t")
        assert len(table) == 5
        broker.truncate("t", 5)
        for number in range(3):
            broker.produce("t", f"n{number}", {"v": "new"})
            assert len(table) == 6 + number
        assert reasons(table) == []
    assert broker.assigned in ([{0: 0}, {0: 5}], [{0: 0}, {0: 6}])


@pytest.mark.parametrize("are_known", [True, False], ids=["known", "unknown"])
def test_leaders_of_long_ago_are_not_compared(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, are_known: bool
) -> None:
    """What was in the log when it was compared stays as it was: a load of many epochs is one load."""
    if not are_known:
        monkeypatch.setattr(broker, "leader_epochs", lambda _: {})
    with broker.connect(tmp_path) as context:
        assert len(context.table("t")) == 5
    for number in range(20):
        broker.truncate("t", 5 + number)
        broker.produce("t", f"n{number}", {"v": "new"})
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert len(table) == 25
        broker.produce("t", "more", {"v": "new"})
        assert len(table) == 26
    assert broker.assigned == [{0: 0}, {0: 5}]


@pytest.mark.parametrize("by", ["compaction", "retention"])
def test_a_record_that_is_gone_is_no_difference(broker: FakeBroker, tmp_path: Path, by: str) -> None:
    """That compaction or retention has removed the last record says nothing: rows stay."""
    broker._topics["t"].cleanup = Cleanup("compact" if by == "compaction" else "delete", 86_400_000)
    with broker.connect(tmp_path) as context:
        assert len(context.table("t")) == 5
    broker.produce("t", "k4", {"v": "new"})
    broker.compact("t") if by == "compaction" else broker.delete_records("t", 5)
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert sorted(table.to_polars()["v"]) == ["base"] * 4 + ["new"]
        assert reasons(table) == []
    assert broker.assigned == [{0: 0}, {0: 5}]


@pytest.mark.parametrize("kind", ["table", "window", "stream"])
@pytest.mark.parametrize("grown_to", [5, 6], ids=["to the position", "beyond it"])
def test_a_marker_in_the_place_of_a_record_is_another_log(
    broker: FakeBroker, tmp_path: Path, kind: str, grown_to: int
) -> None:
    """Without compaction a record leaves the log at its start only."""
    with broker.connect(tmp_path) as context:
        assert opened(context, kind).to_polars().height == 5
    go_back(broker, 4)
    broker.skip("t")
    for number in range(5, grown_to):
        broker.produce("t", f"n{number}", {"v": "new"})
    with broker.connect(tmp_path) as context:
        rows = opened(context, kind)
        assert sorted(rows.to_polars()["v"]) == ["base"] * 3 + ["new"] * (grown_to - 4)
        assert reasons(rows) == ["the log went back: there is no record at offset 4 any more"]


@pytest.mark.parametrize("kind", ["table", "stream"])
@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
def test_a_table_that_began_at_the_end_is_read_anew(
    broker: FakeBroker, tmp_path: Path, kind: str, *, is_open: bool
) -> None:
    """No record was applied: the last one that ``start=`` skipped is compared."""
    start = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    with broker.connect(tmp_path) as context:
        rows = context.table("t", start=start) if kind == "table" else context.stream("t", start=start)
        assert rows.to_polars().height == 0
        if is_open:
            broker.hold()
        else:
            context.close()
        broker.truncate("t", 3)
        for number in range(3, 8):
            broker.produce("t", f"n{number}", {"v": "new"}, timestamp=100_000)
        broker.release()
        with broker.connect(tmp_path) if not is_open else nullcontext(context) as again:
            rows = again.table("t", start=start) if kind == "table" else again.stream("t", start=start)
            assert rows.to_polars().height == 5
            assert reasons(rows) == [REASON]


@pytest.mark.parametrize("by", ["a follower", "retention", "closing"])
def test_a_record_that_is_not_seen_is_no_difference(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A new leader may not know yet what is committed; retention goes on; who closes a table does not wait."""
    with broker.connect(tmp_path) as context:
        assert len(context.table("t")) == 5
    broker.produce("t", "k5", {"v": "new"})
    log = broker._topics["t"].partitions[0]
    first_records = FakeReader.first_records

    def late(reader: FakeReader, *arguments: Any) -> Any:
        if by == "retention":
            log.log[4] = None
        found = {} if by == "closing" else first_records(reader, *arguments)
        log.start = 5 if by == "retention" else 0
        return found

    monkeypatch.setattr(FakeReader, "first_records", late)
    if by == "a follower":
        log.open_from = 4
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert len(table) == (5 if by == "a follower" else 6)
        assert reasons(table) == []


def test_a_log_that_cannot_be_compared_is_tried_again(
    broker: FakeBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is taken for granted: the read waits until the broker has answered."""
    with broker.connect(tmp_path) as context:
        assert len(context.table("t")) == 5
    go_back(broker, 5)
    first_records = FakeReader.first_records
    faults = [BrokerUnreachableError(broker.bootstrap, "silent")] * 2

    def fragile(reader: FakeReader, *arguments: Any) -> Any:
        if faults:
            raise faults.pop()
        return first_records(reader, *arguments)

    monkeypatch.setattr(FakeReader, "first_records", fragile)
    with broker.connect(tmp_path) as context:
        assert sorted(context.table("t").to_polars()["v"]) == ["base"] * 3 + ["new"] * 2
    assert not faults


def test_what_is_remembered_tells_records_apart() -> None:
    """Key and value with their lengths, null from empty, the timestamp, and the epoch where both are known."""
    parts = [(None, None), (b"", None), (None, b""), (b"", b""), (b"ab", b"c"), (b"a", b"bc"), (b"1 a", b"")]
    records = [LastRecord.of(1, 5, *part) for part in parts]
    records += [LastRecord.of(1, 6, b"a", b"bc"), LastRecord.of(2, 5, b"a", b"bc")]
    assert len(set(records)) == len(records)
    assert all(one.is_another(other) is (one is not other) for one in records for other in records)
    epochs = [LastRecord.of(1, 5, b"a", b"bc", epoch) for epoch in (None, 7, 8)]
    assert [one.is_another(other) for one in epochs for other in epochs] == [
        *(False, False, False),
        *(False, False, True),
        *(False, True, False),
    ]


def test_a_heartbeat_of_another_leader_is_another_record(broker: FakeBroker, tmp_path: Path) -> None:
    """Records that are alike to the timestamp are told apart by who took them."""
    broker.produce("t", "beat", {"v": "beat"})
    with broker.connect(tmp_path) as context:
        assert len(context.table("t")) == 6
    broker.truncate("t", 4)
    broker.produce("t", "n4", {"v": "new"})
    broker.produce("t", "beat", {"v": "beat"})
    with broker.connect(tmp_path) as context:
        table = context.table("t")
        assert sorted(table.to_polars()["v"]) == ["base"] * 4 + ["beat", "new"]
        assert reasons(table) == ["the log went back: another record is at offset 5"]


def test_a_topic_that_is_unknown_has_no_leaders(broker: FakeBroker) -> None:
    """As on a cluster of which nothing was asked yet."""
    assert (broker.leader_epochs("other"), broker.leader_epochs("t")) == ({}, {0: 0})
