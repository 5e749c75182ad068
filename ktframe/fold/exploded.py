"""Takes records apart whose values hold several objects: each object is a record of its own from then on.

All that follows (conditions, types, times, identities, refusals) knows lines of a batch, whatever they came from.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from ktframe.fold.records import RecordBatch
from ktframe.formats import Format, several_in


def exploded(batch: RecordBatch, format_: Format) -> RecordBatch:
    """Return ``batch`` with a line for each object that its values hold, which ``format_`` reads; see ``RecordBatch.indices``.

    An empty list has no line, and is counted (``RecordBatch.empty``). A value that is not several objects stays, with the
    index 0, and so does a tombstone.
    """
    lines, indices, empty = list[int](), list[int](), Counter[int]()
    values = list[bytes | None]()
    for line, value in enumerate(batch.values):
        items = None if value is None else several_in(format_, value)
        if items is None:
            lines.append(line)
            indices.append(0)
            values.append(value)
        elif items:
            lines += [line] * len(items)
            indices += range(len(items))
            values += items
        else:
            empty[batch.partitions[line]] += 1
    taken = batch if len(lines) == len(batch) and not empty else batch.at(lines)
    return replace(taken, values=values, indices=indices, empty=empty)
