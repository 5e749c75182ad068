"""When several batches are applied as one, and that nothing is lost and nobody waits longer for that."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from ktframe.errors import BrokerUnreachableError, StoreError
from ktframe.events import BindingState, Reason
from ktframe.fold.records import RecordBatch
from ktframe.store.memory import MemoryStore
from ktframe.sync import binding as bindings
from ktframe.sync import piece as pieces
from ktframe.sync.binding import TopicBinding
from ktframe.testing import FakeBroker
from ktframe.testing.log import Log, read_log

RECORDS = 10


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    """Return a broker with ten records of one key, which come in batches of one that count as full."""
    monkeypatch.setattr(bindings, "FULL_BATCH", 0)
    monkeypatch.setattr("ktframe.sync.read_ahead._FIRST_BATCH_RECORDS", 1)
    monkeypatch.setattr("ktframe.testing.broker.read_log", partial(read_log, most=1))
    broker = FakeBroker()
    for number in range(RECORDS):
        broker.produce("t", "a", {"n": number})
    return broker


@pytest.fixture
def binding(broker: FakeBroker) -> Iterator[TopicBinding]:
    """Return a binding that begins to read, on the thread of the test."""
    with broker.connect() as kt:
        binding = kt.table("t")._reader.binding
        binding.prepare()
        binding.life.enter(BindingState.RESTORING, Reason.RESTORING)
        binding._attach()
        yield binding


def take(binding: TopicBinding, broker: FakeBroker, offset: int) -> int:
    """Let the binding take the record at ``offset``; return up to where everything is applied then."""
    binding._take(read_log(broker._topics["t"].partitions[0], 0, offset, 1))
    return binding.required().view.positions()[0]


def test_batches_wait_for_others_until_the_end_is_reached(broker: FakeBroker, binding: TopicBinding) -> None:
    """The first batch, which brings the columns, is applied at once, and so is the last one, with all between."""
    assert [take(binding, broker, offset) for offset in range(RECORDS)] == [1] * 9 + [10]


def test_what_a_read_waits_for_is_applied_at_once(broker: FakeBroker, binding: TopicBinding) -> None:
    """Though there is more to read, and others wait for that."""
    with binding.goals.waiting_for({0: 4}), binding.goals.waiting_for({0: 10}):
        assert [take(binding, broker, offset) for offset in range(6)] == [1, 1, 1, 4, 5, 6]
    assert take(binding, broker, 6) == 6


def test_partitions_that_are_applied_count_for_what_a_read_waits_for(broker: FakeBroker) -> None:
    """Only the others need to be in what is applied next."""
    broker.create_topic("two", partitions=2)
    for number in range(RECORDS):
        broker.produce("two", "a", {"n": number}, partition=number and 1)
    with broker.connect() as kt:
        binding = kt.table("two")._reader.binding
        binding.prepare()
        binding.life.enter(BindingState.RESTORING, Reason.RESTORING)
        binding._attach()
        binding._take(read_log(broker._topics["two"].partitions[0], 0, 0, 1))
        positions = binding.required().view.positions
        with binding.goals.waiting_for({0: 1, 1: 2}):
            for offset, applied in enumerate([0, 2]):
                binding._take(read_log(broker._topics["two"].partitions[1], 1, offset, 1))
                assert (positions()[0], positions()[1]) == (1, applied)


def test_a_batch_that_is_not_full_is_applied_at_once(
    broker: FakeBroker, binding: TopicBinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind it nothing has arrived that could be waited for."""
    assert [take(binding, broker, offset) for offset in range(3)] == [1, 1, 1]
    monkeypatch.setattr(bindings, "FULL_BATCH", 2)
    assert take(binding, broker, 3) == 4


def test_a_piece_is_applied_when_it_is_old(
    broker: FakeBroker, binding: TopicBinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that don't wait find rows that are a few seconds older at most."""
    assert [take(binding, broker, offset) for offset in range(3)] == [1, 1, 1]
    monkeypatch.setattr(pieces, "_SECONDS", 0)
    assert take(binding, broker, 3) == 4


def test_a_piece_that_does_not_shrink_is_applied(
    broker: FakeBroker, binding: TopicBinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one key it never grows; where nothing is overwritten it would become too large."""
    monkeypatch.setattr(pieces, "_LINES", 1)
    assert [take(binding, broker, offset) for offset in range(3)] == [1, 2, 3]


def test_refused_records_make_a_piece_large(
    broker: FakeBroker, binding: TopicBinding, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are no lines, but are kept in memory with all their bytes."""
    broker.produce("t", "a", b"-" * 1_000)
    broker.produce("t", "a", b"-" * 3_000)
    broker.produce("t", "a", {"n": RECORDS})
    binding.monitor.see({0: RECORDS + 3})
    assert [take(binding, broker, offset) for offset in range(RECORDS)] == [1] * 9 + [10]
    monkeypatch.setattr(pieces, "_BYTES", 5_000)
    assert [take(binding, broker, offset) for offset in (10, 11)] == [10, 12]


def test_what_came_before_an_error_is_applied(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next session goes on behind it, also when each session ends with an error."""

    def failing(log: Log, partition: int, position: int) -> RecordBatch:
        if position % 3 == 2:
            broker.fail_next(BrokerUnreachableError(broker.bootstrap, "gone"))
        return read_log(log, partition, position, 1)

    monkeypatch.setattr("ktframe.testing.broker.read_log", failing)
    with broker.connect() as kt:
        assert kt.table("t").to_polars()["n"].to_list() == [9]
    assert broker.assigned == [{0: 0}, {0: 3}, {0: 6}, {0: 9}]


def test_a_piece_that_can_not_be_written_is_read_again(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an error of the store nothing of it is left, neither in the view nor to be written later."""
    apply, faults = MemoryStore.apply, [StoreError("t", "no space")]

    def fragile(store: MemoryStore, changes: Any, positions: Any) -> None:
        if positions == {0: RECORDS} and faults:
            raise faults.pop()
        apply(store, changes, positions)

    monkeypatch.setattr(MemoryStore, "apply", fragile)
    with broker.connect() as kt:
        table = kt.table("t")
        with pytest.raises(StoreError, match="no space"):
            table.to_polars()
        assert table.to_polars()["n"].to_list() == [9]
    assert broker.assigned == [{0: 0}, {0: 1}]


def test_nothing_is_written_after_a_stop(broker: FakeBroker, binding: TopicBinding) -> None:
    """A table that is closed does not wait for rows that it can read again."""
    assert [take(binding, broker, offset) for offset in range(3)] == [1, 1, 1]
    binding.stop()
    binding._end_session()
    assert (binding.required().positions()[0].offset, bool(binding.required().piece)) == (1, False)
