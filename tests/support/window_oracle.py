"""Who is in which window of a stream, as dicts and lists find it, one event after the other: nothing of ktframe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from ktframe.windows.events import TimeWindows
from ktframe.windows.sessions import SessionWindows
from ktframe.windows.sliding import SlidingWindows

Pair = tuple[int, int, int]
"""(value, start, end)."""


@dataclass(frozen=True)
class Event:
    """An event at its arrival; ``close`` is stream time minus grace."""

    partition: int
    time: int
    tombstone: bool
    group: tuple[str | None, ...]
    value: int
    close: float


def arrivals(events: pl.DataFrame, grace: int | None, by: list[str]) -> Iterator[Event]:
    """Yield the events that have a time as each partition had them."""
    clocks: dict[int, int] = {}
    for partition, _, time, tombstone, key, value in sorted(events.rows(), key=lambda row: row[:2]):
        if time is None:
            continue
        clocks[partition] = max(clocks.get(partition, time), time)
        close = float("-inf") if grace is None else clocks[partition] - grace
        yield Event(partition, time, tombstone, (key,) if by else (), value, close)


def placed_in_time(windows: TimeWindows, events: list[Event]) -> tuple[list[Pair], list[Pair]]:
    """Return who is in which window, and who came late for which."""
    size, every = windows.windows.size, windows.windows.every  # type: ignore[attr-defined]
    timely, late = [], []
    for event in events:
        latest = event.time // every * every
        for start in range(latest, event.time - size, -every):
            (timely if start + size > event.close else late).append((event.value, start, start + size))
    return timely, late


def placed_sliding(windows: SlidingWindows, events: list[Event]) -> tuple[list[Pair], list[Pair]]:
    """Return who is in which window, and who came late for which."""
    width = windows.difference_ms

    def own(time: int) -> int:
        return 0 if 0 <= time < width else time - width

    usable = [event for event in events if not event.tombstone and None not in event.group]
    opened: dict[Any, set[int]] = defaultdict(set)
    prompt, taken = [], []
    for event in usable:
        starts = opened[event.partition, event.group]
        is_prompt = own(event.time) + width >= event.close
        if is_prompt:
            prompt.append(event)
            starts.add(own(event.time))
        if is_prompt or any(s <= event.time <= s + width and s + width >= event.close for s in starts):
            taken.append(event)
            starts.add(event.time + 1)
    made = {(event.group, own(event.time)) for event in prompt}
    made |= {
        (event.group, event.time + 1)
        for event in taken
        if any(event.group == e.group and event.time + 1 <= e.time <= event.time + 1 + width for e in taken)
    }
    timely, late = [], []
    for event in usable:
        holding = [s for group, s in made if group == event.group and s <= event.time <= s + width]
        is_late = own(event.time) + width < event.close
        for start in {*holding, *([own(event.time)] if is_late else [])}:
            is_in = event in taken and start + width >= event.close
            (timely if is_in else late).append((event.value, start, start + width))
    return timely, late


def sessions_of(events: list[Event], gap: int) -> list[list[Event]]:
    """Return the sessions of events of one group."""
    found: list[list[Event]] = []
    for event in sorted(events, key=lambda e: e.time):
        if found and event.time - found[-1][-1].time <= gap:
            found[-1].append(event)
        else:
            found.append([event])
    return found


def placed_in_sessions(windows: SessionWindows, events: list[Event]) -> tuple[list[Pair], list[Pair]]:
    """Return who is in which session, and who came late."""
    gap = windows.gap_ms
    accepted: dict[Any, list[Event]] = defaultdict(list)
    merged: dict[Any, list[Event]] = defaultdict(list)
    late = []
    for event in events:
        if None in event.group:
            continue
        earlier = accepted[event.partition, event.group]
        session = next(s for s in sessions_of([*earlier, event], gap) if event in s)
        if session[-1].time < event.close - gap:
            late.append((event.value, event.time, event.time))
        else:
            earlier.append(event)
            merged[event.group].append(event)
    timely = [
        (event.value, session[0].time, session[-1].time)
        for group in merged.values()
        for session in sessions_of(group, gap)
        for event in session
    ]
    return timely, late


def members(timely: list[Pair], events: pl.DataFrame, by: list[str]) -> dict[Any, list[int]]:
    """Return the values of each window and group."""
    keys = dict(events.select("value", "key").rows())
    found: dict[Any, list[int]] = defaultdict(list)
    for value, start, end in sorted(timely):
        found[(start, end, keys[value]) if by else (start, end)].append(value)
    return dict(found)


ORACLES: dict[type, Callable[[Any, list[Event]], tuple[list[Pair], list[Pair]]]] = {
    TimeWindows: placed_in_time,
    SlidingWindows: placed_sliding,
    SessionWindows: placed_in_sessions,
}
