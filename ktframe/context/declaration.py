"""Topics that were declared beforehand: by a class under ``@ktframe.entity``, or by the configuration.

One rule for both: what a call says wins over what was declared.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import polars as pl

from ktframe.config.keywords import with_known_keywords
from ktframe.config.settings import ReadPolicy, Settings, StoreOptions, Times, TimeUnit
from ktframe.context.headers import HeadersLike, shown_metadata
from ktframe.context.topic_spec import TopicSpec, topic_spec
from ktframe.errors import SchemaError
from ktframe.fold.condition import Where
from ktframe.fold.deletes import Deletes
from ktframe.fold.unnested_fields import Unnest
from ktframe.formats import has_fields
from ktframe.formats.field_names import field_path
from ktframe.formats.nested import nested_dtype
from ktframe.windows.parsing import Minutes

T = TypeVar("T")
_DECLARED = "__ktframe_entity__"
_OF_FIELDS = (
    "key",
    "schema",
    "time",
    "time_unit",
    "times",
    "unpack",
    "explode",
    "unnest",
    "where",
    "deletes",
)


@dataclass(frozen=True, slots=True)
class ResolvedTopic:
    """A topic as a call and its declaration add up to it."""

    spec: TopicSpec
    store: StoreOptions
    policy: ReadPolicy
    windows: tuple[Minutes, ...] = ()
    """Windows that were declared together with the table."""
    metadata: bool | tuple[str, ...] = False
    """The columns about the record that frames have."""


@with_known_keywords
def entity(
    *,
    topic: str,
    key: str | Sequence[str] | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    times: Times | None = None,
    unpack: bool | None = None,
    explode: bool | None = None,
    unnest: Unnest | None = None,
    where: Where | None = None,
    deletes: Deletes | None = None,
    headers: HeadersLike | None = None,
    value: str = "auto",
) -> Callable[[type[T]], type[T]]:
    """Declare a dataclass as the rows of ``topic``: its fields are the schema, ``key`` and ``time`` name some of them.

    ``ktframe.table(Order)`` then gives the table; with ``explode=True`` it is ``ktframe.stream(Order)``, a table has no such rows.
    The other arguments are those of ``table``; a call wins over them.

    Raises
    ------
    SchemaError
        When ``key`` or ``time`` is not a field of the class, or a field has a type that no column can have.

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

    def declare(cls: type[T]) -> type[T]:
        declared = cls if dataclasses.is_dataclass(cls) else dataclass(cls)
        arguments: dict[str, Any] = {
            "topic": topic,
            "key": key,
            "time": time,
            "time_unit": time_unit,
            "times": times,
            "unpack": unpack,
            "explode": explode,
            "unnest": unnest,
            "where": where,
            "deletes": deletes,
            "headers": headers,
            "value": value,
            "schema": declared,
        }
        spec = topic_spec(**arguments)
        names = spec.schema or pl.Schema()
        for name in (*(spec.key or ()), *(() if time is None else (time,))):
            if (
                name not in names
                and name not in spec.headers.names
                and nested_dtype(names, field_path(name)) is None
            ):
                message = f"{cls.__name__} has no field {name!r}."
                raise SchemaError(message, f"its fields are {', '.join(names)}.")
        setattr(declared, _DECLARED, arguments)
        return declared

    return declare


def declared_by(cls: type) -> Mapping[str, Any]:
    """Return the arguments of ``table()`` that ``@ktframe.entity`` noted on ``cls``."""
    arguments = getattr(cls, _DECLARED, None)
    if not isinstance(arguments, Mapping):
        message = f"{cls.__name__} does not say which topic it describes."
        raise SchemaError(message, 'put @ktframe.entity(topic="...") above the dataclass.')
    return arguments


def resolve_topic(
    topic: str | type,
    arguments: Mapping[str, Any],
    *,
    store: StoreOptions | None,
    policy: Mapping[str, Any],
    settings: Settings,
    key_format: str,
) -> ResolvedTopic:
    """Return the spec of a topic, how its store is kept, and the windows that were declared with it.

    Parameters
    ----------
    topic
        A topic's name, the name of a declared table, or a declared class.
    arguments
        What the call says, by the names of ``topic_spec``; None where it says nothing.
    store
        Store options of the call.
    policy
        What the call says about refused records and stale rows, by the names of ``ReadPolicy``.
    settings
        The connection's settings, with the tables that configuration declares.
    key_format
        The format of keys where neither the call nor the declaration names one.
    """
    options: StoreOptions = settings.store
    policies = {name: getattr(settings, name) for name in policy}
    windows: tuple[Minutes, ...] = ()
    declared: Mapping[str, Any]
    if isinstance(topic, type):
        declared = declared_by(topic)
    elif topic in settings.tables:
        table = settings.tables[topic]
        declared = {"topic": table.topic, **{name: getattr(table, name) for name in arguments}}
        options, windows = table.store_options(options), table.windows
        policies |= _given({name: getattr(table, name) for name in policy})
    else:
        declared = {"topic": topic}
    if not has_fields(arguments["value"]):  # so that value="bytes" has every record, whatever was declared
        declared = _without(declared, *_OF_FIELDS)
    if arguments["time"] is not None:  # the unit is that of the field that was declared
        declared = _without(declared, "time_unit")
    chosen = {"key_format": key_format, **_given(declared), **_given(arguments)}
    read_policy = ReadPolicy(**policies | _given(policy))
    metadata = shown_metadata(chosen.get("metadata"))
    return ResolvedTopic(topic_spec(**chosen), store or options, read_policy, windows, metadata)


def _given(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}


def _without(declared: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return {name: given for name, given in declared.items() if name not in names}
