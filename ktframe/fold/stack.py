"""Frames under each other: with all columns of each."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from ktframe.formats.dtypes import common_dtype, widened


def stack(frames: list[pl.DataFrame]) -> pl.DataFrame:
    """Put frames under each other; columns and struct fields that one lacks are null there, types widen."""
    try:
        return pl.concat(frames, how="vertical", rechunk=False)
    except pl.exceptions.PolarsError:  # their columns differ
        pass
    schemas = [frame.schema for frame in frames]
    whole: dict[str, pl.DataType] = {}
    for schema in schemas:
        for name, dtype in schema.items():
            if name in whole and whole[name] == dtype:
                continue
            both = common_dtype(whole.get(name, pl.Null()), dtype)
            if both is None:
                message = f"column {name!r} is {whole[name]} and {dtype}"
                raise TypeError(message)
            whole[name] = both
    wide = [_widened(frame, schema, whole) for frame, schema in zip(frames, schemas, strict=True)]
    return pl.concat(wide, how="diagonal", rechunk=False)


def _widened(frame: pl.DataFrame, schema: pl.Schema, target: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return ``frame``, whose columns have the types ``schema``, with the types of ``target``."""
    narrow = {name: dtype for name, dtype in schema.items() if dtype != target[name]}
    if not narrow:
        return frame
    return frame.with_columns(
        widened(pl.col(name), dtype, target[name]).alias(name) for name, dtype in narrow.items()
    )
