"""The schema with which ptars reads a message: the same encoding, in types that ptars does not treat specially.

An enum is a number, a Timestamp a struct of two, a map a list of entries, and what becomes JSON text is bytes. The field
numbers are the message's own, the names are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ktframe.formats.protobuf.imports import google, ptars
from ktframe.formats.protobuf.types import GROUP, STRING, Field, Kind

_FILE: Final = "ktframe.proto"
_BATCH: Final = "Batch"
_INT64, _INT32, _MESSAGE, _BYTES = 3, 5, 11, 12
_OPTIONAL, _REPEATED = 1, 3
_LARGEST_NUMBERS: Final = 200_000


def obstacle(fields: tuple[Field, ...]) -> str | None:
    """Return why ptars can't read messages of ``fields``, None where it can."""
    if not fields:
        return "a message without fields: record by record"
    group = next((field.name for field in _every(fields) if field.descriptor.type == GROUP), None)
    if group is not None:
        return f"group in field {group!r}: record by record"
    # For each message and batch ptars makes a table as long as the largest field number.
    if _largest_numbers(fields) > _LARGEST_NUMBERS:
        return "large field numbers: record by record"
    return None


def handler(fields: tuple[Field, ...]) -> Any:
    """Return ptars' reader of a message with one field, number 1: a list of messages with ``fields``."""
    file = google("descriptor_pb2").FileDescriptorProto(name=_FILE, syntax="proto3")
    rows = file.message_type.add(name=_BATCH).field.add(name="rows", number=1, label=_REPEATED)
    _add_message(file, rows, fields)
    pool = google("descriptor_pool").DescriptorPool()
    pool.Add(file)
    library = ptars()
    handlers = library.HandlerPool([pool.FindFileByName(_FILE)], config=library.PtarsConfig())
    return handlers.get_for_message(pool.FindMessageTypeByName(_BATCH))


def column_name(index: int) -> str:
    """Return the name, in ptars' arrays, of the field at ``index`` of a message."""
    return f"field{index}"


def _every(fields: tuple[Field, ...]) -> Iterator[Field]:
    for field in fields:
        yield field
        yield from _every(field.fields)


def _largest_numbers(fields: tuple[Field, ...]) -> int:
    own = max((field.number for field in fields), default=0)
    return own + sum(_largest_numbers(field.fields) for field in fields)


def _add_message(file: Any, owner: Any, fields: tuple[Field, ...]) -> None:
    """Set the type of the field ``owner`` to a new message with ``fields``."""
    message = _new_message(file, owner)
    for index, field in enumerate(fields):
        label = _REPEATED if field.is_repeated else _OPTIONAL
        target = message.field.add(name=column_name(index), number=field.number, label=label)
        _set_type(file, target, field)
        if field.has_presence and not field.is_repeated and target.type != _MESSAGE:
            target.proto3_optional = True
            target.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{target.name}")


def _set_type(file: Any, target: Any, field: Field) -> None:
    if field.kind is Kind.STRUCT:
        _add_message(file, target, field.fields)
    elif field.kind is Kind.JSON:
        target.type = _BYTES  # messages and bytes are encoded alike
    elif field.kind is Kind.ENUM:
        target.type = _INT32
    elif field.kind is Kind.SCALAR:
        target.type = field.encoding
    else:
        message = _new_message(file, target)
        for number, (kind, label) in enumerate(_parts(field), 1):
            message.field.add(name=f"part{number}", number=number, type=kind, label=label)


def _parts(field: Field) -> list[tuple[int, int]]:
    """Return the types and labels of the fields of a well-known type."""
    if field.kind is Kind.WRAPPER:
        return [(field.encoding, _OPTIONAL)]
    if field.kind is Kind.FIELD_MASK:
        return [(STRING, _REPEATED)]
    return [(_INT64, _OPTIONAL), (_INT32, _OPTIONAL)]


def _new_message(file: Any, owner: Any) -> Any:
    message = file.message_type.add(name=f"Message{len(file.message_type)}")
    owner.type, owner.type_name = _MESSAGE, f".{message.name}"
    return message
