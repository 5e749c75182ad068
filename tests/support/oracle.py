"""What a table must hold, from what was produced: a dict, and nothing of ktframe."""

import json
from collections.abc import Iterable
from typing import Any

import polars as pl

from support.kafka_records import Record

Rows = dict[Any, dict[str, Any]]


def is_json_row(record: Record) -> bool:
    """Return whether a record of a JSON topic keyed by its record key is a row or a tombstone."""
    return record.key is not None and record.value != b""


def newest(records: Iterable[Record]) -> dict[bytes, Record]:
    """Return the last record of each key; each key is in one partition, and a tombstone removes it.

    A key whose last record is refused shows no row: it would be an older one.
    """
    found: dict[bytes, Record] = {}
    for record in records:
        if record.key is None:
            continue
        if record.value is None or not is_json_row(record):
            found.pop(record.key, None)
        else:
            found[record.key] = record
    return found


def json_rows(records: Iterable[Record]) -> Rows:
    """Return the JSON rows of a topic by their text key."""
    return {key.decode(): json.loads(record.value or b"") for key, record in newest(records).items()}


def rows_by(frame: pl.DataFrame, key: str = "key") -> Rows:
    """Return the rows of a frame by one of its columns; fail when two rows have the same key."""
    rows = {row[key]: {name: row[name] for name in row if name != key} for row in frame.to_dicts()}
    assert len(rows) == frame.height
    return rows
