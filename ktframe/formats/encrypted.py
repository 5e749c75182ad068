"""Columns of fields that producers encrypt: named so that nobody takes the ciphertext for the value.

The field ``ssn`` becomes the column ``ssn (encrypted)``, in its place and with its type: text is base64 of the ciphertext, as
it was sent. A column that holds such a field where no name can be changed, such as JSON text, is named so as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import polars as pl

from ktframe.formats.bodies import NO_DEFAULT, BodiesRead, BodyReader, Column
from ktframe.formats.dtypes import as_instance
from ktframe.formats.resolution import reading

Paths: TypeAlias = frozenset[tuple[str, ...]]
NONE_ENCRYPTED: Paths = frozenset()
_MARK = " (encrypted)"


def marked(name: str) -> str:
    """Return the name of the column of an encrypted field."""
    return f"{name}{_MARK}"


def marked_columns(columns: tuple[Column, ...], paths: Paths) -> tuple[Column, ...]:
    """Return ``columns`` with those at ``paths`` named as encrypted."""
    return tuple(_marked(column, _below(column.name, paths)) for column in columns)


def _below(name: str, paths: Paths) -> Paths:
    return frozenset(path[1:] for path in paths if path[0] == name)


def _marked(column: Column, paths: Paths) -> Column:
    leaf = leaf_of(column.dtype)
    if not paths or leaf == pl.Null():
        return column
    if () in paths or not isinstance(leaf, pl.Struct):
        hidden = (column.name, *column.aliases)
        # The default is plain text, which must not stand where ciphertext is.
        return replace(
            column,
            name=marked(column.name),
            default=NO_DEFAULT,
            aliases=tuple(map(marked, column.aliases)),
            hides=hidden,
        )
    fields = marked_columns(column.inner, paths)
    return replace(column, dtype=_with_fields(column.dtype, fields), default=NO_DEFAULT, inner=fields)


def leaf_of(dtype: pl.DataType) -> pl.DataType:
    """Return the type of the items of a list, of lists too; any other type as it is."""
    return leaf_of(as_instance(dtype.inner)) if isinstance(dtype, pl.List) else dtype


def _with_fields(dtype: pl.DataType, fields: tuple[Column, ...]) -> pl.DataType:
    if isinstance(dtype, pl.List):
        return pl.List(_with_fields(as_instance(dtype.inner), fields))
    return pl.Struct({field.name: field.dtype for field in fields})


def marked_frame(frame: pl.DataFrame, columns: tuple[Column, ...], paths: Paths) -> pl.DataFrame:
    """Return the rows of ``columns`` as rows of ``marked_columns``."""
    have = {column.name: column for column in columns}
    renamed = [_readable(column) for column in marked_columns(columns, paths)]
    return frame.select(reading(have, column) for column in renamed)


def _readable(column: Column) -> Column:
    """Return the column as one that has the field it hides as another name, by which it is found."""
    inner = tuple(map(_readable, column.inner))
    return replace(column, aliases=column.hides[:1] or column.aliases, hides=(), inner=inner)


def unmarked_schema(schema: pl.Schema, paths: Paths) -> pl.Schema:
    """Return the columns as payloads have them: those of encrypted fields by the names of the fields.

    Columns of the same fields where they are plain are left out: they have other values.
    """
    return pl.Schema(_unmarked(schema, paths))


def _unmarked(fields: Mapping[str, pl.DataType], paths: Paths) -> dict[str, pl.DataType]:
    plain: dict[str, pl.DataType] = {}
    whole = {path[0]: marked(path[0]) for path in paths if len(path) == 1}
    names = {mark: name for name, mark in whole.items()}
    for name, dtype in fields.items():
        if name in names:
            plain[names[name]] = dtype
        elif name not in whole:
            plain[name] = _unmarked_inside(as_instance(dtype), _below(name, paths))
    return plain


def _unmarked_inside(dtype: pl.DataType, paths: Paths) -> pl.DataType:
    if not paths:
        return dtype
    if isinstance(dtype, pl.List):
        return pl.List(_unmarked_inside(as_instance(dtype.inner), paths))
    if isinstance(dtype, pl.Struct):
        return pl.Struct(_unmarked({field.name: as_instance(field.dtype) for field in dtype.fields}, paths))
    return dtype


def note_on(paths: Paths) -> str | None:
    """Return for people which fields are encrypted."""
    return (
        f"encrypted by the producer: {', '.join('.'.join(path) for path in sorted(paths))}" if paths else None
    )


class EncryptedReader:
    """Reads bodies of which some fields are encrypted, by a reader that does not know that."""

    def __init__(self, reader: BodyReader, paths: Paths) -> None:
        self._reader = reader
        self._paths = paths
        self._columns = marked_columns(reader.columns, paths)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of the schema, those of encrypted fields named so."""
        return self._columns

    @property
    def note(self) -> str | None:
        """Which fields are encrypted, and why bodies are not read in whole batches."""
        return "; ".join(note for note in (note_on(self._paths), self._reader.note) if note)

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Read ``bodies`` as the reader does."""
        result = self._reader.read(bodies)
        return replace(result, frame=marked_frame(result.frame, self._reader.columns, self._paths))
