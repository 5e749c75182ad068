"""Guesses from payloads which format they have. Pure; a guess is a suggestion to a person, nothing is decided by it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import orjson

from ktframe.formats.plain import IntFormat, LongFormat

AVRO: Final = "avro"
"""What bytes behind a Confluent schema id are most often; Protobuf looks the same from outside."""

_MOST = 0.8
_FRAME_BYTES = 5
_NOT_IN_TEXT = frozenset(chr(code) for code in (*range(32), 127)) - {"\t", "\n", "\r"}


def guess_format(payloads: Sequence[bytes]) -> str | None:
    """Return the format that most of ``payloads`` seem to have, None when there are none.

    ``"json"``, ``"string"``, ``"int"``, ``"long"``, ``"avro"`` or ``"bytes"``. Some may be broken: four in five decide.
    """
    if not payloads:
        return None
    # Four bytes that are letters are text before they are a number, and most numbers are no text.
    guesses: tuple[tuple[str, Callable[[bytes], bool]], ...] = (
        ("json", _is_json),
        ("string", is_text),
        (IntFormat.name, lambda payload: len(payload) == IntFormat.width_bytes),
        (LongFormat.name, lambda payload: len(payload) == LongFormat.width_bytes),
        (AVRO, lambda payload: schema_id(payload) is not None),
    )
    for name, fits in guesses:
        if sum(map(fits, payloads)) >= _MOST * len(payloads):
            return name
    return "bytes"


def schema_id(payload: bytes) -> int | None:
    """Return the Confluent schema id that ``payload`` seems to begin with: a zero, then four bytes that aren't all zero."""
    if len(payload) <= _FRAME_BYTES or payload[0] != 0:
        return None
    return int.from_bytes(payload[1:_FRAME_BYTES], "big") or None


def schema_ids(payloads: Sequence[bytes]) -> tuple[int, ...]:
    """Return the schema ids of ``payloads``, the commonest first."""
    found = Counter(number for number in map(schema_id, payloads) if number is not None)
    return tuple(number for number, _ in found.most_common())


def is_text(payload: bytes) -> bool:
    """Say whether ``payload`` is UTF-8 that a person could read."""
    try:
        return _NOT_IN_TEXT.isdisjoint(payload.decode())
    except UnicodeDecodeError:
        return False


def as_text(payload: bytes | None, name: str | None) -> str | None:
    """Return ``payload`` for reading: a number of the format ``name``, text, hex where it is neither."""
    if payload is None:
        return None
    width = {IntFormat.name: IntFormat.width_bytes, LongFormat.name: LongFormat.width_bytes}.get(str(name))
    if len(payload) == width:
        return str(int.from_bytes(payload, "big", signed=True))
    is_readable = name in ("json", "string") or is_text(payload)
    return payload.decode(errors="replace") if is_readable else payload.hex()


def _is_json(payload: bytes) -> bool:
    if not payload.lstrip().startswith(b"{"):
        return False
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        return False
    return True
