"""Writes rows as JSON objects. Values that JSON can't hold exactly are refused, never rounded or made null."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import msgspec
import orjson
import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.dtypes import leaf_types
from ktframe.formats.json.forms import MAP, MAP_KEY, MAP_VALUE, NO_FORMS, TEXT, Forms
from ktframe.formats.json.sightings import Path


class JsonWriter:
    """Writes each row as an object of its columns, nulls included: decimals digit by digit, times in ISO 8601.

    ``check`` returns why an object does not fit a JSON Schema, None where it does. ``forms`` say where columns hold JSON
    text, which is written as it is, and the entries of maps, which are written as objects.
    """

    header: None = None

    def __init__(
        self,
        check: Callable[[Any], str | None] | None = None,
        *,
        forms: Forms = NO_FORMS,
    ) -> None:
        self._check = check
        self._forms = forms
        self._formed = frozenset(path[0] for path, _ in forms)

    def write(self, rows: pl.DataFrame) -> list[bytes]:
        """Return the payload of each row; SchemaError names the column and row of a value that can't be written."""
        texts = rows.with_columns(
            pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.f" + ("%:z" if dtype.time_zone else ""))
            for name, dtype in rows.schema.items()
            if isinstance(dtype, pl.Datetime)  # Python's datetime has microseconds only
        )
        _check_finite(rows)
        return [self._payload(row, at) for at, row in enumerate(texts.iter_rows(named=True))]

    def _payload(self, values: Mapping[str, Any], at: int) -> bytes:
        row = {
            name: self._as_sent(value, (name,), at) if name in self._formed else value
            for name, value in values.items()
        }
        payload = _to_json(row)
        if payload is None:
            column = next((name for name, value in row.items() if _to_json(value) is None), "?")
            message = f"column {column!r}, row {at}: this value cannot be written as JSON."
            raise SchemaError(message, "cast it to text or a number first.")
        if self._check is None or (reason := self._check(orjson.loads(payload))) is None:
            return payload
        # A field that was absent in a record is null in its row. A schema may allow it to be absent, but not null.
        without_nulls = _to_json({name: value for name, value in row.items() if value is not None}) or payload
        if self._check(orjson.loads(without_nulls)) is None:
            return without_nulls
        message = f"row {at} does not fit the JSON Schema: {reason}"
        raise SchemaError(message)

    def _as_sent(self, value: Any, path: Path, at: int) -> Any:
        """Return a value of row ``at`` as it is written: JSON text as JSON, the entries of a map as an object."""
        if value is None:
            return None
        if (path, TEXT) in self._forms:
            if not _is_json(value):
                message = (
                    f"column {path[0]!r}, row {at}: {value!r} is not JSON text, which this column holds."
                )
                raise SchemaError(message, "json.dumps(value) is the JSON text of a value.")
            return orjson.Fragment(value)
        if (path, MAP) in self._forms:
            return self._as_object(value, path, at)
        if isinstance(value, list):
            return [self._as_sent(item, (*path, None), at) for item in value]
        if isinstance(value, Mapping):
            return {name: self._as_sent(item, (*path, name), at) for name, item in value.items()}
        return value

    def _as_object(self, entries: Any, path: Path, at: int) -> Any:
        try:
            pairs = [(entry[MAP_KEY], entry[MAP_VALUE]) for entry in entries]
        except (TypeError, KeyError):
            pairs = []
        names = {name for name, _ in pairs}
        if len(names) < len(entries) or not all(isinstance(name, str) for name in names):
            message = f"column {path[0]!r}, row {at}: {entries!r} is no map: a list of structs of a key and a value."
            raise SchemaError(message, 'each key is a text, once: [{"key": "a", "value": 1}].')
        return {name: self._as_sent(item, (*path, None, MAP_VALUE), at) for name, item in pairs}


def _check_finite(rows: pl.DataFrame) -> None:
    """Refuse NaN and infinities, of which orjson makes nulls."""
    for column in rows.iter_columns():
        if not leaf_types(column.dtype) & {pl.Float16, pl.Float32, pl.Float64}:
            continue
        for at, value in enumerate(column.to_list()):
            if not _is_finite(value):
                message = f"column {column.name!r}, row {at}: {value!r} cannot be written as JSON."
                raise SchemaError(message, "make it null, or text, first.")


def _is_json(value: Any) -> bool:
    try:
        msgspec.json.decode(value, type=msgspec.Raw)
    except (TypeError, UnicodeEncodeError, msgspec.DecodeError):
        return False
    return isinstance(value, str)


def _is_finite(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def _to_json(value: Any) -> bytes | None:
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f"))
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    raise TypeError
