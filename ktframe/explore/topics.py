"""What ``ktframe.topics()`` and ``ktframe.inspect()`` read: sizes of topics, and samples of their records.

Every look is bounded in time and in records, and stores nothing.
"""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Final, TypeAlias

import polars as pl

from ktframe.clock import SystemClock
from ktframe.errors import BrokerError, ConfigurationError
from ktframe.explore.inspection import Inspection
from ktframe.explore.sample import TopicSample, few_bytes, sizes, timestamps
from ktframe.fold.event_time import SHOWN_TIME, as_shown_times
from ktframe.fold.records import RecordBatch
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.schemas import without_registry
from ktframe.kafka.protocol import Cluster
from ktframe.kafka.sampler import OffsetRange, OpenSampler, RangesByTopic, Sample, Sampler

logger = logging.getLogger("ktframe")

Extent: TypeAlias = Mapping[int, range]
"""The offsets that each partition of a topic holds."""

_TOPICS: Final = pl.Schema(
    {
        "topic": pl.String(),
        "partitions": pl.Int32(),
        "records": pl.Int64(),
        "bytes": pl.Int64(),
        "cleanup_policy": pl.String(),
        "last_timestamp": SHOWN_TIME,
    }
)

_PARTITIONS: Final = {"partition": pl.Int32(), "start": pl.Int64(), "end": pl.Int64(), "records": pl.Int64()}
_TOPIC_RECORDS = 25
_TOPIC_PARTITIONS = 8
_MOST_PARTITIONS = 2_000
_TOPICS_SECONDS = 2.0
_OLDEST_SECONDS = 1.5
_NEWEST_SECONDS = 3.0
_RATE_RECORDS = 3_000
_MOST_SAMPLES = 10_000
_MOST_BYTES = 2**24
"""Records are no more bytes together, unpacked: they are decoded several times."""


def topics_frame(
    cluster: Cluster, open_sampler: OpenSampler, seconds: float = _TOPICS_SECONDS
) -> pl.DataFrame:
    """Return one row per topic, sorted by name, without internal topics.

    It asks the cluster about all topics at once, then reads up to 25 of the newest records of up to eight partitions of
    each topic, for ``seconds`` at most.

    Returns
    -------
    polars.DataFrame
        ``topic`` (String), ``partitions`` (Int32), ``records`` (Int64), ``bytes`` (Int64), ``cleanup_policy``
        (String), ``last_timestamp`` (``Datetime("ms", "UTC")``). ``records`` is end minus start over all partitions,
        an upper bound: offsets of compacted records and of transaction markers count. ``bytes`` is that many times the
        mean size of key and value in the sample. A value is null where rights are missing, nothing could be read in
        time, or there is none.

    Raises
    ------
    BrokerError
        When the cluster does not return its topics.
    """
    topics = {name: count for name, count in sorted(cluster.topics().items()) if not name.startswith("__")}
    extents = cluster.extents(topics)
    policies = cluster.cleanup_policies(topics)
    last_timestamps = cluster.last_timestamps(topics)
    samples = _newest_of_each(extents, open_sampler, seconds)
    rows = []
    for name, count in topics.items():
        batch = samples.get(name, RecordBatch())
        records = _records(extents[name]) if name in extents else None
        last = last_timestamps[name]
        rows.append(
            (
                name,
                count,
                records,
                _bytes(records, batch),
                policies[name],
                _newest(batch) if last is None else last,
            )
        )
    frame = pl.DataFrame(rows, schema={**_TOPICS, "last_timestamp": pl.Int64()}, orient="row")
    return frame.with_columns(as_shown_times(pl.col("last_timestamp")).alias("last_timestamp"))


def _newest_of_each(
    extents: Mapping[str, Extent], open_sampler: OpenSampler, seconds: float
) -> dict[str, RecordBatch]:
    by_topic = {name: extent for name, whole in extents.items() if (extent := _non_empty(whole))}
    if not by_topic:
        return {}
    most = min(_TOPIC_PARTITIONS, max(1, _MOST_PARTITIONS // len(by_topic)))
    wanted = {}
    for name, extent in by_topic.items():
        largest = heapq.nlargest(most, extent, key=lambda partition: len(extent[partition]))
        wanted[name] = _newest_offsets(
            {partition: extent[partition] for partition in largest}, _TOPIC_RECORDS
        )
    try:
        with closing(open_sampler()) as sampler:
            return {name: sample.batch for name, sample in sampler.read(wanted, seconds).items()}
    except BrokerError as error:
        logger.info("no records of the topics could be read: %s", error)
        return {}


def inspect_topic(
    cluster: Cluster,
    open_sampler: OpenSampler,
    topic: str,
    sample: int = 100,
    fetch_schema: Callable[[bytes], SchemaDocument] = without_registry,
) -> Inspection:
    """Return the size of a topic, the formats and columns of its newest records, and how long loading it may take.

    It reads the oldest record of each partition and a few thousand of the newest, for less than five seconds; of these it
    looks at no more than 16 MiB.
    ``load_seconds`` is how long all records would take at the rate at which these were read and decoded.

    Raises
    ------
    ConfigurationError
        When ``sample`` is not between 1 and 10,000.
    UnknownTopicError
        When there is no such topic.
    AuthorizationError
        When the rights to describe or read it are missing.
    BrokerError
        When the cluster does not answer, or refuses a read for another reason.
    """
    if not 1 <= sample <= _MOST_SAMPLES:
        message = f"sample={sample}: it must be between 1 and {_MOST_SAMPLES:,} records."
        raise ConfigurationError(message, "to have all rows, ask for ktframe.table(...).")
    count = cluster.topic(topic).partitions
    starts = cluster.start_offsets(topic, range(count))
    ends = cluster.end_offsets(topic, range(count), committed=False)
    extent = {
        partition: range(starts[partition], max(starts[partition], ends[partition]))
        for partition in range(count)
    }
    records = replace(_read_sample(open_sampler, topic, extent, sample), fetch=fetch_schema)
    last = cluster.last_timestamps({topic: count})[topic]
    facts = {
        "topic": topic,
        "partitions": count,
        "records": _records(extent),
        "bytes": _bytes(_records(extent), records.newest),
        "cleanup_policy": cluster.cleanup_policy(topic),
        "first_timestamp": _oldest(records.oldest),
        "last_timestamp": _newest(records.newest) if last is None else last,
    }
    return Inspection(
        topic=topic,
        taken_at=SystemClock().now(),
        summary=records.summary(facts),
        samples=records.samples(sample),
        columns=records.columns(),
        partitions=_partitions_frame(extent),
        schema_ids=records.schema_ids(),
        times=records.times(),
        types=records.types(),
        deletes=records.deletes(),
        additions=records.additions(),
        readings=records.readings(),
        headers=records.header_names(),
        left_out=records.left_out,
    )


def _read_sample(open_sampler: OpenSampler, topic: str, whole: Extent, sample: int) -> TopicSample:
    """Read the oldest and the newest records of a topic."""
    extent = _non_empty(whole)
    if not extent:
        return TopicSample(RecordBatch(), RecordBatch(), 0.0)
    first = {partition: OffsetRange(offsets.start, 1) for partition, offsets in extent.items()}
    count = math.ceil(max(sample, _RATE_RECORDS) / len(extent))
    with closing(open_sampler()) as sampler:
        oldest = _read(sampler, {topic: first}, _OLDEST_SECONDS)
        # Only the newest are timed: the consumer connects while it reads the oldest.
        started = time.perf_counter()
        wanted = _newest_offsets(extent, count)
        newest = _read(sampler, {topic: wanted}, _NEWEST_SECONDS)
        if not newest.batch:
            # The last offsets may have been compacted away or aborted: then the records are before them.
            started = time.perf_counter()
            wanted = {partition: OffsetRange(offsets.start, count) for partition, offsets in extent.items()}
            newest = _read(sampler, {topic: wanted}, _NEWEST_SECONDS)
        seconds = time.perf_counter() - started
    if newest.failure is not None and not newest.batch:
        raise newest.failure
    batch = few_bytes(newest.batch, _MOST_BYTES)
    read = sum(offsets.count for offsets in wanted.values()) if newest.is_large else len(newest.batch)
    share = len(batch) / max(len(newest.batch), 1)
    return TopicSample(oldest.batch, batch, seconds * share, left_out=read - len(batch))


def _read(sampler: Sampler, ranges: RangesByTopic, seconds: float) -> Sample:
    return next(iter(sampler.read(ranges, seconds).values()))


def _non_empty(extent: Extent) -> dict[int, range]:
    return {partition: offsets for partition, offsets in extent.items() if offsets}


def _newest_offsets(extent: Extent, count: int) -> dict[int, OffsetRange]:
    return {
        partition: OffsetRange(max(offsets.start, offsets.stop - count), min(count, len(offsets)))
        for partition, offsets in extent.items()
    }


def _records(extent: Extent) -> int:
    return sum(map(len, extent.values()))


def _bytes(records: int | None, batch: RecordBatch) -> int | None:
    """Return the size of ``records`` records that are as large on average as those of ``batch``."""
    if not records or not batch:
        return 0 if records == 0 else None
    return round(records * sum(sizes(batch)) / len(batch))


def _oldest(batch: RecordBatch) -> int | None:
    return min(timestamps(batch), default=None)


def _newest(batch: RecordBatch) -> int | None:
    return max(timestamps(batch), default=None)


def _partitions_frame(extent: Extent) -> pl.DataFrame:
    rows = [
        (partition, offsets.start, offsets.stop, len(offsets))
        for partition, offsets in sorted(extent.items())
    ]
    return pl.DataFrame(rows, schema=_PARTITIONS, orient="row")
