"""Connection: one AdminClient for all threads, replaced where it does not find its brokers again."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ktframe.errors import ContextClosedError
from ktframe.kafka.client import Connection, answer_of

TIMEOUT = 0.4


class Client:
    """Knows its number, and whether it was ended."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ended = False

    def poll(self, timeout: float) -> None:
        """Serve no callbacks."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, *_: object) -> None:
        """Note the end."""
        self.is_ended = True


def connection() -> Connection:
    """Return one whose clients have the numbers 0, 1 and so on."""
    numbers = itertools.count()
    make: Any = lambda: Client(next(numbers))  # noqa: E731
    return Connection(make, name="Kafka")


def failing(code: int, calls: list[tuple[int, float]], until: int = 99) -> Callable[[Any, float], str]:
    """Return a request that fails until it has a client of number ``until``, and notes the client and the seconds it got."""

    def request(client: Any, seconds: float) -> str:
        calls.append((client.number, seconds))
        if client.number < until:
            raise KafkaException(KafkaError(code))
        return "answer"

    return request


def test_a_client_that_lost_its_brokers_is_replaced_while_there_is_time() -> None:
    """The one that answered before gets half of the time; the new one gets what is left, and answers."""
    asked = connection()
    assert asked.ask(lambda client, _: client.poll(0), TIMEOUT) is None
    calls: list[tuple[int, float]] = []
    assert asked.ask(failing(KafkaError._TIMED_OUT, calls, until=1), TIMEOUT) == "answer"
    assert [number for number, _ in calls] == [0] * (len(calls) - 1) + [1]
    assert calls[0][1] <= TIMEOUT / 2
    assert TIMEOUT / 4 < calls[-1][1] <= TIMEOUT / 2 + 0.1


@pytest.mark.parametrize("code", [KafkaError._AUTHENTICATION, KafkaError._TIMED_OUT])
def test_a_client_that_is_replaced_is_ended_once_nobody_uses_it(code: int) -> None:
    """Of a refused login at once: it would try again, which locks accounts. Whoever keeps the error does not keep it alive."""
    asked = connection()
    kept: list[KafkaException] = []
    with asked.client() as client:
        with pytest.raises(KafkaException) as caught:
            asked.ask(failing(code, []), TIMEOUT)
        kept.append(caught.value)
        assert not client.is_ended  # type: ignore[attr-defined]
    assert client.is_ended  # type: ignore[attr-defined]
    with asked.client() as other:
        assert other is not client


def test_an_answer_that_will_not_come_is_not_waited_for() -> None:
    """The error that says so is raised as soon as it is known."""
    refusals = iter([None, KafkaError(KafkaError._AUTHENTICATION)])
    began = monotonic()
    with pytest.raises(KafkaException) as caught:
        answer_of(Future(), 60.0, lambda: next(refusals))
    assert caught.value.args[0].code() == KafkaError._AUTHENTICATION
    assert monotonic() - began < 30


def test_a_client_that_was_replaced_is_gone_at_once() -> None:
    """An error and the future that holds it don't keep each other, and so the client's connections, alive."""
    asked = connection()
    clients: list[weakref.ref[Any]] = []

    def request(client: Any, _: float) -> None:
        clients.append(weakref.ref(client))
        answer: Future[None] = Future()
        answer.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
        answer_of(answer, TIMEOUT)

    gc.disable()
    try:
        with pytest.raises(KafkaException):
            asked.ask(request, TIMEOUT)
        assert {client() for client in clients} == {None}
    finally:
        gc.enable()


def test_a_client_that_has_not_answered_yet_has_the_whole_time() -> None:
    """Connecting may be slow; the next call has a new client."""
    asked = connection()
    calls: list[tuple[int, float]] = []
    with pytest.raises(KafkaException):
        asked.ask(failing(KafkaError._TRANSPORT, calls), TIMEOUT)
    assert {number for number, _ in calls} == {0}
    assert len(calls) > 1
    assert TIMEOUT * 0.75 < calls[0][1] <= TIMEOUT
    assert asked.ask(failing(KafkaError._TRANSPORT, calls, until=1), TIMEOUT) == "answer"


def test_a_broker_that_forgets_itself_for_a_moment_is_asked_again() -> None:
    """While a broker starts again, librdkafka may drop it and the request; the same client finds it a moment later."""
    asked = connection()
    codes = [KafkaError._DESTROY_BROKER, KafkaError._TRANSPORT]

    def request(client: Any, _: float) -> int:
        if codes:
            raise KafkaException(KafkaError(codes.pop()))
        return int(client.number)

    assert asked.ask(request, 5) == 0


def test_a_refusal_is_an_answer() -> None:
    """It is raised at once, and the client is kept."""
    asked = connection()
    calls: list[tuple[int, float]] = []
    with pytest.raises(KafkaException):
        asked.ask(failing(KafkaError.TOPIC_AUTHORIZATION_FAILED, calls), TIMEOUT)
    with asked.client() as client:
        assert client.number == 0  # type: ignore[attr-defined]
    assert len(calls) == 1


def test_a_closed_connection_is_not_asked() -> None:
    """Also where its client was dropped."""
    asked = connection()
    with pytest.raises(KafkaException):
        asked.ask(failing(KafkaError._TIMED_OUT, []), 0.05)
    asked.close()
    with pytest.raises(ContextClosedError, match="Kafka"):
        asked.ask(lambda *_: None, TIMEOUT)
