"""Offsets by time and facts about many topics: what is made of the answers of an admin client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, Self

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from ktframe.config.settings import Settings
from ktframe.errors import AuthorizationError, BrokerUnreachableError
from ktframe.kafka.client import Connection
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.survey import Cleanup

MOVED = KafkaError.NOT_LEADER_FOR_PARTITION
Told = Mapping[tuple[str, int], Any]


class Answers:
    """A client that answers ``list_offsets`` and ``describe_configs`` as told, errors by their code."""

    def __init__(self, offsets: Callable[[str], Told], configs: Mapping[str, Any] | None = None) -> None:
        self.offsets = offsets
        self.configs = configs or {}
        self.asked: list[str] = []

    def list_offsets(
        self, asked: Mapping[TopicPartition, Any], **_: object
    ) -> dict[TopicPartition, Future[Any]]:
        """Answer each partition as told."""
        kind = type(next(iter(asked.values()))).__name__
        self.asked.append(kind)
        told = self.offsets(kind)
        return {at: _answer(told[at.topic, at.partition]) for at in asked}

    def describe_configs(self, resources: list[Any], **_: object) -> dict[Any, Future[Any]]:
        """Answer each topic as told."""
        return {each: _answer(self.configs[each.name]) for each in resources}

    def describe_topics(self, *_: object, **__: object) -> dict[str, Future[Any]]:
        """Say that the topic is there."""
        return {"t": _answer(SimpleNamespace(topic_id="id", partitions=[0, 1]))}

    def poll(self, timeout: float) -> None:
        """Serve no callbacks."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End nothing."""


def _answer(told: Any) -> Future[Any]:
    future: Future[Any] = Future()
    if isinstance(told, KafkaError):
        future.set_exception(KafkaException(told))
    elif isinstance(told, tuple):
        future.set_result(SimpleNamespace(offset=told[0], timestamp=told[1], leader_epoch=0))
    else:
        future.set_result(told)
    return future


def _cluster(answers: Answers, *, has_topic_ids: bool | None = None, timeout: float = 10.0) -> KafkaCluster:
    settings = Settings(bootstrap="localhost:1", request_timeout=timeout)
    cluster = KafkaCluster(settings, has_topic_ids=has_topic_ids)
    cluster.close()
    client: Any = answers
    cluster._connection = Connection(lambda: client, name="Kafka")
    return cluster


def _logs(kind: str) -> Told:
    at = {
        "EarliestSpec": (3, 4),
        "LatestSpec": (9, 7),
        "TimestampSpec": (5, -1),
        "MaxTimestampSpec": (6, -1),
    }[kind]
    stamp = {"TimestampSpec": 100, "MaxTimestampSpec": 200}.get(kind, -1)
    return {("t", partition): (offset, stamp if offset >= 0 else -1) for partition, offset in enumerate(at)}


def test_offsets_at_a_time_end_where_nothing_is_later() -> None:
    """The end is asked for first: what arrives in between is not skipped."""
    answers = Answers(_logs)
    assert _cluster(answers).offsets_at("t", [0, 1], 100) == {0: 5, 1: 7}
    assert answers.asked == ["LatestSpec", "TimestampSpec"]


@pytest.mark.parametrize(("at_ms", "has_topic_ids"), [(-1, None), (100, False)])
def test_where_a_time_can_not_be_looked_up_it_is_the_start(at_ms: int, has_topic_ids: bool | None) -> None:  # noqa: FBT001
    """Before 1970, and on the mock cluster: more is read than asked for, never less."""
    assert _cluster(Answers(_logs), has_topic_ids=has_topic_ids).offsets_at("t", [0, 1], at_ms) == {
        0: 3,
        1: 4,
    }


def test_offsets_at_a_time_are_asked_again_while_a_leader_moves() -> None:
    """What passes is not raised; a refusal is."""
    told = iter(
        [
            {("t", 0): KafkaError(MOVED)},
            {("t", 0): (9, -1)},
            {("t", 0): KafkaError(MOVED)},
            {("t", 0): (5, 1)},
        ]
    )
    assert _cluster(Answers(lambda _: next(told))).offsets_at("t", [0], 100) == {0: 5}
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)
    with pytest.raises(AuthorizationError):
        _cluster(Answers(lambda _: {("t", 0): refused})).offsets_at("t", [0], 100)


def test_extents_of_many_topics_are_two_questions() -> None:
    """A topic one of whose partitions is refused is left out."""
    refused = KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)

    def told(kind: str) -> Told:
        return {**_logs(kind), ("u", 0): (0, -1), ("v", 0): (0, -1), ("v", 1): refused}

    answers = Answers(told)
    found = _cluster(answers).extents({"t": 2, "u": 1, "v": 2, "w": 0})
    assert found == {"t": {0: range(3, 9), 1: range(4, 7)}, "u": {0: range(0)}, "w": {}}
    assert answers.asked == ["EarliestSpec", "LatestSpec"]


def test_extents_ask_again_for_what_passes() -> None:
    """Only for that, and not for ever."""
    left = [2]

    def told(kind: str) -> Told:
        left[0] -= 1
        return {("t", 0): (1, -1), ("t", 1): KafkaError(MOVED) if left[0] >= 0 else (2, -1)}

    answers = Answers(told)
    assert _cluster(answers).extents({"t": 2}) == {"t": {0: range(1, 1), 1: range(2, 2)}}
    assert answers.asked == ["EarliestSpec"] * 3 + ["LatestSpec"]


def test_a_partition_without_a_leader_costs_a_second_not_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other topics are told, in the end."""
    monkeypatch.setattr("ktframe.kafka.survey._WAIT_SECONDS", 0.1)
    found = _cluster(Answers(lambda _: {("t", 0): KafkaError(MOVED), ("u", 0): (1, -1)})).extents(
        {"t": 1, "u": 1}
    )
    assert found == {"u": {0: range(1, 1)}}


def test_last_timestamps_are_the_greatest_of_all_partitions() -> None:
    """Empty partitions have none, empty topics neither."""
    told = {("t", 0): (1, 200), ("t", 1): (5, 300), ("u", 0): (-1, -1), ("v", 0): (3, 0), ("v", 1): (-1, -1)}
    answers = Answers(lambda _: told)
    assert _cluster(answers).last_timestamps({"t": 2, "u": 1, "v": 2}) == {"t": 300, "u": None, "v": 0}
    assert answers.asked == ["MaxTimestampSpec"]


def test_a_cluster_that_does_not_know_the_question_tells_nothing() -> None:
    """Kafka before 3.0 has no greatest timestamp; nothing is raised."""
    old = KafkaError(KafkaError._UNSUPPORTED_FEATURE)

    def refuse(_: str) -> Told:
        raise KafkaException(old)

    assert _cluster(Answers(refuse)).last_timestamps({"t": 1}) == {"t": None}
    assert _cluster(Answers(refuse)).extents({"t": 1}) == {}


def test_cleanup_policies_are_told_where_they_may_be() -> None:
    """Always in the same order; None without the right to know."""
    configs = {
        "t": {"cleanup.policy": SimpleNamespace(value="delete,compact")},
        "u": {"cleanup.policy": SimpleNamespace(value="delete")},
        "v": KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        "w": KafkaError(KafkaError._TIMED_OUT),
    }
    cluster = _cluster(Answers(_logs, configs))
    assert cluster.cleanup_policies("tuvw") == {"t": "compact,delete", "u": "delete", "v": None, "w": None}
    assert (cluster.cleanup_policy("u"), cluster.cleanup_policy("v")) == ("delete", None)
    assert cluster.cleanup_policies([]) == {}


def test_a_cleanup_that_nobody_tells_is_not_one_that_may_not_be_known() -> None:
    """A refusal is an answer, silence is none: what is asked of one topic is raised then."""
    configs = {
        "t": {
            "cleanup.policy": SimpleNamespace(value="compact"),
            "delete.retention.ms": SimpleNamespace(value="5"),
        },
        "u": KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED),
        "v": KafkaError(KafkaError._UNSUPPORTED_FEATURE),
        "w": KafkaError(KafkaError._TIMED_OUT),
    }
    cluster = _cluster(Answers(_logs, configs), timeout=0.3)
    assert [cluster.cleanup(topic) for topic in "tuv"] == [Cleanup("compact", 5), Cleanup(), Cleanup()]
    with pytest.raises(BrokerUnreachableError):
        cluster.cleanup("w")


def test_the_mock_cluster_is_not_asked_for_cleanup_policies() -> None:
    """It would let the question time out."""
    assert _cluster(Answers(_logs), has_topic_ids=False).cleanup_policies(["t"]) == {"t": None}


def test_the_specs_are_what_these_answers_are_told_by() -> None:
    """The names of confluent-kafka's own classes."""
    specs = (
        OffsetSpec.earliest(),
        OffsetSpec.latest(),
        OffsetSpec.for_timestamp(1),
        OffsetSpec.max_timestamp(),
    )
    names = [type(spec).__name__ for spec in specs]
    assert names == ["EarliestSpec", "LatestSpec", "TimestampSpec", "MaxTimestampSpec"]
