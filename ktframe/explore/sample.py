"""What can be told from a sample of raw records: guessed formats, columns, shares of tombstones, the rate of decoding."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import polars as pl

from ktframe.errors import ConfigurationError, RegistryError
from ktframe.explore.additions import additions
from ktframe.explore.event_types import EventType, deletes_in, event_types
from ktframe.explore.readings import (
    AVRO,
    Reading,
    Readings,
    is_text,
    objects_in,
    reading_of_all,
    reading_of_all_keys,
    reading_of_keys,
    reading_of_values,
)
from ktframe.explore.time_fields import TimeField, time_fields
from ktframe.fold.event_time import as_shown_times
from ktframe.fold.records import RecordBatch
from ktframe.formats import Decoded, Format, Headers, JsonFormat, key_format, schemas_of, value_format
from ktframe.formats.bodies import SchemaDocument
from ktframe.formats.json.packed import unpacked, unpacked_bytes
from ktframe.formats.json.refusals import WHITESPACE
from ktframe.formats.json.scalars import is_scalar
from ktframe.formats.plain import IntFormat, LongFormat
from ktframe.formats.schemas import TopicSchemas, without_registry

_ENOUGH = 0.8  # the share of payloads that decide a guess: some may be broken
_FRAME_BYTES = 5  # the magic byte and the schema id of Confluent's wire format


def guess_format(payloads: Sequence[bytes]) -> str | None:
    """Return the format that at least four in five of ``payloads`` seem to have; None when there are no payloads.

    One of ``"json"``, ``"string"``, ``"int"``, ``"long"``, ``"avro"`` and, if none of these, ``"bytes"``.
    """
    if not payloads:
        return None
    # In this order: four letters are text rather than a number, and the bytes of most numbers are not text.
    guesses: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
        ("json", _is_json),
        ("string", is_text),
        (IntFormat.name, lambda payload: len(payload) == IntFormat.width_bytes),
        (LongFormat.name, lambda payload: len(payload) == LongFormat.width_bytes),
        (AVRO, lambda payload: schema_id(payload) is not None),
    )
    for name, fits in guesses:
        if sum(map(fits, payloads)) >= _ENOUGH * len(payloads):
            return name
    return "bytes"


def guess_key_format(payloads: Sequence[bytes]) -> str | None:
    """Return the format of keys: as of values, and ``"json"`` where text is in JSON's quotes, or numbers are among such text."""
    guess = guess_format(payloads)
    if guess != "string":
        return guess
    are_quoted = [payload.lstrip().startswith(b'"') for payload in payloads if is_scalar(payload)]
    is_json = len(are_quoted) >= _ENOUGH * len(payloads) and 2 * sum(are_quoted) >= len(payloads)
    return "json" if is_json else guess


def schema_id(payload: bytes) -> int | None:
    """Return the schema id that ``payload`` seems to begin with: a zero byte, then four bytes that are not all zero."""
    if len(payload) <= _FRAME_BYTES or payload[0] != 0:
        return None
    return int.from_bytes(payload[1:_FRAME_BYTES], "big") or None


def schema_ids(payloads: Sequence[bytes]) -> tuple[int, ...]:
    """Return the schema ids of ``payloads``, the commonest first."""
    counts = Counter(number for number in map(schema_id, payloads) if number is not None)
    return tuple(number for number, _ in counts.most_common())


def as_text(payload: bytes | None, name: str | None) -> str | None:
    """Return ``payload`` as text: a number where the format ``name`` has numbers, else text, else hex."""
    if payload is None:
        return None
    width = {IntFormat.name: IntFormat.width_bytes, LongFormat.name: LongFormat.width_bytes}.get(str(name))
    if len(payload) == width:
        return str(int.from_bytes(payload, "big", signed=True))
    if name == "json":
        (payload,) = unpacked([payload])
    is_readable = name in ("json", "string") or is_text(payload)
    return payload.decode(errors="replace") if is_readable else payload.hex()


def _is_json(payload: bytes) -> bool:
    return JsonFormat(unpacks=True).parse(payload) is not None


_TIMES: Final = ("first_timestamp", "last_timestamp")

_SUMMARY: Final = {
    "topic": pl.String(),
    "partitions": pl.Int32(),
    "records": pl.Int64(),
    "bytes": pl.Int64(),
    "cleanup_policy": pl.String(),
    "first_timestamp": pl.Int64(),
    "last_timestamp": pl.Int64(),
    "key_format": pl.String(),
    "value_format": pl.String(),
    "tombstones": pl.Float64(),
    "null_keys": pl.Float64(),
    "load_seconds": pl.Float64(),
}

_HEADERS: Final = pl.List(pl.Struct({"key": pl.String(), "value": pl.String()}))
_COLUMNS: Final = {
    "column": pl.String(),
    "dtype": pl.String(),
    "nulls": pl.Float64(),
    "tags": pl.List(pl.String()),
}


def sizes(batch: RecordBatch) -> list[int]:
    """Return the bytes of key and value of each record."""
    return [len(key or b"") + len(value or b"") for key, value in zip(batch.keys, batch.values, strict=True)]


def few_bytes(batch: RecordBatch, most: int) -> RecordBatch:
    """Return the newest records of each partition that are no more bytes together, unpacked; one at the least."""
    behind, order = Counter[int](), []
    for line in reversed(range(len(batch))):
        order.append((behind[batch.partitions[line]], line))
        behind[batch.partitions[line]] += 1
    size, kept = 0, list[int]()
    for _, line in sorted(order):
        size += len(batch.keys[line] or b"") + unpacked_bytes(batch.values[line] or b"")
        if kept and size > most:
            break
        kept.append(line)
    return batch if len(kept) == len(batch) else batch.at(sorted(kept))


def timestamps(batch: RecordBatch) -> list[int]:
    """Return the timestamps (ms) of the records that have one."""
    return [at for at, kind in zip(batch.timestamps, batch.timestamp_types, strict=True) if kind]


@dataclass(frozen=True)
class TopicSample:
    """The oldest record of each partition, many of the newest, and the seconds that reading these newest took."""

    oldest: RecordBatch
    newest: RecordBatch
    read_seconds: float
    fetch: Callable[[bytes], SchemaDocument] = without_registry
    """Looks up a schema that a value names."""
    left_out: int = 0
    """How many of the newest records it lacks because they are too large together."""

    @cached_property
    def _keys(self) -> list[bytes]:
        return [key for key in self.newest.keys if key is not None]

    @cached_property
    def _values(self) -> list[bytes]:
        return [value for value in self.newest.values if value is not None]

    @cached_property
    def key_format(self) -> str | None:
        """The guessed format of the keys."""
        return guess_key_format(self._keys)

    @cached_property
    def value_format(self) -> str | None:
        """The guessed format of the values."""
        return JsonFormat.name if self._explodes else self._format_as_sent

    @cached_property
    def _format_as_sent(self) -> str | None:
        return guess_format(self._values)

    @cached_property
    def _explodes(self) -> bool:
        """Whether the values are JSON if each object of those that hold several is read by itself, and not otherwise."""
        if self._format_as_sent in (None, JsonFormat.name):
            return False
        objects = objects_in(self._values)
        return objects != self._values and guess_format(objects) == JsonFormat.name

    @cached_property
    def _payloads(self) -> list[bytes]:
        """The values as they are read."""
        return objects_in(self._values) if self._explodes else self._values

    def schema_ids(self) -> tuple[int, ...]:
        """Return the Confluent schema ids of the values, where they seem to have any."""
        return schema_ids(self._values) if self.value_format in (AVRO, "bytes") else ()

    def summary(self, facts: Mapping[str, Any]) -> pl.DataFrame:
        """Return ``facts`` and the numbers that come from the sample as one row; see ``Inspection.summary``."""
        count = len(self.newest)
        sampled = {
            "key_format": self.key_format,
            "value_format": self.value_format,
            "tombstones": (count - len(self._values)) / count if count else None,
            "null_keys": (count - len(self._keys)) / count if count else None,
            "load_seconds": self._load_seconds(facts["records"]),
        }
        row = {**facts, **sampled}
        frame = pl.DataFrame([[row[name] for name in _SUMMARY]], schema=_SUMMARY, orient="row")
        return frame.with_columns(as_shown_times(pl.col(name)).alias(name) for name in _TIMES)

    def _load_seconds(self, records: int) -> float | None:
        if not len(self.newest):
            return None if records else 0.0
        keys = self._form_of(self.key_format, key_format)
        decoding = self._decoded[1] + _decode_timed(keys, self._keys)[1]
        return records * (self.read_seconds + decoding) / len(self.newest)

    @cached_property
    def _decoded(self) -> tuple[Decoded | None, float]:
        return _decode_timed(self._value_form, self._payloads)

    @cached_property
    def _value_form(self) -> Format | None:
        is_whole = self.value_format == JsonFormat.name and not self._has_fields
        return self._form_of(self._reading.format if is_whole else self.value_format, value_format)

    def _form_of(self, name: str | None, format_of: Callable[..., Format]) -> Format | None:
        if name is None:
            return None
        # Avro and Protobuf look the same from outside: "auto" looks at the schema.
        if name == AVRO:
            return format_of("auto", schemas=TopicSchemas(self.fetch))
        return JsonFormat(unpacks=True) if format_of is value_format and name == "json" else format_of(name)

    def columns(self) -> pl.DataFrame:
        """Return the columns that the format decodes from the values; see ``Inspection.columns``."""
        decoded, _ = self._decoded
        if decoded is None:
            return pl.DataFrame(schema=_COLUMNS)
        rows = max(decoded.frame.height, 1)
        schemas = None if self._value_form is None else schemas_of(self._value_form)
        tags = {} if schemas is None else schemas.tags
        facts = [
            (column.name, str(column.dtype), column.null_count() / rows, list(tags.get(column.name, ())))
            for column in decoded.frame
        ]
        return pl.DataFrame(facts, schema=_COLUMNS, orient="row")

    def header_names(self) -> tuple[str, ...]:
        """Return the names of the headers of the newest records, the commonest first."""
        names = Counter(
            name for headers in self.newest.headers or () for name in {n for n, _ in headers or ()}
        )
        return tuple(name for name, _ in sorted(names.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def _objects(self) -> list[Mapping[str, Any]]:
        if self.value_format != "json":
            return []
        return [
            record
            for value in self._payloads
            if (record := JsonFormat(unpacks=True).parse(value)) is not None
        ]

    def types(self) -> tuple[EventType, ...]:
        """Return the types of records that there are, where a field tells them apart."""
        return event_types(self._objects) if self._has_fields else ()

    def deletes(self) -> tuple[Any, ...]:
        """Return which values delete a row beside Kafka's null."""
        return self._deletes if self._has_fields else ()

    @property
    def _has_fields(self) -> bool:
        """Whether the fields of JSON are columns; where their names never settle they are not."""
        return self._reading.format == JsonFormat.name

    @cached_property
    def _deletes(self) -> tuple[Any, ...]:
        # What takes values apart is a stream: nothing is deleted there.
        return deletes_in(self._values, self._objects) if self._objects and not self._explodes else ()

    @cached_property
    def _rows(self) -> list[bytes]:
        """The values without those that delete by other means than null, which have no fields."""
        deleting = {b""} if "empty" in self._deletes else set()
        deleting |= {b"null"} if "null" in self._deletes else set()
        return [value for value in self._values if value.strip(WHITESPACE) not in deleting]

    @cached_property
    def _reading(self) -> Reading:
        return reading_of_values(self._rows, self.value_format, explode=self._explodes)

    def additions(self) -> tuple[str, ...]:
        """Return which arguments one may add to the calls."""
        headers = self.newest.headers or [None] * len(self.newest)
        columns = self.columns()["column"].to_list()
        payloads = self._reading.payloads(self._rows)
        return additions(payloads, self._objects, self._reading, headers, columns)

    def readings(self) -> Readings:
        """Return how keys and values are read; what deletes is a record like any other in a stream."""
        of_values = self._reading
        return Readings(
            reading_of_keys(self._keys, self.key_format, self.fetch),
            of_values,
            reading_of_all_keys(self._keys, self.key_format, self.fetch),
            reading_of_all(self._values, of_values, self.fetch),
        )

    def times(self) -> tuple[TimeField, ...]:
        """Return the fields of the values that hold times."""
        decoded, _ = self._decoded
        return () if decoded is None else tuple(time_fields(decoded.frame))

    def samples(self, count: int) -> pl.DataFrame:
        """Return the newest ``count`` records; see ``Inspection.samples``."""
        batch = self.newest
        has_time = pl.Series(batch.timestamp_types, dtype=pl.Int64) > 0
        frame = pl.DataFrame(
            {
                "partition": pl.Series(batch.partitions, dtype=pl.Int32),
                "offset": pl.Series(batch.offsets, dtype=pl.Int64),
                "timestamp": pl.Series(batch.timestamps, dtype=pl.Int64).set(~has_time, None),
                "row": pl.int_range(len(batch), eager=True),
                "size_bytes": pl.Series(sizes(batch), dtype=pl.Int64),
            }
        )
        order = ["timestamp", "offset", "partition"]
        newest = frame.sort(order, descending=[True, True, False], nulls_last=True).head(count)
        headers = batch.headers or [None] * len(batch)
        keys = [as_text(batch.keys[row], self.key_format) for row in newest["row"]]
        values = [as_text(batch.values[row], self.value_format) for row in newest["row"]]
        return newest.select(
            "partition",
            "offset",
            as_shown_times(pl.col("timestamp")).alias("timestamp"),
            pl.Series("key", keys, dtype=pl.String),
            pl.Series("value", values, dtype=pl.String),
            "size_bytes",
            pl.Series("headers", [_shown(headers[row]) for row in newest["row"]], dtype=_HEADERS),
        )


def _shown(headers: Headers) -> list[dict[str, str | None]]:
    return [{"key": name, "value": as_text(value, None)} for name, value in headers or ()]


def _decode_timed(form: Format | None, payloads: Sequence[bytes]) -> tuple[Decoded | None, float]:
    """Return the payloads decoded, and the seconds that decoding takes once the schema is known."""
    if form is None:
        return None, 0.0
    try:
        decoded = form.decode(payloads, form.initial_schema)
    except (RegistryError, ConfigurationError):
        return None, 0.0
    started = time.perf_counter()
    form.decode(payloads, decoded.schema)
    return decoded, time.perf_counter() - started
