"""The protocols of formats, and what they return: every payload is a row of a frame or a refusal with its reason.

A format never raises on data. A schema reference in a header is put before the payload (``wire.with_header_ref``), so
that formats only ever see payloads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol, Self, TypeAlias

import polars as pl

from ktframe.formats.bodies import SchemaDocument

Headers: TypeAlias = Sequence[tuple[str, bytes | None]] | None
"""The headers of one record, in Kafka's order."""


class _Unreadable(tuple[tuple[str, bytes | None], ...]):
    """Headers that nobody can read: to be told from none, it is one object."""

    __slots__ = ()


UNREADABLE_HEADERS: Final[Headers] = _Unreadable()
"""Those of a record with a header whose name is no UTF-8 text: Kafka's client for Python gives none of them then."""

VALUE_COLUMN = "value"
"""Name of the only column of formats whose payloads have no fields."""


class Fault(StrEnum):
    """What about a record keeps it from becoming a row. Which argument would keep it follows from that."""

    VALUE = "value"
    """The value can't be read."""
    FIELD = "field"
    """A field of the value disagrees with its column."""
    NAME = "name"
    """A field of the value has the name of another column: that of a header."""
    SCHEMA = "schema"
    """The schema of the value disagrees with the columns."""
    UNKNOWN_SCHEMA = "unknown schema"
    """Nobody has the schema that the value names."""
    KEY = "key"
    """The record key can't be read."""
    NULL_KEY = "null key"
    """There is no record key."""
    KEY_FIELDS = "key fields"
    """The value has none of the fields that are the key."""
    TOMBSTONE = "tombstone"
    """It is a tombstone without the record key that it would delete by."""
    TIME = "time"
    """There is no usable event time."""
    HEADER = "header"
    """A header can't be read as its column was declared."""
    WHERE = "where"
    """``where=`` can't take what is in its fields."""
    SKEW = "skew"
    """The event time is too far in the future."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A payload that did not become a row: its index in the batch, and why."""

    index: int
    reason: str
    fault: Fault = Fault.VALUE
    fields: tuple[str, ...] = ()
    """The top-level fields that disagree with their columns."""

    @property
    def is_conflict(self) -> bool:
        """Whether the payload is well formed but disagrees with the columns."""
        return self.fault in (Fault.FIELD, Fault.NAME, Fault.SCHEMA)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded batch.

    ``frame`` has a row for every accepted payload, in the order of the batch, and exactly the columns of ``schema``.
    ``accepted`` are their indices in the batch, ascending; ``refused`` are the other payloads.
    """

    frame: pl.DataFrame
    accepted: Sequence[int]
    refused: tuple[Refusal, ...]
    schema: pl.Schema


class Format(Protocol):
    """Decodes payloads. It holds settings, never state: ``decode`` gets the schema known so far and returns the next."""

    @property
    def name(self) -> str:
        """The name by which ``value=`` or ``key_format=`` asks for it."""

    @property
    def initial_schema(self) -> pl.Schema:
        """The columns that are known before the first record; empty where they are inferred."""

    @property
    def declared_fields(self) -> frozenset[str]:
        """The fields whose type was declared, not inferred."""

    @property
    def is_canonical(self) -> bool:
        """Whether equal values always have equal bytes, so that the payload follows from the value."""

    def without_float_widening(self, *fields: str) -> Self:
        """Return this format with ``fields`` never widened from integers to floats.

        ``decode`` sees one batch, not the rows of earlier ones. Whoever keeps those rows checks whether one of them
        holds an integer that the float would round, and then decodes the batch again with this.
        """

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads``, none of them None, against ``schema``, widening it where the format may.

        A payload that was accepted under ``schema`` is also accepted under every schema widened from it.
        """


class SchemalessFormat(Format, Protocol):
    """A format whose payloads refer to no schema."""

    def supports(self, schema: pl.Schema) -> bool:
        """Say whether it can decode into columns of these types."""


class SeenSchemas(Protocol):
    """The schemas of a registry that the payloads of a topic have referred to; see ``formats.schemas_of``."""

    @property
    def revision(self) -> int:
        """Rises when earlier payloads would decode differently now; whoever keeps their rows decodes them again."""

    @property
    def tags(self) -> Mapping[str, tuple[str, ...]]:
        """The tags (``confluent:tags``) that the schemas give to columns, by column."""

    def describe(self, schema: pl.Schema) -> str | None:
        """Return for people which formats and schemas the payloads have; None while that is not known.

        ``schema`` are the columns known so far.
        """

    def newest_schema(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the schema that payloads began to refer to last: its reference, message indexes and document."""

    def forget_schemas(self) -> None:
        """Forget the schemas: the topic was recreated."""

    def has_schema(self, payload: bytes) -> bool:
        """Say whether the schema that ``payload`` refers to can be had; False where it refers to none.

        Raises
        ------
        RegistryError
            When the registry does not answer.
        """
