"""Leaves out the records that ``where=`` is not true for, before anything is learned from them or folded.

Tombstones always pass: they have no fields. JSON is judged as it was sent; what names a schema, and all other formats, by its
columns, whose types that schema decides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import polars as pl

from ktframe.columns import LINE, TOMBSTONE, is_field
from ktframe.fold.condition import Condition, value_at
from ktframe.fold.judging import ODD, judged
from ktframe.fold.learned import Learned
from ktframe.fold.learning import Records
from ktframe.fold.records import Changes, RecordBatch
from ktframe.formats import JsonFormat
from ktframe.formats.base import Fault, Refusal
from ktframe.formats.field_names import field_name

_RAW: Final = (pl.String, pl.Boolean, pl.Int64, pl.Float64)
"""Declared types whose values are compared as JSON has them."""
_MOST_SEEN: Final = 300


@dataclass(frozen=True, slots=True)
class Sifted:
    """A batch without the records that are left out for what they were sent as.

    ``lines`` are those that were judged; ``open`` are those among them that can't be judged. Lines are those of ``batch``.
    """

    batch: RecordBatch
    condition: Condition
    left_out: Counter[int] = field(default_factory=Counter)
    """How many records of each partition are not in ``batch``."""
    left_out_later: Counter[int] = field(default_factory=Counter)
    """How many of it were left out when they were decoded."""
    lines: frozenset[int] = frozenset()
    open: tuple[Refusal, ...] = ()
    seen: frozenset[str] = frozenset()
    """Fields of records that were left out, while none has passed."""

    @property
    def readable(self) -> RecordBatch:
        """The batch as it is read: nothing is learned from what can't be judged."""
        if not self.open:
            return self.batch
        values = [*self.batch.values]
        for refusal in self.open:
            values[refusal.index] = b""
        return replace(self.batch, values=values)

    def after(self, records: Records) -> tuple[Records, Sifted]:
        """Return ``records``, those that are decoded, without the ones that are left out now; and what is known then."""
        rows = records.rows
        unjudged = rows.filter(~pl.col(TOMBSTONE) & ~pl.col(LINE).is_in(self.lines))
        left_out, open_ = [], [*self.open]
        if unjudged.height:
            names = [name for name in unjudged.columns if is_field(name)]
            dtypes = {name: unjudged.schema[name] for name in names}
            verdicts = judged(self.condition, unjudged.select(names).to_dicts(), dtypes)
            for line, verdict in zip(unjudged[LINE], verdicts, strict=True):
                if verdict is None:
                    open_.append(_refusal(line, self.condition))
                elif not verdict:
                    left_out.append(line)
        gone = {*left_out, *(refusal.index for refusal in open_)}
        if not gone:
            return records, self
        # That they can't be judged comes first: no other type of a column would change it.
        unread = [refusal for refusal in records.refused if refusal.index not in gone]
        kept = records._replace(rows=rows.filter(~pl.col(LINE).is_in(gone)), refused=[*unread, *open_])
        partitions = Counter(self.batch.partitions[line] for line in left_out)
        return kept, replace(self, left_out_later=partitions)

    def told(self, changes: Changes) -> Changes:
        """Return ``changes`` with the records that were left out."""
        left_out = self.left_out + self.left_out_later
        if not left_out:
            return changes
        accepted = Counter(changes.accepted)
        accepted.subtract(self.left_out_later)
        records = Counter(changes.records) + self.left_out
        learned = changes.learned
        if self.seen - learned.seen:
            learned = replace(
                learned, seen=frozenset(sorted(learned.seen | self.seen)[:_MOST_SEEN]) | _own(self)
            )
        return replace(changes, left_out=left_out, accepted=accepted, records=records, learned=learned)


def _own(sifted: Sifted) -> frozenset[str]:
    return sifted.seen.intersection(sifted.condition.names)


def sift(batch: RecordBatch, condition: Condition, format_: JsonFormat | None, learned: Learned) -> Sifted:
    """Return ``batch`` without the records that are left out; ``format_`` reads JSON, None where nothing is judged yet."""
    if format_ is None:
        return Sifted(batch, condition)
    parsed = ((line, format_.parse(value)) for line, value in enumerate(batch.values) if value is not None)
    records = {line: record for line, record in parsed if record is not None}
    lines = [*records]
    declared = _declared(condition, format_)
    known: Sequence[Mapping[str, Any]] = [*records.values()]
    for name, dtype in declared.items():
        payloads = [batch.values[line] or b"" for line in lines]
        known = _read_as(name, dtype, known, format_, payloads)
    verdicts = dict(zip(lines, judged(condition, known, declared), strict=True))
    out = {line for line, verdict in verdicts.items() if verdict is False}
    left = (records[line] for line in sorted(out))
    # What the fields are called, as long as nothing passes: perhaps the condition names none of them.
    names = frozenset() if learned.samples else frozenset(_seen(left, condition))
    if not out:
        open_ = [_refusal(line, condition) for line, verdict in verdicts.items() if verdict is None]
        return Sifted(batch, condition, lines=frozenset(lines), open=tuple(open_))
    kept = [line for line in range(len(batch)) if line not in out]
    now = {line: number for number, line in enumerate(kept)}
    open_ = [_refusal(now[line], condition) for line, verdict in verdicts.items() if verdict is None]
    return Sifted(
        _at(batch, kept),
        condition,
        left_out=Counter(batch.partitions[line] for line in out),
        lines=frozenset(now[line] for line in lines if line not in out),
        open=tuple(open_),
        seen=names,
    )


def _at(batch: RecordBatch, lines: Sequence[int]) -> RecordBatch:
    def picked(column: Sequence[Any]) -> list[Any]:
        return [column[line] for line in lines]

    return replace(
        batch,
        partitions=picked(batch.partitions),
        offsets=picked(batch.offsets),
        timestamps=picked(batch.timestamps),
        timestamp_types=picked(batch.timestamp_types),
        keys=picked(batch.keys),
        values=picked(batch.values),
        headers=None if batch.headers is None else picked(batch.headers),
    )


def _refusal(line: int, condition: Condition) -> Refusal:
    reason = f"where={condition.text} can't take what is in {' and '.join(map(repr, condition.names))}"
    return Refusal(line, reason, Fault.WHERE)


def _declared(condition: Condition, format_: JsonFormat) -> dict[str, pl.DataType]:
    """Return the declared types in which fields are judged."""
    if condition.equal is not None:
        return {}
    types = format_.initial_schema
    return {name: types[name] for name in condition.names if name in types and types[name] not in _RAW}


def _read_as(
    name: str,
    dtype: pl.DataType,
    records: Sequence[Mapping[str, Any]],
    format_: JsonFormat,
    payloads: Sequence[bytes],
) -> list[Mapping[str, Any]]:
    """Return ``records`` with the values of one field as they are declared."""
    decoded = format_.decode_partly(payloads, pl.Schema({name: dtype}))
    values: dict[int, Any] = dict(zip(decoded.accepted, decoded.frame[name].to_list(), strict=True))
    return [{**record, name: values.get(index, ODD)} for index, record in enumerate(records)]


def _seen(records: Iterable[Mapping[str, Any]], condition: Condition) -> Iterator[str]:
    """Yield the fields of ``records``, and what the condition names of them."""
    for record in records:
        yield from (name for name in condition.names if value_at(record, name) is not None or name in record)
        for name, value in record.items():
            yield field_name((name,))
            if isinstance(value, Mapping):
                yield from (field_name((name, inner)) for inner in value)
