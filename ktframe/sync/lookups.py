"""Rows of single identities, from the store: a few are found there sooner than in the view."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from ktframe.columns import PARTITION, REMOVED, TIMESTAMP
from ktframe.fold.records import StoredRows
from ktframe.fold.row_codec import is_marker
from ktframe.sync.materializer import Materializer


def stored_rows(materializer: Materializer, identities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
    """Return the (partition, stored row) pairs of each of ``identities``, also of rows that another one hides."""
    places = materializer.store.get_many(identities)
    return [[(partition, row) for partition, row in pairs if not is_marker(row)] for pairs in places]


def newest_rows(materializer: Materializer, identities: Sequence[bytes]) -> tuple[list[bytes], pl.DataFrame]:
    """Return the identities that have a row, and their rows in this order.

    Of several partitions the row, or tombstone, with the greatest (timestamp, partition) counts, as in the view.
    """
    pairs = materializer.store.get_many(identities)
    names = [identity for identity, rows in zip(identities, pairs, strict=True) for _ in rows]
    partitions = [partition for rows in pairs for partition, _ in rows]
    values = [row for rows in pairs for _, row in rows]
    # Read after the rows, so that the schema covers every one of them.
    schema = materializer.store.schema() or materializer.schema
    rows = materializer.decoder.load(StoredRows(partitions, names, values), schema)
    best = {name: line for line, name in enumerate(names)}
    if len(best) < len(names):
        order = rows.select(pl.arg_sort_by(TIMESTAMP, PARTITION, nulls_last=False)).to_series()
        best = {names[line]: line for line in order}  # of several, the last and greatest stays
    if REMOVED in rows.columns and rows[REMOVED].any():
        removed = rows[REMOVED].to_list()
        best = {name: line for name, line in best.items() if not removed[line]}
    return list(best), rows if len(best) == len(names) else rows[list(best.values())]
