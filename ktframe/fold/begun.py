"""Work on a batch that is begun while the next one is read."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import RecordBatch
from ktframe.formats import inferring


def begun(batch: RecordBatch, decoder: TopicDecoder, schema: pl.Schema) -> RecordBatch:
    """Return ``batch``, the values of which are parsed meanwhile if they are JSON and all of them will be decoded as they are.

    ``schema`` is that of the rows so far. What can't be begun is returned unchanged.
    """
    format_ = inferring(decoder.value_format)
    names_schemas = batch.headers is not None and any(batch.headers)
    are_whole = decoder.sieve is None and not decoder.identity.takes_apart
    if format_ is None or not are_whole or names_schemas:
        return batch
    values = format_.begun(batch.values, decoder.fields(schema))
    return batch if values is batch.values else replace(batch, values=values)
