"""Validates JSON objects against a JSON Schema before they are written. Alone imports jsonschema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.bodies import SchemaDocument


def validator_of(document: SchemaDocument) -> Callable[[Any], str | None]:
    """Return a function that returns why an object does not fit ``document``, None where it does.

    Raises
    ------
    ConfigurationError
        When jsonschema is not installed.
    SchemaError
        When ``document`` is not a JSON Schema.
    """
    try:
        import jsonschema
        import referencing
        from referencing.jsonschema import DRAFT7
    except ImportError as error:
        message = "writing under a JSON Schema needs the package jsonschema, which is not installed."
        raise ConfigurationError(message, "pip install 'ktframe[registry]'") from error
    try:
        schema = orjson.loads(document.text)
        others = [
            (name, DRAFT7.create_resource(orjson.loads(reference.text)))
            for name, reference in _references(document)
        ]
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft7Validator)
        kind.check_schema(schema)
    except (orjson.JSONDecodeError, jsonschema.exceptions.SchemaError) as error:
        message = f"this is not a JSON Schema: {error}."
        raise SchemaError(message) from error
    validator = kind(schema, registry=referencing.Registry().with_resources(others))

    def reason(value: Any) -> str | None:
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        return None if error is None else f"{error.json_path}: {error.message}"

    return reason


def _references(document: SchemaDocument) -> list[tuple[str, SchemaDocument]]:
    """Return the schemas that ``document`` refers to, and those that they refer to, by name."""
    return [
        pair
        for name, reference in document.references
        for pair in ((name, reference), *_references(reference))
    ]
