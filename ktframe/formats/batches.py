"""A batch cut in pieces, so that what can't be read whole costs only its neighbours their place among the whole ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import polars as pl

MOST_CELLS: Final = 20_000

CELLS_PER_BYTE: Final = 32
"""Cells that what is nearly empty inside of one body may take, beside ``MOST_CELLS``, for each byte of the body."""

_PIECES = 16
_SMALLEST_PIECE = 64


def read_pieces(
    whole: range, read: Callable[[range], pl.DataFrame | None]
) -> list[tuple[range, pl.DataFrame | None]]:
    """Cut ``whole`` in pieces, what can't be read again in pieces, and return each with its frame, or None."""
    size = -(-len(whole) // _PIECES)
    pieces = [range(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size)]
    found = [(piece, read(piece)) for piece in pieces]
    if size <= _SMALLEST_PIECE or all(frame is None for _, frame in found):
        return found
    return [
        inner
        for piece, frame in found
        for inner in ([(piece, frame)] if frame is not None else read_pieces(piece, read))
    ]
