"""Formats of payloads that are one plain value, as Kafka's own serializers write them: string, int, long, bytes.

Polars converts whole batches; payloads are checked one by one only where some are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import polars as pl

from ktframe.formats.base import VALUE_COLUMN, Decoded, Refusal


class _Plain:
    """The base of plain formats: one column, whose type never changes."""

    __slots__ = ()
    is_canonical: ClassVar[bool] = True
    name: ClassVar[str]
    dtype: ClassVar[pl.DataType]

    def supports(self, schema: pl.Schema) -> bool:
        """Say whether ``schema`` is empty or the one column."""
        return not schema or schema == self.initial_schema

    @property
    def initial_schema(self) -> pl.Schema:
        """The one column ``value``."""
        return _schema(self.dtype)

    @property
    def declared_fields(self) -> frozenset[str]:
        """None: there are no fields."""
        return frozenset()

    def without_float_widening(self, *_fields: str) -> Self:
        """Return this format: its column never widens."""
        return self


@dataclass(frozen=True, slots=True)
class BytesFormat(_Plain):
    """Payloads as they are: one ``value`` column of ``Binary``; no payload is refused."""

    name: ClassVar[str] = "bytes"
    dtype: ClassVar[pl.DataType] = pl.Binary()

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Return every payload unchanged; ``schema`` is not used."""
        del schema
        return _decoded(_binary(payloads), pl.Binary(), range(len(payloads)), ())


@dataclass(frozen=True, slots=True)
class StringFormat(_Plain):
    """UTF-8 text, as ``StringSerializer`` writes it: one ``value`` column of ``String``.

    Bytes that are not UTF-8 are refused, never replaced. An empty payload is the empty string.
    """

    name: ClassVar[str] = "string"
    dtype: ClassVar[pl.DataType] = pl.String()

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Return the text of every payload that is UTF-8; ``schema`` is not used."""
        del schema
        try:
            text = _binary(payloads).cast(pl.String)
        except pl.exceptions.ComputeError:
            refused = tuple(
                Refusal(index, _not_text(payload))
                for index, payload in enumerate(payloads)
                if not _is_utf8(payload)
            )
        else:
            return _decoded(text, pl.String(), range(len(payloads)), ())
        accepted = _others(len(payloads), refused)
        good = _binary([payloads[index] for index in accepted])
        return _decoded(good.cast(pl.String), pl.String(), accepted, refused)


@dataclass(frozen=True, slots=True)
class _IntegerFormat(_Plain):
    """A two's complement, big-endian integer of fixed width."""

    width_bytes: ClassVar[int]
    serializer: ClassVar[str]

    def decode(self, payloads: Sequence[bytes], schema: pl.Schema) -> Decoded:
        """Return the number in every payload of the right width; ``schema`` is not used."""
        del schema
        binary = _binary(payloads)
        is_bad = binary.bin.size() != self.width_bytes
        if not is_bad.any():
            return _decoded(self._reinterpret(binary), self.dtype, range(len(payloads)), ())
        refused = tuple(Refusal(index, self._why(payloads[index])) for index in is_bad.arg_true())
        return _decoded(
            self._reinterpret(binary.filter(~is_bad)), self.dtype, _others(len(payloads), refused), refused
        )

    def _reinterpret(self, binary: pl.Series) -> pl.Series:
        return binary.bin.reinterpret(dtype=self.dtype, endianness="big")

    def _why(self, payload: bytes) -> str:
        fact = f"{_bytes(payload)}, but {self.name!r} ({self.serializer}) takes {self.width_bytes}"
        fitting = _format_of_width(len(payload))
        return f"{fact}; {fitting!r} may be the right format" if fitting else fact


class IntFormat(_IntegerFormat):
    """Four bytes, big-endian, as ``IntegerSerializer`` writes them: one ``value`` column of ``Int32``."""

    __slots__ = ()
    name = "int"
    dtype = pl.Int32()
    width_bytes = 4
    serializer = "IntegerSerializer"


class LongFormat(_IntegerFormat):
    """Eight bytes, big-endian, as ``LongSerializer`` writes them: one ``value`` column of ``Int64``."""

    __slots__ = ()
    name = "long"
    dtype = pl.Int64()
    width_bytes = 8
    serializer = "LongSerializer"


def _schema(dtype: pl.DataType) -> pl.Schema:
    return pl.Schema({VALUE_COLUMN: dtype})


def _binary(payloads: Sequence[bytes]) -> pl.Series:
    return pl.Series(VALUE_COLUMN, payloads, dtype=pl.Binary)


def _decoded(
    values: pl.Series, dtype: pl.DataType, accepted: Sequence[int], refused: tuple[Refusal, ...]
) -> Decoded:
    return Decoded(values.alias(VALUE_COLUMN).to_frame(), accepted, refused, _schema(dtype))


def _others(count: int, refused: tuple[Refusal, ...]) -> Sequence[int]:
    bad = {refusal.index for refusal in refused}
    return [index for index in range(count) if index not in bad]


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_text(payload: bytes) -> str:
    fitting = _format_of_width(len(payload))
    names = f"{fitting!r} or 'bytes'" if fitting else "'bytes'"
    verb = "is" if len(payload) == 1 else "are"
    return f"{_bytes(payload)} that {verb} not UTF-8 text; {names} may be the right format"


def _bytes(payload: bytes) -> str:
    return "1 byte" if len(payload) == 1 else f"{len(payload)} bytes"


def _format_of_width(width_bytes: int) -> str | None:
    return {IntFormat.width_bytes: IntFormat.name, LongFormat.width_bytes: LongFormat.name}.get(width_bytes)
