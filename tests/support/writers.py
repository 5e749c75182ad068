"""Writers for the tests of writing, records for them, and what is in a topic afterwards."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from threading import Thread
from typing import Any

from ktframe.config.settings import Settings
from ktframe.kafka.writer import KafkaWriter, OutgoingRecords
from support.kafka_broker import KafkaBroker
from support.kafka_topics import KafkaTopics
from support.waiting import wait_until

MakeWriter = Callable[..., KafkaWriter]

NEAR_SECONDS = 60.0


@contextmanager
def writers(kafka: KafkaTopics) -> Iterator[MakeWriter]:
    """Lend a function that makes writers of the client settings given as keywords; they are closed at the end."""
    with ExitStack() as stack:

        def make(**config: Any) -> KafkaWriter:
            client = {name.replace("_", "."): value for name, value in config.items()}
            bootstrap = client.pop("bootstrap.servers", kafka.bootstrap)
            settings = Settings(bootstrap=bootstrap, librdkafka=client)
            return stack.enter_context(closing(KafkaWriter(settings)))

        yield make


def numbered(count: int, *, value: bytes = b"v", word: str = "k") -> OutgoingRecords:
    """Return so many records with different keys and one value."""
    return OutgoingRecords([f"{word}-{number}".encode() for number in range(count)], [value] * count)


def places(kafka: KafkaTopics, topic: str) -> dict[bytes | None, tuple[int, int]]:
    """Return where each key of a topic is, by a reader of everything; no key may be there twice."""
    found = kafka.records(topic, isolation="read_uncommitted")
    assert len({record.key for record in found}) == len(found)
    return {record.key: (record.partition, record.offset) for record in found}


def committed(kafka: KafkaTopics, topic: str) -> list[bytes | None]:
    """Return the keys that a reader of committed records sees once no transaction is open."""
    kafka.await_transactions(topic)
    return [record.key for record in kafka.records(topic)]


@contextmanager
def as_soon_as(fact: Callable[[], object], act: Callable[[], object]) -> Iterator[None]:
    """Do something while the block runs, once a fact holds."""
    thread = Thread(target=lambda: (wait_until(fact, "the moment to act"), act()))
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def ctrl_c_as_soon_as(fact: Callable[[], object]) -> Iterator[None]:
    """Press Ctrl-C while the block runs, once a fact holds.

    Hypothesis leaves a callback with the garbage collector. Python drops what is raised there, so that a Ctrl-C during
    one would be lost: meanwhile there is none.
    """
    callbacks, gc.callbacks[:] = gc.callbacks[:], []
    try:
        with as_soon_as(fact, lambda: os.kill(os.getpid(), signal.SIGINT)):
            yield
    finally:
        gc.callbacks[:] = callbacks


def scram(broker: KafkaBroker, **choice: str) -> dict[str, Any]:
    """Return the settings of a SCRAM client as keywords."""
    return {name.replace(".", "_"): value for name, value in broker.scram_settings(**choice).items()}
