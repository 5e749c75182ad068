"""Formats: whole batches of payload bytes to typed columns, looked up by the name a user gives.

A new format is one file beside this one and one line in a table here.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.base import VALUE_COLUMN, Decoded, Format, Headers, Rejection
from ktframe.formats.json import JsonFormat
from ktframe.formats.plain import BytesFormat, IntFormat, LongFormat, StringFormat

__all__ = [
    "VALUE_COLUMN",
    "Decoded",
    "Format",
    "Headers",
    "JsonFormat",
    "Rejection",
    "key_format",
    "value_format",
]

_PLAIN: dict[str, Callable[[], Format]] = {
    "bytes": BytesFormat,
    "int": IntFormat,
    "long": LongFormat,
    "string": StringFormat,
}

_WITH_FIELDS: dict[str, Callable[[pl.Schema | None, frozenset[str]], Format]] = {
    "json": JsonFormat,
}


def value_format(
    name: str, *, declared: pl.Schema | None = None, exact_fields: frozenset[str] = frozenset()
) -> Format:
    """Return the format that decodes record values.

    Parameters
    ----------
    name
        ``"json"``, ``"string"``, ``"int"``, ``"long"`` or ``"bytes"``.
    declared
        Fields whose type is fixed; only for a format with fields.
    exact_fields
        Fields that are part of a row's identity; only for a format with fields.

    Raises
    ------
    ConfigurationError
        There is no format of that name.
    SchemaError
        ``declared`` or ``exact_fields`` don't suit the format.
    """
    if name in _WITH_FIELDS:
        return _WITH_FIELDS[name](declared, exact_fields)
    if name not in _PLAIN:
        raise _unknown(name)
    if declared or exact_fields:
        unusable = "a declared schema" if declared else f"key fields {sorted(exact_fields)}"
        message = f"format {name!r} has no fields, so {unusable} can't apply to it."
        raise SchemaError(message, f"its only column is {VALUE_COLUMN!r}; value='json' has fields.")
    return _PLAIN[name]()


def key_format(name: str) -> Format:
    """Return the format that decodes record keys.

    A JSON key is an object all of whose fields are part of the identity: String, Int64 or Boolean.

    Raises
    ------
    ConfigurationError
        There is no format of that name.
    """
    return JsonFormat(are_all_exact=True) if name == JsonFormat.name else value_format(name)


def _unknown(name: str) -> ConfigurationError:
    known = ", ".join(repr(each) for each in sorted(_PLAIN | _WITH_FIELDS))
    return ConfigurationError(f"there is no format {name!r}.", f"the formats are {known}.")
