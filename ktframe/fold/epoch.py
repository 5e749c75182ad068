"""Numbers as times since 1970, in any unit; and the unit in which numbers that make no sense in another are likely to be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, date, datetime
from fractions import Fraction
from typing import Final, get_args

import polars as pl

from ktframe.clock import EPOCH
from ktframe.config.settings import TimeUnit

UNIT_NAMES: Final[dict[TimeUnit, str]] = {
    "d": "days",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_MS: Final[dict[TimeUnit, Fraction]] = {
    "d": Fraction(86_400_000),
    "s": Fraction(1_000),
    "ms": Fraction(1),
    "us": Fraction(1, 1_000),
    "ns": Fraction(1, 1_000_000),
}
"""The milliseconds of each unit."""

_PRODUCT_ERROR: Final = 2.0**-51
_LARGEST: Final = 2**63 - 1


def _ms_of(year: int) -> int:
    return (date(year, 1, 1).toordinal() - EPOCH.toordinal()) * 86_400_000


FIRST_LIKELY_MS: Final = _ms_of(1990)
"""Few events that Kafka carries happened before 1990: numbers that say so are mostly of another unit."""

END_LIKELY_MS: Final = _ms_of(2100)


def epoch_ms(numbers: pl.Series, unit: TimeUnit) -> pl.Series:
    """Return integers or floats, in ``unit`` since 1970, as milliseconds (Int64), floored, also before 1970.

    Null where there is none within Int64.
    """
    if numbers.dtype.is_float():
        return _epoch_ms_of_floats(numbers.cast(pl.Float64), unit)
    return _epoch_ms_of_integers(numbers, _MS[unit])


def _epoch_ms_of_integers(numbers: pl.Series, ms: Fraction) -> pl.Series:
    if ms < 1:
        # Not of Int64 before the division: nanoseconds up to 2**64 are times.
        wide = numbers if numbers.dtype in (pl.UInt64, pl.Int128) else numbers.cast(pl.Int64, strict=False)
        return (wide // ms.denominator).cast(pl.Int64, strict=False)
    whole = numbers.cast(pl.Int64, strict=False)
    if ms == 1:
        return whole
    most = _LARGEST // ms.numerator
    # Polars lets products overflow.
    return whole.set(~whole.is_between(-most, most), None) * ms.numerator


def _epoch_ms_of_floats(numbers: pl.Series, unit: TimeUnit) -> pl.Series:
    if _MS[unit] <= 1:
        # Floored first: a float that is divided may round up to the next millisecond.
        return _epoch_ms_of_integers(numbers.floor().cast(pl.Int64, strict=False), _MS[unit])
    milliseconds = numbers * _MS[unit].numerator
    # Up by the error of the product, or 1.001 would be 1000 ms: 1.001 * 1000 is below 1001.
    return (milliseconds + milliseconds.abs() * _PRODUCT_ERROR).floor().cast(pl.Int64, strict=False)


def likely_unit(at_ms: int, unit: TimeUnit) -> tuple[TimeUnit, date] | None:
    """Return the unit in which a number is likely to be that gave ``at_ms`` in ``unit``, and the day that it means then.

    None where the time is likely as it is, or is none in any other unit.
    """
    if FIRST_LIKELY_MS <= at_ms < END_LIKELY_MS:
        return None
    number = at_ms / _MS[unit]
    for other in _units():
        read_ms = number * _MS[other]
        if other != unit and FIRST_LIKELY_MS <= read_ms < END_LIKELY_MS:
            return other, datetime.fromtimestamp(float(read_ms) / 1_000, UTC).date()
    return None


def unit_of(numbers: Iterable[float | Fraction]) -> TimeUnit | None:
    """Return the unit in which all of some numbers are times between 1990 and 2100; None where there is none."""
    bounds = [*numbers]
    if not all(map(math.isfinite, bounds)):
        return None
    bounds = [Fraction(number) for number in bounds]
    low, high = min(bounds), max(bounds)
    for unit in _units():
        if low * _MS[unit] >= FIRST_LIKELY_MS and high * _MS[unit] < END_LIKELY_MS:
            return unit
    return None


def _units() -> tuple[TimeUnit, ...]:
    units: tuple[TimeUnit, ...] = get_args(TimeUnit)
    return units
