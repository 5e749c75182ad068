"""One AdminClient for many threads, which may be closed beneath them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Condition
from typing import Any

from confluent_kafka.admin import AdminClient

from ktframe.errors import ContextClosedError

logger = logging.getLogger("ktframe.kafka")


class Connection:
    """Lends its client to one question at a time per thread; closing it lets the questions under way be answered."""

    def __init__(self, config: Mapping[str, Any], *, name: str) -> None:
        self._client = AdminClient(dict(config), logger=logger)
        self._name = name
        self._idle = Condition()
        self._questions = 0
        self._is_open = True

    @contextmanager
    def client(self) -> Iterator[AdminClient]:
        """Lend the client until it has answered.

        Raises
        ------
        ContextClosedError
            When the connection was closed.
        """
        with self._idle:
            if not self._is_open:
                raise ContextClosedError(self._name)
            self._questions += 1
        try:
            yield self._client
        finally:
            with self._idle:
                self._questions -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        with self._idle:
            if not self._is_open:
                return
            self._is_open = False
            # A client that is destroyed forgets its questions: who asked would wait for nothing.
            self._idle.wait_for(lambda: self._questions == 0)
        with self._client:
            pass  # leaving is the client's own way to be destroyed
