"""A schema registry in memory, for tests."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ktframe.errors import RegistryError
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.rules import rules_of
from ktframe.formats.schemas import UnknownSchemaError
from ktframe.formats.wire import describe_ref, id_ref, schema_id_of


class FakeRegistry:
    """A registry in memory. Ids count from one; a schema's GUID follows from its id."""

    def __init__(self) -> None:
        self.requests = 0
        """How many requests were made, failed ones included."""
        self._documents: list[SchemaDocument] = []
        self._subjects: dict[str, list[int]] = defaultdict(list)
        self._outage: RegistryError | None = None

    def register(
        self,
        subject: str,
        text: str,
        kind: str = "AVRO",
        *,
        rule_set: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **references: int,
    ) -> int:
        """Register a schema and return its id; ``references`` are ids by the name under which the text has them.

        ``rule_set`` and ``metadata`` are what Confluent's registry takes as ``ruleSet`` and ``metadata``.
        """
        documents = tuple((name, self._documents[number - 1]) for name, number in references.items())
        self._documents.append(SchemaDocument(kind, text, documents, rules_of(rule_set, metadata)))
        self._subjects[subject].append(len(self._documents))
        return len(self._documents)

    @staticmethod
    def prefix(schema_id: int) -> bytes:
        """Return what stands before a body that was written under a schema."""
        return id_ref(schema_id)

    @staticmethod
    def header(schema_id: int) -> bytes:
        """Return the value of the header that names a schema by its GUID."""
        return b"\1" + _guid(schema_id).bytes

    def go_down(self, *, is_fatal: bool = False) -> None:
        """Fail every request until ``come_back``; with ``is_fatal`` as if the login were refused."""
        self._outage = RegistryError("http://fake:8081", "down", is_fatal=is_fatal)

    def come_back(self) -> None:
        """End an outage."""
        self._outage = None

    def fetch(self, schema_ref: bytes) -> SchemaDocument:
        """Return the schema that ``schema_ref`` names."""
        self._answer()
        number = schema_id_of(schema_ref)
        known = range(1, len(self._documents) + 1)
        if number is None:
            number = next((each for each in known if self.header(each) == schema_ref), 0)
        if number not in known:
            message = f"{describe_ref(schema_ref)} is not in the registry at http://fake:8081"
            raise UnknownSchemaError(message)
        return self._documents[number - 1]

    def latest(self, subject: str) -> tuple[int, SchemaDocument] | None:
        """Return the newest schema of ``subject`` with its id, None where nothing is registered."""
        self._answer()
        ids = self._subjects.get(subject)
        return (ids[-1], self._documents[ids[-1] - 1]) if ids else None

    def _answer(self) -> None:
        self.requests += 1
        if self._outage is not None:
            raise self._outage

    def close(self) -> None:
        """Do nothing: the test may connect again."""


def _guid(schema_id: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"schema {schema_id}")
