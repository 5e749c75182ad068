"""What decides which rows a topic gives: checked once, then handed on as one value.

Whoever asks with equal specs gets the same table, and the same store on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import polars as pl

from ktframe.config.moments import Moment, Start, parse_start
from ktframe.config.settings import Times, TimeUnit
from ktframe.context.headers import HeadersLike, check_headers, header_types, wants_headers
from ktframe.context.schema import SchemaLike, as_schema, check_field_name, json_fields, map_fields
from ktframe.errors import ConfigurationError, SchemaError
from ktframe.fold.condition import Condition, Where, condition
from ktframe.fold.decoder import TopicDecoder
from ktframe.fold.deletes import DeleteRule, Deletes, delete_rule
from ktframe.fold.event_time import EventTime
from ktframe.fold.field_key import FieldKey
from ktframe.fold.headers import NO_HEADER_COLUMNS, HeaderColumns
from ktframe.fold.identity import Identity
from ktframe.fold.nested_fields import NestedFields
from ktframe.fold.record_key import RecordKey
from ktframe.fold.sifting import Sieve
from ktframe.fold.unnested_fields import NONE_UNNESTED, Unnest, UnnestedFields, unnested_fields
from ktframe.formats import has_fields
from ktframe.formats import key_format as find_key_format
from ktframe.formats import value_format as find_value_format
from ktframe.formats.field_names import column_name, field_path
from ktframe.formats.nested import nested_dtype
from ktframe.formats.schemas import Schemas
from ktframe.tables.presentation import Metadata

_KEY_HINT = 'key="order_id" or key=["region", "order_id"]; leave it out for the record key.'
_TEXT_HINTS = {
    "topic": 'give the name of a topic, such as "orders".',
    "value": 'give the name of a format, such as value="json".',
    "key_format": 'give the name of a format, such as key_format="string".',
    "time": 'give the name of a field, such as time="created_at".',
}


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic and how its records become rows."""

    topic: str
    key: tuple[str, ...] | None = None
    """Fields of the value; None: the record key identifies a row."""
    key_format: str = "string"
    value: str = "auto"
    schema: pl.Schema | None = field(default=None, hash=False)
    json_fields: frozenset[str] = frozenset()
    """The fields of ``schema`` that are declared as ``Json``; their columns are Strings."""
    map_fields: frozenset[str] = frozenset()
    """Those that are declared as ``Map``; their columns are lists of structs of ``key`` and ``value``."""
    time: str | None = None
    time_unit: TimeUnit | None = None
    times: Times | None = None
    """Which text becomes times."""
    start: Start | None = None
    unpack: bool = False
    """Whether gzip and byte order marks are taken off JSON values."""
    explode: bool = False
    """Whether each object of a JSON value that holds several is an event."""
    unnest: UnnestedFields = NONE_UNNESTED
    """The structs whose fields become columns."""
    where: Condition | None = None
    """Which records become rows; None: all."""
    deletes: DeleteRule | None = None
    """Which records delete a row, beside tombstones."""
    headers: HeaderColumns = NO_HEADER_COLUMNS
    """The headers that rows have."""

    @property
    def event_time(self) -> EventTime:
        """When records happened."""
        if self.time is None or self.time in self.headers.names:
            return EventTime(self.time, self.time_unit)
        return EventTime(column_name(self.time), self.time_unit)

    @property
    def nested(self) -> NestedFields:
        """The fields inside of structs that are the key, or the event time."""
        is_field = self.time is not None and self.time not in self.headers.names
        names = (*(self.key or ()), *([self.time] if self.time is not None and is_field else []))
        return NestedFields.of(names, self.schema or pl.Schema())

    def settings(self) -> dict[str, str]:
        """Return them as text, for the store's directory and description."""
        # Only where it is given: stores without it are found as before.
        sieve = {} if self.where is None else {"where": self.where.identity}
        sieve |= {} if self.deletes is None else {"deletes": self.deletes.identity}
        sieve |= {"headers": repr(self.headers.identity)} if self.headers else {}
        times = {} if self.times is None else {"times": repr(self.times)}
        unpack = {"unpack": "True"} if self.unpack else {}
        explode = {"explode": "True"} if self.explode else {}
        unnest = {} if not self.unnest.structs else {"unnest": repr(self.unnest.structs)}
        unit = {} if self.time_unit is None else {"time_unit": repr(self.time_unit)}
        schema = {
            name: "Json" if name in self.json_fields else self._name_of(name, dtype)
            for name, dtype in (self.schema or {}).items()
        }
        return {
            "key": repr(self.key),
            "key_format": repr(self.key_format),
            "value": self.value,
            "schema": repr(schema),
            "time": repr(self.time),
            "start": repr(self.start),
            **unit,
            **times,
            **unpack,
            **explode,
            **unnest,
            **sieve,
        }

    def _name_of(self, name: str, dtype: pl.DataType) -> str:
        return f"Map: {dtype}" if name in self.map_fields else str(dtype)

    def identity(self) -> RecordKey | FieldKey:
        """Return what identifies a row of the table."""
        return RecordKey() if self.key is None else FieldKey(tuple(map(column_name, self.key)))

    def decoder(
        self, identity: Identity, *, values: Schemas | None = None, keys: Schemas | None = None
    ) -> TopicDecoder:
        """Return the decoder of the topic's records into rows of ``identity``.

        ``values`` and ``keys`` look up the schemas that payloads name; without them no schema is known.

        Raises
        ------
        ConfigurationError
            When there is no such format.
        SchemaError
            When the schema does not fit the format, or a key field can't identify a row.
        """
        exact = frozenset(map(column_name, self.key or ()))
        event_time, nested = self.event_time, self.nested
        # Integers are milliseconds, floats seconds: one must never become the other.
        keeps_integers = self.time_unit is None
        key_format = find_key_format(self.key_format, schemas=keys)
        value_format = find_value_format(
            self.value,
            declared=self.schema,
            json_fields=self.json_fields,
            map_fields=self.map_fields,
            exact_fields=exact,
            exact_paths=frozenset(path for name, path in nested.paths if name in exact),
            integer_paths=frozenset(path for name, path in nested.paths if name == event_time.field)
            if keeps_integers
            else frozenset(),
            objects=nested.objects | self.unnest.objects,
            reserved=frozenset(self.headers.names),
            reads_times=self.times is not None,
            unpacks=self.unpack,
            schemas=values,
        )
        if event_time.field is not None and keeps_integers:
            value_format = value_format.without_float_widening(event_time.field)
        self.headers.require_no_field(value_format.initial_schema)
        return TopicDecoder(
            identity=identity,
            value_format=value_format,
            key_format=key_format,
            event_time=event_time,
            nested=nested,
            unnested=self.unnest,
            sieve=Sieve(self.where, self.deletes) if self.where or self.deletes else None,
            headers=self.headers,
        )


def topic_spec(
    topic: str,
    *,
    key: str | Sequence[str] | None = None,
    key_format: str | None = None,
    value: str | None = None,
    schema: SchemaLike | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    times: Times | None = None,
    start: Moment | None = None,
    unpack: bool | None = None,
    explode: bool | None = None,
    unnest: Unnest | None = None,
    where: Where | None = None,
    deletes: Deletes | None = None,
    headers: HeadersLike | None = None,
    metadata: Metadata | None = None,
) -> TopicSpec:
    """Return the checked spec of a topic; None stands for the default of each argument.

    Raises
    ------
    ConfigurationError
        When an argument is of the wrong type.
    SchemaError
        When ``key``, ``time`` or ``schema`` name no fields, or no types of columns.
    """
    _check_text("topic", topic)
    for name, text in (("value", value), ("key_format", key_format), ("time", time)):
        if text is not None:
            _check_text(name, text)
    fields = _key_fields(key)
    columns = HeaderColumns(() if headers is None else header_types(headers), wants_headers(metadata))
    timed = () if time is None or time in columns.names else (time,)
    for name in (*(fields or ()), *timed):
        check_field_name(name)
    _check_columns(*(fields or ()), *timed)
    declared = None if schema is None else as_schema(schema)
    texts = frozenset() if schema is None else json_fields(schema)
    if declared:
        _check_nested(declared, texts, key=fields or (), time=timed)
    if time in texts:
        message = f"time={time!r} is declared ktframe.Json: a time can't be read from JSON text."
        raise SchemaError(message, f'schema={{"{time}": pl.String}} for ISO 8601, pl.Int64 for milliseconds.')
    if time_unit is not None:
        _check_unit(time_unit, time, declared or pl.Schema(), dict(columns.types))
    if times is not None:
        _check_times(times, value)
    _check_flags(value, unpack=unpack, explode=explode)
    unnested = NONE_UNNESTED if unnest is None else unnested_fields(unnest)
    if unnested.structs:
        _check_unnested(unnested, declared or pl.Schema(), value)
    condition_ = None if where is None else condition(where)
    rule = None if deletes is None else delete_rule(deletes)
    check_headers(columns, fields or (), time, condition_, rule)
    return TopicSpec(
        topic=topic,
        key=fields,
        key_format=key_format or "string",
        value=value or "auto",
        schema=declared,
        json_fields=texts,
        map_fields=frozenset() if schema is None else map_fields(schema),
        time=time,
        time_unit=time_unit,
        times=times,
        start=None if start is None else parse_start("start", start),
        unpack=bool(unpack),
        explode=bool(explode),
        unnest=unnested,
        where=condition_,
        deletes=rule,
        headers=columns,
    )


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        message = f"{name} must be text, not {value!r}."
        raise ConfigurationError(message, _TEXT_HINTS[name])


def _check_columns(*names: str) -> None:
    """Refuse two fields that would be one column: a nested one, and one of the top that is called as it is written."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(column_name(name), name)
        if field_path(other) != field_path(name):
            message = (
                f"{other!r} and {name!r} are two fields, and both would be the column {column_name(name)!r}."
            )
            raise SchemaError(message, "name one of them only.")


def _check_nested(declared: pl.Schema, texts: frozenset[str], **arguments: Sequence[str]) -> None:
    """Refuse names of fields inside of declared ones that have no such field."""
    for argument, names in arguments.items():
        for name, path in NestedFields.of(names, declared).paths:
            if path[0] in declared and nested_dtype(declared, path) is None:
                dtype = "ktframe.Json" if path[0] in texts else declared[path[0]]
                message = (
                    f"{argument}={name!r}, but {path[0]!r} is declared {dtype}, which has no such field."
                )
                hint = f"leave {path[0]!r} out of schema=, or declare a pl.Struct that has the field."
                raise SchemaError(message, hint)


def _check_unit(
    unit: object, time: str | None, declared: pl.Schema, headers: Mapping[str, pl.DataType]
) -> None:
    units = get_args(TimeUnit)
    if unit not in units:
        message = f"time_unit can't be {unit!r}."
        raise ConfigurationError(message, f"choose one of {', '.join(units)}.")
    if time is None:
        message = f"time_unit={unit!r} says what numbers in a field count, and no field is named."
        raise ConfigurationError(message, 'name the field that holds the time: time="created_at".')
    dtype = headers.get(time) or declared.get(time, nested_dtype(declared, field_path(time)))
    if dtype is not None and dtype.is_temporal():
        message = f"time_unit={unit!r}, but {time!r} is declared {dtype}, which says what its numbers count."
        hint = f"leave time_unit= out, or {time!r} out of schema=."
        raise SchemaError(message, "leave time_unit= out." if time in headers else hint)


def _check_times(times: object, value: str | None) -> None:
    if times not in get_args(Times):
        message = f"times can't be {times!r}."
        hint = 'times="auto" makes times of the text of JSON values; leave it out for the text.'
        raise ConfigurationError(message, hint)
    if value not in (None, "auto", "json"):
        message = f'times="auto" reads the text of JSON values, and value={value!r} has no such text.'
        raise ConfigurationError(message, "leave times= out, and cast columns of the frame.")


def _check_flags(value: str | None, **flags: object) -> None:
    for name, flag in flags.items():
        if flag is not None and not isinstance(flag, bool):
            message = f"{name} can't be {flag!r}."
            raise ConfigurationError(message, f"give {name}=True or leave it out.")
        if flag and value not in (None, "auto", "json"):
            message = f"{name}=True is about JSON values, not value={value!r}."
            raise ConfigurationError(message, f"leave {name}= out.")


def _check_unnested(unnested: UnnestedFields, declared: pl.Schema, value: str | None) -> None:
    """Refuse names of declared fields that have no fields, and formats without any."""
    if value is not None and not has_fields(value):
        message = f"unnest= makes columns of the fields of a struct, and value={value!r} has none."
        raise ConfigurationError(message, "leave unnest= out.")
    unnested.schema(pl.Schema({name: dtype for name, dtype in declared.items() if name in unnested.names}))


def _key_fields(key: object) -> tuple[str, ...] | None:
    if key is None:
        return None
    fields = (key,) if isinstance(key, str) else tuple(key) if isinstance(key, Iterable) else ()
    if not fields or len(set(fields)) != len(fields) or not all(isinstance(name, str) for name in fields):
        message = f"key={key!r} must name at least one field, each once."
        raise SchemaError(message, _KEY_HINT)
    return fields
