"""How much is kept: by time or by size, in steps. Rows below a horizon may be dropped.

A horizon is a value of the identity's leading column: a window's start, or an offset. It follows from the stream time,
never from the time at which rows are dropped: the same log leaves the same rows, however it was cut into batches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, NoReturn, Protocol

import polars as pl

from ktframe.columns import OFFSET, PARTITION, SIZE, TIMESTAMP, WINDOW
from ktframe.config.durations import parse_duration_ms
from ktframe.errors import ConfigurationError
from ktframe.windows.base import Windows

_STEPS = 16
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]i?B)", re.IGNORECASE | re.ASCII)
_UNITS = {"B": 1} | {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", 1)}
_UNITS |= {f"{prefix}IB": 1024**power for power, prefix in enumerate("KMGT", 1)}
_CHECKED_EVERY_ROWS = 5_000
_KEPT_OF_LIMIT = 0.875


class Loaded(NamedTuple):
    """What retention decides by: what one store holds."""

    stream_times: Mapping[int, int]
    """The greatest timestamp of each partition, in milliseconds."""
    applied: int
    """How many records were applied since the store was opened."""
    rows: Callable[[], pl.DataFrame]
    """Returns the rows; only some kinds of retention have to look at them."""


class Retention(Protocol):
    """Decides the horizon of each partition."""

    @property
    def column(self) -> str:
        """The column of the view that horizons are values of."""

    @property
    def setting(self) -> str:
        """How much is kept, and its unit, as text."""

    def mark(self, loaded: Loaded) -> object:
        """Return what stays equal as long as no row has to go."""

    def horizons(self, loaded: Loaded) -> dict[int, int]:
        """Return the horizon of each partition that has one."""


@dataclass(frozen=True, slots=True)
class WindowRetention:
    """Keeps the windows that end less than ``keep_ms`` before their partition's stream time, and a few more."""

    windows: Windows
    keep_ms: int
    column: str = field(default=WINDOW, repr=False)

    @property
    def setting(self) -> str:
        """How long windows are kept."""
        return f"{self.keep_ms} ms"

    def mark(self, loaded: Loaded) -> object:
        """Return the step that each partition's stream time is in."""
        return _steps(loaded.stream_times, self.keep_ms)

    def horizons(self, loaded: Loaded) -> dict[int, int]:
        """Return the start of the first window that is kept."""
        steps = _steps(loaded.stream_times, self.keep_ms)
        return {partition: self.windows.starts_of(at)[0] for partition, at in steps.items()}


@dataclass(frozen=True, slots=True)
class EventTimeRetention:
    """Keeps a stream from the first event on that is less than ``keep_ms`` before its partition's stream time.

    As Kafka's ``retention.ms`` it drops a prefix of the log: an older event behind a newer one goes with that.
    """

    keep_ms: int
    column: str = field(default=OFFSET, repr=False)

    @property
    def setting(self) -> str:
        """How long events are kept."""
        return f"{self.keep_ms} ms"

    def mark(self, loaded: Loaded) -> object:
        """Return the step that each partition's stream time is in."""
        return _steps(loaded.stream_times, self.keep_ms)

    def horizons(self, loaded: Loaded) -> dict[int, int]:
        """Return the offset of the first event that is kept."""
        first_kept = pl.col(PARTITION).replace_strict(
            _steps(loaded.stream_times, self.keep_ms), default=None, return_dtype=pl.Int64
        )
        kept = loaded.rows().filter(pl.col(TIMESTAMP) >= first_kept)
        return dict(kept.group_by(PARTITION).agg(pl.col(OFFSET).min()).iter_rows())


@dataclass(frozen=True, slots=True)
class SizeRetention:
    """Keeps the newest events of a stream whose rows take no more than ``keep_bytes`` in the store.

    New and old are told apart by the stream time at which an event came.
    """

    keep_bytes: int
    column: str = field(default=OFFSET, repr=False)

    @property
    def setting(self) -> str:
        """How many bytes are kept."""
        return f"{self.keep_bytes} bytes"

    def mark(self, loaded: Loaded) -> object:
        """Return how often the size has to be looked at by now."""
        return loaded.applied // _CHECKED_EVERY_ROWS

    def horizons(self, loaded: Loaded) -> dict[int, int]:
        """Return the offset of the first event that is kept, where any has to go."""
        sized = loaded.rows().select(PARTITION, OFFSET, TIMESTAMP, SIZE)
        if sized[SIZE].sum() <= self.keep_bytes:
            return {}
        age = pl.col(TIMESTAMP).cum_max().forward_fill().over(PARTITION).fill_null(0)
        newest_first = (
            sized.sort(PARTITION, OFFSET).with_columns(age.alias(TIMESTAMP)).sort(TIMESTAMP, OFFSET)[::-1]
        )
        # An eighth more than it must, so that it need not look at once again.
        is_surplus = pl.col(SIZE).cast(pl.Int64).cum_sum() > self.keep_bytes * _KEPT_OF_LIMIT
        surplus = newest_first.filter(is_surplus)
        return dict(surplus.group_by(PARTITION).agg(pl.col(OFFSET).max() + 1).iter_rows())


def _steps(stream_times: Mapping[int, int], keep_ms: int) -> dict[int, int]:
    """Return the moment before which nothing must be kept, in steps of a sixteenth of what is kept."""
    step = max(1, keep_ms // _STEPS)
    return {partition: (at - keep_ms) // step * step for partition, at in stream_times.items()}


def setting_of(retention: Retention | None) -> str:
    """Return how much is kept, as text; empty for everything."""
    return "" if retention is None else retention.setting


def keeps_no_more(retention: Retention | None, setting: str) -> bool:
    """Return whether all rows that ``retention`` keeps are kept by ``setting`` too, another one's text."""
    if retention is None or not setting:
        return not setting
    amount, unit = retention.setting.split()
    other, other_unit = setting.split()
    return unit == other_unit and int(amount) <= int(other)


def parse_retention(value: str | timedelta | int | None) -> Retention | None:
    """Return how much of a stream to keep: a duration (``"7d"``, a timedelta), or bytes (a number, ``"500MB"``).

    Raises
    ------
    ConfigurationError
        When it is neither, or not above zero.
    """
    if value is None:
        return None
    match = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    size = None if isinstance(value, bool | float) else value
    if match is not None:
        size = int(float(match[1]) * _UNITS[match[2].upper()])
    elif isinstance(value, str | timedelta):
        with suppress(ConfigurationError):
            keep_ms = parse_duration_ms(value)
            if keep_ms > 0:
                return EventTimeRetention(keep_ms)
    return SizeRetention(size) if isinstance(size, int) and size > 0 else _no_retention(value)


def _no_retention(value: object) -> NoReturn:
    message = f"retention={value!r} is neither a duration nor a size."
    raise ConfigurationError(message, 'give a duration such as "7d", or bytes: 500_000_000, "500MB", "2GiB".')
