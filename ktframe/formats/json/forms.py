"""How values are held in columns of another shape than their own: as their JSON text, or an object as the entries of a map.

``texts`` puts a payload into that shape before anything reads it, so all else knows strings, lists and objects alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeAlias

import polars as pl

from ktframe.formats.dtypes import as_instance, struct_fields
from ktframe.formats.json.sightings import Path

TEXT: Final = "text"
"""A String that holds the JSON text of a value, whatever its kind."""
MAP: Final = "map"
"""A list of structs of a key and a value, of an object whose names are data."""

MAP_KEY: Final = "key"
MAP_VALUE: Final = "value"

Forms: TypeAlias = frozenset[tuple[Path, str]]
"""The paths in columns, each with ``TEXT`` or ``MAP``; the value of a map's entry is at ``(*path, None, "value")``."""

NO_FORMS: Final[Forms] = frozenset()


def map_dtype(value: pl.DataType) -> pl.DataType:
    """Return the type of a map of such values, as maps of Avro and Protobuf have it too."""
    return pl.List(pl.Struct({MAP_KEY: pl.String(), MAP_VALUE: value}))


def dtype_at(schema: Mapping[str, pl.DataType], path: Path) -> pl.DataType | None:
    """Return the type at a path; None where the columns have no such place."""
    dtype: pl.DataType | None = schema.get(path[0] or "")
    for name in path[1:]:
        if name is None:
            dtype = as_instance(dtype.inner) if isinstance(dtype, pl.List) else None
        else:
            dtype = struct_fields(dtype).get(name) if isinstance(dtype, pl.Struct) else None
    return dtype


def is_open(schema: Mapping[str, pl.DataType], path: Path) -> bool:
    """Say whether no value can be at a path yet."""
    return isinstance(dtype_at(schema, path) or pl.Null(), pl.Null)
