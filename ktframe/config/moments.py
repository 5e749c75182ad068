"""Moments as people write them, to milliseconds since 1970: the only parser of them.

Absolute (a datetime, a date, ISO 8601 text) or relative to now (``"-2h"``). A time without an offset is a wall-clock
time of the zone that the caller works in, UTC unless it works in another.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TypeAlias
from zoneinfo import ZoneInfo

from ktframe.clock import EPOCH
from ktframe.config.durations import parse_duration_ms
from ktframe.errors import ConfigurationError

Moment: TypeAlias = str | datetime | date | timedelta
"""A datetime, a date, ISO 8601 text, or a negative duration (``"-2h"``, a timedelta) before now."""

_HINT = 'give a datetime, text such as "2024-11-23T09:00+01:00", or "-2h" for two hours ago.'


@dataclass(frozen=True, slots=True)
class Start:
    """Where reading begins: at ``at_ms`` since 1970, or ``before_ms`` before the moment it is looked up."""

    at_ms: int | None = None
    before_ms: int | None = None

    @property
    def is_relative(self) -> bool:
        """Whether it moves with the clock."""
        return self.before_ms is not None

    def moment(self, now_ms: int) -> int:
        """Return it in milliseconds since 1970."""
        return now_ms - self.before_ms if self.before_ms is not None else self.at_ms or 0


def parse_start(name: str, value: Moment) -> Start:
    """Return ``value`` as the place where reading begins.

    Raises
    ------
    ConfigurationError
        When it can't be read as a moment, or lies in the future.
    """
    before = _relative_ms(name, value)
    if before is not None:
        return Start(before_ms=before)
    at_ms = parse_moment(name, value)
    if at_ms > datetime.now(UTC).timestamp() * 1000:
        message = f"{name}={value!r} lies in the future."
        raise ConfigurationError(message, _HINT)
    return Start(at_ms=at_ms)


def parse_moment(name: str, value: Moment, *, tz: str = "UTC", now_ms: int = 0) -> int:
    """Return ``value`` in milliseconds since 1970, floored.

    Raises
    ------
    ConfigurationError
        When it can't be read as a moment; also a wall-clock time that the zone skips, or has twice, where no offset says which.
    """
    before = _relative_ms(name, value)
    if before is not None:
        return now_ms - before
    moment = _parsed(name, value)
    if moment.tzinfo is None:
        moment = _in_zone(name, moment, UTC if tz == "UTC" else ZoneInfo(tz))
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _relative_ms(name: str, value: Moment) -> int | None:
    if isinstance(value, str) and not value.strip().startswith("-"):
        return None
    if not isinstance(value, str | timedelta):
        return None
    length = parse_duration_ms(value)
    if length >= 0:
        message = f"{name}={value!r} lies in the future."
        raise ConfigurationError(message, _HINT)
    return -length


def _parsed(name: str, value: object) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime.combine(value, time())
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            pass
    message = f"{name}={value!r} is not a moment."
    raise ConfigurationError(message, _HINT)


def _in_zone(name: str, wall: datetime, zone: tzinfo) -> datetime:
    first, second = (wall.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first
    back = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
    fact = "does not exist" if back != wall.replace(fold=0) else "occurs twice"
    message = f"{name}={wall.isoformat(' ')} {fact} in {zone}: the clocks change."
    example = first.astimezone(zone).isoformat()
    raise ConfigurationError(message, f'say which by an offset, such as "{example}".')
