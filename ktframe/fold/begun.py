"""What is done with a batch before it is decoded: it is cut where it would take too much memory, or work on it is begun."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import polars as pl

from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import RecordBatch
from ktframe.fold.schema_names import schema_headers
from ktframe.formats import inferring, unpacks
from ktframe.formats.json.packed import unpacked_bytes
from ktframe.formats.wire import VALUE_HEADER

MOST_BYTES: Final = 2**27
"""So many bytes of a batch's values are unpacked together: of a few kB each may become 64 MiB."""


def cut(batch: RecordBatch, decoder: TopicDecoder) -> list[RecordBatch]:
    """Return ``batch`` in parts of which each can be unpacked at once, where its values are packed."""
    if not unpacks(decoder.value_format):
        return [batch]
    ends, size = list[int](), 0
    for line, value in enumerate(batch.values):
        own = 0 if value is None else unpacked_bytes(value)
        if size and size + own > MOST_BYTES:
            ends.append(line)
            size = 0
        size += own
    return batch.cut(ends) if ends else [batch]


def is_large(batch: RecordBatch, decoder: TopicDecoder) -> bool:
    """Say whether a batch, or those of which it was put together, take all the memory that one should."""
    return len(cut(batch, decoder)) > 1


def begun(batch: RecordBatch, decoder: TopicDecoder, schema: pl.Schema) -> RecordBatch:
    """Return ``batch``, the values of which are parsed meanwhile if they are JSON and all of them will be decoded as they are.

    ``schema`` is that of the rows so far. What can't be begun is returned unchanged.
    """
    format_ = inferring(decoder.value_format)
    are_whole = decoder.sieve is None and not decoder.identity.takes_apart
    if format_ is None or not are_whole or VALUE_HEADER in schema_headers(batch):
        return batch
    values = format_.begun(batch.values, decoder.fields(schema))
    return batch if values is batch.values else replace(batch, values=values)
