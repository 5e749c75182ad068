"""The columns of a view and their types: bookkeeping, those of the identity, and the fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from ktframe.columns import BOOKKEEPING, EXTRA_COLUMNS, KEY, is_field
from ktframe.fold.headers import HeaderColumns
from ktframe.fold.identity import Identity
from ktframe.fold.key_column import KeyColumn
from ktframe.fold.nested_fields import NestedFields
from ktframe.fold.unnested_fields import UnnestedFields


@dataclass(frozen=True, slots=True)
class ViewColumns:
    """The columns of rows of ``identity``, given the schema of records that is known so far."""

    rows: Identity
    keys: KeyColumn
    nested: NestedFields
    unnested: UnnestedFields
    headers: HeaderColumns

    def identity(self, schema: pl.Schema) -> pl.Schema:
        """Return the dtypes of the identity's columns."""
        return self._dtypes(self.rows.columns, schema)

    def all(self, schema: pl.Schema) -> pl.Schema:
        """Return all columns: bookkeeping, those of the identity that are not fields, the fields in order, headers."""
        identity = self._dtypes((*self.rows.columns, *self.rows.extra_columns), schema)
        others = {name: dtype for name, dtype in identity.items() if name not in schema}
        own = {name: dtype for name, dtype in self.nested.dtypes(schema).items() if name in schema}
        if not self.unnested.structs:
            return pl.Schema({**BOOKKEEPING, **others, **schema, **own, **self.headers.dtypes})
        fields = pl.Schema({name: dtype for name, dtype in {**schema, **own}.items() if is_field(name)})
        taken = self.nested.names.union(self.rows.columns).difference(fields)
        key = {name: dtype for name, dtype in schema.items() if not is_field(name)}
        shown = self.unnested.schema(fields, taken)
        self.headers.require_no_field(shown)
        return pl.Schema({**BOOKKEEPING, **others, **key, **shown, **self.headers.dtypes})

    def _dtypes(self, columns: Sequence[str], schema: pl.Schema) -> pl.Schema:
        known = {
            **schema,
            **self.nested.dtypes(schema),
            **BOOKKEEPING,
            **EXTRA_COLUMNS,
            KEY: self.keys.dtype(schema),
        }
        return pl.Schema({name: known.get(name, pl.Null()) for name in columns})
