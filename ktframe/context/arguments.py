"""From what a user says about a topic to an ``Entity``: arguments, or a dataclass under ``@ktframe.entity``."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, TypeVar, Union

import polars as pl

from ktframe.config.moments import Moment, Start, parse_start
from ktframe.config.settings import Settings, StoreOptions
from ktframe.errors import SchemaError
from ktframe.fold.decoder import Entity
from ktframe.fold.field_key import FieldKey
from ktframe.fold.identity import Identity
from ktframe.fold.record_key import RecordKey
from ktframe.formats import key_format as find_key_format
from ktframe.formats import value_format as find_value_format
from ktframe.formats.schemas import Schemas
from ktframe.windows.fixed import Minutes

SchemaLike: TypeAlias = Mapping[str, Any] | pl.Schema | type
"""A Polars schema, a mapping of field to dtype (a Polars one, its name, or a Python type), or a dataclass."""

T = TypeVar("T")
_MARK = "__ktframe_entity__"

_SCALARS: dict[Any, pl.DataType] = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    date: pl.Date(),
    datetime: pl.Datetime("ms", "UTC"),
    Decimal: pl.Decimal(38, 9),
}


@dataclass(frozen=True, slots=True)
class TopicArguments:
    """What decides which rows a topic gives, beside the identity; what has equal ones shares a store."""

    topic: str
    key: tuple[str, ...] | None = None
    key_format: str | None = None
    """None: what goes with the connection."""
    value: str = "auto"
    schema: pl.Schema | None = field(default=None, hash=False)
    time: str | None = None
    start: Start | None = None

    def settings(self) -> dict[str, str]:
        """Return them as text, for the store's directory and description."""
        schema = {} if self.schema is None else {name: str(dtype) for name, dtype in self.schema.items()}
        return {
            "key": repr(self.key),
            "key_format": repr(self.key_format),
            "value": self.value,
            "schema": repr(schema),
            "time": repr(self.time),
            "start": repr(self.start),
        }

    def identity(self) -> RecordKey | FieldKey:
        """Return what identifies a row of the table."""
        return RecordKey() if self.key is None else FieldKey(self.key)

    def entity(
        self, identity: Identity, *, values: Schemas | None = None, keys: Schemas | None = None
    ) -> Entity:
        """Return the entity that decodes by these arguments, into rows of ``identity``.

        ``values`` and ``keys`` look up the schemas that payloads name; None: nothing does.

        Raises
        ------
        ConfigurationError
            When there is no such format.
        SchemaError
            When the schema can't be what was said, or a key field can't identify a row.
        """
        exact = frozenset(self.key or ())
        key_format = find_key_format(self.key_format or "string", schemas=keys)
        value_format = find_value_format(self.value, declared=self.schema, exact_fields=exact, schemas=values)
        if self.time is not None:
            # Integers are milliseconds, floats seconds: one must never become the other.
            value_format = value_format.keeping_integers(self.time)
        return Entity(
            identity=identity,
            value_format=value_format,
            key_format=key_format,
            time=self.time,
        )


def topic_arguments(
    topic: str,
    *,
    key: str | Sequence[str] | None = None,
    key_format: str | None = None,
    value: str | None = None,
    schema: SchemaLike | None = None,
    time: str | None = None,
    start: Moment | None = None,
) -> TopicArguments:
    """Return checked arguments; None stands for the default of each."""
    fields = (key,) if isinstance(key, str) else None if key is None else tuple(key)
    if fields is not None and (not fields or len(set(fields)) != len(fields)):
        message = f"key={key!r} must name at least one field, each once."
        raise SchemaError(
            message, 'key="order_id" or key=["region", "order_id"]; leave it out for the record key.'
        )
    for name in (*(fields or ()), *(() if time is None else (time,))):
        _check_name(name)
    return TopicArguments(
        topic=topic,
        key=fields,
        key_format=key_format,
        value=value or "auto",
        schema=None if schema is None else as_schema(schema),
        time=time,
        start=None if start is None else parse_start("start", start),
    )


def entity(
    *, topic: str, key: str | Sequence[str] | None = None, time: str | None = None, value: str = "auto"
) -> Callable[[type[T]], type[T]]:
    """Declare a dataclass as the rows of ``topic``: its fields are the schema, ``key`` and ``time`` name some of them.

    ``ktframe.table(Order)`` then gives the table.

    Examples
    --------
    >>> import ktframe
    >>> from dataclasses import dataclass, field
    >>> @ktframe.entity(topic="orders", key="order_id", time="created_at")
    ... @dataclass
    ... class Order:
    ...     order_id: str
    ...     amount: float
    ...     created_at: str
    """

    def mark(cls: type[T]) -> type[T]:
        declared = cls if dataclasses.is_dataclass(cls) else dataclass(cls)
        arguments = topic_arguments(topic, key=key, time=time, value=value, schema=declared)
        names = arguments.schema or pl.Schema()
        for name in (*(arguments.key or ()), *(() if time is None else (time,))):
            if name not in names:
                message = f"{cls.__name__} has no field {name!r}."
                raise SchemaError(message, f"its fields are {', '.join(names)}.")
        setattr(declared, _MARK, arguments)
        return declared

    return mark


def declared_arguments(cls: type) -> TopicArguments:
    """Return what ``@ktframe.entity`` noted on ``cls``."""
    arguments = getattr(cls, _MARK, None)
    if not isinstance(arguments, TopicArguments):
        message = f"{cls.__name__} does not say which topic it describes."
        raise SchemaError(message, 'put @ktframe.entity(topic="...") above the dataclass.')
    return arguments


def as_schema(schema: SchemaLike) -> pl.Schema:
    """Return ``schema`` in Polars' terms."""
    if isinstance(schema, type):
        found = pl.Schema(_fields_of(schema))
    else:
        found = pl.Schema({name: _dtype(annotation, name) for name, annotation in schema.items()})
    for name, dtype in found.items():
        _check_names(name, dtype)
    return found


def _check_names(name: str, dtype: Any) -> None:
    _check_name(name)
    if isinstance(dtype, pl.Struct):
        for inner in dtype.fields:
            _check_names(inner.name, inner.dtype)
    elif isinstance(dtype, pl.List | pl.Array):
        _check_names(name, dtype.inner)


def _check_name(name: str) -> None:
    # Columns of ours start with a NUL; and Polars can hand no such name over to Arrow.
    if "\0" in name:
        message = f"{name!r} can't be the name of a field: it holds a NUL character."
        raise SchemaError(message, "records with such a field are refused; give it another name upstream.")


def _fields_of(cls: type) -> dict[str, pl.DataType]:
    if not dataclasses.is_dataclass(cls):
        message = f"schema={cls.__name__} is not a dataclass."
        raise SchemaError(message, "pass a dataclass, or a mapping of field name to dtype.")
    hints = typing.get_type_hints(cls)
    return {each.name: _dtype(hints[each.name], each.name) for each in dataclasses.fields(cls)}


def _dtype(annotation: Any, name: str) -> pl.DataType:
    found = _scalar(annotation) or _compound(annotation, name)
    if found is None:
        message = f"field {name!r}: {annotation!r} is no column type."
        remedy = (
            "use str, int, float, bool, date, datetime, Decimal, list[...], a dataclass, or a Polars dtype."
        )
        raise SchemaError(message, remedy)
    return found


def _scalar(annotation: Any) -> pl.DataType | None:
    if isinstance(annotation, str):
        annotation = getattr(pl, annotation, annotation)
    if isinstance(annotation, pl.DataType):
        return annotation
    if isinstance(annotation, type) and issubclass(annotation, pl.DataType):
        return annotation()
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return pl.Enum([str(member.value) for member in annotation])
    return _SCALARS.get(annotation)


def _compound(annotation: Any, name: str) -> pl.DataType | None:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return pl.Struct(_fields_of(annotation))
    if origin in (Union, types.UnionType):
        # Every column holds nulls: ``X | None`` is an X.
        kinds = [argument for argument in arguments if argument is not type(None)]
        return _dtype(kinds[0], name) if len(kinds) == 1 else None
    if origin is Literal and all(isinstance(argument, str) for argument in arguments):
        return pl.Enum(list(arguments))
    if origin in (list, Sequence):
        return pl.List(_dtype(arguments[0], name))
    return None


def asked_for(
    topic: str | type, given: Mapping[str, Any], store: StoreOptions | None, settings: Settings
) -> tuple[TopicArguments, StoreOptions, Sequence[Minutes]]:
    """Return the arguments of a topic, how it is stored, and the windows to keep with it.

    ``given`` are the arguments by name, None where not given: they win over what was declared.
    """
    if isinstance(topic, type):
        start = given["start"]
        known = declared_arguments(topic)
        arguments = known if start is None else replace(known, start=parse_start("start", start))
        return arguments, store or settings.store, ()
    declared = settings.tables.get(topic)
    if declared is None:
        return topic_arguments(topic, **given), store or settings.store, ()
    noted = {name: getattr(declared, name) for name in given}
    chosen = {name: noted[name] if value is None else value for name, value in given.items()}
    options = store or declared.store_options(settings.store)
    return topic_arguments(declared.topic, **chosen), options, declared.windows
