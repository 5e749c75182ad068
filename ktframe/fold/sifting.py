"""Leaves out the records that ``where=`` is not true for, and makes tombstones of what ``deletes=`` says, before all else.

Tombstones always pass: they have no fields. JSON is judged as it was sent, and what headers decide by these; what names a schema,
and all other formats, by its columns, whose types that schema decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import polars as pl

from ktframe.columns import LINE, TOMBSTONE, is_field
from ktframe.fold.as_sent import (
    as_sent,
    by_headers,
    fields_seen,
    header_mark,
    headers_seen,
    judged_as_sent,
    parsed,
)
from ktframe.fold.condition import Condition, value_at
from ktframe.fold.deletes import DeleteRule
from ktframe.fold.headers import HeaderValues
from ktframe.fold.judging import judged, values_of
from ktframe.fold.learned import Learned
from ktframe.fold.learning import Records
from ktframe.fold.lines import lines_of
from ktframe.fold.records import Changes, RecordBatch
from ktframe.fold.value_columns import ValueColumns
from ktframe.formats import JsonFormat
from ktframe.formats.base import Fault, Refusal
from ktframe.formats.field_names import field_path
from ktframe.gc_pause import cyclic_gc_paused

_MOST_SEEN: Final = 300


class Verdict(NamedTuple):
    """The lines of records that are left out, of those that delete, and why others can't be judged."""

    left_out: frozenset[int] = frozenset()
    struck: frozenset[int] = frozenset()
    open: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Sieve:
    """What is asked of records before they become rows: whether they pass, and whether they delete a row."""

    where: Condition | None = None
    deletes: DeleteRule | None = None

    @cyclic_gc_paused()  # all values of a batch are made objects
    def sift(
        self, batch: RecordBatch, headers: HeaderValues, format_: JsonFormat | None, learned: Learned
    ) -> Sifted:
        """Return ``batch`` judged by its ``headers``, and as far as its values are JSON, which ``format_`` reads; None: they are not."""
        passed = Sifted(batch, batch, self, headers)
        if self.where is not None and (format_ is not None or headers.columns):
            passed = _without_left_out(passed, self.where, format_, learned)
        return passed if self.deletes is None else _with_deletes(passed, self.deletes, format_)

    def verdict(self, rows: pl.DataFrame, odd: Mapping[int, Mapping[str, Any]]) -> Verdict:
        """Judge decoded records by their columns; ``odd`` are values that could not be read, by line and name."""
        conditions = () if self.deletes is None else self.deletes.conditions
        every = conditions if self.where is None else (self.where, *conditions)
        if not rows.height or not every:
            return Verdict()
        named = {part for each in every for name in each.names for part in (name, field_path(name)[0])}
        dtypes = {name: dtype for name, dtype in rows.schema.items() if name in named and is_field(name)}
        columns = {name: values_of(rows[name]) for name in dtypes}
        values = {
            line: {**{name: column[number] for name, column in columns.items()}, **odd.get(line, {})}
            for number, line in enumerate(rows[LINE])
        }
        left_out, struck, open_ = set[int](), set[int](), dict[int, Refusal]()
        if self.where is not None:
            verdicts = _verdicts(values, self.where, dtypes)
            left_out = {line for line, passes in verdicts.items() if passes is False}
            open_ = {line: _refusal(line, self.where) for line, passes in verdicts.items() if passes is None}
        values = {line: each for line, each in values.items() if line not in left_out and line not in open_}
        for condition in conditions:
            for line, deletes in _verdicts(values, condition, dtypes).items():
                if deletes:
                    struck.add(line)
                elif deletes is None:
                    open_.setdefault(line, _refusal(line, condition, "deletes"))
        refused = tuple(refusal for line, refusal in open_.items() if line not in struck)
        return Verdict(frozenset(left_out), frozenset(struck), refused)


@dataclass(frozen=True, slots=True)
class Sifted:
    """A batch without the records that are left out for what they were sent as, those that delete as tombstones.

    ``lines`` are those that were judged; ``open`` are those among them that can't be judged. Lines are those of ``batch``.
    """

    batch: RecordBatch
    original: RecordBatch
    """The same records with the values of those that delete."""
    sieve: Sieve
    headers: HeaderValues
    """The headers of ``batch``."""
    left_out: Counter[int] = field(default_factory=Counter)
    """How many records of each partition are not in ``batch``."""
    left_out_later: Counter[int] = field(default_factory=Counter)
    """How many of it were left out when they were decoded."""
    lines: frozenset[int] = frozenset()
    open: tuple[Refusal, ...] = ()
    struck: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """The fields of records that delete by what they were sent as, by line."""
    seen: frozenset[str] = frozenset()
    """Fields of records that were left out, while none has passed."""
    field_deletes: int = 0
    """How many of those that delete do it by fields of their own."""

    @property
    def readable(self) -> RecordBatch:
        """The batch as it is read: nothing is learned from what can't be judged."""
        return _with_values(self.batch, {refusal.index: b"" for refusal in self.open})

    def after(
        self, records: Records, values: ValueColumns, keys: Sequence[str] = ()
    ) -> tuple[Records, Sifted]:
        """Return ``records``, those that are decoded, as they are judged by their columns; and what is known then.

        Where fields of the value are the key, these are ``keys``: records that have them delete by them.
        """
        records, sifted = self._judged_by_columns(records, keys)
        # One without such fields deletes as a tombstone does, by its record key.
        keyed = [
            line
            for line, record in self.struck.items()
            if any(value_at(record, key, or_around=True) is not None for key in keys)
        ]
        fields = pl.Schema({name: dtype for name, dtype in records.schema.items() if is_field(name)})
        if not keyed or not fields.keys() >= {field_path(key)[0] for key in keys}:  # no row has a key yet
            return records, sifted
        lines = lines_of(self.batch).filter(pl.col(LINE).is_in(keyed))
        found = values.read_some(self.original, lines, keys, fields)
        found = found.filter(~pl.all_horizontal(pl.col(keys).is_null()))
        unread = sorted({*keyed} - {*found[LINE]})
        return _replaced(records, found, _unread(unread, keys)), replace(
            sifted,
            batch=_with_values(sifted.batch, {line: self.original.values[line] for line in unread}),
            field_deletes=sifted.field_deletes + found.height,
        )

    def _judged_by_columns(self, records: Records, keys: Sequence[str]) -> tuple[Records, Sifted]:
        """Judge what was not judged as it was sent."""
        rows = records.rows
        unjudged = rows.filter(~pl.col(TOMBSTONE) & ~pl.col(LINE).is_in(self.lines))
        verdict = self.sieve.verdict(unjudged, self.headers.odd([*self.headers.dtypes]))
        verdict = verdict._replace(struck=verdict.struck | self._struck_by_headers(records))
        refused = [*self.open, *verdict.open]
        gone = verdict.left_out | {refusal.index for refusal in refused}
        if not gone and not verdict.struck:
            return records, self
        # That they can't be judged comes first: no other type of a column would change it.
        unread = [refusal for refusal in records.refused if refusal.index not in gone]
        kept = records._replace(rows=rows.filter(~pl.col(LINE).is_in(gone)), refused=[*unread, *refused])
        deleting = records.keyed.filter(pl.col(LINE).is_in(verdict.struck))
        deleting = deleting.with_columns(pl.lit(value=True).alias(TOMBSTONE))
        by_field = 0
        if known := [name for name in keys if name in rows.columns]:
            deleting = deleting.join(rows.select(LINE, *known), on=LINE, how="left", maintain_order="left")
            by_field = deleting.filter(~pl.all_horizontal(pl.col(known).is_null())).height
        return _replaced(kept, deleting), replace(
            self,
            batch=_with_values(self.batch, dict.fromkeys(verdict.struck)),
            left_out_later=Counter(self.batch.partitions[line] for line in verdict.left_out),
            field_deletes=by_field,
        )

    def _struck_by_headers(self, records: Records) -> frozenset[int]:
        """Return the records that delete a row by their headers, though their values can't be read."""
        deletes, where = self.sieve.deletes, self.sieve.where
        if deletes is None or not deletes.conditions or not self.headers.columns:
            return frozenset()
        keyed = {*records.keyed[LINE]} - {*records.rows[LINE]} - self.lines
        lines = [line for line in sorted(keyed) if self.batch.values[line] is not None]
        if where is not None:  # what it leaves out deletes nothing
            lines = [line for line, passes in by_headers(where, self.headers, lines).items() if passes]
        verdicts = (by_headers(condition, self.headers, lines) for condition in deletes.conditions)
        return frozenset(line for each in verdicts for line, deletes_row in each.items() if deletes_row)

    def told(self, changes: Changes) -> Changes:
        """Return ``changes`` with the records that were left out."""
        left_out = self.left_out + self.left_out_later
        if not left_out:
            return replace(changes, field_deletes=self.field_deletes)
        accepted = Counter(changes.accepted)
        accepted.subtract(self.left_out_later)
        records = Counter(changes.records) + self.left_out
        learned = changes.learned
        if self.seen - learned.seen:
            names = frozenset(sorted(learned.seen | self.seen)[:_MOST_SEEN]) | _own(self)
            learned = replace(learned, seen=names)
        return replace(
            changes,
            left_out=left_out,
            accepted=accepted,
            records=records,
            learned=learned,
            field_deletes=self.field_deletes,
        )


def _verdicts(
    values: Mapping[int, Mapping[str, Any]], condition: Condition, dtypes: Mapping[str, pl.DataType]
) -> dict[int, bool | None]:
    return dict(zip(values, judged(condition, [*values.values()], dtypes), strict=True))


def _with_values(batch: RecordBatch, values: Mapping[int, bytes | None]) -> RecordBatch:
    if not values:
        return batch
    changed = [*batch.values]
    for line, value in values.items():
        changed[line] = value
    return replace(batch, values=changed)


def _replaced(records: Records, lines: pl.DataFrame, refused: Sequence[Refusal] = ()) -> Records:
    """Return ``records`` with ``lines`` in the place of what there was of these, and without those that are ``refused``."""
    known = {*lines[LINE], *(refusal.index for refusal in refused)}
    others = records.rows.filter(~pl.col(LINE).is_in(known))
    rows = pl.concat([others, lines], how="diagonal_relaxed").sort(LINE)
    kept = [refusal for refusal in records.refused if refusal.index not in known]
    return records._replace(rows=rows, refused=[*kept, *refused])


def _unread(lines: Iterable[int], keys: Sequence[str]) -> list[Refusal]:
    reason = f"it deletes a row, but what is in {' and '.join(map(repr, keys))} is no key of a row"
    return [Refusal(line, reason, Fault.FIELD, tuple(field_path(key)[0] for key in keys)) for line in lines]


def _own(sifted: Sifted) -> frozenset[str]:
    names = () if sifted.sieve.where is None else sifted.sieve.where.names
    return sifted.seen.intersection((*names, *map(header_mark, names)))


def _without_left_out(
    passed: Sifted, condition: Condition, format_: JsonFormat | None, learned: Learned
) -> Sifted:
    batch = passed.batch
    verdicts, records = as_sent(condition, batch, passed.headers, format_)
    out = {line for line, verdict in verdicts.items() if verdict is False}
    # What the fields are called, as long as nothing passes: perhaps the condition names none of them.
    left = () if learned.samples else sorted(out)
    seen = [*fields_seen((records[line] for line in left if line in records), condition)]
    kept = [line for line in range(len(batch)) if line not in out] if out else range(len(batch))
    now = {line: number for number, line in enumerate(kept)}
    passing = batch.at(kept) if out else batch
    is_all = passed.sieve.deletes is None and passed.headers.dtypes.keys() >= {*condition.names}
    return replace(
        passed,
        batch=passing,
        original=passing,
        headers=passed.headers.at(kept) if out else passed.headers,
        left_out=Counter(batch.partitions[line] for line in out),
        lines=frozenset(now[line] for line in (verdicts if is_all else records) if line not in out),
        open=tuple(_refusal(now[line], condition) for line, verdict in verdicts.items() if verdict is None),
        seen=frozenset([*seen, *headers_seen(batch, left if passed.headers.columns else ())]),
    )


def _with_deletes(passed: Sifted, deletes: DeleteRule, format_: JsonFormat | None) -> Sifted:
    """Return what has passed with the records that delete a row as tombstones."""
    batch, open_ = passed.batch, {refusal.index: refusal for refusal in passed.open}
    struck = dict[int, Mapping[str, Any]]()
    if deletes.payloads:
        values = enumerate(batch.values)
        struck = {line: {} for line, value in values if value is not None and deletes.is_payload(value)}
    lines = passed.lines
    if deletes.conditions and format_ is not None:
        records = {line: record for line, record in parsed(batch, format_).items() if line not in open_}
        for condition in deletes.conditions:
            verdicts = judged_as_sent(condition, batch, records, passed.headers, format_)
            for line, verdict in verdicts.items():
                if verdict:
                    struck[line] = records[line]
                elif verdict is None:
                    open_.setdefault(line, _refusal(line, condition, "deletes"))
        lines |= records.keys()
    refused = tuple(refusal for line, refusal in open_.items() if line not in struck)
    return replace(
        passed,
        batch=_with_values(batch, dict.fromkeys(struck)),
        lines=lines,
        open=refused,
        struck=struck,
    )


def _refusal(line: int, condition: Condition, argument: str = "where") -> Refusal:
    reason = f"{argument}={condition.text} can't take what is in {' and '.join(map(repr, condition.names))}"
    return Refusal(line, reason, Fault.WHERE)
