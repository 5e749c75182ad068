"""Puts values that a column holds as text into quotes before anything reads a payload, and maps into lists of entries.

So whole batches and single records are read as if the producer had sent that; text has no limits of numbers. A payload
that is not JSON, or of a shape that ``records`` refuses, is left as it is: it is refused there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import is_
from typing import Any, Final, TypeAlias

import msgspec
import polars as pl

from ktframe.formats.dtypes import as_instance, struct_fields
from ktframe.formats.errors import RefusedError
from ktframe.formats.json.constants import hidden_constants, may_have_constants, shown_constants
from ktframe.formats.json.forms import MAP, MAP_KEY, MAP_VALUE, NO_FORMS, TEXT, Forms, dtype_at
from ktframe.formats.json.records import check_shape
from ktframe.formats.json.sightings import Path

Quoting: TypeAlias = Callable[[Any], Any]
"""Returns what stands in the place of JSON text: the text itself, or what msgspec writes instead of it."""

_ERRORS: Final = (msgspec.DecodeError, ValueError, RecursionError, RefusedError)
_NO_ENTRIES: Final = [[0]]
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


def quoted(
    payloads: Sequence[bytes], columns: tuple[tuple[str, pl.DataType], ...], forms: Forms = NO_FORMS
) -> Sequence[bytes]:
    """Return ``payloads`` with the values in quotes that columns take as text; themselves if there are none.

    A String of the declared ``columns``, also in lists and structs, takes strings as they are and the JSON text of other
    values. Where ``forms`` say ``TEXT``, a column takes the JSON text of all, and where they say ``MAP``, an object
    becomes a list of its entries. Null stays null.
    """
    quote = _quoting(columns, forms)
    if quote is None:
        return payloads
    texts = [_quoted(payload, quote) for payload in payloads]
    return payloads if all(map(is_, texts, payloads)) else texts


@lru_cache(maxsize=64)
def _quoting(columns: tuple[tuple[str, pl.DataType], ...], forms: Forms) -> Quoting | None:
    dtypes = dict(columns)
    names = [*dtypes, *(path[0] for path, _ in sorted(forms, key=repr) if path[0] not in dtypes)]
    return _in_object(
        {name: _quoting_of(dtypes.get(name), (name,), forms) for name in names if name is not None}
    )


def _quoted(payload: bytes, quote: Quoting) -> bytes:
    try:
        payload.decode()  # msgspec does not look into what it skips
    except UnicodeDecodeError:
        return payload
    try:
        return _with_quotes(payload, quote)
    except _ERRORS:
        if not may_have_constants(payload):
            return payload
    hidden, mark = hidden_constants(payload)
    try:
        return shown_constants(_with_quotes(hidden, quote), mark)
    except _ERRORS:
        return payload


def _with_quotes(payload: bytes, quote: Quoting) -> bytes:
    value = quote(payload)
    is_same: bool = value is payload
    if is_same:
        return payload
    check_shape(payload)
    return _encode(value)


def _quoting_of(dtype: pl.DataType | None, path: Path, forms: Forms) -> Quoting | None:
    """Return the quoting of what is at a path, where ``dtype`` is declared, and where it is inferred."""
    if (path, TEXT) in forms:
        return _as_json
    if (path, MAP) in forms:
        value = dtype_at({"": dtype}, ("", None, MAP_VALUE)) if dtype is not None else None
        return _in_map(_quoting_of(value, (*path, None, MAP_VALUE), forms))
    if isinstance(dtype, pl.String):
        return _as_text
    items = as_instance(dtype.inner) if isinstance(dtype, pl.List) else None
    fields: dict[str, pl.DataType | None] = {}
    if isinstance(dtype, pl.Struct):
        fields.update(struct_fields(dtype))
    below = {inner[len(path)] for inner, _ in forms if len(inner) > len(path) and inner[: len(path)] == path}
    if None in below or items is not None:
        return _in_list(_quoting_of(items, (*path, None), forms))
    names = [*fields, *sorted(name for name in below if name is not None and name not in fields)]
    return _in_object({name: _quoting_of(fields.get(name), (*path, name), forms) for name in names})


def _as_json(value: Any) -> Any:
    text = bytes(value)
    return value if text == b"null" else text.decode()


def _as_text(value: Any) -> Any:
    text = bytes(value)
    return value if text[:1] == b'"' or text == b"null" else text.decode()


def _in_map(quote: Quoting | None) -> Quoting:
    def in_map(value: Any) -> Any:
        try:
            fields = _fields(value)
        except msgspec.ValidationError:
            # A list with items is no map, even where these look like entries: an entry that is a list is refused.
            return _NO_ENTRIES if bytes(value)[:1] == b"[" and _items(value) else value
        return [
            {MAP_KEY: name, MAP_VALUE: item if quote is None else quote(item)}
            for name, item in fields.items()
        ]

    return in_map


def _in_list(quote: Quoting | None) -> Quoting | None:
    if quote is None:
        return None

    def in_list(value: Any) -> Any:
        try:
            items = _items(value)
        except msgspec.ValidationError:
            return value
        quoted = [quote(item) for item in items]
        return value if all(map(is_, quoted, items)) else quoted

    return in_list


def _in_object(quotings: Mapping[str, Quoting | None]) -> Quoting | None:
    wanted = [(name, quote) for name, quote in quotings.items() if quote is not None]
    if not wanted:
        return None

    def in_object(value: Any) -> Any:
        try:
            fields = _fields(value)
        except msgspec.ValidationError:
            return value
        is_quoted = False
        for name, quote in wanted:
            item = fields.get(name)
            if item is not None and (quoted := quote(item)) is not item:
                fields[name] = quoted
                is_quoted = True
        return fields if is_quoted else value

    return in_object
