"""Holds JSON objects against a JSON Schema before they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.bodies import SchemaDocument


def validator_of(document: SchemaDocument) -> Callable[[Any], str | None]:
    """Return what says of an object why it does not fit ``document``, None where it does.

    Raises
    ------
    ConfigurationError
        When jsonschema is not installed.
    SchemaError
        When it is no JSON Schema.
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
        others = [(name, DRAFT7.create_resource(orjson.loads(each.text))) for name, each in _all(document)]
        kind = jsonschema.validators.validator_for(schema, default=jsonschema.Draft7Validator)
        kind.check_schema(schema)
    except (orjson.JSONDecodeError, jsonschema.exceptions.SchemaError) as error:
        message = f"it is no JSON Schema: {error}."
        raise SchemaError(message) from error
    validator = kind(schema, registry=referencing.Registry().with_resources(others))

    def wrong(value: Any) -> str | None:
        found = jsonschema.exceptions.best_match(validator.iter_errors(value))
        return None if found is None else f"{found.json_path}: {found.message}"

    return wrong


def _all(document: SchemaDocument) -> list[tuple[str, SchemaDocument]]:
    return [pair for name, each in document.references for pair in ((name, each), *_all(each))]
