"""Reads a batch of bodies whole if that is possible; if not, in ever smaller pieces, so that a bad body slows only the next ones.

What a batch of one format is, and how its bodies are read one by one, is up to the format.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from ktframe.formats.bodies import BodiesRead

MOST_CELLS: Final = 20_000
"""Cells that the nearly empty items in one body may take, however short the body is."""

CELLS_PER_BYTE: Final = 32
"""Further cells that they may take, for each byte of the body."""

SMALLEST_PIECE: Final = 64
"""Pieces up to this size are read one by one, not split further."""

_PIECES = 16


@dataclass(frozen=True, slots=True)
class SplitBatch:
    """A batch in pieces, in order: the frame of each, or None where its bodies have to be read one by one."""

    pieces: list[range]
    frames: list[pl.DataFrame | None]

    @property
    def unread(self) -> list[int]:
        """The indices of the bodies that have to be read one by one."""
        return [
            index
            for piece, frame in zip(self.pieces, self.frames, strict=True)
            if frame is None
            for index in piece
        ]

    def read_again(self, read: Callable[[range], pl.DataFrame | None]) -> SplitBatch:
        """Return the batch with new frames for the pieces that have one."""
        pairs = zip(self.pieces, self.frames, strict=True)
        return SplitBatch(self.pieces, [None if frame is None else read(piece) for piece, frame in pairs])

    def merge(self, rows: pl.DataFrame, indices: Sequence[int]) -> tuple[pl.DataFrame, list[int]]:
        """Return all rows in the order of the batch, with their indices.

        ``rows`` are those that were read one by one, ``indices`` (ascending) the bodies that they come from.
        """
        parts: list[pl.DataFrame] = []
        accepted: list[int] = []
        first = 0
        for piece, frame in zip(self.pieces, self.frames, strict=True):
            if frame is not None:
                parts.append(frame)
                accepted += piece
                continue
            end = bisect_left(indices, piece.stop, first)
            parts.append(rows.slice(first, end - first))
            accepted += indices[first:end]
            first = end
        return pl.concat(parts, rechunk=True), accepted


def split_batch(
    whole: range, read: Callable[[range], pl.DataFrame | None], *, smallest: int = SMALLEST_PIECE
) -> SplitBatch:
    """Split ``whole`` into pieces; split again those that ``read`` returns None for, down to the smallest size."""
    size = -(-len(whole) // _PIECES)
    pieces = [range(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size)]
    frames = [read(piece) for piece in pieces]
    if size <= smallest or all(frame is None for frame in frames):
        return SplitBatch(pieces, frames)
    parts = [
        SplitBatch([piece], [frame]) if frame is not None else split_batch(piece, read, smallest=smallest)
        for piece, frame in zip(pieces, frames, strict=True)
    ]
    return SplitBatch(
        [piece for part in parts for piece in part.pieces],
        [frame for part in parts for frame in part.frames],
    )


def read_whole_or_apart(
    bodies: Sequence[bytes],
    read_batch: Callable[[Sequence[bytes]], pl.DataFrame | None],
    read_one_by_one: Callable[[Sequence[bytes]], BodiesRead],
    *,
    smallest: int = SMALLEST_PIECE,
) -> BodiesRead:
    """Read ``bodies`` with ``read_batch`` as far as it can, and the rest with ``read_one_by_one``.

    Parameters
    ----------
    bodies
        At least one.
    read_batch
        Returns a row for each body, or None where it can't read one of them for certain.
    read_one_by_one
        Refuses only the bodies that can't be read; where ``read_batch`` returns rows, it must return the same.
    smallest
        So few bodies are read one by one sooner than in pieces.
    """
    frame = read_batch(bodies)
    if frame is not None:
        return BodiesRead(frame)
    if len(bodies) <= smallest:
        return read_one_by_one(bodies)
    split = split_batch(
        range(len(bodies)), lambda piece: read_batch(bodies[piece.start : piece.stop]), smallest=smallest
    )
    unread = split.unread
    rest = read_one_by_one([bodies[index] for index in unread])
    accepted = [index for at, index in enumerate(unread) if at not in rest.refused]
    whole, _ = split.merge(rest.frame, accepted)
    return BodiesRead(whole, {unread[at]: reason for at, reason in rest.refused.items()})


def frame_of_rows(
    rows: Mapping[int, Any], schema: pl.Schema, build: Callable[[Sequence[Any]], pl.DataFrame | None]
) -> BodiesRead:
    """Return the frame that ``build`` makes of rows by index, without those that it can't make one of."""
    frame = build(list(rows.values()))
    if frame is not None:
        return BodiesRead(frame)
    # A safety net: no value is known that a reader accepts and a column can't hold.
    frames = {index: build([row]) for index, row in rows.items()}
    refused = {
        index: "its values can't be held in a column" for index, frame in frames.items() if frame is None
    }
    good = [frame for frame in frames.values() if frame is not None]
    return BodiesRead(pl.concat([schema.to_frame(), *good]), refused)
