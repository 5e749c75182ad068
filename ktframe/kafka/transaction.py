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
from ktframe.kafka.producer import SLICE_SECONDS, Courier

_ABORT_SECONDS: Final = 5.0
_PURGED: Final = KafkaError._PURGE_QUEUE  # noqa: SLF001 - librdkafka's own codes start with an underscore

_TOO_LONG_HINT: Final = (
    "a transaction must be over within transaction.timeout.ms: give it more (transaction_timeout_ms= of ktframe.connect), "
    "or write in several calls."
)


class _Outcome(Enum):
    INVISIBLE = auto()
    """No commit was asked for: what is in the log is aborted, by us or after a while by the cluster."""
    UNKNOWN = auto()
    COMMITTED = auto()


class AtomicDelivery(Delivery):
    """A ``Delivery`` that ends in a commit, or as if it had never been."""

    _outcome = _Outcome.INVISIBLE
    _is_too_long = False

    @property
    def is_complete(self) -> bool:
        """Whether the transaction was committed."""
        return self._outcome is _Outcome.COMMITTED

    def run(self, courier: Courier, deadline: float) -> None:
        """Write all records in a transaction and commit it.

        Raises
        ------
        BrokerError
            When the transaction was not committed, or the answer to the commit did not come in time.
        """
        limit = time.monotonic() + courier.transaction_seconds
        try:
            self._run(courier, min(deadline, limit))
        finally:
            self._is_too_long = limit < deadline and time.monotonic() > limit and not self.is_complete

    def _run(self, courier: Courier, deadline: float) -> None:
        try:
            if not courier.is_initialised:
                _patiently(lambda: courier.producer.init_transactions(SLICE_SECONDS), courier, deadline)
                courier.is_initialised = True
            courier.producer.begin_transaction()
            self._write(courier, deadline)
            self._commit(courier, deadline)
        except KafkaException as error:
            raise courier.meaning(error.args[0]) from error

    def _write(self, courier: Courier, deadline: float) -> None:
        for _ in self._steps(courier, deadline):
            if self.errors:
                break
        # The first that says more than that the rest was dropped.
        for index, error in self.errors.items():
            if error.code() != _PURGED:
                raise self.meaning(index, courier)
        if self.errors:
            # The client dropped the rest because it can't commit: here it says why.
            courier.producer.commit_transaction(SLICE_SECONDS)

    def _commit(self, courier: Courier, deadline: float) -> None:
        self._outcome = _Outcome.UNKNOWN
        try:
            _patiently(lambda: courier.producer.commit_transaction(SLICE_SECONDS), courier, deadline)
        except KafkaException as error:
            if error.args[0].txn_requires_abort():
                self._outcome = _Outcome.INVISIBLE
            raise
        self._outcome = _Outcome.COMMITTED

    def take_back(self, courier: Courier) -> None:
        """Abort the transaction unless it may be committed."""
        # The next courier of its name ends what this one may leave open.
        courier.is_spent = True
        if self._outcome is _Outcome.INVISIBLE and courier.is_initialised:
            deadline = time.monotonic() + _ABORT_SECONDS
            with suppress(KafkaException, BrokerError):
                _patiently(lambda: courier.producer.abort_transaction(SLICE_SECONDS), courier, deadline)

    def again(self) -> bool:
        """Make the next run send everything if some was too large together; return whether it was."""
        is_worth_it = self._outcome is _Outcome.INVISIBLE and bool(self._too_large())
        if is_worth_it:
            self._start_over()
        return is_worth_it

    @property
    def hint(self) -> str | None:
        """What helps against the errors of records, or the end of the transaction's own time."""
        return _TOO_LONG_HINT if self._is_too_long else super().hint

    def written(self) -> list[int]:
        """Return all records if they are committed, or else none."""
        return list(range(len(self.records))) if self.is_complete else []

    def failed(self, courier: Courier, reason: str) -> dict[int, str]:
        """Return all records unless they are committed or may be; ``reason`` is that of most of them."""
        if self._outcome is not _Outcome.INVISIBLE:
            return {}
        others = dict.fromkeys(range(len(self.records)), f"the transaction was not committed: {reason}")
        guilty = [index for index, error in self.errors.items() if error.code() != _PURGED]
        return others | self.reasons(guilty, courier)


def _patiently(call: Callable[[], object], courier: Courier, deadline: float) -> None:
    """Make a call of the transactional client again and again until it is through; Ctrl-C ends it at once."""
    while True:
        try:
            call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
        else:
            return
        courier.serve(SLICE_SECONDS / 2)
        check_time(courier, deadline)
