"""Writes the rows of a frame to any topic, as records: no table is needed, and none is waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.base import VALUE_COLUMN
from ktframe.kafka.outgoing import OutgoingRecords
from ktframe.topicwriter import TopicWriter, as_frame, as_rows

_TABLE_KEY = "key"
"""What a table calls the record key, where the value has no such field."""


def publish(
    writer: TopicWriter,
    topic: str,
    rows: Any,
    *,
    key: str | Sequence[str] | None,
    value: str,
    key_format: str,
    atomic: bool,
    dry_run: bool,
) -> pl.DataFrame:
    """Write ``rows`` in order; see ``Context.publish``."""
    frame = as_rows(rows)
    names = [key] if isinstance(key, str) else list(dict.fromkeys(key or ()))
    missing = [name for name in names if name not in frame.columns]
    if missing:
        message = f"there is no column {missing[0]!r} in what is to be written: there are {', '.join(frame.columns)}."
        raise SchemaError(message, "key= names the columns that make the record key.")
    keys: Sequence[bytes | None] = [None] * frame.height
    spellings = []
    if names:
        spelling = writer.spelling(topic, "key", key_format)
        columns = frame.select(names)
        keys = spelling.writer.write(columns.rename({names[0]: VALUE_COLUMN}) if len(names) == 1 else columns)
        spellings.append(spelling)
    content = frame.drop(_TABLE_KEY) if names == [_TABLE_KEY] else frame
    spelling = writer.spelling(topic, "value", value)
    spellings.append(spelling)
    values = spelling.writer.write(content)
    headers = [each.header for each in spellings if each.header is not None]
    records = OutgoingRecords(keys, values, headers=[headers] * len(values) if headers else None)
    return as_frame(records, None if dry_run else writer.send(topic, records, atomic=atomic))
