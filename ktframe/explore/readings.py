"""In which formats a sample is read: the guess is tried, and another one taken where it would refuse records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from ktframe.errors import ConfigurationError, RegistryError, SchemaError
from ktframe.formats import Format, JsonFormat, key_format, several, value_format
from ktframe.formats.base import Fault, Refusal
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.json.packed import unpacked
from ktframe.formats.schemas import TopicSchemas

Fetch = Callable[[bytes], SchemaDocument]
"""Looks up a schema that a payload names."""

# Bytes behind a Confluent schema id are most often Avro; Protobuf looks the same from outside.
AVRO: Final = "avro"

_NOT_IN_TEXT = frozenset(chr(code) for code in (*range(32), 127)) - {"\t", "\n", "\r"}
_MOST_FIELDS: Final = 20
"""So many fields are declared as JSON text; where more disagree with their columns, the records are broken."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A format (None: there is nothing to read), and the fields that are kept as JSON text so that none is refused."""

    format: str | None
    json_fields: tuple[str, ...] = ()
    unpack: bool = False
    """Whether values are in gzip, or behind a byte order mark."""
    explode: bool = False
    """Whether each object of values that hold several is read by itself."""

    def json_format(self) -> JsonFormat:
        """Return the format of JSON that reads values so."""
        declared = pl.Schema(dict.fromkeys(self.json_fields, pl.String()))
        return JsonFormat(declared, json_fields=frozenset(declared), unpacks=self.unpack)

    def payloads(self, values: Sequence[bytes]) -> Sequence[bytes]:
        """Return what is read by itself: values, or the objects that they hold."""
        return objects_in(values) if self.explode else values


_NOTHING: Final = Reading(None)


def is_text(payload: bytes) -> bool:
    """Say whether ``payload`` is UTF-8 that a person could read."""
    try:
        return _NOT_IN_TEXT.isdisjoint(payload.decode())
    except UnicodeDecodeError:
        return False


@dataclass(frozen=True, slots=True)
class Readings:
    """How a sample is read: into the rows that are of most use, and so that no record is refused."""

    keys: Reading = _NOTHING
    values: Reading = _NOTHING
    all_keys: Reading = _NOTHING
    all_values: Reading = _NOTHING


NOTHING_READ: Final = Readings()


def reading_of_keys(keys: Sequence[bytes], guess: str | None, fetch: Fetch) -> Reading:
    """Return the guess where it reads all ``keys``, else text or bytes; JSON where it reads at least half of them."""
    if guess == JsonFormat.name and 2 * len(refusals(key_format(guess), keys)) <= len(keys):
        return Reading(guess)
    return reading_of_all_keys(keys, guess, fetch)


def reading_of_all_keys(keys: Sequence[bytes], guess: str | None, fetch: Fetch) -> Reading:
    """Return the guess where it reads all ``keys``, else text or bytes: no key is refused."""
    schemas = TopicSchemas(fetch)
    return _first_reading(keys, guess, lambda name: key_format(name, schemas=schemas))


def objects_in(values: Sequence[bytes]) -> list[bytes]:
    """Return what ``values`` hold: each object of those that hold several, and all others as they are."""
    objects: list[bytes] = []
    for value in values:
        held = several(value, unpacks=True)
        objects += [value] if held is None else held
    return objects


def reading_of_values(values: Sequence[bytes], guess: str | None, *, explode: bool = False) -> Reading:
    """Return the guess where it reads all ``values``, else text or bytes; JSON and Avro wherever they were guessed.

    Where a field disagrees with its column in some of them, or with ``explode`` in some objects of theirs, it is kept as JSON text.
    Where their names never settle, the whole value is.
    """
    if guess == AVRO:
        return Reading(guess)
    if guess != JsonFormat.name:
        return _first_reading(values, guess, value_format)
    objects = objects_in(values) if explode else values
    format_ = decided(JsonFormat(unpacks=True), objects)
    if format_.decision is not None and format_.decision.is_crowded:
        return _first_reading(values, "string", value_format)
    odd = _odd_fields(format_, objects)
    return Reading(guess, odd, unpack=unpacked(values) is not values, explode=explode)


def reading_of_all(values: Sequence[bytes], reading: Reading, fetch: Fetch) -> Reading:
    """Return ``reading`` where it reads all ``values``, or all objects of theirs, else text or bytes: no record is refused."""
    if reading.format == JsonFormat.name:
        if _reads_all(values, reading):
            return reading
        objects = reading_of_values(values, reading.format, explode=True)
        if not reading.explode and _reads_all(values, objects):
            return objects
    elif reading.format is None or not refusals(_format(reading.format, fetch), values):
        return reading
    return _first_reading(values, "string", value_format)


def _reads_all(values: Sequence[bytes], reading: Reading) -> bool:
    """Say whether none of ``values`` is refused, as JSON."""
    payloads = reading.payloads(values)
    return not refusals(decided(reading.json_format(), payloads), payloads)


def _format(name: str, fetch: Fetch) -> Format:
    return value_format(_by_schema(name), schemas=TopicSchemas(fetch))


def _by_schema(name: str) -> str:
    return "auto" if name == AVRO else name  # Protobuf looks the same from outside


def _first_reading(
    payloads: Sequence[bytes], guess: str | None, format_of: Callable[[str], Format]
) -> Reading:
    if guess is None:
        return Reading(None)
    if guess != "string" and not refusals(format_of(guess), payloads):
        return Reading(guess)
    return Reading("string" if all(map(is_text, payloads)) else "bytes")


def _odd_fields(format_: JsonFormat, values: Sequence[bytes]) -> tuple[str, ...]:
    """Return the fields that disagree with the columns which a table of these values alone would have."""
    refused = refusals(format_, values)
    names = dict.fromkeys(
        name for refusal in refused if refusal.fault is Fault.FIELD for name in refusal.fields
    )
    return tuple(names) if len(names) <= _MOST_FIELDS else ()


def decided(format_: JsonFormat, values: Sequence[bytes]) -> JsonFormat:
    """Return the format with the types of fields as all ``values`` decide."""
    seen = format_.nothing_seen()
    for number, value in enumerate(values):
        record = format_.parse(value)
        if record is not None:
            seen.add_record(record, 0, number, with_times=format_.reads_times)
    return format_.decided_by(format_.decision_of(seen).for_rows_of(pl.Schema()))


def refusals(format_: Format, payloads: Sequence[bytes]) -> Sequence[Refusal]:
    """Return what is refused; all where a schema can't be had now."""
    try:
        return format_.decode(payloads, format_.initial_schema).refused
    except (RegistryError, ConfigurationError, SchemaError):
        return [Refusal(index, "") for index in range(len(payloads))]
