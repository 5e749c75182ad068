"""Judges records by a condition before they are decoded: JSON as it was sent, and headers, which need no decoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from ktframe.columns import own_name
from ktframe.fold.condition import Condition, value_at
from ktframe.fold.headers import HeaderValues
from ktframe.fold.judging import ODD, judged, values_of
from ktframe.fold.records import RecordBatch
from ktframe.formats import JsonFormat
from ktframe.formats.field_names import field_name

_RAW: Final = (pl.String, pl.Boolean, pl.Int64, pl.Float64)
"""Declared types whose values are compared as JSON has them."""
_HEADER: Final = own_name("header ")

Verdicts = dict[int, bool | None]
"""Whether records pass, by line; None where a value has a kind that leaves that open."""


class AsSent(NamedTuple):
    """What a condition says of records as they were sent. A record that is not judged here is judged when it is decoded."""

    verdicts: Verdicts
    records: Mapping[int, Mapping[str, Any]]
    """The fields and headers of those whose value could be parsed."""


def parsed(batch: RecordBatch, format_: JsonFormat | None) -> dict[int, Mapping[str, Any]]:
    """Return the fields of values that are JSON, by line."""
    if format_ is None:
        return {}
    found = ((line, format_.parse(value)) for line, value in enumerate(batch.values) if value is not None)
    return {line: record for line, record in found if record is not None}


def by_headers(condition: Condition, headers: HeaderValues, lines: Sequence[int]) -> Verdicts:
    """Judge records by their headers alone; None where the verdict depends on a field of the value, whatever that is."""
    known = headers.dtypes
    if known.keys().isdisjoint(condition.names):
        return dict.fromkeys(lines)
    fields = {name: ODD for name in condition.names if name not in known}
    records = [{**fields, **found} for found in headers.of(condition.names, lines).values()]
    return dict(zip(lines, judged(condition, records, known), strict=True))


def as_sent(
    condition: Condition, batch: RecordBatch, headers: HeaderValues, format_: JsonFormat | None
) -> AsSent:
    """Judge the records of ``batch`` that have a value, as far as it is JSON, which ``format_`` reads, or headers decide."""
    known = headers.dtypes
    lines = [line for line, value in enumerate(batch.values) if value is not None]
    if known.keys() >= {*condition.names}:
        return AsSent(by_headers(condition, headers, lines), {})
    records = parsed(batch, format_)
    verdicts: Verdicts = {}
    if format_ is not None:
        verdicts = judged_as_sent(condition, batch, records, headers, format_)
    if not known.keys().isdisjoint(condition.names):
        unparsed = [line for line in lines if line not in records]
        # What the value decides is open until it is decoded.
        found = by_headers(condition, headers, unparsed).items()
        verdicts |= {line: verdict for line, verdict in found if verdict is not None}
    return AsSent(verdicts, records)


def judged_as_sent(
    condition: Condition,
    batch: RecordBatch,
    records: Mapping[int, Mapping[str, Any]],
    headers: HeaderValues,
    format_: JsonFormat,
) -> Verdicts:
    """Judge ``records``, those of ``batch`` that were parsed."""
    declared = _declared(condition, format_)
    known: list[Mapping[str, Any]] = [*records.values()]
    for name, dtype in declared.items():
        payloads = [batch.values[line] or b"" for line in records]
        known = _read_as(name, dtype, known, format_, payloads)
    types = headers.dtypes
    if not types.keys().isdisjoint(condition.names):
        found = headers.of(condition.names, records.keys()).values()
        known = [{**record, **more} for record, more in zip(known, found, strict=True)]
    return dict(zip(records, judged(condition, known, {**declared, **types}), strict=True))


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
    values: dict[int, Any] = dict(zip(decoded.accepted, values_of(decoded.frame[name]), strict=True))
    return [{**record, name: values.get(index, ODD)} for index, record in enumerate(records)]


# --- what records are made of, for what is said where none of them passes ----------------------------------------------


def header_mark(name: str) -> str:
    """Return what stands for a header among the names of fields that were seen."""
    return _HEADER + name


def seen_headers(seen: Iterable[str]) -> set[str] | None:
    """Return the headers among what was seen; None where no record's were looked at."""
    marks = [name for name in seen if name.startswith(_HEADER)]
    return {name.removeprefix(_HEADER) for name in marks} - {""} if marks else None


def fields_seen(records: Iterable[Mapping[str, Any]], condition: Condition) -> Iterator[str]:
    """Yield the fields of ``records``, and what the condition names of them."""
    for record in records:
        yield from (name for name in condition.names if value_at(record, name) is not None or name in record)
        for name, value in record.items():
            yield field_name((name,))
            if isinstance(value, Mapping):
                yield from (field_name((name, inner)) for inner in value)


def headers_seen(batch: RecordBatch, lines: Iterable[int]) -> Iterator[str]:
    """Yield the headers that records have, and a mark of that they were looked at, if they have none."""
    if batch.headers is not None:
        for line in lines:
            yield header_mark("")
            yield from (header_mark(name) for name, _ in batch.headers[line] or ())
