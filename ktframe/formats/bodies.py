"""Schemas as a registry keeps them, what their columns are, and what reads and writes the payloads of one of them.

Nothing here asks a registry; see ``schemas.py`` for how a payload names its schema and who looks it up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

NO_DEFAULT: Any = object()
"""Stands where a column has no default: a record that was written without it shows null."""


@dataclass(frozen=True, slots=True)
class SchemaDocument:
    """The text of one schema with the schemas that it refers to, each under the name it refers to it by.

    ``kind`` is the registry's name of the format: ``"AVRO"``, ``"PROTOBUF"`` or ``"JSON"``.
    """

    kind: str
    text: str
    references: tuple[tuple[str, SchemaDocument], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return it as values that JSON has."""
        references = [[name, document.as_json()] for name, document in self.references]
        return {"kind": self.kind, "text": self.text, "references": references}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> SchemaDocument:
        """Return what ``as_json`` was asked of."""
        references = tuple((name, cls.from_json(document)) for name, document in found["references"])
        return cls(found["kind"], found["text"], references)


@dataclass(frozen=True, slots=True)
class Column:
    """A column as one schema has it.

    ``default`` is the Python value that a record written under a schema without this column shows; ``aliases`` are the
    names under which other schemas have it. ``inner`` are the fields of a struct, also of one inside of lists.
    """

    name: str
    dtype: pl.DataType
    default: Any = NO_DEFAULT
    aliases: tuple[str, ...] = ()
    inner: tuple[Column, ...] = ()


@dataclass(frozen=True, slots=True)
class BodiesRead:
    """What became of some bodies: a row for each that could be read, in order, and why the others could not."""

    frame: pl.DataFrame
    refused: Mapping[int, str] = field(default_factory=dict)
    """Index of the body to the reason."""


class BodyReader(Protocol):
    """Reads the bodies (payloads without what names their schema) that were written under one schema."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns that the schema has, in its order; one called ``value`` where it is no record."""

    @property
    def note(self) -> str | None:
        """How bodies are read where it is not column by column, for people to see; None where it is."""

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Read ``bodies`` into exactly ``columns``; never raises on data, and refuses what it can't read exactly."""


class BodyWriter(Protocol):
    """Writes rows as bodies under one schema."""

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the body of each row.

        Raises
        ------
        SchemaError
            When a row does not fit the schema, naming the column and the row; nothing is written then.
        """
