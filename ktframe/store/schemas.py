"""Schemas kept in the store of the rows that need them: it opens, and its rows are read, while the registry is away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import orjson

from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.schemas import TopicSchemas
from ktframe.store.protocol import StateStore

Role: TypeAlias = Literal["key", "value"]


def stored_schemas(store: StateStore, role: Role, fetch: Callable[[bytes], SchemaDocument]) -> TopicSchemas:
    """Return the schemas of keys or values that ``store`` keeps; further ones are fetched, and kept there first."""

    def remember(schema_ref: bytes, message: bytes, document: SchemaDocument) -> None:
        kept = {
            "role": role,
            "name": schema_ref.hex(),
            "message": message.hex(),
            "document": document.as_json(),
        }
        store.add_document(orjson.dumps(kept))

    found = [orjson.loads(raw) for raw in store.documents()]
    seen = {
        (bytes.fromhex(each["name"]), bytes.fromhex(each["message"])): SchemaDocument.from_json(
            each["document"]
        )
        for each in found
        if each["role"] == role
    }
    return TopicSchemas(fetch, seen=seen, remember=remember)
