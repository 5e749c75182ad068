"""Decides at which offset each partition is read on, and which stored rows must be dropped and rebuilt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from ktframe.columns import OFFSET
from ktframe.errors import RegistryError
from ktframe.fold.records import LastRecord, Position, RecordBatch
from ktframe.formats.schemas import UNKNOWN_SCHEMA
from ktframe.formats.wire import describe_ref, schema_ref_of
from ktframe.kafka.protocol import Cluster, TopicFacts
from ktframe.store.protocol import Rebuild
from ktframe.sync import cuts
from ktframe.sync.beginning import Beginning, begins, keep_begins
from ktframe.sync.log_check import FirstRecords, remember, removed, replaced
from ktframe.sync.materializer import Materializer
from ktframe.sync.presence import Moment

logger = logging.getLogger("ktframe.sync")


@dataclass(frozen=True, slots=True)
class Plan:
    """``positions`` to read from; ``forget`` are the partitions whose rows must be dropped first, with the reason.

    ``gaps`` are the (first, end) offsets that the log lost before they were read, where the rows are kept anyway.
    """

    positions: dict[int, int]
    forget: dict[int, str] = field(default_factory=dict)
    gaps: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Log:
    """The log as it is now, all partitions: ``starts`` inclusive, ``ends`` exclusive.

    ``wanted`` are the offsets at which reading is to begin; ``is_moving`` means that they move with the clock.
    """

    starts: Mapping[int, int]
    ends: Mapping[int, int]
    wanted: Mapping[int, int] = field(default_factory=dict)
    is_moving: bool = False
    is_recreated: bool = False

    def first(self, partition: int) -> int:
        """Return the offset from which a partition without stored rows is read."""
        return max(self.starts[partition], self.wanted.get(partition, 0))


_NONE: Mapping[int, str] = MappingProxyType({})
_NOWHERE: Mapping[int, int] = MappingProxyType({})


def _outside(partition: int, position: int, log: Log) -> str | None:
    """Return why a stored position is none of the log's; None where it may be one."""
    if log.is_recreated:
        return "the topic was deleted and recreated"
    if partition not in log.starts:
        return "the partition no longer exists"
    if log.is_moving and position < log.wanted.get(partition, 0):
        return f"start= has moved on to {log.wanted[partition]}, the store ends at {position}"
    if position > log.ends[partition]:
        return f"the log ends at {log.ends[partition]}, before the stored position {position}"
    return None


def plan_resume(
    stored: Mapping[int, int],
    log: Log,
    *,
    keeps_history: bool = False,
    outdated: Mapping[int, str] = _NONE,
    readable: Mapping[int, str] = _NONE,
    extended: Mapping[int, str] = _NONE,
    begins: Mapping[int, int] = _NOWHERE,
) -> Plan:
    """Compare stored positions with the log.

    A stored position outside the log is never moved into it: records were lost or the topic was recreated, so the rows
    are rebuilt from the start of the log (Kafka Streams wipes its local store for the same reasons). With
    ``keeps_history`` rows are independent of each other, and stay where the log has lost records after them.
    ``outdated`` are the partitions whose rows may not be those of the log, though the position is in it, with the reason.
    ``readable`` are the partitions with records that could not be decoded and now can be: they are rebuilt where the
    log still has everything. So are the ``extended``, of whose rows retention now keeps more than it did. ``begins`` are the
    offsets at which the rows begin: a clock that ran ahead has left out what a start that moves with it now wants.
    """
    forget: dict[int, str] = {}
    gaps: dict[int, tuple[int, int]] = {}
    for partition, position in stored.items():
        outside = _outside(partition, position, log)
        if outside is not None:
            forget[partition] = outside
        elif partition in outdated:
            forget[partition] = outdated[partition]
        elif log.is_moving and log.first(partition) < begins.get(partition, 0):
            first = log.first(partition)
            forget[partition] = f"start= is at {first} now, the stored rows begin at {begins[partition]}"
        elif position < log.starts[partition] and keeps_history:
            gaps[partition] = (position, log.starts[partition])
        elif partition in readable and log.starts[partition] == 0:
            forget[partition] = readable[partition]
        elif position < log.starts[partition]:
            forget[partition] = (
                f"the log starts at {log.starts[partition]}, after the stored position {position}"
            )
        elif partition in extended:
            forget[partition] = extended[partition]
    kept = {partition: position for partition, position in stored.items() if partition not in forget}
    kept |= {partition: end for partition, (_, end) in gaps.items()}
    return Plan({p: kept.get(p, log.first(p)) for p in log.starts}, forget, gaps)


@dataclass(frozen=True, slots=True)
class Resumption:
    """A topic, and the ``positions`` to read from: everything before them is written.

    ``emptied`` are the partitions that have no rows any more, with the reason; not those that keep showing theirs while they
    are rebuilt. ``dropped`` counts the rows that a moving start has left behind. ``skips_records`` says whether the log
    has, or had, records before the start.
    """

    facts: TopicFacts
    positions: dict[int, int]
    emptied: dict[int, str] = field(default_factory=dict)
    dropped: int = 0
    skips_records: bool = False


def comparable(positions: Mapping[int, Position], log: Log) -> dict[int, LastRecord]:
    """Return the last applied records that the log may still have, of the positions that are in it."""
    return {
        partition: position.last
        for partition, position in positions.items()
        if position.last is not None
        and position.last.offset >= log.starts.get(partition, position.offset)
        and position.offset <= log.ends[partition]
    }


def resume(
    materializer: Materializer,
    cluster: Cluster,
    topic: str,
    beginning: Beginning,
    *,
    first_records: FirstRecords,
) -> Resumption:
    """Compare the store with the topic as it is now, and begin to rebuild the partitions whose rows may be others.

    With ``first_records`` the log is compared.
    """
    facts = cluster.topic(topic)
    partitions, store, presence = range(facts.partitions), materializer.store, materializer.presence
    asked = presence.now()
    written = materializer.positions()
    stored = {partition: position.offset for partition, position in written.items()}
    log = Log(
        starts=cluster.start_offsets(topic, partitions),
        ends=cluster.end_offsets(topic, partitions, committed=False),
        wanted={} if beginning.at_ms is None else cluster.offsets_at(topic, partitions, beginning.at_ms),
        is_moving=beginning.is_moving,
        is_recreated=None not in (store.topic_id, facts.topic_id) and store.topic_id != facts.topic_id,
    )
    keeps_history = materializer.decoder.identity.keeps_history
    leaders = dict(cluster.leader_epochs(topic))
    presence.attach(cluster.cleanup(topic), written, keeps_history=keeps_history)
    applied = {} if log.is_recreated else comparable(written, log)
    found = first_records({p: record.offset for p, record in applied.items()}) if applied else {}
    outdated = replaced(applied, found)
    if "compact" not in (presence.cleanup.policy or "compact"):
        outdated |= removed(applied, found, first_records, cluster, topic)
    extended, cut = _dropped_too_early(materializer, log.starts)
    plan = plan_resume(
        stored,
        log,
        keeps_history=keeps_history,
        outdated=_missed(materializer, stored, log) | outdated,
        readable=_readable_now(materializer),
        extended=extended,
        begins=begins(store),
    )
    for partition, why in plan.forget.items():
        logger.warning("%s[%d] is rebuilt: %s", topic, partition, why)
    for partition, (first, end) in plan.gaps.items():
        logger.warning(
            "%s[%d]: offsets %d to %d were lost before they were read", topic, partition, first, end
        )
    emptied = _give_up(materializer, plan, log, facts.topic_id, asked)
    # After the store: what an error leaves as it was must not count as just begun.
    presence.begin((p for p in partitions if p not in stored or p in plan.forget), asked)
    _keep_begins(materializer, stored, plan, log, beginning)
    presence.look(asked, log.ends, {p: at for p, at in stored.items() if p not in plan.forget})
    for partition, rows in cut.items():
        if partition not in plan.forget:
            why = "retention has dropped them before, and the topic no longer has all records"
            logger.warning("%s[%d]: %s older rows stay away: %s", topic, partition, f"{rows:,}", why)
    materializer.extended()
    materializer.epochs.compared(materializer.positions(), log.ends, leaders)
    begun = _begin_replacement(materializer, log.starts)
    if begun is not None:
        logger.warning("%s: %s", materializer.name, begun)
    materializer.advance(
        plan.positions, lost={partition: end - first for partition, (first, end) in plan.gaps.items()}
    )
    remember(store, materializer.schema, log.starts, log.ends, first_records)
    dropped = 0
    if log.is_moving and keeps_history:
        dropped = materializer.drop(OFFSET, log.wanted, is_retention=False)
    elif log.is_moving:
        dropped = materializer.remove_before(log.wanted)
    if begun is not None:
        emptied = {**dict.fromkeys(partitions, begun), **emptied}
    return Resumption(facts, plan.positions, emptied, dropped, skips_records=any(log.wanted.values()))


def _dropped_too_early(
    materializer: Materializer, starts: Mapping[int, int]
) -> tuple[dict[int, str], dict[int, int]]:
    """Return what must be rebuilt where retention keeps more than it did, see ``cuts.to_rebuild``."""
    if not materializer.is_cut_short:
        return {}, {}
    return cuts.to_rebuild(materializer.positions(), materializer.written.lines(), starts)


def _give_up(
    materializer: Materializer, plan: Plan, log: Log, topic_id: str | None, asked: Moment
) -> dict[int, str]:
    """Drop the rows of partitions that are gone, or begin to rebuild those of ``plan``, whose log was ``asked`` for.

    Returns which were dropped, with the reason.
    """
    # The rows of a topic that was deleted are not those of the one that has its name now.
    gone = {p: why for p, why in plan.forget.items() if log.is_recreated or p not in log.starts}
    if gone or materializer.store.topic_id != topic_id:
        materializer.forget(None if log.is_recreated else sorted(gone), topic_id=topic_id)
    materializer.forget_deletes(log.starts)
    again = {p: why for p, why in plan.forget.items() if p not in gone}
    if again:
        starts = {p: Position(plan.positions[p], present=asked.wall) for p in again}
        materializer.rebuild({p: Rebuild(why, starts[p]) for p, why in again.items()})
    return gone


def _keep_begins(
    materializer: Materializer, stored: Mapping[int, int], plan: Plan, log: Log, beginning: Beginning
) -> None:
    """Keep from where on partitions are read that a relative start moves, before what is below it is dropped."""
    if not beginning.is_relative:
        return
    kept = {p: at for p, at in begins(materializer.store).items() if p in stored and p not in plan.forget}
    new = {p: at for p, at in plan.positions.items() if p not in stored or p in plan.forget}
    keep_begins(materializer.store, {p: max(at, log.wanted.get(p, 0)) for p, at in kept.items()} | new)


def _begin_replacement(materializer: Materializer, starts: Mapping[int, int]) -> str | None:
    """Return the line that says why the store is built anew, if it is and that was not said yet.

    ``starts`` are the first offsets that the log still has.
    """
    if materializer.replacement is None:
        return None
    identity = materializer.decoder.identity
    bounds = {p: identity.lower_bound(p, at) for p, at in starts.items() if at > 0}
    # With retention the rows may be such as it would have dropped by now.
    is_countable = identity.keeps_history and identity.retention is None
    return materializer.replacement.begin(
        bounds, keeps_history=identity.keeps_history, is_countable=is_countable
    )


def _missed(materializer: Materializer, stored: Mapping[int, int], log: Log) -> dict[int, str]:
    """Return the partitions that are rebuilt since deletes may have been missed, with the reason.

    Where it is only assumed that the topic is compacted, its retention may have removed records whose rows are there: to
    rebuild these would lose them for certain.
    """
    presence = materializer.presence
    missed = presence.missed(stored, log.ends)
    if not missed or presence.cleanup.policy is not None or log.is_recreated:
        return missed
    incomplete = cuts.incomplete(materializer.written.lines(), log.starts)
    kept = {p: missed.pop(p) for p in incomplete & missed.keys()}
    for partition, why in kept.items():
        presence.leave(partition, why)
        logger.warning("%s: %s", materializer.name, presence.notices[partition])
    return missed


def must_resume(materializer: Materializer, batch: RecordBatch) -> bool:
    """Say whether the log must be looked at again, as at the beginning, before ``batch`` is applied.

    Kafka's client goes on after a pause of any length, and under another leader, without a word.
    """
    known = materializer.written.positions() | materializer.piece.positions
    if materializer.presence.has_missed({p: at for p, at in batch.positions.items() if at != known.get(p)}):
        logger.info("%s: reading went on after a long pause", materializer.name)
        return True
    if materializer.epochs.have_risen(batch):
        logger.info("%s has another leader: its log is compared with what was read", materializer.name)
        return True
    return False


def _readable_now(materializer: Materializer) -> dict[int, str]:
    """Return the partitions with records that were refused for lack of a schema that is available now.

    A registry that does not answer is asked only once, so that opening a table does not wait for it again and again.
    """
    reasons: dict[int, str] = {}
    with suppress(RegistryError):
        _find_readable(materializer, reasons)
    return reasons


def _find_readable(materializer: Materializer, reasons: dict[int, str]) -> None:
    decoder, is_known, rebuilds = materializer.decoder, dict[bytes, bool](), materializer.store.rebuilds()
    for record in materializer.store.refused():
        is_settled = record.partition in reasons or record.partition in rebuilds
        if UNKNOWN_SCHEMA not in record.reason or is_settled:
            continue
        for payload, schemas in ((record.value, decoder.value_schemas), (record.key, decoder.key_schemas)):
            schema_ref = schema_ref_of(payload or b"")
            if schemas is None or not schema_ref:
                continue
            if schema_ref not in is_known:
                is_known[schema_ref] = schemas.has_schema(payload or b"")
            if is_known[schema_ref]:
                reasons[record.partition] = (
                    f"{describe_ref(schema_ref)}, without which records could not be read, is available now"
                )
