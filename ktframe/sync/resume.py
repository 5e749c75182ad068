"""From which offset each partition is read, and what of the store is no longer true."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from ktframe.kafka.cluster import Cluster, TopicFacts
from ktframe.sync.materializer import Materializer

logger = logging.getLogger("ktframe.sync")


@dataclass(frozen=True, slots=True)
class Plan:
    """``positions`` to read from; ``forget`` names the partitions whose rows must go first, with the reason."""

    positions: dict[int, int]
    forget: dict[int, str] = field(default_factory=dict)


def plan_resume(
    stored: Mapping[int, int],
    starts: Mapping[int, int],
    ends: Mapping[int, int],
    *,
    is_recreated: bool = False,
) -> Plan:
    """Compare stored positions with the log (``starts`` inclusive, ``ends`` exclusive, all partitions of the topic).

    A stored position outside the log is never moved into it: offsets were lost or start anew, so the rows are built
    again from the start of the log (Kafka Streams wipes its local store for the same reasons).
    """
    forget: dict[int, str] = {}
    for partition, position in stored.items():
        if is_recreated:
            forget[partition] = "the topic was deleted and made anew"
        elif partition not in starts:
            forget[partition] = "the partition is gone"
        elif position < starts[partition]:
            forget[partition] = (
                f"the log starts at {starts[partition]}, behind the stored position {position}"
            )
        elif position > ends[partition]:
            forget[partition] = f"the log ends at {ends[partition]}, before the stored position {position}"
    kept = {partition: position for partition, position in stored.items() if partition not in forget}
    return Plan({partition: kept.get(partition, start) for partition, start in starts.items()}, forget)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A topic, and the ``positions`` to read from: the store holds all before them.

    ``passed`` counts the offsets before them that the log still has.
    """

    facts: TopicFacts
    positions: dict[int, int]
    passed: int


def resume(materializer: Materializer, cluster: Cluster, topic: str) -> Resumption:
    """Compare the store with the topic as it is now, and drop what is no longer true."""
    facts = cluster.topic(topic)
    partitions, store = range(facts.partitions), materializer.store
    stored = {partition: position.offset for partition, position in store.positions().items()}
    is_recreated = None not in (store.topic_id, facts.topic_id) and store.topic_id != facts.topic_id
    starts = cluster.start_offsets(topic, partitions)
    written = cluster.end_offsets(topic, partitions, committed=False)
    plan = plan_resume(stored, starts, written, is_recreated=is_recreated)
    for partition, why in plan.forget.items():
        logger.warning("%s[%d] is built again from the start of the log: %s", topic, partition, why)
    if plan.forget or store.topic_id != facts.topic_id:
        materializer.forget(None if is_recreated else sorted(plan.forget), topic_id=facts.topic_id)
    materializer.advance(plan.positions)
    return Resumption(facts, plan.positions, sum(plan.positions.values()) - sum(starts.values()))
