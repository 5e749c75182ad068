"""Reads a topic by a consumer of its own until its end is reached, and then by one that many topics share."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

from confluent_kafka import KafkaError

from ktframe.config.settings import Settings
from ktframe.fold.records import RecordBatch
from ktframe.gc_pause import cyclic_gc_paused
from ktframe.kafka.reader import POLL_SECONDS, KafkaReader, reading_config
from ktframe.kafka.shared import Share, SharedConsumers
from ktframe.process.threads import ignore

CALM_SECONDS: Final = 3.0
"""A topic is shared once it was read to its end, and no large batch has come for so long."""
_LARGE_RECORDS: Final = 1_000
_LONGEST_CALM_SECONDS: Final = 600.0
"""Twice as long after each time that too much came for a share: a topic that gets much again and again is not shared."""


def shared_consumers(settings: Settings) -> SharedConsumers:
    """Return what the readers of a connection with these settings share; nothing is opened yet."""
    small = {"queued_min_messages": 1_000, "queued_max_messages_kbytes": 4_096}
    return SharedConsumers(reading_config(settings, ignore, **small))


class SharingReader(KafkaReader):
    """A ``Reader`` that gives up its own consumer for a share of another one, and takes one again when too much comes.

    Both read for a while, until the shared one has come to every partition: nothing waits for the change. From ``_positions``
    on, what the other has read before is dropped, or read again.
    """

    def __init__(
        self, settings: Settings, topic: str, shared: SharedConsumers, *, with_headers: bool = False
    ) -> None:
        super().__init__(settings, topic, with_headers=with_headers)
        self._shared = shared
        self._share: Share | None = None
        self._is_alone = True
        """Whether its own consumer is open."""
        self._positions: dict[int, int] = {}
        self._calm_since = time.monotonic()
        self._patience = CALM_SECONDS

    def assign(self, positions: Mapping[int, int]) -> None:
        """Read these partitions from these offsets, instead of those assigned before."""
        self._leave()
        if not self._is_alone:
            self._consumer, self._is_alone = self._new_consumer(), True
        super().assign(positions)
        self._positions = dict(positions)

    def poll(self) -> RecordBatch | None:
        """Return what arrived, None when nothing did for a tenth of a second."""
        share = self._share
        batch = super().poll() if share is None or self._is_alone else self._poll_shared(share)
        if batch is not None:
            self._positions |= batch.positions
            if len(batch) >= _LARGE_RECORDS:
                self._calm_since = time.monotonic()
        self._settle()
        return batch

    def _poll_shared(self, share: Share) -> RecordBatch | None:
        self._raise_failure()
        messages = [message for message in share.take(POLL_SECONDS) if self._is_wanted(message)]
        if not messages:
            return None
        with cyclic_gc_paused():
            return self._columns(messages)

    def _is_wanted(self, message: Any) -> bool:
        """Say whether that is an error, or not before what was read by its own consumer."""
        error = message.error()
        is_failure = error is not None and error.code() != KafkaError._PARTITION_EOF  # noqa: SLF001
        return is_failure or bool(message.offset() >= self._positions.get(message.partition(), 0))

    def _settle(self) -> None:
        """Begin to share, end reading alone, or begin it again, where it is time for that."""
        share, now = self._share, time.monotonic()
        if share is None:
            are_read = bool(self._positions) and self._ended.issuperset(self._positions)
            if are_read and now - self._calm_since >= self._patience:
                self._calm_since = now
                self._share = self._shared.join(self._topic, self._positions, self._on_error)
        elif share.is_over:
            self._patience = min(2 * self._patience, _LONGEST_CALM_SECONDS)
            if self._is_alone:
                self._leave()
            else:
                self.assign(self._positions)
        elif self._is_alone and share.has_begun:
            self._is_alone = False
            self._consumer.close()

    def distrust(self) -> None:
        """Have all that is read by its consumer read by others: the connection may be dead."""
        self._leave(distrusts=True)

    def _leave(self, *, distrusts: bool = False) -> None:
        share, self._share = self._share, None
        self._calm_since = time.monotonic()
        if share is not None:
            self._shared.leave(share, distrusts=distrusts)

    def close(self) -> None:
        """Stop reading."""
        self._leave()
        if self._is_alone:
            self._is_alone = False
            super().close()
