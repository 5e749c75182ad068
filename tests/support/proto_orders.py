"""Orders in Protobuf, in three versions of one schema, with what Google's own library reads in them.

It shares no code with what it judges: sources are taken line by line into descriptors, messages walked field by field.
"""

from __future__ import annotations

import random
import re
from typing import Any

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    message_factory,
    timestamp_pb2,
    wrappers_pb2,
)

MONEY_FILE = "shop/money.proto"
MONEY = """syntax = "proto3";
package shop;
message Money {
  string currency = 1;
  sint64 cents = 2;
}
"""

_COMMON = """
  string order_id = 1;
  Status status = 2;
  repeated Line lines = 4;
  map<string, int64> labels = 5;
  google.protobuf.Timestamp at = 6;
  repeated sint32 marks = 7;
  optional string note = 8;
  double ratio = 9;
  bytes raw = 10;
  bool is_gift = 11;
"""

_FIRST = f"""syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
message Order {{
  enum Status {{
    NEW = 0;
    PAID = 1;
  }}
  message Line {{
    string sku = 1;
    uint32 count = 2;
  }}
  {_COMMON}
  int32 units = 3;
}}
"""

_WIDER = f"""
  enum Status {{
    NEW = 0;
    PAID = 1;
    SENT = 2;
  }}
  message Line {{
    string sku = 1;
    uint32 count = 2;
    optional double discount = 3;
    Money price = 4;
  }}
  {_COMMON}
  int64 units = 3;
  Money total = 12;
  google.protobuf.Int64Value points = 13;
  oneof payment {{
    string card = 14;
    Money voucher = 15;
  }}
"""

_SECOND = f"""syntax = "proto3";
package shop;
import "shop/money.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
message Trace {{
  string host = 1;
}}
message Order {{
  {_WIDER}
}}
"""

_THIRD = f"""syntax = "proto3";
package shop;
import "shop/money.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/duration.proto";
message Trace {{
  string host = 1;
}}
message Envelope {{
  message Seal {{
    fixed64 print = 1;
  }}
  message Order {{
    {_WIDER}
    map<int32, Line> places = 16;
    float weight = 17;
    repeated google.protobuf.Timestamp stops = 18;
    google.protobuf.Duration wait = 19;
    Seal seal = 20;
    string currency = 21;
  }}
}}
"""

SOURCES = (_FIRST, _SECOND, _THIRD)
INDEXES = (b"\0", b"\2\2", b"\4\2\2")
"""The list of message indexes that stands before a body of each version: (0), (1) and (1, 1)."""

_NAMES = ("shop.Order", "shop.Order", "shop.Envelope.Order")
_LABELS = {"repeated": 3}
_SCALARS = {
    "double": 1, "float": 2, "int64": 3, "int32": 5, "fixed64": 6, "bool": 8, "string": 9, "bytes": 12, "uint32": 13,
    "sint32": 17, "sint64": 18,
}  # fmt: skip
_FIELD = re.compile(r"(?:(repeated|optional) )?(map<(\w+), (\w+)>|[\w.]+) (\w+) = (\d+);")
_NANOS = 10**9


# ----------------------------------------------------------------------------------------- descriptors


def _file(name: str, text: str) -> Any:
    """Return the descriptor of a source in which each line opens, closes or holds one thing."""
    file: Any = descriptor_pb2.FileDescriptorProto(name=name, package="shop", syntax="proto3")
    owners: list[Any] = [file]
    for line in filter(None, map(str.strip, text.splitlines()[2:])):
        owner, words = owners[-1], line.split()
        if words[0] == "import":
            file.dependency.append(words[1].strip('";'))
        elif words[0] == "message":
            owners.append((owner.message_type if owner is file else owner.nested_type).add(name=words[1]))
        elif words[0] == "enum":
            owners.append(owner.enum_type.add(name=words[1]))
        elif words[0] == "oneof":
            owner.oneof_decl.add(name=words[1])
            owners.append(owner)
        elif line == "}":
            _add_presence(owners.pop(), owners[-1])
        elif isinstance(owner, descriptor_pb2.EnumDescriptorProto):
            owner.value.add(name=words[0], number=int(words[2].strip(";")))
        else:
            # The fields of a oneof stand directly behind its name.
            _add_field(owner, line, is_choice=len(owners) > 1 and owners[-2] is owner)
    return file


def _add_field(owner: Any, line: str, *, is_choice: bool) -> None:
    found = _FIELD.fullmatch(line)
    assert found is not None, line
    label, kind, key, value, name, number = found.groups()
    field = owner.field.add(name=name, number=int(number), label=_LABELS.get(label, 1))
    if key is not None:
        kind = name.capitalize() + "Entry"
        entry = owner.nested_type.add(name=kind)
        entry.options.map_entry = True
        for place, part in enumerate((key, value), 1):
            _set_type(entry.field.add(name=("key", "value")[place - 1], number=place, label=1), part)
        field.label = 3
    _set_type(field, kind)
    field.proto3_optional = label == "optional"
    if is_choice:
        field.oneof_index = len(owner.oneof_decl) - 1


def _add_presence(message: Any, around: Any) -> None:
    """Give each optional field the oneof that it has in descriptors, behind the real ones."""
    if message is around or isinstance(message, descriptor_pb2.EnumDescriptorProto):
        return
    for field in message.field:
        if field.proto3_optional:
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{field.name}")


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type_name = kind  # the pool finds out what it is, and where


def _class(version: int) -> Any:
    pool = descriptor_pool.DescriptorPool()
    for standard in (timestamp_pb2, duration_pb2, wrappers_pb2):
        pool.AddSerializedFile(standard.DESCRIPTOR.serialized_pb)
    pool.Add(_file(MONEY_FILE, MONEY))
    pool.Add(_file(f"shop/order{version}.proto", SOURCES[version]))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(_NAMES[version]))


CLASSES = tuple(_class(version) for version in range(3))
"""The message of each version."""


# -------------------------------------------------------------------------------------------- messages


def order(chance: random.Random, version: int) -> Any:
    """Return a random order of a version."""
    message = CLASSES[version]()
    _fill(message, chance)
    return message


def encoded(chance: random.Random, version: int) -> bytes:
    """Return the body of a random order of a version."""
    body: bytes = order(chance, version).SerializeToString()
    return body


def _fill(message: Any, chance: random.Random) -> None:
    name = message.DESCRIPTOR.name
    if name in {"Timestamp", "Duration"}:
        message.seconds, message.nanos = chance.randrange(4 * 10**9), chance.randrange(_NANOS)
        return
    for field in message.DESCRIPTOR.fields:
        if chance.random() < 0.2:
            continue
        if _is_map(field):
            entries = getattr(message, field.name)
            for number in range(chance.randrange(3)):
                key = f"k{chance.randrange(9)}" if field.message_type.fields[0].type == 9 else -number
                if field.message_type.fields[1].message_type is None:
                    entries[key] = chance.randrange(-(2**40), 2**40)
                else:
                    _fill(entries[key], chance)
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            for each in [inner.add() for _ in range(chance.randrange(3))] if field.is_repeated else [inner]:
                each.SetInParent()
                _fill(each, chance)
        elif field.is_repeated:
            getattr(message, field.name).extend([_scalar(field, chance) for _ in range(chance.randrange(4))])
        else:
            setattr(message, field.name, _scalar(field, chance))


def _scalar(field: Any, chance: random.Random) -> Any:
    if field.enum_type is not None:
        return chance.choice([*range(len(field.enum_type.values)), 9])
    if field.type == 9:
        return chance.choice(["", "grün", f"s-{chance.randrange(10**6)}"])
    if field.type == 12:
        return chance.randbytes(chance.randrange(4))
    if field.type == 8:
        return chance.random() < 0.5
    if field.type in {1, 2}:
        return chance.randrange(-800, 800) / 8
    return chance.randrange(2**31 if field.type not in {3, 6, 18} else 2**62)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


# ---------------------------------------------------------------------------------------------- oracle


def decoded(version: int, body: bytes, reader: int = 2) -> dict[str, Any]:
    """Return what Google's library reads in a body of a version, with the fields of another, times in nanoseconds.

    Raises
    ------
    DecodeError
        When it is no message.
    ValueError
        When a time in it is none.
    """
    return _row(CLASSES[version].FromString(body), CLASSES[reader].DESCRIPTOR)


def decoded_as(version: int | None, indexes: list[int], body: bytes) -> dict[str, Any]:
    """Return what Google's library reads in a body of any message of a version (None: of the file that it imports).

    What is an order is read as ``decoded`` does.

    Raises
    ------
    LookupError
        When there is no such message; and what ``decoded`` raises.
    """
    file = CLASSES[version or 0].DESCRIPTOR.file
    if version is None:
        file = file.pool.FindFileByName(MONEY_FILE)
    siblings, found = list(file.message_types_by_name.values()), None
    for index in indexes:
        if index < 0:
            raise IndexError(index)
        found = siblings[index]
        siblings = list(found.nested_types)
    if found is None:
        raise IndexError
    if version is not None and found.full_name == _NAMES[version]:
        return decoded(version, body)
    return _row(message_factory.GetMessageClass(found).FromString(body), found)


def _row(message: Any, wanted: Any) -> dict[str, Any]:
    fields = message.DESCRIPTOR.fields_by_name
    return {each.name: _column(message, fields.get(each.name), each) for each in wanted.fields}


def _column(message: Any, own: Any, wanted: Any) -> Any:
    if own is None:
        return [] if wanted.is_repeated else None if wanted.has_presence else wanted.default_value
    value = getattr(message, own.name)
    if _is_map(own):
        item, wanted_item = own.message_type.fields[1], wanted.message_type.fields[1]
        return [{"key": key, "value": _value(item, value[key], wanted_item)} for key in sorted(value)]
    if own.is_repeated:
        return [_value(own, each, wanted) for each in value]
    if own.has_presence and not message.HasField(own.name):
        return None
    return _value(own, value, wanted)


def _value(own: Any, value: Any, wanted: Any) -> Any:
    if own.enum_type is not None:
        known = own.enum_type.values_by_number.get(value)
        return str(value) if known is None else known.name
    if own.message_type is None:
        return value
    if own.message_type.name == "Int64Value":
        return value.value
    if own.message_type.name in {"Timestamp", "Duration"}:
        return _nanoseconds(value, is_signed=own.message_type.name == "Duration")
    return _row(value, wanted.message_type)


def _nanoseconds(value: Any, *, is_signed: bool) -> int:
    total = int(value.seconds) * _NANOS + int(value.nanos)
    is_mixed = value.seconds * value.nanos < 0 if is_signed else value.nanos < 0
    if is_mixed or abs(value.nanos) >= _NANOS or not -(2**63) <= total < 2**63:
        message = f"{value.seconds} s and {value.nanos} ns"
        raise ValueError(message)
    return total
