"""When a row happened: the record's timestamp, or the field that ``time=`` names."""

from __future__ import annotations

import polars as pl


def event_times(rows: pl.DataFrame, field: str) -> pl.Series:
    """Return the event time of each row in ms since 1970 (Int64), null where it has no usable one.

    Integers are milliseconds, floats seconds (as Unix time is usually written), text ISO 8601 (UTC where no offset
    is given); dates and datetimes are themselves.
    """
    if field not in rows.columns:
        return pl.Series([None] * rows.height, dtype=pl.Int64)
    column = rows[field]
    dtype = column.dtype
    if dtype.is_integer():
        return column.cast(pl.Int64)
    if dtype.is_float():
        return (column * 1000).round().cast(pl.Int64, strict=False)
    if dtype == pl.String:
        column = _parse_iso(column)
    elif not dtype.is_temporal():
        return pl.Series([None] * rows.height, dtype=pl.Int64)
    return column.dt.epoch("ms")


def _parse_iso(column: pl.Series) -> pl.Series:
    frame = column.alias("t").to_frame()
    # With and without an offset, with and without a fraction: ISO 8601 as JSON writers produce it.
    aware = pl.col("t").str.to_datetime("%+", time_unit="ms", time_zone="UTC", strict=False)
    naive = [
        pl.col("t").str.to_datetime(form, time_unit="ms", strict=False).dt.replace_time_zone("UTC")
        for form in ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f")
    ]
    day = pl.col("t").str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("ms", "UTC"))
    return frame.select(pl.coalesce(aware, *naive, day)).to_series()
