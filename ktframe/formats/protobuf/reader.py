"""Reads Protobuf messages into a frame: whole batches by column, and message by message where a batch is in doubt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import polars as pl

from ktframe.formats.batches import read_whole_or_apart
from ktframe.formats.bodies import BodiesRead, Column, SchemaDocument
from ktframe.formats.protobuf.batches import BatchReader
from ktframe.formats.protobuf.bounds import Bounds
from ktframe.formats.protobuf.labels import fields_in
from ktframe.formats.protobuf.messages import MessageReader
from ktframe.formats.protobuf.schemas import compiled
from ktframe.formats.protobuf.types import fields_of, notes_of
from ktframe.formats.rules import FieldFacts

_MOST_ROWS: Final = 10_000
_MOST_BYTES: Final = 1 << 24  # or cells, if a message has more cells than bytes
_FEW: Final = 1_000  # one by one they take no longer than in pieces


class ProtobufReader:
    """Reads messages of one type.

    Parameters
    ----------
    document
        The schema, as source or serialized, with the files that it imports.
    indexes
        Which message of the schema: its place in the file, then in the message around it, and so on.

    Raises
    ------
    SchemaError
        When the schema can't be used, or has no such message.
    ConfigurationError
        When the optional packages are not installed.

    Notes
    -----
    A body is refused whose nearly empty messages have more than 20,000 fields plus 32 a byte (see ``bounds``).
    """

    def __init__(self, document: SchemaDocument, indexes: tuple[int, ...]) -> None:
        schema = compiled(document, indexes)
        self._fields = fields_of(schema.message.DESCRIPTOR)
        self._columns = tuple(field.column for field in self._fields)
        self._bounds = Bounds(schema.message.DESCRIPTOR)
        self._batches = BatchReader(schema, self._fields)
        self._messages = MessageReader(schema, self._fields)

    @property
    def columns(self) -> tuple[Column, ...]:
        """The fields of the message."""
        return self._columns

    @property
    def note(self) -> str | None:
        """Why messages, or some values in them, are read one by one; None where none are."""
        obstacle = self._batches.obstacle
        return obstacle or "; ".join(notes_of(self._fields)) or None

    def fields(self) -> Iterator[FieldFacts]:
        """Yield the fields of the message, those inside of others too."""
        return fields_in(self._fields)

    def read(self, bodies: Sequence[bytes]) -> BodiesRead:
        """Read ``bodies``; a bad one does not affect the others."""
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
            if frame is None:
                if self._batches.obstacle is None:
                    # Most bad bodies can't even be parsed, and those are found quickly.
                    piece, lines = self._sifted(piece, lines, refused)
                read = read_whole_or_apart(piece, self._batches.read, self._messages.read, smallest=_FEW)
                refused.update((lines[index], reason) for index, reason in read.refused.items())
                frame = read.frame
            frames.append(frame)
        return BodiesRead(pl.concat(frames, rechunk=True), dict(sorted(refused.items())))

    def _sifted(
        self, bodies: Sequence[bytes], lines: Sequence[int], refused: dict[int, str]
    ) -> tuple[Sequence[bytes], Sequence[int]]:
        reasons = self._messages.malformed(bodies)
        refused.update((lines[index], reason) for index, reason in reasons.items())
        kept = [index for index in range(len(bodies)) if index not in reasons]
        return [bodies[index] for index in kept], [lines[index] for index in kept]


def _pieces(weights: Sequence[int]) -> Iterator[range]:
    """Yield the indices of bodies with such weights in pieces; one empty piece where there are no bodies."""
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
