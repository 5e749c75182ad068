"""Stream time, Kafka's clock of a partition: the greatest timestamp so far. Each kind of window says what is late by it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import polars as pl

from ktframe.columns import ITEM, OFFSET, PARTITION, TIMESTAMP, WINDOW_CLOSE_TIME, WINDOW_END

_NOTHING_SEEN: Final[Mapping[int, int]] = MappingProxyType({})


def with_close_time(
    events: pl.DataFrame, grace_ms: int | None, seen: Mapping[int, int] = _NOTHING_SEEN
) -> pl.DataFrame:
    """Return ``events`` with the column ``WINDOW_CLOSE_TIME``, their order kept.

    Stream time is the greatest timestamp of a partition in offset order, the event's own included (as in Kafka
    Streams, which advances it before the check). Events without a timestamp don't advance it.

    Parameters
    ----------
    events
        Events with ``PARTITION``, ``OFFSET`` (and ``ITEM``) and ``TIMESTAMP``, in any order.
    grace_ms
        How long windows stay open behind stream time; None: for ever, and ``WINDOW_CLOSE_TIME`` is null.
    seen
        The stream time of each partition before the first of the events, where retention has dropped earlier ones.

    Returns
    -------
    pl.DataFrame
        All columns of ``events`` and ``WINDOW_CLOSE_TIME``, which is null before the first timestamp of a partition.
    """
    if grace_ms is None:
        return events.with_columns(pl.lit(None, dtype=pl.Int64).alias(WINDOW_CLOSE_TIME))
    stream_time = pl.col(TIMESTAMP).cum_max().forward_fill().over(PARTITION, order_by=in_partition(events))
    if seen:
        before = pl.col(PARTITION).replace_strict(dict(seen), default=None, return_dtype=pl.Int64)
        stream_time = pl.max_horizontal(stream_time, before)
    return events.with_columns((stream_time - grace_ms).alias(WINDOW_CLOSE_TIME))


def in_partition(events: pl.DataFrame) -> list[str]:
    """Return the columns by which the events of a partition are in the order in which they came."""
    return [name for name in (OFFSET, ITEM) if name in events.columns]


def has_closed(watermark: int | None, delay_ms: int | None) -> pl.Expr:
    """Return an expression that says whether ``WINDOW_END`` plus ``delay_ms`` lies before ``watermark``.

    Where either is None, no window has closed.
    """
    end = pl.col(WINDOW_END)
    # A literal alone would be one row high wherever the expression is selected by itself.
    return end.is_null() if watermark is None or delay_ms is None else end < watermark - delay_ms
