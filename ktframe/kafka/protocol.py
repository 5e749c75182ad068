"""What the rest of ktframe needs to know of a cluster, whoever tells it: Kafka, or a fake one in tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from ktframe.kafka.survey import Cleanup


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """A topic as it is now; ``topic_id`` changes when it is recreated, None where the cluster has no ids."""

    partitions: int
    topic_id: str | None


@dataclass(frozen=True, slots=True)
class Look:
    """A topic at one moment: of each partition the offset after all that is ``written``, and after what is committed."""

    facts: TopicFacts
    written: dict[int, int]
    ends: dict[int, int]


class Cluster(Protocol):
    """What the rest of ktframe needs to know from Kafka. Any thread may call it."""

    @property
    def bootstrap(self) -> str:
        """The address, as it appears in messages."""

    def cluster_id(self) -> str:
        """Return Kafka's id of the cluster."""

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of every topic that may be seen, internal ones left out."""

    def topic(self, name: str) -> TopicFacts:
        """Return the number of partitions and the id of a topic."""

    def start_offsets(self, topic: str, partitions: Iterable[int]) -> dict[int, int]:
        """Return the first offset that the log still holds, per partition."""

    def end_offsets(self, topic: str, partitions: Iterable[int], *, committed: bool = True) -> dict[int, int]:
        """Return the offset after the last record, without those of open transactions if ``committed``."""

    def look(self, topic: str, partitions: int) -> Look | None:
        """Return what ``topic`` and ``end_offsets`` return, in one round trip; None where they have to be asked one by one."""

    def leader_epochs(self, topic: str) -> Mapping[int, int]:
        """Return the leader epoch of each partition that the last ``end_offsets`` came from; asks nothing."""

    def offsets_at(self, topic: str, partitions: Iterable[int], at_ms: int) -> dict[int, int]:
        """Return the offset of the first record from ``at_ms`` (ms since 1970) on, per partition; the end without one.

        For a time before 1970, and where the cluster has no lookup, it is the start of the log: more is read, never less.
        """

    def cleanup_policy(self, topic: str) -> str | None:
        """Return ``delete``, ``compact`` or ``compact,delete``; None where this user may not know."""

    def cleanup(self, topic: str) -> Cleanup:
        """Return the policy, and for how long tombstones are kept; both None where this user may not know.

        Raises where nobody answers, which says nothing of the topic.
        """

    def extents(self, topics: Mapping[str, int]) -> dict[str, dict[int, range]]:
        """Return the offsets that the logs of many topics hold; ``topics`` has their numbers of partitions.

        They include open transactions. Topics whose offsets are not known are left out.
        """

    def cleanup_policies(self, topics: Iterable[str]) -> dict[str, str | None]:
        """Return the cleanup policy of many topics."""

    def last_timestamps(self, topics: Mapping[str, int]) -> dict[str, int | None]:
        """Return the greatest timestamp (ms) of a record of each topic, None where there is none or it is unknown."""
