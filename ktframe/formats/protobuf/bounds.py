"""Limits on the memory that the messages inside one body may take, so that a megabyte can't become gigabytes.

A message inside another may take two bytes and have hundreds of fields, each of which takes memory in Google's library
and a cell in a column. The cells of such *nearly empty* messages are counted body by body, before anything is parsed, and
limited by the length of the body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, Final

from ktframe.formats.batches import CELLS_PER_BYTE, MOST_CELLS
from ktframe.formats.protobuf.types import DEEPEST, GROUP

_VARINT, _BITS_64, _BYTES, _GROUP, _END_GROUP, _BITS_32 = range(6)
_LONGEST: Final = 10


class TooManyFieldsError(Exception):
    """The messages inside a body have more fields than its length allows."""

    def __init__(self) -> None:
        super().__init__(
            f"nearly empty messages with more than {MOST_CELLS:,} fields and {CELLS_PER_BYTE} a byte"
        )


@dataclass(slots=True)
class _Message:
    """A type of message: by number, its fields that are messages, with the cells to count for each."""

    inner: dict[int, tuple[int, _Message]] = dataclass_field(default_factory=dict)


class Bounds:
    """Finds bodies of one type of message that are over the limit."""

    def __init__(self, descriptor: Any) -> None:
        self._widths: dict[str, int] = {}
        self._cells: dict[bytes, int] = {}
        """Cells of a message by the first byte of its field's tag, for fields whose messages have many cells."""
        self._root = self._message(descriptor)

    def weights(self, bodies: Sequence[bytes]) -> list[int]:
        """Return the length of each body, or the most cells it may take where they are more."""
        if not self._cells:
            return list(map(len, bodies))
        cells = self._cells.items()
        return [max(len(body), sum(body.count(byte) * count for byte, count in cells)) for body in bodies]

    def broken(self, bodies: Sequence[bytes], weights: Sequence[int]) -> dict[int, str]:
        """Return which bodies are over the limit, and why, by index."""
        reasons: dict[int, str] = {}
        for index, (body, weight) in enumerate(zip(bodies, weights, strict=True)):
            if weight > MOST_CELLS and weight > MOST_CELLS + CELLS_PER_BYTE * len(body):
                try:
                    _count(body, self._root)
                except TooManyFieldsError as error:
                    reasons[index] = str(error)
                except IndexError:
                    continue  # not a message; Google's library says why
        return reasons

    def _message(self, descriptor: Any) -> _Message:
        messages = {descriptor.full_name: _Message()}
        left = [descriptor]
        while left:
            around = left.pop()
            for field in around.fields:
                inner = field.message_type
                if inner is None:
                    continue
                if inner.full_name not in messages:
                    messages[inner.full_name] = _Message()
                    left.append(inner)
                cells = self._width(inner, 0) if field.is_repeated else len(inner.fields)
                is_counted = self._note(field, cells)
                messages[around.full_name].inner[field.number] = cells * is_counted, messages[inner.full_name]
        return messages[descriptor.full_name]

    def _width(self, descriptor: Any, level: int) -> int:
        """Return how many cells a message takes in columns; a list, and what becomes JSON text, counts as one."""
        name = descriptor.full_name
        if name not in self._widths:
            self._widths[name] = 1  # for a message that contains itself
            if level < DEEPEST:
                self._widths[name] = sum(
                    1
                    if field.message_type is None or field.is_repeated
                    else self._width(field.message_type, level + 1)
                    for field in descriptor.fields
                )
        return self._widths[name]

    def _note(self, descriptor: Any, cells: int) -> bool:
        """Note the first bytes of a field whose messages have many cells; return whether they have."""
        tag = descriptor.number << 3 | (_GROUP if descriptor.type == GROUP else _BYTES)
        smallest = 1 + -(-tag.bit_length() // 7)
        if cells <= CELLS_PER_BYTE * smallest:
            return False
        # A varint may be longer than needed: then the first byte has the continuation bit although the tag fits in it.
        for first in {tag & 0x7F | 0x80, tag if tag <= 0x7F else tag & 0x7F | 0x80}:  # noqa: PLR2004 - seven bits a byte
            self._cells[bytes((first,))] = max(cells, self._cells.get(bytes((first,)), 0))
        return True


def _count(body: bytes, root: _Message) -> None:
    """Go through the messages inside a body; raise TooManyFieldsError at the limit, IndexError where the body is broken."""
    left = MOST_CELLS + CELLS_PER_BYTE * len(body)
    message, end, at = root, len(body), 0
    around: list[tuple[_Message, int]] = []
    while True:
        while at >= end:
            if not around:
                return
            message, end = around.pop()
        tag, at = _varint(body, at)
        kind = tag & 7
        if kind == _END_GROUP:
            if not around:
                return
            message, end = around.pop()
            continue
        cells, inner = message.inner.get(tag >> 3, (0, None))
        if kind == _GROUP or (kind == _BYTES and inner is not None):
            left -= cells
            if left < 0:
                raise TooManyFieldsError
            around.append((message, end))
            message = inner or _Message()
        if kind == _BYTES:
            length, at = _varint(body, at)
            end, at = (at + length, at) if inner is not None else (end, at + length)
        elif kind != _GROUP:
            at = _varint(body, at)[1] if kind == _VARINT else at + (8 if kind == _BITS_64 else 4)


def _varint(body: bytes, at: int) -> tuple[int, int]:
    """Return the varint at ``at`` and the position after it; IndexError where there is none."""
    value = 0
    for place in range(_LONGEST):
        byte = body[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte <= 0x7F:  # noqa: PLR2004 - seven bits a byte
            return value, at + place + 1
    raise IndexError
