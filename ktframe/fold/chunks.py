"""Frames in chunks of some ten thousand rows: what changes in one of them leaves the others as they are, and is not copied."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Final

import polars as pl

ROWS_A_CHUNK: Final = 1 << 16


def most_chunks(rows: int) -> int:
    """Return how many chunks so many rows may be in."""
    return 4 + 2 * (rows // ROWS_A_CHUNK)


def parted(
    frame: pl.DataFrame, is_wanted: pl.Series, rows_a_chunk: int | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows that are not wanted, and those that are; chunks without a wanted row are not copied."""
    wanted = is_wanted.arg_true()
    if not len(wanted):
        return frame, frame.clear()
    bounds = list(_bounds(frame, rows_a_chunk))
    starts = pl.Series([start for start, _ in bounds], dtype=wanted.dtype)
    # The number of wanted rows before each chunk, and after the last one.
    before = [*wanted.search_sorted(starts).to_list(), len(wanted)]
    if 2 * sum(map(int.__lt__, before, before[1:])) > len(bounds):
        return frame.filter(~is_wanted), frame.filter(is_wanted)
    kept, found = list[pl.DataFrame](), list[pl.DataFrame]()
    for (start, rows), first, last in zip(bounds, before, before[1:], strict=False):
        chunk = frame.slice(start, rows)
        if first < last:
            are_wanted = is_wanted.slice(start, rows)
            found.append(chunk.filter(are_wanted))
            chunk = chunk.filter(~are_wanted)
        kept.append(chunk)
    return pl.concat(kept, rechunk=False), pl.concat(found, rechunk=False)


def in_few_chunks(frame: pl.DataFrame) -> pl.DataFrame:
    """Return ``frame`` in few chunks: where there are too many, small ones that follow each other become one."""
    if frame.n_chunks() <= most_chunks(frame.height):
        return frame
    if not frame.height:
        return frame.clear()
    chunks = list[pl.DataFrame]()
    start = rows = 0
    for _, length in [*_bounds(frame), (frame.height, ROWS_A_CHUNK)]:
        if rows + length > ROWS_A_CHUNK and rows:
            chunks.append(frame.slice(start, rows).rechunk())
            start, rows = start + rows, 0
        rows += length
    return pl.concat(chunks, rechunk=False)


def _bounds(frame: pl.DataFrame, rows_a_chunk: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield where each chunk begins, and its rows; a long one, of a file that is mapped, counts as several."""
    lengths = frame.to_series(0).chunk_lengths()
    rows_a_chunk = rows_a_chunk or ROWS_A_CHUNK
    for start, length in zip(accumulate(lengths, initial=0), lengths, strict=False):
        for at in range(start, start + length, rows_a_chunk):
            yield at, min(rows_a_chunk, start + length - at)
