"""Changes of batches that follow each other as those of one batch: what a later one overwrites is never written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from ktframe.columns import IDENTITY, PARTITION
from ktframe.fold.lines import in_key_order, last_of_each
from ktframe.fold.records import Changes
from ktframe.fold.row_codec import with_packed_rows
from ktframe.fold.stack import stack
from ktframe.fold.stale import newest_marks


def combined(parts: Sequence[Changes]) -> Changes:
    """Return the changes of one or more batches, the earliest first, with the last line of each identity and partition.

    They have the same fields, and know of what was learned and seen before them.
    """
    last = parts[-1]
    if len(parts) == 1:
        return replace(last, lines=last_of_each(last.lines))
    marks = [part.stale for part in parts if part.stale.height]
    return replace(
        last,
        lines=last_of_each(stack([part.lines for part in parts])),
        refused=tuple(chain.from_iterable(part.refused for part in parts)),
        late=tuple(chain.from_iterable(part.late for part in parts)),
        tombstones=tuple(chain.from_iterable(part.tombstones for part in parts)),
        expired=_sum(part.expired for part in parts),
        lost=_sum(part.lost for part in parts),
        stream_times=newest_times(part.stream_times for part in parts),
        stale=newest_marks(marks, [PARTITION, IDENTITY]),
        accepted=_sum(part.accepted for part in parts),
        records=_sum(part.records for part in parts),
        field_deletes=sum(part.field_deletes for part in parts),
        left_out=_sum(part.left_out for part in parts),
        last={partition: record for part in parts for partition, record in part.last.items()},
        is_keyless=any(part.is_keyless for part in parts),
    )


def for_store(changes: Changes) -> Changes:
    """Return the same changes with the rows packed, in the order of a store's keys.

    Only what is written is packed. In the order of arrival, in which the records lie in memory: to jump about takes four times
    as long.
    """
    return replace(changes, lines=in_key_order(with_packed_rows(changes.lines)))


def newest_times(parts: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """Return the greatest time of each partition."""
    newest: dict[int, int] = {}
    for times in parts:
        newest |= {partition: max(at, newest.get(partition, at)) for partition, at in times.items()}
    return newest


def _sum(parts: Iterable[Mapping[int, int]]) -> Counter[int]:
    total = Counter[int]()
    for counts in parts:
        total.update(counts)
    return total
