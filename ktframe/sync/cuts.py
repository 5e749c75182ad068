"""What retention has cut a store by: a narrower one cuts further, for a wider one the rows that are gone are read again.

The setting is no part of the store's name: most changes of it need nothing to be loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import polars as pl

from ktframe.columns import OFFSET, PARTITION
from ktframe.fold.records import Position
from ktframe.store.protocol import Horizon, StateStore, written_positions
from ktframe.windows.retention import Retention, keeps_no_more, setting_of

_RETENTION: Final = "retention"
_WHY = "retention keeps rows that it has dropped before"


def begin(store: StateStore, retention: Retention | None) -> bool:
    """Compare ``retention`` with what a store was cut by, before it cuts any further.

    Returns whether rows are gone that it keeps: then ``end`` must be called once they are read again. Else the store
    is cut by ``retention`` from now on.
    """
    if store.note(_RETENTION) == setting_of(retention):
        return False
    are_gone = any(position.dropped for position in written_positions(store).values())
    if are_gone and not keeps_no_more(retention, store.note(_RETENTION)):
        return True
    end(store, retention)
    return False


def end(store: StateStore, retention: Retention | None) -> None:
    """Remember that the store is cut by ``retention`` from now on."""
    # Where no row is gone, late ones would be, up to the horizon of before; the next one comes with the next record.
    horizons = {p: at.horizon for p, at in written_positions(store).items() if not at.dropped}
    store.drop({p: Horizon(None, b"", 0) for p, horizon in horizons.items() if horizon is not None})
    store.keep_note(_RETENTION, setting_of(retention))


def incomplete(rows: Iterable[pl.DataFrame], starts: Mapping[int, int]) -> set[int]:
    """Return the partitions whose logs, from ``starts`` on, no longer have the record of every row."""
    return {p for p, oldest in _oldest(rows).items() if oldest < starts.get(p, oldest)}


def _oldest(parts: Iterable[pl.DataFrame]) -> dict[int, int]:
    rows = pl.concat([part.select(PARTITION, OFFSET) for part in parts])
    return dict(rows.group_by(PARTITION).agg(pl.col(OFFSET).min()).iter_rows())


def to_rebuild(
    positions: Mapping[int, Position], rows: Iterable[pl.DataFrame], starts: Mapping[int, int]
) -> tuple[dict[int, str], dict[int, int]]:
    """Return the partitions that must be read again, with the reason, and of the others how many rows stay gone.

    ``rows`` are those of all partitions, in parts, ``starts`` the first offsets that the log has. Where it no longer has the record
    of every row, reading it again would lose rows: what is there stays.
    """
    oldest, forget, gone = _oldest(rows), dict[int, str](), dict[int, int]()
    for partition, position in positions.items():
        if not position.dropped or partition not in starts:
            continue
        if starts[partition] <= oldest.get(partition, position.offset):
            forget[partition] = _WHY
        else:
            gone[partition] = position.dropped
    return forget, gone
