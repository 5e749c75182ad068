"""Fields of the value as the identity: a table with ``key=``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import polars as pl

from ktframe.columns import LINE, TOMBSTONE
from ktframe.fold.identity import Identity, KeyUse
from ktframe.fold.refused import Step
from ktframe.formats.base import Fault, Refusal


@dataclass(frozen=True, slots=True)
class FieldKey(Identity):
    """The latest row per value of the key fields.

    A tombstone has no fields. It removes the rows of its partition whose newest record carried its record key
    (``key_tombstones.py``). A value never removes the row of another identity.
    """

    fields: tuple[str, ...]

    kind: ClassVar[str] = "table"
    key_use: ClassVar[KeyUse] = KeyUse.DELETES_BY

    @property
    def columns(self) -> tuple[str, ...]:
        """The key fields, in the order they were named."""
        return self.fields

    @property
    def key_fields(self) -> tuple[str, ...]:
        """The key fields."""
        return self.fields

    @property
    def null_key_reason(self) -> str:
        """Name the key fields."""
        names = ", ".join(map(repr, self.fields))
        return f"no key: {names} {'is' if len(self.fields) == 1 else 'are all'} missing or null"

    def with_key(self, rows: pl.DataFrame) -> Step:
        """Refuse the records that have none of the fields; add the fields that no record has shown yet."""
        absent = [pl.lit(None).alias(name) for name in self.fields if name not in rows.columns]
        rows = rows.with_columns(absent)
        is_null = pl.all_horizontal(pl.col(self.fields).is_null()) & ~pl.col(TOMBSTONE)
        refused = [
            Refusal(line, self.null_key_reason, Fault.KEY_FIELDS) for line in rows.filter(is_null)[LINE]
        ]
        return Step(rows.filter(~is_null) if refused else rows, refused)
