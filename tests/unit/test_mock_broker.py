"""MockBroker: all records that are loaded are in the topic, or it raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from confluent_kafka import KafkaError

from ktframe.errors import BrokerError
from ktframe.kafka.mock_broker import MockBroker, SampleRecord

RECORDS = [SampleRecord(b"k", b"v", 1)] * 3


class Outcome:
    """A producer whose deliveries have one outcome, and that leaves some undelivered."""

    def __init__(self, error: KafkaError | None, waiting: int) -> None:
        self._error, self._waiting = error, waiting

    def produce(
        self, *_: object, on_delivery: Callable[[KafkaError | None, object], None], **__: object
    ) -> None:
        """Report the outcome at once."""
        on_delivery(self._error, None)

    def flush(self, *_: object) -> int:
        """Return how many are left."""
        return self._waiting


@pytest.fixture
def load() -> Iterator[Callable[..., int]]:
    """Return a function that loads three records with the outcome given."""
    with closing(MockBroker()) as broker:
        own = broker._producer

        def load(*, error: KafkaError | None = None, waiting: int = 0) -> int:
            producer: Any = Outcome(error, waiting)
            broker._producer = producer
            try:
                return broker.load("t", RECORDS)
            finally:
                broker._producer = own

        yield load


def test_a_refused_delivery_is_an_error(load: Callable[..., int]) -> None:
    """A demo that lacks records would look like a table that does."""
    with pytest.raises(BrokerError, match="MSG_SIZE_TOO_LARGE"):
        load(error=KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))


def test_records_that_are_not_acknowledged_are_an_error(load: Callable[..., int]) -> None:
    """What flush leaves is not there."""
    with pytest.raises(BrokerError, match="2 records were not acknowledged"):
        load(waiting=2)


def test_what_was_acknowledged_is_counted(load: Callable[..., int]) -> None:
    """All is well: the number of records."""
    assert load() == 3
