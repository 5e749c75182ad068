"""Windows as a user asks for them: parsed once, where they are asked for, then handed on as one value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Self

from ktframe.windows.base import Windows
from ktframe.windows.events import EventWindows
from ktframe.windows.fixed import FixedWindows
from ktframe.windows.parsing import Minutes, parse_grace, parse_minutes, parse_skew, parse_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyWindowSpec(ABC):
    """What windows of tables and windows of streams have in common."""

    idle_after: float
    """After how many seconds without records a partition does not keep windows from being final."""
    tz: str
    """The zone of wall-clock times without an offset."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Short text, such as ``5m`` or ``session 30m``."""

    @property
    @abstractmethod
    def grace_ms(self) -> int | None:
        """How long windows take records after their end, in stream time; None: for ever."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec(AnyWindowSpec):
    """Windows of a table: of which times, and how long they take records."""

    windows: Windows
    grace_ms: int | None
    skew_ms: int | None
    """How far ahead of the wall clock a record may be; None: as far as it likes."""

    @classmethod
    def parse(
        cls,
        size: Minutes,
        every: Minutes | None = None,
        *,
        grace: Minutes | None = None,
        tz: str | None = None,
        offset: Minutes | None = None,
        max_future_skew: Minutes | None = "1d",
        idle_after: Minutes = "1m",
    ) -> Self:
        """Return the spec of what ``KTable.window`` was given.

        Raises
        ------
        ConfigurationError
            When the arguments make no windows.
        """
        return cls(
            windows=parse_windows(size, every, tz=tz, offset=offset),
            grace_ms=parse_grace(grace),
            skew_ms=parse_skew(max_future_skew),
            idle_after=parse_minutes("idle_after", idle_after) / 1000,
            tz=tz or "UTC",
        )

    @property
    def name(self) -> str:
        """The name of the windows."""
        return self.windows.name

    def can_make(self, other: WindowSpec) -> bool:
        """Say whether the windows of ``other`` can be made from a store of these."""
        if self.skew_ms != other.skew_ms:
            return False
        if (self.windows, self.grace_ms) == (other.windows, other.grace_ms):
            return True
        never_close = self.grace_ms is None and other.grace_ms is None
        return never_close and self.windows.is_tumbling and other.windows.base_ms % self.windows.base_ms == 0

    def to_store(self) -> WindowSpec:
        """Return the windows of the store from which these are made: epoch-aligned tumbling ones, if that can be."""
        if self.grace_ms is not None:
            # Late for five minutes is not late for fifteen: with grace, windows have a store of their own.
            return self
        return replace(self, windows=FixedWindows(self.windows.base_ms, self.windows.base_ms))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventWindowSpec(AnyWindowSpec):
    """Windows of a stream's events."""

    windows: EventWindows
    name: str
    by: tuple[str, ...] | None
    """The columns that have windows of their own for each value; None: each aggregate may name others."""

    @property
    def grace_ms(self) -> int | None:
        """The grace of the windows."""
        return self.windows.grace_ms
