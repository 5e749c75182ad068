"""Payloads that hold several objects: a list of them, or one after the other, in lines or with nothing in between.

Each object becomes a payload of its own before anything decodes it. A library finds where they begin and end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ktframe.formats.json.constants import hidden_constants, may_have_constants, shown_constants
from ktframe.formats.json.packed import unpacked

_START: Final = re.compile(rb"[ \t\r\n]*([\[{])")
# Outside of a string nothing else can follow on an object inside of another one.
_MORE_BEHIND: Final = re.compile(rb"\}[ \t\r\n]*[^ \t\r\n,\]}]")
_ERRORS: Final = (msgspec.DecodeError, ValueError, RecursionError)

_Values = Callable[[bytes], Sequence[Any]]
_of_list: _Values = msgspec.json.Decoder(list[msgspec.Raw]).decode
_in_a_row: _Values = msgspec.json.Decoder(msgspec.Raw).decode_lines


def several(payload: bytes, *, unpacks: bool = False) -> Sequence[bytes] | None:
    """Return the objects that a payload holds, and what else is among them, in their order; None where it is to be read as it is.

    That is so for one object, and for what is neither a list nor begins with an object. Where a part of the text is not
    JSON nothing says where its objects begin and end: it is left as it is, and refused as a whole. With ``unpacks`` what counts is what
    is inside of gzip.
    """
    if unpacks:
        (payload,) = unpacked([payload])
    start = _START.match(payload)
    if start is None:
        return None
    if start[1] == b"[":
        return _parts(payload, _of_list)
    values = _parts(payload, _in_a_row) if _MORE_BEHIND.search(payload) else None
    return None if values is None or len(values) == 1 else values


def _parts(payload: bytes, values: _Values) -> Sequence[bytes] | None:
    try:
        return [bytes(value) for value in values(payload)]
    except _ERRORS:
        if not may_have_constants(payload):
            return None
    hidden, mark = hidden_constants(payload)
    try:
        return [shown_constants(bytes(value), mark) for value in values(hidden)]
    except _ERRORS:
        return None
