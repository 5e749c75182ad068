"""Protobuf messages as rows: whole batches by column, and message by message where that can't be or one is bad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from ktframe.formats.bodies import BodiesRead, Column, SchemaDocument
from ktframe.formats.protobuf.batches import BatchReader
from ktframe.formats.protobuf.bounds import Bounds
from ktframe.formats.protobuf.messages import RecordReader
from ktframe.formats.protobuf.schemas import compiled
from ktframe.formats.protobuf.types import fields_of, notes_of

_MOST_ROWS: Final = 10_000
_MOST_BYTES: Final = 1 << 24  # or cells
_PIECES: Final = 16
_FEW: Final = 1_000  # which one by one take no longer than in pieces


class ProtobufReader:
    """Reads messages of one type.

    Parameters
    ----------
    document
        The schema, as source or as the registry serializes it, with what it imports.
    indexes
        Which message of it: its place in the file, then in the message around it, and so on.

    Raises
    ------
    SchemaError
        When the schema can't be used, or has no such message.
    ConfigurationError
        When the optional packages are not installed.

    Notes
    -----
    A body is refused where the messages inside of it take few bytes and have many fields: more than 20,000 and 32 a
    byte (see ``bounds``).
    """

    def __init__(self, document: SchemaDocument, indexes: tuple[int, ...]) -> None:
        schema = compiled(document, indexes)
        self._fields = fields_of(schema.message.DESCRIPTOR)
        self._columns = tuple(field.column for field in self._fields)
        self._bounds = Bounds(schema.message.DESCRIPTOR)
        self._batches = BatchReader(schema, self._fields)
        self._records = RecordReader(schema, self._fields)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields of the message."""
        return self._columns

    @property
    def note(self) -> str | None:
        """What is read value by value or record by record, None where nothing is."""
        obstacle = self._batches.obstacle
        return obstacle or "; ".join(notes_of(self._fields)) or None

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Read ``bodies``; each alone, so that a bad one takes no other with it."""
        frames: list[pl.DataFrame] = []
        weights = self._bounds.weights(bodies)
        refused = self._bounds.broken(bodies, weights)
        sound: Sequence[int] = range(len(bodies))
        if refused:
            sound = [index for index in sound if index not in refused]
            bodies, weights = [bodies[index] for index in sound], [weights[index] for index in sound]
        for part in _pieces(weights):
            piece, lines = bodies[part.start : part.stop], sound[part.start : part.stop]
            frame = self._batches.read(piece)
            if frame is not None:
                frames.append(frame)
                continue
            if self._batches.obstacle is None:
                # Those that are no messages at all are found quickly, and are most of the bad ones.
                kept, lines = self._sifted(piece, lines, refused)
                self._read(kept, lines, frames, refused)
            else:
                self._read(piece, lines, frames, refused)
        return BodiesRead(pl.concat(frames, rechunk=True), dict(sorted(refused.items())))

    def _sifted(
        self, bodies: Sequence[bytes], lines: Sequence[int], refused: dict[int, str]
    ) -> tuple[Sequence[bytes], Sequence[int]]:
        reasons = self._records.malformed(bodies)
        refused.update((lines[index], reason) for index, reason in reasons.items())
        kept = [index for index in range(len(bodies)) if index not in reasons]
        return [bodies[index] for index in kept], [lines[index] for index in kept]

    def _read(
        self,
        bodies: Sequence[bytes],
        lines: Sequence[int],
        frames: list[pl.DataFrame],
        refused: dict[int, str],
    ) -> None:
        frame = self._batches.read(bodies)
        if frame is not None:
            frames.append(frame)
        elif self._batches.obstacle is not None or len(bodies) <= _FEW:
            frame, reasons = self._records.read(bodies)
            frames.append(frame)
            refused.update((lines[index], reason) for index, reason in reasons.items())
        else:
            size = -(-len(bodies) // _PIECES)
            for at in range(0, len(bodies), size):
                self._read(bodies[at : at + size], lines[at : at + size], frames, refused)


def _pieces(weights: Sequence[int]) -> Iterator[range]:
    """Yield the places of bodies of such weights in pieces; one without any where there are none."""
    for start in range(0, max(len(weights), 1), _MOST_ROWS):
        piece = range(start, min(start + _MOST_ROWS, len(weights)))
        if sum(weights[piece.start : piece.stop]) <= _MOST_BYTES:
            yield piece
        else:
            yield from _light_pieces(weights, piece)


def _light_pieces(weights: Sequence[int], whole: range) -> Iterator[range]:
    start, total = whole.start, 0
    for index in whole:
        total += weights[index]
        if index > start and total > _MOST_BYTES:
            yield range(start, index)
            start, total = index, weights[index]
    yield range(start, whole.stop)
