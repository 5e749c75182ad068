"""Structs whose fields are columns of the view, as ``unnest=`` asks for: in their place, and only there.

Records are read, identified and stored as without it; what is lifted is what rows show.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count as count_from
from typing import Final, NamedTuple, TypeAlias

import polars as pl

from ktframe.errors import ConfigurationError, SchemaError
from ktframe.formats.dtypes import struct_fields
from ktframe.formats.field_names import FieldPath, field_name
from ktframe.formats.nested import nested_value

Unnest: TypeAlias = str | Sequence[str] | Mapping[str, str]
"""The columns whose fields become columns, or these with a prefix for the names of their fields."""
_EXAMPLE: Final = 'unnest="data", unnest=["payload", "after"], or unnest={"data": "data_"} with a prefix.'


class _Column(NamedTuple):
    """A column of the view: its type, and the path to its values among the fields of records."""

    dtype: pl.DataType
    path: FieldPath


@dataclass(frozen=True, slots=True)
class UnnestedFields:
    """The columns whose fields are lifted, one after the other, each with the prefix that the names of these get."""

    structs: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns whose fields are lifted."""
        return tuple(name for name, _ in self.structs)

    @property
    def argument(self) -> Unnest:
        """The argument that asks for it."""
        if any(prefix for _, prefix in self.structs):
            return dict(self.structs)
        return self.names[0] if len(self.structs) == 1 else list(self.names)

    @property
    def objects(self) -> frozenset[FieldPath]:
        """Where the structs may be: a later one may be a field of an earlier one."""
        paths: list[tuple[FieldPath, str]] = []
        for name, prefix in self.structs:
            inner = [(*path, name[len(outer) :]) for path, outer in paths if name.startswith(outer)]
            paths += [(path, prefix) for path in ((name,), *inner)]
        return frozenset(path for path, _ in paths)

    def absent(self, fields: pl.Schema) -> str | None:
        """Return the first name that no column has which ``fields`` and those before it give; None where each has one."""
        for at, name in enumerate(self.names):
            if name not in UnnestedFields(self.structs[:at]).schema(fields):
                return name
        return None

    def schema(self, fields: pl.Schema, taken: Collection[str] = ()) -> pl.Schema:
        """Return the columns that show ``fields``; ``taken`` are names that other columns have.

        Raises
        ------
        SchemaError
            When two columns would have one name, or what is to be lifted has no fields.
        """
        if not self.structs:
            return fields
        return pl.Schema({name: column.dtype for name, column in self._columns(fields, taken).items()})

    def apply(self, rows: pl.DataFrame, fields: pl.Schema) -> pl.DataFrame:
        """Return ``rows``, which have the ``fields``, with the lifted columns in the place of what these were lifted from."""
        if not self.structs:
            return rows
        columns = self._columns(fields, ())
        lifted = {name: nested_value(column.path) for name, column in columns.items() if len(column.path) > 1}
        gone = [name for name in fields if name not in columns]
        return rows.with_columns(value.alias(name) for name, value in lifted.items()).drop(gone)

    def _columns(self, fields: pl.Schema, taken: Collection[str]) -> dict[str, _Column]:
        columns = {name: _Column(dtype, (name,)) for name, dtype in fields.items()}
        for name, prefix in self.structs:
            column = columns.get(name)
            if column is not None:
                columns = self._lifted(columns, name, column, prefix, taken)
        return columns

    def _lifted(
        self, columns: dict[str, _Column], name: str, column: _Column, prefix: str, taken: Collection[str]
    ) -> dict[str, _Column]:
        """Return ``columns`` with the fields of one in its place."""
        if not isinstance(column.dtype, pl.Struct | pl.Null):
            message = f"unnest={name!r}, but {name!r} is {column.dtype}: only the fields of an object become columns."
            raise SchemaError(message, f"leave {name!r} out of unnest=.")
        inner = struct_fields(column.dtype) if isinstance(column.dtype, pl.Struct) else {}
        fields = {f"{prefix}{field}": _Column(dtype, (*column.path, field)) for field, dtype in inner.items()}
        others = columns.keys() - {name}
        for field, inside in fields.items():
            prefixed = self._with_prefix(name, prefix, inner, {*others, *taken})
            hint = f"unnest={prefixed!r} puts a prefix before the names of its fields."
            if field in others:
                message = f"unnest={name!r}: {name!r} has a field that would be the column {field!r}, and there is one already."
                raise SchemaError(message, hint)
            if field in taken:
                message = f"unnest={name!r}: the key is the field {field!r} of records, and {name!r} has one of that name too."
                key = field_name(inside.path)
                raise SchemaError(
                    message, hint if key == field else f"name the one that is meant, such as key={key!r}."
                )
        shown: dict[str, _Column] = {}
        for other, known in columns.items():
            shown |= fields if other == name else {other: known}
        return shown

    def _with_prefix(
        self, name: str, prefix: str, inner: Iterable[str], others: Collection[str]
    ) -> dict[str, str]:
        """Return the argument with another prefix for the fields of ``name``, by which none is called as ``others`` are."""
        underlined = (name + "_" * count for count in count_from(1))
        new = next(each for each in underlined if not any(f"{each}{field}" in others for field in inner))
        # One that is lifted later may be among them.
        renamed = {f"{prefix}{field}": f"{new}{field}" for field in inner}
        at = self.names.index(name)
        later = {renamed.get(other, other): further for other, further in self.structs[at + 1 :]}
        return {**dict(self.structs[:at]), name: new, **later}


def unnested_fields(argument: object) -> UnnestedFields:
    """Return what ``unnest=`` asks for.

    Raises
    ------
    ConfigurationError
        When it is neither names nor names with prefixes.
    """
    if isinstance(argument, Mapping):
        structs = tuple(argument.items())
    else:
        names = (
            [argument] if isinstance(argument, str) else argument if isinstance(argument, Iterable) else []
        )
        structs = tuple((name, "") for name in names)
    are_text = all(isinstance(text, str) for pair in structs for text in pair)
    if not structs or not are_text or len(dict(structs)) != len(structs):
        message = f"unnest={argument!r} must name at least one field, each once."
        raise ConfigurationError(message, _EXAMPLE)
    return UnnestedFields(structs)


NONE_UNNESTED: Final = UnnestedFields()
