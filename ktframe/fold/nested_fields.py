"""The nested fields that ``key=`` and ``time=`` name, as columns under these names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.field_names import FieldPath, column_name, field_path
from ktframe.formats.nested import nested_dtype, nested_value


@dataclass(frozen=True, slots=True)
class NestedFields:
    """Fields inside of structs, by the names of their columns.

    A field of the top that has such a name itself comes first, record by record: the nested one counts where it is null.
    One that is ``declared`` as a field inside of a struct is that alone.
    """

    paths: tuple[tuple[str, FieldPath], ...] = ()
    declared: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str], declared: pl.Schema) -> Self:
        """Return those of ``names`` that are nested: with a dot, and not among the fields that are ``declared``."""
        paths = {name: field_path(name) for name in names if name not in declared}
        nested = tuple((column_name(name), path) for name, path in paths.items() if len(path) > 1)
        return cls(
            nested, frozenset(name for name, path in nested if nested_dtype(declared, path) is not None)
        )

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
        inner = nested_dtype(fields, path) or pl.Null()
        outer = pl.Null() if name in self.declared else fields.get(name, pl.Null())
        return inner if outer == pl.Null else outer

    def require_one_type(self, fields: pl.Schema) -> None:
        """Raise a SchemaError where a field of the top and a nested one of its name have different types."""
        for name, path in self.paths:
            outer, inner = fields.get(name, pl.Null()), nested_dtype(fields, path) or pl.Null()
            if name not in self.declared and pl.Null not in (outer, inner) and outer != inner:
                message = (
                    f"{name!r} is a field of the top ({outer}), and one inside of {path[0]!r} ({inner})."
                )
                hint = f"schema= can declare the one that is meant: {{{name!r}: ...}} or {{{path[0]!r}: pl.Struct(...)}}."
                raise SchemaError(message, hint)

    def add(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return ``rows`` with their columns."""
        if not self.paths:
            return rows
        return rows.with_columns(self._value(name, path, rows.schema) for name, path in self.paths)

    def _value(self, name: str, path: FieldPath, fields: pl.Schema) -> pl.Expr:
        inner, outer = nested_dtype(fields, path), None if name in self.declared else fields.get(name)
        if inner is None:
            return (pl.lit(None) if outer is None else pl.col(name)).alias(name)
        value = nested_value(path)
        return (pl.coalesce(name, value) if outer == inner else value).alias(name)


NONE_NESTED: Final = NestedFields()
