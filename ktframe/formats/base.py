"""What a format is: whole batches of payload bytes to typed columns.

A format knows nothing of Kafka, keys or stores. Every payload comes out exactly once: as a row of the frame or as
a refusal with its reason. JSON and the plain formats live beside this file; one that carries a schema id in the
payload fits the same protocol (a header that names one is put before the payload: ``wire.with_header_ref``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, TypeAlias

import polars as pl

from ktframe.formats.bodies import SchemaDocument

Headers: TypeAlias = Sequence[tuple[str, bytes | None]] | None
"""The headers of one record, as Kafka orders them."""

VALUE_COLUMN = "value"
"""Name of the only column of a format whose payload is one plain value."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One payload that is not in the frame: its index in the batch, and why."""

    index: int
    reason: str
    is_conflict: bool = False
    """True when the payload is well formed but disagrees with the schema."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of payloads became.

    ``frame`` has a row for every accepted payload, in input order, and exactly the columns of ``schema``;
    ``accepted`` are their indices in the batch (ascending); ``refused`` the others.
    """

    frame: pl.DataFrame
    accepted: Sequence[int]
    refused: tuple[Refusal, ...]
    schema: pl.Schema


class Format(Protocol):
    """Decodes payloads. A format holds settings, never state: ``decode`` gets the schema known so far and returns the next."""

    @property
    def name(self) -> str:
        """The name by which ``value=`` or ``key_format=`` asks for it."""

    @property
    def initial_schema(self) -> pl.Schema:
        """The columns that are known before the first record; empty where they are inferred."""

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
