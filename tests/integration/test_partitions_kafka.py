"""Keys go where Kafka's own Java producer puts them."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.java_programs import java_command
from support.kafka_jars import kafka_jars
from support.kafka_topics import KafkaTopics

from ktframe.config.settings import Settings
from ktframe.kafka.writer import KafkaWriter, OutgoingRecords

SOURCE = Path(__file__).parents[1] / "support" / "kafka" / "Partitions.java"

# testMurmur2 of Kafka's UtilsTest.
JAVA_HASHES = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def java_partitions(bootstrap: str, topic: str, keys: list[bytes]) -> list[int]:
    """Return the partition that Java's producer writes each key to.

    Java runs the source as it is: that needs its compiler, which is among the modules of the JREs of Debian and Ubuntu.
    """
    jars = f"{kafka_jars()}/*"
    done = subprocess.run(
        [java_command(), "-cp", jars, str(SOURCE), bootstrap, topic],
        input="".join(f"{key.hex()}\n" for key in keys),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [int(line) for line in done.stdout.split()]


def ours(kafka: KafkaTopics, topic: str, keys: list[bytes], **config: str) -> list[int]:
    """Return the partition that ktframe writes each key to."""
    with closing(KafkaWriter(Settings(bootstrap=kafka.bootstrap, librdkafka=config))) as writer:
        records = OutgoingRecords(keys, [b""] * len(keys))
        return list(writer.send(topic, records, timeout=120).partitions)


def test_keys_go_where_java_puts_them(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """Ten thousand keys, the empty one and long ones among them, have the partition of Java's producer."""
    dice = random.Random(7)  # noqa: S311 - a fixed seed
    keys = [dice.randbytes(dice.randrange(40)) for _ in range(9_000)]
    keys += [f"customer-{number}".encode() for number in range(900)]
    keys += [b"", b"\x00", *(dice.randbytes(1_000 + number) for number in range(98))]
    name = kafka.create_topic(topic(), partitions=13)

    expected = java_partitions(kafka.bootstrap, name, keys)

    assert len(set(expected)) == 13
    assert ours(kafka, name, keys) == expected


@pytest.mark.parametrize("count", [2, 13])
def test_keys_have_the_hash_of_java(kafka: KafkaTopics, topic: Callable[..., str], count: int) -> None:
    """The keys of Kafka's own test have the partitions that follow from the hashes in it."""
    name = kafka.create_topic(topic(), partitions=count)

    found = ours(kafka, name, list(JAVA_HASHES))

    assert found == [(java_hash & 0x7FFFFFFF) % count for java_hash in JAVA_HASHES.values()]


def test_users_may_choose_another_partitioner(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """The client's setting decides, as for topics that other librdkafka clients write."""
    name = kafka.create_topic(topic(), partitions=13)
    keys = [b"%d" % number for number in range(200)]

    assert ours(kafka, name, keys, partitioner="consistent_random") != ours(kafka, name, keys)


def test_records_without_a_key_are_spread(kafka: KafkaTopics, topic: Callable[..., str]) -> None:
    """Records without a key do not all go to one partition."""
    name = kafka.create_topic(topic(), partitions=3)
    with closing(KafkaWriter(Settings(bootstrap=kafka.bootstrap))) as writer:
        records = OutgoingRecords([None] * 100_000, [b"x" * 100] * 100_000)
        assert len(writer.send(name, records, timeout=120).ends) > 1
