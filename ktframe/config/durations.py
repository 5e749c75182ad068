"""Durations as people write and read them: the only parser, and the only two formatters.

What a bare number means is decided here (seconds); a caller for whom it means minutes, as for windows, converts first.
"""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final, TypeAlias

from ktframe.errors import ConfigurationError

Duration: TypeAlias = int | float | str | timedelta
"""Seconds as a number, a timedelta, or text such as ``"500ms"``, ``"5s"``, ``"1h30m"``, ``"7d"``."""

_MS_PER_UNIT: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}

_PART: Final = r"(\d+(?:\.\d+)?)(ms|[smhdw])"
_TEXT: Final = re.compile(rf"(-?)((?:{_PART})+)", re.ASCII)
_HINT: Final = 'give seconds, a timedelta, or text with a unit: "500ms", "5s", "5m", "1h30m", "1d".'


def parse_duration_ms(value: Duration) -> int:
    """Return ``value`` in whole milliseconds, rounded half to even.

    Parameters
    ----------
    value
        Seconds as a number, a timedelta, or text of one or more parts with a unit; a leading minus negates it all.

    Returns
    -------
    int
        Milliseconds; may be zero or negative: callers that need more check it.

    Raises
    ------
    ConfigurationError
        The text has no unit or a wrong one, the number isn't finite, or the value has another type.

    Examples
    --------
    >>> parse_duration_ms("1h30m"), parse_duration_ms("-2h"), parse_duration_ms(0.5)
    (5400000, -7200000, 500)
    """
    if isinstance(value, timedelta):
        return round(value / timedelta(milliseconds=1))
    if isinstance(value, str):
        return _parse_text(value)
    return _parse_number(value)


def parse_seconds(name: str, value: Duration, *, at_least_ms: int = 1) -> float:
    """Return the setting ``name`` in seconds, exact to the millisecond.

    Raises
    ------
    ConfigurationError
        ``value`` is not a duration, or shorter than ``at_least_ms`` milliseconds; the text names the setting.
    """
    try:
        length_ms = parse_duration_ms(value)
    except ConfigurationError as error:
        message = f"{name}: {error.message}"
        raise ConfigurationError(message, error.hint) from None
    if length_ms < at_least_ms:
        message = f"{name} must be {'longer than zero' if at_least_ms else 'zero or longer'}, not {value!r}."
        raise ConfigurationError(message, _HINT)
    return length_ms / 1_000


def format_duration(length_ms: int) -> str:
    """Return milliseconds as the shortest text that ``parse_duration_ms`` reads back, in days at most.

    Examples
    --------
    >>> format_duration(300_000), format_duration(5_400_000), format_duration(604_800_000), format_duration(-1_500)
    ('5m', '1h30m', '7d', '-1s500ms')
    """
    parts, rest = [], abs(length_ms)
    for unit in ("d", "h", "m", "s", "ms"):
        count, rest = divmod(rest, _MS_PER_UNIT[unit])
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if length_ms < 0 else "") + ("".join(parts) or "0s")


def describe_duration(seconds: float) -> str:
    """Return a length of time to read, rounded, in the largest unit that it fills.

    Examples
    --------
    >>> [describe_duration(seconds) for seconds in (0.2, 42, 100, 5_400, 259_200, 5e6)]
    ['under 1 s', '42 s', '2 min', '1.5 h', '3 d', '58 d']
    """
    if seconds < 1:
        return "under 1 s"
    for unit, size in (("d", 86_400), ("h", 3_600)):
        count = seconds / size
        if count >= 1:
            return f"{count:.{1 if count < 10 else 0}f}".removesuffix(".0") + f" {unit}"  # noqa: PLR2004
    if seconds >= 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds / 60:.0f} min"
    return f"{seconds:.0f} s"


def _parse_number(value: object) -> int:
    # A bool is an int in Python, but nobody means a second by True.
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _not_a_duration(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise _not_a_duration(value)
    return round(value * 1_000)


def _parse_text(text: str) -> int:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise _not_a_duration(text)
    total = sum(float(number) * _MS_PER_UNIT[unit] for number, unit in re.findall(_PART, match[2]))
    if not math.isfinite(total):
        raise _not_a_duration(text)
    return round(-total if match[1] else total)


def _not_a_duration(value: object) -> ConfigurationError:
    return ConfigurationError(f"{value!r} is not a duration.", _HINT)
