"""Producers to lend: made when first needed, each lent to one send at a time and kept for the next."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from typing import Final

from ktframe.config.settings import Settings
from ktframe.errors import ContextClosedError
from ktframe.kafka.producer import Courier, Kind

_MOST_IDLE: Final = 4

# Before brokers hang up on it, and long before they forget its transactional.id (a week).
_IDLE_SECONDS: Final = 300.0


class CourierPool:
    """Lends couriers. Usually there is one of each kind; sends at the same time get one each."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._change = Condition()
        self._idle: list[Courier] = []
        self._lent = 0
        self._is_open = True
        self._free_ids: list[str] = []

    @contextmanager
    def lend(self, kind: Kind, topic: str) -> Iterator[Courier]:
        """Lend a courier of this kind for a topic; one that is spent, or with which something broke, is not kept.

        Raises
        ------
        ContextClosedError
            When they were closed.
        ConfigurationError
            When the client does not take the settings.
        """
        courier = self._taken(kind, topic)
        try:
            yield courier
        except BaseException:
            courier.is_spent = True
            raise
        finally:
            self._returned(courier)

    def _taken(self, kind: Kind, topic: str) -> Courier:
        with self._change:
            if not self._is_open:
                name = f"the writer to Kafka at {self._settings.bootstrap}"
                raise ContextClosedError(name)
            too_old = time.monotonic() - _IDLE_SECONDS
            useless = [each for each in self._idle if each.idle_since < too_old]
            fresh = [each for each in self._idle if each.idle_since >= too_old]
            found = next((each for each in fresh if each.kind == kind), None)
            self._idle = [each for each in fresh if each is not found]
            self._lent += 1
        try:
            if found is not None and not found.begin(topic):
                useless.append(found)
                found = None
            for each in useless:
                self._close(each)
            return found or self._new(kind, topic)
        except BaseException:
            self._settle()
            raise

    def _new(self, kind: Kind, topic: str) -> Courier:
        courier = Courier(self._settings, kind, self._id() if kind.is_transactional else "")
        courier.begin(topic)
        return courier

    def _id(self) -> str:
        """Return a transactional.id; that of a spent courier again, which ends the transaction it may have left."""
        with self._change:
            return self._free_ids.pop() if self._free_ids else f"ktframe-{uuid.uuid4().hex}"

    def _returned(self, courier: Courier) -> None:
        courier.idle_since = time.monotonic()
        with self._change:
            is_kept = self._is_open and not courier.is_spent and len(self._idle) < _MOST_IDLE
            if is_kept:
                self._idle.append(courier)
        try:
            if not is_kept:
                self._close(courier)
        finally:
            self._settle()

    def _close(self, courier: Courier) -> None:
        courier.close()
        if courier.transactional_id:
            with self._change:
                self._free_ids.append(courier.transactional_id)

    def _settle(self) -> None:
        with self._change:
            self._lent -= 1
            self._change.notify_all()

    def close(self) -> None:
        """Let the sends under way end, which each does within its timeout, and hang up; a second call does nothing."""
        with self._change:
            self._is_open = False
            self._change.wait_for(lambda: self._lent == 0)
            idle, self._idle = self._idle, []
        for courier in idle:
            courier.close()
