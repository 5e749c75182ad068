"""Event times that are hardly meant: nearly all before 1990, or far in the future, because their unit is another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast

import polars as pl

from ktframe.columns import TIMESTAMP
from ktframe.config.settings import TimeUnit
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.epoch import END_LIKELY_MS, FIRST_LIKELY_MS, UNIT_NAMES, likely_unit
from ktframe.fold.event_time import as_datetime
from ktframe.sync.materializer import Materializer
from ktframe.tables.completeness import Notice

_NEARLY_ALL: Final = 0.95
_ENOUGH_ROWS: Final = 100
"""So many rows tell that times are likely."""


class UnlikelyTimes:
    """Finds out whether the times that ``time=`` names are likely; once they are, it is not looked at again."""

    def __init__(self) -> None:
        self._are_likely = False

    def find(self, materializer: Materializer, topic: str) -> Iterator[Notice]:
        """Yield the notice that names the likely unit, if there is one."""
        decoder = materializer.decoder
        if decoder.time is None or self._are_likely:
            return
        fields = pl.Schema({**decoder.fields(materializer.schema), **dict(decoder.headers.types)})
        dtype = decoder.nested.dtypes(fields).get(decoder.time, fields.get(decoder.time, pl.Null()))
        unit = _unit(decoder, dtype)
        if unit is None:
            return
        times = materializer.view.snapshot().rows[TIMESTAMP].drop_nulls()
        is_likely = times.is_between(FIRST_LIKELY_MS, END_LIKELY_MS)
        if not len(times) or is_likely.sum() > (1 - _NEARLY_ALL) * len(times):
            self._are_likely = len(times) >= _ENOUGH_ROWS
            return
        median = int(cast(float, times.filter(~is_likely).median()))
        likely = likely_unit(median, unit)
        if likely is None:
            return
        other, day = likely
        shown = as_datetime(median)
        when = "the year 9999" if shown is None else f"{shown:%Y-%m-%d}"
        where = "before 1990" if median < FIRST_LIKELY_MS else "far in the future"
        fact = f"nearly all times in {decoder.time!r} of {topic!r} are {where}, such as {when}, taken as {UNIT_NAMES[unit]}."
        yield Notice(f"times: {decoder.time}", fact, _hint(decoder, dtype, other, str(day)))


def _unit(decoder: TopicDecoder, dtype: pl.DataType) -> TimeUnit | None:
    """Return the unit in which a user had numbers read; None where a schema of the topic, or ISO text, says the time."""
    if decoder.time not in decoder.declared_fields or not dtype.is_temporal():
        return decoder.event_time.unit_of(dtype)
    if isinstance(dtype, pl.Datetime):
        return dtype.time_unit
    return "d" if isinstance(dtype, pl.Date) else None


def _hint(decoder: TopicDecoder, dtype: pl.DataType, unit: TimeUnit, day: str) -> str:
    read = f"reads numbers in {decoder.time!r} as {UNIT_NAMES[unit]}: {day} here."
    if not dtype.is_temporal():
        return f'time_unit="{unit}" {read}'
    if isinstance(dtype, pl.Datetime) and unit in ("ms", "us", "ns"):
        zone = "" if dtype.time_zone is None else f', "{dtype.time_zone}"'
        return f'schema={{{decoder.time!r}: pl.Datetime("{unit}"{zone})}} {read}'
    return f'schema={{{decoder.time!r}: pl.Int64}} with time_unit="{unit}" {read}'
