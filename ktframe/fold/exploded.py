"""Takes records apart whose values hold several objects: each object is a record of its own from then on.

All that follows (conditions, types, times, identities, refusals) knows lines of a batch, whatever they came from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from ktframe.fold.records import RecordBatch
from ktframe.formats import Format, several, unpacks

MOST_LINES: Final = 50_000
"""No record is added to a part that has so many: it is decoded and written at once, as a batch of whole records is."""


@dataclass(slots=True)
class _Part:
    """Consecutive records, from the line ``start`` of a batch on, as they are taken apart."""

    start: int
    lines: list[int] = field(default_factory=list)
    """The line of the record that each object is from."""
    values: list[bytes | None] = field(default_factory=list)
    indices: list[int] = field(default_factory=list)
    empty: Counter[int] = field(default_factory=Counter)

    def of(self, batch: RecordBatch, end: int) -> RecordBatch:
        """Return this part of ``batch``, whose next one begins at the line ``end``."""
        is_as_sent = len(self.lines) == end - self.start == len(batch) and not self.empty
        taken = batch if is_as_sent else batch.at(self.lines)
        if end < len(batch):
            records = range(self.start, end)
            positions = {batch.partitions[line]: batch.offsets[line] + 1 for line in records}
            taken = replace(taken, positions=positions, last={})
        return replace(taken, values=self.values, indices=self.indices, empty=self.empty)


def exploded(batch: RecordBatch, format_: Format) -> Iterator[RecordBatch]:
    """Yield ``batch`` in parts with a line for each object that its values hold, which ``format_`` reads.

    An empty list has no line, and is counted (``RecordBatch.empty``). A value that is not several objects stays, with the
    index 0, and so does a tombstone. The objects of a record are in one part.
    """
    is_packed = unpacks(format_)
    part = _Part(0)
    for line, value in enumerate(batch.values):
        if len(part.lines) >= MOST_LINES:
            yield part.of(batch, line)
            part = _Part(line)
        objects = None if value is None else several(value, unpacks=is_packed)
        if objects is None:
            part.lines.append(line)
            part.indices.append(0)
            part.values.append(value)
        elif objects:
            part.lines += [line] * len(objects)
            part.indices += range(len(objects))
            part.values += objects
        else:
            part.empty[batch.partitions[line]] += 1
    yield part.of(batch, len(batch))
