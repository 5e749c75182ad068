"""A delivery in one transaction: readers of committed records see all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from ktframe.errors import BrokerError
from ktframe.kafka.delivery import Delivery, check_time
from ktframe.kafka.producer import SLICE_SECONDS, IdempotentProducer

_ABORT_SECONDS: Final = 5.0
_PURGED: Final = KafkaError._PURGE_QUEUE  # noqa: SLF001 - librdkafka's own codes start with an underscore

_TOO_LONG_HINT: Final = (
    "a transaction must end within transaction.timeout.ms: give it more (transaction_timeout_ms= of ktframe.connect), "
    "or write in several calls."
)


class _Outcome(Enum):
    INVISIBLE = auto()
    """No commit was requested: the records in the log are aborted, by us or after a while by the cluster."""
    UNKNOWN = auto()
    COMMITTED = auto()


class AtomicDelivery(Delivery):
    """A ``Delivery`` in a Kafka transaction: readers of committed records see all of its records or none."""

    _outcome = _Outcome.INVISIBLE
    _is_too_long = False

    @property
    def is_complete(self) -> bool:
        """Whether the transaction was committed."""
        return self._outcome is _Outcome.COMMITTED

    def run(self, producer: IdempotentProducer, deadline: float) -> None:
        """Write all records in a transaction and commit it.

        Raises
        ------
        BrokerError
            When the transaction was not committed, or the answer to the commit did not come in time.
        """
        limit = time.monotonic() + producer.transaction_seconds
        try:
            self._run(producer, min(deadline, limit))
        finally:
            self._is_too_long = limit < deadline and time.monotonic() > limit and not self.is_complete

    def _run(self, producer: IdempotentProducer, deadline: float) -> None:
        try:
            if not producer.is_initialised:
                _until_done(lambda: producer.client.init_transactions(SLICE_SECONDS), producer, deadline)
                producer.is_initialised = True
            producer.client.begin_transaction()
            self._write(producer, deadline)
            self._commit(producer, deadline)
        except KafkaException as error:
            raise producer.meaning(error.args[0]) from error

    def _write(self, producer: IdempotentProducer, deadline: float) -> None:
        for _ in self._steps(producer, deadline):
            if self.errors:
                break
        # The first error that says more than that a record was dropped.
        for index, error in self.errors.items():
            if error.code() != _PURGED:
                raise self.meaning(index, producer)
        if self.errors:
            # The client dropped them because it can't commit; this call raises the reason.
            producer.client.commit_transaction(SLICE_SECONDS)

    def _commit(self, producer: IdempotentProducer, deadline: float) -> None:
        self._outcome = _Outcome.UNKNOWN
        try:
            _until_done(lambda: producer.client.commit_transaction(SLICE_SECONDS), producer, deadline)
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                self._outcome = _Outcome.INVISIBLE
            raise
        self._outcome = _Outcome.COMMITTED

    def abandon(self, producer: IdempotentProducer) -> None:
        """Abort the transaction unless it may be committed."""
        # The next producer with its transactional.id ends the transaction that this one may leave open.
        producer.is_unusable = True
        if self._outcome is _Outcome.INVISIBLE and producer.is_initialised:
            deadline = time.monotonic() + _ABORT_SECONDS
            with suppress(KafkaException, BrokerError):
                _until_done(lambda: producer.client.abort_transaction(SLICE_SECONDS), producer, deadline)

    def retry_in_smaller_batches(self) -> bool:
        """Make the next run send everything again if a batch was too large; return whether one was."""
        is_worth_it = self._outcome is _Outcome.INVISIBLE and bool(self._too_large())
        if is_worth_it:
            self._start_over()
        return is_worth_it

    @property
    def hint(self) -> str | None:
        """What helps against the errors of records, or against the transaction's own time limit."""
        return _TOO_LONG_HINT if self._is_too_long else super().hint

    def written(self) -> list[int]:
        """Return all records if they are committed, else none."""
        return list(range(len(self.records))) if self.is_complete else []

    def failed(self, producer: IdempotentProducer, reason: str) -> dict[int, str]:
        """Return all records unless they are committed or may be; ``reason`` is that of most of them."""
        if self._outcome is not _Outcome.INVISIBLE:
            return {}
        others = dict.fromkeys(range(len(self.records)), f"the transaction was not committed: {reason}")
        refused = [index for index, error in self.errors.items() if error.code() != _PURGED]
        return others | self.reasons(refused, producer)


def _until_done(call: Callable[[], object], producer: IdempotentProducer, deadline: float) -> None:
    """Repeat a call of the transactional client until it succeeds; Ctrl-C ends it at once."""
    while True:
        try:
            call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
        else:
            return
        producer.serve(SLICE_SECONDS / 2)
        check_time(producer, deadline)
