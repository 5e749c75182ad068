"""Keys that Kafka Streams and ksqlDB give to windowed results: the key, then when its window starts.

Time windows (``TimeWindowedSerializer``) put eight bytes behind the key: the start, in milliseconds since 1970,
big-endian; their size is in no record. Session windows (``SessionWindowedSerializer``) put sixteen: end, then start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.base import VALUE_COLUMN, Decoded, Format, Refusal

PREFIXES: Final = {"windowed:": ("window_start",), "session:": ("window_end", "window_start")}
"""How a format of such keys is called, before the name of the format inside, and the times behind a key as they come."""

_TIME_BYTES: Final = 8
_TIME: Final = pl.Datetime("ms", "UTC")
_KEY: Final = "key"


def split_name(name: str) -> tuple[tuple[str, ...], str]:
    """Return the times that a key has behind it, and the name of the format inside; no times for any other name."""
    for prefix, times in PREFIXES.items():
        if name.startswith(prefix):
            return times, name.removeprefix(prefix)
    return (), name


@dataclass(frozen=True, slots=True)
class WindowedKeyFormat:
    """Decodes such keys into the columns of ``inner`` (a plain value is called ``key``) and ``times``, as UTC."""

    inner: Format
    times: tuple[str, ...]

    is_canonical: bool = False

    @property
    def name(self) -> str:
        """``windowed:`` or ``session:``, and the name of the format inside."""
        return next(prefix for prefix, times in PREFIXES.items() if times == self.times) + self.inner.name

    @property
    def initial_schema(self) -> pl.Schema:
        """The columns; none while the format inside does not know its own."""
        return self._outer(self.inner.initial_schema)

    def without_float_widening(self, *fields: str) -> WindowedKeyFormat:
        """Return this format with ``fields`` never widened from integers to floats."""
        return replace(self, inner=self.inner.without_float_widening(*fields))

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads``: what stands before the times by the format inside."""
        width = _TIME_BYTES * len(self.times)
        lines = [line for line, payload in enumerate(payloads) if len(payload) >= width]
        decoded = self.inner.decode([payloads[line][:-width] for line in lines], self._inner(schema))
        refused = [replace(each, index=lines[each.index]) for each in decoded.refused]
        short = set(range(len(payloads))).difference(lines)
        refused += [Refusal(line, f"no windowed key: fewer than {width} bytes") for line in short]
        accepted = [lines[index] for index in decoded.accepted]
        behind = pl.Series([payloads[line][-width:] for line in accepted], dtype=pl.Binary).bin
        times = [
            behind.slice(at * _TIME_BYTES, _TIME_BYTES)
            .bin.reinterpret(dtype=pl.Int64, endianness="big")
            .cast(_TIME)
            .alias(name)
            for at, name in enumerate(self.times)
        ]
        frame = decoded.frame.rename({VALUE_COLUMN: _KEY}, strict=False).hstack(times)
        refused.sort(key=lambda each: each.index)
        return Decoded(frame, accepted, tuple(refused), self._outer(decoded.schema))

    def _outer(self, inner: pl.Schema) -> pl.Schema:
        if not inner:
            return inner
        named = {_KEY if name == VALUE_COLUMN else name: dtype for name, dtype in inner.items()}
        return pl.Schema({**named, **dict.fromkeys(self.times, _TIME)})

    def _inner(self, outer: pl.Schema) -> pl.Schema:
        fields = {name: dtype for name, dtype in outer.items() if name not in self.times}
        is_plain = list(fields) == [_KEY]
        return pl.Schema({VALUE_COLUMN: fields[_KEY]} if is_plain else fields)


def with_times(bodies: Sequence[bytes], rows: pl.DataFrame, times: tuple[str, ...]) -> list[bytes]:
    """Return written keys with the times of ``rows`` behind them.

    Raises
    ------
    SchemaError
        When a time is missing or null.
    """
    for name in times:
        if (
            name not in rows.columns
            or rows[name].null_count()
            or not isinstance(rows[name].dtype, pl.Datetime)
        ):
            message = f"a windowed key needs {name!r}, a Datetime without nulls."
            raise SchemaError(message)
    columns = [rows[name].dt.timestamp("ms").to_list() for name in times]
    return [
        body + b"".join(time.to_bytes(_TIME_BYTES, "big", signed=True) for time in row)
        for body, *row in zip(bodies, *columns, strict=True)
    ]
