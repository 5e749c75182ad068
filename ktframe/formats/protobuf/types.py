"""The columns of a message: every field of its descriptor, with the Polars type that it becomes.

==============================  =========================================================================
Protobuf                        Polars
==============================  =========================================================================
int32, sint32, sfixed32         Int32, and likewise for 64 bits, unsigned integers, floats and bool
string, bytes                   String, Binary
enum                            String: the name, or the number as text where the schema has no name
message, group                  Struct, null where absent
repeated, map                   List, List of Struct with ``key`` and ``value``; empty where absent
Timestamp, Duration             Datetime("ns", "UTC"), Duration("ns"); out of range, the body is refused
StringValue and other wrappers  the value, null where absent
FieldMask                       String: the paths with commas between
Struct, Value, ListValue        String: JSON text
a message that contains itself  String: JSON text
==============================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from enum import Enum, auto
from typing import Any, Final

import polars as pl

from ktframe.errors import SchemaError
from ktframe.formats.bodies import NO_DEFAULT, Column

NANOS: Final = 10**9

STRING, BYTES = 9, 12
GROUP, _MESSAGE, _ENUM = 10, 11, 14

MOST_FIELDS: Final = 10_000
"""How many fields a message may have, with those of the messages inside it, each time they occur."""

DEEPEST: Final = 32
"""Messages nested deeper than this are shown as JSON text."""

_SCALARS: Final[dict[int, pl.DataType]] = {
    1: pl.Float64(), 2: pl.Float32(), 3: pl.Int64(), 4: pl.UInt64(), 5: pl.Int32(), 6: pl.UInt64(), 7: pl.UInt32(),
    8: pl.Boolean(), STRING: pl.String(), BYTES: pl.Binary(), 13: pl.UInt32(), 15: pl.Int32(), 16: pl.Int64(),
    17: pl.Int32(), 18: pl.Int64(),
}  # fmt: skip


class Kind(Enum):
    """How the values of a field become values of a column."""

    SCALAR = auto()
    ENUM = auto()
    STRUCT = auto()
    TIMESTAMP = auto()
    DURATION = auto()
    WRAPPER = auto()
    FIELD_MASK = auto()
    JSON = auto()


_METHODS: Final = frozenset(
    {
        "DESCRIPTOR",
        "DiscardUnknownFields",
        "HasField",
        "IsInitialized",
        "ListFields",
        "SerializePartialToString",
        "SetInParent",
    }
)

# By file and not by name: only Google's own files are sure to have these types as they are known.
_STANDARD: Final = {
    "google/protobuf/duration.proto": Kind.DURATION,
    "google/protobuf/field_mask.proto": Kind.FIELD_MASK,
    "google/protobuf/struct.proto": Kind.JSON,
    "google/protobuf/timestamp.proto": Kind.TIMESTAMP,
    "google/protobuf/wrappers.proto": Kind.WRAPPER,
}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message: how it is encoded, and the column it becomes."""

    name: str
    number: int
    kind: Kind
    item: pl.DataType
    """The type of a value; of one item where the field is repeated."""
    descriptor: Any
    is_repeated: bool = False
    is_map: bool = False
    has_presence: bool = False
    default: Any = None
    """What the column shows where the field is not set: None for null. (Maps and repeated fields show an empty list.)"""
    fields: tuple[Field, ...] = ()
    names: Mapping[int, str] = dataclass_field(default_factory=dict)
    """The names of an enum by number; the first in the schema where two share a number."""

    @property
    def dtype(self) -> pl.DataType:
        """The type of its column."""
        return pl.List(self.item) if self.is_repeated else self.item

    @property
    def encoding(self) -> int:
        """Protobuf's number of the type of its values; of the value inside, where it is a wrapper."""
        described = self.descriptor
        number = (
            described.message_type.fields_by_name["value"].type
            if self.kind is Kind.WRAPPER
            else described.type
        )
        return int(number)

    @property
    def column(self) -> Column:
        """The column it becomes."""
        default = [] if self.is_repeated else NO_DEFAULT if self.default is None else self.default
        return Column(self.name, self.dtype, default, inner=tuple(field.column for field in self.fields))


def fields_of(descriptor: Any) -> tuple[Field, ...]:
    """Return the fields of a message in the order of its schema.

    Raises
    ------
    SchemaError
        When they are too many.
    """
    return _Fields(descriptor.full_name).of(descriptor, ())


class _Fields:
    """Collects the fields of a message and of the messages inside it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = 0

    def of(self, descriptor: Any, around: tuple[str, ...]) -> tuple[Field, ...]:
        self._count += len(descriptor.fields)
        hidden = _METHODS & {field.name for field in descriptor.fields}
        if hidden:
            message = f"{descriptor.full_name} has a field {min(hidden)!r}, which hides a method of Google's library."
            raise SchemaError(message)
        if self._count > MOST_FIELDS:
            message = f"{self._name} has more than {MOST_FIELDS:,} fields, those of the messages inside it included."
            raise SchemaError(message)
        return tuple(self._field(field, (*around, descriptor.full_name)) for field in descriptor.fields)

    def _field(self, descriptor: Any, around: tuple[str, ...]) -> Field:
        kind = _kind(descriptor, around)
        is_map = descriptor.message_type is not None and descriptor.message_type.GetOptions().map_entry
        fields = self.of(descriptor.message_type, around) if kind is Kind.STRUCT else ()
        return Field(
            descriptor.name,
            descriptor.number,
            kind,
            _dtype(kind, descriptor, fields),
            descriptor,
            is_repeated=descriptor.is_repeated,
            is_map=is_map,
            has_presence=descriptor.has_presence,
            default=_default(descriptor),
            fields=fields,
            names=_names(descriptor.enum_type),
        )


def _kind(descriptor: Any, around: tuple[str, ...]) -> Kind:
    if descriptor.type == _ENUM:
        return Kind.ENUM
    if descriptor.message_type is None:
        return Kind.SCALAR
    message = descriptor.message_type
    if message.file.name in _STANDARD:
        return _STANDARD[message.file.name]
    return Kind.JSON if message.full_name in around or len(around) >= DEEPEST else Kind.STRUCT


def _dtype(kind: Kind, descriptor: Any, fields: tuple[Field, ...]) -> pl.DataType:
    if kind is Kind.SCALAR:
        return _SCALARS[descriptor.type]
    if kind is Kind.WRAPPER:
        return _SCALARS[descriptor.message_type.fields_by_name["value"].type]
    if kind is Kind.STRUCT:
        return pl.Struct({field.name: field.dtype for field in fields})
    if kind is Kind.TIMESTAMP:
        return pl.Datetime("ns", "UTC")
    return pl.Duration("ns") if kind is Kind.DURATION else pl.String()


def _default(descriptor: Any) -> Any:
    if descriptor.is_repeated or descriptor.message_type is not None:
        return None
    if descriptor.has_presence and (descriptor.containing_oneof or not descriptor.has_default_value):
        return None  # with defaults, several fields of a oneof would look set
    if descriptor.type == _ENUM:
        return _names(descriptor.enum_type)[descriptor.default_value]
    return descriptor.default_value


def _names(enum: Any) -> dict[int, str]:
    return {} if enum is None else {value.number: value.name for value in reversed(list(enum.values))}


def notes_of(fields: tuple[Field, ...], path: str = "") -> list[str]:
    """Return which fields are read value by value."""
    notes = []
    for field in fields:
        if field.kind is Kind.JSON:
            notes.append(
                f"{field.descriptor.message_type.full_name} in field {path + field.name!r}: value by value"
            )
        notes += notes_of(field.fields, f"{path}{field.name}.")
    return notes


def has_required(descriptor: Any) -> bool:
    """Say whether a message, or one inside it at any depth, has a required field."""
    seen = {descriptor.full_name}
    left = [descriptor]
    while left:
        for field in left.pop().fields:
            inner = field.message_type
            if field.is_required:
                return True
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                left.append(inner)
    return False
