"""How a payload names the schema it was written under, and where that schema is looked up.

Confluent's two wire formats: ``00`` and a four-byte id before the body; or a header whose value is ``01`` and the
sixteen bytes of the schema's GUID. The second is turned into the first's shape on the way in (``with_header_schema``),
so that a payload, wherever it is kept, says by itself how to read it. (Confluent's deserializers take that too.)
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import RLock
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from ktframe.formats.base import Headers
from ktframe.formats.documents import SchemaDocument
from ktframe.formats.protobuf import parse_indexes

VALUE_HEADER: Final = "__value_schema_id"
KEY_HEADER: Final = "__key_schema_id"

_BY_ID, _BY_GUID = 0, 1
ID_BYTES: Final = 5
"""How many bytes an id takes, with the mark before it."""
LARGEST_MARK: Final = _BY_GUID
UNKNOWN_SCHEMA: Final = "unknown schema"
"""How the reason begins why a record under a schema that nobody has is quarantined."""
"""Payloads that name a schema begin with a byte up to this one; JSON never does, and text hardly."""
_GUID_BYTES: Final = 17
_NO_ID: Final = bytes(ID_BYTES)
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


def schema_name(payload: bytes) -> bytes:
    """Return what names the schema at the start of ``payload``, no bytes where nothing does.

    An id of zero names none: registries count from one, and small numbers begin with zeros.
    """
    kind = payload[:1]
    if kind == b"\0":
        name = payload[:ID_BYTES]
        return name if len(name) == ID_BYTES and name != _NO_ID else b""
    if kind == b"\1" and len(payload) >= _GUID_BYTES:
        return payload[:_GUID_BYTES]
    return b""


def id_name(schema_id: int) -> bytes:
    """Return how a payload names the schema with this id."""
    return bytes([_BY_ID]) + schema_id.to_bytes(4, "big")


def schema_id_of(name: bytes) -> int | None:
    """Return the id in ``name``, None where it holds a GUID."""
    return int.from_bytes(name[1:], "big") if name[0] == _BY_ID else None


def guid_of(name: bytes) -> str:
    """Return the GUID in ``name``, as text."""
    return str(uuid.UUID(bytes=name[1:]))


def spelt(name: bytes) -> str:
    """Return ``name`` as people read it: "schema id 17", or with its GUID."""
    number = schema_id_of(name)
    return f"schema GUID {guid_of(name)}" if number is None else f"schema id {number}"


def with_header_schema(payload: bytes | None, headers: Headers, header: str) -> bytes | None:
    """Return ``payload`` behind what ``header`` says of its schema, unchanged where no such header names one."""
    if payload is None or not headers:
        return payload
    found = next((value for name, value in headers if name == header), None)
    return payload if found is None or not _is_whole(found) else found + payload


def without_header_schema(payload: bytes, message: bytes = b"") -> tuple[bytes, bytes | None]:
    """Return what ``with_header_schema`` made ``payload`` of: the payload, and what the header said (None: nothing).

    ``message`` are the message indexes that such headers have, as last seen.
    """
    name = schema_name(payload)
    if not name or schema_id_of(name) is not None:
        return payload, None
    said = name + message if payload.startswith(name + message) else name
    return payload[len(said) :], said


@lru_cache(maxsize=256)
def _is_whole(header: bytes) -> bool:
    """Say whether a header is a GUID with, at most, a list of message indexes: what is shorter takes from the payload."""
    if header[:1] != bytes([_BY_GUID]) or len(header) < _GUID_BYTES:
        return False
    if len(header) == _GUID_BYTES:
        return True
    try:
        return not parse_indexes(header[_GUID_BYTES:])[1]
    except ValueError:
        return False


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
