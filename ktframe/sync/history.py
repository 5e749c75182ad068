"""The recent history of a table, recorded from its events: lag per partition, when it was ready, its incidents."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import Final

import polars as pl

from ktframe.events import (
    BindingState,
    BindingStateChanged,
    Events,
    LagUpdated,
    ReadyChanged,
    RowsChanged,
    TableRebuilt,
)

_MOST_SAMPLES: Final = 3_600
_MOST_NUMBERS: Final = 100_000
_MOST_INCIDENTS: Final = 500
_LEAST_GAP: Final = timedelta(seconds=0.5)
_SCHEMA: Final = pl.Schema({"at": pl.Datetime("ms", "UTC"), "partition": pl.Int32(), "lag": pl.Int64()})


@dataclass(frozen=True, slots=True)
class Incident:
    """A failure, restart or rebuild of a table; ``kind`` is the ``BindingState`` it entered, or ``"rebuilt"``."""

    at: datetime
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReadySpan:
    """A time span in which a table was, or was not, ready; ``end`` None means that it lasts."""

    start: datetime
    end: datetime | None
    is_ready: bool


class LagHistory:
    """The last 3,600 measurements of a table's lag and its last 500 incidents. Any thread may call it.

    Of a topic with more than 27 partitions there are fewer measurements: at most 100,000 numbers are kept.
    """

    def __init__(self, events: Events) -> None:
        self._lock = Lock()
        self._samples: deque[tuple[datetime, dict[int, int]]] = deque()
        self._numbers = 0
        self._ends: dict[int, int] = {}
        self._changes: deque[tuple[datetime, bool]] = deque(maxlen=_MOST_INCIDENTS)
        self._stopped: datetime | None = None
        self._incidents: deque[Incident] = deque(maxlen=_MOST_INCIDENTS)
        events.subscribe(LagUpdated, self._on_lag)
        events.subscribe(RowsChanged, self._on_rows)
        events.subscribe(ReadyChanged, self._on_ready)
        events.subscribe(BindingStateChanged, self._on_state)
        events.subscribe(TableRebuilt, self._on_rebuilt)

    def frame(self, *, since: datetime | None = None) -> pl.DataFrame:
        """Return the measurements as ``at`` (Datetime("ms", "UTC")), ``partition`` (Int32) and ``lag`` (Int64, offsets)."""
        with self._lock:
            samples = [sample for sample in self._samples if since is None or sample[0] >= since]
        rows = [(at, partition, lag) for at, lags in samples for partition, lag in lags.items()]
        return pl.DataFrame(rows, schema=_SCHEMA, orient="row")

    def spans(self) -> list[ReadySpan]:
        """Return when the table was ready and when not, since its first start."""
        with self._lock:
            changes, stopped = list(self._changes), self._stopped
        ends = [at for at, _ in changes[1:]]
        return [
            ReadySpan(at, end, ready) for (at, ready), end in zip(changes, [*ends, stopped], strict=False)
        ]

    def incidents(self) -> list[Incident]:
        """Return the incidents, the oldest first."""
        with self._lock:
            return list(self._incidents)

    # --- events ---------------------------------------------------------------------------------------------------

    def _on_lag(self, event: LagUpdated) -> None:
        lags = {at.partition: at.lag for at in event.partitions}
        with self._lock:
            self._ends = {at.partition: at.end for at in event.partitions if at.end is not None}
            self._add(event.at, {p: lag for p, lag in lags.items() if lag is not None})

    def _on_rows(self, event: RowsChanged) -> None:
        # Between two measurements the lag is computed from the last known ends, so that progress of a restoring table is
        # seen. Once these ends are passed the lag is unknown: the topic may have grown.
        with self._lock:
            if not self._samples or event.at - self._samples[-1][0] < _LEAST_GAP:
                return
            lags = {p: max(0, end - event.position.get(p, 0)) for p, end in self._ends.items()}
            if any(lags.values()) and not self._is_ready:
                self._add(event.at, lags)

    def _add(self, at: datetime, lags: dict[int, int]) -> None:
        samples, at = self._samples, at.replace(microsecond=at.microsecond // 1000 * 1000)
        if samples and samples[-1][0] >= at:  # two samples of one millisecond would be added up
            self._numbers -= len(samples.pop()[1])
        samples.append((at, lags))
        self._numbers += len(lags)
        while len(samples) > 1 and (self._numbers > _MOST_NUMBERS or len(samples) > _MOST_SAMPLES):
            self._numbers -= len(samples.popleft()[1])

    @property
    def _is_ready(self) -> bool:
        return bool(self._changes) and self._changes[-1][1]

    def _on_ready(self, event: ReadyChanged) -> None:
        with self._lock:
            self._changes.append((event.at, event.is_ready))
            if event.is_ready and event.total_lag == 0:
                self._add(event.at, dict.fromkeys(self._ends, 0))

    def _on_state(self, event: BindingStateChanged) -> None:
        with self._lock:
            if event.old is BindingState.CREATED:
                self._changes.append((event.at, False))
            if event.new is BindingState.STOPPED:
                self._stopped = event.at
            if event.new in (BindingState.BACKING_OFF, BindingState.FAILED):
                self._incidents.append(Incident(event.at, event.new.value, event.error or event.reason))

    def _on_rebuilt(self, event: TableRebuilt) -> None:
        reasons = "; ".join(dict.fromkeys(event.partitions.values()))
        with self._lock:
            self._ends = {p: end for p, end in self._ends.items() if p not in event.partitions}
            self._incidents.append(Incident(event.at, "rebuilt", reasons))
