"""Decodes a batch so that the types of JSON fields do not depend on how records were cut into batches.

The first records of each partition decide (``learned``), whatever order the partitions are read in. A batch is decoded by
what is known; where the records that it adds to the samples decide otherwise, it is decoded again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

import polars as pl

from ktframe.columns import KEY, LINE, TOMBSTONE, is_field
from ktframe.fold.counting import BOUND, count_columns, count_values
from ktframe.fold.key_column import key_columns, key_type
from ktframe.fold.learned import SAMPLE_RECORDS, Learned, Sample
from ktframe.fold.records import RecordBatch
from ktframe.formats import NO_FORMS, JsonFormat
from ktframe.formats.base import Fault, Refusal
from ktframe.formats.field_names import FieldPath
from ktframe.formats.json.decision import Decision, wide_paths
from ktframe.formats.json.sightings import EMPTY, Sightings

HEAD_RECORDS: Final = 100
"""So many records of each partition are looked at one by one: they decide the order of fields, nulls among them."""


class Records(NamedTuple):
    """Decoded records, one row each with its ``LINE``; why the others are refused; and all fields known by now.

    ``keyed`` are the lines of the records whose key could be read.
    """

    rows: pl.DataFrame
    refused: Sequence[Refusal]
    schema: pl.Schema
    keyed: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Learner:
    """The formats of values and keys whose fields are inferred; None where they are not."""

    values: JsonFormat | None
    keys: JsonFormat | None
    timed: frozenset[FieldPath] = frozenset()
    """The fields of values that hold a time."""

    def decision(self, learned: Learned) -> Decision | None:
        """Return what was decided for the fields of values."""
        if self.values is None:
            return None
        return self.values.decision_of(
            learned.values, learned.accepted_wide, timed=self.timed, in_force=learned.forms
        )

    def decision_for(self, learned: Learned, schema: pl.Schema) -> Decision | None:
        """Return what was decided, with the forms that values have beside rows of ``schema``."""
        decision = self.decision(learned)
        return None if decision is None else decision.for_rows_of(_fields(schema))

    def key_dtype(self, learned: Learned) -> pl.DataType:
        """Return the type of record keys; Null where it is not inferred, or nothing was seen."""
        if self.keys is None:
            return pl.Null()
        names, fields = learned.keys.commonest_names, self.keys.decision_of(learned.keys).schema
        return key_type(pl.Schema({name: fields[name] for name in fields if name in names}))


Decode = Callable[[pl.Schema, Decision | None], Records]
"""Decodes a batch, given the schema known before it and what was decided."""


def decode_and_learn(
    decode: Decode, learner: Callable[[], Learner], batch: RecordBatch, schema: pl.Schema, learned: Learned
) -> tuple[Records, Learned]:
    """Return the records of ``batch`` and what is known after it; ``schema`` is that of the rows so far.

    Where these would have other types by now, ``Learned.differing`` names the first such field: they have to be read
    again, by what was learned.
    """
    likely = learner().decision_for(_with_heads(learner(), batch, learned), schema)
    records = decode(schema, likely)
    current = learner()  # asked again: a payload may have named the first schema of a registry
    if current.values is None and current.keys is None:
        return records, learned
    after = _counted(current, batch, records, learned, likely)
    if after is not learned or records.schema != schema:
        differing = after.differing or _differing(current, schema, learned, after)
        if differing:
            after = replace(after, differing=differing)
        else:
            records, likely = _settled(decode, current, records, schema, after, likely=likely)
    if likely is not None and likely.in_force != after.forms:
        after = replace(after, forms=likely.in_force)
    if current.values is not None:
        inferred = current.values.inferred(_fields(records.schema))
        wide = after.accepted_wide.union(wide_paths(records.rows, inferred, after.accepted_wide))
        after = after if wide == after.accepted_wide else replace(after, accepted_wide=wide)
        if records.refused and not after.by_arrival and len(after.samples) > 1:
            by_arrival = _by_arrival(current.values, batch, records, after)
            after = replace(after, by_arrival=by_arrival) if by_arrival else after
    return records, after


def read_again(learner: Learner, learned: Learned) -> Learned:
    """Return what is known before the topic is read again: all samples, unless they were not counted exactly enough."""
    decision = learner.decision(learned)
    if decision is not None and decision.is_uncertain and not learned.is_exact:
        return Learned(is_exact=True)
    return replace(learned, accepted_wide=frozenset(), forms=NO_FORMS, differing="", by_arrival="")


def _differing(learner: Learner, schema: pl.Schema, learned: Learned, after: Learned) -> str:
    """Return the first field of which rows or refusals before this batch would be otherwise now."""
    key = learner.key_dtype(after)
    # A key without fields was a null before the first one with fields.
    was_null = EMPTY in learned.keys.kinds and learner.key_dtype(learned) == pl.Null != key
    if not _is_same_key(schema[KEY], key) if KEY in schema else was_null:
        return "the record key"
    before, decision = learner.decision(learned), learner.decision(after)
    if before is None or decision is None:
        return ""
    if decision.is_uncertain and not after.is_exact:
        return "a field of numbers"
    name = decision.disagreement(_fields(schema)) or decision.change_from(before)
    return "" if name is None else repr(name)


def _by_arrival(values: JsonFormat, batch: RecordBatch, records: Records, learned: Learned) -> str:
    """Return a field in which a record was refused, and of which the samples of no partition have decided anything."""
    decision = values.decision_of(learned.values)
    for refusal in records.refused:
        for name in refusal.fields if refusal.fault is Fault.FIELD else ():
            if name not in records.schema and name not in learned.values.fields and not decision.is_crowded:
                return repr(name)
            is_number = decision.is_open_for_floats(name)
            if records.schema.get(name, pl.Null()) == pl.Null or not (is_number or decision.is_open(name)):
                continue
            value = (values.parse(batch.values[refusal.index] or b"") or {}).get(name)
            if values.infers_from(name, value) and (not is_number or type(value) in {int, float}):
                return repr(name)
    return ""


def _settled(
    decode: Decode,
    learner: Learner,
    records: Records,
    schema: pl.Schema,
    learned: Learned,
    *,
    likely: Decision | None,
) -> tuple[Records, Decision | None]:
    """Return the records of a batch as the samples decide, those of the batch among them, and what they decide.

    They were decoded by what was ``likely``.
    """
    decision, key = learner.decision_for(learned, schema), learner.key_dtype(learned)
    has_changed = (
        decision is not None
        and likely is not None
        and (
            decision.in_force != likely.in_force
            or decision.change_from(likely) is not None
            # Refused by what only some records had decided: for another reason now, or for none.
            or (_has_misfits(records) and decision.schema != likely.schema)
        )
    )
    if (
        has_changed
        or not _agree(decision, key, records.schema)
        or _fitted(decision, key, records.schema) != records.schema
    ):
        # From the schema before: that of the records may have fields that only those to be refused now have.
        records = decode(_fitted(decision, key, schema), decision)
    fitted = _fitted(decision, key, records.schema)
    return (records if fitted == records.schema else decode(fitted, decision)), decision


def _has_misfits(records: Records) -> bool:
    return any(refusal.fault is Fault.FIELD for refusal in records.refused)


def _agree(decision: Decision | None, key: pl.DataType, schema: pl.Schema) -> bool:
    has_key = KEY not in schema or _is_same_key(schema[KEY], key)
    return has_key and (decision is None or decision.disagreement(_fields(schema)) is None)


def _is_same_key(have: pl.DataType, decided: pl.DataType) -> bool:
    """Say whether the fields of keys are as decided, where they were ever anything but null."""
    if isinstance(decided, pl.Null):
        return True
    fields, wanted = key_columns(have), key_columns(decided)
    return list(fields) == list(wanted) and all(
        fields[name] == dtype or dtype == pl.Null for name, dtype in wanted.items()
    )


def _fitted(decision: Decision | None, key: pl.DataType, schema: pl.Schema) -> pl.Schema:
    fields = _fields(schema)
    fields = fields if decision is None else decision.fitted(fields)
    if key != pl.Null and KEY not in schema:
        return pl.Schema({KEY: key, **fields})
    keyed = {KEY: schema[KEY]} if KEY in schema else {}
    if key != pl.Null and not _is_same_key(schema[KEY], key):
        keyed = {KEY: key}
    return pl.Schema({**keyed, **fields})


def _fields(schema: pl.Schema) -> pl.Schema:
    return pl.Schema({name: dtype for name, dtype in schema.items() if is_field(name)})


# --- counting ---------------------------------------------------------------------------------------------------------


def _with_heads(learner: Learner, batch: RecordBatch, learned: Learned) -> Learned:
    """Return ``learned`` with the first records of partitions, as far as they were not counted yet.

    That is not kept: it is what is likely to be decided, so that a map, say, is not first read into thousands of columns.
    Where each record has names of its own, it is with all records that decide.
    """
    likely = _with_first(learner, batch, learned, min(HEAD_RECORDS, SAMPLE_RECORDS))
    decision = learner.decision(likely)
    if decision is None or decision.settles:
        return likely
    return _with_first(learner, batch, learned, SAMPLE_RECORDS)


def _with_first(learner: Learner, batch: RecordBatch, learned: Learned, most: int) -> Learned:
    if learner.values is None or learned.has_records(set(batch.partitions), most):
        return learned
    for partition, fresh in _fresh_lines(batch, learned, most):
        earlier = learned.samples.get(partition)
        count = partial(_sample_of_values, learner.values, batch, earlier)
        learned = learned.plus(partition, _within_limits(learner, batch, fresh, earlier, count))
    return learned


def _sample_of_values(
    format_: JsonFormat, batch: RecordBatch, earlier: Sample | None, lines: Sequence[int], *, is_bounded: bool
) -> Sample:
    """Return ``lines`` of one partition, whose values are counted one by one."""
    values = format_.nothing_seen()
    head = lines[: max(0, HEAD_RECORDS - (0 if earlier is None else earlier.records))]
    count_values(values, format_, batch, head, with_nulls=True)
    count_values(values, format_, batch, lines[len(head) :], is_bounded=is_bounded)
    return Sample(batch.offsets[lines[0]], batch.offsets[lines[-1]] + 1, len(lines), values)


def _within_limits(
    learner: Learner,
    batch: RecordBatch,
    lines: Sequence[int],
    earlier: Sample | None,
    count: Callable[..., Sample],
) -> Sample:
    """Return a sample of ``lines``, or of those up to the one with which names are too many to be columns: it ends there.

    The counts of further names would take more memory than the records do.
    """
    more = count(lines, is_bounded=True)
    if learner.values is None:
        return more
    before = learner.values.nothing_seen() if earlier is None else earlier.values
    if not learner.values.has_many(before.plus(more.values)):
        return more
    values = (batch.values[line] for line in lines)
    parsed = (None if value is None else learner.values.parse(value) for value in values)
    last = learner.values.first_crowding(before, parsed)
    if last is None:
        is_part = learner.values.has_many(more.values, BOUND)
        return count(lines, is_bounded=False) if is_part else more
    more = count(lines[: last + 1], is_bounded=False)
    return replace(more, records=SAMPLE_RECORDS - (0 if earlier is None else earlier.records))


def _fresh_lines(batch: RecordBatch, learned: Learned, most: int) -> Iterator[tuple[int, list[int]]]:
    """Yield each partition with the lines that its sample lacks, where that is to have ``most`` records."""
    lines_of: dict[int, list[int]] = defaultdict(list)
    for line, partition in enumerate(batch.partitions):
        lines_of[partition].append(line)
    for partition, lines in lines_of.items():
        sample = learned.samples.get(partition)
        start, count = (0, 0) if sample is None else (sample.end, sample.records)
        fresh = [line for line in lines if batch.offsets[line] >= start][: max(0, most - count)]
        if fresh:
            yield partition, fresh


def _counted(
    learner: Learner, batch: RecordBatch, records: Records, learned: Learned, likely: Decision | None
) -> Learned:
    """Return ``learned`` with those records of ``batch`` that its samples still need, decoded by what was ``likely``."""
    if learned.has_records(batch.positions or set(batch.partitions), SAMPLE_RECORDS):
        return learned
    after = learned
    formed = frozenset() if likely is None else frozenset(path[0] or "" for path, _ in likely.in_force)
    for partition, fresh in _fresh_lines(batch, learned, SAMPLE_RECORDS):
        earlier = learned.samples.get(partition)
        count = partial(_sample, learner, batch, records, earlier, formed=formed, is_exact=learned.is_exact)
        after = after.plus(partition, _within_limits(learner, batch, fresh, earlier, count))
    decision = learner.decision(after)
    if decision is not None and decision.is_uncertain and not learned.samples and not learned.is_exact:
        return _counted(learner, batch, records, Learned(is_exact=True), likely)
    return after


def _sample(
    learner: Learner,
    batch: RecordBatch,
    records: Records,
    earlier: Sample | None,
    lines: Sequence[int],
    *,
    formed: frozenset[str],
    is_exact: bool,
    is_bounded: bool,
) -> Sample:
    """Return ``lines`` of one partition as a sample; ``earlier`` are the records before them.

    ``formed`` are the fields whose columns don't show what kinds of values they had. ``is_bounded``: see ``count_values``.
    """
    offsets = batch.offsets
    count = 0 if earlier is None else earlier.records
    head = lines[: max(0, HEAD_RECORDS - count)]
    values, keys = Sightings(), Sightings()
    if learner.values is not None:
        values = learner.values.nothing_seen()
        count_values(values, learner.values, batch, head, with_nulls=True)
        rest = lines[len(head) :]
        if rest and not is_exact:
            rows = records.rows.filter(pl.col(LINE).is_in(rest) & ~pl.col(TOMBSTONE))
            fields = learner.values.inferred(_fields(records.schema))
            fields = pl.Schema({name: dtype for name, dtype in fields.items() if name not in formed})
            known = values if earlier is None else earlier.values.plus(values)
            firsts = count_columns(values, known, fields, rows, with_times=learner.values.reads_times)
            uncounted = firsts if rows.height == len(rest) else {*rest} - {*rows[LINE]} | firsts
            if formed:
                in_columns = (line for line in rest if line not in uncounted)
                count_values(values, learner.values, batch, in_columns, only=formed)
            rest = sorted(uncounted)
        count_values(values, learner.values, batch, rest, is_bounded=is_bounded)
    if learner.keys is not None:
        for line in lines:
            key = batch.keys[line]
            record = None if key is None else learner.keys.parse(key)
            if record is not None:
                keys.add_record(record, *batch.place(line))
                keys.add_names(record, *batch.place(line))
    return Sample(offsets[lines[0]], offsets[lines[-1]] + 1, len(lines), values, keys)
