"""Message indexes: which message of its file a payload is.

A file may have many messages. Confluent's wire format says by a list of places, in front of the body, which of them it is:
https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
"""

from __future__ import annotations

from collections.abc import Sequence

_FIRST = (0,)
_LONGEST_VARINT = 5
_LARGEST_INDEX = 2**31


def parse_indexes(body: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the message indexes at the start of ``body``, and what stands behind them.

    Raises
    ------
    ValueError
        When no list of indexes stands there.
    """
    count, at = _zigzag(body, 0)
    if count == 0:  # short for the most frequent list
        return _FIRST, body[at:]
    if not 0 < count <= len(body) - at:
        message = f"a list of {count} message indexes in {len(body)} bytes"
        raise ValueError(message)
    indexes = []
    for _ in range(count):
        index, at = _zigzag(body, at)
        if index < 0:
            message = f"a message index of {index}"
            raise ValueError(message)
        indexes.append(index)
    return tuple(indexes), body[at:]


def pack_indexes(indexes: Sequence[int]) -> bytes:
    """Return the bytes that ``parse_indexes`` reads as ``indexes``.

    Raises
    ------
    ValueError
        When there is none, or one that can't be an index.
    """
    if not indexes or not all(0 <= index < _LARGEST_INDEX for index in indexes):
        message = f"message indexes {tuple(indexes)}"
        raise ValueError(message)
    if tuple(indexes) == _FIRST:
        return b"\0"
    return b"".join(map(_packed, (len(indexes), *indexes)))


def _zigzag(body: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at``, as Protobuf's sint32 is encoded, and where it ends."""
    number = 0
    for place, byte in enumerate(body[at : at + _LONGEST_VARINT]):
        number |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the last byte of a number
            if number >= 2 * _LARGEST_INDEX:
                break
            return (number >> 1) ^ -(number & 1), at + place + 1
    message = "message indexes that are cut off or malformed"
    raise ValueError(message)


def _packed(number: int) -> bytes:
    number <<= 1
    parts = bytearray()
    while number > 0x7F:  # noqa: PLR2004 - seven bits a byte
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])
