"""Looking at real topics: offsets in time, policies, samples of every kind, rights that are missing."""

from __future__ import annotations

import time
from collections.abc import Callable

import polars as pl
import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)
from support.kafka_broker import KafkaBroker
from support.kafka_records import answer
from support.kafka_topics import KafkaTopics
from support.waiting import wait_until

from ktframe.context.context import Context
from ktframe.errors import AuthorizationError, BrokerError, UnknownTopicError

Connect = Callable[..., Context]
Name = Callable[..., str]

START_MS = 1_790_000_000_000


def test_offsets_at_a_time(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """A moment leads to the first record from then on, however times jump, and to the end where there is none."""
    name = kafka.create_topic(topic(), partitions=3)
    kafka.produce(
        name, [(b"k", b"v", 0, START_MS + at) for at in (0, 10, 5, 30)] + [(b"k", b"v", 1, START_MS)]
    )
    cluster = connect()._clients.cluster

    assert cluster.offsets_at(name, range(3), START_MS) == {0: 0, 1: 0, 2: 0}
    assert cluster.offsets_at(name, range(3), START_MS + 1) == {0: 1, 1: 1, 2: 0}
    assert cluster.offsets_at(name, range(3), START_MS + 10) == {0: 1, 1: 1, 2: 0}
    assert cluster.offsets_at(name, range(3), START_MS + 11) == {0: 3, 1: 1, 2: 0}
    assert cluster.offsets_at(name, range(3), START_MS + 31) == {0: 4, 1: 1, 2: 0}

    kafka.delete_records(name, {0: 2})
    assert cluster.offsets_at(name, [0], -1) == {0: 2}
    assert cluster.offsets_at(name, [0], 0) == {0: 2}


def test_a_record_of_an_open_transaction_is_not_skipped(
    kafka: KafkaTopics, topic: Name, connect: Connect
) -> None:
    """A reader that starts at a record of an open transaction sees it once it is committed."""
    name = kafka.create_topic(topic())
    producer = kafka.transactional_producer(f"{name}-writer")
    producer.begin_transaction()
    kafka.produce(name, [(b"k", b"v", 0, START_MS)], producer=producer)
    cluster = connect()._clients.cluster
    try:
        assert cluster.offsets_at(name, [0], START_MS) == {0: 0}
        assert cluster.offsets_at(name, [0], START_MS + 1) == {0: 1}
    finally:
        producer.abort_transaction(10)


def test_policies_and_last_timestamps_of_many_topics(
    kafka: KafkaTopics, topic: Name, connect: Connect
) -> None:
    """Each fact of many topics is asked for once; an empty topic has no timestamp."""
    plain = kafka.create_topic(topic("plain"), partitions=2)
    compacted = kafka.create_topic(topic("compacted"), cleanup_policy="compact")
    both = kafka.create_topic(topic("both"), cleanup_policy="delete,compact")
    kafka.produce(
        plain, [(b"k", b"v", 0, START_MS + 7), (b"k", b"v", 1, START_MS + 9), (b"k", b"v", 1, START_MS)]
    )
    cluster = connect()._clients.cluster

    assert cluster.cleanup_policies([plain, compacted, both]) == {
        plain: "delete",
        compacted: "compact",
        both: "compact,delete",
    }
    assert cluster.last_timestamps({plain: 2, compacted: 1}) == {plain: START_MS + 9, compacted: None}
    assert cluster.extents({plain: 2, both: 1}) == {plain: {0: range(1), 1: range(2)}, both: {0: range(0)}}


def test_topics(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """The survey has records, bytes, policy and time of each topic within its deadline."""
    full = kafka.create_topic(topic("full"), partitions=4)
    wide = kafka.create_topic(topic("wide"), partitions=64, cleanup_policy="compact")
    empty = kafka.create_topic(topic("empty"))
    kafka.produce(
        full, [(b"k%03d" % number, b"v" * 96, number % 4, START_MS + number) for number in range(1_000)]
    )
    kafka.produce(wide, [(b"k", b"v" * 9, number, START_MS) for number in range(64)])
    context = connect()

    started = time.monotonic()
    found = context.topics()
    assert time.monotonic() - started < 10

    assert found["topic"].is_sorted()
    assert not found["topic"].str.starts_with("__").any()
    rows = {row["topic"]: row for row in found.filter(pl.col("topic").is_in([full, wide, empty])).to_dicts()}
    assert {name: (row["partitions"], row["records"], row["bytes"]) for name, row in rows.items()} == {
        full: (4, 1_000, 100_000),
        wide: (64, 64, 640),
        empty: (1, 0, 0),
    }
    assert [rows[name]["cleanup_policy"] for name in (full, wide)] == ["delete", "compact"]
    times = dict(found.select("topic", pl.col("last_timestamp").dt.epoch("ms")).rows())
    assert (times[full], times[wide], times[empty]) == (START_MS + 999, START_MS, None)


def test_inspect_json(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """A topic with tombstones and missing keys shows formats, columns, shares, samples and partitions."""
    name = kafka.create_topic(topic(), partitions=2)
    records = [(b"k%d" % n, b'{"id": %d, "tags": ["x"]}' % n, n % 2, START_MS + n) for n in range(90)]
    records += [(b"k0", None, 0, START_MS + 100), (None, b'{"id": 1.5}', 1, START_MS + 200)]
    kafka.produce(name, records)

    found = connect().inspect(name, sample=5)

    row = found.summary.drop("load_seconds", "bytes", "first_timestamp", "last_timestamp").row(0)
    assert row == (name, 2, 92, "delete", "string", "json", pytest.approx(1 / 92), pytest.approx(1 / 92))
    assert found.summary.select(pl.col("first_timestamp", "last_timestamp").dt.epoch("ms")).row(0) == (
        START_MS,
        START_MS + 200,
    )
    assert found.samples.drop("timestamp", "headers").rows()[:3] == [
        (1, 45, None, '{"id": 1.5}', 11),
        (0, 45, "k0", None, 2),
        (1, 44, "k89", '{"id": 89, "tags": ["x"]}', 28),
    ]
    assert found.samples.height == 5
    assert dict(found.columns.select("column", "dtype").rows()) == {"id": "Float64", "tags": "List(String)"}
    assert found.partitions.rows() == [(0, 0, 46, 46), (1, 0, 46, 46)]
    assert repr(found).startswith(f'ktframe.table("{name}")  # json values, string keys, about 92 records')


@pytest.mark.parametrize(
    ("key", "value", "call"),
    [
        ((7).to_bytes(4, "big"), b"\x89PNG\x00\xff", 'value="bytes", key_format="int"'),
        ((7).to_bytes(8, "big"), b"plain text", 'value="string", key_format="long"'),
        (b"k", b"\x00\x00\x00\x00\x2a\x0aorder", ""),
    ],
)
def test_inspect_other_formats(
    kafka: KafkaTopics, topic: Name, connect: Connect, key: bytes, value: bytes, call: str
) -> None:
    """Integer keys, binary values and schema ids lead to the call that reads them."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(key, value, 0, START_MS)] * 3)
    found = connect().inspect(name)
    # Values that name a schema need no word: the table finds out what they are.
    assert found.suggestion == f'ktframe.table("{name}"{", " * bool(call)}{call})'
    assert found.schema_ids == (() if call else (42,))


def test_inspect_an_empty_topic(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """Inspecting an empty topic answers at once, without samples."""
    name = kafka.create_topic(topic(), partitions=3)
    found = connect().inspect(name)
    assert (found.samples.height, found.partitions.height) == (0, 3)
    assert found.summary.select("records", "key_format", "value_format").row(0) == (0, None, None)


def test_inspect_many_partitions_of_which_few_are_filled(
    kafka: KafkaTopics, topic: Name, connect: Connect
) -> None:
    """Inspecting a topic waits for no partition that is empty."""
    name = kafka.create_topic(topic(), partitions=64)
    kafka.produce(
        name, [(b"k%d" % n, b'{"n": %d}' % n, 17 if n % 2 else 63, START_MS + n) for n in range(5_000)]
    )
    started = time.monotonic()
    found = connect().inspect(name)
    assert time.monotonic() - started < 4
    assert found.samples["offset"].head(4).to_list() == [2_499, 2_499, 2_498, 2_498]
    assert found.samples["partition"].head(2).to_list() == [17, 63]
    assert found.summary.select("records", "tombstones").row(0) == (5_000, 0.0)


def test_inspect_a_compacted_topic(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """The number of records is an upper bound where compaction left holes, and the text says so."""
    name = kafka.create_compacted_topic(topic())
    kafka.produce(name, [(b"k%d" % (n % 3), b'{"n": %d}' % n) for n in range(60)])
    kafka.wait_until_compacted(name)
    found = connect().inspect(name)
    assert "cleanup policy compact: the last record of each key stays" in repr(found)
    assert sorted(found.samples["key"].to_list()) == ["k0", "k1", "k2"]
    assert found.summary["records"].item() >= 60


def test_inspect_a_tail_of_aborted_records(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """Where the last offsets hold nothing that may be read, the records before them are shown."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"k", b'{"n": 1}', 0, START_MS)])
    producer = kafka.transactional_producer(f"{name}-writer")
    producer.begin_transaction()
    kafka.produce(name, [(b"aborted", b"x", 0)] * 3_500, producer=producer)
    producer.abort_transaction(10)
    kafka.await_transactions(name)
    assert connect().inspect(name).samples["key"].to_list() == ["k"]


def test_inspect_leaves_no_group(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """Inspecting leaves no consumer group behind on the cluster."""
    name = kafka.create_topic(topic())
    kafka.produce(name, [(b"k", b'{"n": 1}')])
    context = connect()
    context.inspect(name)
    context.topics()
    groups = kafka.admin.list_consumer_groups(request_timeout=10).result()
    assert "ktframe" not in {group.group_id for group in groups.valid}


def test_inspect_an_unknown_topic(kafka: KafkaTopics, topic: Name, connect: Connect) -> None:
    """An unknown topic is refused with the names that come close, and is not created."""
    name = kafka.create_topic(topic("orders"))
    context = connect()
    with pytest.raises(UnknownTopicError) as caught:
        context.inspect(f"{name}s")
    assert name in caught.value.suggestions
    assert f"{name}s" not in context.topics()["topic"]


def test_what_may_not_be_read(broker: KafkaBroker, topic: Name, connect: Connect) -> None:
    """With READ alone everything but the policy is told; without it the topic is refused, and not listed."""
    readable, secret = broker.create_topic(topic("readable")), broker.create_topic(topic("secret"))
    for name in (readable, secret):
        broker.produce(name, [(b"k", b'{"n": 1}', 0, START_MS)])
    broker.grant_read(broker.scram_user, readable)
    context = connect(broker.scram_settings())
    wait_until(lambda: readable in context.topics()["topic"], "the grant to be seen")

    found = context.topics().filter(pl.col("topic").is_in([readable, secret]))
    assert found.drop("last_timestamp").rows() == [(readable, 1, 1, 9, None)]
    assert context.inspect(readable).summary.select("records", "cleanup_policy").row(0) == (1, None)
    with pytest.raises(AuthorizationError):
        context.inspect(secret)


def test_a_topic_that_may_be_described_but_not_read(
    broker: KafkaBroker, topic: Name, connect: Connect
) -> None:
    """Such a topic is listed without its bytes, soon, and inspecting it is refused by name."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"k", b'{"n": 1}', 0, START_MS)])
    user = f"User:{broker.scram_user}"
    binding = AclBinding(
        *(ResourceType.TOPIC, name, ResourcePatternType.LITERAL, user, "*"),
        *(AclOperation.DESCRIBE, AclPermissionType.ALLOW),
    )
    answer(broker.admin.create_acls([binding])[binding])
    context = connect(broker.scram_settings())
    wait_until(lambda: name in context.topics()["topic"], "the grant to be seen")

    row = context.topics().row(by_predicate=pl.col("topic") == name, named=True)
    assert (row["records"], row["bytes"], row["cleanup_policy"]) == (1, None, None)
    started = time.monotonic()
    with pytest.raises(AuthorizationError, match=name):
        context.inspect(name)
    assert time.monotonic() - started < 5


def test_a_broker_that_hangs_ends_a_look_in_time(broker: KafkaBroker, topic: Name, connect: Connect) -> None:
    """Every question has a deadline; the survey of a cluster that answers no more is an error, not a wait."""
    name = broker.create_topic(topic())
    broker.produce(name, [(b"k", b"v")])
    context = connect(request_timeout=1.0)
    broker.pause()
    try:
        started = time.monotonic()
        for look in (context.topics, lambda: context.inspect(name)):
            with pytest.raises(BrokerError):
                look()
        assert time.monotonic() - started < 10
        assert context._clients.cluster.cleanup_policy(name) is None
        assert time.monotonic() - started < 15
    finally:
        broker.resume()
    wait_until(lambda: name in context.topics()["topic"], "the broker to answer again")
