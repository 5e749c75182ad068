"""Makes librdkafka's clients, and shares one AdminClient between threads until it is closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from threading import Condition
from typing import Any, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from ktframe.errors import ContextClosedError
from ktframe.kafka.errors import refused_settings

logger = logging.getLogger("ktframe.kafka")
C = TypeVar("C")


def new_client(kind: Callable[..., C], config: Mapping[str, Any]) -> C:
    """Return a client, such as an AdminClient or a Consumer, with these settings.

    Raises
    ------
    ConfigurationError
        When it does not accept them.
    BrokerError
        When it can't be made for another reason, such as an ``oauth_cb`` without a token.
    """
    try:
        return kind(dict(config), logger=logger)
    except (KafkaException, TypeError, ValueError, SystemError) as error:
        refusal = refused_settings(error, config)
    # Raised out here, without cause or context: a traceback or a logger would show those, and secrets with them.
    raise refusal


class Connection:
    """Lends its AdminClient to any number of threads; ``close`` waits for the requests under way."""

    def __init__(self, config: Mapping[str, Any], *, name: str) -> None:
        self._client = new_client(AdminClient, config)
        self._name = name
        self._idle = Condition()
        self._requests = 0
        self._is_open = True

    @contextmanager
    def client(self) -> Iterator[AdminClient]:
        """Lend the client for a request.

        Raises
        ------
        ContextClosedError
            When the connection was closed.
        """
        with self._idle:
            if not self._is_open:
                raise ContextClosedError(self._name)
            self._requests += 1
        try:
            yield self._client
        finally:
            with self._idle:
                self._requests -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        with self._idle:
            if not self._is_open:
                return
            self._is_open = False
            # A client that is destroyed never answers its requests: their callers would wait for nothing.
            self._idle.wait_for(lambda: self._requests == 0)
        with self._client:
            pass  # leaving its context destroys the client
