"""Avro's binary encoding: numbers, lengths and text, read from and written to bytes.

Every ``read_`` function takes a body and a position, and returns a value and the position after it. It raises IndexError
where the body ends too early.
"""

from __future__ import annotations

from ktframe.formats.errors import RefusedError
from ktframe.formats.wire import varint_bytes

_LONGEST_NUMBER = 10
_MORE = 0x80
_BITS_64 = 2**64
_BITS_32 = 2**32
_ONE_BYTE = [bytes((value,)) for value in range(_MORE)]


def read_long(body: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` and the position after it."""
    value = body[at]
    if value < _MORE:
        return (value >> 1) ^ -(value & 1), at + 1
    value, at = _read_varint(body, at)
    return (value >> 1) ^ -(value & 1), at


def read_int(body: bytes, at: int) -> tuple[int, int]:
    """Return the number of 32 bits at ``at`` and the position after it."""
    value = body[at]
    if value < _MORE:
        return (value >> 1) ^ -(value & 1), at + 1
    value, at = _read_varint(body, at)
    if value >= _BITS_32:
        message = "an integer of more than 32 bits"
        raise RefusedError(message)
    return (value >> 1) ^ -(value & 1), at


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(_LONGEST_NUMBER):
        byte = body[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < _MORE:
            if value >= _BITS_64:
                break
            return value, at + place + 1
    message = "an integer of more than 64 bits"
    raise RefusedError(message)


def read_boolean(body: bytes, at: int) -> tuple[bool, int]:
    """Return the boolean at ``at`` and the position after it."""
    value = body[at]
    if value > 1:
        message = f"{value:#04x} is not a boolean"
        raise RefusedError(message)
    return value == 1, at + 1


def read_bytes(body: bytes, at: int) -> tuple[bytes, int]:
    """Return the bytes whose length stands at ``at``, and the position after them."""
    length, at = read_long(body, at)
    if length < 0:
        message = "a negative length"
        raise RefusedError(message)
    end = at + length
    if end > len(body):
        raise IndexError
    return body[at:end], end


def read_text(body: bytes, at: int) -> tuple[str, int]:
    """Return the text whose length stands at ``at``, and the position after it."""
    raw, at = read_bytes(body, at)
    try:
        return raw.decode(), at
    except UnicodeDecodeError:
        message = "text that is not UTF-8"
        raise RefusedError(message) from None


def read_block(body: bytes, at: int) -> tuple[int, int]:
    """Return the number of items in the block at ``at`` of an array or map (0 ends it), and the position of the first."""
    count, at = read_long(body, at)
    if count >= 0:
        return count, at
    size, at = read_long(body, at)  # in bytes; for skipping
    if size < 0:
        message = "a negative length"
        raise RefusedError(message)
    return -count, at


def long_bytes(value: int) -> bytes:
    """Return a number of at most 64 bits as a zigzag varint."""
    rest = (value << 1) ^ (value >> 63)
    return _ONE_BYTE[rest] if rest < _MORE else varint_bytes(rest)
