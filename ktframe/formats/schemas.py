"""The schemas that a topic's payloads refer to, each looked up once: in the store first, then in the registry.

Nothing here asks a registry by itself: ``fetch`` is passed in. How a payload refers to its schema is in ``wire``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import RLock
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.wire import describe_ref

UNKNOWN_SCHEMA: Final = "unknown schema"
"""How the reason begins when a record is refused because nobody has its schema."""

_ASK_AGAIN_SECONDS = 30.0

Remember: TypeAlias = Callable[[bytes, bytes, SchemaDocument], None]
"""Keeps a schema in the store of the rows: its reference, the message indexes, its document."""


class UnknownSchemaError(LookupError):
    """The registry answered that it has no such schema, so waiting does not help."""


class Schemas(Protocol):
    """The schemas of one topic's keys or values, by the references in its payloads."""

    def document(self, schema_ref: bytes) -> SchemaDocument:
        """Return the schema that ``schema_ref`` names.

        Raises
        ------
        UnknownSchemaError
            When there is none.
        KtframeError
            When the registry can't be asked now.
        """

    def mark_seen(self, schema_ref: bytes, message: bytes) -> None:
        """Note that a payload refers to this schema, and (Protobuf) to the message with these indexes."""

    def seen(self) -> Mapping[tuple[bytes, bytes], SchemaDocument]:
        """Return the schemas that payloads have referred to, the first one first."""

    def forget(self) -> None:
        """Forget all schemas, because the topic was deleted and recreated."""


class TopicSchemas:
    """Schemas that are fetched once each. Any thread may ask.

    Parameters
    ----------
    fetch
        Asks the registry.
    seen
        The schemas that the store keeps.
    remember
        Adds a schema to the store.
    clock
        Seconds, for how long an unknown schema is not asked for again.
    """

    def __init__(
        self,
        fetch: Callable[[bytes], SchemaDocument],
        *,
        seen: Mapping[tuple[bytes, bytes], SchemaDocument] = MappingProxyType({}),
        remember: Remember = lambda _schema_ref, _message, _document: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._remember = remember
        self._clock = clock
        self._lock = RLock()
        self._seen = dict(seen)
        self._documents = {schema_ref: document for (schema_ref, _), document in seen.items()}
        self._unknown: dict[bytes, tuple[float, str]] = {}
        """By reference of a schema that nobody has: when to ask again, and the registry's answer."""

    def document(self, schema_ref: bytes) -> SchemaDocument:
        """Return the schema that ``schema_ref`` names; raises as ``Schemas.document``."""
        with self._lock:
            if schema_ref in self._documents:
                return self._documents[schema_ref]
            until, reason = self._unknown.get(schema_ref, (0.0, ""))
            if self._clock() < until:
                raise UnknownSchemaError(reason)
            try:
                document = self._documents[schema_ref] = self._fetch(schema_ref)
            except UnknownSchemaError as error:
                # Records under a deleted schema come by the thousand: one question is enough for a while.
                self._unknown[schema_ref] = (self._clock() + _ASK_AGAIN_SECONDS, str(error))
                raise
            return document

    def mark_seen(self, schema_ref: bytes, message: bytes) -> None:
        """Note that a payload refers to this schema, and to this message of it."""
        with self._lock:
            if (schema_ref, message) not in self._seen:
                document = self.document(schema_ref)
                # The store first: it must not hold rows without the schema that reads them.
                self._remember(schema_ref, message, document)
                self._seen[schema_ref, message] = document

    def seen(self) -> Mapping[tuple[bytes, bytes], SchemaDocument]:
        """Return the schemas that payloads have referred to, the first one first."""
        with self._lock:
            return dict(self._seen)

    def forget(self) -> None:
        """Forget all schemas, because the topic was deleted and recreated."""
        with self._lock:
            self._seen.clear()
            self._documents.clear()
            self._unknown.clear()


def without_registry(schema_ref: bytes) -> SchemaDocument:
    """Raise UnknownSchemaError: the ``fetch`` of a connection that has no registry."""
    message = f'names {describe_ref(schema_ref)}: connect(..., schema_registry="https://...") tells where to look it up'
    raise UnknownSchemaError(message)
