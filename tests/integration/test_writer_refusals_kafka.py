"""KafkaWriter on a real broker that does not answer, or refuses: what was written, what wasn't, and what is not known."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.writers import (
    NEAR_SECONDS,
    MakeWriter,
    as_soon_as,
    committed,
    ctrl_c_as_soon_as,
    numbered,
    places,
    scram,
    writers,
)

from ktframe.errors import AuthenticationError, AuthorizationError, WriteError
from ktframe.kafka.transaction import AtomicDelivery

Topic = Callable[..., str]


@pytest.fixture
def make_writer(kafka: KafkaTopics) -> Iterator[MakeWriter]:
    """Return a function that makes writers."""
    with writers(kafka) as make:
        yield make


def test_broker_goes_away(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """After a timeout what is said to be written is there, what is said to have failed isn't, the rest is unknown."""
    name = broker.create_topic(topic(), partitions=3)
    records = numbered(200_000, value=b"x" * 500)
    writer = make_writer()
    started = time.monotonic()

    with (
        as_soon_as(lambda: sum(broker.end_offsets(name).values()) > 20_000, broker.kill),
        pytest.raises(WriteError, match="the timeout passed") as caught,
    ):
        writer.send(name, records, timeout=5)
    took = time.monotonic() - started
    broker.start()

    found, error = places(broker, name), caught.value
    there = {index for index, key in enumerate(records.keys) if key in found}
    assert took < 12
    assert set(error.written) <= there <= set(error.written) | set(error.unknown)
    assert sorted([*error.written, *error.failed, *error.unknown]) == list(range(200_000))
    assert error.written
    assert error.unknown
    assert error.failed
    assert f"{len(error.written)} of 200000" in str(error)
    writer.send(name, numbered(1, word="next"), timeout=NEAR_SECONDS)


def test_broker_is_away_from_the_start(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """When no broker answers nothing is sent, which is certain."""
    name = broker.create_topic(topic())
    writer = make_writer()
    broker.stop()
    try:
        with pytest.raises(WriteError, match=r"0 of 10.*no answer from Kafka") as caught:
            writer.send(name, numbered(10), timeout=0.5)
    finally:
        broker.start()

    assert sorted(caught.value.failed) == list(range(10))
    writer.send(name, numbered(10), timeout=NEAR_SECONDS)
    assert len(places(broker, name)) == 10


def test_commit_without_an_answer(
    broker: KafkaBroker, topic: Topic, make_writer: MakeWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the answer to the commit does not come in time, it is said that nothing is known, and the next send works."""
    name = broker.create_topic(topic())
    writer = make_writer()
    commit = AtomicDelivery._commit

    def pausing(delivery: AtomicDelivery, *arguments: Any) -> None:
        broker.pause()
        commit(delivery, *arguments)

    with monkeypatch.context() as patched:
        patched.setattr(AtomicDelivery, "_commit", pausing)
        try:
            with pytest.raises(WriteError, match="0 of 100") as caught:
                writer.send(name, numbered(100), timeout=3, atomic=True)
        finally:
            broker.resume()

    assert (caught.value.written, caught.value.failed) == ([], {})
    assert caught.value.unknown == list(range(100))
    writer.send(name, numbered(100, word="next"), timeout=NEAR_SECONDS, atomic=True)
    assert Counter(str(key)[:4] for key in committed(broker, name))["b'ne"] == 100


def test_a_transaction_cut_off_by_another(kafka: KafkaTopics, topic: Topic, make_writer: MakeWriter) -> None:
    """A writer whose transactional.id was taken over says that nothing was written, and goes on with a new producer."""
    name = kafka.create_topic(topic())
    writer = make_writer()
    writer.send(name, numbered(1, word="a"), timeout=NEAR_SECONDS, atomic=True)
    [producer] = writer._pool._idle

    kafka.transactional_producer(producer.transactional_id)
    with pytest.raises(WriteError, match="0 of 1 ") as caught:
        writer.send(name, numbered(1, word="b"), timeout=NEAR_SECONDS, atomic=True)

    assert list(caught.value.failed) == [0]
    writer.send(name, numbered(1, word="c"), timeout=NEAR_SECONDS, atomic=True)
    assert committed(kafka, name) == [b"a-0", b"c-0"]


def test_missing_rights(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """Who may not see a topic, or only read it, is told that writing is not allowed; who may write it can."""
    name = broker.create_topic(topic())
    writer = make_writer(**scram(broker))

    for grant in (lambda: None, lambda: broker.grant_read(broker.scram_user, name)):
        grant()
        with pytest.raises(WriteError, match=f"0 of 3.*write topic '{name}'(?s:.*)ask for WRITE") as caught:
            writer.send(name, numbered(3), timeout=NEAR_SECONDS)
        assert sorted(caught.value.failed) == [0, 1, 2]
        assert isinstance(caught.value.__cause__, AuthorizationError)
        assert caught.value.is_fatal

    broker.grant_write(broker.scram_user, name)
    writer.send(name, numbered(3), timeout=NEAR_SECONDS)
    assert len(places(broker, name)) == 3


def test_transactions_need_a_right_of_their_own(
    broker: KafkaBroker, topic: Topic, make_writer: MakeWriter
) -> None:
    """Without rights on transactional ids an atomic send is refused and says which; with them it works."""
    name = broker.create_topic(topic())
    broker.grant_write(broker.scram_user, name)
    writer = make_writer(**scram(broker))

    with pytest.raises(WriteError, match=r'0 of 3(?s:.*)prefix "ktframe-"') as caught:
        writer.send(name, numbered(3), timeout=NEAR_SECONDS, atomic=True)
    assert isinstance(caught.value.__cause__, AuthorizationError)
    assert sorted(caught.value.failed) == [0, 1, 2]

    broker.grant_transactions(broker.scram_user, "ktframe-")
    try:
        writer.send(name, numbered(3), timeout=NEAR_SECONDS, atomic=True)
    finally:
        broker.revoke_transactions(broker.scram_user, "ktframe-")
    assert len(committed(broker, name)) == 3


def test_transaction_without_the_right_to_write(
    broker: KafkaBroker, topic: Topic, make_writer: MakeWriter
) -> None:
    """An atomic send to a topic that may only be read says so, not merely that it failed."""
    name = broker.create_topic(topic())
    broker.grant_read(broker.scram_user, name)
    broker.grant_transactions(broker.scram_user, "ktframe-")
    try:
        with pytest.raises(WriteError, match=f"0 of 3.*write topic '{name}'") as caught:
            make_writer(**scram(broker)).send(name, numbered(3), timeout=NEAR_SECONDS, atomic=True)
    finally:
        broker.revoke_transactions(broker.scram_user, "ktframe-")

    assert isinstance(caught.value.__cause__, AuthorizationError)
    assert sorted(caught.value.failed) == [0, 1, 2]


def test_wrong_password(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """A refused login ends the send at once, not at its timeout, and the password is in no text."""
    name = broker.create_topic(topic())
    writer = make_writer(**scram(broker, password="swordfish-77"))
    started = time.monotonic()

    with pytest.raises(WriteError, match="refused the login") as caught:
        writer.send(name, numbered(3), timeout=NEAR_SECONDS)

    assert time.monotonic() - started < NEAR_SECONDS / 2
    assert isinstance(caught.value.__cause__, AuthenticationError)
    assert (
        "swordfish" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r} {caught.value.failed}"
    )


@pytest.mark.parametrize("atomic", [False, True])
def test_interrupt(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter, *, atomic: bool) -> None:
    """Ctrl-C ends a send that waits within moments; its cause knows the state, and the next send works."""
    name = broker.create_topic(topic())
    writer = make_writer()
    writer.send(name, numbered(1), timeout=NEAR_SECONDS, atomic=atomic)
    started = time.monotonic()
    broker.pause()
    try:
        with (
            ctrl_c_as_soon_as(lambda: time.monotonic() > started + 1),
            pytest.raises(KeyboardInterrupt) as caught,
        ):
            writer.send(name, numbered(3, word="b"), timeout=NEAR_SECONDS, atomic=atomic)
    finally:
        broker.resume()

    assert time.monotonic() - started < 12
    assert isinstance(caught.value.__cause__, WriteError)
    assert len(caught.value.__cause__.failed) == 3
    writer.send(name, numbered(1, word="c"), timeout=NEAR_SECONDS, atomic=atomic)
    assert committed(broker, name) == [b"k-0", b"c-0"]


def test_interrupt_in_the_middle(broker: KafkaBroker, topic: Topic, make_writer: MakeWriter) -> None:
    """Ctrl-C in the middle of a large send leaves it known what was written."""
    name = broker.create_topic(topic(), partitions=3)
    records = numbered(200_000, value=b"x" * 500)
    moment = ctrl_c_as_soon_as(lambda: sum(broker.end_offsets(name).values()) > 1_000)

    with moment, pytest.raises(KeyboardInterrupt) as caught:
        make_writer().send(name, records, timeout=NEAR_SECONDS)

    error = caught.value.__cause__
    assert isinstance(error, WriteError)
    found = places(broker, name)
    there = {index for index, key in enumerate(records.keys) if key in found}
    assert set(error.written) <= there <= set(error.written) | set(error.unknown)
    assert error.written
    assert error.failed
