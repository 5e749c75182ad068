"""Frames under each other: with all columns of each, and in few chunks."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ktframe.formats.dtypes import common_dtype, widened

MAX_CHUNKS = 4
_RECHUNK_FRACTION = 4


def stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Put frames under each other; columns and struct fields that one lacks are null there, types widen."""
    try:
        return pl.concat(frames, how="vertical", rechunk=False)
    except pl.exceptions.PolarsError:  # their columns differ, which is seldom
        pass
    schema: dict[str, pl.DataType] = {}
    for frame in frames:
        for name, dtype in frame.schema.items():
            both = common_dtype(schema.get(name, pl.Null()), dtype)
            if both is None:
                message = f"column {name!r} is {schema[name]} and {dtype}"
                raise TypeError(message)
            schema[name] = both
    return pl.concat([_as_schema(frame, schema) for frame in frames], how="vertical", rechunk=False)


def _as_schema(frame: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return ``frame`` with the columns of ``schema``: widened, or null where it has none."""
    columns = [
        widened(pl.col(name), frame.schema[name], dtype).alias(name)
        if name in frame.columns
        else pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in schema.items()
    ]
    return frame.with_columns(columns).select(*schema)


def in_few_chunks(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` in few chunks: the first and large one as it is, the small ones behind it as one."""
    if frame.n_chunks() <= MAX_CHUNKS:
        return frame
    head_rows = frame.to_series(0).chunk_lengths()[0]
    if (frame.height - head_rows) * _RECHUNK_FRACTION > head_rows:
        return frame.rechunk()
    return pl.concat([frame.head(head_rows), frame.slice(head_rows).rechunk()], rechunk=False)
