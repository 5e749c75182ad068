"""Schemas as a registry keeps them, their columns, and the protocols of what reads and writes the bodies under one schema.

A body is a payload without its schema reference (``wire``). Nothing here asks a registry (``schemas``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import polars as pl

from ktframe.formats.rules import NO_RULES, SchemaRules

NO_DEFAULT: Any = object()
"""A column without a default: records under schemas that lack the column are null there."""


@dataclass(frozen=True, slots=True)
class SchemaDocument:
    """The text of one schema and the schemas that it refers to, by the names that it uses for them.

    ``kind`` is the registry's name of the format: ``"AVRO"``, ``"PROTOBUF"`` or ``"JSON"``. ``rules`` are not part of the
    text; those of the schemas that it refers to do not count.
    """

    kind: str
    text: str
    references: tuple[tuple[str, SchemaDocument], ...] = ()
    rules: SchemaRules = NO_RULES

    def as_json(self) -> dict[str, Any]:
        """Return the document as values that JSON can hold."""
        references = [[name, document.as_json()] for name, document in self.references]
        rules = {} if self.rules == NO_RULES else {"rules": self.rules.as_json()}
        return {"kind": self.kind, "text": self.text, "references": references, **rules}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SchemaDocument:
        """Return the document of which ``as_json`` returned ``values``."""
        references = tuple((name, cls.from_json(document)) for name, document in values["references"])
        rules = SchemaRules.from_json(values["rules"]) if "rules" in values else NO_RULES
        return cls(values["kind"], values["text"], references, rules)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of one schema.

    ``default`` is the Python value in rows of schemas that lack the column; ``aliases`` are names that other schemas
    have for it. ``inner`` are the fields of a struct, also of a struct in a list. ``hides`` are the names of a field that is
    encrypted, where the column holds its ciphertext: a column of that name is null in the same rows.
    """

    name: str
    dtype: pl.DataType
    default: Any = NO_DEFAULT
    aliases: tuple[str, ...] = ()
    inner: tuple[Column, ...] = ()
    hides: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BodiesRead:
    """The rows of the bodies that could be read, in order, and why the others could not."""

    frame: pl.DataFrame
    refused: Mapping[int, str] = field(default_factory=dict)
    """The reason for each body that is not in ``frame``, by its index."""


class BodyReader(Protocol):
    """Reads the bodies that were written under one schema."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the schema in its order; one called ``value`` where the schema is not a record."""

    @property
    def note(self) -> str | None:
        """For people: why bodies are not read in whole batches, and which fields are encrypted; None where there is neither."""

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Read ``bodies`` into exactly ``columns``; refuse, and never raise for, what can't be read exactly."""


class BodyWriter(Protocol):
    """Writes rows as bodies under one schema."""

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the body of each row.

        Raises
        ------
        SchemaError
            When a row does not fit the schema, naming the column and the row; nothing is written then.
        """
