"""How far all partitions together have come: up to where windows can be final."""

from __future__ import annotations

from ktframe.source import Source


def watermark(source: Source, idle_after: float) -> int | None:
    """Return the least stream time (ms) of the partitions that count; None while one has none.

    A partition that is idle (see ``Source.idle_partitions``) does not count; if all are, the furthest one does.
    """
    times = source.started().stream_times
    idle = source.idle_partitions(idle_after)
    active = [times.get(partition) for partition in source.binding.heard if partition not in idle]
    if None in active:
        return None
    return min((at for at in active if at is not None), default=max(times.values(), default=None))
