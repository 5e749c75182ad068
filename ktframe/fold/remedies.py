"""Which arguments of ``ktframe.table`` and ``ktframe.stream`` keep records that were refused, for hints to users.

Each of these sentences is followed by a test, which sees that no record is refused any more for that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.records import Cause
from ktframe.formats.base import Fault

_MOST_FIELDS: Final = 10


def remedy(causes: Iterable[Cause], decoder: TopicDecoder, topic: str) -> str:
    """Return what would keep the records of ``causes``, a sentence for each kind of fault."""
    by_fault: dict[Fault, list[str]] = {}
    for cause in causes:
        by_fault.setdefault(cause.fault, []).extend(cause.fields)
    sentences = [
        _SENTENCES[fault](decoder, topic, [*dict.fromkeys(fields)]) for fault, fields in by_fault.items()
    ]
    return " ".join(dict.fromkeys(sentences))


def _fields(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    if not fields or len(fields) > _MOST_FIELDS:
        return _value(decoder, topic, fields)
    wanted = ", ".join(f"{name!r}: ktframe.Json" for name in fields)
    if decoder.declared_fields:
        return f"{{{wanted}}} in schema= keeps them, as JSON text."
    return f"schema={{{wanted}}} keeps them, as JSON text."


def _value(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del fields
    if _is_plain(decoder):
        return 'value="bytes" keeps them, as bytes.'
    return f'ktframe.stream({topic!r}, value="bytes") keeps them, as bytes.'


def _is_plain(decoder: TopicDecoder) -> bool:
    """Whether the rows could be made of values without fields."""
    return not (decoder.key_fields or decoder.time or decoder.declared_fields)


def _unknown_schema(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    other = _value(decoder, topic, fields)
    return f'connect(..., schema_registry="https://...") with the registry that has the schema reads them; {other}'


def _key(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del decoder, topic, fields
    return 'key_format="bytes" keeps them, with the key as bytes.'


def _null_key(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del decoder, fields
    return f"ktframe.stream({topic!r}) has records without a key; with key= a field of the value is the key."


def _key_fields(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del fields
    names = decoder.key_fields
    which = f"key={names[0]!r}" if len(names) == 1 else "key="
    return f"without {which} the record key identifies a row; ktframe.stream({topic!r}) has every record."


def _tombstone(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del decoder, fields
    return f"ktframe.stream({topic!r}) has tombstones without a key too; in a table they delete nothing."


def _time(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del topic, fields
    if decoder.time is None:
        return "time= takes the time from a field of the value; the table without windows has them."
    return f"without time={decoder.time!r} the timestamp of the record counts; the table without windows has them."


def _skew(decoder: TopicDecoder, topic: str, fields: Sequence[str]) -> str:
    del decoder, topic, fields
    return "max_future_skew=None keeps records of any time."


_SENTENCES: Final[dict[Fault, Callable[[TopicDecoder, str, Sequence[str]], str]]] = {
    Fault.VALUE: _value,
    Fault.FIELD: _fields,
    Fault.SCHEMA: _value,
    Fault.UNKNOWN_SCHEMA: _unknown_schema,
    Fault.KEY: _key,
    Fault.NULL_KEY: _null_key,
    Fault.KEY_FIELDS: _key_fields,
    Fault.TOMBSTONE: _tombstone,
    Fault.TIME: _time,
    Fault.SKEW: _skew,
}
