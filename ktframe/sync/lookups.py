"""Rows of single identities as the store keeps them, for writing: what a record was made of, and in which partitions."""

from __future__ import annotations

from collections.abc import Sequence

from ktframe.fold.row_codec import is_marker
from ktframe.sync.materializer import Materializer


def stored_rows(materializer: Materializer, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
    """Return the (partition, stored row) pairs of each of ``identities``, also of rows that another one hides."""
    places = materializer.store.get_many(identities)
    return [[(partition, row) for partition, row in pairs if not is_marker(row)] for pairs in places]
