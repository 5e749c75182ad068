"""A binding on a broker made of lists: states, recovery, rebuilding, and what never gets lost on the way."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from support.waiting import wait_until

import ktframe
from ktframe.config.settings import RetryPolicy
from ktframe.errors import (
    AuthenticationError,
    BrokerUnreachableError,
    NotReadyError,
    OffsetOutOfRangeError,
    StoreError,
)
from ktframe.events import BindingState, BindingStateChanged, Reason
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.view import View
from ktframe.store.memory import MemoryStore
from ktframe.testing import FakeBroker


@pytest.fixture
def broker() -> FakeBroker:
    """Return a broker with three records of two keys on one partition."""
    broker = FakeBroker()
    for key, number in [("a", 1), ("b", 2), ("a", 3)]:
        broker.produce("t", key, {"n": number})
    return broker


def rows(table: ktframe.KTable) -> dict[str, int]:
    """Return the fresh frame as a dictionary."""
    return dict(table.to_polars().rows())


def test_states_follow_each_other_as_documented(broker: FakeBroker) -> None:
    """A table goes from created over restoring to ready, and ends stopped."""
    seen: list[BindingStateChanged] = []
    with broker.connect() as kt:
        table = kt.table("t")
        table.events.subscribe(BindingStateChanged, seen.append)
        assert rows(table) == {"a": 3, "b": 2}
    assert [(event.old, event.new) for event in seen] == [
        (BindingState.CREATED, BindingState.RESTORING),
        (BindingState.RESTORING, BindingState.READY),
        (BindingState.READY, BindingState.STOPPED),
    ]


def test_a_passing_fault_is_recovered_from(broker: FakeBroker) -> None:
    """Reading goes on where the store stands; nothing is read twice, nothing is missed."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"), ValueError("odd"))
        broker.produce("t", "c", {"n": 4})
        wait_until(lambda: len(broker.assigned) == 3, "two restarts")
        assert rows(table) == {"a": 3, "b": 2, "c": 4}
        assert (broker.assigned[0], table.status().health.restarts) == ({0: 0}, 2)
        assert all(assigned[0] >= 3 for assigned in broker.assigned[1:])
        assert table.status().health.last_error is None


def test_too_many_faults_in_a_row_fail_the_table_and_asking_again_heals_it(broker: FakeBroker) -> None:
    """After the last attempt reads raise the cause; once the fault is gone the next read starts over."""
    with broker.connect(retry=RetryPolicy(attempts=2, initial_delay=0.01, jitter=0)) as kt:
        table = kt.table("t")
        broker.fail_next(*[BrokerUnreachableError(broker.bootstrap, "no route")] * 2)
        with pytest.raises(BrokerUnreachableError, match="no route"):
            table.wait_until_ready()
        assert repr(table).startswith("KTable('t', failed")
        assert rows(table) == {"a": 3, "b": 2}


def test_a_refused_login_fails_at_once(broker: FakeBroker) -> None:
    """What time can't heal is not tried again."""
    seen: list[BindingStateChanged] = []
    with broker.connect() as kt:
        table = kt.table("t")
        table.events.subscribe(BindingStateChanged, seen.append)
        broker.fail_next(AuthenticationError(broker.bootstrap, "bad password", mechanism="PLAIN"))
        with pytest.raises(AuthenticationError, match=r"(?s)with PLAIN.*Hint: check sasl"):
            table.wait_until_ready()
        wait_until(lambda: seen[-1].new is BindingState.FAILED, "the event")
        assert (seen[-1].old, seen[-1].reason) == (BindingState.RESTORING, Reason.AUTHENTICATION)
        assert len(broker.assigned) == 1


def test_faults_far_apart_never_add_up(broker: FakeBroker) -> None:
    """A healthy spell resets the count: many faults, each after one, leave the table alive."""
    policy = RetryPolicy(attempts=2, initial_delay=0.01, max_delay=0.01, jitter=0, healthy_after=0.001)
    with broker.connect(retry=policy) as kt:
        table = kt.table("t")
        for number in range(6):
            assert len(table) == 2
            broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"))
            wait_until(lambda wanted=number + 2: len(broker.assigned) >= wanted, "a restart")
        assert rows(table) == {"a": 3, "b": 2}


def test_an_error_between_store_and_view_loses_no_row(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a batch is in the store and the view then fails, the view is filled from the store again."""
    apply = View.apply
    faults = [MemoryError("no memory for a moment")]

    def fragile(view: View, *args: Any) -> None:
        if args[0].height and faults:
            raise faults.pop()
        apply(view, *args)

    monkeypatch.setattr(View, "apply", fragile)
    with broker.connect() as kt:
        table = kt.table("t")
        assert rows(table) == {"a": 3, "b": 2}
        assert (faults, len(table)) == ([], 2)


def test_a_failing_store_fails_the_table_with_its_reason(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk ends a read at once, though it is tried again until there is space."""
    error = StoreError("/stores/t", "the disk is full")

    def full(*_: object) -> None:
        raise error

    monkeypatch.setattr(MemoryStore, "apply", full)
    with broker.connect() as kt, pytest.raises(StoreError, match="the disk is full"):
        kt.table("t").to_polars()


def test_a_recreated_topic_replaces_the_rows(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    """Rows of the old topic never show beside those of the new one, however well the offsets fit."""
    caplog.set_level(logging.INFO, "ktframe")
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        broker.create_topic("t")
        for number in range(10):
            broker.produce("t", f"new-{number}", {"n": number})
        assert rows(table) == {f"new-{number}": number for number in range(10)}
    assert "rebuilt: the topic was deleted and recreated" in caplog.text


def test_a_recreated_topic_while_away_replaces_the_rows(broker: FakeBroker, tmp_path: Path) -> None:
    """The store remembers the topic's id across sessions."""
    with broker.connect(tmp_path) as kt:
        assert len(kt.table("t")) == 2
    broker.create_topic("t")
    broker.produce("t", "x", {"m": "other"})
    with broker.connect(tmp_path) as kt:
        assert kt.table("t").to_polars().to_dicts() == [{"key": "x", "m": "other"}]


def test_a_log_that_starts_behind_the_stored_position_is_read_anew(
    broker: FakeBroker, tmp_path: Path
) -> None:
    """Deletes may have been missed, so the partition is rebuilt."""
    with broker.connect(tmp_path) as kt:
        assert len(kt.table("t")) == 2
    for number in range(5):
        broker.produce("t", "z", {"n": number})
    broker.delete_records("t", 5)
    with broker.connect(tmp_path) as kt:
        assert rows(kt.table("t")) == {"z": 4}


def test_an_offset_out_of_range_while_reading_is_looked_into(broker: FakeBroker) -> None:
    """The session is begun again and finds out what the log still has."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        broker.fail_next(OffsetOutOfRangeError(broker.bootstrap, "out of range", topic="t", partition=0))
        broker.produce("t", "c", {"n": 4})
        assert rows(table) == {"a": 3, "b": 2, "c": 4}


def test_new_partitions_are_read_from_their_beginning(broker: FakeBroker) -> None:
    """A record on a partition that did not exist a moment ago is in the next frame."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        broker.add_partitions("t", 2)
        broker.produce("t", "c", {"n": 4}, partition=2)
        assert rows(table) == {"a": 3, "b": 2, "c": 4}


def test_offsets_without_records_are_passed(broker: FakeBroker, tmp_path: Path) -> None:
    """A topic that ends in transaction markers is ready, and its end is remembered."""
    broker.skip("t", 3)
    with broker.connect(tmp_path) as kt:
        assert kt.table("t").wait_until_ready(5).is_ready
    with broker.connect(tmp_path) as kt:
        assert len(kt.table("t")) == 2
    assert broker.assigned == [{0: 0}, {0: 6}]


def test_who_waits_for_a_batch_is_told_before_its_rows_are_merged_at_leisure(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits until the table's own thread has tidied up."""
    came: list[str] = []

    def merge(view: View) -> None:
        if view.positions().get(0) == 4:  # not after the first batch
            came.append("merged")

    monkeypatch.setattr(View, "merge_when_idle", merge)
    with broker.connect() as kt:
        table = kt.table("t")
        before = rows(table)
        table.on_change(lambda event: came.append("told") if event.position == {0: 4} else None)
        broker.produce("t", "new", {"n": 7})
        assert rows(table) == {**before, "new": 7}
        wait_until(lambda: "merged" in came, "the thread to tidy up")
    assert came[0] == "told"


def test_an_open_transaction_is_not_waited_for(broker: FakeBroker) -> None:
    """Its records are not there yet; position() says how many offsets they hold back; a commit brings them."""
    with broker.connect() as kt:
        table = kt.table("t")
        broker.begin_transaction("t")
        broker.produce("t", "c", {"n": 4})
        assert rows(table) == {"a": 3, "b": 2}
        wait_until(lambda: table.position().held_back == 1, "the monitor to look")
        broker.commit_transaction("t")
        assert rows(table) == {"a": 3, "b": 2, "c": 4}
        assert table.readiness().is_ready


def test_what_is_written_meanwhile_is_not_held_back(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy topic without transactions nothing is said of open ones."""
    ask = broker.end_offsets

    def busy(*arguments: Any, **options: Any) -> dict[int, int]:
        ends = ask(*arguments, **options)
        broker.produce("t", "busy", {"n": 5})
        return ends

    with broker.connect(monitor_interval=60) as kt:
        table = kt.table("t")
        table.to_polars()
        monkeypatch.setattr(broker, "end_offsets", busy)
        table._reader.binding.check()
        assert (table.position().held_back, table.position().notices) == (0, ())


def test_attempts_that_go_on_are_no_progress(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of a table whose every session fails, after a moment, ends after ``stall_timeout``, with the cause."""

    def fail(*_: object) -> None:
        time.sleep(0.2)
        raise BrokerUnreachableError(broker.bootstrap, "gone")

    retry = RetryPolicy(initial_delay=0.2, max_delay=0.2, jitter=0)
    with broker.connect(stall_timeout=1.0, retry=retry) as kt:
        table = kt.table("t")
        assert len(table) == 2
        with monkeypatch.context() as patch:
            patch.setattr(broker, "start_offsets", fail)
            broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"))
            wait_until(lambda: table.status().health.consecutive_failures > 1, "sessions to fail")
            broker.produce("t", "c", {"n": 4})
            with pytest.raises(NotReadyError, match=r"no progress for 1 s; the last error was: .*gone"):
                table.to_polars()
        assert rows(table) == {"a": 3, "b": 2, "c": 4}


def test_nothing_says_ready_while_a_topic_is_opened_again(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that were dropped are missing until they are read again, however long Kafka takes to answer."""
    released = Event()
    ask = FakeBroker.end_offsets

    def slow(self: FakeBroker, *arguments: Any, **options: Any) -> dict[int, int]:
        if threading.current_thread().name == "ktframe-t":
            assert released.wait(60)
        return ask(self, *arguments, **options)

    with broker.connect() as kt:
        table = kt.table("t")
        table.wait_until_ready()
        end = broker.end_offsets("t", [0])[0]
        monkeypatch.setattr(FakeBroker, "end_offsets", slow)
        try:
            broker.truncate("t", end - 1)
            wait_until(lambda: table.readiness().reason is Reason.RESTORING, "the loss to be noticed")
            for _ in range(50):
                readiness = table.readiness()
                assert (readiness.is_ready, readiness.reason) == (False, Reason.RESTORING)
                time.sleep(0.01)
        finally:
            released.set()
        wait_until(lambda: table.readiness().is_ready, "the table to be ready again")


@pytest.mark.slow
def test_a_slow_computer_is_no_stall(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Work on rows that have arrived, or are loaded, may take longer than ``stall_timeout``; a hang ends the read."""
    decode, load = TopicDecoder.decode, TopicDecoder.load
    pause = 1.0

    def slow_decode(self: TopicDecoder, *arguments: Any) -> Any:
        time.sleep(pause if len(arguments[0]) else 0)
        return decode(self, *arguments)

    def slow_load(self: TopicDecoder, *arguments: Any) -> Any:
        time.sleep(pause)
        return load(self, *arguments)

    monkeypatch.setattr(TopicDecoder, "decode", slow_decode)
    monkeypatch.setattr(TopicDecoder, "load", slow_load)
    for _ in range(2):  # the second one finds rows in the store
        with broker.connect(tmp_path, stall_timeout=0.3) as kt:
            assert rows(kt.table("t")) == {"a": 3, "b": 2}
    pause = 3.0
    with (
        broker.connect(stall_timeout=0.1) as kt,
        pytest.raises(NotReadyError, match=r"no progress for 0\.1 s"),
    ):
        kt.table("t").to_polars()


@pytest.mark.parametrize("kind", ["stream", "table"])
def test_a_lost_connection_drops_no_rows_of_a_relative_start(broker: FakeBroker, kind: str) -> None:
    """Rows stay where the log has lost their records since the table was opened."""
    for key in ("c", "d"):
        broker.produce("t", key, {"n": 4}, timestamp=int(time.time() * 1000))
    with broker.connect() as kt:
        table = getattr(kt, kind)("t", start="-1h")
        assert table.to_polars().height == 2
        broker.delete_records("t", 5)
        broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"))
        wait_until(lambda: len(broker.assigned) == 2, "a restart")
        assert table.to_polars().height == 2


def test_a_cluster_that_is_away_is_an_error_not_a_wait(broker: FakeBroker) -> None:
    """A fresh read says that the cluster does not answer; what is there can still be had."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        broker.go_down(BrokerUnreachableError(broker.bootstrap, "down"))
        with pytest.raises(BrokerUnreachableError, match="no answer from Kafka"):
            table.to_polars()
        assert table.to_polars(fresh=False).height == 2
        broker.come_back()
        assert len(table) == 2


def test_a_read_that_need_not_be_fresh_shows_what_is_on_disk(broker: FakeBroker, tmp_path: Path) -> None:
    """Right after a re-open, with the reader held back, the rows of the last session are there."""
    with broker.connect(tmp_path) as kt:
        assert len(kt.table("t")) == 2
    broker.hold()
    broker.produce("t", "c", {"n": 4})
    with broker.connect(tmp_path) as kt:
        table = kt.table("t")
        assert dict(table.to_polars(fresh=False).rows()) == {"a": 3, "b": 2}
        assert table.get("c", fresh=False) is None


def test_an_unknown_topic_leaves_no_store_behind(broker: FakeBroker, tmp_path: Path) -> None:
    """A typo costs an error with a suggestion, and nothing on disk."""
    broker.create_topic("orders")
    with broker.connect(tmp_path) as kt:
        with pytest.raises(ktframe.UnknownTopicError, match=r"(?s)'oders'.*did you mean 'orders'\?"):
            kt.table("oders").to_polars()
        assert list(tmp_path.iterdir()) == []


def test_a_topic_that_is_deleted_is_followed_when_it_is_there_again() -> None:
    """Nobody reads meanwhile: what is watched goes on by itself, and says till then that there is no topic."""
    broker = FakeBroker()
    broker.produce("t", "a", {"n": 1})
    with broker.connect(monitor_interval=0.1) as context:
        table = context.table("t")
        assert len(table) == 1
        broker.delete_topic("t")
        wait_until(lambda: table.readiness().reason is Reason.UNKNOWN_TOPIC, "the loss")
        assert table.readiness().condition == "recovering"
        broker.produce("t", "b", {"n": 2})
        wait_until(lambda: table.to_polars(fresh=False)["key"].to_list() == ["b"], "the new topic")


def test_many_schema_conflicts_are_told_with_the_remedy(broker: FakeBroker) -> None:
    """Above one record in a hundred, readiness says SCHEMA_CONFLICT and names what helps."""
    with broker.connect() as kt:
        table = kt.table("t")
        assert len(table) == 2
        broker.produce("t", "c", {"n": "text"})
        assert len(table) == 2
        readiness = table.readiness()
        assert (readiness.is_ready, readiness.reason) == (True, Reason.SCHEMA_CONFLICT)
        assert "schema=" in (readiness.hint or "")


def test_waiting_ends_with_its_timeout(broker: FakeBroker) -> None:
    """wait_until_ready(timeout) raises with the time and the reason."""
    broker.hold()
    with (
        broker.connect() as kt,
        pytest.raises(ktframe.NotReadyError, match=r"RESTORING \(partitions 0\): not done after 0.2 s"),
    ):
        kt.table("t").wait_until_ready("200ms")


def test_readiness_and_refusals_are_logged(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    """Readiness changes are INFO; a refused record is named with topic, partition, offset and cause."""
    caplog.set_level(logging.INFO, "ktframe")
    broker.produce("t", "c", b"{oops")
    with broker.connect() as kt:
        assert len(kt.table("t")) == 2
    messages = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert ("INFO", "t is ready") in messages
    assert any(
        level == "WARNING" and text.startswith("t[0]@3 was refused: not JSON") for level, text in messages
    )
