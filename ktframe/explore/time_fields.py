"""Which fields of a sample are times, and what their numbers count: guessed from their names and values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

import polars as pl

from ktframe.config.settings import TimeUnit
from ktframe.fold.epoch import unit_of
from ktframe.fold.event_time import EventTime, event_times
from ktframe.formats.field_names import FieldPath, field_name

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_OF_TIMES: Final = frozenset(
    """at created date datetime day end ended epoch expires finished modified occurred on received recorded sent
    since start started time timestamp ts tstamp until updated when""".split()  # noqa: SIM905 - forty quotes less
)
_UNIT_WORDS: Final = frozenset("d s ms us ns sec secs seconds millis micros nanos milliseconds".split())  # noqa: SIM905


class TimeField(NamedTuple):
    """A field that holds times; ``unit`` is what its numbers count since 1970, None where they are no numbers."""

    name: str
    unit: TimeUnit | None
    is_default: bool
    """Whether ``time=`` alone reads it."""

    def __str__(self) -> str:
        """Return its name, with the unit where that must be said."""
        return self.name if self.is_default else f'{self.name} (time_unit="{self.unit}")'


def time_fields(frame: pl.DataFrame) -> list[TimeField]:
    """Return the fields of decoded values, nested ones too, that are times by name and by all of their values."""
    return [found for column in frame for found in _of_column(column, (column.name,))]


def _of_column(column: pl.Series, path: FieldPath) -> Iterator[TimeField]:
    if isinstance(column.dtype, pl.Struct):
        for inner in column.struct.unnest():
            yield from _of_column(inner, (*path, inner.name))
    else:
        yield from _time_field(column.alias(path[-1]), field_name(path))


def _time_field(column: pl.Series, name: str) -> Iterator[TimeField]:
    values, dtype = column.drop_nulls(), column.dtype
    if not len(values):
        return
    if isinstance(dtype, pl.Date | pl.Datetime):
        yield TimeField(name, None, is_default=True)
        return
    if not _is_named_as_time(column.name):
        return
    numbers = values.cast(pl.Float64, strict=False) if dtype == pl.String else values
    if not numbers.null_count() and (dtype == pl.String or dtype.is_integer() or dtype.is_float()):
        bounds = (numbers.min(), numbers.max())
        unit = unit_of(float(bound) for bound in bounds)  # type: ignore[arg-type]
        if unit is not None:
            yield TimeField(name, unit, is_default=EventTime(column.name).unit_of(dtype) == unit)
    elif dtype == pl.String and not event_times(values.to_frame(), column.name).null_count():
        yield TimeField(name, None, is_default=True)


def _is_named_as_time(name: str) -> bool:
    words = [word.lower() for word in _WORDS.findall(name)]
    while len(words) > 1 and words[-1] in _UNIT_WORDS:
        words.pop()
    if not words:
        return False
    # created_at, eventTime, ts_ms, datetime; but no "timeout" and no "date_of_birth_place".
    return words[-1] in _OF_TIMES or words[-1].endswith(("time", "timestamp", "date")) or words[0] == "ts"
