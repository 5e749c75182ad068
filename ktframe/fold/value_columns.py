"""Values as columns: those of a batch with the lines they belong to, and those of stored rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import polars as pl

from ktframe.columns import LINE, TOMBSTONE
from ktframe.fold.nested_fields import NONE_NESTED, NestedFields
from ktframe.fold.records import RecordBatch
from ktframe.fold.refused import Step
from ktframe.formats import Format, partial_rows
from ktframe.formats.nested import only


@dataclass(frozen=True, slots=True)
class ValueColumns:
    """The values of a topic in ``format``: a column per field, and per ``nested`` one."""

    format: Format
    nested: NestedFields = NONE_NESTED

    def read(self, batch: RecordBatch, lines: pl.DataFrame, fields: pl.Schema) -> tuple[Step, pl.Schema]:
        """Add the fields to the lines whose value could be decoded and to tombstones; return all fields known by now."""
        is_tombstone = lines[TOMBSTONE]
        valued = lines[LINE].filter(~is_tombstone)
        # All of the batch, mostly: none has to be picked out then.
        picked = batch.values if len(valued) == len(batch) else [batch.values[line] for line in valued]
        decoded = self.format.decode(cast(Sequence[bytes], picked), fields)
        self.nested.require_one_type(decoded.schema)
        refused = [replace(refusal, index=valued[refusal.index]) for refusal in decoded.refused]
        if refused:
            lines = lines.filter(~lines[LINE].is_in([refusal.index for refusal in refused]))
            is_tombstone = lines[TOMBSTONE]
        frame = spread(self.nested.add(decoded.frame), ~is_tombstone)
        return Step(lines.hstack(frame.get_columns()), refused), decoded.schema

    def read_some(
        self, batch: RecordBatch, lines: pl.DataFrame, names: Sequence[str], fields: pl.Schema
    ) -> pl.DataFrame:
        """Add the fields ``names`` to those ``lines``, of refused records, in whose values they can be read.

        One that is not among ``fields`` can't be read, unless it is null: another value is another identity.
        """
        wanted = only(fields, [path for name in names for path in self.nested.places(name, fields)])
        numbers = lines[LINE].to_list()
        decoded = partial_rows(self.format, [batch.values[line] or b"" for line in numbers], wanted)
        accepted = pl.Series(LINE, [numbers[index] for index in decoded.accepted], dtype=pl.UInt32)
        return at_lines(lines, accepted).hstack(self.nested.add(decoded.frame)[[*names]].get_columns())

    def load(self, payloads: Sequence[bytes], is_tombstone: pl.Series, fields: pl.Schema) -> pl.DataFrame:
        """Return the fields of stored values, nulls for tombstones.

        Raises
        ------
        ValueError
            When a value can't be decoded any more, which only a damaged store can cause.
        """
        values = [p for p, is_null in zip(payloads, is_tombstone, strict=True) if not is_null]
        decoded = self.format.decode(values, fields)
        if decoded.refused:
            raise ValueError(decoded.refused[0].reason)
        return spread(self.nested.add(decoded.frame), ~is_tombstone)


def at_lines(frame: pl.DataFrame, lines: pl.Series) -> pl.DataFrame:
    """Return the rows of ``frame`` (ascending in ``LINE``) whose line is in ``lines``."""
    return frame if len(lines) == frame.height else frame.filter(pl.col(LINE).is_in(lines.implode()))


def spread(frame: pl.DataFrame, is_there: pl.Series) -> pl.DataFrame:
    """Return the rows of ``frame`` where ``is_there`` says so, and nulls elsewhere."""
    if frame.height == len(is_there):
        return frame
    if not frame.height:
        return frame.clear(len(is_there))
    lines = pl.select(pl.when(is_there).then(is_there.cum_sum() - 1)).to_series()
    return frame[lines]
