"""What a format is: whole batches of payload bytes to typed columns.

A format knows nothing of Kafka, keys or stores. Every payload comes out exactly once: as a row of the frame or as
a refusal with its reason. JSON and the plain formats live beside this file; one that carries a schema id in the
payload fits the same protocol (a header that names one is put before the payload: ``wire.with_header_ref``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

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
    """Decodes payloads; holds settings, never state: the schema known so far is handed in and handed back."""

    @property
    def name(self) -> str:
        """The name by which ``value=`` or ``key_format=`` asks for it."""

    @property
    def initial_schema(self) -> pl.Schema:
        """The columns that are known before any record was seen; empty where they must be inferred."""

    @property
    def needs_headers(self) -> bool:
        """Whether a header may name the schema of a payload."""

    @property
    def has_one_spelling(self) -> bool:
        """Whether a value can be written in one way only: what was sent follows from it."""

    @property
    def revision(self) -> int:
        """Rises when payloads that were decoded before would be decoded otherwise now; they should be, then."""

    def decided(self, schema: pl.Schema) -> str | None:
        """Return what the payloads turned out to be, for people, given the fields known so far.

        None where that was said in advance, or is not known yet.
        """

    def last_written(self) -> tuple[bytes, bytes, SchemaDocument] | None:
        """Return the schema that payloads named last: its name, the message of it, its document; None where none did."""

    def forget_schemas(self) -> None:
        """Forget the schemas that payloads have named: the topic is another one."""

    def knows_schema(self, payload: bytes) -> bool:
        """Say whether the schema that ``payload`` names is known; False where it names none; RegistryError where that can't be asked."""

    def takes(self, schema: pl.Schema) -> bool:
        """Say whether it can decode into columns of these types."""

    def keeping_integers(self, *fields: str) -> Format:
        """Return this format with ``fields`` never widened from integers to floats.

        ``decode`` knows the schema, not the rows of earlier batches. Whoever keeps rows looks whether one of them
        holds an integer that the float would round, and decodes the batch again with this.
        """

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads``, none of them None, against ``schema``, widening it where the format may.

        Rows that were accepted under an older schema are accepted under every schema that came of it.
        """
