"""Keeps the registry's schemas in the store of the rows that need them, so that they can be read without the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import orjson

from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.schemas import TopicSchemas
from ktframe.store.protocol import StateStore

Role: TypeAlias = Literal["key", "value"]


def stored_schemas(store: StateStore, role: Role, fetch: Callable[[bytes], SchemaDocument]) -> TopicSchemas:
    """Return the schemas of keys or values that ``store`` keeps; others are fetched, and stored before they are used."""

    def remember(schema_ref: bytes, message: bytes, document: SchemaDocument) -> None:
        entry = {
            "role": role,
            "name": schema_ref.hex(),
            "message": message.hex(),
            "document": document.as_json(),
        }
        store.add_document(orjson.dumps(entry))

    entries = [orjson.loads(raw) for raw in store.documents()]
    seen = {
        (bytes.fromhex(entry["name"]), bytes.fromhex(entry["message"])): SchemaDocument.from_json(
            entry["document"]
        )
        for entry in entries
        if entry["role"] == role
    }
    return TopicSchemas(fetch, seen=seen, remember=remember)
