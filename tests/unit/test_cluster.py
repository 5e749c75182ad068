"""KafkaCluster: what it concludes from what an admin client answers."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import OFFSET_INVALID, IsolationLevel, KafkaError, KafkaException

from ktframe.config.settings import Settings
from ktframe.errors import (
    AuthenticationError,
    AuthorizationError,
    BrokerError,
    BrokerUnreachableError,
    UnknownTopicError,
)
from ktframe.kafka.client import Connection
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.protocol import Look, TopicFacts


class Answers:
    """A client that describes a topic of two partitions as told: by an id, or by an error's code."""

    def __init__(self, told: list[str | int]) -> None:
        self.told = told

    def __enter__(self) -> None:
        """Be ended."""

    def __exit__(self, *_: object) -> None:
        """Be ended."""

    def describe_topics(self, *_: object, **__: object) -> dict[str, Future[Any]]:
        """Answer as told."""
        future: Future[Any] = Future()
        told = self.told.pop(0)
        if isinstance(told, int):
            future.set_exception(KafkaException(KafkaError(told)))
        else:
            future.set_result(SimpleNamespace(topic_id=told, partitions=[0, 1]))
        return {"orders": future}

    def list_offsets(self, request: Any, **_: object) -> dict[Any, Future[Any]]:
        """Answer for partition 0 only, as librdkafka does where the broker of partition 1 is silent."""
        futures: dict[Any, Future[Any]] = {}
        for at in request:
            futures[at] = Future()
            futures[at].set_result(
                SimpleNamespace(offset=7 if at.partition == 0 else OFFSET_INVALID, leader_epoch=None)
            )
        return futures

    def list_topics(self, **_: object) -> Any:
        """Return the topic, which has no id here."""
        return SimpleNamespace(topics={"orders": SimpleNamespace(partitions=[0, 1], error=None)})

    def poll(self, timeout: float) -> None:
        """Serve no callbacks."""


def _cluster(*told: str | int, has_topic_ids: bool | None = None) -> KafkaCluster:
    settings = Settings(bootstrap="localhost:1", request_timeout=0.1)
    cluster = KafkaCluster(settings, has_topic_ids=has_topic_ids)
    cluster.close()
    client: Any = Answers(list(told))
    cluster._connection = Connection(lambda: client, name="Kafka")
    return cluster


def _tell(cluster: KafkaCluster, *told: str | int) -> None:
    client: Any = cluster._connection._make()
    client.told[:] = told


PASSING = [
    KafkaError._TIMED_OUT,
    KafkaError._TRANSPORT,
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError.REQUEST_TIMED_OUT,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
]


@pytest.mark.parametrize("code", PASSING)
def test_a_passing_failure_is_no_lack_of_topic_ids(code: int) -> None:
    """It is raised, and the next question is answered with the topic's id: a topic recreated is still noticed."""
    cluster = _cluster()
    for topic_id in ("id-1", "id-2"):
        _tell(cluster, *[code] * 100)  # it may be asked more than once
        with pytest.raises(BrokerError):
            cluster.topic("orders")
        _tell(cluster, topic_id)
        assert cluster.topic("orders") == TopicFacts(2, topic_id)


def test_no_offset_of_a_silent_broker_is_an_error() -> None:
    """A partition whose broker has not answered has no end: -1001 is no offset that a reader could have passed."""
    cluster = _cluster(*["id-1"] * 100)
    assert cluster.end_offsets("orders", [0]) == {0: 7}
    cluster._timeout = 0.2
    for ask in (cluster.end_offsets, cluster.start_offsets):
        with pytest.raises(
            BrokerUnreachableError, match=r"no answer .*the broker that leads partition 1 is silent"
        ):
            ask("orders", [0, 1])
    assert cluster.extents({"orders": 2}) == {}
    assert cluster.extents({"orders": 1}) == {"orders": {0: range(7, 7)}}


def test_a_look_is_what_is_asked_one_by_one() -> None:
    """Once it is known that there are topic ids; not for another number of partitions, nor after an error that may pass."""
    cluster = _cluster(
        "id-1", "id-1", "id-1", KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART
    )
    assert cluster.look("orders", 2) is None
    cluster.topic("orders")
    client: Any = cluster._connection._make()
    levels: list[IsolationLevel] = []

    def list_offsets(request: Any, isolation_level: IsolationLevel, **_: object) -> dict[Any, Future[Any]]:
        levels.append(isolation_level)
        futures = {at: Future[Any]() for at in request}
        for future in futures.values():
            future.set_result(SimpleNamespace(offset=10 - len(levels), leader_epoch=len(levels)))
        return futures

    client.list_offsets = list_offsets
    assert cluster.look("orders", 2) == Look(TopicFacts(2, "id-1"), {0: 9, 1: 9}, {0: 8, 1: 8})
    # In this order what is committed is never more than what is written.
    assert levels == [IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED]
    assert cluster.leader_epochs("orders") == {0: 2, 1: 2}
    assert [cluster.look("orders", 3), cluster.look("orders", 2), cluster.look("orders", 2)] == [None] * 3
    assert client.told == []


@pytest.mark.parametrize("code", [KafkaError._TIMED_OUT, KafkaError._AUTHENTICATION])
def test_a_look_that_nobody_answers_is_not_tried_one_by_one(code: int) -> None:
    """That would take as long again, and count as another login that was refused."""
    cluster = _cluster("id-1", *[code] * 100)
    cluster.topic("orders")
    with pytest.raises((BrokerUnreachableError, AuthenticationError)):
        cluster.look("orders", 2)


def test_a_look_past_a_silent_broker_is_an_error_in_the_end() -> None:
    """First it is asked one by one, since another broker may lead by then; an answer after all of the time is none."""
    cluster = _cluster(*["id-1"] * 100)
    cluster.topic("orders")
    assert cluster.look("orders", 2) is None
    cluster._timeout = -1.0
    with pytest.raises(BrokerUnreachableError, match="the broker that leads partition 1 is silent"):
        cluster.look("orders", 2)


def test_a_leader_epoch_of_before_is_replaced() -> None:
    """The client keeps it, and is refused, until it is asked for the topic."""
    cluster = _cluster(*["id-1"] * 100)
    client: Any = cluster._connection._make()
    answered = client.list_offsets

    def fenced(request: Any, **_: object) -> dict[Any, Future[Any]]:
        if len(client.told) < 100:
            return dict(answered(request))
        future: Future[Any] = Future()
        future.set_exception(KafkaException(KafkaError(KafkaError.FENCED_LEADER_EPOCH)))
        return dict.fromkeys(request, future)

    client.list_offsets = fenced
    cluster._timeout = 5.0
    assert cluster.end_offsets("orders", [0]) == {0: 7}


def test_a_timeout_says_that_no_broker_answered() -> None:
    """Who is waiting learns what it is: something that may pass."""
    with pytest.raises(BrokerUnreachableError) as caught:
        _cluster(*[KafkaError._TIMED_OUT] * 100).topic("orders")
    assert not caught.value.is_fatal


@pytest.mark.parametrize("code", [KafkaError.UNSUPPORTED_VERSION, KafkaError._UNSUPPORTED_FEATURE])
def test_a_cluster_that_says_so_has_no_topic_ids(code: int) -> None:
    """Old clusters don't know the question: they are asked once, and otherwise from then on."""
    cluster = _cluster(code)
    assert [cluster.topic("orders") for _ in range(2)] == [TopicFacts(2, None)] * 2


def test_a_cluster_with_topic_ids_keeps_them() -> None:
    """Once an id was seen, an old broker among new ones is an error."""
    cluster = _cluster("id-1", KafkaError.UNSUPPORTED_VERSION)
    cluster.topic("orders")
    with pytest.raises(BrokerError):
        cluster.topic("orders")


def test_a_cluster_that_is_said_to_have_no_topic_ids_is_not_asked() -> None:
    """The mock cluster would let the question time out."""
    cluster = _cluster(has_topic_ids=False)
    assert cluster.topic("orders") == TopicFacts(2, None)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, UnknownTopicError),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AuthorizationError),
    ],
)
def test_a_refusal_is_what_it_is(code: int, kind: type[BrokerError]) -> None:
    """A topic that is gone, or that may not be seen, is not looked for in another way."""
    with pytest.raises(kind):
        _cluster(code).topic("orders")
