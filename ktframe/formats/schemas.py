"""How a payload names the schema it was written under, and where that schema is looked up.

Confluent's two wire formats: ``00`` and a four-byte id before the body; or a header whose value is ``01`` and the
sixteen bytes of the schema's GUID. The second is turned into the first's shape on the way in (``with_header_schema``),
so that a payload, wherever it is kept, says by itself how to read it. (Confluent's deserializers take that too.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import RLock
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.wire import (
    spelt,
)

UNKNOWN_SCHEMA: Final = "unknown schema"
"""How the reason begins why a record under a schema that nobody has is refused."""
"""Payloads that name a schema begin with a byte up to this one; JSON never does, and text hardly."""


_ASK_AGAIN_SECONDS = 30.0

Remember: TypeAlias = Callable[[bytes, bytes, SchemaDocument], None]
"""Keeps a schema that was met beside the rows: its name, the message in it, its document."""


class UnknownSchemaError(LookupError):
    """There is no such schema, which no waiting will change; its text says so."""


class Schemas(Protocol):
    """The schemas of one topic's keys or values, by what names them in a payload."""

    def document(self, name: bytes) -> SchemaDocument:
        """Return the schema that ``name`` stands for.

        Raises
        ------
        UnknownSchemaError
            When there is none.
        KtframeError
            When that can't be found out now.
        """

    def meet(self, name: bytes, message: bytes) -> None:
        """Note that a payload names this schema, and (Protobuf) this message of it."""

    def met(self) -> Mapping[tuple[bytes, bytes], SchemaDocument]:
        """Return what was met, in that order."""

    def forget(self) -> None:
        """Start again: the topic is another one."""


class TopicSchemas:
    """Schemas that are asked for once: of who keeps them beside the rows first, then of a registry.

    ``fetch`` asks the registry; ``remember`` keeps what was met, with its document. Any thread may ask.
    """

    def __init__(
        self,
        fetch: Callable[[bytes], SchemaDocument],
        *,
        met: Mapping[tuple[bytes, bytes], SchemaDocument] = MappingProxyType({}),
        remember: Remember = lambda _name, _message, _document: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._remember = remember
        self._clock = clock
        self._lock = RLock()
        self._met = dict(met)
        self._documents = {name: document for (name, _), document in met.items()}
        self._missing: dict[bytes, tuple[float, str]] = {}
        """What there is none of, until when that is believed, and how it was said."""

    def document(self, name: bytes) -> SchemaDocument:
        """Return the schema that ``name`` stands for; see ``Schemas``."""
        with self._lock:
            if name in self._documents:
                return self._documents[name]
            until, reason = self._missing.get(name, (0.0, ""))
            if self._clock() < until:
                raise UnknownSchemaError(reason)
            try:
                found = self._documents[name] = self._fetch(name)
            except UnknownSchemaError as error:
                # Records under a schema that is gone come by the thousand: one question is enough for a while.
                self._missing[name] = (self._clock() + _ASK_AGAIN_SECONDS, str(error))
                raise
            return found

    def meet(self, name: bytes, message: bytes) -> None:
        """Note that a payload names this schema, and this message of it: beside the rows first, then here."""
        with self._lock:
            if (name, message) not in self._met:
                document = self.document(name)
                self._remember(name, message, document)
                self._met[name, message] = document

    def met(self) -> Mapping[tuple[bytes, bytes], SchemaDocument]:
        """Return what was met, in that order."""
        with self._lock:
            return dict(self._met)

    def forget(self) -> None:
        """Start again: the topic is another one."""
        with self._lock:
            self._met.clear()
            self._documents.clear()
            self._missing.clear()


def without_registry(name: bytes) -> SchemaDocument:
    """Say what would help, where no registry is configured."""
    message = f'names {spelt(name)}: connect(..., schema_registry="https://...") tells where to look it up'
    raise UnknownSchemaError(message)
