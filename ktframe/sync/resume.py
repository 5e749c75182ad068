"""From which offset each partition is read, and what of the store is no longer true."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from ktframe.columns import OFFSET
from ktframe.config.moments import Start
from ktframe.errors import RegistryError
from ktframe.formats.schemas import UNKNOWN_SCHEMA
from ktframe.formats.wire import describe_ref, schema_ref_of
from ktframe.kafka.cluster import Cluster, TopicFacts
from ktframe.sync.materializer import Materializer

logger = logging.getLogger("ktframe.sync")


@dataclass(frozen=True, slots=True)
class Plan:
    """``positions`` to read from; ``forget`` names the partitions whose rows must go first, with the reason.

    ``gaps`` are (first, end) of the offsets that the log lost before they were read, where the rows stay all the same.
    """

    positions: dict[int, int]
    forget: dict[int, str] = field(default_factory=dict)
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Log:
    """The log as it is now, all partitions: ``starts`` inclusive, ``ends`` exclusive.

    ``wanted`` are the offsets at which reading shall begin; ``is_moving`` says that they move with the clock.
    """

    starts: Mapping[int, int]
    ends: Mapping[int, int]
    wanted: Mapping[int, int] = field(default_factory=dict)
    is_moving: bool = False
    is_recreated: bool = False

    def first(self, partition: int) -> int:
        """Return where a partition is read from when nothing of it is stored."""
        return max(self.starts[partition], self.wanted.get(partition, 0))


_NONE: Mapping[int, str] = MappingProxyType({})


def plan_resume(
    stored: Mapping[int, int],
    log: Log,
    *,
    keeps_history: bool = False,
    readable: Mapping[int, str] = _NONE,
) -> Plan:
    """Compare stored positions with the log.

    A stored position outside the log is never moved into it: offsets were lost or start anew, so the rows are built
    again from the start of the log (Kafka Streams wipes its local store for the same reasons). Rows that stand for
    themselves (``keeps_history``) outlive what the log has lost behind them. ``readable`` are the partitions with
    records that could not be read and can be now: they are built again where the log still has all.
    """
    forget: dict[int, str] = {}
    gaps: dict[int, tuple[int, int]] = {}
    for partition, position in stored.items():
        if log.is_recreated:
            forget[partition] = "the topic was deleted and made anew"
        elif partition not in log.starts:
            forget[partition] = "the partition is gone"
        elif log.is_moving and position < log.wanted.get(partition, 0):
            forget[partition] = (
                f"start= has moved on to {log.wanted[partition]}, the store ends at {position}"
            )
        elif position > log.ends[partition]:
            forget[partition] = (
                f"the log ends at {log.ends[partition]}, before the stored position {position}"
            )
        elif position < log.starts[partition] and keeps_history:
            gaps[partition] = (position, log.starts[partition])
        elif partition in readable and log.starts[partition] == 0:
            forget[partition] = readable[partition]
        elif position < log.starts[partition]:
            forget[partition] = (
                f"the log starts at {log.starts[partition]}, behind the stored position {position}"
            )
    kept = {partition: position for partition, position in stored.items() if partition not in forget}
    kept |= {partition: end for partition, (_, end) in gaps.items()}
    return Plan({p: kept.get(p, log.first(p)) for p in log.starts}, forget, gaps)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A topic, and the ``positions`` to read from: the store holds all before them.

    ``passed`` counts the offsets before them that the log still has. ``rebuilt`` are the partitions whose rows were
    dropped, with the reason.
    """

    facts: TopicFacts
    positions: dict[int, int]
    passed: int
    rebuilt: dict[int, str] = field(default_factory=dict)


def resume(
    materializer: Materializer, cluster: Cluster, topic: str, start: Start | None, now_ms: int
) -> Resumption:
    """Compare the store with the topic as it is now, and drop what is no longer true."""
    facts = cluster.topic(topic)
    partitions, store = range(facts.partitions), materializer.store
    stored = {partition: position.offset for partition, position in store.positions().items()}
    log = Log(
        starts=cluster.start_offsets(topic, partitions),
        ends=cluster.end_offsets(topic, partitions, committed=False),
        wanted={} if start is None else cluster.offsets_at(topic, partitions, start.moment(now_ms)),
        is_moving=start is not None and start.is_relative,
        is_recreated=None not in (store.topic_id, facts.topic_id) and store.topic_id != facts.topic_id,
    )
    keeps_history = materializer.decoder.identity.keeps_history
    plan = plan_resume(stored, log, keeps_history=keeps_history, readable=_readable_now(materializer))
    for partition, why in plan.forget.items():
        logger.warning("%s[%d] is built again: %s", topic, partition, why)
    for partition, (first, end) in plan.gaps.items():
        logger.warning(
            "%s[%d]: offsets %d to %d were lost before they were read", topic, partition, first, end
        )
    if plan.forget or store.topic_id != facts.topic_id:
        forget = None if log.is_recreated else sorted(plan.forget)
        materializer.forget(forget, topic_id=facts.topic_id)
    materializer.advance(
        plan.positions, lost={partition: end - first for partition, (first, end) in plan.gaps.items()}
    )
    if log.is_moving and keeps_history:
        materializer.drop(OFFSET, log.wanted)
    elif log.is_moving:
        materializer.remove_before(log.wanted)
    passed = sum(plan.positions.values()) - sum(log.first(partition) for partition in partitions)
    return Resumption(facts, plan.positions, passed, plan.forget)


def _readable_now(materializer: Materializer) -> dict[int, str]:
    """Return the partitions with records that were refused for want of a schema which is there now.

    A registry that does not answer is asked once: whoever opens a table while it is away waits no longer.
    """
    found: dict[int, str] = {}
    with suppress(RegistryError):
        _look_again(materializer, found)
    return found


def _look_again(materializer: Materializer, found: dict[int, str]) -> None:
    decoder, asked = materializer.decoder, dict[bytes, bool]()
    for record in materializer.store.refused():
        if UNKNOWN_SCHEMA not in record.reason or record.partition in found:
            continue
        for payload, schemas in ((record.value, decoder.value_schemas), (record.key, decoder.key_schemas)):
            schema_ref = schema_ref_of(payload or b"")
            if schemas is None or not schema_ref:
                continue
            if schema_ref not in asked:
                asked[schema_ref] = schemas.has_schema(payload or b"")
            if asked[schema_ref]:
                found[record.partition] = (
                    f"{describe_ref(schema_ref)}, under which records could not be read, is known now"
                )
