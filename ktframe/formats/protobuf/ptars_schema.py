"""The schema that ptars is shown in place of a message's own: the same bytes as numbers, text, lists and structs.

Nothing is in it that ptars treats specially: an enum is a number, a Timestamp two of them, a map a list of entries, and
what becomes JSON text is bytes. Names are made up, numbers are the message's own.
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
    # ptars makes a table as long as the largest number of a field, for each message and each batch.
    if _largest_numbers(fields) > _LARGEST_NUMBERS:
        return "large field numbers: record by record"
    return None


def handler(fields: tuple[Field, ...]) -> Any:
    """Return ptars' reader of a message whose only field, number 1, is a list of messages of ``fields``."""
    file = google("descriptor_pb2").FileDescriptorProto(name=_FILE, syntax="proto3")
    rows = file.message_type.add(name=_BATCH).field.add(name="rows", number=1, label=_REPEATED)
    _add_message(file, rows, fields)
    pool = google("descriptor_pool").DescriptorPool()
    pool.Add(file)
    library = ptars()
    handlers = library.HandlerPool([pool.FindFileByName(_FILE)], config=library.PtarsConfig())
    return handlers.get_for_message(pool.FindMessageTypeByName(_BATCH))


def column_name(index: int) -> str:
    """Return what the field at ``index`` of a message is called in what ptars makes."""
    return f"field{index}"


def _every(fields: tuple[Field, ...]) -> Iterator[Field]:
    for field in fields:
        yield field
        yield from _every(field.fields)


def _largest_numbers(fields: tuple[Field, ...]) -> int:
    own = max((field.number for field in fields), default=0)
    return own + sum(_largest_numbers(field.fields) for field in fields)


def _add_message(file: Any, owner: Any, fields: tuple[Field, ...]) -> None:
    """Make ``owner`` a field whose values are messages of ``fields``."""
    message = _new_message(file, owner)
    for index, field in enumerate(fields):
        label = _REPEATED if field.is_repeated else _OPTIONAL
        made = message.field.add(name=column_name(index), number=field.number, label=label)
        _set_type(file, made, field)
        if field.has_presence and not field.is_repeated and made.type != _MESSAGE:
            made.proto3_optional = True
            made.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{made.name}")


def _set_type(file: Any, made: Any, field: Field) -> None:
    if field.kind is Kind.STRUCT:
        _add_message(file, made, field.fields)
    elif field.kind is Kind.JSON:
        made.type = _BYTES  # a message and bytes look alike
    elif field.kind is Kind.ENUM:
        made.type = _INT32
    elif field.kind is Kind.SCALAR:
        made.type = field.encoding
    else:
        message = _new_message(file, made)
        for number, (kind, label) in enumerate(_parts(field), 1):
            message.field.add(name=f"part{number}", number=number, type=kind, label=label)


def _parts(field: Field) -> list[tuple[int, int]]:
    """Return the types and labels of the fields that a standard message has."""
    if field.kind is Kind.WRAPPER:
        return [(field.encoding, _OPTIONAL)]
    if field.kind is Kind.FIELD_MASK:
        return [(STRING, _REPEATED)]
    return [(_INT64, _OPTIONAL), (_INT32, _OPTIONAL)]


def _new_message(file: Any, owner: Any) -> Any:
    message = file.message_type.add(name=f"Message{len(file.message_type)}")
    owner.type, owner.type_name = _MESSAGE, f".{message.name}"
    return message
