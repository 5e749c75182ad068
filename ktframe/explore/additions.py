"""Arguments that one may add to the calls that load a topic: proposed sparingly, where the sample clearly asks for them.

Each was tried on the sample: with it no more records are refused than without.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import polars as pl

from ktframe.errors import SchemaError
from ktframe.explore.readings import Reading, decided, refusals
from ktframe.fold.unnested_fields import unnested_fields
from ktframe.formats import Headers, JsonFormat
from ktframe.formats.compact_json import compact_json
from ktframe.formats.dtypes import leaf_types

_NEARLY_ALL: Final = 0.95
_MOST_HEADERS: Final = 3
_LONGEST: Final = 64
"""A header with longer text is no name or kind of something."""
_PLUMBING: Final = frozenset(
    """b3 baggage ce_specversion content-encoding content-type contenttype correlation-id sentry-trace
    spring_json_header_types traceparent tracestate""".split()  # noqa: SIM905 - twenty quotes less
)
_OF_LIBRARIES: Final = ("__", "kafka_", "x-b3-", "x-datadog-")
"""Headers that libraries write for each other; they say nothing of the record."""
_CLOUD_EVENT: Final = ("specversion", "id", "source", "type")
"""What each CloudEvent has: https://github.com/cloudevents/spec."""
_DATA: Final = "data"
_UNNEST: Final = {_DATA: "data_"}
"""With a prefix: what is inside has an ``id`` as often as not."""


def additions(
    values: Sequence[bytes],
    records: Sequence[Mapping[str, Any]],
    reading: Reading,
    headers: Sequence[Headers],
    columns: Collection[str],
) -> tuple[str, ...]:
    """Return the arguments, as code, for ``values`` that are read as ``reading`` says.

    ``records`` are those that are JSON objects; ``columns`` what a table has beside its key.
    """
    found: list[str] = []
    if reading.format == JsonFormat.name:
        plain = reading.json_format()
        count = len(refusals(decided(plain, values), values))
        if _has_times(plain, values, count):
            found.append('times="auto"')
        if _is_cloud_event(records) and _can_unnest(plain, values, count):
            found.append(f'unnest={{"{_DATA}": "{_UNNEST[_DATA]}"}}')
    names = [name for name in _telling(headers) if name not in columns]
    if names:
        types = ", ".join(f"{compact_json(name)}: str" for name in names)
        found.append(f"headers={{{types}}}")
    return tuple(found)


def _has_times(plain: JsonFormat, values: Sequence[bytes], refused: int) -> bool:
    """Say whether the text of a field is a time in all records."""
    format_ = decided(replace(plain, reads_times=True), values)
    decoded = format_.decode(values, format_.initial_schema)
    has_times = any(pl.Datetime in leaf_types(dtype) for dtype in decoded.schema.values())
    return has_times and len(decoded.refused) <= refused


def _is_cloud_event(records: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether the records are CloudEvents in structured mode, with objects inside."""
    data = [record[_DATA] for record in records if record.get(_DATA) is not None]
    are_objects = bool(data) and all(isinstance(each, Mapping) for each in data)
    count = sum(all(isinstance(record.get(name), str) for name in _CLOUD_EVENT) for record in records)
    return are_objects and min(count, len(data)) >= _NEARLY_ALL * len(records)


def _can_unnest(plain: JsonFormat, values: Sequence[bytes], refused: int) -> bool:
    if _DATA in plain.initial_schema:  # as JSON text: it has no fields
        return False
    as_it_is = decided(plain, values)
    if not isinstance(as_it_is.decode(values, as_it_is.initial_schema).schema.get(_DATA), pl.Struct):
        return False
    unnested = unnested_fields(_UNNEST)
    format_ = decided(replace(plain, objects=unnested.objects), values)
    decoded = format_.decode(values, format_.initial_schema)
    try:
        unnested.schema(decoded.schema)
    except SchemaError:
        return False
    return len(decoded.refused) <= refused


def _telling(headers: Sequence[Headers]) -> list[str]:
    """Return the headers that nearly all records have once, and that tell kinds of records apart, the commonest first."""
    counts, texts = Counter[str](), dict[str, set[str]]()
    for each in headers:
        for name, text in _single(each):
            counts[name] += 1
            texts.setdefault(name, set()).add(text)
    least = _NEARLY_ALL * len(headers)
    # Where each record has its own, it is an id, and where all have the same, it says nothing yet.
    names = [name for name, count in counts.items() if count >= least and 1 < len(texts[name]) <= count // 2]
    return sorted(names, key=lambda name: (-counts[name], name))[:_MOST_HEADERS]


def _single(headers: Headers) -> Iterator[tuple[str, str]]:
    """Yield the headers that a record has once, with their short text."""
    names = Counter(name for name, _ in headers or ())
    for name, value in headers or ():
        is_own = name.lower() not in _PLUMBING and not name.lower().startswith(_OF_LIBRARIES)
        if names[name] == 1 and is_own and value is not None and len(value) <= _LONGEST:
            try:
                yield name, value.decode()
            except UnicodeDecodeError:
                continue
