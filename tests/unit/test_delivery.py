"""The parts of a KafkaWriter, where no broker can be made to behave as they need it."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from ktframe.config.settings import Settings
from ktframe.errors import AuthorizationError, BrokerError, DamagedRecordsError, WriteError
from ktframe.kafka.delivery import Delivery
from ktframe.kafka.errors import translate
from ktframe.kafka.outgoing import OutgoingRecords
from ktframe.kafka.producer import IdempotentProducer, ProducerKind
from ktframe.kafka.producer_pool import ProducerPool
from ktframe.kafka.transaction import AtomicDelivery

NEAR_SECONDS = 60.0
NOWHERE = Settings(bootstrap="localhost:1")


def numbered(count: int) -> OutgoingRecords:
    """Return so many records with different keys."""
    return OutgoingRecords([b"%d" % number for number in range(count)], [b"v"] * count)


def _message(partition: int, offset: int | None) -> SimpleNamespace:
    return SimpleNamespace(partition=lambda: partition, offset=lambda: offset)


def _large() -> KafkaError:
    return KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)


@pytest.fixture
def producer() -> Iterator[IdempotentProducer]:
    """Yield a producer that reaches nobody."""
    producer = IdempotentProducer(NOWHERE, ProducerKind())
    producer.begin("t")
    yield producer
    producer.close()


@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c", None]), max_size=12),
    refused=st.lists(st.sets(st.integers(0, 11)), min_size=4, max_size=4),
)
def test_order_of_a_key_whatever_is_too_large(keys: list[bytes | None], refused: list[set[int]]) -> None:
    """Whichever records a broker refuses at whichever size of batches, those of a key are in the log in their order."""
    delivery = Delivery("t", OutgoingRecords(keys, [b"v"] * len(keys)))
    log: list[int] = []
    for too_large in refused:
        for index in delivery._rest:
            delivery._is_handed_over[index] = True
            is_refused = index in too_large
            delivery._note(index, _large() if is_refused else None, _message(0, len(log)))
            log += [] if is_refused else [index]
        if not delivery.retry_in_smaller_batches():
            break

    assert sorted(log) == delivery.written()
    for key in {*keys} - {None}:
        of_key = [index for index in log if keys[index] == key]
        assert of_key == sorted(of_key)


def test_records_too_large_together_do_not_overtake(producer: IdempotentProducer) -> None:
    """Of a refused batch goes again what no later record of the same key has passed; keyless records always do."""
    delivery = Delivery("t", OutgoingRecords([b"a", b"b", None, b"a", b"c"], [b"v"] * 5))
    delivery._is_handed_over = bytearray([1] * 5)
    for index in (0, 1, 2, 4):
        delivery._note(index, _large(), None)
    delivery._note(3, None, _message(0, 7))

    assert delivery.retry_in_smaller_batches()
    assert list(delivery._rest) == [1, 2, 4]
    for index in (1, 2, 4):
        delivery._note(index, None, _message(0, index))
    assert not delivery.retry_in_smaller_batches()
    assert list(delivery.failed(producer, "?")) == [0]
    assert "a later record of its key" in delivery.failed(producer, "?")[0]
    assert delivery.cause(producer) is not None
    assert "batch_size=" in str(delivery.hint)


def test_what_was_sent_and_not_answered_is_not_known(producer: IdempotentProducer) -> None:
    """A record that was dropped after it was handed over may have been written; one that was not handed over wasn't."""
    delivery = Delivery("t", numbered(4))
    delivery._is_handed_over = bytearray([1, 1, 1, 0])
    delivery._note(0, None, _message(0, 0))
    delivery._note(1, KafkaError(KafkaError._PURGE_INFLIGHT), None)
    delivery._note(2, KafkaError(KafkaError.INVALID_RECORD), None)

    assert delivery.written() == [0]
    failed = delivery.failed(producer, "time was over")
    assert failed[3] == "not sent: time was over"
    assert "INVALID_RECORD" in failed[2]
    assert sorted(failed) == [2, 3]


@pytest.mark.parametrize(("has_delivered", "certain"), [(False, [0, 1]), (True, [])])
def test_a_producer_that_was_never_let_in_sent_nothing(
    producer: IdempotentProducer, monkeypatch: pytest.MonkeyPatch, *, has_delivered: bool, certain: list[int]
) -> None:
    """Without rights from the start nothing was sent; where they were taken away in between, that is not known."""

    def refuse(_: float) -> int:
        raise AuthorizationError(NOWHERE.bootstrap, "no", verb="write")

    producer.has_delivered = has_delivered
    monkeypatch.setattr(producer, "flush", refuse)
    delivery = Delivery("t", numbered(2))
    with pytest.raises(AuthorizationError):
        delivery.run(producer, time.monotonic() + NEAR_SECONDS)
    assert sorted(delivery.failed(producer, "no")) == certain


def test_ctrl_c_that_the_client_loses(producer: IdempotentProducer) -> None:
    """Where the client has only a SystemError for a Ctrl-C in a callback, it is a Ctrl-C again."""

    def lose() -> int:
        message = "returned NULL without setting an exception"
        raise SystemError(message)

    with pytest.raises(KeyboardInterrupt):
        producer._wait(lose)


def test_an_unusable_producer_hands_on_its_transactional_id() -> None:
    """The transactional.id of one that failed is used again, which ends the transaction it may have left open."""
    pool = ProducerPool(NOWHERE)
    with pool.lend(ProducerKind(is_transactional=True), "t") as first:
        first.is_unusable = True
    with pool.lend(ProducerKind(is_transactional=True), "t") as second:
        assert second is not first
        assert second.transactional_id == first.transactional_id
    pool.close()


def test_an_old_producer_is_not_lent() -> None:
    """One that was idle for long is closed: brokers have hung up on it, or forgotten it."""
    pool = ProducerPool(NOWHERE)
    with pool.lend(ProducerKind(), "t") as first:
        pass
    first.idle_since -= 301
    with pool.lend(ProducerKind(), "t") as second:
        assert second is not first
    pool.close()


def test_an_aborted_transaction_says_what_was_wrong(producer: IdempotentProducer) -> None:
    """The record that was refused has its own reason, the others that of the transaction."""
    delivery = AtomicDelivery("t", numbered(3))
    delivery._note(1, _large(), None)
    delivery._note(2, KafkaError(KafkaError._PURGE_QUEUE), None)

    failed = delivery.failed(producer, "one was refused")

    assert failed[0] == failed[2] == "the transaction was not committed: one was refused"
    assert "MSG_SIZE_TOO_LARGE" in failed[1]


@pytest.mark.parametrize(("verb", "rights"), [("read", "READ"), ("write", "WRITE")])
def test_missing_rights_are_those_of_what_was_to_be_done(verb: str, rights: str) -> None:
    """Reading asks for READ, writing for WRITE; so do transactional ids."""
    for code in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED):
        text = str(translate(KafkaError(code), bootstrap="b", topic="t", verb=verb))
        assert f"allow this user to {verb} topic 't'" in text
        assert f"ask for {rights} and DESCRIBE" in text


def test_a_write_error_survives_pickling_and_shows_a_few_keys() -> None:
    """Its text counts all kinds and names the first of each, long keys cut short."""
    error = WriteError(
        "b:9092",
        "no space",
        topic="t",
        total=9,
        written=[0, 1, 2, 3],
        failed={4: "why"},
        unknown=[5, 6, 7, 8],
        keys={0: b"a", 1: b"b", 2: b"c", 4: None, 5: b"x" * 500, 6: b"y", 7: b"z"},
    )

    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own

    assert str(again) == str(error)
    assert "4 of 9 records were written to topic 't': no space" in str(error)
    assert "not written: 1 (keys None)" in str(error)
    assert "not known: 4 (keys b'xxx" in str(error)
    assert "written: 4 (keys b'a', b'b', b'c', ...)" in str(error)
    assert len(str(error)) < 600


def test_only_records_are_damaged() -> None:
    """A bad message is a damaged record where it has a partition, else a response that can't be read: this may pass."""
    bad = KafkaError(KafkaError._BAD_MSG, "failed")
    damaged = translate(bad, bootstrap="b", topic="t", partition=0)
    assert (type(damaged), damaged.is_fatal) == (DamagedRecordsError, True)
    other = translate(bad, bootstrap="b", topic="t")
    assert (type(other), other.is_fatal) == (BrokerError, False)
