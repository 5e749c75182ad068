"""What headers say of the schemas of payloads, put before the payloads."""

from __future__ import annotations

from dataclasses import replace

from ktframe.fold.records import RecordBatch
from ktframe.formats.wire import KEY_HEADER, VALUE_HEADER, with_header_ref


def with_schema_names(batch: RecordBatch, *, values: bool, keys: bool) -> RecordBatch:
    """Put what a header says of the schema of a value, or a key, before it: it is kept with it from here on."""
    is_apart = batch.indices is not None  # a header names the schema of a whole value
    if is_apart or batch.headers is None or not any(batch.headers):
        return batch
    named_keys, named_values = batch.keys, batch.values
    if values:
        named_values = [
            with_header_ref(value, headers, VALUE_HEADER)
            for value, headers in zip(batch.values, batch.headers, strict=True)
        ]
    if keys:
        named_keys = [
            with_header_ref(key, headers, KEY_HEADER)
            for key, headers in zip(batch.keys, batch.headers, strict=True)
        ]
    return replace(batch, keys=named_keys, values=named_values)
