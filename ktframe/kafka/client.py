"""Makes librdkafka's clients, and shares one AdminClient between threads until it is closed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from threading import Condition
from time import monotonic, sleep
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from ktframe.errors import ContextClosedError
from ktframe.kafka.errors import DISCONNECTED, REFUSED_LOGIN, refused_settings

logger = logging.getLogger("ktframe.kafka")
C = TypeVar("C")
T = TypeVar("T")

RETRY_SECONDS = 0.05
"""Between two attempts of a request."""
_SLICE_SECONDS = 0.25


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


def answer_of(
    future: Future[T], timeout: float, refusal: Callable[[], KafkaError | None] = lambda: None
) -> T:
    """Return the answer to a request that was given ``timeout`` seconds.

    ``refusal`` returns why no answer will come, as soon as that is known.

    Raises
    ------
    KafkaException
        When it failed, or when there is no answer.
    """
    deadline = (
        monotonic() + timeout + 1
    )  # librdkafka has this timeout too; a second longer, in case it fails to
    while True:
        try:
            return future.result(max(0.0, min(_SLICE_SECONDS, deadline - monotonic())))
        except TimeoutError as error:
            refused = refusal()
            if refused is None and monotonic() > deadline:
                refused = KafkaError(KafkaError._TIMED_OUT, f"no answer in {timeout:g} s")  # noqa: SLF001
            if refused is not None:
                raise KafkaException(refused) from error


class Connection:
    """Lends an AdminClient to any number of threads; ``close`` waits for the requests under way."""

    def __init__(self, make: Callable[[], AdminClient], *, name: str) -> None:
        self._make = make
        self._client: AdminClient | None = make()
        self._has_answered = False
        self._name = name
        self._idle = Condition()
        self._users: list[AdminClient] = []
        """The clients that are lent, once for each request."""
        self._is_open = True

    def ask(self, request: Callable[[AdminClient, float], T], timeout: float) -> T:
        """Return what ``request(client, seconds)`` returns, repeated for ``timeout`` seconds while brokers are away.

        After half of that time it gets a new client: an old one may never find its brokers again once all of them were
        restarted (librdkafka 2.16: "Failed while waiting for controller"). A client that has not answered yet is given
        the whole time, because connecting may be slow.

        Raises
        ------
        KafkaException
            The last one.
        ContextClosedError
            When the connection was closed.
        """
        deadline = monotonic() + timeout
        while True:
            spare = timeout / 2 if self._has_answered else 0.0
            with self.client() as client:
                try:
                    answer = request(client, max(deadline - spare - monotonic(), RETRY_SECONDS))
                except KafkaException as error:
                    # Its frames hold the future that holds it: the client would keep its connections until the next
                    # collection of garbage.
                    error.__traceback__ = None
                    with suppress(KafkaException):
                        client.poll(0)  # runs the error callback, which may say why no broker answers
                    left = deadline - monotonic()
                    if error.args[0].code() in REFUSED_LOGIN:
                        # It would log in again and again, for as long as it lives: accounts get locked.
                        self.drop(client)
                    if error.args[0].code() not in DISCONNECTED:
                        raise
                    if left < spare + RETRY_SECONDS:
                        self.drop(client)
                    if left < RETRY_SECONDS:
                        raise
                else:
                    self._has_answered = True
                    return answer
            sleep(RETRY_SECONDS)

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
            if self._client is None:
                self._client = self._make()
            client = self._client
            self._users.append(client)
        try:
            yield client
        finally:
            with self._idle:
                self._users.remove(client)
                is_over = client is not self._client and client not in self._users
                self._idle.notify_all()
            if is_over:
                _end(client)

    def drop(self, client: AdminClient) -> None:
        """Let the next request have a new client; the old one is ended when the last thread gives it back.

        Not left to the garbage collector: an error that somebody keeps leads to it, and it would connect again for ever.
        """
        with self._idle:
            if self._client is client:
                self._client, self._has_answered = None, False

    def close(self) -> None:
        """Disconnect; a second call does nothing."""
        with self._idle:
            if not self._is_open:
                return
            self._is_open = False
            # A client that is destroyed never answers its requests: their callers would wait for nothing.
            self._idle.wait_for(lambda: not self._users)
        if self._client is not None:
            _end(self._client)


def _end(client: AdminClient) -> None:
    with client:
        pass  # leaving its context destroys the client
