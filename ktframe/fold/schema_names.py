"""What headers say of the schemas of payloads, put before the payloads."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from ktframe.fold.records import RecordBatch
from ktframe.formats.wire import KEY_HEADER, VALUE_HEADER, with_header_ref

_AT_ONCE = 2_000
"""The headers of so many records are looked at in one call: records have a handful, and it holds the interpreter's lock."""


def schema_headers(batch: RecordBatch) -> frozenset[str]:
    """Return which of the headers that name schemas any record of ``batch`` has."""
    headers, found = batch.headers, set[str]()
    for start in range(0, 0 if headers is None else len(headers), _AT_ONCE):
        some = (headers or ())[start : start + _AT_ONCE]
        # A loop over the headers of each record takes several times as long.
        names = dict(chain.from_iterable(filter(None, some)))
        found |= names.keys() & {VALUE_HEADER, KEY_HEADER}
    return frozenset(found)


def with_schema_names(batch: RecordBatch, *, values: bool, keys: bool) -> RecordBatch:
    """Put what a header says of the schema of a value, or a key, before it: it is kept with it from here on."""
    is_apart = batch.indices is not None  # a header names the schema of a whole value
    found = schema_headers(batch) if (values or keys) and not is_apart else frozenset()
    if batch.headers is None or not found:
        return batch
    named_keys, named_values = batch.keys, batch.values
    if values and VALUE_HEADER in found:
        named_values = [
            with_header_ref(value, headers, VALUE_HEADER)
            for value, headers in zip(batch.values, batch.headers, strict=True)
        ]
    if keys and KEY_HEADER in found:
        named_keys = [
            with_header_ref(key, headers, KEY_HEADER)
            for key, headers in zip(batch.keys, batch.headers, strict=True)
        ]
    return replace(batch, keys=named_keys, values=named_values)
