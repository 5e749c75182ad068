"""KafkaReader: what of a batch with errors in it is passed on, and up to where."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pytest
from confluent_kafka import KafkaError

from ktframe.config.settings import Settings
from ktframe.errors import BrokerError
from ktframe.fold.records import RecordBatch
from ktframe.formats.base import UNREADABLE_HEADERS
from ktframe.kafka.reader import KafkaReader
from ktframe.kafka.sampler import KafkaSampler

EOF = KafkaError._PARTITION_EOF
BROKEN = KafkaError._BAD_MSG


@dataclass(frozen=True)
class FakeMessage:
    """A message as confluent_kafka hands it out: a record, or an error with a code."""

    at: tuple[int | None, int | None]
    code: int | None = None
    header: bytes | None = None
    """The name of its only header."""
    asked: list[Any] = field(default_factory=list)

    def error(self) -> KafkaError | None:
        """Return the error, if this is one."""
        return None if self.code is None else KafkaError(self.code)

    def partition(self) -> int | None:
        """Return None for an error of the client itself."""
        return self.at[0]

    def offset(self) -> int | None:
        """Return None for an error of the client itself."""
        return self.at[1]

    def timestamp(self) -> tuple[int, int]:
        """Return its type and its milliseconds."""
        return 1, 0

    def leader_epoch(self) -> int:
        """Return the same for all."""
        return 3

    def key(self) -> bytes:
        """Return the same for all."""
        return b"k"

    def value(self) -> bytes:
        """Return the same for all."""
        return b"v"

    def headers(self) -> list[tuple[str, bytes]] | None:
        """Raise where the name is no text, as confluent_kafka does; asked twice it would end the process then."""
        self.asked.append(self.at)
        assert self.asked.count(self.at) == 1
        return None if self.header is None else [(self.header.decode(), b"h")]


class FakeConsumer:
    """A consumer that has these messages, and no more."""

    def __init__(self, messages: list[FakeMessage]) -> None:
        self._messages = messages

    def poll(self, *_: object) -> FakeMessage | None:
        """Return the first."""
        return self._messages.pop(0) if self._messages else None

    def consume(self, *_: object) -> list[FakeMessage]:
        """Return the rest."""
        messages, self._messages = self._messages, []
        return messages


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaReader]:
    """Return a reader whose consumer a test replaces."""
    with closing(KafkaReader(Settings(bootstrap="localhost:1"), "t")) as reader, monkeypatch.context():
        own = reader._consumer
        yield reader
        reader._consumer = own


def _poll(reader: KafkaReader, *messages: FakeMessage) -> RecordBatch:
    consumer: Any = FakeConsumer(list(messages))
    reader._consumer = consumer
    batch = reader.poll()
    assert batch is not None
    return batch


def _read(batch: RecordBatch) -> list[tuple[int, int]]:
    return list(zip(batch.partitions, batch.offsets, strict=True))


def test_nothing_passes_an_error_of_its_partition(reader: KafkaReader) -> None:
    """Records and the end behind an error wait for the restart; other partitions go on."""
    batch = _poll(
        reader,
        FakeMessage((0, 4)),
        FakeMessage((1, 7)),
        FakeMessage((0, 5), BROKEN),
        FakeMessage((0, 6)),
        FakeMessage((1, 8)),
        FakeMessage((0, 7), EOF),
        FakeMessage((1, 9), EOF),
    )
    assert _read(batch) == [(0, 4), (1, 7), (1, 8)]
    assert batch.positions == {0: 5, 1: 9}
    with pytest.raises(BrokerError, match="partition 0, offset 5: "):
        reader.poll()


def test_an_error_at_the_start_leaves_the_position_where_it_was(reader: KafkaReader) -> None:
    """With nothing read before it a partition has no new position at all."""
    batch = _poll(reader, FakeMessage((0, 5), BROKEN), FakeMessage((0, 6)), FakeMessage((0, 7), EOF))
    assert (_read(batch), batch.positions) == ([], {})


def test_the_offset_of_an_error_is_never_passed(reader: KafkaReader) -> None:
    """Even records and an end that came before the error go no further than its offset."""
    batch = _poll(
        reader,
        FakeMessage((0, 4)),
        FakeMessage((0, 5)),
        FakeMessage((0, 6), EOF),
        FakeMessage((0, 5), BROKEN),
    )
    assert (_read(batch), batch.positions) == ([(0, 4)], {0: 5})


def test_an_error_of_no_partition_keeps_what_came_with_it(reader: KafkaReader) -> None:
    """The client's own errors, which have neither partition nor offset, fail the next poll only."""
    batch = _poll(
        reader,
        FakeMessage((0, 4)),
        FakeMessage((None, None), KafkaError._ALL_BROKERS_DOWN),
        FakeMessage((0, 5)),
    )
    assert (_read(batch), batch.positions) == ([(0, 4), (0, 5)], {0: 6})
    with pytest.raises(BrokerError):
        reader.poll()


def test_harmless_errors_and_ends_hold_nothing_back(reader: KafkaReader) -> None:
    """An end advances the position past holes; missing rights on a group that is not used mean nothing."""
    harmless = KafkaError.GROUP_AUTHORIZATION_FAILED
    batch = _poll(
        reader,
        FakeMessage((0, 4)),
        FakeMessage((0, 9), EOF),
        FakeMessage((0, 9), harmless),
        FakeMessage((0, 9)),
    )
    assert (_read(batch), batch.positions) == ([(0, 4), (0, 9)], {0: 10})
    assert reader.poll() is None


@pytest.mark.parametrize(("librdkafka", "expected"), [({}, 10), ({"fetch.queue.backoff.ms": 1_000}, 1_000)])
def test_a_full_queue_is_read_into_again_after_10_ms_unless_the_user_says_otherwise(
    librdkafka: dict[str, int], expected: int
) -> None:
    """Readers and samplers wait 10 ms in place of librdkafka's second; a user's own value wins."""
    settings = Settings(bootstrap="localhost:1", librdkafka=librdkafka)
    with closing(KafkaReader(settings, "t")) as reader, closing(KafkaSampler(settings)) as sampler:
        configs = [reader._config, sampler._config]
    assert [config["fetch.queue.backoff.ms"] for config in configs] == [expected, expected]


def test_a_header_whose_name_is_no_text_keeps_no_record_back(reader: KafkaReader) -> None:
    """Only where headers are wanted they are asked for; those of the other records of the batch are there."""
    messages = [FakeMessage((0, 4), header=b"a"), FakeMessage((0, 5), header=b"\xff"), FakeMessage((0, 6))]
    assert _poll(reader, *messages).headers is None
    reader._with_headers = True
    batch = _poll(reader, *messages)
    assert _read(batch) == [(0, 4), (0, 5), (0, 6)]
    assert batch.headers is not None
    assert batch.headers[0] == [("a", b"h")]
    assert batch.headers[1] is UNREADABLE_HEADERS
    assert batch.headers[2] is None
