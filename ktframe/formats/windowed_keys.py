"""The keys of windowed results in Kafka Streams and ksqlDB: the key itself, then the times of its window.

Time windows (``TimeWindowedSerializer``) add eight bytes to the key: the start, in milliseconds since 1970, big-endian.
The window's size is not in the record. Session windows (``SessionWindowedSerializer``) add sixteen: end, then start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.base import VALUE_COLUMN, Decoded, Format, Refusal

PREFIXES: Final = {"windowed:": ("window_start",), "session:": ("window_end", "window_start")}
"""The prefixes of the names of such formats, and the times after a key, in their order."""

_TIME_BYTES: Final = 8
_TIME: Final = pl.Datetime("ms", "UTC")
_KEY: Final = "key"


def split_name(name: str) -> tuple[tuple[str, ...], str]:
    """Return the times after a key and the name of the format of the key itself; no times for any other name."""
    for prefix, times in PREFIXES.items():
        if name.startswith(prefix):
            return times, name.removeprefix(prefix)
    return (), name


@dataclass(frozen=True, slots=True)
class WindowedKeyFormat:
    """Decodes such keys into the columns of ``inner``, where a plain value is called ``key``, and ``times`` in UTC."""

    inner: Format
    times: tuple[str, ...]

    is_canonical: bool = False

    @property
    def name(self) -> str:
        """``windowed:`` or ``session:``, and the name of the format inside."""
        return next(prefix for prefix, times in PREFIXES.items() if times == self.times) + self.inner.name

    @property
    def initial_schema(self) -> pl.Schema:
        """The columns of the key and the times; none while those of the key are not known."""
        return self._outer(self.inner.initial_schema)

    @property
    def declared_fields(self) -> frozenset[str]:
        """None: keys are inferred."""
        return self.inner.declared_fields

    def without_float_widening(self, *fields: str) -> WindowedKeyFormat:
        """Return this format with ``fields`` never widened from integers to floats."""
        return replace(self, inner=self.inner.without_float_widening(*fields))

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Decode ``payloads``: the times here, what is before them with ``inner``."""
        width = _TIME_BYTES * len(self.times)
        lines = [line for line, payload in enumerate(payloads) if len(payload) >= width]
        decoded = self.inner.decode([payloads[line][:-width] for line in lines], self._inner(schema))
        refused = [replace(refusal, index=lines[refusal.index]) for refusal in decoded.refused]
        short = set(range(len(payloads))).difference(lines)
        refused += [Refusal(line, f"not a windowed key: fewer than {width} bytes") for line in short]
        accepted = [lines[index] for index in decoded.accepted]
        suffixes = pl.Series([payloads[line][-width:] for line in accepted], dtype=pl.Binary).bin
        times = [
            suffixes.slice(at * _TIME_BYTES, _TIME_BYTES)
            .bin.reinterpret(dtype=pl.Int64, endianness="big")
            .cast(_TIME)
            .alias(name)
            for at, name in enumerate(self.times)
        ]
        frame = decoded.frame.rename({VALUE_COLUMN: _KEY}, strict=False).hstack(times)
        refused.sort(key=attrgetter("index"))
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
    """Return written keys with the times of ``rows`` after them.

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
