"""Refused records as frames: one by one, by reason, and the keys of the rows that they leave stale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import polars as pl

from ktframe.columns import OFFSET, PARTITION, TIMESTAMP
from ktframe.fold.event_time import SHOWN_TIME, as_shown_times
from ktframe.fold.headers import all_headers
from ktframe.fold.records import RefusedRecord
from ktframe.fold.refused import cause_name
from ktframe.sync.missing import Missing
from ktframe.tables.presentation import unique_name

_PLACE: Final = pl.Struct({"partition": pl.Int32(), "offset": pl.Int64()})
_MOST_EXAMPLE: Final = 200  # characters


def refused_frame(
    records: Sequence[RefusedRecord], *, with_headers: bool = False, with_index: bool = False
) -> pl.DataFrame:
    """Return refused records one by one: their place, bytes, reason, the texts that the bytes are, and wanted headers."""
    schema = {
        "partition": pl.Int32,
        "offset": pl.Int64,
        "timestamp": pl.Int64,
        "key": pl.Binary,
        "value": pl.Binary,
        "reason": pl.String,
        "key_text": pl.String,
        "value_text": pl.String,
    }
    rows = [
        (r.partition, r.offset, r.timestamp, r.key, r.value, r.reason, _text(r.key), _text(r.value))
        for r in records
    ]
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        as_shown_times(pl.col("timestamp")).alias("timestamp")
    )
    if with_index:
        numbers = pl.Series("index", [record.index for record in records], dtype=pl.Int32)
        frame.insert_column(frame.columns.index("offset") + 1, numbers)
    if not with_headers:
        return frame
    return frame.with_columns(all_headers([record.headers for record in records]).alias("headers"))


def reasons_frame(missing: Missing, records: Sequence[RefusedRecord]) -> pl.DataFrame:
    """Return the causes of ``missing``, the commonest first; ``records`` are those that are kept, for examples."""
    examples = {cause_name(record.reason): record for record in reversed(records)}
    rows = []
    for cause in missing.causes:
        example = examples.get(cause_name(cause.reason))
        rows.append(
            (
                cause.reason,
                cause.records,
                cause.records / max(missing.records, 1),
                dict(zip(("partition", "offset"), cause.first, strict=True)),
                dict(zip(("partition", "offset"), cause.last, strict=True)),
                None if example is None else _shown(example),
            )
        )
    schema = {
        "reason": pl.String(),
        "records": pl.Int64(),
        "share": pl.Float64(),
        "first": _PLACE,
        "last": _PLACE,
        "example": pl.String(),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def stale_frame(
    keys: pl.DataFrame, rows: pl.DataFrame, stale: pl.DataFrame, records: Sequence[RefusedRecord]
) -> pl.DataFrame:
    """Return the ``keys`` of stale ``rows`` with the places of their refused records and of the rows' own records."""
    reasons = pl.DataFrame(
        {
            "partition": pl.Series([r.partition for r in records], dtype=pl.Int32),
            "offset": pl.Series([r.offset for r in records], dtype=pl.Int64),
            "reason": pl.Series([r.reason for r in records], dtype=pl.String),
        }
    )
    places = stale.select(
        pl.col(PARTITION).alias("partition"),
        pl.col(OFFSET).alias("offset"),
        as_shown_times(pl.col(TIMESTAMP)).cast(SHOWN_TIME).alias("timestamp"),
    )
    own = rows.select(pl.col(PARTITION).alias("row_partition"), pl.col(OFFSET).alias("row_offset"))
    with_reasons = places.join(reasons, on=["partition", "offset"], how="left", maintain_order="left")
    columns = [*places, *own, with_reasons["reason"]]
    taken = set(keys.columns)  # a field of the key may have one of these names
    return keys.hstack([each.alias(unique_name(each.name, taken)) for each in columns])


def _text(payload: bytes | None) -> str | None:
    try:
        return None if payload is None else payload.decode()
    except UnicodeDecodeError:
        return None


def _shown(record: RefusedRecord) -> str:
    """Return the payload that was at fault as text, with escapes where it is none."""
    payload = record.key if record.reason.startswith("key: ") else record.value
    if payload is None:
        return "null"
    text = _text(payload)
    text = repr(payload)[2:-1] if text is None else text
    return text if len(text) <= _MOST_EXAMPLE else f"{text[:_MOST_EXAMPLE]}..."
