"""Which arguments of ``ktframe.table`` and ``ktframe.stream`` keep records that were refused, for hints to users.

Each of these sentences is followed by a test, which sees that no record is refused any more for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.headers import leave_out
from ktframe.fold.identity import Tombstone
from ktframe.fold.records import Cause
from ktframe.formats import inferring, reads_json_alone, reads_times, unpacks
from ktframe.formats.base import VALUE_COLUMN, Fault
from ktframe.formats.json.refusals import IS_GZIP, IS_MARKED, holds_objects

_MOST_FIELDS: Final = 10
_DELETES: Final = {
    **dict.fromkeys(("empty value", "blank value"), 'deletes="empty" takes an empty value as a delete.'),
    "a JSON null, not an object": 'deletes="null" takes a JSON null as a delete.',
}
"""What refused values mean that many producers delete by, and this argument takes so."""


def remedy(causes: Iterable[Cause], decoder: TopicDecoder, topic: str) -> str:
    """Return what would keep the records of ``causes``, a sentence for each kind of fault."""
    by_fault: dict[Fault, list[str]] = {}
    sentences: list[str] = []
    for cause in causes:
        if cause.reason in _DELETES and decoder.identity.tombstone is not Tombstone.IS_ROW:
            sentences.append(_DELETES[cause.reason])
        if cause.reason.startswith((IS_MARKED, IS_GZIP)) and not unpacks(decoder.value_format):
            sentences.append("unpack=True reads JSON in gzip, and behind a byte order mark.")
        if holds_objects(cause.reason) and _can_explode(decoder):
            sentences += [_explode(decoder, topic)]
        by_fault.setdefault(cause.fault, []).extend(cause.fields)
    sentences += [
        _SENTENCES[fault](decoder, topic, [*dict.fromkeys(fields)]) for fault, fields in by_fault.items()
    ]
    return " ".join(dict.fromkeys(sentences))


def _can_explode(decoder: TopicDecoder) -> bool:
    # A value that names a schema is what that describes.
    return not decoder.identity.takes_apart and inferring(decoder.value_format) is not None


def _explode(decoder: TopicDecoder, topic: str) -> str:
    if decoder.identity.tombstone is Tombstone.IS_ROW:
        return "explode=True makes an event of each object in a value."
    return f"{_stream(decoder, topic, explodes=True)} makes an event of each object in a value."


def _fields(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    if not fields or len(fields) > _MOST_FIELDS:
        return _value(decoder, topic, fields)
    wanted = ", ".join(f"{name!r}: ktframe.Json" for name in fields)
    without = _without(decoder, fields)
    if decoder.declared_fields:
        return f"{without}{{{wanted}}} in schema= keeps values of any kind, as JSON text."
    return f"{without}schema={{{wanted}}} keeps values of any kind, as JSON text."


def _without(decoder: TopicDecoder, fields: Sequence[str]) -> str:
    """Return which arguments can't stay where ``fields`` become JSON text: in text is neither a time nor a field."""
    outer = {name: path[0] for name, path in decoder.nested.paths}
    without = ""
    if any(outer.get(name) in fields for name in decoder.key_fields):
        without = f"without {_key_argument(decoder)}, "
    if decoder.time is not None and outer.get(decoder.time, decoder.time) in fields:
        without += f"without {_time_argument(decoder)}, "
    if any(path[0] in fields for path in decoder.unnested.objects):
        without += f"without unnest={decoder.unnested.argument!r}, "
    return without


def _time_argument(decoder: TopicDecoder) -> str:
    unit = decoder.event_time.unit
    return f"time={decoder.time!r}" if unit is None else f"time={decoder.time!r}, time_unit={unit!r}"


def _key_argument(decoder: TopicDecoder) -> str:
    names = decoder.key_fields
    return f"key={names[0]!r}" if len(names) == 1 else f"key={list(names)!r}"


def _value(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del fields
    needs_fields = decoder.key_fields or decoder.time or decoder.declared_fields or decoder.unnested.structs
    if not (needs_fields or decoder.identity.takes_apart or reads_json_alone(decoder.value_format)):
        return 'value="bytes" keeps any value, as bytes.'
    return f"{_stream(decoder, topic, value='bytes')} keeps any value, as bytes."


def _stream(decoder: TopicDecoder, topic: str, *, value: str | None = None, explodes: bool = False) -> str:
    """Return the call that gives every record, with what is needed to read them; ``...`` stands for what was given."""
    arguments = [repr(topic)]
    for name, format_, defaults in (
        ("value", value or decoder.value_format.name, ("auto",)),
        ("key_format", decoder.key_format.name, ("auto", "string")),
    ):
        arguments += [] if format_ in defaults else [f'{name}="{format_}"']
    flags = (("unpack", explodes and unpacks(decoder.value_format)), ("explode", explodes))
    arguments += [f"{name}=True" for name, is_given in flags if is_given]
    arguments += ["schema=..."] if decoder.declared_fields and value is None else []
    return f"ktframe.stream({', '.join(arguments)})"


def _has_fields(decoder: TopicDecoder) -> bool:
    return bool(decoder.declared_fields) or VALUE_COLUMN not in decoder.value_format.initial_schema


def _unknown_schema(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    other = _value(decoder, topic, fields)
    return f'connect(..., schema_registry="https://...") with the registry that has the schema reads them; {other}'


def _key(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del decoder, topic, fields
    return 'key_format="bytes" keeps any key, as bytes.'


def _null_key(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del fields
    call = _stream(decoder, topic)
    if _has_fields(decoder):
        return f"{call} has records without a key; with key= a field of the value is the key."
    return f"{call} has records without a key."


def _key_fields(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del fields
    which = _key_argument(decoder)
    return f"without {which} the record key identifies a row; {_stream(decoder, topic)} has every record."


def _tombstone(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del fields
    return f"{_stream(decoder, topic)} has tombstones without a key too; in a table they delete nothing."


def _time(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del topic, fields
    if decoder.time is not None:
        without = f"without {_time_argument(decoder)}"
        return f"{without} the timestamp of the record counts; without windows they are rows."
    if _has_fields(decoder):
        return "time= takes the time from a field of the value; without windows they are rows."
    return "without windows they are rows."


def _where(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del topic, fields
    sentences = [
        "an expression that casts the field, such as pl.col(...).cast(pl.Float64, strict=False) > 5, takes any kind of value."
    ]
    if reads_times(decoder.value_format):
        sentences.append(
            'Times are text for where=, unless schema={...: pl.Datetime("us", "UTC")} declares them.'
        )
    return " ".join(sentences)


def _header(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del topic
    if not fields:
        return 'without headers= and metadata="headers" such records are rows.'
    types = ", ".join(
        f"{name!r}: pl.Binary" if name in fields else f"{name!r}: pl.{dtype!r}"
        for name, dtype in decoder.headers.types
    )
    return f"headers={{{types}}} keeps any header, as bytes."


def _name(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del topic
    return " ".join(leave_out(name) for name in decoder.headers.names if name in fields)


def _skew(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del decoder, topic, fields
    return "max_future_skew=None keeps records of any time."


_SENTENCES: Final[dict[Fault, Callable[[TopicDecoder, str, Sequence[str]], str]]] = {
    Fault.VALUE: _value,
    Fault.FIELD: _fields,
    Fault.NAME: _name,
    Fault.SCHEMA: _value,
    Fault.UNKNOWN_SCHEMA: _unknown_schema,
    Fault.KEY: _key,
    Fault.NULL_KEY: _null_key,
    Fault.KEY_FIELDS: _key_fields,
    Fault.TOMBSTONE: _tombstone,
    Fault.TIME: _time,
    Fault.SKEW: _skew,
    Fault.WHERE: _where,
    Fault.HEADER: _header,
}
