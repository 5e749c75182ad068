"""The nested fields that ``key=`` and ``time=`` name, as columns under these names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from ktframe.formats.field_names import FieldPath, column_name, field_path
from ktframe.formats.nested import nested_dtype, nested_value


@dataclass(frozen=True, slots=True)
class NestedFields:
    """Fields inside of structs, by the names of their columns.

    A field of the top that has such a name itself comes first, record by record: the nested one counts where it is null.
    """

    paths: tuple[tuple[str, FieldPath], ...] = ()

    @classmethod
    def of(cls, names: Iterable[str], declared: Iterable[str] = ()) -> Self:
        """Return those of ``names`` that are nested: with a dot, and not among the fields that are ``declared``."""
        known = set(declared)
        paths = {name: field_path(name) for name in names if name not in known}
        return cls(tuple((column_name(name), path) for name, path in paths.items() if len(path) > 1))

    @property
    def names(self) -> frozenset[str]:
        """The names of their columns."""
        return frozenset(name for name, _ in self.paths)

    @property
    def objects(self) -> frozenset[FieldPath]:
        """The fields that hold them."""
        return frozenset(path[:depth] for _, path in self.paths for depth in range(1, len(path)))

    def everywhere(self, name: str) -> frozenset[FieldPath]:
        """Return where the values of a column may be: in the field of the top that has its name, or a nested one."""
        return frozenset({(name,), *(path for nested, path in self.paths if nested == name)})

    def places(self, name: str, fields: pl.Schema) -> list[FieldPath]:
        """Return where the value of the column ``name`` may be."""
        nested = dict(self.paths).get(name)
        if nested is None:
            return [(name,)]
        return [(name,), nested] if name in fields else [nested]

    def dtypes(self, fields: pl.Schema) -> dict[str, pl.DataType]:
        """Return the types of their columns, Null where no record has shown a field."""
        return {name: self._dtype(name, path, fields) for name, path in self.paths}

    def _dtype(self, name: str, path: FieldPath, fields: pl.Schema) -> pl.DataType:
        outer, inner = fields.get(name, pl.Null()), nested_dtype(fields, path) or pl.Null()
        return inner if outer == pl.Null else outer

    def add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows`` with their columns."""
        if not self.paths:
            return rows
        return rows.with_columns(self._value(name, path, rows.schema) for name, path in self.paths)

    def _value(self, name: str, path: FieldPath, fields: pl.Schema) -> pl.Expr:
        inner, outer = nested_dtype(fields, path), fields.get(name)
        if inner is None or outer not in (None, pl.Null, inner):
            # Of two types the one of the top: what is nested then is in no column.
            return (pl.lit(None) if outer is None else pl.col(name)).alias(name)
        value = nested_value(path)
        return (pl.coalesce(name, value) if outer == inner else value).alias(name)


NONE_NESTED: Final = NestedFields()
