"""Topics that share a consumer: each record comes once, in order, whoever reads it; errors and dead connections are theirs alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from confluent_kafka import KafkaError, TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.waiting import wait_until

from ktframe.config.settings import Settings
from ktframe.errors import BrokerError, BrokerUnreachableError, ContextError, UnknownTopicError
from ktframe.kafka import reader as alone
from ktframe.kafka import shared, sharing
from ktframe.kafka.shared import SharedConsumers
from ktframe.kafka.sharing import SharingReader, shared_consumers

SETTINGS = Settings(bootstrap="localhost:1")
PARTITIONS = 2
Place = tuple[str, int]


@dataclass(frozen=True)
class Message:
    """A record, or an error."""

    place: tuple[str | None, int | None]
    at: int = -1
    code: int | None = None

    def topic(self) -> str | None:
        """Return None for an error of the client itself."""
        return self.place[0]

    def partition(self) -> int | None:
        """Return None for an error of the client itself."""
        return self.place[1]

    def offset(self) -> int:
        """Return where it is."""
        return self.at

    def error(self) -> KafkaError | None:
        """Return the error, if this is one."""
        return None if self.code is None else KafkaError(self.code, "of the test")

    def timestamp(self) -> tuple[int, int]:
        """Return its type and its milliseconds."""
        return 1, 0

    def leader_epoch(self) -> int:
        """Return the same for all."""
        return 0

    def key(self) -> bytes:
        """Return the same for all."""
        return b"k"

    value = key

    def __len__(self) -> int:
        return 1


@dataclass
class Log:
    """What was written to each partition, and the clients that read it."""

    ends: Counter[Place] = field(default_factory=Counter)
    clients: list[Client] = field(default_factory=list)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def write(self, topic: str, partition: int, count: int = 1) -> None:
        """Append records."""
        with self.changed:
            self.ends[topic, partition] += count
            self.changed.notify_all()

    def open(self) -> dict[str, int]:
        """Return how many clients are open: those of one reader, and those that are shared."""
        with self.changed:
            open_ = [client for client in self.clients if not client.is_closed]
        return {
            "own": sum(not client.is_shared for client in open_),
            "shared": sum(client.is_shared for client in open_),
        }


class Client:
    """A consumer over a ``Log``; by its settings it knows whether it is a shared one."""

    def __init__(self, log: Log, config: Mapping[str, Any]) -> None:
        self.is_shared = config.get("queued.min.messages") == 1_000
        self.on_error: Callable[[KafkaError], None] = config["error_cb"]
        self.is_closed = self.is_dead = False
        self.injected: list[Message] = []
        self._log = log
        self._at: dict[Place, int] = {}
        self._told: set[Place] = set()
        with log.changed:
            log.clients.append(self)

    def assign(self, wanted: list[TopicPartition]) -> None:
        """Read these partitions only."""
        with self._log.changed:
            self._at.clear()
            self._told.clear()
        self.incremental_assign(wanted)

    def incremental_assign(self, wanted: list[TopicPartition]) -> None:
        """Read these partitions too, none of which is read."""
        with self._log.changed:
            assert not self.is_closed
            assert not [each for each in wanted if (each.topic, each.partition) in self._at]
            self._at |= {(each.topic, each.partition): each.offset for each in wanted}

    def incremental_unassign(self, gone: list[TopicPartition]) -> None:
        """Read no more of these partitions, all of which are read."""
        with self._log.changed:
            for each in gone:
                del self._at[each.topic, each.partition]
                self._told.discard((each.topic, each.partition))

    def poll(self, seconds: float) -> Message | None:
        """Return the next message, if there is one."""
        with self._log.changed:
            assert not self.is_closed
            self._log.changed.wait_for(lambda: bool(self._next(1)), min(seconds, 0.001))
            messages = self._next(1)
            self._pass(messages)
            return messages[0] if messages else None

    def consume(self, count: int, _: float) -> list[Message]:
        """Return those that are there."""
        with self._log.changed:
            messages = self._next(count)
            self._pass(messages)
            return messages

    def _next(self, count: int) -> list[Message]:
        if self.injected:
            return self.injected[:1]
        if self.is_dead:
            return []
        for place, at in self._at.items():
            end = self._log.ends[place]
            if at < end:
                return [Message(place, offset) for offset in range(at, min(end, at + count))]
            if place not in self._told:
                return [Message(place, end, KafkaError._PARTITION_EOF)]
        return []

    def _pass(self, messages: list[Message]) -> None:
        for message in messages:
            if message in self.injected:
                self.injected.remove(message)
            elif message.code is None:
                self._at[message.place] = message.at + 1  # type: ignore[index]
                self._told.discard(message.place)  # type: ignore[arg-type]
            else:
                self._told.add(message.place)  # type: ignore[arg-type]

    def close(self) -> None:
        """Read no more."""
        with self._log.changed:
            self.is_closed = True


@pytest.fixture(scope="module", autouse=True)
def impatient() -> Iterator[None]:
    """Share at once, and have room for five records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharing, "CALM_SECONDS", 0.0)
        patch.setattr(shared, "MOST_RECORDS", 5)
        patch.setattr(sharing, "POLL_SECONDS", 0.001)
        yield


class World:
    """A log, and readers of it in one connection."""

    def __init__(self) -> None:
        self.log = Log()
        self._patch = pytest.MonkeyPatch()
        for module in (alone, shared):
            self._patch.setattr(module, "new_client", lambda _, config: Client(self.log, config))
        self.consumers: SharedConsumers = shared_consumers(SETTINGS)
        self.read: dict[SharingReader, Counter[Place]] = {}
        self.names: dict[SharingReader, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self.read:
            reader.close()
        self.consumers.close()
        assert self.log.open() == {"own": 0, "shared": 0}
        self._patch.undo()

    def reader(self, topic: str) -> SharingReader:
        """Return a reader of a topic, from its beginning."""
        reader = SharingReader(SETTINGS, topic, self.consumers)
        reader.assign(dict.fromkeys(range(PARTITIONS), 0))
        self.read[reader], self.names[reader] = Counter(), topic
        return reader

    def poll(self, reader: SharingReader) -> None:
        """Poll once; check that what comes follows what came before."""
        batch = reader.poll()
        if batch is None:
            return
        read = self.read[reader]
        for partition, offset in zip(batch.partitions, batch.offsets, strict=True):
            assert offset == read[self.names[reader], partition]
            read[self.names[reader], partition] += 1
        for partition, position in batch.positions.items():
            assert position == read[self.names[reader], partition]

    def settle(self, reader: SharingReader) -> None:
        """Poll until it has read all, and has no consumer of its own any more."""

        def is_settled() -> bool:
            for _ in range(10):
                self.poll(reader)
            ends = {place: end for place, end in self.log.ends.items() if place[0] == self.names[reader]}
            read = {place: end for place, end in self.read[reader].items() if end}
            return read == ends and not reader._is_alone

        wait_until(is_settled, "the reader to share")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from("ab"), st.integers(0, 1), st.integers(1, 9)),
        st.tuples(st.just("poll"), st.sampled_from("ab"), st.just(0), st.integers(1, 9)),
        st.tuples(st.just("distrust"), st.sampled_from("ab"), st.just(0), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_each_record_comes_once_and_in_order(steps: list[tuple[str, str, int, int]]) -> None:
    """Whether it is read alone, by two consumers for a while, or shared, and however much comes at once."""
    with World() as world:
        readers = {topic: world.reader(topic) for topic in "ab"}
        for step, topic, partition, count in steps:
            if step == "write":
                world.log.write(topic, partition, count)
            elif step == "poll":
                for _ in range(count):
                    world.poll(readers[topic])
            else:
                positions = {p: world.read[readers[topic]][topic, p] for p in range(PARTITIONS)}
                readers[topic].distrust()
                readers[topic].assign(positions)
        for reader in readers.values():
            reader._patience = 0.0
            world.settle(reader)


def test_many_topics_at_rest_have_one_client() -> None:
    """A topic that is read twice needs two; without readers there is none."""
    with World() as world:
        readers = [world.reader(topic) for topic in "abcdef"]
        for reader in readers:
            world.settle(reader)
        assert world.log.open() == {"own": 0, "shared": 1}
        second = world.reader("a")
        world.settle(second)
        assert world.log.open() == {"own": 0, "shared": 2}
        second.close()
        wait_until(lambda: world.log.open()["shared"] == 1, "the client of nobody to end")


def test_who_gets_too_much_reads_alone_again_and_the_others_share() -> None:
    """No topic fills the memory, or keeps others waiting."""
    with World() as world:
        busy, calm = world.reader("busy"), world.reader("calm")
        world.settle(busy)
        world.settle(calm)
        world.log.write("busy", 0, 500)
        wait_until(lambda: world.poll(busy) or busy._is_alone, "the busy one to read alone")  # type: ignore[func-returns-value]
        busy._patience = 1_000.0
        world.log.write("calm", 1)
        world.settle(calm)
        while world.read[busy]["busy", 0] < 500:
            world.poll(busy)
        assert world.log.open() == {"own": 1, "shared": 1}


def test_a_dead_connection_is_left_by_all_that_share_it() -> None:
    """It may have been lost without a word: those to which nothing comes would never notice."""
    with World() as world:
        first, second = world.reader("a"), world.reader("b")
        world.settle(first)
        world.settle(second)
        dead = next(client for client in world.log.clients if client.is_shared)
        dead.is_dead = True
        world.log.write("b", 0)
        first.distrust()
        first.close()
        world.settle(second)
        assert dead.is_closed
        assert world.log.open() == {"own": 0, "shared": 1}


def _failures(readers: list[SharingReader]) -> list[type[BaseException] | None]:
    found: list[type[BaseException] | None] = []
    for reader in readers:
        try:
            reader.poll()
        except BrokerError as error:
            found.append(type(error))
        else:
            found.append(None)
    return found


def test_an_error_of_a_partition_reaches_its_topic_only() -> None:
    """The others read on."""
    with World() as world:
        readers = [world.reader(topic) for topic in "ab"]
        for reader in readers:
            world.settle(reader)
        client = next(client for client in world.log.clients if client.is_shared)
        client.injected.append(Message(("a", 0), 0, KafkaError.UNKNOWN_TOPIC_OR_PART))
        seen: list[type[BaseException] | None] = []
        wait_until(lambda: seen.extend(_failures(readers[:1])) or any(seen), "the error")  # type: ignore[func-returns-value]
        assert [each for each in seen if each] == [UnknownTopicError]
        assert _failures(readers[1:]) == [None]


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (KafkaError._ALL_BROKERS_DOWN, "all down", [BrokerUnreachableError, BrokerUnreachableError]),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, "Topic a is unknown", [UnknownTopicError, None]),
        (KafkaError._TRANSPORT, "one connection is lost", [None, None]),
    ],
)
def test_an_error_of_the_client_reaches_those_whom_it_concerns(
    code: int, text: str, expected: list[type[BaseException] | None]
) -> None:
    """As it would with a client each."""
    with World() as world:
        readers = [world.reader("a"), world.reader("other")]
        for reader in readers:
            world.settle(reader)
        client = next(client for client in world.log.clients if client.is_shared)
        client.on_error(KafkaError(code, text))
        assert _failures(readers) == expected


def test_without_a_shared_client_it_reads_on_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No client, no thread, or a connection that is being closed: nothing is missing."""
    with World() as world:
        reader = world.reader("a")
        error = ContextError("no more descriptors")
        with monkeypatch.context() as patch:
            patch.setattr(shared, "new_client", lambda *_: (_ for _ in ()).throw(error))
            for _ in range(20):
                world.poll(reader)
            world.log.write("a", 1, 3)
            for _ in range(20):
                world.poll(reader)
        assert world.read[reader]["a", 1] == 3
        world.consumers.close()
        world.log.write("a", 0, 3)
        for _ in range(20):
            world.poll(reader)
        assert world.read[reader]["a", 0] == 3
        assert world.log.open() == {"own": 1, "shared": 0}
